//! What can go wrong in a step.

use arrow::error::ArrowError;
use yeoul_batch::ExprError;

/// Why a graph could not be built, stepped or finished.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The query asks for what cannot be kept. Arises only when a graph is built: change the
    /// query.
    #[error("{0}")]
    Unsupported(String),
    /// An expression failed on a row (division by zero, a cast that does not fit): change the
    /// rows or the query.
    #[error(transparent)]
    Expr(#[from] ExprError),
    /// An answer or a time does not fit its type: change the rows or the query.
    #[error("{what} is out of range for {data_type}")]
    Range {
        /// What does not fit, by its SQL name.
        what: String,
        /// The type it does not fit.
        data_type: String,
    },
    /// More than an operator can work with: the message says of what, and what to do.
    #[error("{0}")]
    Limit(String),
    /// The columns given are not the columns promised, or a stored state cannot be read: a bug
    /// or a damaged tree.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// The reader of states failed: what to do is in its own error.
    #[error("cannot read the state of a view: {0}")]
    State(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl FlowError {
    pub(crate) fn range(what: impl Into<String>, data_type: impl std::fmt::Display) -> Self {
        Self::Range { what: what.into(), data_type: data_type.to_string() }
    }
}

impl From<FlowError> for ArrowError {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Arrow(error) => error,
            other => Self::ExternalError(Box::new(other)),
        }
    }
}
