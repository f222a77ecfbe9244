//! Building a view from what its sources already hold, while live commits go on.
//!
//! ```text
//!   snapshot n of the sources ──chunks──▶ commit thread: step the view's graph ◀── commits > n
//! ```
//!
//! The snapshot was taken at commit n; the view is stepped by every commit after n. So each row comes
//! exactly once: from the snapshot or from a commit. The chunks go through the commit thread because the
//! graph is there; reading and decoding happens here.
//!
//! What must hold: one chunk is under way at a time, so that building never fills the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use crossbeam_channel::Receiver;
use yeoul_batch::Updates;
use yeoul_flow::SourceIndex;
use yeoul_store::Snapshot;

use crate::catalog::{Body, Catalog, Relation};
use crate::commit::{BuildStatus, Job};
use crate::error::EngineError;
use crate::scan::TreeView;
use crate::shared::Shared;

/// Rows given to the commit thread at once: a few milliseconds of its time.
const CHUNK_ROWS: usize = 32_768;

/// A view to build.
pub(crate) struct BuildTask {
    pub relation: Arc<Relation>,
    pub catalog: Arc<Catalog>,
    /// What its sources held when live stepping began.
    pub snapshot: Arc<Snapshot>,
    pub status: Arc<BuildStatus>,
}

/// Works on tasks, one after the other, until nobody can give any.
pub(crate) fn run(shared: &Arc<Shared>, tasks: &Receiver<BuildTask>) {
    for task in tasks {
        let view = task.relation.id;
        let outcome =
            build(shared, &task).and_then(|()| shared.ask(|reply| Job::Built { view, reply }));
        if let Err(error) = outcome {
            // When the engine is stopping the view is simply built at the next start.
            let _ = shared.queue.send(Job::BuildFailed { view, error });
        }
    }
}

fn build(shared: &Shared, task: &BuildTask) -> Result<(), EngineError> {
    let Body::View(body) = &task.relation.body else { return Ok(()) };
    let total = body
        .inputs()
        .filter_map(|(_, id, _)| task.snapshot.tree(task.catalog.by_id(id)?.tree()))
        .map(|tree| tree.rows())
        .sum();
    task.status.total.store(total, Ordering::Relaxed);
    for (index, id, columns) in body.inputs() {
        let Some(source) = task.catalog.by_id(id) else { continue };
        for rows in stored_rows(source, &task.snapshot)? {
            let rows = rows?.project(columns)?;
            for at in (0..rows.num_rows()).step_by(CHUNK_ROWS) {
                let chunk = rows.slice(at, CHUNK_ROWS.min(rows.num_rows() - at));
                let count = chunk.num_rows() as u64;
                let inputs = vec![(SourceIndex(index), updates(source, chunk))];
                let view = task.relation.id;
                shared.ask(|reply| Job::Backfill { view, inputs, rows: count, reply })?;
            }
        }
    }
    Ok(())
}

/// Every stored row is added once. A source whose rows can go again gives them with diffs.
fn updates(source: &Relation, rows: RecordBatch) -> Updates {
    if source.append_only() {
        return Updates::inserts(rows);
    }
    let diffs = arrow::array::Int64Array::from(vec![1; rows.num_rows()]);
    Updates::new(rows, diffs)
}

type Rows<'a> = Box<dyn Iterator<Item = Result<RecordBatch, EngineError>> + 'a>;

/// The rows of a relation at a snapshot.
fn stored_rows<'a>(source: &'a Relation, snapshot: &'a Snapshot) -> Result<Rows<'a>, EngineError> {
    let Some(tree) = snapshot.tree(source.tree()) else {
        return Ok(Box::new(std::iter::empty()));
    };
    let scan = yeoul_store::scan(tree, yeoul_store::ScanOptions::default())?;
    let rows = scan.map(|batch| batch.map_err(EngineError::from));
    Ok(match (&source.view, &source.body) {
        (TreeView::Keep, _) => Box::new(rows),
        (TreeView::Merged { rule, .. }, Body::View(body)) => {
            let graph = &body.reader;
            if rule.key().is_empty() {
                let states: Vec<RecordBatch> = rows.collect::<Result<_, _>>()?;
                let states = arrow::compute::concat_batches(&tree.spec().schema, &states)?;
                Box::new(std::iter::once(graph.finish(&states).map_err(EngineError::from)))
            } else {
                Box::new(rows.map(move |states| Ok(graph.finish(&states?)?)))
            }
        }
        (TreeView::Merged { .. }, _) => {
            let visible: Vec<usize> = (0..source.schema.fields().len()).collect();
            Box::new(rows.map(move |batch| Ok(batch?.project(&visible)?)))
        }
    })
}
