//! What a decoder gives back.

use arrow::array::RecordBatch;
use bytes::Bytes;

/// What sort of mistake makes a record bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKind {
    /// It is not of its format: not JSON, too few fields, too long.
    Malformed,
    /// A value has no form of its column's type.
    Invalid,
    /// A value has, and the type cannot hold it.
    OutOfRange,
    /// A value has more characters than its column takes.
    TooLong,
    /// A value is missing where one must be.
    Null,
    /// Its time is too far ahead of now.
    Ahead,
}

/// A record that did not become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Its bytes without the line end, cut to the limit of a row.
    pub raw: Bytes,
    /// Why, for people: lowercase, no full stop; names the column and shows the value.
    pub reason: String,
    /// What sort of mistake it is.
    pub kind: BadKind,
    /// Which record of the decoded bytes it is, from 0.
    pub row: u64,
    /// On which line of the decoded bytes it begins, from 0.
    pub line: u64,
}

/// The rows and the bad rows of some bytes: `records == rows.num_rows() + bad.len()`, but where there are `changes`.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The good rows, in their order.
    pub rows: RecordBatch,
    /// The others, in their order.
    pub bad: Vec<BadRow>,
    /// How many records there were (blank lines are none).
    pub records: u64,
    /// How many line ends were passed, to number the lines of what follows.
    pub lines: u64,
    /// Where records tell of changes, and not each of the good ones is a row as it is now.
    pub changes: Option<Box<RowChanges>>,
}

/// What rows are that records of changes were decoded to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowChanges {
    /// For each row, whether its key is gone. Of such a row only the key means something.
    pub deleted: Vec<bool>,
    /// For each row, which record it is of; ascending. A record may have two.
    pub records: Vec<u64>,
    /// Values that a change did not bring because they stay as they are.
    pub kept: Vec<KeptValues>,
}

/// Columns of one row whose values stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptValues {
    /// The row.
    pub row: usize,
    /// The columns, ascending.
    pub columns: Vec<usize>,
    /// The bytes of its record.
    pub raw: Bytes,
}

/// The records that became rows where each is one row.
#[must_use]
pub fn good_records(records: u64, bad: &[BadRow]) -> Vec<u64> {
    let mut refused = bad.iter().map(|bad| bad.row).peekable();
    (0..records).filter(|row| refused.next_if_eq(row).is_none()).collect()
}

/// Why a record is bad: what [`BadRow`] says of it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) kind: BadKind,
    pub(crate) reason: String,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self { kind: BadKind::Malformed, reason }
    }
}

/// What has been counted of the bytes being decoded.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bad: Vec<BadRow>,
    pub(crate) records: u64,
    pub(crate) lines: u64,
}

impl Progress {
    /// Counts a bad record, whose bytes may have a line end, that begins on the current line.
    #[cold]
    pub(crate) fn refuse(&mut self, record: &[u8], bytes_max: usize, why: impl Into<Refusal>) {
        let raw = record.strip_suffix(b"\n").unwrap_or(record);
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let raw = Bytes::copy_from_slice(&raw[..raw.len().min(bytes_max)]);
        self.push_bad(raw, why.into());
    }

    /// Counts a bad record that begins on the current line.
    pub(crate) fn push_bad(&mut self, raw: Bytes, why: Refusal) {
        let Refusal { kind, reason } = why;
        self.bad.push(BadRow { raw, reason, kind, row: self.records, line: self.lines });
        self.records += 1;
    }

    /// The whole, with the rows.
    pub(crate) fn finish(self, rows: RecordBatch) -> Decoded {
        let Self { bad, records, lines } = self;
        assert_eq!(records, (rows.num_rows() + bad.len()) as u64, "every record is somewhere");
        Decoded { rows, bad, records, lines, changes: None }
    }
}

/// Where each line that is not `blank` ends (behind its line end).
pub(crate) fn line_ends(bytes: &[u8], blank: impl Fn(&[u8]) -> bool) -> Vec<usize> {
    let mut start = 0;
    let newlines = memchr::memchr_iter(b'\n', bytes).map(|newline| newline + 1);
    let last = bytes.last().is_some_and(|&b| b != b'\n').then_some(bytes.len());
    let mut ends = Vec::new();
    for end in newlines.chain(last) {
        let line = bytes[start..end].strip_suffix(b"\n").unwrap_or(&bytes[start..end]);
        if !blank(line) {
            ends.push(end);
        }
        start = end;
    }
    ends
}

/// How many lines end in `bytes`.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// The reason of a record over the limit.
pub(crate) fn too_long(len: usize, limit: usize) -> String {
    format!("the record has {len} bytes, more than row_bytes_max = {limit}")
}
