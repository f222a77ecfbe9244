//! Constant rows: `VALUES`, a query without a relation, and what the planner knows to be empty.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array};
use datafusion::arrow::compute::concat;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{EmptyRelation, Values};

use super::expr::Scope;
use super::{Lowered, Lowering};
use crate::error::SqlError;
use crate::view::ViewNode;

impl Lowering<'_> {
    /// No row, or one without columns.
    pub(super) fn empty(&self, empty: &EmptyRelation) -> Result<Lowered, SqlError> {
        let fields = empty.schema.fields().iter();
        let columns = fields.map(|field| new_empty_array(field.data_type())).collect();
        self.constant(&empty.schema, columns, usize::from(empty.produce_one_row))
    }

    pub(super) fn values(&self, values: &Values) -> Result<Lowered, SqlError> {
        let none = Scope::whole(&DFSchema::empty());
        let row = nothing(1);
        let mut columns: Vec<ArrayRef> = Vec::new();
        for at in 0..values.schema.fields().len() {
            let mut cells = Vec::with_capacity(values.values.len());
            for row_of in &values.values {
                let expr = none.expr(&row_of[at], self.planner).map_err(|e| self.fail(e))?;
                let cell = expr.evaluate(&row);
                let invalid = |e: yeoul_batch::ExprError| {
                    SqlError::new(crate::error::ErrorKind::InvalidDefinition, e.message)
                        .at(self.query.span)
                };
                cells.push(cell.map_err(invalid)?);
            }
            let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
            columns.push(concat(&cells).map_err(|e| self.fail(e.into()))?);
        }
        self.constant(&values.schema, columns, values.values.len())
    }

    fn constant(
        &self,
        schema: &DFSchema,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<Lowered, SqlError> {
        let arrow = Arc::new(schema.as_arrow().clone());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&arrow), columns, &options)
            .map_err(|e| self.fail(e.into()))?;
        let node = ViewNode::Values { rows, schema: arrow };
        Ok(Lowered { node, scope: Scope::whole(schema), key: None, windows: Vec::new() })
    }
}

/// Rows without columns.
fn nothing(rows: usize) -> RecordBatch {
    let schema = Arc::new(datafusion::arrow::datatypes::Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, Vec::new(), &options)
        .expect("a batch without columns has nothing that could not fit")
}
