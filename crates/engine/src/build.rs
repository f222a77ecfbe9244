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
//! What must hold: one chunk is under way at a time, so that building never fills the queue; while events
//! come, chunks are small and building has at most a quarter of the commit thread; while they wait, a tenth.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::Receiver;
use yeoul_batch::{CommitId, KeyCodec, Updates};
use yeoul_flow::SourceIndex;
use yeoul_store::Snapshot;

use crate::catalog::{Body, BuildId, Catalog, Relation};
use crate::commit::{BuildStatus, Job};
use crate::error::EngineError;
use crate::scan::TreeView;
use crate::shared::Shared;

/// The queue of events is busy when it is fuller than this.
const BUSY: f64 = 0.1;
/// While it is, a chunk is followed by a pause of up to this many times as long as it took.
const BUSY_SHARE: u32 = 9;
/// While events come at all, each chunk is followed by a pause of so many times as long as it took, and is
/// so many times smaller.
const LIVE_SHARE: u32 = 3;
const LIVE_CHUNK: usize = 4;
/// How often it is looked whether the waiting is over.
const PATIENCE: Duration = Duration::from_millis(5);

/// A view to build.
pub(crate) struct BuildTask {
    pub relation: Arc<Relation>,
    pub catalog: Arc<Catalog>,
    /// What its sources held when live stepping began.
    pub snapshot: Arc<Snapshot>,
    pub status: Arc<BuildStatus>,
}

/// What the thread is asked to do.
pub(crate) enum Task {
    /// Build a view.
    Build(BuildTask),
    /// Have a build swapped in once a manifest holds it as it was at the commit `complete`.
    Finish { build: BuildId, complete: CommitId },
}

/// Works on tasks, one after the other, until nobody can give any.
pub(crate) fn run(shared: &Arc<Shared>, tasks: &Receiver<Task>) {
    for task in tasks {
        let task = match task {
            Task::Build(task) => task,
            Task::Finish { build, complete } => {
                if let Err(error) = finish(shared, build, complete) {
                    // It is complete, and the next start swaps it in.
                    tracing::error!("a new version of a view cannot be swapped in: {error}");
                }
                continue;
            }
        };
        let view = task.relation.id;
        let outcome = build(shared, &task)
            .and_then(|()| write_ahead(shared, &task.relation))
            .and_then(|()| shared.ask(|reply| Job::Built { view, reply }));
        if let Err(error) = outcome {
            // When the engine is stopping the view is simply built at the next start.
            let _ = shared.queue.send(Job::BuildFailed { view, error });
        }
    }
}

fn finish(shared: &Shared, build: BuildId, complete: CommitId) -> Result<(), EngineError> {
    match is_written(shared, complete)? {
        true => shared.ask(|reply| Job::Swap { build, reply }),
        false => Ok(()),
    }
}

/// Waits until a manifest holds what was there at a commit; false when the engine is stopping.
fn is_written(shared: &Shared, commit: CommitId) -> Result<bool, EngineError> {
    while shared.store.stats().checkpoint_commit < commit {
        if shared.is_stopping() {
            return Ok(false);
        }
        shared.ask(|reply| Job::BeginCheckpoint { reply })?;
        std::thread::sleep(PATIENCE);
    }
    Ok(true)
}

/// Whether what a view holds follows from when rows came, and not from the rows alone: what it looks up in tables, what
/// came too late for it, and the numbers of the changes that a sink sends. Built anew after a crash it would be another
/// one, so nobody sees it before a manifest has it.
pub(crate) fn follows_arrival(view: &Relation) -> bool {
    let Body::View(body) = &view.body else { return false };
    !body.lookups.is_empty() || body.reader.needs_watermark() || body.sink.is_some()
}

/// Writes most of what a manifest needs of a view that was built, so that the commit thread has little to write.
fn write_ahead(shared: &Shared, view: &Relation) -> Result<(), EngineError> {
    if follows_arrival(view) {
        is_written(shared, shared.world.load().snapshot.commit())?;
    }
    Ok(())
}

/// Lets events pass after a chunk that took `took`. `live`: some came meanwhile.
fn give_way(shared: &Shared, took: Duration, live: bool) {
    let begun = Instant::now();
    if live {
        std::thread::sleep(took * LIVE_SHARE);
    }
    let until = begun + took * BUSY_SHARE;
    while shared.queue.fullness() > BUSY && Instant::now() < until {
        std::thread::sleep(PATIENCE.min(took));
    }
}

fn build(shared: &Shared, task: &BuildTask) -> Result<(), EngineError> {
    let Body::View(body) = &task.relation.body else { return Ok(()) };
    if body.sink.as_ref().is_some_and(|sink| !sink.snapshot) {
        return Ok(());
    }
    let total = body
        .inputs()
        .filter_map(|(_, id, _)| task.snapshot.tree(task.catalog.by_id(id)?.tree()))
        .map(|tree| tree.rows())
        .sum();
    task.status.total.store(total, Ordering::Relaxed);
    let mut received = shared.metrics.received();
    let mut live = false;
    task.status.began.get_or_init(Instant::now);
    for (index, id, columns) in body.inputs() {
        let Some(source) = task.catalog.by_id(id) else { continue };
        for rows in stored_rows(source, &task.snapshot)? {
            let rows = rows?.project(columns)?;
            let mut at = 0;
            while at < rows.num_rows() {
                let most = shared.options.build_rows / if live { LIVE_CHUNK } else { 1 };
                let chunk = rows.slice(at, most.max(1).min(rows.num_rows() - at));
                at += chunk.num_rows();
                let count = chunk.num_rows() as u64;
                let inputs = vec![(SourceIndex(index), updates(source, chunk))];
                let view = task.relation.id;
                let begun = Instant::now();
                shared.ask(|reply| Job::Backfill { view, inputs, rows: count, reply })?;
                let before = std::mem::replace(&mut received, shared.metrics.received());
                live = received > before;
                give_way(shared, begun.elapsed(), live);
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

/// Rows in the order of a key, of which no batch ends between rows that share its first `columns` columns, which
/// are those of the rows.
fn together<'a>(
    rows: impl Iterator<Item = Result<RecordBatch, EngineError>> + 'a,
    schema: &SchemaRef,
    columns: usize,
) -> impl Iterator<Item = Result<RecordBatch, EngineError>> + 'a {
    let schema = Arc::clone(schema);
    let mut held = RecordBatch::new_empty(Arc::clone(&schema));
    let cut = move |next: Option<Result<RecordBatch, EngineError>>| {
        let Some(next) = next else { return Ok(held.clone()) };
        let all = concat_batches(&schema, [&held, &next?])?;
        let keys: Vec<usize> = (0..columns).collect();
        let keys = KeyCodec::new(&schema, &keys)?.encode(&all)?;
        let last = all.num_rows().checked_sub(1);
        let whole = last.map_or(0, |last| {
            (0..last).rposition(|row| keys.row(row) != keys.row(last)).map_or(0, |row| row + 1)
        });
        held = all.slice(whole, all.num_rows() - whole);
        Ok(all.slice(0, whole))
    };
    rows.map(Some).chain(std::iter::once(None)).map(cut)
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
            if let Some(columns) = rule.together() {
                let rows = together(rows, &tree.spec().schema, columns);
                Box::new(rows.map(move |states| Ok(graph.finish(&states?)?)))
            } else if rule.key().is_empty() {
                let states: Vec<RecordBatch> = rows.collect::<Result<_, _>>()?;
                let states = concat_batches(&tree.spec().schema, &states)?;
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
