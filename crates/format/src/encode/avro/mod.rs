//! Rows as Avro messages, which [`crate::AvroDecoder`] and others read: their schema, and the binary
//! encoding of a row (Avro 1.12 specification, "Binary Encoding" and "Logical Types").
//!
//! ```text
//!   plain        fields of the record, one after the other
//!   registered   0u8 | number of the schema, u32, highest byte first | fields of the record
//! ```
//!
//! | column | Avro |
//! |---|---|
//! | boolean | boolean |
//! | smallint, int; unsigned of up to 16 bits | int |
//! | bigint; unsigned of 32 bits | long |
//! | unsigned of 64 bits | bytes, decimal(20, 0): a long would lose the upper half |
//! | real, double | float, double |
//! | numeric(p, s) | bytes, decimal(p, s): as few as hold the number |
//! | date | int, date |
//! | time | long, time-micros |
//! | timestamp | long, local-timestamp-micros |
//! | timestamptz | long, timestamp-micros |
//! | interval | string, as SQL writes it: Avro's duration has no signs and no microseconds |
//! | text | string |
//! | jsonb | string, its text |
//! | uuid | string, uuid |
//! | bytea | bytes |
//! | T[] | array |
//! | struct | record |
//! | what SQL has no type for | string, as Arrow shows it |
//!
//! What may be null is a union of null and that, in a record null by default; what may not be null is
//! that alone. It is the schema of the rows that says so, so an encoder must be given rows of the very
//! schema that [`avro_schema`] was given: bytes do not say what they are.
//!
//! A schema is derived from a column's [`Cells`] as its bytes are, so the two cannot disagree on a
//! type. Columns are resolved once per batch; a row is then one pass over them without allocation.
//!
//! Not here: the registry that numbers schemas, and what a change of a stream is called.

mod binary;
mod envelope;
mod names;
mod schema;
mod slot;
mod value;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::cells::Cells;
use crate::error::FormatError;
pub use envelope::{AvroEnvelope, AvroRow, AvroSource, avro_envelope_schema};
use names::TypeNames;
use slot::Slot;

/// The Avro schema (JSON text) of rows of these columns, a record `name` in `namespace`; without one
/// if that is empty. An error names a column whose type has no form in Avro.
///
/// Avro's names are ASCII letters, digits and `_`, and begin with no digit. Where `name`, a part of
/// `namespace` between dots or a column's name is none, each other character becomes a `_`, and a `_`
/// is put in front of a digit. Where that is the name of another column already, `_2`, `_3` and so on
/// follow; columns whose names need no change always keep them. The real name of a record or a field
/// that was changed is its `doc` (an `alias` would have to be a name of Avro too).
///
/// A struct is a record called after the records and fields that it is in, joined by `_`.
pub fn avro_schema(schema: &SchemaRef, name: &str, namespace: &str) -> Result<String, FormatError> {
    let slots = slots(schema)?;
    let mut types = TypeNames::default();
    let record = schema::Record { name: types.take(name), real: Some(name), namespace };
    Ok(record.json(&slots, &mut types).to_string())
}

/// Appends what stands in front of a message whose schema a registry knows as `id`.
pub fn confluent_prefix(id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Writes the rows of one batch as Avro.
#[derive(Debug)]
pub struct AvroEncoder {
    columns: Vec<(Slot, Cells)>,
    rows: usize,
}

impl AvroEncoder {
    /// An encoder of `rows`. An error names a column whose type has no form in Avro, or that has a
    /// timestamp beyond what microseconds can say.
    pub fn new(rows: &RecordBatch) -> Result<Self, FormatError> {
        let schema = rows.schema();
        let columns = schema.fields().iter().zip(rows.columns());
        let columns = columns.map(|(field, array)| column(field, array));
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, rows: rows.num_rows() })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends the row `row`, without a prefix.
    pub fn row(&self, row: usize, out: &mut Vec<u8>) {
        for (slot, cells) in &self.columns {
            value::put(slot, cells, row, out);
        }
    }
}

/// Where the values of the columns go.
fn slots(schema: &SchemaRef) -> Result<Vec<Slot>, FormatError> {
    let slot = |field: &FieldRef| Ok(column(field, &new_empty_array(field.data_type()))?.0);
    schema.fields().iter().map(slot).collect()
}

fn column(field: &Field, array: &ArrayRef) -> Result<(Slot, Cells), FormatError> {
    let cells = in_micros(array).and_then(|array| Cells::new(field, &array)).map_err(|error| {
        FormatError::NotAvro { column: field.name().clone(), reason: error.to_string() }
    })?;
    Ok((Slot::new(field, &cells), cells))
}

/// `array` with timestamps in microseconds. [`Cells`] would make null of those that do not fit, which
/// people may see and a NOT NULL column may not hold.
fn in_micros(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let wanted = type_in_micros(array.data_type());
    if wanted == *array.data_type() {
        return Ok(Arc::clone(array));
    }
    cast_with_options(array, &wanted, &CastOptions { safe: false, ..CastOptions::default() })
}

fn type_in_micros(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| {
        let data_type = type_in_micros(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(field(item), *len),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Dictionary(key, value) => {
            DataType::Dictionary(key.clone(), Box::new(type_in_micros(value)))
        }
        other => other.clone(),
    }
}
