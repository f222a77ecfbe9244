//! Values that depend on the other rows of a partition: what `f(…) OVER (…)` is.
//!
//! Like expressions they are planned by `sql` and evaluated by `flow`, which do not know each other.

use std::fmt::Debug;
use std::ops::Range;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{Fields, SchemaRef};

use crate::expr::ExprError;

/// Further columns for the rows of partitions.
///
/// What must hold: the answers are a function of the rows of a partition and of the order in which they are given; and
/// rows that do not tie in the order of the function may be given in any.
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

    /// Bytes for each row, whose order is the one in which [`PartitionFunction::reach`] counts; rows with the same tie.
    /// `None`: there is not one order, and no reach.
    fn order(&self, rows: &RecordBatch) -> Result<Option<BinaryArray>, ExprError> {
        let _ = rows;
        Ok(None)
    }

    /// What has to be known of the rows before, where an evaluation can begin behind them though a row sees them all.
    fn known(&self) -> Option<&Known> {
        None
    }

    /// The same as `evaluate`, of rows that are given in order, behind those that `behind` knows of; and a state for
    /// each of the rows that it asks for. Asked for only where there are states.
    fn evaluate_behind(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
        behind: &Behind<'_>,
    ) -> Result<(Vec<ArrayRef>, RecordBatch), ExprError> {
        let _ = (rows, partitions, behind);
        Err(ExprError { message: "an evaluation begins with the first row".into() })
    }
}

/// What is known of rows that are not there any more when those behind them are evaluated.
#[derive(Debug, Clone)]
pub struct Known {
    /// The columns of a state. A state is of all rows of a partition up to one behind which there is none that ties
    /// with it.
    pub schema: SchemaRef,
    /// How many rows before a row have to be there nonetheless.
    pub preceding: usize,
}

/// What an evaluation begins behind, and what it is to leave for others.
#[derive(Debug)]
pub struct Behind<'a> {
    /// States, of the columns of [`Known`].
    pub states: &'a RecordBatch,
    /// For each partition the row of `states` that is of the rows before it; `None`: there are none before.
    pub of: &'a [Option<u32>],
    /// The rows for which states are wanted, ascending: each the last of those that tie.
    pub wanted: &'a [u32],
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
