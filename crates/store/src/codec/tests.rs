//! What is encoded is decoded, small stays small, and foreign bytes are refused.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray, Float64Array, Int16Array,
    Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray, LargeListArray, LargeStringArray,
    ListArray, MapArray, NullArray, RecordBatchOptions, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Field, Fields, Int8Type, IntervalMonthDayNano, Schema, UInt64Type,
};
use proptest::prelude::*;

use super::*;

/// Numbers without a pattern, from a row and a seed.
fn number(row: usize, seed: u64) -> u64 {
    (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed)
}

fn int(row: usize, seed: u64) -> i64 {
    number(row, seed).cast_signed()
}

/// A fifth of all rows is null.
fn some(row: usize, seed: u64) -> bool {
    !number(row, seed).is_multiple_of(5)
}

fn text(row: usize, seed: u64) -> String {
    let number = number(row, seed);
    match number % 4 {
        0 => String::new(),
        1 => "kürzer".to_owned(),
        2 => format!("a longer text, number {number}"),
        _ => "x".repeat(usize::try_from(number % 700).unwrap()),
    }
}

/// `value` of each row, a fifth of them null.
fn each<T>(rows: usize, seed: u64, value: impl Fn(usize) -> T) -> impl Iterator<Item = Option<T>> {
    (0..rows).map(move |row| some(row, seed).then(|| value(row)))
}

/// One column of every kind that can be stored.
fn columns(rows: usize, seed: u64) -> Vec<ArrayRef> {
    let mut columns = fixed_columns(rows, seed);
    columns.extend(text_columns(rows, seed));
    columns.extend(nested_columns(rows, seed));
    columns
}

fn fixed_columns(rows: usize, seed: u64) -> Vec<ArrayRef> {
    let ints = || (0..rows).map(|row| int(row, seed));
    let uuids = each(rows, seed, |row| [number(row, seed).to_le_bytes()[0]; 16]);
    vec![
        Arc::new(NullArray::new(rows)),
        Arc::new(each(rows, seed, |row| int(row, seed) > 0).collect::<BooleanArray>()),
        Arc::new(each(rows, seed, |_| 3).collect::<Int16Array>()),
        Arc::new(each(rows, seed, |row| int(row, seed)).collect::<Int64Array>()),
        Arc::new(each(rows, seed, |_| 0.5).collect::<Float64Array>()),
        Arc::new(each(rows, seed, |_| 5).collect::<Date32Array>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(ints()).with_timezone("UTC")),
        Arc::new(
            Decimal128Array::from_iter_values(ints().map(i128::from))
                .with_precision_and_scale(30, 4)
                .unwrap(),
        ),
        Arc::new(IntervalMonthDayNanoArray::from_iter_values(
            ints().map(|n| IntervalMonthDayNano::new(1, 2, n)),
        )),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).unwrap()),
    ]
}

fn text_columns(rows: usize, seed: u64) -> Vec<ArrayRef> {
    let texts = || each(rows, seed, |row| text(row, seed));
    let bytes = || texts().map(|text| text.map(String::into_bytes));
    vec![
        Arc::new(texts().collect::<StringArray>()),
        Arc::new(texts().collect::<LargeStringArray>()),
        Arc::new(texts().collect::<StringViewArray>()),
        Arc::new(bytes().collect::<BinaryArray>()),
        Arc::new(bytes().collect::<LargeBinaryArray>()),
        Arc::new(bytes().collect::<BinaryViewArray>()),
    ]
}

fn nested_columns(rows: usize, seed: u64) -> Vec<ArrayRef> {
    let nulls: NullBuffer = (0..rows).map(|row| some(row, seed)).collect();
    let lengths = || (0..rows).map(|row| usize::try_from(number(row, seed) % 3).unwrap());
    let items = lengths().sum::<usize>();
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let item = Arc::new(field("item", DataType::Utf8View, true));
    let values: ArrayRef =
        Arc::new(each(items, seed, |row| text(row, seed)).collect::<StringViewArray>());
    let fields: Fields =
        vec![field("a", DataType::Int64, true), field("b", DataType::Utf8View, true)].into();
    let ints: ArrayRef = Arc::new(each(rows, seed, |row| int(row, seed)).collect::<Int64Array>());
    let views = Arc::new(each(rows, seed, |row| text(row, seed)).collect::<StringViewArray>());
    let structs = StructArray::new(fields, vec![ints, views], Some(nulls.clone()));
    let keys: ArrayRef =
        Arc::new((0..items).map(|row| Some(text(row, seed))).collect::<StringArray>());
    let fields: Fields =
        vec![field("keys", DataType::Utf8, false), field("values", DataType::Utf8View, true)]
            .into();
    let entries = StructArray::new(fields.clone(), vec![keys, Arc::clone(&values)], None);
    let entry = Arc::new(field("entries", DataType::Struct(fields), false));
    let pair = Arc::new(field("item", DataType::Int64, true));
    let pairs = Arc::new(each(rows * 2, seed, |row| int(row, seed)).collect::<Int64Array>());
    let offsets = || OffsetBuffer::from_lengths(lengths());
    let some_lists =
        ListArray::new(Arc::clone(&item), offsets(), Arc::clone(&values), Some(nulls.clone()));
    vec![
        Arc::new(some_lists),
        Arc::new(LargeListArray::new(item, OffsetBuffer::from_lengths(lengths()), values, None)),
        Arc::new(MapArray::new(entry, offsets(), entries, None, false)),
        Arc::new(FixedSizeListArray::new(pair, 2, pairs, Some(nulls))),
        Arc::new(structs),
    ]
}

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let name = |(at, column): (usize, ArrayRef)| (format!("c{at}"), column, true);
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().enumerate().map(name)).unwrap()
}

fn sample(rows: usize, seed: u64) -> RecordBatch {
    batch(columns(rows, seed))
}

fn check(batch: &RecordBatch) -> Bytes {
    let bytes = encode_batch(batch).unwrap();
    let decoded = decode_batch(&batch.schema(), bytes.clone()).unwrap();
    assert_eq!(&decoded, batch);
    for column in decoded.columns() {
        column.to_data().validate_full().unwrap();
    }
    bytes
}

#[test]
fn every_type_comes_back() {
    for rows in [1, 2, 9, 63, 64, 65, 1000] {
        check(&sample(rows, rows as u64));
    }
    for column in columns(100, 1).iter().filter(|c| c.data_type() != &DataType::Null) {
        check(&batch(vec![column.slice(0, 0)]));
        check(&batch(vec![new_null_array(column.data_type(), 70)]));
    }
    let none = RecordBatchOptions::new().with_row_count(Some(5));
    check(&RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &none).unwrap());
}

#[test]
fn slices_come_back() {
    let whole = sample(300, 7);
    for (offset, len) in [(0, 300), (1, 299), (5, 70), (8, 64), (255, 45), (299, 1), (17, 1)] {
        check(&whole.slice(offset, len));
    }
}

#[test]
fn types_that_differ_in_memory_only_are_exchanged() {
    let texts = ["a", "a text that is longer than twelve bytes"];
    let strings = batch(vec![Arc::new(StringArray::from_iter_values(texts))]);
    let views = batch(vec![Arc::new(StringViewArray::from_iter_values(texts))]);
    let decoded = decode_batch(&views.schema(), encode_batch(&strings).unwrap()).unwrap();
    assert_eq!(decoded, views);
}

#[test]
fn a_small_slice_of_a_large_buffer_is_small() {
    let texts = (0..100_000).map(|n| format!("some text that is longer than a view, {n}"));
    let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
    let bytes = check(&batch(vec![views.slice(50_000, 10)]));
    assert!(bytes.len() < 1000, "{}", bytes.len());
    // Views into one shared text, out of order and overlapping.
    let shared = arrow::buffer::Buffer::from(vec![b'x'; 1 << 20]);
    let view = |len, offset| arrow::array::make_view(&vec![b'x'; len], 0, offset);
    let views: Vec<u128> =
        (0..10).map(|n| view(5 + 3 * n, 1000 - 100 * u32::try_from(n).unwrap())).collect();
    let array = StringViewArray::try_new(ScalarBuffer::from(views), vec![shared], None).unwrap();
    assert!(check(&batch(vec![Arc::new(array)])).len() < 400);
}

#[test]
fn one_row_takes_few_bytes() {
    let bytes = check(&events(1));
    assert!(bytes.len() < 180, "{}", bytes.len());
}

#[test]
fn equal_and_similar_values_are_packed() {
    let rows = 10_000;
    let ints: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|n| n % 7)));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(
        (0..rows).map(|n| if n % 2 == 0 { "view" } else { "cart" }),
    ));
    let bytes = check(&batch(vec![ints, texts]));
    assert!(bytes.len() < 4000, "{}", bytes.len());
}

#[test]
fn whole_numbers_of_a_narrow_range_are_narrow() {
    for range in [1_u64, 0x100, 0x101, 0x1_0000, 0x1_0001, 1 << 32, (1 << 32) + 1, u64::MAX] {
        for least in [0, -7, i64::MIN, i64::MAX - 0xFF, 1_700_000_000_000_000] {
            let value = |row| least.wrapping_add((number(row, 1) % range).cast_signed());
            let dense: Int64Array = (0..500).map(|row| Some(value(row))).collect();
            let sparse: Int64Array = each(500, 3, value).collect();
            let ends = [0, range - 1].map(|above| least.wrapping_add(above.cast_signed()));
            let ends: Int64Array = (0..8).map(|row| Some(ends[row % 2])).collect();
            for array in [dense, sparse, ends] {
                let unsigned: ArrayRef = Arc::new(array.unary::<_, UInt64Type>(i64::cast_unsigned));
                check(&batch(vec![unsigned.slice(3, unsigned.len() - 3)]));
                check(&batch(vec![Arc::new(array)]));
            }
        }
    }
}

#[test]
fn uncompressed_buffers_are_not_copied() {
    let noise = |n: i64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()).rotate_left(29);
    let noise: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1000).map(noise)));
    let source = batch(vec![noise]);
    let bytes = encode_batch(&source).unwrap();
    let within = bytes.as_ptr_range();
    let decoded = decode_batch(&source.schema(), bytes).unwrap();
    let values = decoded.column(0).to_data().buffers()[0].as_ptr();
    assert!(within.contains(&values));
}

#[test]
fn another_schema_is_refused() {
    let source = batch(vec![Arc::new(Int64Array::from(vec![1, 2]))]);
    let bytes = encode_batch(&source).unwrap();
    let schema = |fields: Vec<Field>| Arc::new(Schema::new(fields));
    let column = |data_type| Field::new("c0", data_type, true);
    for (other, said) in [
        (schema(vec![]), "1 columns, the schema 0"),
        (schema(vec![column(DataType::Float64)]), "Float64"),
        (schema(vec![column(DataType::Int64), column(DataType::Int64)]), "1 columns, the schema 2"),
    ] {
        let error = decode_batch(&other, bytes.clone()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let nulls = batch(vec![Arc::new(Int64Array::from(vec![None, Some(2)]))]);
    let strict = schema(vec![Field::new("c0", DataType::Int64, false)]);
    assert!(decode_batch(&strict, encode_batch(&nulls).unwrap()).is_err());
}

#[test]
fn what_cannot_be_stored_is_said() {
    let dictionary: DictionaryArray<Int8Type> = ["a", "b"].into_iter().collect();
    let error = encode_batch(&batch(vec![Arc::new(dictionary)])).unwrap_err().to_string();
    assert!(error.contains("cannot be stored"), "{error}");
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let strings = batch(vec![Arc::new(StringArray::from(vec!["ab", "cd"]))]);
    let bytes = encode_batch(&strings).unwrap().to_vec();
    let at = bytes.windows(4).position(|four| four == b"abcd").unwrap();
    for damage in [[0xFF, b'b', b'c', b'd'], [b'a', 0xC3, 0xBC, b'd']] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&damage);
        for text in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
            let schema = Arc::new(Schema::new(vec![Field::new("c0", text, true)]));
            assert!(decode_batch(&schema, bytes.clone().into()).is_err());
        }
    }
}

#[test]
fn a_few_bytes_cannot_ask_for_much_memory() {
    let schema = Arc::new(Schema::new(vec![Field::new("c0", DataType::Int64, true)]));
    let mut bytes =
        encode_batch(&batch(vec![Arc::new(Int64Array::from(vec![1; 1000]))])).unwrap().to_vec();
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(decode_batch(&schema, bytes.clone().into()).is_err());
    bytes[4..8].copy_from_slice(&(1_u32 << 26).to_le_bytes());
    assert!(decode_batch(&schema, bytes.into()).is_err());
}

/// The columns of a shop event.
fn events(rows: usize) -> RecordBatch {
    let row = |n: usize| u64::try_from(n).unwrap().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let id = |n| {
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            row(n) >> 32,
            row(n) & 0xFFFF,
            n & 0xFFF,
            row(n) & 0xFFF,
            row(n) >> 16
        )
    };
    let views =
        |texts: Vec<String>| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(texts)) };
    let ints = |values: Vec<u64>| -> ArrayRef {
        Arc::new(values.into_iter().map(|v| Some(v.cast_signed())).collect::<Int64Array>())
    };
    let ts: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from_iter_values(
            (0..rows).map(|n| 1_700_000_000_000_000 + 37 * row(n).count_ones() as i64),
        )
        .with_timezone("UTC"),
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event_id", views((0..rows).map(id).collect())),
        ("ts", ts),
        ("user_id", views((0..rows).map(|n| format!("u{}", row(n) % 1_000_000)).collect())),
        ("product_id", ints((0..rows).map(|n| row(n) % 100_000).collect())),
        ("category", views((0..rows).map(|n| format!("category {}", row(n) % 30)).collect())),
        ("type", views((0..rows).map(|n| ["impression", "click"][n % 2].to_owned()).collect())),
        (
            "price",
            Arc::new(Float64Array::from_iter_values(
                (0..rows).map(|n| (row(n) % 10_000) as f64 / 100.0),
            )),
        ),
        ("campaign_id", ints((0..rows).map(|n| row(n) % 100).collect())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn version_1_is_read() {
    let source = sample(70, 3);
    let bytes = crate::fixture("batch.v1", || encode_batch(&source).unwrap().to_vec());
    assert_eq!(decode_batch(&source.schema(), bytes.into()).unwrap(), source);
}

proptest! {
    #[test]
    fn any_slice_comes_back(rows in 1_usize..200, seed: u64, a: prop::sample::Index, b: prop::sample::Index) {
        let offset = a.index(rows);
        check(&sample(rows, seed).slice(offset, b.index(rows - offset + 1)));
    }

    /// Whatever is decoded is valid: its values can be looked at.
    #[test]
    fn damaged_bytes_are_refused_or_valid(
        rows in prop::sample::select(vec![1_usize, 20, 100]),
        seed in 0_u64..4,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let source = sample(rows, seed);
        let mut bytes = encode_batch(&source).unwrap().to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        if let Ok(decoded) = decode_batch(&source.schema(), bytes.into()) {
            for column in decoded.columns() {
                column.to_data().validate_full().unwrap();
            }
            let _ = arrow::util::pretty::pretty_format_batches(&[decoded]).map(|text| text.to_string());
        }
    }
}

#[test]
fn every_cut_and_every_flip_of_the_description_is_survived() {
    let source = sample(30, 2);
    let bytes = encode_batch(&source).unwrap();
    for len in 0..bytes.len() {
        assert!(decode_batch(&source.schema(), bytes.slice(..len)).is_err(), "cut at {len}");
    }
    let table = usize::try_from(u32::from_le_bytes(bytes[12..16].try_into().unwrap())).unwrap();
    for at in (0..HEAD_LEN).chain(table..bytes.len()) {
        for value in 0..=u8::MAX {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            let _ = decode_batch(&source.schema(), bytes.into());
        }
    }
}
