//! Answers that come batch by batch.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{Encoder, JsonRow};
use crate::error::FormatError;

/// Writes batches of one schema as the elements of one JSON array: objects with commas between them,
/// each on a line of its own. The brackets are the caller's.
#[derive(Debug, Clone)]
pub struct JsonWriter {
    row: JsonRow,
}

impl JsonWriter {
    /// A writer of objects. Refuses a schema that has no form in JSON.
    pub fn new(schema: &SchemaRef) -> Result<Self, FormatError> {
        Self::of(schema, JsonRow::Object)
    }

    /// A writer of rows that look like `row`.
    pub fn of(schema: &SchemaRef, row: JsonRow) -> Result<Self, FormatError> {
        Encoder::json(&RecordBatch::new_empty(schema.clone()), row)?;
        Ok(Self { row })
    }

    /// Appends the rows of a batch; `first` says that no row stands before them.
    pub fn rows(
        &mut self,
        batch: &RecordBatch,
        first: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let encoder = Encoder::json(batch, self.row)?;
        for row in 0..encoder.rows() {
            out.extend_from_slice(if first && row == 0 { b"\n" } else { b",\n" });
            encoder.row(row, out);
        }
        Ok(())
    }
}

/// Writes batches of one schema as CSV with commas.
#[derive(Debug, Clone)]
pub struct CsvWriter {
    schema: SchemaRef,
}

impl CsvWriter {
    /// A writer of rows of `schema`. Refuses a schema that has no form in CSV.
    pub fn new(schema: &SchemaRef) -> Result<Self, FormatError> {
        Self::encoder(&RecordBatch::new_empty(schema.clone()))?;
        Ok(Self { schema: schema.clone() })
    }

    fn encoder(batch: &RecordBatch) -> Result<Encoder, FormatError> {
        Encoder::csv(batch, b',')
    }

    /// Appends the line of column names.
    pub fn header(&self, out: &mut Vec<u8>) {
        if let Ok(encoder) = Self::encoder(&RecordBatch::new_empty(self.schema.clone())) {
            encoder.header(out);
        }
    }

    /// Appends the rows of a batch.
    pub fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        Self::encoder(batch)?.all(out);
        Ok(())
    }
}
