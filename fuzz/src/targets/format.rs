//! Decoders of events: every record is a row or a bad row, wherever the bytes are cut.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use yeoul_format::{
    AvroDecoder, ChangeDecoder, DecodeOptions, Decoder, FieldPath, Format, KeyFormat, Messages,
};

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, true),
        Field::new("price", DataType::Float64, true),
        Field::new("total", DataType::Decimal128(12, 2), true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

/// Decodes a text as a whole, which must account for every record, and in two pieces, which must give the same.
fn decode(format: Format, bytes: &[u8]) {
    let short = DecodeOptions { row_bytes_max: 256, ..DecodeOptions::new(format) };
    for options in [short, DecodeOptions::new(format)] {
        let mut whole = Decoder::new(columns(), &options).expect("plain columns");
        let Ok(Some(head)) = whole.begin(bytes, true) else { return };
        let body = &bytes[head.min(bytes.len())..];
        let mut pieces = whole.clone();
        let Ok(decoded) = whole.decode(body) else { continue };
        let rows = decoded.rows.num_rows();
        assert_eq!(
            decoded.records,
            (rows + decoded.bad.len()) as u64,
            "format: every record is somewhere"
        );
        assert_eq!(
            whole.record_ends(body).len() as u64,
            decoded.records,
            "format: every record ends somewhere"
        );
        let half = &body[..body.len() / 2];
        let cut = pieces.split(half);
        assert!(cut <= half.len(), "format: a split lies in the bytes");
        let Ok(first) = pieces.decode(&body[..cut]) else { continue };
        let Ok(second) = pieces.decode(&body[cut..]) else { continue };
        assert_eq!(first.records + second.records, decoded.records, "format: pieces have all");
        assert_eq!(first.rows, decoded.rows.slice(0, first.rows.num_rows()), "format: first");
        assert_eq!(
            second.rows,
            decoded.rows.slice(first.rows.num_rows(), rows - first.rows.num_rows()),
            "format: the rest"
        );
    }
}

/// Decodes the pieces between `;` as messages: each is a record, and what it becomes does not depend
/// on the others.
fn messages(format: Format, bytes: &[u8]) {
    let short = DecodeOptions { row_bytes_max: 256, ..DecodeOptions::new(format) };
    let mut decoder = Decoder::for_messages(columns(), &short).expect("plain columns");
    let mut block = Messages::default();
    bytes.split(|byte| *byte == b';').for_each(|message| block.push(message));
    let decoded = decoder.decode_messages(&block, None).expect("a format of messages");
    let (mut row, mut bad) = (0, decoded.bad.iter());
    for message in block.iter().flatten() {
        let mut one = Messages::default();
        one.push(message);
        let alone = decoder.decode_messages(&one, None).expect("a format of messages");
        if alone.bad.is_empty() {
            assert_eq!(alone.rows, decoded.rows.slice(row, 1), "format: a message is its row");
            row += 1;
        } else {
            let reason = bad.next().map(|bad| &bad.reason);
            assert_eq!(reason, Some(&alone.bad[0].reason), "format: a message is its bad row");
        }
    }
}

/// JSON in any layout.
pub fn json(bytes: &[u8]) {
    decode(Format::Json, bytes);
    messages(Format::Json, bytes);
}

/// CSV with a header.
pub fn csv(bytes: &[u8]) {
    decode(Format::Csv, bytes);
    decode(Format::Tsv, bytes);
    messages(Format::Csv, bytes);
    messages(Format::Tsv, bytes);
}

/// The text of `COPY`.
pub fn copy_text(bytes: &[u8]) {
    decode(Format::CopyText, bytes);
}

/// A record with every type, of which some fields are columns and some are inside others.
const WRITER: &str = r#"{"type":"record","name":"R","fields":[
    {"name":"id","type":["null","string",{"type":"enum","name":"E","symbols":["A","B"]}]},
    {"name":"n","type":"int"},
    {"name":"skipped","type":{"type":"array","items":{"type":"map","values":"bytes"}}},
    {"name":"empty","type":{"type":"array","items":"null"}},
    {"name":"price","type":["double","float","long"]},
    {"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":40,"scale":2}},
    {"name":"in","type":{"type":"record","name":"N","fields":[
        {"name":"ok","type":"boolean"},
        {"name":"day","type":{"type":"int","logicalType":"date"}},
        {"name":"next","type":["null","N"]}]}},
    {"name":"tags","type":{"type":"map","values":{"type":"long","logicalType":"timestamp-millis"}}},
    {"name":"d","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}}]}"#;

/// A plain message of Avro, and one that names its schema: each is a record, whatever stands beside it.
pub fn avro(bytes: &[u8]) {
    let path =
        |column: &str, path: &str| (column.to_owned(), FieldPath::parse(path).expect("a path"));
    let mapping = vec![
        path("ok", "in.ok"),
        path("day", "in.next.day"),
        path("ts", "tags.ts"),
        path("id", "in"),
    ];
    let options = DecodeOptions { mapping, ..DecodeOptions::default() };
    let mut plain = AvroDecoder::plain(columns(), &options, WRITER).expect("a schema");
    let mut registered = AvroDecoder::registered(columns(), &options).expect("plain columns");
    registered.learn(0, WRITER, &[]).expect("a schema");
    let mut block = Messages::default();
    block.push(bytes);
    for id in registered.missing(&block) {
        registered.refuse(id, "not known");
    }
    block.push(b"another");
    block.push(bytes);
    for decoder in [&mut plain, &mut registered] {
        let decoded = decoder.decode_messages(&block, None).expect("all schemas are known");
        let rows = decoded.rows.num_rows();
        assert_eq!(3, rows + decoded.bad.len(), "format: every message is a record");
        if rows == 2 {
            let (first, last) = (decoded.rows.slice(0, 1), decoded.rows.slice(1, 1));
            assert_eq!(first, last, "format: a message is its row");
        } else {
            let (first, last) = (decoded.bad.first(), decoded.bad.last());
            let reason = first.map(|bad| (&bad.reason, &bad.raw));
            assert_eq!(reason, last.map(|bad| (&bad.reason, &bad.raw)), "format: its bad row");
        }
    }
}

/// A value and a key.
type Keyed<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Messages with keys, divided by `;` and `|`, as rows with tombstones and as envelopes of changes: each is at least one
/// row or one bad row, whatever stands beside it.
pub fn changes(bytes: &[u8]) {
    for format in [Format::Json, Format::DebeziumJson] {
        let options = DecodeOptions::new(format);
        let decoder = ChangeDecoder::new(columns(), &[0], &options, KeyFormat::Json);
        let mut decoder = decoder.expect("plain columns");
        let messages: Vec<Keyed<'_>> = bytes
            .split(|byte| *byte == b';')
            .map(|message| {
                let mut parts = message.splitn(2, |byte| *byte == b'|');
                (parts.next().filter(|value| !value.is_empty()), parts.next())
            })
            .collect();
        let told = |decoder: &mut ChangeDecoder, messages: &[Keyed<'_>]| {
            let (mut values, mut keys) = (Messages::default(), Messages::default());
            for (value, key) in messages {
                values.push_option(*value);
                keys.push_option(*key);
            }
            let decoded = decoder.decode_messages(&values, Some(&keys));
            let decoded = decoded.expect("a format of changes");
            let records = match &decoded.changes {
                Some(changes) => changes.records.clone(),
                None => yeoul_format::good_records(decoded.records, &decoded.bad),
            };
            assert_eq!(records.len(), decoded.rows.num_rows(), "format: every row is of a record");
            (decoded, records)
        };
        let (all, records) = told(&mut decoder, &messages);
        for (index, message) in messages.iter().enumerate() {
            let (alone, rows) = told(&mut decoder, std::slice::from_ref(message));
            let from = records.partition_point(|record| *record < index as u64);
            assert_eq!(
                all.rows.slice(from, rows.len()),
                alone.rows,
                "format: a message is its rows"
            );
            let bad = all.bad.iter().find(|bad| bad.row == index as u64);
            let (reason, expected) = (bad.map(|b| &b.reason), alone.bad.first().map(|b| &b.reason));
            assert_eq!(reason, expected, "format: a message is its bad row");
            assert!(rows.is_empty() != expected.is_none(), "format: a message is somewhere");
        }
    }
}
