//! A view's query as a graph of operators, stepped once per commit.
//!
//! ```text
//!   source ─ filter ─ window ─┐                         ┌─ filter (HAVING) ─ project ─▶ rows
//!   source ─ project ─────────┴─ union ─ ⟦ aggregate ⟧ ─┤
//!                                             │         └─ only when followed: −old/+new
//!                                      delta for the tree
//! ```
//!
//! Linear operators distribute over union, so the graph is kept as *stages*: an aggregate, another
//! operator with state (a join), or the output, with all the linear ways from a source, or from another
//! stage, that lead to it. A step runs the stages in order; within a stage chunks of rows are divided
//! among workers.
//!
//! The last aggregate is *untracked*: it emits the delta of its states for the view's tree and
//! reads nothing. Aggregates below another aggregate, or whose view is followed, are *tracked*:
//! they read the old states and also emit what changed.
//!
//! **The contract with the caller**: before `step` is called again, every delta of the step before
//! is visible through the [`StateReader`]; and a step that failed, or whose deltas were not
//! published, is followed by no other step on this graph.
//!
//! Not here: disk, SQL, commit numbers.

mod budget;
mod builder;
mod cache;
mod closing;
mod compile;
mod emitted;
mod stage;
mod time;
mod tracked;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{Int64Type, SchemaRef};
use yeoul_batch::{Combine, KeyRange, RangeRows, Updates};

pub use budget::CacheBudget;
pub(crate) use budget::Share;
pub use builder::{GraphBuilder, Limits, NodeId};
pub(crate) use cache::Cache;
pub(crate) use emitted::Emitted;
pub use time::{Release, StepTime};
pub(crate) use tracked::difference;

use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::group::compact_batch;
use crate::linear::{self, Linear, Lookup, TableReader};
use crate::operator::{Operator, Ranking, Step};
use crate::workers::Workers;
use emitted::Fold;
use stage::{Inputs, Stage, Target, Way};

/// Which input of a graph: sources are numbered in the order they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceIndex(pub usize);

/// Which state tree of a graph: [`StateTree::VIEW`] is the view's own, the others are those of
/// [`Graph::state_trees`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateTree(pub u32);

impl StateTree {
    /// The view's own tree.
    pub const VIEW: Self = Self(0);
}

/// Reads states from the graph's trees, as they were before this step.
pub trait StateReader {
    /// The rows of `keys`, which are distinct, one row per key: the columns of the tree's key, or some
    /// of the leading ones, and then all rows that begin so are meant. The answer is rows of the tree's
    /// schema in any order; keys without a row are absent, and a key of states may come in several
    /// rows still to be combined.
    fn get_many(
        &self,
        tree: StateTree,
        keys: &[ArrayRef],
    ) -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>>;

    /// The first `rows_max` rows of each range of keys of a tree that is looked for by leading columns; with
    /// `reverse` the last, the last one first. States are combined, and those that are gone are not there.
    fn read_ranges(
        &self,
        tree: StateTree,
        ranges: &[KeyRange],
        rows_max: usize,
        reverse: bool,
    ) -> Result<RangeRows, Box<dyn std::error::Error + Send + Sync>>;

    /// The table that is the input `source`, as it was before this step; asked for those inputs that
    /// are looked up.
    fn table(&self, source: SourceIndex) -> Option<Arc<dyn TableReader>> {
        let _ = source;
        None
    }
}

/// What a tree of a view is.
#[derive(Debug, Clone)]
pub enum TreeShape {
    /// Rows that are only ever added: a `keep` tree of them, in the order of its first `key_len` columns.
    Keep {
        /// The columns.
        schema: SchemaRef,
        /// How many leading columns they are looked for by.
        key_len: usize,
    },
    /// Rows that come and go: a `combine` tree whose key is all of their columns and whose
    /// state is the column `_multiplicity` Int64. Inside a graph also aggregate states, when they are looked
    /// for by leading columns.
    Bag(Arc<Aggregate>),
    /// What a ranking keeps of rows that only come, when the view ends in it: [`Ranking::kept`], looked for by leading
    /// columns. Rows are numbered when they are read.
    Ranked(Arc<Ranking>),
    /// Aggregate states: a `combine` tree of [`Combine::schema`], its key the first
    /// [`Combine::key_len`] columns.
    Combine(Arc<Aggregate>),
}

impl TreeShape {
    /// The columns of the tree.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        match self {
            Self::Keep { schema, .. } => schema,
            Self::Bag(states) | Self::Combine(states) => states.schema(),
            Self::Ranked(ranking) => ranking.kept().schema(),
        }
    }
}

/// What one step did.
#[derive(Debug, Default)]
pub struct StepOutput {
    /// For the view's own tree: rows of [`TreeShape::schema`]. Several batches may hold the same
    /// key.
    pub deltas: Vec<RecordBatch>,
    /// For the trees of [`Graph::state_trees`].
    pub inner: Vec<(StateTree, RecordBatch)>,
    /// What changed in the view's rows, when it is followed and something did.
    pub change: Option<Updates>,
}

/// A compiled view.
#[derive(Debug)]
pub struct Graph {
    stages: Vec<Stage>,
    /// Linear operators above what keeps the view's own tree; empty when that holds the view's rows.
    above: Vec<Linear>,
    sources: Vec<SchemaRef>,
    /// Operators that look rows up, and the input that tells them of changes.
    lookups: Vec<(SourceIndex, Arc<Lookup>)>,
    schema: SchemaRef,
    tree: TreeShape,
    inner: Vec<(StateTree, TreeShape)>,
    releases: Vec<(StateTree, Release)>,
    followed: bool,
    time: StepTime,
    limits: Limits,
}

impl Graph {
    /// The schemas of the inputs.
    #[must_use]
    pub fn sources(&self) -> &[SchemaRef] {
        &self.sources
    }

    /// The columns of the view's rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The inputs from which no rows come, because they are looked up.
    pub fn looked_up(&self) -> impl Iterator<Item = SourceIndex> {
        self.lookups.iter().map(|(source, _)| *source)
    }

    /// What the view's own tree is.
    #[must_use]
    pub fn tree(&self) -> &TreeShape {
        &self.tree
    }

    /// The further trees that the graph needs: states of aggregates below another, rows of joins. Except
    /// of [`TreeShape::Combine`], they are looked for by their leading columns.
    #[must_use]
    pub fn state_trees(&self) -> &[(StateTree, TreeShape)] {
        &self.inner
    }

    /// How trees of [`Graph::state_trees`] let go of rows, for those that do.
    #[must_use]
    pub fn releases(&self) -> &[(StateTree, Release)] {
        &self.releases
    }

    /// Whether the view's rows are only ever added (so a follower may be append-only).
    #[must_use]
    pub fn append_only(&self) -> bool {
        matches!(self.tree, TreeShape::Keep { .. })
    }

    /// Whether steps give the view's change.
    #[must_use]
    pub fn followed(&self) -> bool {
        self.followed
    }

    /// From the next step on, gives the view's change (or no longer does).
    pub fn follow(&mut self, followed: bool) {
        self.followed = followed;
        for stage in &mut self.stages {
            stage.follow(followed);
        }
    }

    /// Sets the time of the steps that follow.
    pub fn set_time(&mut self, time: StepTime) {
        self.time = time;
    }

    /// Whether a step at this clock changes something, though nothing comes. Not known before the first step,
    /// and then it may.
    #[must_use]
    pub fn is_due(&self, now_us: i64) -> bool {
        self.stages.iter().any(|stage| match &stage.target {
            Target::Operator { operator, .. } => operator.is_due(now_us),
            _ => false,
        })
    }

    /// Whether a step at this time closes windows, or is the first that knows of the watermark.
    #[must_use]
    pub fn is_closing(&self, time: StepTime) -> bool {
        let begins = time.closed_us.is_none() && time.closing_us.is_some();
        (begins && !self.releases.is_empty())
            || self.stages.iter().any(|stage| match &stage.target {
                Target::Closing { closing, .. } => closing.is_due(time),
                Target::Operator { operator, .. } => operator.is_closing(time),
                _ => false,
            })
    }

    /// Whether it waits for windows to close, or lets go of rows, so that it has to know of the watermark.
    #[must_use]
    pub fn needs_watermark(&self) -> bool {
        let closes = |stage: &Stage| match &stage.target {
            Target::Closing { .. } => true,
            Target::Operator { operator, .. } => operator.closes(),
            _ => false,
        };
        !self.releases.is_empty() || self.stages.iter().any(closes)
    }

    /// What the graph holds over empty inputs: what follows from constant rows, and from a global
    /// aggregate below another operator (or one that is followed), which has a row even over nothing.
    ///
    /// The caller applies it once, when the view is created, before the first step.
    pub fn initial(
        &mut self,
        pool: &Workers,
        state: &dyn StateReader,
    ) -> Result<StepOutput, FlowError> {
        self.run(&[], pool, state, true)
    }

    /// Takes one commit's updates: for each source any number of batches.
    ///
    /// # Panics
    /// When a source gives updates with diffs that was declared append-only: a caller's mistake.
    pub fn step(
        &mut self,
        inputs: &[(SourceIndex, Updates)],
        pool: &Workers,
        state: &dyn StateReader,
    ) -> Result<StepOutput, FlowError> {
        self.run(inputs, pool, state, false)
    }

    fn run(
        &mut self,
        inputs: &[(SourceIndex, Updates)],
        pool: &Workers,
        state: &dyn StateReader,
        initial: bool,
    ) -> Result<StepOutput, FlowError> {
        for (source, lookup) in &self.lookups {
            let changed = inputs.iter().filter(|(s, _)| s == source).map(|(_, updates)| updates);
            lookup.begin(state.table(*source), changed)?;
        }
        let mut output = StepOutput::default();
        let mut changes: Vec<Vec<Updates>> = Vec::with_capacity(self.stages.len());
        let stages = self.stages.len();
        let mut folded: Vec<Vec<RecordBatch>> = vec![Vec::new(); stages];
        for number in 0..stages {
            let (done, later) = self.stages.split_at_mut(number + 1);
            let stage = &mut done[number];
            let inputs = Inputs { sources: inputs, changes: &changes, initial };
            let mut change = Vec::new();
            match &mut stage.target {
                Target::Rows => {
                    let parts = stage::evaluate(&stage.ports[0], inputs, pool)?;
                    emit_rows(&self.tree, parts, self.followed, &mut output)?;
                }
                Target::Operator { operator, trees } => {
                    let into = stage.folds_into.map(|into| (into, &later[into - number - 1]));
                    let fold = into
                        .and_then(|(_, into)| Fold::new(number, stages, into, pool, &self.limits));
                    let emitted = Emitted::new(fold, &self.limits);
                    let deltas = &mut output.inner;
                    let heard = self.followed || trees.first() != Some(&StateTree::VIEW);
                    let step = Step::new(pool, state, trees, deltas, emitted, self.time);
                    let mut step = step.heard(heard);
                    operate(&mut **operator, &stage.ports, inputs, &mut step)?;
                    let (rest, parts) = step.end();
                    change = rest;
                    if let Some((into, _)) = into {
                        folded[into].extend(parts);
                    }
                }
                Target::Closing { aggregate, tree, closing } => {
                    let mut parts = stage::partials(&stage.ports[0], aggregate, inputs, pool)?;
                    parts.append(&mut folded[number]);
                    let read = |range: KeyRange, rows_max| {
                        let read = state.read_ranges(*tree, &[range], rows_max, false);
                        read.map_err(FlowError::State)
                    };
                    let closed = closing.step(&parts, self.time, read)?;
                    output.inner.extend(closed.deltas.into_iter().map(|delta| (*tree, delta)));
                    change.extend(closed.answer);
                }
                Target::Aggregate { aggregate, tree, tracked, release } => {
                    let mut parts = stage::partials(&stage.ports[0], aggregate, inputs, pool)?;
                    parts.append(&mut folded[number]);
                    if let Some((release, closed_us)) = release.zip(self.time.closed_us) {
                        parts = release.kept(parts, closed_us)?;
                    }
                    if let Some(tracked) = tracked {
                        let old = |keys: &[ArrayRef]| {
                            state.get_many(*tree, keys).map_err(FlowError::State)
                        };
                        let moved = tracked.apply(&parts, initial, old)?;
                        change.extend(moved);
                    }
                    if *tree == StateTree::VIEW {
                        output.deltas.extend(parts);
                        output.change = linear::apply_all(&self.above, &change)?;
                    } else {
                        output.inner.extend(parts.into_iter().map(|part| (*tree, part)));
                    }
                }
            }
            changes.push(change);
        }
        self.answered(output, changes.last())
    }

    /// Of an operator that keeps the view's own tree, what the last stage did is what the view did.
    fn answered(
        &self,
        mut output: StepOutput,
        change: Option<&Vec<Updates>>,
    ) -> Result<StepOutput, FlowError> {
        if let (TreeShape::Ranked(_), Some(change)) = (&self.tree, change) {
            output.change = linear::apply_all(&self.above, change)?;
            let own = output.inner.extract_if(.., |(tree, _)| *tree == StateTree::VIEW);
            output.deltas.extend(own.map(|(_, delta)| delta));
        }
        Ok(output)
    }

    /// The view's rows from rows of its tree: combined (so one row per key), in any division,
    /// except that a global aggregate wants its whole state in one call, even when it is empty,
    /// because it has a row over nothing too, and a ranking whole partitions ([`Ranking::together`]).
    pub fn finish(&self, states: &RecordBatch) -> Result<RecordBatch, FlowError> {
        match &self.tree {
            TreeShape::Keep { .. } => Ok(states.clone()),
            TreeShape::Bag(_) => expand_bag(states, &self.schema),
            TreeShape::Ranked(ranking) => self.shown(ranking.shown(states)?),
            TreeShape::Combine(aggregate) => self.shown(aggregate.finish(states)?),
        }
    }

    /// The view's rows from those of what keeps its own tree.
    fn shown(&self, rows: RecordBatch) -> Result<RecordBatch, FlowError> {
        match linear::apply_all(&self.above, &[Updates::inserts(rows)])? {
            Some(updates) => Ok(updates.into_parts().0),
            None => Ok(RecordBatch::new_empty(Arc::clone(&self.schema))),
        }
    }
}

/// Steps an operator by what leads to it.
fn operate(
    operator: &mut dyn Operator,
    ports: &[Vec<Way>],
    inputs: Inputs<'_>,
    step: &mut Step<'_>,
) -> Result<(), FlowError> {
    let ports = ports
        .iter()
        .map(|ways| stage::evaluate(ways, inputs, step.pool()))
        .collect::<Result<Vec<_>, _>>()?;
    operator.step(ports, step)?.into_iter().try_for_each(|updates| step.emit(updates))
}

/// Rows of a view that does not aggregate last: as they are, or with their multiplicity.
fn emit_rows(
    tree: &TreeShape,
    parts: Vec<Updates>,
    followed: bool,
    output: &mut StepOutput,
) -> Result<(), FlowError> {
    if followed {
        output.change = Updates::concat(&parts)?;
    }
    for part in parts {
        output.deltas.push(match tree {
            TreeShape::Bag(bag) => bag.partial(&part)?,
            // A filter keeps the bytes of the strings it drops alive.
            _ => compact_batch(&part.into_parts().0)?,
        });
    }
    Ok(())
}

/// Each row as often as its multiplicity says.
fn expand_bag(states: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, FlowError> {
    let width = schema.fields().len();
    let counts = states.column(width).as_primitive::<Int64Type>();
    if counts.values().iter().all(|&count| count == 1) {
        let columns = states.columns()[..width].to_vec();
        return Ok(RecordBatch::try_new(Arc::clone(schema), columns)?);
    }
    let mut rows = Vec::new();
    for (row, &count) in (0u32..).zip(counts.values()) {
        rows.extend(std::iter::repeat_n(row, usize::try_from(count).unwrap_or(0)));
    }
    let columns = take_arrays(&states.columns()[..width], &UInt32Array::from(rows), None)?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
