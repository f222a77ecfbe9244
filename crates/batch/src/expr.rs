//! An expression over the columns of a batch, already planned and typed.
//!
//! `sql` plans expressions and `flow` evaluates them, and the two do not know each other: this
//! trait is where they meet.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;

/// Why an expression could not be evaluated (division by zero, a cast that does not fit, …).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What went wrong, for the user, lowercase and without a full stop.
    pub message: String,
}

/// One value per row, computed from the row's columns alone: no clock, no chance, no other row.
pub trait Expr: Debug + Send + Sync {
    /// The column of values, as long as `rows`.
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError>;

    /// The type of that column.
    fn data_type(&self) -> &DataType;

    /// The input column, when the expression is nothing but a column.
    fn as_column(&self) -> Option<usize> {
        None
    }

    /// Equal for expressions that have equal values over equal rows; different ones may be told apart that
    /// do as well. Input columns are in it by position.
    fn identity(&self) -> String {
        format!("{self:?}: {}", self.data_type())
    }

    /// The input columns it reads, or `None` when that is not known. Operators use it to share
    /// work; not knowing is always correct.
    fn columns(&self) -> Option<Vec<usize>> {
        self.as_column().map(|column| vec![column])
    }
}

/// A shared expression.
pub type ExprRef = Arc<dyn Expr>;

/// The expression that is one input column.
#[derive(Debug, Clone)]
pub struct ColumnExpr {
    index: usize,
    data_type: DataType,
}

impl ColumnExpr {
    /// The column at `index`, whose type is `data_type`.
    #[must_use]
    pub fn new(index: usize, data_type: DataType) -> Self {
        Self { index, data_type }
    }
}

impl Expr for ColumnExpr {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        Ok(Arc::clone(rows.column(self.index)))
    }

    fn data_type(&self) -> &DataType {
        &self.data_type
    }

    fn as_column(&self) -> Option<usize> {
        Some(self.index)
    }
}
