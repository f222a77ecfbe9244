//! Stepping the views, and what is known of those that are still being built.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch};
use hashbrown::HashMap;
use parking_lot::Mutex;
use yeoul_batch::{CommitId, KeyRange, RangeRows, TreeId, Updates};
use yeoul_flow::{
    Graph, SourceIndex, StateReader, StateTree, StepOutput, StepTime, TableReader, Workers,
};
use yeoul_store::{Snapshot, TreeSnapshot};

use super::clock::ViewClock;
use super::sinks::Stamp;
use crate::catalog::{Body, Relation, RelationId, ViewBody};
use crate::error::{EngineError, ErrorKind};

/// How far the building of a view is; shared with whoever wants to know.
#[derive(Debug, Default)]
pub(crate) struct BuildStatus {
    /// Rows given to the view.
    pub done: AtomicU64,
    /// Rows its sources held when building began.
    pub total: AtomicU64,
    /// When it began.
    pub began: OnceLock<Instant>,
    /// Why it failed, if it did.
    pub failed: Mutex<Option<String>>,
}

impl BuildStatus {
    /// About how many seconds it will still take, going by those it took so far.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        let (done, total) = (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let took = self.began.get()?.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a guess")]
        let left = |rows: u64| took * rows as f64 / done as f64;
        (done > 0).then(|| left(total.saturating_sub(done)))
    }
}

/// Where a view stands.
#[derive(Clone, Debug)]
pub(crate) enum Build {
    /// It is complete.
    Ready,
    /// It is given the stored rows of its sources; live commits are stepped as well.
    Running(Arc<BuildStatus>),
    /// It waits for a view that it reads to be complete.
    Waiting(Arc<BuildStatus>),
    /// It could not be built. It stays, empty, until it is dropped.
    Failed(Arc<BuildStatus>),
}

/// A view of the commit thread.
pub(crate) struct ViewState {
    pub relation: Arc<Relation>,
    pub graph: Graph,
    pub build: Build,
    pub clock: ViewClock,
    /// The commit before the one that brings what the view holds over nothing, if it holds something.
    pub begun: Option<CommitId>,
}

/// The updates of a commit, by relation.
pub(crate) type Changes = HashMap<RelationId, Vec<Updates>>;

impl ViewState {
    /// Whether live commits are stepped.
    pub(crate) fn is_stepped(&self) -> bool {
        matches!(self.build, Build::Ready | Build::Running(_))
    }

    fn body(&self) -> &ViewBody {
        match &self.relation.body {
            Body::View(body) => body,
            _ => unreachable!("a view state is made of a view"),
        }
    }

    /// What a commit's changes are for the sources of this view.
    fn inputs(&self, changes: &Changes) -> Result<Vec<(SourceIndex, Updates)>, EngineError> {
        let mut inputs = Vec::new();
        for (index, (source, columns)) in self.body().sources.iter().enumerate() {
            for updates in changes.get(source).into_iter().flatten() {
                let rows = updates.rows().project(columns)?;
                inputs.push((SourceIndex(index), updates.with_rows(rows)));
            }
        }
        Ok(inputs)
    }

    /// Steps the view by a commit's changes. What is to be stored goes to `batches`; its own change,
    /// when somebody follows it, to `changes`.
    pub(crate) fn step(
        &mut self,
        (time, stamp): (StepTime, Stamp),
        changes: &mut Changes,
        batches: &mut Vec<(TreeId, RecordBatch)>,
        snapshot: &Arc<Snapshot>,
        workers: &Workers,
    ) -> Result<(), EngineError> {
        let inputs = self.inputs(changes)?;
        let is_due = !inputs.is_empty() || self.is_due(time);
        self.clock.closed_us = time.closing_us;
        if !is_due {
            return Ok(());
        }
        self.clock.stepped_us = time.now_us;
        let change = self.feed(time, &inputs, batches, snapshot, workers)?;
        self.note(stamp, change.as_ref(), batches)?;
        if let Some(change) = change {
            changes.entry(self.relation.id).or_default().push(change);
        }
        Ok(())
    }

    /// Steps the view by given inputs; its change, when it is followed.
    pub(crate) fn feed(
        &mut self,
        time: StepTime,
        inputs: &[(SourceIndex, Updates)],
        batches: &mut Vec<(TreeId, RecordBatch)>,
        snapshot: &Arc<Snapshot>,
        workers: &Workers,
    ) -> Result<Option<Updates>, EngineError> {
        self.graph.set_time(time);
        let reader = States { view: &self.relation, snapshot };
        let output = self
            .graph
            .step(inputs, workers, &reader)
            .map_err(|error| failed(&self.relation.name, &error))?;
        Ok(self.store(output, batches))
    }

    /// What the view holds over nothing: see [`Graph::initial`].
    pub(crate) fn begin(
        &mut self,
        (time, stamp): (StepTime, Stamp),
        batches: &mut Vec<(TreeId, RecordBatch)>,
        snapshot: &Arc<Snapshot>,
        workers: &Workers,
    ) -> Result<(), EngineError> {
        self.graph.set_time(time);
        let reader = States { view: &self.relation, snapshot };
        let output = self
            .graph
            .initial(workers, &reader)
            .map_err(|error| failed(&self.relation.name, &error))?;
        let change = self.store(output, batches);
        self.note(stamp, change.as_ref(), batches)
    }

    /// What of an output is stored goes to `batches`; the change is given back.
    fn store(
        &self,
        output: StepOutput,
        batches: &mut Vec<(TreeId, RecordBatch)>,
    ) -> Option<Updates> {
        let trees = &self.relation.trees;
        let deltas = output.deltas.into_iter().filter(|b| b.num_rows() > 0 && !self.is_unread());
        batches.extend(deltas.map(|b| (trees[0].id, b)));
        for (StateTree(number), batch) in output.inner {
            if batch.num_rows() > 0 {
                batches.push((trees[number as usize].id, batch));
            }
        }
        output.change
    }

    /// Adds what the building has done.
    pub(crate) fn progress(&self, rows: u64) {
        if let Build::Running(status) = &self.build {
            status.done.fetch_add(rows, Ordering::Relaxed);
        }
    }
}

fn failed(view: &str, error: &yeoul_flow::FlowError) -> EngineError {
    EngineError::new(ErrorKind::Input, format!("view \"{view}\": {error}"))
}

/// Reads the states of a view's operators as they were at the last published commit.
struct States<'a> {
    view: &'a Relation,
    snapshot: &'a Arc<Snapshot>,
}

/// A table as it was at the last published commit, with the columns that a view looks up.
#[derive(Debug)]
struct LookedUp {
    tree: Arc<TreeSnapshot>,
    columns: Vec<usize>,
}

impl TableReader for LookedUp {
    fn get_many(
        &self,
        keys: &[ArrayRef],
    ) -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>> {
        Ok(yeoul_store::get_many(&self.tree, keys)?.project(&self.columns)?)
    }
}

impl StateReader for States<'_> {
    fn get_many(
        &self,
        StateTree(number): StateTree,
        keys: &[ArrayRef],
    ) -> Result<RecordBatch, Box<dyn std::error::Error + Send + Sync>> {
        let spec = &self.view.trees[number as usize];
        match self.snapshot.tree(spec.id) {
            Some(tree) => {
                // A tree that is looked for by leading columns has its key in the order of its columns.
                let by = spec.key.iter().take(keys.len());
                let keys: Vec<ArrayRef> = by.map(|&k| Arc::clone(&keys[k])).collect();
                Ok(yeoul_store::get_many(tree, &keys)?)
            }
            None => Ok(RecordBatch::new_empty(Arc::clone(&spec.schema))),
        }
    }

    fn read_ranges(
        &self,
        StateTree(number): StateTree,
        ranges: &[KeyRange],
        rows_max: usize,
        reverse: bool,
    ) -> Result<RangeRows, Box<dyn std::error::Error + Send + Sync>> {
        let spec = &self.view.trees[number as usize];
        match self.snapshot.tree(spec.id) {
            Some(tree) => Ok(yeoul_store::read_ranges(tree, ranges, rows_max, reverse)?),
            None => Ok(RangeRows {
                rows: RecordBatch::new_empty(Arc::clone(&spec.schema)),
                ranges: Vec::new(),
                more: vec![false; ranges.len()],
            }),
        }
    }

    fn table(&self, source: SourceIndex) -> Option<Arc<dyn TableReader>> {
        let Body::View(body) = &self.view.body else { return None };
        let (_, tree) = body.lookups.iter().find(|(lookup, _)| *lookup == source)?;
        let (_, columns) = body.sources.get(source.0)?;
        let tree = Arc::clone(self.snapshot.tree(*tree)?);
        Some(Arc::new(LookedUp { tree, columns: columns.clone() }))
    }
}
