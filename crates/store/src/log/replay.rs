//! The records behind the manifest, read one at a time when the store opens.

use std::sync::Arc;

use yeoul_batch::CommitId;

use super::record::LogRecord;
use super::segment::{HeadFault, SegmentReader, Source, Step, path_of, read_file_head};
use crate::{Media, StoreError};

/// A segment as it was found when the log was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// The commit that its name gives.
    pub(super) first: CommitId,
    /// How many of its bytes are records (and its head).
    pub(super) bytes: u64,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogProgress {
    /// Bytes of the log gone through.
    pub bytes_read: u64,
    /// Bytes of the log to go through in all.
    pub bytes_total: u64,
}

/// The records behind the manifest, in order; read when asked for, one at a time.
///
/// After an error there is nothing more.
#[derive(Debug)]
pub struct LogReplay {
    media: Arc<dyn Media>,
    after: CommitId,
    last: CommitId,
    next: CommitId,
    /// The segments not opened yet, the last one first.
    segments: Vec<Segment>,
    reader: Option<(Segment, SegmentReader)>,
    done_bytes: u64,
    total_bytes: u64,
    failed: bool,
}

impl LogReplay {
    /// The records with `after < commit <= last`; `segments` start at or before `after + 1`.
    pub(super) fn new(
        media: Arc<dyn Media>,
        mut segments: Vec<Segment>,
        after: CommitId,
        last: CommitId,
    ) -> Self {
        segments.reverse();
        let next = segments.last().map_or(after.next(), |s| s.first);
        let total_bytes = segments.iter().map(|s| s.bytes).sum();
        Self {
            media,
            after,
            last,
            next,
            segments,
            reader: None,
            done_bytes: 0,
            total_bytes,
            failed: false,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> LogProgress {
        let open = self.reader.as_ref().map_or(0, |(_, reader)| reader.offset());
        LogProgress { bytes_read: self.done_bytes + open, bytes_total: self.total_bytes }
    }

    fn advance(&mut self) -> Result<Option<LogRecord>, StoreError> {
        loop {
            let Some((segment, reader)) = &mut self.reader else {
                let Some(segment) = self.segments.pop() else {
                    return self.check_end().map(|()| None);
                };
                self.reader = Some((segment, open(&self.media, segment, self.next)?));
                continue;
            };
            match reader.step()? {
                Step::Record(record) => {
                    check_next(segment.first, reader, &record, self.next)?;
                    self.next = self.next.next();
                    if record.commit > self.after {
                        return Ok(Some(record));
                    }
                }
                Step::End => {
                    self.done_bytes += segment.bytes;
                    self.reader = None;
                }
                Step::Bad(reason) => {
                    return Err(damaged(segment.first, reader.offset(), reason));
                }
            }
        }
    }

    fn check_end(&self) -> Result<(), StoreError> {
        if self.next == self.last.next() {
            return Ok(());
        }
        let reason = format!("the log ends before commit {}, not {}", self.next, self.last.next());
        Err(damaged(self.next, 0, reason))
    }
}

impl Iterator for LogReplay {
    type Item = Result<LogRecord, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.advance();
        self.failed = found.is_err();
        found.transpose()
    }
}

/// A reader at the first record of a segment, which must start with commit `next`.
pub(super) fn open(
    media: &Arc<dyn Media>,
    segment: Segment,
    next: CommitId,
) -> Result<SegmentReader, StoreError> {
    let path = path_of(segment.first);
    let source = Source::File { media: Arc::clone(media), path: path.clone() };
    let mut reader = SegmentReader::new(source, segment.bytes);
    let head = reader.head()?;
    let first = read_file_head(&head).map_err(|fault| match fault {
        HeadFault::Newer(found) => StoreError::Newer { path, found, known: 1 },
        HeadFault::Damaged(reason) => damaged(segment.first, 0, reason),
    })?;
    if first != segment.first {
        let reason = format!("the file head says that commit {first} is its first");
        return Err(damaged(segment.first, 0, reason));
    }
    if first != next {
        let reason = format!("the segment before it ends where commit {next} should follow");
        return Err(damaged(segment.first, 0, reason));
    }
    Ok(reader)
}

/// Refuses a record that is not the commit `next`. `reader` stands behind it.
pub(super) fn check_next(
    segment: CommitId,
    reader: &SegmentReader,
    record: &LogRecord,
    next: CommitId,
) -> Result<(), StoreError> {
    if record.commit == next {
        return Ok(());
    }
    let offset = reader.offset() - record.encoded_len() as u64;
    let reason = format!("commit {} stands where commit {next} should", record.commit);
    Err(damaged(segment, offset, reason))
}

/// The error for a segment that is not what was written.
pub(super) fn damaged(segment: CommitId, offset: u64, reason: String) -> StoreError {
    let path = path_of(segment);
    let hint = format!(
        "`yeoul inspect {path}` shows its records; restore the file from a backup, or give up \
         everything from here on by cutting it to {offset} bytes and removing the later segments"
    );
    StoreError::Corrupt { path, offset, reason, hint }
}
