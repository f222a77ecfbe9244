//! Decoders of events: every record is a row or a bad row, wherever the bytes are cut.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use yeoul_format::{DecodeOptions, Decoder, Format, Messages};

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
