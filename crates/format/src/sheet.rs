//! The columns of a batch while rows are written to them, in any order within a row.
//!
//! What must hold: between rows every column has exactly `row` values. A row that does not fit is
//! taken back whole by [`Sheet::undo`].

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use yeoul_batch::DecodeOptions;

use crate::column::{Column, Forms};
use crate::decoded::{BadKind, Refusal};
use crate::error::FormatError;
use crate::value::Misfit;

/// How much of a value a reason shows.
const EXCERPT_CHARS: usize = 60;

/// Rows being written.
#[derive(Debug, Clone)]
pub(crate) struct Sheet {
    schema: SchemaRef,
    pub(crate) columns: Vec<Column>,
    /// How many rows are complete.
    pub(crate) row: usize,
    /// Values of the row that do not fit their columns, with their reasons.
    misfits: Vec<(usize, Refusal)>,
}

/// Why a row without a value for the column `name` is none.
pub(crate) fn null_reason(name: &str) -> String {
    format!("column \"{name}\" is null or missing, and it is NOT NULL")
}

/// Where in an event the value of each column stands: under its name, or where `options` map it.
pub(crate) fn paths_of(
    schema: &Schema,
    options: &DecodeOptions,
) -> Result<Vec<Vec<String>>, FormatError> {
    let mut paths: Vec<Vec<String>> =
        schema.fields().iter().map(|field| vec![field.name().clone()]).collect();
    for (column, path) in &options.mapping {
        let Some(at) = schema.fields().iter().position(|field| field.name() == column) else {
            let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let (column, columns) = (column.clone(), names.join(", "));
            return Err(FormatError::UnknownColumn { option: "mapping", column, columns });
        };
        paths[at] = path.keys().to_vec();
    }
    Ok(paths)
}

impl Sheet {
    pub(crate) fn new(schema: SchemaRef, forms: Forms) -> Result<Self, FormatError> {
        let columns =
            schema.fields().iter().map(|f| Column::new(f, forms)).collect::<Result<_, _>>()?;
        Ok(Self { schema, columns, row: 0, misfits: Vec::new() })
    }

    /// The column `index`, ready for its value of the row; one written before is taken back.
    #[inline]
    pub(crate) fn begin(&mut self, index: usize) -> &mut Column {
        if !self.misfits.is_empty() {
            self.misfits.retain(|(column, _)| *column != index);
        }
        let column = &mut self.columns[index];
        column.begin(self.row);
        column
    }

    /// Notes that the value `excerpt` does not fit the column `index`. The row goes on, since a
    /// repeated key may still mend it.
    #[cold]
    pub(crate) fn misfit(&mut self, index: usize, misfit: Misfit, excerpt: &[u8]) {
        self.columns[index].truncate(self.row);
        let column = &self.columns[index];
        let text = String::from_utf8_lossy(&excerpt[..excerpt.len().min(4 * EXCERPT_CHARS)]);
        let mut shown: String = text.chars().take(EXCERPT_CHARS).collect();
        if shown.len() < excerpt.len() {
            shown.push('…');
        }
        let (name, kind) = (&column.name, &column.values);
        let (kind_of, reason) = match misfit {
            Misfit::Invalid => {
                (BadKind::Invalid, format!("column \"{name}\": {shown} is not a valid {kind}"))
            }
            Misfit::OutOfRange => (
                BadKind::OutOfRange,
                format!("column \"{name}\": {shown} is out of range for {kind}"),
            ),
            Misfit::TooLong => {
                (BadKind::TooLong, format!("column \"{name}\": {shown} is too long for {kind}"))
            }
            Misfit::Null => {
                (BadKind::Null, format!("column \"{name}\": a null inside {kind} is not allowed"))
            }
        };
        self.misfits.push((index, Refusal { kind: kind_of, reason }));
    }

    /// Completes the row: columns without a value are null. On an error nothing of the row is left.
    #[inline]
    pub(crate) fn end_row(&mut self) -> Result<(), Refusal> {
        if !self.misfits.is_empty() {
            return self.refuse();
        }
        let row = self.row;
        let mut fits = true;
        for column in &mut self.columns {
            if column.rows == row {
                column.push_null();
            }
            fits &= column.nullable || !column.last_is_null();
        }
        if !fits {
            return self.refuse();
        }
        self.row += 1;
        Ok(())
    }

    #[cold]
    fn refuse(&mut self) -> Result<(), Refusal> {
        let reason = match self.misfits.first() {
            Some((_, reason)) => reason.clone(),
            None => {
                let null = self.columns.iter().find(|c| !c.nullable && c.last_is_null());
                let name = null.map_or("", |c| c.name.as_str());
                Refusal { kind: BadKind::Null, reason: null_reason(name) }
            }
        };
        self.undo();
        Err(reason)
    }

    /// Takes back what was written of an incomplete row.
    pub(crate) fn undo(&mut self) {
        self.misfits.clear();
        for column in &mut self.columns {
            column.truncate(self.row);
        }
    }

    /// The complete rows as a batch; empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, FormatError> {
        let internal = |e: arrow::error::ArrowError| FormatError::Internal(e.to_string());
        let rows = std::mem::take(&mut self.row);
        let columns = self
            .columns
            .iter_mut()
            .map(Column::finish)
            .collect::<Result<_, _>>()
            .map_err(internal)?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(internal)
    }

    /// The number of the column `name`.
    pub(crate) fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// The column names for a message.
    pub(crate) fn column_list(&self) -> String {
        self.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The column that `option` calls `name`.
    pub(crate) fn named(&self, option: &'static str, name: &str) -> Result<usize, FormatError> {
        self.index_of(name).ok_or_else(|| FormatError::UnknownColumn {
            option,
            column: name.to_owned(),
            columns: self.column_list(),
        })
    }
}
