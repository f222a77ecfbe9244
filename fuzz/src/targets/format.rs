//! Decoders of events: every record is a row or a bad row, wherever the bytes are cut.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use yeoul_format::{DecodeOptions, Decoder, Format};

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, true),
        Field::new("price", DataType::Float64, true),
        Field::new("total", DataType::Decimal128(12, 2), true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new(
            "ts",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
    ]))
}

/// Decodes in one piece and record by record: the same counts.
fn decode(format: Format, bytes: &[u8]) {
    let options = DecodeOptions { row_bytes_max: 4096, ..DecodeOptions::new(format) };
    let mut whole = Decoder::new(columns(), &options).expect("plain columns");
    let Ok(Some(head)) = whole.begin(bytes, true) else { return };
    let body = &bytes[head.min(bytes.len())..];
    let len = whole.split(body);
    assert!(len <= body.len(), "format: a split lies in the bytes");
    let Ok(decoded) = whole.decode(&body[..len]) else { return };
    assert_eq!(
        decoded.records,
        (decoded.rows.num_rows() + decoded.bad.len()) as u64,
        "format: every record is somewhere"
    );
    let _ = whole.decode(body);
}

/// JSON in any layout.
pub fn json(bytes: &[u8]) {
    decode(Format::Json, bytes);
}

/// CSV with a header.
pub fn csv(bytes: &[u8]) {
    decode(Format::Csv, bytes);
    decode(Format::Tsv, bytes);
}

/// The text of `COPY`.
pub fn copy_text(bytes: &[u8]) {
    decode(Format::CopyText, bytes);
}
