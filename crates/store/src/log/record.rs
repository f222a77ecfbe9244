//! One record of the log, to bytes and back. `docs/format/log.md` has every byte.
//!
//! ```text
//!   head (48) │ section head (16) │ bytes, padded to 16 │ section head │ bytes │ …
//! ```
//!
//! What must hold: the head and the body have a checksum each, and the head holds its own place
//! in the file, so that bytes of a record inside another one are never taken for a record.

use arrow::error::ArrowError;
use bytes::Bytes;
use yeoul_batch::CommitId;

use crate::StoreError;

/// Records and sections start at multiples of this, so that columns in them lie aligned.
pub(super) const ALIGN: usize = 16;
/// The length of a record's head.
pub(super) const HEAD_LEN: usize = 48;
/// The length of a section's head.
const SECTION_HEAD_LEN: usize = 16;
/// What every record starts with.
pub(super) const MARKER: [u8; 4] = *b"YREC";

/// The longest body of a record, 1 GiB: a commit is bounded by `commit_rows`, far below this; a
/// longer length in a file is damage.
pub const RECORD_BYTES_MAX: usize = 1 << 30;

static ZEROS: [u8; ALIGN] = [0; ALIGN];

/// A commit in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its number.
    pub commit: CommitId,
    /// The wall time at which it was made, in microseconds since 1970.
    pub at_us: i64,
    /// What it holds, in this order.
    pub sections: Vec<Section>,
}

/// One thing that a commit holds. The engine chooses what the kinds mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub kind: u8,
    /// What it belongs to: a stream, a table, a source.
    pub id: u32,
    /// The content.
    pub bytes: Bytes,
}

impl LogRecord {
    /// How many bytes the record takes in the log.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        HEAD_LEN + self.body_len()
    }

    /// Whether the record is short enough for the log.
    pub(crate) fn check_len(&self) -> Result<(), StoreError> {
        let len = self.body_len();
        if len <= RECORD_BYTES_MAX {
            return Ok(());
        }
        Err(StoreError::Arrow(ArrowError::InvalidArgumentError(format!(
            "commit {} has {len} bytes; a record of the log holds at most {RECORD_BYTES_MAX}",
            self.commit
        ))))
    }

    fn body_len(&self) -> usize {
        self.sections.iter().map(|s| SECTION_HEAD_LEN + s.bytes.len().next_multiple_of(ALIGN)).sum()
    }
}

/// The heads of a record, kept between records so that their memory is reused.
#[derive(Debug, Default)]
pub(super) struct Framer {
    heads: Vec<u8>,
}

impl Framer {
    /// The record as slices to be written one after the other at byte `offset` of a segment.
    /// The sections' bytes are not copied.
    pub(super) fn frame<'a>(&'a mut self, record: &'a LogRecord, offset: u64) -> Vec<&'a [u8]> {
        let body_len = record.body_len();
        self.heads.clear();
        self.heads.resize(HEAD_LEN, 0);
        let mut crc = 0;
        for section in &record.sections {
            let start = self.heads.len();
            self.heads.extend([section.kind, 0, 0, 0]);
            self.heads.extend(section.id.to_le_bytes());
            self.heads.extend(small(section.bytes.len()).to_le_bytes());
            self.heads.extend([0; 4]);
            crc = crc32c::crc32c_append(crc, &self.heads[start..]);
            crc = crc32c::crc32c_append(crc, &section.bytes);
            crc = crc32c::crc32c_append(crc, padding(section.bytes.len()));
        }
        let head = &mut self.heads[..HEAD_LEN];
        head[0..4].copy_from_slice(&MARKER);
        head[4..8].copy_from_slice(&small(body_len).to_le_bytes());
        head[8..16].copy_from_slice(&record.commit.0.to_le_bytes());
        head[16..24].copy_from_slice(&record.at_us.to_le_bytes());
        head[24..28].copy_from_slice(&small(record.sections.len()).to_le_bytes());
        head[28..32].copy_from_slice(&crc.to_le_bytes());
        head[32..40].copy_from_slice(&offset.to_le_bytes());
        let head_crc = crc32c::crc32c(&head[..44]);
        head[44..48].copy_from_slice(&head_crc.to_le_bytes());

        let (head, section_heads) = self.heads.split_at(HEAD_LEN);
        let mut parts = Vec::with_capacity(1 + 3 * record.sections.len());
        parts.push(head);
        for (section, head) in record.sections.iter().zip(section_heads.chunks(SECTION_HEAD_LEN)) {
            parts.extend([head, &section.bytes[..], padding(section.bytes.len())]);
        }
        parts
    }
}

fn padding(len: usize) -> &'static [u8] {
    &ZEROS[..len.next_multiple_of(ALIGN) - len]
}

fn small(len: usize) -> u32 {
    u32::try_from(len).expect("a record is shorter than RECORD_BYTES_MAX")
}

/// A record's head, its checksum found right.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHead {
    pub(super) body_len: usize,
    pub(super) commit: CommitId,
    pub(super) at_us: i64,
    sections: u32,
    body_crc: u32,
}

impl RecordHead {
    /// Reads the head that stands at byte `offset` of a segment, or says what is wrong with it.
    pub(super) fn read(bytes: &[u8; HEAD_LEN], offset: u64) -> Result<Self, String> {
        if bytes[0..4] != MARKER {
            return Err("no record starts here".to_owned());
        }
        let (stored, found) = (u32_at(bytes, 44), crc32c::crc32c(&bytes[..44]));
        if stored != found {
            return Err(format!("the head's checksum is {stored:08x}, its bytes give {found:08x}"));
        }
        if u64_at(bytes, 32) != offset {
            return Err(format!("the record was written for byte {}", u64_at(bytes, 32)));
        }
        if u32_at(bytes, 40) != 0 {
            return Err(format!("the record has unknown flags {:08x}", u32_at(bytes, 40)));
        }
        let body_len = u32_at(bytes, 4) as usize;
        if body_len > RECORD_BYTES_MAX || !body_len.is_multiple_of(ALIGN) {
            return Err(format!("a record cannot have a length of {body_len} bytes"));
        }
        Ok(Self {
            body_len,
            commit: CommitId(u64_at(bytes, 8)),
            at_us: u64_at(bytes, 16).cast_signed(),
            sections: u32_at(bytes, 24),
            body_crc: u32_at(bytes, 28),
        })
    }

    /// Reads the body that belongs to this head, without copying it, or says what is wrong.
    pub(super) fn read_body(&self, body: &Bytes) -> Result<LogRecord, String> {
        let found = crc32c::crc32c(body);
        if found != self.body_crc {
            return Err(format!(
                "the body's checksum is {:08x}, its bytes give {found:08x}",
                self.body_crc
            ));
        }
        let mut sections = Vec::new();
        let mut at = 0;
        for number in 0..self.sections {
            let outside = || format!("section {number} reaches beyond the record");
            let head = body.get(at..at + SECTION_HEAD_LEN).ok_or_else(outside)?;
            at += SECTION_HEAD_LEN;
            let len = u32_at(head, 8) as usize;
            let end = at + len.next_multiple_of(ALIGN);
            if end > body.len() {
                return Err(outside());
            }
            let bytes = body.slice(at..at + len);
            sections.push(Section { kind: head[0], id: u32_at(head, 4), bytes });
            at = end;
        }
        if at != body.len() {
            return Err(format!("{} bytes follow the last section", body.len() - at));
        }
        Ok(LogRecord { commit: self.commit, at_us: self.at_us, sections })
    }
}

/// The number at `at`.
///
/// # Panics
/// When `bytes` ends before: callers pass heads of fixed length.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// As [`u32_at`], for eight bytes.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
