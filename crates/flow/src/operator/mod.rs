//! Operators with state that are not aggregates: each keeps the rows that its answer depends on in
//! trees of its own, and turns the updates of its inputs into the change of its answer.
//!
//! ```text
//!   updates of each input ─▶ read what is touched, as it was ─▶ change of the answer
//!            └──────────────▶ deltas of its trees
//! ```
//!
//! What must hold: the answer is a function of the multisets of input rows, so the sum of all
//! changes does not depend on how rows are divided into steps, nor on their order.

mod arranged;
mod asof;
mod expiring;
mod join;
mod known;
mod over;
mod ranked;
mod sessions;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use yeoul_batch::{Expr, ExprError, ExprRef, KeyRange, RangeRows, Updates};

pub(crate) use asof::AsOf;
pub use asof::{AsOfSpec, Nearest};
pub use expiring::ClockCondition;
pub(crate) use expiring::Expiring;
pub(crate) use join::Join;
pub use join::{JoinKind, JoinSpec, JoinTimes};
pub(crate) use over::Over;
pub use over::OverSpec;
pub(crate) use ranked::Ranked;
pub use ranked::{RankFunction, RankedSpec, Ranking};
pub(crate) use sessions::Sessions;
pub use sessions::SessionsSpec;

use crate::error::FlowError;
use crate::graph::{Emitted, Release, StateReader, StateTree, StepTime, TreeShape};
use crate::workers::Workers;

/// An operator of a graph.
pub(crate) trait Operator: std::fmt::Debug + Send + Sync {
    /// The columns of its answer.
    fn schema(&self) -> &SchemaRef;

    /// Whether rows of its answer only come.
    fn append_only(&self) -> bool;

    /// The trees it keeps; [`Step`] knows them by their position here.
    fn trees(&self) -> Vec<TreeShape>;

    /// What its only tree is when it is that of a view, if the answer can be read from that tree alone.
    fn answering(&self) -> Option<TreeShape> {
        None
    }

    /// How each of its trees lets go of rows, for those that do, by their position.
    fn releases(&self) -> Vec<(usize, Release)> {
        Vec::new()
    }

    /// Whether its answer changes when the clock shows `now_us`, though nothing comes.
    fn is_due(&self, now_us: i64) -> bool {
        let _ = now_us;
        false
    }

    /// Whether it tells rows when the watermark says that they are complete.
    fn closes(&self) -> bool {
        false
    }

    /// Whether rows may be complete at `time` that were not.
    fn is_closing(&self, time: StepTime) -> bool {
        let _ = time;
        false
    }

    /// Takes the updates of each input; gives the change of the answer, or what of it was not emitted.
    fn step(
        &mut self,
        ports: Vec<Vec<Updates>>,
        step: &mut Step<'_>,
    ) -> Result<Vec<Updates>, FlowError>;
}

/// What rows are kept by when nothing tells them apart: a column that is always false.
pub(crate) fn keyless() -> ExprRef {
    Arc::new(Keyless)
}

#[derive(Debug)]
struct Keyless;

impl Expr for Keyless {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let all = BooleanBuffer::new_unset(rows.num_rows());
        Ok(Arc::new(BooleanArray::new(all, None)))
    }

    fn data_type(&self) -> &DataType {
        &DataType::Boolean
    }
}

/// What an operator works with in one step.
pub(crate) struct Step<'a> {
    pool: &'a Workers,
    state: &'a dyn StateReader,
    trees: &'a [StateTree],
    deltas: &'a mut Vec<(StateTree, RecordBatch)>,
    emitted: Emitted<'a>,
    time: StepTime,
    heard: bool,
}

impl<'a> Step<'a> {
    pub(crate) fn new(
        pool: &'a Workers,
        state: &'a dyn StateReader,
        trees: &'a [StateTree],
        deltas: &'a mut Vec<(StateTree, RecordBatch)>,
        emitted: Emitted<'a>,
        time: StepTime,
    ) -> Self {
        Self { pool, state, trees, deltas, emitted, time, heard: true }
    }

    /// The same, when somebody asks for the change of the answer or nobody does.
    pub(crate) fn heard(self, heard: bool) -> Self {
        Self { heard, ..self }
    }

    /// Whether somebody asks for the change of the answer.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Tells a part of the change, when all of it may be too much to hold.
    pub(crate) fn emit(&mut self, updates: Updates) -> Result<(), FlowError> {
        self.emitted.emit(updates)
    }

    /// What was told: rows, and states of what was folded.
    pub(crate) fn end(self) -> (Vec<Updates>, Vec<RecordBatch>) {
        self.emitted.end()
    }

    /// What the step knows of time.
    pub(crate) fn time(&self) -> StepTime {
        self.time
    }

    /// The workers among whom work is divided.
    pub(crate) fn pool(&self) -> &'a Workers {
        self.pool
    }

    /// The rows of `tree` whose key is, or begins with, one of the distinct `keys`, before this step.
    pub(crate) fn get_many(
        &self,
        tree: usize,
        keys: &[ArrayRef],
    ) -> Result<RecordBatch, FlowError> {
        self.state.get_many(self.trees[tree], keys).map_err(FlowError::State)
    }

    /// The first (with `reverse` the last) rows of each range of keys of `tree`, before this step.
    pub(crate) fn read_ranges(
        &self,
        tree: usize,
        ranges: &[KeyRange],
        rows_max: usize,
        reverse: bool,
    ) -> Result<RangeRows, FlowError> {
        let read = self.state.read_ranges(self.trees[tree], ranges, rows_max, reverse);
        read.map_err(FlowError::State)
    }

    /// Adds `delta` to `tree`.
    pub(crate) fn put(&mut self, tree: usize, delta: RecordBatch) {
        if delta.num_rows() > 0 {
            self.deltas.push((self.trees[tree], delta));
        }
    }
}
