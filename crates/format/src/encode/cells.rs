//! A column to be written, resolved to its type once.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray,
    ListArray, PrimitiveArray, StringViewArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int64Type, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use arrow::error::ArrowError;

use super::null_at;

/// The values of a column. Queries give more types than streams have: narrower and wider forms are
/// cast to these, what has no form of its own is shown as Arrow shows it.
#[derive(Debug)]
pub(super) enum Cells {
    Null,
    Bool(BooleanArray),
    Int(PrimitiveArray<Int64Type>),
    Unsigned(PrimitiveArray<UInt64Type>),
    Float32(PrimitiveArray<Float32Type>),
    Float64(PrimitiveArray<Float64Type>),
    Decimal(Decimal128Array, usize),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Timestamp { values: PrimitiveArray<TimestampMicrosecondType>, zoned: bool },
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
    Text(StringViewArray),
    Json(StringViewArray),
    Uuid(FixedSizeBinaryArray),
    Binary(BinaryArray),
    List(ListArray, Box<Cells>),
    Struct(StructArray, Vec<(String, Cells)>),
}

impl Cells {
    pub(super) fn new(field: &Field, array: &ArrayRef) -> Result<Self, ArrowError> {
        let sql_type = field.metadata().get(yeoul_batch::TYPE_KEY).map(String::as_str);
        let to = |wanted: &DataType| {
            if array.data_type() == wanted { Ok(Arc::clone(array)) } else { cast(array, wanted) }
        };
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Self::Int(to(&DataType::Int64)?.as_primitive().clone())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Self::Unsigned(to(&DataType::UInt64)?.as_primitive().clone())
            }
            DataType::Float16 | DataType::Float32 => {
                Self::Float32(to(&DataType::Float32)?.as_primitive().clone())
            }
            DataType::Float64 => Self::Float64(array.as_primitive().clone()),
            DataType::Decimal128(_, scale) if *scale >= 0 => {
                Self::Decimal(array.as_primitive().clone(), usize::from(scale.unsigned_abs()))
            }
            DataType::Date32 => Self::Date(array.as_primitive().clone()),
            DataType::Time32(_) | DataType::Time64(_) => {
                let us = DataType::Time64(TimeUnit::Microsecond);
                Self::Time(to(&us)?.as_primitive().clone())
            }
            DataType::Timestamp(_, zone) => {
                let us = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let values = to(&us)?.as_primitive().clone();
                Self::Timestamp { values, zoned: zone.is_some() }
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Self::Interval(array.as_primitive().clone())
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let values = to(&DataType::Utf8View)?.as_string_view().clone();
                if sql_type == Some("jsonb") { Self::Json(values) } else { Self::Text(values) }
            }
            DataType::FixedSizeBinary(16) if sql_type == Some("uuid") => {
                Self::Uuid(array.as_fixed_size_binary().clone())
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                Self::Binary(to(&DataType::Binary)?.as_binary().clone())
            }
            DataType::Dictionary(_, value) => return Self::new(field, &cast(array, value)?),
            DataType::List(item) => {
                let list = array.as_list::<i32>().clone();
                let items = Self::new(item, list.values())?;
                Self::List(list, Box::new(items))
            }
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                return Self::new(field, &cast(array, &DataType::List(Arc::clone(item)))?);
            }
            DataType::Struct(fields) => {
                let values = array.as_struct().clone();
                let columns = fields.iter().zip(values.columns());
                let cells = columns.map(|(f, c)| Ok((f.name().clone(), Self::new(f, c)?)));
                let cells = cells.collect::<Result<_, ArrowError>>()?;
                Self::Struct(values, cells)
            }
            _ => Self::Text(to(&DataType::Utf8View)?.as_string_view().clone()),
        })
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(a) => null_at(a, row),
            Self::Int(a) => null_at(a, row),
            Self::Unsigned(a) => null_at(a, row),
            Self::Float32(a) => null_at(a, row),
            Self::Float64(a) => null_at(a, row),
            Self::Decimal(a, _) => null_at(a, row),
            Self::Date(a) => null_at(a, row),
            Self::Time(a) => null_at(a, row),
            Self::Timestamp { values, .. } => null_at(values, row),
            Self::Interval(a) => null_at(a, row),
            Self::Text(a) | Self::Json(a) => null_at(a, row),
            Self::Uuid(a) => null_at(a, row),
            Self::Binary(a) => null_at(a, row),
            Self::List(a, _) => null_at(a, row),
            Self::Struct(a, _) => null_at(a, row),
        }
    }

    /// Whether a value's text can hold any character, or be empty.
    pub(super) fn is_free_text(&self) -> bool {
        matches!(
            self,
            Self::Text(_) | Self::Json(_) | Self::List(..) | Self::Struct(..) | Self::Binary(_)
        )
    }
}
