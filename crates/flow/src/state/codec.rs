//! Values as bytes that sort like the values.
//!
//! An entry is one or more fields, one after the other:
//!
//! | type | bytes |
//! |---|---|
//! | Boolean, integers, dates, times, Decimal128 | big endian, sign bit flipped |
//! | intervals | months (4 bytes), days (4), nanoseconds (8), each as an integer |
//! | floats | big endian, all bits flipped if negative, else the sign bit (total order) |
//! | FixedSizeBinary(n) | n bytes |
//! | strings, Binary, last field and ascending | as they are |
//! | strings, Binary, elsewhere | 00 as 00 FF, ended by 00 00 |
//!
//! A nullable field begins with a byte that places nulls (00 for what comes first, 01 for what comes last);
//! of a null of fixed width the rest is zero. Descending: the bytes of the value are inverted.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Decimal128Array, FixedSizeBinaryBuilder, Float32Array,
    Float64Array, Int64Array, IntervalMonthDayNanoArray, StringBuilder, StringViewBuilder,
    UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit,
};

use super::blob::damaged;
use super::extreme::Direction;
use crate::error::FlowError;
use crate::group::integers;

/// How one field of an entry is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) data_type: DataType,
    pub(crate) direction: Direction,
    /// Nulls are entries too; else the caller leaves them out.
    pub(crate) nullable: bool,
}

impl Field {
    /// The bytes of a value; `None`: they differ.
    fn width(&self) -> Option<usize> {
        Some(match &self.data_type {
            DataType::Utf8View | DataType::Utf8 | DataType::Binary => return None,
            DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or(0),
            DataType::Boolean => 1,
            other => other.primitive_width().unwrap_or(0),
        })
    }

    fn escaped(&self, last: bool) -> bool {
        !last || self.direction.descending
    }
}

/// The bytes of every entry; 0 when they differ.
pub(super) fn entry_width(fields: &[Field]) -> usize {
    let widths = fields.iter().map(|f| f.width().map(|w| w + usize::from(f.nullable)));
    widths.sum::<Option<usize>>().unwrap_or(0)
}

/// Entries, one after the other.
#[derive(Default)]
pub(super) struct Entries {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Entries {
    pub(super) fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

enum Values<'a> {
    Integers { values: std::borrow::Cow<'a, [i64]>, width: usize, unsigned: bool },
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128]),
    Interval(&'a [IntervalMonthDayNano]),
    View(&'a arrow::array::StringViewArray),
    Text(&'a arrow::array::StringArray),
    Binary(&'a arrow::array::BinaryArray),
    Fixed(&'a arrow::array::FixedSizeBinaryArray),
}

impl<'a> Values<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self, FlowError> {
        let data_type = column.data_type();
        Ok(match data_type {
            DataType::Float32 => Self::Float32(column.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Self::Float64(column.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(..) => {
                Self::Decimal(column.as_primitive::<Decimal128Type>().values())
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Self::Interval(column.as_primitive::<IntervalMonthDayNanoType>().values())
            }
            DataType::Utf8View => Self::View(column.as_string_view()),
            DataType::Utf8 => Self::Text(column.as_string::<i32>()),
            DataType::Binary => Self::Binary(column.as_binary::<i32>()),
            DataType::FixedSizeBinary(_) => Self::Fixed(column.as_fixed_size_binary()),
            _ => {
                let values = integers(column).ok_or_else(|| {
                    FlowError::Unsupported(format!("a set of values of type {data_type}"))
                })?;
                let unsigned = data_type.is_unsigned_integer() || *data_type == DataType::Boolean;
                let width = data_type.primitive_width().unwrap_or(1);
                Self::Integers { values, width, unsigned }
            }
        })
    }

    #[inline]
    fn write(&self, row: usize, escaped: bool, out: &mut Vec<u8>) {
        match self {
            Self::Integers { values, width, unsigned } => {
                let flip = if *unsigned { 0 } else { 1u64 << (width * 8 - 1) };
                let bits = values[row].cast_unsigned() ^ flip;
                out.extend_from_slice(&bits.to_be_bytes()[8 - width..]);
            }
            Self::Float32(values) => {
                let bits = values[row].to_bits();
                let flip = if bits >> 31 == 1 { u32::MAX } else { 1 << 31 };
                out.extend_from_slice(&(bits ^ flip).to_be_bytes());
            }
            Self::Float64(values) => {
                let bits = values[row].to_bits();
                let flip = if bits >> 63 == 1 { u64::MAX } else { 1 << 63 };
                out.extend_from_slice(&(bits ^ flip).to_be_bytes());
            }
            Self::Decimal(values) => {
                let bits = values[row].cast_unsigned() ^ (1 << 127);
                out.extend_from_slice(&bits.to_be_bytes());
            }
            Self::Interval(values) => out.extend_from_slice(&interval_bytes(values[row])),
            Self::View(values) => write_bytes(values.value(row).as_bytes(), escaped, out),
            Self::Text(values) => write_bytes(values.value(row).as_bytes(), escaped, out),
            Self::Binary(values) => write_bytes(values.value(row), escaped, out),
            Self::Fixed(values) => out.extend_from_slice(values.value(row)),
        }
    }
}

fn write_bytes(bytes: &[u8], escaped: bool, out: &mut Vec<u8>) {
    if !escaped {
        out.extend_from_slice(bytes);
        return;
    }
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend([0, 0]);
}

/// The entries of the rows of `columns`.
pub(super) fn encode(fields: &[Field], columns: &[ArrayRef]) -> Result<Entries, FlowError> {
    let rows = columns.first().map_or(0, |c| c.len());
    let values = columns.iter().map(Values::new).collect::<Result<Vec<_>, _>>()?;
    let capacity = rows * entry_width(fields).max(16);
    let mut entries =
        Entries { bytes: Vec::with_capacity(capacity), ends: Vec::with_capacity(rows) };
    for row in 0..rows {
        for (index, (field, values)) in fields.iter().zip(&values).enumerate() {
            let null = columns[index].is_null(row);
            if field.nullable {
                entries.bytes.push(u8::from(null != field.direction.nulls_first));
            }
            let start = entries.bytes.len();
            if null {
                entries.bytes.extend(std::iter::repeat_n(0, field.width().unwrap_or(0)));
                continue;
            }
            values.write(row, field.escaped(index + 1 == fields.len()), &mut entries.bytes);
            if field.direction.descending {
                entries.bytes[start..].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        entries.ends.push(entries.bytes.len());
    }
    Ok(entries)
}

/// The last fields of some entries, null where there is no entry.
pub(super) fn decode_last<'a>(
    fields: &[Field],
    entries: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<ArrayRef, FlowError> {
    let (last, before) = fields.split_last().ok_or_else(damaged)?;
    let mut decoder = Decoder::new(&last.data_type);
    let mut scratch = Vec::new();
    for entry in entries {
        let Some(mut rest) = entry else {
            decoder.push(None)?;
            continue;
        };
        for field in before {
            skip(field, &mut rest)?;
        }
        if last.nullable {
            let mark = *rest.split_off_first().ok_or_else(damaged)?;
            if (mark == 1) != last.direction.nulls_first {
                decoder.push(None)?;
                continue;
            }
        }
        if !last.direction.descending {
            decoder.push(Some(rest))?;
            continue;
        }
        scratch.clear();
        scratch.extend(rest.iter().map(|byte| !byte));
        if last.width().is_none() {
            unescape(&mut scratch)?;
        }
        decoder.push(Some(&scratch))?;
    }
    decoder.finish(&last.data_type)
}

/// Moves behind a field that is not the last.
fn skip(field: &Field, rest: &mut &[u8]) -> Result<(), FlowError> {
    if field.nullable {
        let mark = *rest.split_off_first().ok_or_else(damaged)?;
        if (mark == 1) != field.direction.nulls_first && field.width().is_none() {
            return Ok(());
        }
    }
    if let Some(width) = field.width() {
        rest.split_off(..width).ok_or_else(damaged)?;
        return Ok(());
    }
    let flip = if field.direction.descending { 0xff } else { 0 };
    let end = |pair: &[u8]| pair[0] ^ flip == 0 && pair[1] ^ flip == 0;
    // 00 is always followed by 00 (the end) or FF, so the first 00 00 is the end.
    let at = rest.windows(2).position(end).ok_or_else(damaged)?;
    rest.split_off(..at + 2).ok_or_else(damaged)?;
    Ok(())
}

fn unescape(bytes: &mut Vec<u8>) -> Result<(), FlowError> {
    let Some(length) = bytes.len().checked_sub(2) else { return Err(damaged()) };
    bytes.truncate(length);
    let mut after_zero = false;
    bytes.retain(|&byte| {
        let marker = after_zero && byte == 0xff;
        after_zero = byte == 0;
        !marker
    });
    Ok(())
}

enum Decoder {
    Integers { values: Vec<Option<i64>>, unsigned: bool },
    Float32(Vec<Option<f32>>),
    Float64(Vec<Option<f64>>),
    Decimal(Vec<Option<i128>>),
    Interval(Vec<Option<IntervalMonthDayNano>>),
    View(StringViewBuilder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
}

impl Decoder {
    fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Decimal128(..) => Self::Decimal(Vec::new()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval(Vec::new()),
            DataType::Utf8View => Self::View(StringViewBuilder::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::FixedSizeBinary(width) => Self::Fixed(FixedSizeBinaryBuilder::new(*width)),
            t => {
                let unsigned = t.is_unsigned_integer() || *t == DataType::Boolean;
                Self::Integers { values: Vec::new(), unsigned }
            }
        }
    }

    fn push(&mut self, bytes: Option<&[u8]>) -> Result<(), FlowError> {
        match self {
            Self::Integers { values, unsigned } => {
                let value = bytes.map(|bytes| integer(bytes, *unsigned)).transpose()?;
                values.push(value);
            }
            Self::Float32(values) => values.push(bytes.map(float32).transpose()?),
            Self::Float64(values) => values.push(bytes.map(float64).transpose()?),
            Self::Decimal(values) => {
                let decimal = |bytes: &[u8]| {
                    let bits = u128::from_be_bytes(bytes.try_into().map_err(|_| damaged())?);
                    Ok::<_, FlowError>((bits ^ (1 << 127)).cast_signed())
                };
                values.push(bytes.map(decimal).transpose()?);
            }
            Self::Interval(values) => values.push(bytes.map(interval).transpose()?),
            Self::View(builder) => match bytes {
                Some(bytes) => builder.append_value(str::from_utf8(bytes).map_err(|_| damaged())?),
                None => builder.append_null(),
            },
            Self::Text(builder) => {
                let value = match bytes {
                    Some(bytes) => Some(str::from_utf8(bytes).map_err(|_| damaged())?),
                    None => None,
                };
                builder.append_option(value);
            }
            Self::Binary(builder) => builder.append_option(bytes),
            Self::Fixed(builder) => match bytes {
                Some(bytes) => builder.append_value(bytes)?,
                None => builder.append_null(),
            },
        }
        Ok(())
    }

    fn finish(self, data_type: &DataType) -> Result<ArrayRef, FlowError> {
        Ok(match self {
            Self::Integers { values, .. } => return from_integers(values, data_type),
            Self::Float32(values) => Arc::new(Float32Array::from(values)),
            Self::Float64(values) => Arc::new(Float64Array::from(values)),
            Self::Decimal(values) => {
                Arc::new(Decimal128Array::from(values).with_data_type(data_type.clone()))
            }
            Self::Interval(values) => Arc::new(IntervalMonthDayNanoArray::from(values)),
            Self::View(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Binary(mut builder) => Arc::new(builder.finish()),
            Self::Fixed(mut builder) => Arc::new(builder.finish()),
        })
    }
}

fn integer(bytes: &[u8], unsigned: bool) -> Result<i64, FlowError> {
    let width = bytes.len();
    if !(1..=8).contains(&width) {
        return Err(damaged());
    }
    let mut word = [0u8; 8];
    word[8 - width..].copy_from_slice(bytes);
    let bits = u64::from_be_bytes(word);
    if unsigned {
        return Ok(bits.cast_signed());
    }
    // The flipped sign bit makes the value an offset from the least value of its width.
    let flipped = bits ^ (1 << (width * 8 - 1));
    let up = 64 - width * 8;
    Ok((flipped << up).cast_signed() >> up)
}

fn interval_bytes(value: IntervalMonthDayNano) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&value.months.to_be_bytes());
    bytes[4..8].copy_from_slice(&value.days.to_be_bytes());
    bytes[8..].copy_from_slice(&value.nanoseconds.to_be_bytes());
    flip_signs(&mut bytes);
    bytes
}

fn interval(bytes: &[u8]) -> Result<IntervalMonthDayNano, FlowError> {
    let mut bytes: [u8; 16] = bytes.try_into().map_err(|_| damaged())?;
    flip_signs(&mut bytes);
    let [m0, m1, m2, m3, d0, d1, d2, d3, nanos @ ..] = bytes;
    let months = i32::from_be_bytes([m0, m1, m2, m3]);
    let days = i32::from_be_bytes([d0, d1, d2, d3]);
    Ok(IntervalMonthDayNano::new(months, days, i64::from_be_bytes(nanos)))
}

/// Of the three numbers of an interval.
fn flip_signs(bytes: &mut [u8; 16]) {
    for at in [0, 4, 8] {
        bytes[at] ^= 0x80;
    }
}

fn float32(bytes: &[u8]) -> Result<f32, FlowError> {
    let bits = u32::from_be_bytes(bytes.try_into().map_err(|_| damaged())?);
    Ok(f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits }))
}

fn float64(bytes: &[u8]) -> Result<f64, FlowError> {
    let bits = u64::from_be_bytes(bytes.try_into().map_err(|_| damaged())?);
    Ok(f64::from_bits(if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits }))
}

/// Integers as the type they stand for.
fn from_integers(values: Vec<Option<i64>>, data_type: &DataType) -> Result<ArrayRef, FlowError> {
    if *data_type == DataType::UInt64 {
        let values = values.into_iter().map(|v| v.map(i64::cast_unsigned));
        return Ok(Arc::new(values.collect::<UInt64Array>()));
    }
    let mut array: ArrayRef = Arc::new(Int64Array::from(values));
    if matches!(data_type, DataType::Date32 | DataType::Time32(_)) {
        array = cast(&array, &DataType::Int32)?;
    }
    Ok(cast(&array, data_type)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BooleanArray, Date32Array, FixedSizeBinaryArray, Int16Array, StringViewArray,
        TimestampMicrosecondArray, make_comparator,
    };
    use arrow::compute::SortOptions;

    fn columns() -> Vec<ArrayRef> {
        let uuid = [Some([7u8; 16]), None, Some([1; 16]), Some([9; 16])];
        let uuid = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuid.into_iter(), 16);
        vec![
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])),
            Arc::new(Int16Array::from(vec![Some(-5), Some(i16::MAX), None, Some(0)])),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(1), Some(-1)])),
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(3), None, Some(0)])),
            Arc::new(Float32Array::from(vec![Some(-1.5), Some(f32::NAN), None, Some(2.0)])),
            Arc::new(Float64Array::from(vec![Some(-0.0), Some(0.0), None, Some(f64::INFINITY)])),
            Arc::new(Date32Array::from(vec![Some(-5), Some(20_000), None, Some(0)])),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-5), Some(5), None, Some(1)])
                    .with_timezone("UTC"),
            ),
            Arc::new(
                Decimal128Array::from(vec![Some(-5), Some(1 << 90), None, Some(7)])
                    .with_precision_and_scale(38, 4)
                    .unwrap(),
            ),
            Arc::new(IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano::new(-1, 31, 0)),
                Some(IntervalMonthDayNano::new(0, -1, i64::MAX)),
                None,
                Some(IntervalMonthDayNano::new(0, -1, -5)),
            ])),
            Arc::new(StringViewArray::from(vec![
                Some("a\0b"),
                Some("a"),
                None,
                Some("여울 a string that is not inline"),
            ])),
            Arc::new(uuid.unwrap()),
        ]
    }

    /// Encodes every column before every other, in all directions: entries sort like the columns and
    /// the last field comes back.
    #[test]
    fn entries_sort_like_values_and_come_back() {
        let directions = [(false, false), (false, true), (true, false), (true, true)]
            .map(|(descending, nulls_first)| Direction { descending, nulls_first });
        for a in columns() {
            for b in columns() {
                for (first, second) in
                    directions.iter().flat_map(|x| directions.iter().map(move |y| (*x, *y)))
                {
                    check(&[(&a, first), (&b, second)]);
                }
            }
            directions.iter().for_each(|d| check(&[(&a, *d)]));
        }
    }

    fn check(columns: &[(&ArrayRef, Direction)]) {
        let field = |(column, direction): &(&ArrayRef, Direction)| Field {
            data_type: column.data_type().clone(),
            direction: *direction,
            nullable: true,
        };
        let fields: Vec<Field> = columns.iter().map(field).collect();
        let arrays: Vec<ArrayRef> = columns.iter().map(|(c, _)| Arc::clone(c)).collect();
        let entries = encode(&fields, &arrays).unwrap();
        let compare = |x: usize, y: usize| {
            let mut orders = columns.iter().map(|(column, d)| {
                let Direction { descending, nulls_first } = *d;
                let options = SortOptions { descending, nulls_first };
                make_comparator(column, column, options).unwrap()(x, y)
            });
            orders.find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        for x in 0..4 {
            for y in 0..4 {
                let order = entries.get(x).cmp(entries.get(y));
                assert_eq!(order, compare(x, y), "{fields:?} {x} {y}");
            }
        }
        let back = decode_last(&fields, (0..4).map(|row| Some(entries.get(row)))).unwrap();
        assert_eq!(&back, columns[columns.len() - 1].0, "{fields:?}");
    }
}
