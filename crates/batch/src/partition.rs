//! Values that depend on the other rows of a partition: what `f(…) OVER (…)` is.
//!
//! Like expressions they are planned by `sql` and evaluated by `flow`, which do not know each other.

use std::fmt::Debug;
use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Fields;

use crate::expr::ExprError;

/// Further columns for the rows of partitions.
///
/// What must hold: the answers are a function of the multiset of a partition's rows. Rows that tie in the
/// order of the function are put into an order by all of their columns, so that it does not matter how they
/// come.
pub trait PartitionFunction: Debug + Send + Sync {
    /// The further columns.
    fn fields(&self) -> &Fields;

    /// A column per field, as long as `rows` and in the order of `rows`. Each of `partitions`, none of which
    /// is empty, has the rows of one partition, one behind the other; together they are all of `rows`.
    fn evaluate(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
    ) -> Result<Vec<ArrayRef>, ExprError>;

    /// How far a row sees in [`PartitionFunction::order`]; `None`: its answer depends on the whole partition.
    fn reach(&self) -> Option<Reach> {
        None
    }

    /// The order in which [`PartitionFunction::reach`] counts, of the same rows as for `evaluate`; asked for
    /// only where there is a reach.
    fn order(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
    ) -> Result<PartitionOrder, ExprError> {
        let _ = (rows, partitions);
        Err(ExprError { message: "rows without an order have no reach".into() })
    }
}

/// Which rows around a row its answer depends on, down to the last bit: evaluated over these alone the
/// answer is the same. `None`: all on that side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How many rows before it.
    pub preceding: Option<usize>,
    /// How many rows behind it.
    pub following: Option<usize>,
    /// And all rows that tie with it.
    pub peers: bool,
}

/// Rows of partitions in an order.
#[derive(Debug, Clone)]
pub struct PartitionOrder {
    /// The rows, partition by partition in the order of the ranges, by position.
    pub rows: Vec<u32>,
    /// Whether each of them ties with the one before it in the same partition.
    pub ties: Vec<bool>,
}
