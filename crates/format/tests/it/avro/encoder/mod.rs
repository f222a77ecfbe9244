//! Rows as Avro: bytes and schemas by cases, names, envelopes. Random batches and what others read of
//! them are in `round`.

mod arrays;
mod round;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray,
    Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    NullArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, IntervalMonthDayNano, Schema, SchemaRef};
use serde_json::{Value, json};
use yeoul_format::{
    AvroDecoder, AvroEncoder, AvroEnvelope, AvroRow, AvroSource, DecodeOptions, FieldPath,
    avro_envelope_schema, avro_schema, confluent_prefix,
};

use super::{block, number, text};
use crate::sample::{columns, every_type, shown, tagged};

/// The rows as messages.
pub(crate) fn messages(rows: &RecordBatch) -> Vec<Vec<u8>> {
    let encoder = AvroEncoder::new(rows).expect("known types");
    let message = |row| {
        let mut out = Vec::new();
        encoder.row(row, &mut out);
        out
    };
    (0..encoder.rows()).map(message).collect()
}

fn one_column(field: Field, array: ArrayRef) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).expect("a batch")
}

/// The schema of a record of these columns.
fn json_of(schema: &SchemaRef) -> Value {
    let text = avro_schema(schema, "Row", "").expect("known types");
    serde_json::from_str(&text).expect("JSON")
}

/// An array as a column that must not be null: its type, and its values.
fn check(array: impl Into<ArrayRef>, one: Value, expected: &[&[u8]]) {
    let array = array.into();
    for nullable in [false, true] {
        let field = Field::new("v", array.data_type().clone(), nullable);
        let rows = one_column(field, Arc::clone(&array));
        let (one, prefix) = match nullable {
            true if one != "null" => (json!(["null", one]), &[2][..]),
            _ => (one.clone(), &[][..]),
        };
        assert_eq!(json_of(&rows.schema())["fields"][0]["type"], one);
        let expected: Vec<_> = expected.iter().map(|bytes| [prefix, bytes].concat()).collect();
        assert_eq!(messages(&rows), expected, "{one}");
    }
}

#[test]
fn values_of_the_specification() {
    fn array(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }
    let logical = |one: &str, name: &str| json!({"type": one, "logicalType": name});
    let decimal = |precision: u8, scale: i8| json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale});
    check(array(NullArray::new(1)), json!("null"), &[&[]]);
    check(array(BooleanArray::from(vec![false, true])), json!("boolean"), &[&[0], &[1]]);
    check(array(Int16Array::from(vec![-1, 300])), json!("int"), &[&[1], &[0xd8, 4]]);
    check(array(Int32Array::from(vec![-64, 64])), json!("int"), &[&[0x7f], &[0x80, 1]]);
    let int64 = array(Int64Array::from(vec![27, i64::MIN]));
    check(int64, json!("long"), &[&[0x36], &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]]);
    let unsigned = array(UInt64Array::from(vec![0, u64::MAX]));
    let max = [18, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    check(unsigned, decimal(20, 0), &[&[2, 0], &max]);
    check(array(Float64Array::from(vec![1.5])), json!("double"), &[&1.5_f64.to_le_bytes()]);
    let decimals = Decimal128Array::from(vec![0, 12_345, -12_345, 128, -128]);
    let decimals = decimals.with_precision_and_scale(10, 2).expect("within them");
    let expected: [&[u8]; 5] =
        [&[2, 0], &[4, 0x30, 0x39], &[4, 0xcf, 0xc7], &[4, 0, 0x80], &[2, 0x80]];
    check(array(decimals), decimal(10, 2), &expected);
    check(array(StringArray::from(vec!["foo", ""])), json!("string"), &[&text("foo"), &[0]]);
    check(array(StringViewArray::from(vec!["여울"])), json!("string"), &[&text("여울")]);
    check(array(BinaryArray::from(vec![&[0, 0xff][..]])), json!("bytes"), &[&[4, 0, 0xff]]);
    let bytes = array(FixedSizeBinaryArray::new(3, vec![9_u8; 3].into(), None));
    check(bytes, json!("bytes"), &[&[6, 9, 9, 9]]);
    let interval = IntervalMonthDayNano::new(14, -3, 14_706_700_000_000);
    let intervals = array(IntervalMonthDayNanoArray::from(vec![interval]));
    check(intervals, json!("string"), &[&text("1 year 2 mons -3 days +04:05:06.7")]);
    let micros = [number(1_000_000), number(-1)];
    let micros = [&micros[0][..], &micros[1]];
    let seconds = TimestampSecondArray::from(vec![1]).with_timezone("Asia/Seoul");
    check(array(seconds), logical("long", "timestamp-micros"), &micros[..1]);
    let millis = TimestampMillisecondArray::from(vec![1_000]);
    check(array(millis), logical("long", "local-timestamp-micros"), &micros[..1]);
    let nanos = TimestampNanosecondArray::from(vec![1_000_000_999, -1_000]);
    check(array(nanos), logical("long", "local-timestamp-micros"), &micros);
    let list = vec![Some(vec![Some(1), None]), Some(vec![])];
    let list = array(ListArray::from_iter_primitive::<Int64Type, _, _>(list));
    let items = json!({"type": "array", "items": ["null", "long"]});
    check(list, items, &[&[4, 2, 2, 0, 0], &[0]]);
}

#[test]
fn nulls_are_the_first_branch() {
    let array = Arc::new(StringArray::from(vec![Some("a"), None]));
    let rows = one_column(Field::new("v", DataType::Utf8, true), array);
    assert_eq!(messages(&rows), [&[2, 2, b'a'][..], &[0]]);
    let uuid = Arc::new(FixedSizeBinaryArray::new(16, vec![0xab_u8; 16].into(), None));
    let rows = one_column(tagged("u", DataType::FixedSizeBinary(16), "uuid"), uuid);
    let expected = text("abababab-abab-abab-abab-abababababab");
    assert_eq!(messages(&rows), [[&[2], &expected[..]].concat()]);
    let none: ArrayRef = Arc::new(NullArray::new(1));
    let rows = one_column(Field::new("v", DataType::Null, true), none);
    assert_eq!(messages(&rows), [[0; 0]]);
}

#[test]
fn the_schema_of_every_type() {
    let text = avro_schema(&every_type(), "Row", "shop").expect("known types");
    assert!(text.starts_with(
        r#"{"type":"record","name":"Row","namespace":"shop","fields":[{"name":"b","type":["null","boolean"],"default":null},"#
    ), "{text}");
    let types = serde_json::from_str::<Value>(&text).expect("JSON")["fields"].clone();
    let types: Vec<String> = types
        .as_array()
        .expect("a list")
        .iter()
        .map(|field| {
            assert_eq!((&field["type"][0], &field["default"]), (&json!("null"), &Value::Null));
            let one = &field["type"][1];
            let one = one.get("logicalType").unwrap_or(one);
            format!("{} {one}", field["name"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        types,
        [
            "b boolean",
            "i2 int",
            "i4 int",
            "i8 long",
            "f4 float",
            "f8 double",
            "n decimal",
            "s string",
            "s3 string",
            "d date",
            "t time-micros",
            "ts local-timestamp-micros",
            "tz timestamp-micros",
            "iv string",
            "j string",
            "u uuid",
            "y bytes",
            "l {type:array,items:[null,long]}",
            "ls {type:array,items:[null,string]}",
        ]
    );
}

#[test]
fn names_that_avro_does_not_have() {
    let place = DataType::Struct(vec![Field::new("x y", DataType::Int64, false)].into());
    let places = DataType::List(Arc::new(Field::new("item", place.clone(), false)));
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("amount in €", DataType::Int64, false),
        Field::new("a-b", place, false),
        Field::new("a_b", places, false),
    ]));
    let found = avro_schema(&schema, "shop.orders", "com.my-shop").expect("known types");
    let inner = |name: &str| {
        json!({"type": "record", "name": name,
            "fields": [{"name": "x_y", "doc": "x y", "type": "long"}]})
    };
    let expected = json!({
        "type": "record", "name": "shop_orders", "namespace": "com.my_shop", "doc": "shop.orders",
        "fields": [
            {"name": "amount_in__", "doc": "amount in €", "type": "long"},
            {"name": "a_b_2", "doc": "a-b", "type": inner("shop_orders_a_b_2")},
            {"name": "a_b", "type": {"type": "array", "items": inner("shop_orders_a_b")}},
        ],
    });
    assert_eq!(found, expected.to_string());

    let amounts: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let rows = one_column(schema.field(0).clone(), amounts);
    let writer = avro_schema(&rows.schema(), "int", "").expect("known types");
    assert!(writer.contains(r#""name":"int_","doc":"int""#), "{writer}");
    let path = FieldPath::parse("amount_in__").expect("a path");
    let mapping = vec![("amount in €".to_owned(), path)];
    let options = DecodeOptions { mapping, ..DecodeOptions::default() };
    let mut decoder = AvroDecoder::plain(rows.schema(), &options, &writer).expect("a schema");
    let decoded = decoder.decode_messages(&block(&messages(&rows)), None).expect("decodes");
    assert_eq!(decoded.rows, rows);
}

#[test]
fn what_avro_cannot_have_is_refused() {
    let late = Arc::new(TimestampSecondArray::from(vec![0, i64::MAX]));
    let rows = one_column(Field::new("at", late.data_type().clone(), true), late);
    let error = AvroEncoder::new(&rows).expect_err("beyond all microseconds").to_string();
    assert!(error.starts_with("column \"at\" cannot be written as Avro: "), "{error}");
    let entries = DataType::Struct(
        vec![Field::new("k", DataType::Utf8, false), Field::new("v", DataType::Utf8, true)].into(),
    );
    let map = DataType::Map(Arc::new(Field::new("entries", entries, false)), false);
    let error = avro_schema(&columns(&[("m", map)]), "Row", "").expect_err("a map").to_string();
    assert!(error.starts_with("column \"m\" cannot be written as Avro: "), "{error}");
}

#[test]
fn what_stands_in_front() {
    let mut out = vec![9];
    confluent_prefix(66_051, &mut out);
    assert_eq!(out, [9, 0, 0, 1, 2, 3]);
}

fn orders(ids: Vec<i64>, skus: Vec<Option<&str>>) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("sku", DataType::Utf8View, true),
    ]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(ids)), Arc::new(StringViewArray::from(skus))];
    RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
}

#[test]
fn the_schema_of_an_envelope() {
    let schema = orders(vec![], vec![]).schema();
    let found = avro_envelope_schema(&schema, "Envelope", "shop.orders").expect("known types");
    let expected = concat!(
        r#"{"type":"record","name":"Envelope","namespace":"shop.orders","fields":["#,
        r#"{"name":"before","type":["null",{"type":"record","name":"Value","fields":["#,
        r#"{"name":"id","type":"long"},"#,
        r#"{"name":"sku","type":["null","string"],"default":null}]}],"default":null},"#,
        r#"{"name":"after","type":["null","Value"],"default":null},"#,
        r#"{"name":"source","type":{"type":"record","name":"Source","fields":["#,
        r#"{"name":"connector","type":"string"},{"name":"name","type":"string"},{"name":"table","type":"string"},"#,
        r#"{"name":"commit","type":"long"},{"name":"ts_ms","type":"long"}]}},"#,
        r#"{"name":"op","type":"string"},"#,
        r#"{"name":"ts_ms","type":["null","long"],"default":null}]}"#,
    );
    assert_eq!(found, expected);
    let taken = avro_envelope_schema(&schema, "Value", "").expect("known types");
    let start = r#"{"type":"record","name":"Value","fields":[{"name":"before","type":["null",{"type":"record","name":"Value_2""#;
    assert!(taken.starts_with(start), "{taken}");
    assert!(taken.contains(r#"{"name":"after","type":["null","Value_2"]"#), "{taken}");
}

#[test]
fn envelopes_come_back() {
    let (old, new) = (orders(vec![1, 2], vec![None, Some("a")]), orders(vec![2], vec![Some("b")]));
    let encoders = [&old, &new].map(|rows| AvroEncoder::new(rows).expect("known types"));
    let before = AvroRow { encoder: &encoders[0], row: 1 };
    let after = AvroRow { encoder: &encoders[1], row: 0 };
    let source =
        AvroSource { connector: "yeoul", name: "out", table: "orders", commit: 41, ts_ms: -5 };
    let change = AvroEnvelope { before: None, after: None, source, op: "", ts_ms: None };
    let all = [
        AvroEnvelope { after: Some(after), op: "c", ts_ms: Some(1_000), ..change },
        AvroEnvelope { before: Some(before), after: Some(after), op: "u", ..change },
        AvroEnvelope { before: Some(before), op: "d", ..change },
    ];
    let all = all.map(|change| {
        let mut out = Vec::new();
        change.write(&mut out);
        out
    });
    let source = [&text("yeoul")[..], &text("out"), &text("orders"), &[82, 9]].concat();
    let deleted = [&[2, 4, 2, 2, b'a', 0], &source[..], &[2, b'd', 0]].concat();
    assert_eq!(all[2], deleted);

    let schema: SchemaRef = Arc::new(Schema::new(vec![
        tagged("before", DataType::Utf8View, "jsonb"),
        tagged("after", DataType::Utf8View, "jsonb"),
        tagged("source", DataType::Utf8View, "jsonb"),
        Field::new("op", DataType::Utf8View, false),
        Field::new("ts_ms", DataType::Int64, true),
        Field::new("commit", DataType::Int64, false),
    ]));
    let path = FieldPath::parse("source.commit").expect("a path");
    let mapping = vec![("commit".to_owned(), path)];
    let options = DecodeOptions { mapping, ..DecodeOptions::default() };
    for namespace in ["", "shop"] {
        let writer = avro_envelope_schema(&old.schema(), "Envelope", namespace);
        let writer = writer.expect("known types");
        let decoder = AvroDecoder::plain(Arc::clone(&schema), &options, &writer);
        let decoded = decoder.expect("a schema").decode_messages(&block(&all), None);
        let source = r#""source":{"connector":"yeoul","name":"out","table":"orders","commit":41,"ts_ms":-5}"#;
        assert_eq!(
            shown(&decoded.expect("decodes").rows),
            [
                r#"{"before":null,"after":{"id":2,"sku":"b"},SOURCE,"op":"c","ts_ms":1000,"commit":41}"#,
                r#"{"before":{"id":2,"sku":"a"},"after":{"id":2,"sku":"b"},SOURCE,"op":"u","ts_ms":null,"commit":41}"#,
                r#"{"before":{"id":2,"sku":"a"},"after":null,SOURCE,"op":"d","ts_ms":null,"commit":41}"#,
                "",
            ]
            .join("\n")
            .replace("SOURCE", source)
        );
    }
}

#[test]
fn structs_are_records() {
    let point =
        vec![Field::new("x", DataType::Int64, false), Field::new("label", DataType::Utf8, true)];
    let values: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2])),
        Arc::new(StringArray::from(vec![Some("a"), None])),
    ];
    let points = StructArray::new(point.into(), values, Some(vec![false, true].into()));
    let rows = one_column(Field::new("p", points.data_type().clone(), true), Arc::new(points));
    assert_eq!(messages(&rows), [&[0][..], &[2, 4, 0]]);
    assert_eq!(messages(&rows.slice(1, 1)), [&[2, 4, 0]]);
}
