//! The values of a column in the few array types that the binary encoder speaks. Every other array
//! type is cast to one of those once per batch, never per value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, ListArray, StringViewArray, StringViewBuilder,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};

use super::column::{Kind, text_kind, type_of};

/// Whether a value has no form of its own and is shown as JSON.
pub(crate) fn rendered(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => true,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_nested()
        }
        _ => false,
    }
}

/// The values of a column in one of the array types that the encoders speak.
#[derive(Debug)]
pub(crate) enum Values {
    Null,
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    /// With the scale.
    Numeric(Decimal128Array, i8),
    /// A numeric wider than 128 bits, as its decimal text.
    Digits(StringViewArray),
    Text(StringViewArray),
    Jsonb(StringViewArray),
    Bytea(BinaryArray),
    Uuid(FixedSizeBinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Timestamptz(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    /// The lists, their items, and the oid of an item.
    List(ListArray, Box<Values>, u32),
}

impl Values {
    /// The values of `array`, whose metadata is that of `field`.
    pub(crate) fn new(array: &ArrayRef, field: &Field) -> Result<Self, ArrowError> {
        let data_type = array.data_type();
        if rendered(data_type) {
            return Ok(Self::Text(render(array, field)?));
        }
        let wanted = wanted(data_type);
        if let Some(wanted) = &wanted
            && wanted != data_type
        {
            let array = cast(array, wanted)?;
            if matches!(data_type, DataType::Decimal256(..)) {
                return Ok(Self::Digits(array.as_string_view().clone()));
            }
            return Self::new(&array, field);
        }
        Ok(match data_type {
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int16 => Self::Int2(array.as_primitive::<Int16Type>().clone()),
            DataType::Int32 => Self::Int4(array.as_primitive::<Int32Type>().clone()),
            DataType::Int64 => Self::Int8(array.as_primitive::<Int64Type>().clone()),
            DataType::Float32 => Self::Float4(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Self::Float8(array.as_primitive::<Float64Type>().clone()),
            DataType::Decimal128(_, scale) => {
                Self::Numeric(array.as_primitive::<Decimal128Type>().clone(), *scale)
            }
            DataType::Utf8View if text_kind(field) == Kind::Jsonb => {
                Self::Jsonb(array.as_string_view().clone())
            }
            DataType::Utf8View => Self::Text(array.as_string_view().clone()),
            DataType::Binary => Self::Bytea(array.as_binary::<i32>().clone()),
            DataType::FixedSizeBinary(_) => Self::Uuid(array.as_fixed_size_binary().clone()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().clone()),
            DataType::Time64(_) => {
                Self::Time(array.as_primitive::<Time64MicrosecondType>().clone())
            }
            DataType::Timestamp(_, zone) => {
                let values = array.as_primitive::<TimestampMicrosecondType>().clone();
                if zone.is_some() { Self::Timestamptz(values) } else { Self::Timestamp(values) }
            }
            DataType::Interval(_) => {
                Self::Interval(array.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            DataType::List(item) => {
                let lists = array.as_list::<i32>().clone();
                let items = Self::new(lists.values(), item)?;
                Self::List(lists, Box::new(items), type_of(item).oid())
            }
            _ => Self::Null,
        })
    }

    /// Whether the value of `row` is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(a) => a.is_null(row),
            Self::Int2(a) => a.is_null(row),
            Self::Int4(a) => a.is_null(row),
            Self::Int8(a) => a.is_null(row),
            Self::Float4(a) => a.is_null(row),
            Self::Float8(a) => a.is_null(row),
            Self::Numeric(a, _) => a.is_null(row),
            Self::Digits(a) | Self::Text(a) | Self::Jsonb(a) => a.is_null(row),
            Self::Bytea(a) => a.is_null(row),
            Self::Uuid(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Time(a) => a.is_null(row),
            Self::Timestamp(a) | Self::Timestamptz(a) => a.is_null(row),
            Self::Interval(a) => a.is_null(row),
            Self::List(a, _, _) => a.is_null(row),
        }
    }
}

/// The array type that `data_type` is encoded from; `None` for NULLs only.
fn wanted(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Null => return None,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
            if data_type != &DataType::FixedSizeBinary(16) =>
        {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => DataType::List(Arc::clone(item)),
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::RunEndEncoded(_, value) => value.data_type().clone(),
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::FixedSizeBinary(_)
        | DataType::Date32
        | DataType::List(_) => data_type.clone(),
        _ => DataType::Utf8View,
    })
}

/// Values without a form of their own, as JSON.
pub(crate) fn render(array: &ArrayRef, field: &Field) -> Result<StringViewArray, ArrowError> {
    let field: FieldRef = Arc::new(field.clone().with_data_type(array.data_type().clone()));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, array.as_ref(), &options)?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        let text = std::str::from_utf8(&text)
            .map_err(|e| ArrowError::JsonError(format!("rendered JSON is not UTF-8: {e}")))?;
        builder.append_value(text);
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, StructArray};

    #[test]
    fn odd_arrays_are_cast_once() {
        let array: ArrayRef =
            Arc::new(["a", "b", "a"].into_iter().collect::<DictionaryArray<Int32Type>>());
        let field = Field::new("c", array.data_type().clone(), true);
        let Values::Text(values) = Values::new(&array, &field).unwrap() else { panic!("not text") };
        assert_eq!(values.value(2), "a");

        let inner: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let array: ArrayRef = Arc::new(StructArray::from(vec![(
            Arc::new(Field::new("x", DataType::Int64, true)),
            inner,
        )]));
        let field = Field::new("c", array.data_type().clone(), true);
        let Values::Text(values) = Values::new(&array, &field).unwrap() else { panic!("not text") };
        assert_eq!(values.value(0), r#"{"x":1}"#);
    }
}
