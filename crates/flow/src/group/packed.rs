//! Keys of fixed width, packed into one word per row.
//!
//! Of each column only the bits that vary in this batch are packed: the distance from the least
//! value, without the trailing zero bits that all distances share, and one code more for null when
//! there are nulls. A one-minute window start over an hour takes 24 bits, a product id of 100,000
//! products 17.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, DurationMicrosecondType, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

use super::{Groups, table};

/// One packed column: code = (value − least) >> shift, + 1 where 0 is null.
struct Packed<'a> {
    values: Cow<'a, [i64]>,
    nulls: Option<&'a NullBuffer>,
    least: i64,
    shift: u32,
    bits: u32,
}

/// The groups, when all keys are of fixed width and pack into 128 bits.
pub(super) fn groups(keys: &[ArrayRef], rows: usize) -> Option<Groups> {
    let mut columns = Vec::with_capacity(keys.len());
    for key in keys {
        columns.push(Packed::new(key)?);
    }
    let bits: u32 = columns.iter().map(|c| c.bits).sum();
    if bits <= 64 {
        let words = words64(&columns, rows);
        return Some(if 1u64.checked_shl(bits).is_some_and(|n| n <= dense_max(rows)) {
            dense(&words, bits)
        } else {
            table::number(&words)
        });
    }
    (bits <= 128).then(|| table::number(&words128(&columns, rows)))
}

/// Up to how many codes are looked up in an array instead of a table.
fn dense_max(rows: usize) -> u64 {
    (rows as u64 * 4).max(1 << 10)
}

fn dense(words: &[u64], bits: u32) -> Groups {
    const FREE: u32 = u32::MAX;
    let mut known = vec![FREE; 1 << bits];
    let mut firsts: Vec<u32> = Vec::new();
    let mut ids = Vec::with_capacity(words.len());
    for (row, &word) in (0u32..).zip(words) {
        #[expect(clippy::cast_possible_truncation, reason = "below 1 << bits")]
        let id = &mut known[word as usize];
        if *id == FREE {
            *id = u32::try_from(firsts.len()).expect("no more groups than rows");
            firsts.push(row);
        }
        ids.push(*id);
    }
    Groups { ids, firsts }
}

impl<'a> Packed<'a> {
    fn new(column: &'a ArrayRef) -> Option<Self> {
        let values = integers(column)?;
        let nulls = column.nulls().filter(|n| n.null_count() > 0);
        let (least, greatest, distances) = match nulls {
            None => spread(values.iter().copied()),
            Some(nulls) => spread(nulls.valid_indices().map(|row| values[row])),
        };
        let shift = if distances == 0 { 0 } else { distances.trailing_zeros() };
        let greatest_code =
            u128::from(least.abs_diff(greatest) >> shift) + u128::from(nulls.is_some());
        let bits = u128::BITS - greatest_code.leading_zeros();
        // 65 bits (a full range and nulls) do not fit the word of one column.
        (bits <= 64).then_some(Self { values, nulls, least, shift, bits })
    }

    #[inline]
    fn code(&self, value: i64) -> u64 {
        (value.wrapping_sub(self.least).cast_unsigned()) >> self.shift
    }

    /// Gives the code of every row.
    #[inline]
    fn each(&self, mut take: impl FnMut(usize, u64)) {
        match self.nulls {
            None => self.values.iter().enumerate().for_each(|(row, &v)| take(row, self.code(v))),
            Some(nulls) => nulls.valid_indices().for_each(|row| {
                take(row, self.code(self.values[row]) + 1);
            }),
        }
    }
}

/// The least and the greatest value, and all bits in which any value is away from the first.
fn spread(mut values: impl Iterator<Item = i64>) -> (i64, i64, u64) {
    let Some(first) = values.next() else { return (0, 0, 0) };
    values.fold((first, first, 0), |(least, greatest, bits), value| {
        let distance = value.wrapping_sub(first).cast_unsigned();
        (least.min(value), greatest.max(value), bits | distance)
    })
}

fn words64(columns: &[Packed<'_>], rows: usize) -> Vec<u64> {
    let mut words = vec![0u64; rows];
    let mut at = 0;
    for column in columns.iter().filter(|c| c.bits > 0) {
        column.each(|row, code| words[row] |= code << at);
        at += column.bits;
    }
    words
}

fn words128(columns: &[Packed<'_>], rows: usize) -> Vec<u128> {
    let mut words = vec![0u128; rows];
    let mut at = 0;
    for column in columns.iter().filter(|c| c.bits > 0) {
        column.each(|row, code| words[row] |= u128::from(code) << at);
        at += column.bits;
    }
    words
}

/// The values as integers, one to one; `None` for types of no fixed width or more than 64 bits.
pub(crate) fn integers(column: &ArrayRef) -> Option<Cow<'_, [i64]>> {
    Some(match column.data_type() {
        DataType::Boolean => column.as_boolean().values().iter().map(i64::from).collect(),
        DataType::Int8 => widened::<Int8Type>(column),
        DataType::Int16 => widened::<Int16Type>(column),
        DataType::Int32 => widened::<Int32Type>(column),
        DataType::UInt8 => widened::<UInt8Type>(column),
        DataType::UInt16 => widened::<UInt16Type>(column),
        DataType::UInt32 => widened::<UInt32Type>(column),
        DataType::Date32 => widened::<Date32Type>(column),
        DataType::Time32(TimeUnit::Second) => widened::<Time32SecondType>(column),
        DataType::Time32(TimeUnit::Millisecond) => widened::<Time32MillisecondType>(column),
        DataType::UInt64 => {
            column.as_primitive::<UInt64Type>().values().iter().map(|v| v.cast_signed()).collect()
        }
        DataType::Int64 => borrowed::<Int64Type>(column),
        DataType::Date64 => borrowed::<Date64Type>(column),
        DataType::Time64(TimeUnit::Microsecond) => borrowed::<Time64MicrosecondType>(column),
        DataType::Time64(TimeUnit::Nanosecond) => borrowed::<Time64NanosecondType>(column),
        DataType::Duration(TimeUnit::Microsecond) => borrowed::<DurationMicrosecondType>(column),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => borrowed::<TimestampSecondType>(column),
            TimeUnit::Millisecond => borrowed::<TimestampMillisecondType>(column),
            TimeUnit::Microsecond => borrowed::<TimestampMicrosecondType>(column),
            TimeUnit::Nanosecond => borrowed::<TimestampNanosecondType>(column),
        },
        _ => return None,
    })
}

fn widened<T: ArrowPrimitiveType<Native: Into<i64>>>(column: &ArrayRef) -> Cow<'_, [i64]> {
    let array: &PrimitiveArray<T> = column.as_primitive();
    array.values().iter().map(|&v| v.into()).collect()
}

fn borrowed<T: ArrowPrimitiveType<Native = i64>>(column: &ArrayRef) -> Cow<'_, [i64]> {
    let array: &PrimitiveArray<T> = column.as_primitive();
    Cow::Borrowed(array.values())
}
