//! Schemas and short forms the tests share.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use yeoul_format::encode::{Encoder, JsonRow};
use yeoul_format::{DecodeOptions, Decoded, Decoder, Format};

pub(crate) fn tagged(name: &str, data_type: DataType, sql_type: &str) -> Field {
    let metadata = HashMap::from([("yeoul.type".to_owned(), sql_type.to_owned())]);
    Field::new(name, data_type, true).with_metadata(metadata)
}

/// One column of every type.
pub(crate) fn every_type() -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let texts = Arc::new(Field::new("item", DataType::Utf8View, true));
    let utc = Some("UTC".into());
    let short = HashMap::from([("yeoul.length".to_owned(), "3".to_owned())]);
    Arc::new(Schema::new(vec![
        Field::new("b", DataType::Boolean, true),
        Field::new("i2", DataType::Int16, true),
        Field::new("i4", DataType::Int32, true),
        Field::new("i8", DataType::Int64, true),
        Field::new("f4", DataType::Float32, true),
        Field::new("f8", DataType::Float64, true),
        Field::new("n", DataType::Decimal128(10, 2), true),
        Field::new("s", DataType::Utf8View, true),
        Field::new("s3", DataType::Utf8View, true).with_metadata(short),
        Field::new("d", DataType::Date32, true),
        Field::new("t", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("tz", DataType::Timestamp(TimeUnit::Microsecond, utc), true),
        Field::new("iv", DataType::Interval(IntervalUnit::MonthDayNano), true),
        tagged("j", DataType::Utf8View, "jsonb"),
        tagged("u", DataType::FixedSizeBinary(16), "uuid"),
        Field::new("y", DataType::Binary, true),
        Field::new("l", DataType::List(item), true),
        Field::new("ls", DataType::List(texts), true),
    ]))
}

pub(crate) fn decoder(schema: &SchemaRef, options: &DecodeOptions) -> Decoder {
    Decoder::new(Arc::clone(schema), options).expect("the schema can be decoded")
}

pub(crate) fn decode(schema: &SchemaRef, format: Format, text: &str) -> Decoded {
    decoder(schema, &DecodeOptions::new(format)).decode(text.as_bytes()).expect("decodes")
}

/// The rows as JSON lines.
pub(crate) fn shown(rows: &RecordBatch) -> String {
    let mut out = Vec::new();
    Encoder::json(rows, JsonRow::Object).expect("plain types").all(&mut out);
    String::from_utf8(out).expect("JSON is text")
}

/// A schema of the given columns.
pub(crate) fn columns(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<_> = columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect();
    Arc::new(Schema::new(fields))
}
