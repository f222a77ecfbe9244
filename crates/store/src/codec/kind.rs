//! Which types can be stored, and the number each has in the format.

use arrow::datatypes::{DataType, IntervalUnit};

/// How an array is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No buffers.
    Null,
    /// Validity, bits.
    Boolean,
    /// Validity, values of so many bytes.
    Fixed(usize),
    /// Validity, whole numbers of eight bytes.
    Whole,
    /// Validity, lengths, bytes.
    Bytes,
    /// Validity, lengths; then the items as an array.
    List,
    /// Validity; then the items, so many for each row.
    FixedList(usize),
    /// Validity; then the fields.
    Struct,
}

/// The layout of a type and its number in the format; `None` when it cannot be stored.
///
/// Types that differ only in how their lengths are kept in memory share a number.
pub(super) fn kind(data_type: &DataType) -> Option<(Kind, u8)> {
    let width = data_type.primitive_width();
    let fixed = |number| width.map(|width| (Kind::Fixed(width), number));
    let whole = |number| Some((Kind::Whole, number));
    match data_type {
        DataType::Null => Some((Kind::Null, 1)),
        DataType::Boolean => Some((Kind::Boolean, 2)),
        DataType::Int8 => fixed(3),
        DataType::Int16 => fixed(4),
        DataType::Int32 => fixed(5),
        DataType::Int64 => whole(6),
        DataType::UInt8 => fixed(7),
        DataType::UInt16 => fixed(8),
        DataType::UInt32 => fixed(9),
        DataType::UInt64 => whole(10),
        DataType::Float16 => fixed(11),
        DataType::Float32 => fixed(12),
        DataType::Float64 => fixed(13),
        DataType::Decimal32(_, _) => fixed(14),
        DataType::Decimal64(_, _) => whole(15),
        DataType::Decimal128(_, _) => fixed(16),
        DataType::Decimal256(_, _) => fixed(17),
        DataType::Date32 => fixed(18),
        DataType::Date64 => whole(19),
        DataType::Time32(_) => fixed(20),
        DataType::Time64(_) => whole(21),
        DataType::Timestamp(_, _) => whole(22),
        DataType::Duration(_) => whole(23),
        DataType::Interval(IntervalUnit::YearMonth) => fixed(24),
        DataType::Interval(IntervalUnit::DayTime) => fixed(25),
        DataType::Interval(IntervalUnit::MonthDayNano) => fixed(26),
        DataType::FixedSizeBinary(width) => Some((Kind::Fixed(positive(*width)?), 27)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some((Kind::Bytes, 28)),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Some((Kind::Bytes, 29)),
        DataType::List(_) | DataType::LargeList(_) => Some((Kind::List, 30)),
        DataType::Map(_, _) => Some((Kind::List, 31)),
        DataType::FixedSizeList(_, size) => Some((Kind::FixedList(positive(*size)?), 32)),
        DataType::Struct(_) => Some((Kind::Struct, 33)),
        DataType::Dictionary(_, _)
        | DataType::Union(_, _)
        | DataType::RunEndEncoded(_, _)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => None,
    }
}

fn positive(size: i32) -> Option<usize> {
    usize::try_from(size).ok()
}
