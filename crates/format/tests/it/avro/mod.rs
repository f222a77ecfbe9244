//! Avro messages: their schemas, what cannot be read, what arrow-avro writes. Types into columns are
//! in `values`, random messages in `twin`, what we write in `encoder`.

mod encoder;
mod random;
mod twin;
mod values;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_avro::schema::{AvroSchema, FingerprintStrategy};
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::{AvroBinaryFormat, AvroSoeFormat};
use yeoul_format::{
    AvroDecoder, BadKind, DecodeOptions, Decoded, FieldPath, FormatError, Messages, TimeLimit,
};

use crate::sample::{columns, decode, every_type, shown, tagged};

/// A number as Avro writes it.
pub(crate) fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

pub(crate) fn number(value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    long(value, &mut out);
    out
}

pub(crate) fn text(value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = number(value.as_ref().len() as i64);
    out.extend_from_slice(value.as_ref());
    out
}

pub(crate) fn block<T: AsRef<[u8]>>(messages: &[T]) -> Messages {
    let mut block = Messages::default();
    messages.iter().for_each(|message| block.push(message.as_ref()));
    block
}

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"ID","type":"long"},
    {"name":"unknown","type":{"type":"array","items":"string"}},
    {"name":"item","type":["null",{"type":"record","name":"Item","fields":[
        {"name":"sku","type":"string"},{"name":"price","type":"double"}]}]},
    {"name":"tags","type":{"type":"map","values":"string"}}]}"#;

fn orders() -> (SchemaRef, DecodeOptions) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("sku", DataType::Utf8View, true),
        Field::new("color", DataType::Utf8View, true),
        tagged("item", DataType::Utf8View, "jsonb"),
        Field::new("absent", DataType::Int64, true),
    ]));
    let path =
        |column: &str, path: &str| (column.to_owned(), FieldPath::parse(path).expect("a path"));
    let mapping = vec![path("sku", "item.SKU"), path("color", "tags.color")];
    (schema, DecodeOptions { mapping, ..DecodeOptions::default() })
}

fn order(id: i64, sku: Option<&str>, tags: &[(&str, &str)]) -> Vec<u8> {
    let mut out = number(id);
    out.extend([&[4][..], &text("junk"), &text([0xff]), &[0]].concat());
    match sku {
        None => out.push(0),
        Some(sku) => out.extend([&[2][..], &text(sku), &2.5_f64.to_le_bytes()].concat()),
    }
    for (key, value) in tags {
        out.extend([&[2][..], &text(key), &text(value)].concat());
    }
    out.push(0);
    out
}

#[test]
fn fields_are_found_by_name_and_path() {
    let (schema, options) = orders();
    let mut decoder = AvroDecoder::plain(schema, &options, ORDER).expect("a schema");
    let messages = block(&[
        order(1, Some("a-1"), &[("size", "s"), ("color", "red"), ("color", "blue")]),
        order(2, None, &[]),
    ]);
    let decoded = decoder.decode_messages(&messages, None).expect("decodes");
    assert_eq!(
        shown(&decoded.rows),
        concat!(
            r#"{"id":1,"sku":"a-1","color":"blue","item":{"sku":"a-1","price":2.5},"absent":null}"#,
            "\n",
            r#"{"id":2,"sku":null,"color":null,"item":null,"absent":null}"#,
            "\n",
        )
    );
}

#[test]
fn a_key_of_a_map_that_is_repeated_counts_with_the_last() {
    let writer = r#"{"type":"record","name":"R","fields":[{"name":"m","type":{"type":"map","values":
        ["null",{"type":"record","name":"V","fields":[{"name":"x","type":"long"}]}]}}]}"#;
    let path = FieldPath::parse("m.k.x").expect("a path");
    let options =
        DecodeOptions { mapping: vec![("x".to_owned(), path)], ..DecodeOptions::default() };
    let schema = columns(&[("x", DataType::Int64)]);
    let mut decoder = AvroDecoder::plain(schema, &options, writer).expect("a schema");
    let entry = |key: &str, value: &[u8]| [&text(key)[..], value].concat();
    let (five, six) = (entry("k", &[2, 10]), entry("k", &[2, 12]));
    let messages = block(&[
        [&[4][..], &five, &six, &[0]].concat(),
        [&[4][..], &five, &entry("k", &[0]), &[0]].concat(),
        [&[4][..], &five, &entry("K", &[0]), &[0]].concat(),
    ]);
    let decoded = decoder.decode_messages(&messages, None).expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"x\":6}\n{\"x\":null}\n{\"x\":5}\n");
}

#[test]
fn messages_that_cannot_be_read_stand_alone() {
    let (schema, options) = orders();
    let options = DecodeOptions { row_bytes_max: 40, ..options };
    let mut decoder = AvroDecoder::registered(schema, &options).expect("plain types");
    let good = [&[0, 0, 0, 0, 7][..], &order(1, Some("a"), &[])].concat();
    let mut messages = block(&[
        good.clone(),
        [&good[..], &[0]].concat(),
        [&good[..], &[0, 1]].concat(),
        good[..10].to_vec(),
        vec![0, 0, 0],
        b"{}".to_vec(),
        vec![],
        [0; 41].to_vec(),
        vec![0, 0, 0, 0, 9],
        [&[0, 0, 0, 0, 7][..], &number(3), &[0, 8]].concat(),
    ]);
    messages.push_null();
    messages.push(&good);

    assert_eq!(decoder.missing(&messages), [0, 7, 9]);
    let error = decoder.decode_messages(&messages, None);
    assert_eq!(error.err(), Some(FormatError::SchemasMissing(vec![0, 7, 9])));
    decoder.learn(7, ORDER, &[]).expect("a schema");
    decoder.refuse(0, "the registry does not have it");
    assert_eq!(decoder.missing(&messages), [9]);
    assert!(decoder.learn(9, "\"long\"", &[]).is_err());
    assert_eq!(decoder.missing(&messages), [0; 0]);
    let decoded = decoder.decode_messages(&messages, None).expect("decodes");
    let bad: Vec<_> = decoded.bad.iter().map(|bad| (bad.row, bad.reason.as_str())).collect();
    assert_eq!(
        bad,
        [
            (1, "the message has a byte more than its record"),
            (2, "the message has 2 bytes more than its record"),
            (3, "the message cannot be read at byte 10, in field \"unknown\": it ends there"),
            (4, "the message ends inside the number of its schema"),
            (5, "the message begins with the byte 123, not with 0 and its schema"),
            (6, "the message is empty"),
            (7, "the record has 41 bytes, more than row_bytes_max = 40"),
            (8, "schema 9: the schema cannot be used: it is no record"),
            (
                9,
                "the message cannot be read at byte 7, in field \"item\": a union has no such branch"
            ),
            (10, "the message has no value"),
        ]
    );
    assert_eq!((decoded.rows.num_rows(), decoded.records, decoded.lines), (2, 12, 12));
    for bad in &decoded.bad {
        let message = messages.get(usize::try_from(bad.row).expect("small"));
        assert_eq!(&bad.raw[..], &message[..message.len().min(40)]);
    }
}

#[test]
fn what_was_learned_can_be_told() {
    let (schema, options) = orders();
    let messages = block(&[[&[0, 0, 0, 1, 0][..], &order(1, None, &[])].concat()]);
    let mut one = AvroDecoder::registered(schema, &options).expect("plain types");
    let mut other = one.clone();
    assert_eq!(one.missing(&messages), [256]);
    one.learn(256, ORDER, &[]).expect("a schema");
    assert_eq!(one.clone().missing(&messages), [0; 0]);
    assert_eq!(other.missing(&messages), [256]);
    other.learn_from(&one);
    assert_eq!(other.decode_messages(&messages, None).expect("decodes").rows.num_rows(), 1);
    for id in 1_000..3_000 {
        one.refuse(id, "gone");
    }
    assert_eq!(one.missing(&messages), [0; 0], "what was learned stays, however much is refused");
}

#[test]
fn schemas_that_messages_cannot_have_are_refused() {
    let (schema, options) = orders();
    let error = |writer: &str| {
        let decoder = AvroDecoder::plain(Arc::clone(&schema), &options, writer);
        decoder.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (writer, expected) in [
        ("\"string\"", "the schema cannot be used: it is no record"),
        ("{", "the schema cannot be used: it is not JSON"),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"x","type":"int"}]}"#,
            "the schema names none of the columns id, sku, color, item, absent: x",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"Id","type":"int"},{"name":"ID","type":"int"}]}"#,
            "the schema names \"id\" twice",
        ),
    ] {
        let found = error(writer);
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_message_may_be_one_of_several_records() {
    let record = |name: &str, field: &str| {
        format!(
            r#"{{"type":"record","name":"{name}","fields":[{{"name":"{field}","type":"long"}}]}}"#
        )
    };
    let writer = format!("[\"null\",{},{}]", record("A", "a"), record("B", "b"));
    let schema = columns(&[("a", DataType::Int64), ("b", DataType::Int64)]);
    let mut decoder =
        AvroDecoder::plain(schema, &DecodeOptions::default(), &writer).expect("a schema");
    let messages = block(&[&[2, 10][..], &[4, 12], &[0]]);
    let decoded = decoder.decode_messages(&messages, None).expect("decodes");
    assert_eq!(shown(&decoded.rows), "{\"a\":5,\"b\":null}\n{\"a\":null,\"b\":6}\n");
    assert_eq!(decoded.bad[0].reason, "the message cannot be read at byte 1: it is no record");
}

#[test]
fn nulls_and_times_ahead_are_bad_rows() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]));
    let writer = r#"{"type":"record","name":"R","fields":[
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"id","type":["null","long"]}]}"#;
    let mut decoder =
        AvroDecoder::plain(schema, &DecodeOptions::default(), writer).expect("a schema");
    let message = |at: i64, id: &[u8]| [&number(at)[..], id].concat();
    let messages = block(&[message(1, &[2, 2]), message(9_000_000, &[2, 4]), message(1, &[0])]);
    let limit = TimeLimit { columns: vec![1], now_us: 1_000_000, skew_us: 1_000_000 };
    let decoded = decoder.decode_messages(&messages, Some(&limit)).expect("decodes");
    let bad: Vec<_> =
        decoded.bad.iter().map(|bad| (bad.row, bad.kind, bad.reason.as_str())).collect();
    let ahead = "at is 8 seconds ahead of now, more than future_skew = 1 second";
    let null = "column \"id\" is null or missing, and it is NOT NULL";
    assert_eq!(bad, [(1, BadKind::Ahead, ahead), (2, BadKind::Null, null)]);
    assert_eq!(&decoded.bad[0].raw[..], messages.get(1));
    assert_eq!(decoded.rows.num_rows(), 1);
}

/// Some rows as arrow-avro writes them: plain, and with the number of their schema.
fn written(rows: &RecordBatch) -> (String, [Messages; 2]) {
    let writer = AvroSchema::try_from(rows.schema().as_ref()).expect("a schema").json_string;
    let builder = || WriterBuilder::new(rows.schema().as_ref().clone());
    let mut plain = builder().build_encoder::<AvroBinaryFormat>().expect("an encoder");
    let registered = builder().with_fingerprint_strategy(FingerprintStrategy::Id(66_051));
    let mut registered = registered.build_encoder::<AvroSoeFormat>().expect("an encoder");
    let blocks = [&mut plain, &mut registered].map(|encoder| {
        encoder.encode(rows).expect("encodes");
        let rows = encoder.flush();
        let mut messages = Messages::default();
        rows.iter().for_each(|message| messages.push(&message));
        messages
    });
    (writer, blocks)
}

#[test]
fn what_arrow_avro_writes_comes_back() {
    let every = every_type();
    let fields = every.fields().iter().filter(|f| f.name() != "iv").cloned();
    // Without what only we know of a column.
    let bare = fields.clone().map(|f| f.as_ref().clone().with_metadata([].into()));
    let bare: SchemaRef = Arc::new(Schema::new(bare.collect::<Vec<_>>()));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let json = concat!(
        r#"{"b":true,"i2":1,"i4":-2,"i8":3,"f4":1.5,"f8":-2.5e-7,"n":-12.35,"s":"여울","s3":"abc","#,
        r#""d":"2019-11-24","t":"02:03:04.5","ts":"1910-12-01T08:26:00","tz":"2019-11-24T00:00:34.762830Z","#,
        r#""j":{"a":1},"u":"550e8400-e29b-41d4-a716-446655440000","y":"\\x00ff","#,
        r#""l":[1,null,3],"ls":["a","b c"]}"#,
        "\n{}\n",
        r#"{"i8":-9223372036854775808,"n":99999999.99,"s":"","l":[],"ls":[null]}"#,
        "\n",
    );
    let rows = decode(&schema, yeoul_format::Format::Json, json).rows;
    assert_eq!(rows.num_rows(), 3);
    let bare = RecordBatch::try_new(bare, rows.columns().to_vec()).expect("the same types");
    let (writer, [plain, registered]) = written(&bare);
    let options = DecodeOptions::default();
    let same = |decoded: Decoded| {
        assert_eq!(decoded.bad, []);
        assert_eq!(shown(&decoded.rows), shown(&rows), "{writer}");
    };
    let mut decoder = AvroDecoder::plain(Arc::clone(&schema), &options, &writer).expect("a schema");
    same(decoder.decode_messages(&plain, None).expect("decodes"));
    let mut decoder = AvroDecoder::registered(schema, &options).expect("plain types");
    assert_eq!(decoder.missing(&registered), [66_051]);
    decoder.learn(66_051, &writer, &[]).expect("a schema");
    same(decoder.decode_messages(&registered, None).expect("decodes"));
}
