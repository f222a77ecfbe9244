//! The sparse key index of a part: the first key of every block of rows, kept in the file's footer
//! so that a lookup reads only the pages that can hold its keys.
//!
//! Limits: a key is kept up to [`KEY_BYTES_MAX`] bytes; a shortened key only makes a lookup read a
//! block too many. A part of 5 M rows with 20-byte keys has an index of 50 KB.

use std::ops::Range;

use parquet::file::metadata::ParquetMetaData;

use super::format::{KEYS_ENTRY, entry};

/// Rows per block of the index.
pub(crate) const BLOCK_ROWS: usize = 2048;

/// Bytes of a key that are kept.
const KEY_BYTES_MAX: usize = 96;

/// The first keys of a part's blocks, in ordered bytes, shortened.
#[derive(Debug, Default)]
pub(crate) struct SparseKeys {
    block_rows: usize,
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl SparseKeys {
    pub(crate) fn new() -> Self {
        Self { block_rows: BLOCK_ROWS, ends: Vec::new(), bytes: Vec::new() }
    }

    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(&key[..key.len().min(KEY_BYTES_MAX)]);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn key(&self, block: usize) -> &[u8] {
        let from = if block == 0 { 0 } else { self.ends[block - 1] };
        &self.bytes[from..self.ends[block]]
    }

    /// The rows of the blocks that can hold `key`, or keys that begin so; blocks before `from_block` are
    /// known not to.
    /// Also gives the first of these blocks.
    pub(crate) fn rows_for(&self, key: &[u8], from_block: usize) -> (usize, Range<usize>) {
        let short = &key[..key.len().min(KEY_BYTES_MAX)];
        // The last block that starts before the key, because its end may hold it, up to the last
        // one that starts with it.
        let behind = self.partition(from_block, |k| k < short);
        let after = self.partition(behind, |k| &k[..k.len().min(short.len())] <= short);
        let first = behind.saturating_sub(1).max(from_block);
        (first, first * self.block_rows..after * self.block_rows)
    }

    /// The rows of the blocks that can hold keys from `first` to `last`; either may be a prefix.
    pub(crate) fn rows_between(&self, first: &[u8], last: &[u8]) -> Range<usize> {
        let first = &first[..first.len().min(KEY_BYTES_MAX)];
        let last = &last[..last.len().min(KEY_BYTES_MAX)];
        let from = self.partition(0, |k| k < first).saturating_sub(1);
        let to = self.partition(from, |k| &k[..k.len().min(last.len())] <= last);
        from * self.block_rows..to * self.block_rows
    }

    /// The rows of the blocks that can hold keys from `from` up to, and without, `to`.
    pub(crate) fn rows_from_to(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Range<usize> {
        let start = from.map_or(0, |from| {
            let from = &from[..from.len().min(KEY_BYTES_MAX)];
            self.partition(0, |k| k < from).saturating_sub(1)
        });
        // A shortened key is not behind the whole one, so a block that starts at `to` is not needed.
        let end = to.map_or(self.len(), |to| self.partition(start, |k| k < to));
        start * self.block_rows..end * self.block_rows
    }

    /// The first key of every block, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|block| self.key(block))
    }

    fn partition(&self, from: usize, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(self.key(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// As text for the footer: rows per block, then each key, all in hexadecimal, `:` between.
    pub(crate) fn write(&self) -> String {
        let mut text = format!("{:x}", self.block_rows);
        for block in 0..self.len() {
            text.push(':');
            for byte in self.key(block) {
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
                }
            }
        }
        text
    }

    /// Back from the footer; `None` when it is not there or not whole.
    pub(crate) fn read(metadata: &ParquetMetaData) -> Option<Self> {
        let mut fields = entry(metadata, KEYS_ENTRY)?.split(':');
        let block_rows = usize::from_str_radix(fields.next()?, 16).ok().filter(|&rows| rows > 0)?;
        let mut index = Self { block_rows, ends: Vec::new(), bytes: Vec::new() };
        for field in fields {
            let digits = field.as_bytes();
            if digits.len() % 2 != 0 {
                return None;
            }
            for pair in digits.chunks_exact(2) {
                index.bytes.push(digit(pair[0])? << 4 | digit(pair[1])?);
            }
            index.ends.push(index.bytes.len());
        }
        Some(index)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_can_hold_a_key_are_found() {
        let mut index = SparseKeys::new();
        for key in [b"b".as_slice(), b"d", b"d", b"f"] {
            index.push(key);
        }
        let rows = |key: &[u8]| index.rows_for(key, 0).1;
        assert_eq!(rows(b"a"), 0..0);
        assert_eq!(rows(b"b"), 0..BLOCK_ROWS);
        assert_eq!(rows(b"c"), 0..BLOCK_ROWS);
        assert_eq!(rows(b"d"), 0..3 * BLOCK_ROWS);
        assert_eq!(rows(b"e"), 2 * BLOCK_ROWS..3 * BLOCK_ROWS);
        assert_eq!(rows(b"z"), 3 * BLOCK_ROWS..4 * BLOCK_ROWS);
        let between = |from: Option<&[u8]>, to: Option<&[u8]>| index.rows_from_to(from, to);
        assert_eq!(between(None, None), 0..4 * BLOCK_ROWS);
        assert_eq!(between(None, Some(b"a")), 0..0);
        assert_eq!(between(None, Some(b"d")), 0..BLOCK_ROWS);
        assert_eq!(between(Some(b"d"), Some(b"e")), 0..3 * BLOCK_ROWS);
        assert_eq!(between(Some(b"e"), None), 2 * BLOCK_ROWS..4 * BLOCK_ROWS);
    }
}
