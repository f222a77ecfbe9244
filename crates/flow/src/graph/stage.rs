//! A stage: an aggregate, another operator with state, or the output, with the linear ways that lead to it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use yeoul_batch::{Combine, Updates};

use super::closing::Closing;
use super::tracked::Tracked;
use super::{Release, SourceIndex, StateTree};
use crate::aggregate::{Aggregate, Panes};
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::linear::{self, Linear};
use crate::operator::Operator;
use crate::workers::Workers;

/// Below this many rows a chunk is not worth handing to another thread.
const CHUNK_ROWS_MIN: usize = 1024;
/// Up to this many rows, the deltas of a step's chunks are made one, so that the tree gets one
/// small batch per commit and not one per worker.
const JOIN_ROWS_MAX: usize = 8192;

/// Where rows come from.
#[derive(Debug, Clone)]
pub(crate) enum Leaf {
    Source(SourceIndex),
    /// The change of a stage before.
    Stage(usize),
    /// Rows that are there from the beginning.
    Values(RecordBatch),
}

/// What comes to the stages in a step.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) sources: &'a [(SourceIndex, Updates)],
    /// The changes of the stages before, by stage.
    pub(crate) changes: &'a [Vec<Updates>],
    /// Nothing came before.
    pub(crate) initial: bool,
}

/// One linear way from a leaf to a stage.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) leaf: Leaf,
    pub(crate) operators: Arc<[Linear]>,
    /// The way ends in a window whose rows are grouped by pane first.
    pub(crate) panes: Option<Arc<Panes>>,
}

#[derive(Debug)]
pub(crate) enum Target {
    /// The view's rows.
    Rows,
    /// An aggregate, the tree of its states, what it takes to emit its change, and which groups it lets go of.
    Aggregate {
        aggregate: Arc<Aggregate>,
        tree: StateTree,
        tracked: Option<Tracked>,
        release: Option<Release>,
    },
    /// An aggregate whose groups are told when their window is closed, and the tree of its states.
    Closing { aggregate: Arc<Aggregate>, tree: StateTree, closing: Closing },
    /// Another operator, and its trees.
    Operator { operator: Box<dyn Operator>, trees: Vec<StateTree> },
}

#[derive(Debug)]
pub(crate) struct Stage {
    /// The ways that lead to each of its inputs.
    pub(crate) ports: Vec<Vec<Way>>,
    pub(crate) target: Target,
    /// Of what a tracked aggregate keeps in memory.
    pub(crate) caches: CacheBudget,
    /// The one stage that hears an operator, when it is an aggregate.
    pub(crate) folds_into: Option<usize>,
}

impl Stage {
    pub(crate) fn new(ports: Vec<Vec<Way>>, target: Target, caches: CacheBudget) -> Self {
        Self { ports, target, caches, folds_into: None }
    }

    /// Tracks the last aggregate, or no longer does.
    pub(crate) fn follow(&mut self, followed: bool) {
        if let Target::Aggregate { aggregate, tree: StateTree::VIEW, tracked, .. } =
            &mut self.target
        {
            if !followed {
                *tracked = None;
            } else if tracked.is_none() {
                *tracked = Some(Tracked::new(Arc::clone(aggregate), &self.caches));
            }
        }
    }
}

struct Task {
    operators: Arc<[Linear]>,
    panes: Option<Arc<Panes>>,
    updates: Updates,
}

fn tasks(ways: &[Way], inputs: Inputs<'_>, workers: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for way in ways {
        let batches: Vec<Updates> = match &way.leaf {
            Leaf::Source(source) => {
                let of = inputs.sources.iter().filter(|(s, _)| s == source);
                of.map(|(_, updates)| updates.clone()).collect()
            }
            Leaf::Stage(stage) => inputs.changes[*stage].clone(),
            Leaf::Values(rows) if inputs.initial => vec![Updates::inserts(rows.clone())],
            Leaf::Values(_) => Vec::new(),
        };
        for updates in batches.iter().filter(|u| !u.is_empty()) {
            let chunks = (updates.len() / CHUNK_ROWS_MIN).clamp(1, workers);
            let rows = updates.len().div_ceil(chunks);
            for offset in (0..updates.len()).step_by(rows) {
                tasks.push(Task {
                    operators: Arc::clone(&way.operators),
                    panes: way.panes.clone(),
                    updates: updates.slice(offset, rows.min(updates.len() - offset)),
                });
            }
        }
    }
    tasks
}

/// The rows that reach a stage, in the order of the input.
pub(crate) fn evaluate(
    ways: &[Way],
    inputs: Inputs<'_>,
    pool: &Workers,
) -> Result<Vec<Updates>, FlowError> {
    let tasks = tasks(ways, inputs, pool.count());
    pool.map(tasks, |task| linear::apply_all(&task.operators, &[task.updates]))
        .into_iter()
        .filter_map(Result::transpose)
        .collect()
}

/// The delta of an aggregate's states; a key may be in several of the batches.
pub(crate) fn partials(
    ways: &[Way],
    aggregate: &Arc<Aggregate>,
    inputs: Inputs<'_>,
    pool: &Workers,
) -> Result<Vec<RecordBatch>, FlowError> {
    let tasks = tasks(ways, inputs, pool.count());
    let shared = Arc::clone(aggregate);
    let work = move |task: Task| -> Result<Option<RecordBatch>, FlowError> {
        let Some(rows) = linear::apply_all(&task.operators, &[task.updates])? else {
            return Ok(None);
        };
        let part = match &task.panes {
            Some(panes) => panes.partial(&shared, &rows)?,
            None => shared.partial(&rows)?,
        };
        Ok((part.num_rows() > 0).then_some(part))
    };
    let parts = pool
        .map(tasks, work)
        .into_iter()
        .filter_map(Result::transpose)
        .collect::<Result<Vec<_>, _>>()?;
    let rows: usize = parts.iter().map(RecordBatch::num_rows).sum();
    if parts.len() > 1 && rows <= JOIN_ROWS_MAX {
        return Ok(vec![aggregate.combine(&parts, false)?]);
    }
    Ok(parts)
}
