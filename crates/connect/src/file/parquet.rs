//! A Parquet file, batch by batch. Columns are matched by name (the mapping's, else the column's own,
//! else without regard to case) and cast to the stream's types; what cannot be cast ends the source,
//! because a typed file has no bad rows, only wrong columns.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use yeoul_batch::{LENGTH_KEY, TYPE_KEY};
use yeoul_format::{Decoded, FieldPath, FormatError, ValueParser};

use super::reader::{Partition, Payload, Piece, Step};

/// Rows of a piece.
const BATCH_ROWS: usize = 8_192;

/// Why a Parquet file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParquetFileError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Parquet(#[from] ParquetError),
    #[error("{0}")]
    Arrow(#[from] ArrowError),
    #[error("{0}")]
    Format(#[from] FormatError),
    #[error("column \"{column}\": {what}")]
    Column { column: String, what: String },
    #[error("it has none of the columns {0}")]
    Nothing(String),
}

/// An open Parquet file.
pub(super) struct ParquetReader {
    partition: Arc<Partition>,
    rows: ParquetRecordBatchReader,
    schema: SchemaRef,
    /// For each column of the stream the column of the batches read.
    columns: Vec<Option<usize>>,
    position: u64,
}

impl ParquetReader {
    /// Opens the file to read it from the row `position` on.
    pub(super) fn open(
        partition: Arc<Partition>,
        schema: SchemaRef,
        mapping: &[(String, FieldPath)],
        position: u64,
    ) -> Result<Self, ParquetFileError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&partition.path)?)?;
        let names: Vec<String> =
            builder.schema().fields().iter().map(|f| f.name().clone()).collect();
        let find = |field: &Arc<Field>| {
            let mapped = mapping.iter().find(|(column, _)| column == field.name());
            let wanted = mapped.map_or(field.name().as_str(), |(_, path)| path.name());
            let exact = names.iter().position(|name| name == wanted);
            exact.or_else(|| names.iter().position(|name| name.eq_ignore_ascii_case(wanted)))
        };
        let found: Vec<Option<usize>> = schema.fields().iter().map(find).collect();
        let mut read: Vec<usize> = found.iter().flatten().copied().collect();
        read.sort_unstable();
        read.dedup();
        if read.is_empty() {
            let columns: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            return Err(ParquetFileError::Nothing(columns.join(", ")));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), read.iter().copied());
        let rows = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .with_offset(usize::try_from(position).unwrap_or(usize::MAX))
            .build()?;
        let place = |root: usize| read.binary_search(&root).ok();
        let columns = found.into_iter().map(|root| root.and_then(place)).collect();
        Ok(Self { partition, rows, schema, columns, position })
    }

    /// The next piece.
    pub(super) fn next(&mut self) -> Result<Step, ParquetFileError> {
        let Some(batch) = self.rows.next().transpose()? else { return Ok(Step::End) };
        let columns =
            self.schema.fields().iter().zip(&self.columns).map(|(field, column)| match column {
                Some(column) => convert(field, batch.column(*column)),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let records = rows.num_rows() as u64;
        self.position += records;
        Ok(Step::Piece(Piece {
            partition: Arc::clone(&self.partition),
            to: self.position,
            first: None,
            lines_skipped: 0,
            format: None,
            payload: Payload::Rows(Decoded {
                rows,
                bad: Vec::new(),
                records,
                lines: 0,
                changes: None,
            }),
        }))
    }
}

/// The values as the stream's type has them. Texts are read as any text is.
fn convert(field: &Field, values: &ArrayRef) -> Result<ArrayRef, ParquetFileError> {
    let wrong = |what: String| ParquetFileError::Column { column: field.name().clone(), what };
    // A jsonb or a varchar(n) is more than any text.
    let plain = [TYPE_KEY, LENGTH_KEY].iter().all(|key| !field.metadata().contains_key(*key));
    if values.data_type() == field.data_type() && (plain || !is_text(values.data_type())) {
        return Ok(Arc::clone(values));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    if is_text(values.data_type()) && !(plain && *field.data_type() == DataType::Utf8View) {
        let texts = cast_with_options(values, &DataType::Utf8View, &options)?;
        let texts = texts.as_string_view();
        let mut parser = ValueParser::new(field)?;
        return parser
            .parse((0..texts.len()).map(|row| texts.is_valid(row).then(|| texts.value(row))))
            .map_err(wrong);
    }
    cast_with_options(values, field.data_type(), &options).map_err(|e| wrong(e.to_string()))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
