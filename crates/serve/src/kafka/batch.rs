//! A batch of records as producers write it (magic 2).
//!
//! ```text
//!   base offset i64 | length i32 | leader epoch i32 | magic i8 | crc32c u32 |          of all that follows
//!   attributes i16 | last offset delta i32 | base timestamp i64 | greatest i64 |
//!   producer id i64 | producer epoch i16 | base sequence i32 | count i32 | records, compressed together
//!
//!   record  length | attributes i8 | timestamp delta | offset delta | key | value | headers      (zigzag varints)
//! ```
//!
//! What must hold: no input panics; what it was before it was compressed has a bound; nothing is reserved for
//! records that are not there.
//!
//! Not here: batches of magic 0 and 1, which no producer since Kafka 0.11 sends: they are refused.

use bytes::{Buf, Bytes};
use yeoul_format::Messages;

use super::unpack::Compression;

/// What stands before the records.
const HEADER_BYTES: usize = 61;
/// What stands before `attributes`, and so is not covered by the checksum.
const UNCHECKED_BYTES: usize = 21;
/// Where the magic is, in batches of every magic.
const MAGIC_AT: usize = 16;
/// The shortest record: six numbers and the attributes.
const RECORD_BYTES_MIN: usize = 7;

const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Why bytes are not a batch that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It is not what was sent.
    #[error("the batch is damaged: {0}")]
    Corrupt(&'static str),
    /// It is written as before Kafka 0.11.
    #[error(
        "the batch has message format {0}; Yeoul takes format 2, which producers write since Kafka 0.11"
    )]
    Old(i8),
    /// The compression is none that is known.
    #[error("the batch has compression {0}, which is not known")]
    Compression(i16),
    /// It cannot be uncompressed.
    #[error("the batch is not readable {how}: {why}")]
    Packed {
        /// The compression.
        how: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It is longer than it may be.
    #[error("the batch has more than {0} bytes of records")]
    TooLong(usize),
    /// It is a part of a transaction.
    #[error("the batch is part of a transaction, which Yeoul does not take")]
    Transaction,
    /// There must be one batch in a request.
    #[error("there are several batches for a partition in one request")]
    Several,
    /// It has no records.
    #[error("the batch has no records")]
    Empty,
}

/// Who sent a batch that must not be stored twice, and which of its batches it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The producer's number.
    pub producer: i64,
    /// How often it began anew.
    pub epoch: i16,
    /// The number of the batch's first record, from 0 to 2³¹ − 1 and from 0 again.
    pub sequence: i32,
}

/// A batch whose header and checksum are right.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `None`: the producer does not care.
    pub origin: Option<Origin>,
    /// How many records it says it has.
    pub count: i32,
    /// How they are compressed.
    pub compression: Compression,
    records: Bytes,
}

impl Batch {
    /// Reads the header.
    pub fn read(bytes: Bytes) -> Result<Self, BatchError> {
        let cut = BatchError::Corrupt("it is cut");
        match bytes.get(MAGIC_AT).map(|magic| i8::from_be_bytes([*magic])) {
            None => return Err(cut),
            Some(old @ (0 | 1)) => return Err(BatchError::Old(old)),
            Some(2) => {}
            Some(_) => return Err(BatchError::Corrupt("its magic is not known")),
        }
        if bytes.len() < HEADER_BYTES {
            return Err(cut);
        }
        let mut head = bytes.slice(8..HEADER_BYTES);
        let length = usize::try_from(head.get_i32()).ok().and_then(|rest| rest.checked_add(12));
        match length {
            Some(length) if length == bytes.len() => {}
            Some(length) if (HEADER_BYTES..bytes.len()).contains(&length) => {
                return Err(BatchError::Several);
            }
            _ => return Err(cut),
        }
        head.advance(4 + 1);
        if head.get_u32() != crc32c::crc32c(&bytes[UNCHECKED_BYTES..]) {
            return Err(BatchError::Corrupt("its checksum is not that of its bytes"));
        }
        let attributes = head.get_i16();
        if attributes & (TRANSACTIONAL | CONTROL) != 0 {
            return Err(BatchError::Transaction);
        }
        head.advance(4 + 8 + 8);
        let (producer, epoch, sequence) = (head.get_i64(), head.get_i16(), head.get_i32());
        let count = head.get_i32();
        if count <= 0 {
            return Err(BatchError::Empty);
        }
        let origin = (producer >= 0).then_some(Origin { producer, epoch, sequence });
        if origin.is_some() && (epoch < 0 || sequence < 0) {
            return Err(BatchError::Corrupt("its producer has no epoch or its records no numbers"));
        }
        let compression = Compression::of(attributes)?;
        Ok(Self { origin, count, compression, records: bytes.slice(HEADER_BYTES..) })
    }

    /// How many bytes its records have as they are sent.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.records.len()
    }

    /// The values of its records, which have `bytes_max` bytes together at most, and their keys into `keys`, where these
    /// are wanted.
    pub fn messages(
        &self,
        bytes_max: usize,
        mut keys: Option<&mut Messages>,
    ) -> Result<Messages, BatchError> {
        let unpacked = self.compression.unpack(&self.records, bytes_max)?;
        let mut rest = &unpacked[..];
        let count = usize::try_from(self.count).map_err(|_| BatchError::Empty)?;
        if count > rest.len() / RECORD_BYTES_MIN {
            return Err(BatchError::Corrupt("it says it has more records than it has"));
        }
        let mut messages = Messages::with_capacity(count, rest.len());
        for _ in 0..count {
            let length = length(&mut rest)?.unwrap_or(0);
            let (mut record, after) =
                rest.split_at_checked(length).ok_or(BatchError::Corrupt("a record is cut"))?;
            rest = after;
            // Attributes; the deltas of timestamp and offset.
            bytes(&mut record, 1)?;
            varint(&mut record)?;
            varint(&mut record)?;
            let key = self::length(&mut record)?;
            let key = key.map(|key| bytes(&mut record, key)).transpose()?;
            if let Some(keys) = &mut keys {
                keys.push_option(key);
            }
            let value = self::length(&mut record)?;
            messages.push_option(value.map(|value| bytes(&mut record, value)).transpose()?);
        }
        if rest.is_empty() {
            Ok(messages)
        } else {
            Err(BatchError::Corrupt("it has more records than it says"))
        }
    }
}

fn bytes<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], BatchError> {
    let cut = rest.split_at_checked(length).ok_or(BatchError::Corrupt("a record is cut"))?;
    *rest = cut.1;
    Ok(cut.0)
}

/// A number of up to 64 bits: 7 in each byte, the lowest first; the sign is the lowest bit.
fn varint(rest: &mut &[u8]) -> Result<i64, BatchError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(BatchError::Corrupt("a record is cut"))?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(BatchError::Corrupt("a number in a record is too long"))
}

/// A length; `None` for nothing.
fn length(rest: &mut &[u8]) -> Result<Option<usize>, BatchError> {
    match varint(rest)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length);
            length.map(Some).map_err(|_| BatchError::Corrupt("a length in a record is negative"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    fn zigzag(to: &mut Vec<u8>, value: i64) {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while left > 0x7f {
            to.put_u8(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        to.put_u8(u8::try_from(left).unwrap());
    }

    fn record(value: Option<&[u8]>) -> Vec<u8> {
        let mut record = vec![0];
        for number in [1_000_000_000_000, 3, 1] {
            zigzag(&mut record, number);
        }
        record.put_u8(b'k');
        zigzag(&mut record, value.map_or(-1, |value| i64::try_from(value.len()).unwrap()));
        record.put_slice(value.unwrap_or_default());
        zigzag(&mut record, 0);
        let mut whole = Vec::new();
        zigzag(&mut whole, i64::try_from(record.len()).unwrap());
        [whole, record].concat()
    }

    fn batch(attributes: i16, count: i32, records: &[u8]) -> Vec<u8> {
        let mut checked = Vec::new();
        checked.put_i16(attributes);
        checked.put_i32(count - 1);
        checked.put_bytes(0, 16);
        checked.put_i64(4711);
        checked.put_i16(2);
        checked.put_i32(17);
        checked.put_i32(count);
        checked.put_slice(records);
        let mut whole = Vec::new();
        whole.put_i64(0);
        whole.put_i32(i32::try_from(checked.len()).unwrap() + 9);
        whole.put_i32(-1);
        whole.put_i8(2);
        whole.put_u32(crc32c::crc32c(&checked));
        [whole, checked].concat()
    }

    fn read(bytes: &[u8]) -> Result<Messages, BatchError> {
        Batch::read(Bytes::copy_from_slice(bytes))?.messages(1 << 20, None)
    }

    #[test]
    fn values_of_records() {
        let records = [record(Some(b"{}")), record(None), record(Some(b""))].concat();
        let packed = zstd::encode_all(&records[..], 1).unwrap();
        for whole in [batch(0, 3, &records), batch(4, 3, &packed)] {
            let read = Batch::read(whole.into()).unwrap();
            let origin = Origin { producer: 4711, epoch: 2, sequence: 17 };
            assert_eq!((read.origin, read.count), (Some(origin), 3));
            let mut keys = Messages::default();
            let messages = read.messages(100, Some(&mut keys)).unwrap();
            assert!(keys.len() == 3 && keys.iter().all(|key| key == Some(b"k")));
            let values: Vec<_> = messages.iter().collect();
            assert_eq!(values, [Some(&b"{}"[..]), None, Some(b"")]);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let records = record(Some(b"{}"));
        let good = batch(0, 1, &records);
        let mut old = good.clone();
        old[16] = 1;
        let mut bent = good.clone();
        bent[63] ^= 1;
        let cases = [
            (good[..60].to_vec(), BatchError::Corrupt("it is cut")),
            (good[..good.len() - 1].to_vec(), BatchError::Corrupt("it is cut")),
            ([good.clone(), good.clone()].concat(), BatchError::Several),
            (old, BatchError::Old(1)),
            (bent, BatchError::Corrupt("its checksum is not that of its bytes")),
            (batch(16, 1, &records), BatchError::Transaction),
            (batch(7, 1, &records), BatchError::Compression(7)),
            (batch(0, 0, b""), BatchError::Empty),
            (
                batch(0, i32::MAX, &records),
                BatchError::Corrupt("it says it has more records than it has"),
            ),
            (
                batch(0, 1, &records.repeat(2)),
                BatchError::Corrupt("it has more records than it says"),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(&bytes).unwrap_err(), expected);
        }
        assert!(matches!(read(&batch(1, 1, b"no")), Err(BatchError::Packed { how: "gzip", .. })));
        assert_eq!(read(&good).unwrap().len(), 1);
    }
}
