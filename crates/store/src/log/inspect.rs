//! What a segment holds, for people who have to mend one. Pure: bytes in, a description out.

use bytes::Bytes;
use yeoul_batch::CommitId;

use super::segment::{HeadFault, SegmentReader, Source, Step, read_file_head};
use crate::StoreError;

/// A segment of the log, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// The commit that the file head names as the first, or what is wrong with the head.
    pub first: Result<CommitId, String>,
    /// The records up to the end or the first damage.
    pub records: Vec<RecordReport>,
    /// How it ends.
    pub end: SegmentEnd,
}

/// A record of the log, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordReport {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it takes.
    pub bytes: u64,
    /// Its commit.
    pub commit: CommitId,
    /// The wall time of the commit, in microseconds since 1970.
    pub at_us: i64,
    /// Its sections.
    pub sections: Vec<SectionReport>,
}

/// A section of a record, described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionReport {
    /// What it is, in the engine's numbers.
    pub kind: u8,
    /// What it belongs to.
    pub id: u32,
    /// How long its content is.
    pub bytes: usize,
}

/// How a segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentEnd {
    /// Behind the last record there is nothing, or zeros.
    Clean {
        /// Where the next record would start.
        offset: u64,
    },
    /// The last record is not whole. In the newest segment this is what a crash leaves, and it
    /// is cut when the store opens.
    Torn {
        /// Where the record starts.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A record is damaged, or commit numbers do not follow each other, and whole records come
    /// after it.
    Damaged {
        /// Where the record starts.
        offset: u64,
        /// What is wrong with it.
        reason: String,
        /// Where the next whole record starts.
        next_whole: Option<u64>,
    },
}

/// Describes a segment, whatever its bytes are.
#[must_use]
pub fn inspect(bytes: Bytes) -> SegmentReport {
    let len = bytes.len() as u64;
    let mut reader = SegmentReader::new(Source::Memory(bytes), len);
    let mut records = Vec::new();
    match walk(&mut reader, &mut records) {
        Ok((first, end)) => SegmentReport { first, records, end },
        // Memory does not fail to be read; said all the same instead of trusted.
        Err(error) => {
            let end = SegmentEnd::Torn { offset: reader.offset(), reason: error.to_string() };
            SegmentReport { first: Err(error.to_string()), records, end }
        }
    }
}

fn walk(
    reader: &mut SegmentReader,
    records: &mut Vec<RecordReport>,
) -> Result<(Result<CommitId, String>, SegmentEnd), StoreError> {
    let first = read_file_head(&reader.head()?).map_err(|fault| match fault {
        HeadFault::Newer(version) => format!("the format version is {version}"),
        HeadFault::Damaged(reason) => reason,
    });
    let mut expected = first.as_ref().ok().copied();
    loop {
        let offset = reader.offset();
        let reason = match reader.step()? {
            Step::Record(record) => {
                if let Some(next) = expected.filter(|next| *next != record.commit) {
                    let reason = format!("commit {} stands where {next} should", record.commit);
                    let next_whole = Some(offset);
                    return Ok((first, SegmentEnd::Damaged { offset, reason, next_whole }));
                }
                expected = Some(CommitId(record.commit.0.saturating_add(1)));
                records.push(RecordReport {
                    offset,
                    bytes: record.encoded_len() as u64,
                    commit: record.commit,
                    at_us: record.at_us,
                    sections: record
                        .sections
                        .iter()
                        .map(|s| SectionReport { kind: s.kind, id: s.id, bytes: s.bytes.len() })
                        .collect(),
                });
                continue;
            }
            Step::End => return Ok((first, SegmentEnd::Clean { offset })),
            Step::Bad(reason) => reason,
        };
        let end = match reader.next_whole_record()? {
            None => SegmentEnd::Torn { offset, reason },
            next_whole => SegmentEnd::Damaged { offset, reason, next_whole },
        };
        return Ok((first, end));
    }
}
