//! Random arrays of a type: small and extreme values, nulls where the column may have them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeListArray, Int32Array, IntervalMonthDayNanoArray, ListArray, NullArray,
    PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StructArray, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalUnit, SchemaRef, Time32MillisecondType,
    Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use rand::RngExt as _;
use rand::rngs::StdRng;

const TEXTS: [&str; 6] =
    ["", "x", "여울", "a \"quoted\" one\n", "NULL", "longer than twelve bytes"];
const JSONS: [&str; 5] = ["null", "{\"a\":[1,\"x\"]}", "12.50", "\"text\"", "[]"];
const DAY_S: i64 = 86_400;

/// A batch of `rows` rows.
pub(super) fn batch(rng: &mut StdRng, schema: &SchemaRef, rows: usize) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| array(rng, field, rows)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).expect("a batch")
}

/// Any number: short ones as often as long ones.
fn number(rng: &mut StdRng) -> i64 {
    match rng.random_range(0..8) {
        0 => [i64::MIN, i64::MAX, 0, -1][rng.random_range(0..4)],
        _ => rng.random::<i64>() >> rng.random_range(0..64),
    }
}

fn nulls(rng: &mut StdRng, field: &Field, rows: usize) -> Option<NullBuffer> {
    let some = field.is_nullable() && rng.random_range(0..4) > 0;
    some.then(|| (0..rows).map(|_| rng.random_range(0..4) > 0).collect::<Vec<_>>().into())
}

fn primitive<T: ArrowPrimitiveType>(
    rows: usize,
    nulls: Option<NullBuffer>,
    one: impl FnMut() -> T::Native,
) -> ArrayRef {
    let values: Vec<T::Native> = std::iter::repeat_with(one).take(rows).collect();
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
}

fn of_texts(rng: &mut StdRng, texts: &[&str], rows: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let texts = (0..rows).map(|row| {
        let text = texts[rng.random_range(0..texts.len())];
        nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)).then_some(text)
    });
    Arc::new(texts.collect::<StringArray>())
}

/// An array of the column `field`.
pub(super) fn array(rng: &mut StdRng, field: &Field, rows: usize) -> ArrayRef {
    let nulls = nulls(rng, field, rows);
    let sql_type = field.metadata().get("yeoul.type").map(String::as_str);
    match field.data_type() {
        DataType::Null => Arc::new(NullArray::new(rows)),
        DataType::Boolean => {
            let values: Vec<bool> = (0..rows).map(|_| rng.random()).collect();
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        DataType::Int8 => primitive::<Int8Type>(rows, nulls, || rng.random()),
        DataType::Int16 => primitive::<Int16Type>(rows, nulls, || rng.random()),
        DataType::Int32 => primitive::<Int32Type>(rows, nulls, || rng.random()),
        DataType::Int64 => primitive::<Int64Type>(rows, nulls, || number(rng)),
        DataType::UInt8 => primitive::<UInt8Type>(rows, nulls, || rng.random()),
        DataType::UInt16 => primitive::<UInt16Type>(rows, nulls, || rng.random()),
        DataType::UInt32 => primitive::<UInt32Type>(rows, nulls, || rng.random()),
        DataType::UInt64 => primitive::<UInt64Type>(rows, nulls, || number(rng).cast_unsigned()),
        DataType::Float32 => primitive::<Float32Type>(rows, nulls, || f32::from_bits(rng.random())),
        DataType::Float64 => primitive::<Float64Type>(rows, nulls, || f64::from_bits(rng.random())),
        DataType::Date32 => primitive::<Date32Type>(rows, nulls, || rng.random()),
        DataType::Decimal128(precision, scale) => {
            let limit = 10_i128.pow((*precision).into());
            let one = |_| (rng.random::<i128>() >> rng.random_range(0..128)) % limit;
            let values: Vec<i128> = (0..rows).map(one).collect();
            let values = Decimal128Array::new(values.into(), nulls);
            Arc::new(values.with_precision_and_scale(*precision, *scale).expect("within them"))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let one =
                |_| IntervalMonthDayNano::new(rng.random(), rng.random(), micros(rng) * 1_000);
            let values: Vec<_> = (0..rows).map(one).collect();
            Arc::new(IntervalMonthDayNanoArray::new(values.into(), nulls))
        }
        DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => {
            time(rng, field.data_type(), rows, nulls)
        }
        DataType::Utf8View if sql_type == Some("jsonb") => {
            let texts = of_texts(rng, &JSONS, rows, nulls);
            cast(&texts, &DataType::Utf8View).expect("texts")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            cast(&of_texts(rng, &TEXTS, rows, nulls), field.data_type()).expect("texts")
        }
        DataType::FixedSizeBinary(size) => {
            let len = rows * usize::try_from(*size).expect("a size");
            let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
            Arc::new(FixedSizeBinaryArray::new(*size, bytes.into(), nulls))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let lens: Vec<usize> = (0..rows).map(|_| rng.random_range(0..100)).collect();
            let bytes: Vec<u8> = (0..lens.iter().sum()).map(|_| rng.random()).collect();
            let offsets = OffsetBuffer::from_lengths(lens);
            let array: ArrayRef = Arc::new(BinaryArray::new(offsets, bytes.into(), nulls));
            cast(&array, field.data_type()).expect("bytes")
        }
        _ => nested(rng, field, rows, nulls),
    }
}

/// Microseconds of not too many hours.
fn micros(rng: &mut StdRng) -> i64 {
    number(rng) % 9_000_000_000_000_000
}

fn time(
    rng: &mut StdRng,
    data_type: &DataType,
    rows: usize,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let mut of_day = |per_second: i64| number(rng).rem_euclid(DAY_S * per_second);
    let mut short = || i32::try_from(of_day(1_000)).expect("a day is short");
    let array = match data_type {
        DataType::Time32(TimeUnit::Second) => {
            primitive::<Time32SecondType>(rows, nulls, || short() / 1_000)
        }
        DataType::Time32(_) => primitive::<Time32MillisecondType>(rows, nulls, short),
        DataType::Time64(TimeUnit::Microsecond) => {
            primitive::<Time64MicrosecondType>(rows, nulls, || of_day(1_000_000))
        }
        DataType::Time64(_) => {
            primitive::<Time64NanosecondType>(rows, nulls, || of_day(1_000_000_000))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            primitive::<TimestampSecondType>(rows, nulls, || number(rng) / 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            primitive::<TimestampMillisecondType>(rows, nulls, || number(rng) / 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive::<TimestampMicrosecondType>(rows, nulls, || number(rng))
        }
        _ => primitive::<TimestampNanosecondType>(rows, nulls, || number(rng)),
    };
    // With its zone.
    make_array(
        array.to_data().into_builder().data_type(data_type.clone()).build().expect("the same"),
    )
}

/// Lists, structs and dictionaries.
fn nested(rng: &mut StdRng, field: &Field, rows: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    match field.data_type() {
        DataType::List(item) => {
            let lens: Vec<usize> = (0..rows).map(|_| rng.random_range(0..4)).collect();
            let items = array(rng, item, lens.iter().sum());
            let offsets = OffsetBuffer::from_lengths(lens);
            Arc::new(ListArray::new(Arc::clone(item), offsets, items, nulls))
        }
        DataType::LargeList(item) => {
            let list = Field::new("", DataType::List(Arc::clone(item)), field.is_nullable());
            cast(&array(rng, &list, rows), field.data_type()).expect("lists")
        }
        DataType::FixedSizeList(item, len) => {
            let items = array(rng, item, rows * usize::try_from(*len).expect("a length"));
            Arc::new(FixedSizeListArray::new(Arc::clone(item), *len, items, nulls))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| array(rng, field, rows)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        DataType::Dictionary(_, value) => {
            let values = array(rng, &Field::new("", value.as_ref().clone(), false), 5);
            let keys: Vec<i32> = (0..rows).map(|_| rng.random_range(0..5)).collect();
            Arc::new(DictionaryArray::new(Int32Array::new(keys.into(), nulls), values))
        }
        other => unreachable!("{other}"),
    }
}
