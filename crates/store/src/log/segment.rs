//! One file of the log, read record by record.
//!
//! ```text
//!   file head (64) │ record │ record │ … │ zeros (preallocated)
//! ```
//!
//! What must hold: memory is bounded by one window or one record, whichever is longer; nothing
//! that the file holds can make the reader panic.

use std::sync::Arc;

use bytes::Bytes;
use yeoul_batch::CommitId;

use super::record::{ALIGN, HEAD_LEN, LogRecord, MARKER, RecordHead, u32_at, u64_at};
use crate::{Media, StoreError};

/// The folder of the segments.
pub(super) const DIR: &str = "log";
/// The length of a segment's head; the first record follows it.
pub(super) const FILE_HEAD_LEN: usize = 64;
const MAGIC: [u8; 8] = *b"YEOULLOG";
/// The format version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// How much is read at once. Records that fit are not copied out of it, so this is also what a
/// small retained section can hold in memory.
const WINDOW_LEN: usize = 256 * 1024;

/// The path of the segment that starts with a commit.
pub(super) fn path_of(first: CommitId) -> String {
    format!("{DIR}/{:020}.log", first.0)
}

/// The first commit of a segment, by its file name; `None` for any other file.
pub(super) fn first_of(name: &str) -> Option<CommitId> {
    let digits = name.strip_suffix(".log")?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let number = plain.then(|| digits.parse().ok()).flatten()?;
    // Commits are counted one by one: a number near the end of u64 is not ours.
    (number <= u64::MAX / 2).then_some(CommitId(number))
}

/// The head of a segment.
pub(super) fn file_head(first: CommitId) -> [u8; FILE_HEAD_LEN] {
    let mut head = [0; FILE_HEAD_LEN];
    head[0..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..24].copy_from_slice(&first.0.to_le_bytes());
    let crc = crc32c::crc32c(&head[..60]);
    head[60..64].copy_from_slice(&crc.to_le_bytes());
    head
}

/// What is wrong with a segment's head.
pub(super) enum HeadFault {
    /// A newer program wrote it.
    Newer(u32),
    /// It is not what was written.
    Damaged(String),
}

/// Reads a segment's head: its first commit.
pub(super) fn read_file_head(head: &[u8]) -> Result<CommitId, HeadFault> {
    if head.len() < FILE_HEAD_LEN {
        let reason = format!("the file ends after {} bytes, within its head", head.len());
        return Err(HeadFault::Damaged(reason));
    }
    if head[..8] != MAGIC {
        return Err(HeadFault::Damaged("the file is not a segment of the log".to_owned()));
    }
    let (stored, found) = (u32_at(head, 60), crc32c::crc32c(&head[..60]));
    if stored != found {
        let reason =
            format!("the file head's checksum is {stored:08x}, its bytes give {found:08x}");
        return Err(HeadFault::Damaged(reason));
    }
    match u32_at(head, 8) {
        1..=VERSION => Ok(CommitId(u64_at(head, 16))),
        0 => Err(HeadFault::Damaged("the format version is 0".to_owned())),
        newer => Err(HeadFault::Newer(newer)),
    }
}

/// Where a segment's bytes come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File { media: Arc<dyn Media>, path: String },
    Memory(Bytes),
}

impl Source {
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        match self {
            Self::File { media, path } => media.read_at(path, offset, len),
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).expect("an offset within memory");
                Ok(bytes.slice(start..start + len))
            }
        }
    }
}

/// What stands where a record should start.
#[derive(Debug)]
pub(super) enum Step {
    /// A record. The reader moved behind it.
    Record(LogRecord),
    /// Nothing but zeros up to the end. The reader stays.
    End,
    /// Something that is not a record. The reader stays.
    Bad(String),
}

/// Reads a segment from its first record on.
#[derive(Debug)]
pub(super) struct SegmentReader {
    source: Source,
    len: u64,
    offset: u64,
    window: Bytes,
    window_at: u64,
}

impl SegmentReader {
    /// A reader of the first `len` bytes.
    pub(super) fn new(source: Source, len: u64) -> Self {
        Self { source, len, offset: FILE_HEAD_LEN as u64, window: Bytes::new(), window_at: 0 }
    }

    /// The start of the next record.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The file's head, shorter when the file is.
    pub(super) fn head(&mut self) -> Result<Bytes, StoreError> {
        let len = FILE_HEAD_LEN.min(self.left(0));
        self.bytes(0, len)
    }

    /// What comes next.
    pub(super) fn step(&mut self) -> Result<Step, StoreError> {
        match self.record_at(self.offset)? {
            Ok(record) => {
                self.offset += record.encoded_len() as u64;
                Ok(Step::Record(record))
            }
            Err(_) if self.zeros_from(self.offset)? => Ok(Step::End),
            Err(reason) => Ok(Step::Bad(reason)),
        }
    }

    /// Whether only zeros stand from `offset` to the end.
    pub(super) fn zeros_from(&mut self, mut offset: u64) -> Result<bool, StoreError> {
        while offset < self.len {
            let bytes = self.bytes(offset, self.left(offset).min(WINDOW_LEN))?;
            if bytes.iter().any(|b| *b != 0) {
                return Ok(false);
            }
            offset += bytes.len() as u64;
        }
        Ok(true)
    }

    /// The place of the first whole record behind the one that should start here. One means
    /// that bytes before it were damaged after they had been written.
    pub(super) fn next_whole_record(&mut self) -> Result<Option<u64>, StoreError> {
        let mut offset = self.offset + ALIGN as u64;
        while self.left(offset) >= HEAD_LEN {
            let bytes = self.bytes(offset, self.left(offset).min(WINDOW_LEN))?;
            let marks = bytes.chunks(ALIGN).enumerate();
            for (number, _) in marks.filter(|(_, chunk)| chunk.starts_with(&MARKER)) {
                let candidate = offset + (number * ALIGN) as u64;
                if self.record_at(candidate)?.is_ok() {
                    return Ok(Some(candidate));
                }
            }
            offset += bytes.len().next_multiple_of(ALIGN) as u64;
        }
        Ok(None)
    }

    fn record_at(&mut self, offset: u64) -> Result<Result<LogRecord, String>, StoreError> {
        let left = self.left(offset);
        if left < HEAD_LEN {
            return Ok(Err(format!("the file ends {left} bytes into the record's head")));
        }
        let mut bytes = [0; HEAD_LEN];
        bytes.copy_from_slice(&self.bytes(offset, HEAD_LEN)?);
        let head = match RecordHead::read(&bytes, offset) {
            Ok(head) => head,
            Err(reason) => return Ok(Err(reason)),
        };
        if head.body_len > left - HEAD_LEN {
            return Ok(Err(format!(
                "the file ends {} bytes into a record of {}",
                left,
                HEAD_LEN + head.body_len
            )));
        }
        let body = self.bytes(offset + HEAD_LEN as u64, head.body_len)?;
        Ok(head.read_body(&body))
    }

    fn left(&self, offset: u64) -> usize {
        usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX)
    }

    /// `len` bytes, which the caller knows to be there.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let inside = |reader: &Self| {
            let start = usize::try_from(offset.checked_sub(reader.window_at)?).ok()?;
            let end = start.checked_add(len)?;
            (end <= reader.window.len()).then(|| reader.window.slice(start..end))
        };
        if let Some(bytes) = inside(self) {
            return Ok(bytes);
        }
        if len > WINDOW_LEN {
            return self.source.read_at(offset, len);
        }
        // The window starts on a record's boundary or on its body's, so that sections in it are
        // aligned in memory as they are in the file.
        self.window = self.source.read_at(offset, self.left(offset).min(WINDOW_LEN))?;
        self.window_at = offset;
        Ok(self.window.slice(..len))
    }
}
