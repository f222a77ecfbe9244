//! A sorted set of byte strings, with or without counts, as bytes.
//!
//! | bytes | meaning |
//! |---|---|
//! | none | the empty set |
//! | u8 | version, 1 |
//! | u8 | 1: entries have counts; 0: each counts once |
//! | varint | the length of every entry; 0: each has its own |
//! | entries, ascending, distinct | [varint length] bytes [zigzag varint count, never 0] |
//!
//! Varints are LEB128. Counts below zero occur only in states that are still to be merged.

use arrow::error::ArrowError;

use crate::error::FlowError;

const VERSION: u8 = 1;

/// What all blobs of a column share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) counted: bool,
    /// The length of every entry; 0: each has its own.
    pub(super) width: usize,
}

/// Writes blobs of one shape one after the other into a column's bytes.
pub(super) struct Writer {
    shape: Shape,
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    started: bool,
}

impl Writer {
    pub(super) fn new(shape: Shape, blobs: usize) -> Self {
        let mut offsets = Vec::with_capacity(blobs + 1);
        offsets.push(0);
        Self { shape, bytes: Vec::new(), offsets, started: false }
    }

    /// The next entry of the current blob. Entries come in order; a count of 0 is none.
    pub(super) fn entry(&mut self, entry: &[u8], count: i64) {
        if count == 0 {
            return;
        }
        if !self.started {
            self.started = true;
            self.bytes.extend([VERSION, u8::from(self.shape.counted)]);
            write_varint(&mut self.bytes, self.shape.width as u64);
        }
        if self.shape.width == 0 {
            write_varint(&mut self.bytes, entry.len() as u64);
        }
        self.bytes.extend_from_slice(entry);
        if self.shape.counted {
            let zigzag = (count << 1) ^ (count >> 63);
            write_varint(&mut self.bytes, zigzag.cast_unsigned());
        }
    }

    /// A whole blob as it is.
    pub(super) fn copy(&mut self, blob: &[u8]) -> Result<(), FlowError> {
        self.bytes.extend_from_slice(blob);
        self.end()
    }

    /// Ends the current blob.
    pub(super) fn end(&mut self) -> Result<(), FlowError> {
        self.started = false;
        let end = i32::try_from(self.bytes.len())
            .map_err(|_| FlowError::range("a set of values", "2 GiB of state in one batch"))?;
        self.offsets.push(end);
        Ok(())
    }

    pub(super) fn finish(self) -> arrow::array::BinaryArray {
        let offsets = arrow::buffer::OffsetBuffer::new(self.offsets.into());
        arrow::array::BinaryArray::new(offsets, self.bytes.into(), None)
    }
}

/// Adds the entries of `blob` to `into`, each with its count.
pub(super) fn read<'a>(
    blob: &'a [u8],
    shape: Shape,
    into: &mut Vec<(&'a [u8], i64)>,
) -> Result<(), FlowError> {
    let mut rest = blob;
    if rest.is_empty() {
        return Ok(());
    }
    let header = rest.split_off(..2).ok_or_else(damaged)?;
    let width = read_varint(&mut rest)?;
    if header != [VERSION, u8::from(shape.counted)] || width != shape.width as u64 {
        return Err(damaged());
    }
    while !rest.is_empty() {
        let length = if width == 0 { read_varint(&mut rest)? } else { width };
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let entry = rest.split_off(..length).ok_or_else(damaged)?;
        let count = if shape.counted {
            let zigzag = read_varint(&mut rest)?;
            (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
        } else {
            1
        };
        into.push((entry, count));
    }
    Ok(())
}

pub(super) fn damaged() -> FlowError {
    ArrowError::ParseError("the state of a set of values is damaged".into()).into()
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

fn read_varint(rest: &mut &[u8]) -> Result<u64, FlowError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first().ok_or_else(damaged)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_come_back_and_damage_is_refused() {
        for (counted, width) in [(true, 0), (true, 3), (false, 0), (false, 3)] {
            let shape = Shape { counted, width };
            let mut writer = Writer::new(shape, 2);
            let counts = if counted { [5, -70_000, i64::MIN] } else { [1, 1, 1] };
            for (entry, count) in [b"abc", b"abd", b"zzz"].into_iter().zip(counts) {
                writer.entry(entry, count);
            }
            writer.entry(b"zzzz", 0);
            writer.end().unwrap();
            writer.end().unwrap();
            let blobs = writer.finish();
            let mut entries = Vec::new();
            read(blobs.value(0), shape, &mut entries).unwrap();
            read(blobs.value(1), shape, &mut entries).unwrap();
            let expected: Vec<(&[u8], i64)> =
                vec![(b"abc", counts[0]), (b"abd", counts[1]), (b"zzz", counts[2])];
            assert_eq!(entries, expected);
            for cut in 1..4 {
                assert!(read(&blobs.value(0)[..cut], shape, &mut Vec::new()).is_err() || cut == 3);
            }
            let other = Shape { counted: !counted, width };
            assert!(read(blobs.value(0), other, &mut Vec::new()).is_err());
        }
    }
}
