//! Changes in an envelope, in the shape of Debezium's: what a row was, what it is, and where the
//! change comes from.
//!
//! ```text
//!   before   null | Value          the row before, where there was one
//!   after    null | Value          the row after, where there is one
//!   source   Source                connector string, name string, table string, commit long, ts_ms long
//!   op       string
//!   ts_ms    null | long
//! ```

use arrow::datatypes::SchemaRef;
use serde_json::json;

use super::names::TypeNames;
use super::schema::Record;
use super::value::{NULL, PRESENT};
use super::{AvroEncoder, binary, slots};
use crate::error::FormatError;

/// The Avro schema (JSON text) of changes of rows of these columns: the record of [`AvroEnvelope`],
/// called `name` in `namespace`. Rows in it are records `Value`, as [`super::avro_schema`] describes
/// them, and their source a record `Source`; if `name` is one of these, theirs have a number behind.
pub fn avro_envelope_schema(
    schema: &SchemaRef,
    name: &str,
    namespace: &str,
) -> Result<String, FormatError> {
    let slots = slots(schema)?;
    let mut types = TypeNames::default();
    let envelope = Record { name: types.take(name), real: Some(name), namespace };
    let inner = |name: String| Record { real: None, name, namespace: "" };
    let (row, source) = (inner(types.take("Value")), inner(types.take("Source")));
    let fields = [("connector", "string"), ("name", "string"), ("table", "string")];
    let fields = fields.into_iter().chain([("commit", "long"), ("ts_ms", "long")]);
    let source = source.of(fields.map(|(name, of)| json!({"name": name, "type": of})).collect());
    let before = row.json(&slots, &mut types);
    let fields = vec![
        json!({"name": "before", "type": ["null", before], "default": null}),
        json!({"name": "after", "type": ["null", row.name], "default": null}),
        json!({"name": "source", "type": source}),
        json!({"name": "op", "type": "string"}),
        json!({"name": "ts_ms", "type": ["null", "long"], "default": null}),
    ];
    Ok(envelope.of(fields).to_string())
}

/// A row of a batch.
#[derive(Debug, Clone, Copy)]
pub struct AvroRow<'a> {
    /// The encoder of its batch.
    pub encoder: &'a AvroEncoder,
    /// Its place there.
    pub row: usize,
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy)]
pub struct AvroSource<'a> {
    /// The program that sends it.
    pub connector: &'a str,
    /// What sends the changes.
    pub name: &'a str,
    /// The relation that changed.
    pub table: &'a str,
    /// The number of the commit that changed it.
    pub commit: i64,
    /// When that was, in milliseconds since 1970.
    pub ts_ms: i64,
}

/// A change. Both rows must have the columns that [`avro_envelope_schema`] was given.
#[derive(Debug, Clone, Copy)]
pub struct AvroEnvelope<'a> {
    /// The row before; none if there was none.
    pub before: Option<AvroRow<'a>>,
    /// The row after; none if there is none.
    pub after: Option<AvroRow<'a>>,
    /// Where it comes from.
    pub source: AvroSource<'a>,
    /// What was done: `c` for created, `u` for updated, `d` for deleted, `r` for read.
    pub op: &'a str,
    /// When it was sent, in milliseconds since 1970.
    pub ts_ms: Option<i64>,
}

impl AvroEnvelope<'_> {
    /// Appends the change, without a prefix.
    pub fn write(&self, out: &mut Vec<u8>) {
        for row in [self.before, self.after] {
            match row {
                None => out.push(NULL),
                Some(AvroRow { encoder, row }) => {
                    out.push(PRESENT);
                    encoder.row(row, out);
                }
            }
        }
        let AvroSource { connector, name, table, commit, ts_ms } = self.source;
        binary::bytes(connector.as_bytes(), out);
        binary::bytes(name.as_bytes(), out);
        binary::bytes(table.as_bytes(), out);
        binary::long(commit, out);
        binary::long(ts_ms, out);
        binary::bytes(self.op.as_bytes(), out);
        match self.ts_ms {
            None => out.push(NULL),
            Some(ts_ms) => {
                out.push(PRESENT);
                binary::long(ts_ms, out);
            }
        }
    }
}
