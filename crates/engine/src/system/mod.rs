//! The tables under `yeoul.`: what the engine says of itself, made when they are asked for.

mod exposed;
mod sinks;
mod sources;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
    UInt64Array,
};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use yeoul_sql::RelationKind;

use crate::catalog::{Body, Relation};
use crate::commit::{Build, BuildStatus};
use crate::session::{FUNCTION_COLUMNS, function_columns};
use crate::shared::Shared;
use crate::world::World;

pub(crate) use exposed::write as expose;

/// The names of the tables made here.
pub(crate) const NAMES: [&str; 9] = [
    "yeoul.streams",
    "yeoul.tables",
    "yeoul.views",
    "yeoul.functions",
    "yeoul.sources",
    "yeoul.parts",
    "yeoul.sinks",
    "yeoul.commits",
    "yeoul.settings",
];

/// The column of tables and views that counts what is in their trees, which is not the rows they have.
const STORED_ROWS: &str = "stored_rows";

/// The system table of this name.
pub(crate) fn table(
    name: &str,
    world: &Arc<World>,
    shared: &Shared,
) -> Option<Arc<dyn TableProvider>> {
    let batch = match name {
        "yeoul.streams" => streams(world, RelationKind::Stream),
        "yeoul.tables" => streams(world, RelationKind::Table),
        "yeoul.views" => views(world),
        "yeoul.functions" => functions(world),
        "yeoul.sources" => sources::sources(world, shared),
        "yeoul.sinks" => sinks::sinks(world, shared),
        "yeoul.parts" => parts(world),
        "yeoul.commits" => commits(world),
        "yeoul.settings" => settings(shared),
        _ => return None,
    };
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]);
    Some(Arc::new(table.expect("the batch has its own schema")))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("columns of one length")
}

fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter_values(values))
}

fn numbers(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    let signed = values.into_iter().map(|v| i64::try_from(v).unwrap_or(i64::MAX));
    Arc::new(Int64Array::from_iter_values(signed))
}

fn of_kind(world: &World, kind: RelationKind) -> Vec<&Arc<Relation>> {
    world.catalog.relations().filter(|relation| relation.kind == kind).collect()
}

/// How many rows are in the tree: those of a stream, of which none is ever changed; of a table and a view as
/// many as they have or more, because a row that was changed is there several times until parts are merged.
fn stored_rows(world: &World, relation: &Relation) -> u64 {
    world.snapshot.tree(relation.tree()).map_or(0, |tree| tree.rows())
}

fn tree_sizes(world: &World, relations: &[&Arc<Relation>]) -> (ArrayRef, ArrayRef, ArrayRef) {
    let tree = |r: &&Arc<Relation>| world.snapshot.tree(r.tree());
    let memory = relations.iter().map(|r| tree(r).map_or(0, |t| t.memory_bytes() as u64));
    let disk = relations.iter().map(|r| tree(r).map_or(0, |t| t.part_bytes()));
    let parts = relations.iter().map(|r| tree(r).map_or(0, |t| t.parts().len() as u64));
    (numbers(memory), numbers(disk), numbers(parts))
}

fn streams(world: &World, kind: RelationKind) -> RecordBatch {
    let relations = of_kind(world, kind);
    let (memory, disk, parts) = tree_sizes(world, &relations);
    let rows = if kind == RelationKind::Stream { "rows" } else { STORED_ROWS };
    let watermarks: TimestampMicrosecondArray =
        relations.iter().map(|r| world.watermarks.get(&r.id).copied()).collect();
    batch(vec![
        ("name", texts(relations.iter().map(|r| &r.name))),
        (rows, numbers(relations.iter().map(|r| stored_rows(world, r)))),
        ("memory_bytes", memory),
        ("disk_bytes", disk),
        ("parts", parts),
        ("watermark", Arc::new(watermarks.with_timezone("UTC"))),
        ("lateness_us", Arc::new(relations.iter().map(|r| lateness_us(r)).collect::<Int64Array>())),
        ("created_commit", numbers(relations.iter().map(|r| r.created.0))),
        ("definition", texts(relations.iter().map(|r| &r.sql))),
    ])
}

fn lateness_us(relation: &Relation) -> Option<i64> {
    match &relation.body {
        Body::Stream(stream) => Some(stream.lateness_us),
        _ => None,
    }
}

/// How far the building of a view is: in a word, rows given to it, rows there are, seconds left.
type Progress = (&'static str, u64, u64, Option<f64>);

fn progress(build: Option<&Build>) -> Progress {
    let rows = |s: &BuildStatus| (s.done.load(Ordering::Relaxed), s.total.load(Ordering::Relaxed));
    match build {
        None | Some(Build::Ready) => ("ready", 0, 0, None),
        Some(Build::Running(status)) => {
            let (done, total) = rows(status);
            ("building", done, total, status.seconds_left())
        }
        Some(Build::Waiting(_)) => ("waiting", 0, 0, None),
        Some(Build::Failed(_)) => ("failed", 0, 0, None),
    }
}

/// What is to be told of a view: how it is itself, and how far the version is that will replace it.
fn view_row(world: &World, view: &Relation) -> (Progress, Option<String>, Option<String>) {
    let own = progress(world.unready.get(&view.id));
    let error = match world.unready.get(&view.id) {
        Some(Build::Failed(status)) => status.failed.lock().clone(),
        _ => None,
    };
    if let Some((version, _)) = world.catalog.version_for(view.id) {
        let version = progress(world.unready.get(&version.id));
        let word = match version.0 {
            "ready" => "complete",
            // It is about to be given up, and then it says why.
            "failed" => "building",
            word => word,
        };
        return ((own.0, version.1, version.2, version.3), error, Some(word.to_owned()));
    }
    let moved = world.catalog.moves().any(|(_, version)| version.replaces == view.id);
    let replacement = match world.given_up.get(&view.name) {
        Some(why) => Some(format!("failed: {why}")),
        None => moved.then(|| "moves".to_owned()),
    };
    (own, error, replacement)
}

fn views(world: &World) -> RecordBatch {
    let views = of_kind(world, RelationKind::View);
    let (memory, disk, parts) = tree_sizes(world, &views);
    let rows: Vec<_> = views.iter().map(|view| view_row(world, view)).collect();
    let reads = |r: &Relation| match &r.body {
        Body::View(view) => {
            let names = view.named.iter().filter_map(|id| world.catalog.by_id(*id));
            names.map(|r| r.name.clone()).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    };
    batch(vec![
        ("name", texts(views.iter().map(|r| &r.name))),
        ("status", texts(rows.iter().map(|row| row.0.0))),
        ("built_rows", numbers(rows.iter().map(|row| row.0.1))),
        ("source_rows", numbers(rows.iter().map(|row| row.0.2))),
        ("error", Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringViewArray>())),
        ("reads", texts(views.iter().map(|r| reads(r)))),
        ("memory_bytes", memory),
        ("disk_bytes", disk),
        ("parts", parts),
        ("created_commit", numbers(views.iter().map(|r| r.created.0))),
        ("definition", texts(views.iter().map(|r| &r.sql))),
        (
            "replacement",
            Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringViewArray>()),
        ),
        ("eta_seconds", Arc::new(rows.iter().map(|row| row.0.3).collect::<Float64Array>())),
        (STORED_ROWS, numbers(views.iter().map(|r| stored_rows(world, r)))),
    ])
}

fn functions(world: &World) -> RecordBatch {
    let columns = FUNCTION_COLUMNS.into_iter().zip(function_columns(&world.catalog));
    batch(columns.map(|(name, column)| (name, texts(column))).collect())
}

fn parts(world: &World) -> RecordBatch {
    let all: Vec<_> = world
        .snapshot
        .trees()
        .iter()
        .flat_map(|tree| tree.parts().iter().map(move |part| (&tree.spec().name, part)))
        .collect();
    batch(vec![
        ("tree", texts(all.iter().map(|p| p.0))),
        ("path", texts(all.iter().map(|p| p.1.path()))),
        (
            "partition",
            Arc::new(Int64Array::from_iter_values(all.iter().map(|p| p.1.meta().partition))),
        ),
        ("rows", numbers(all.iter().map(|p| p.1.meta().rows))),
        ("bytes", numbers(all.iter().map(|p| p.1.meta().bytes))),
        ("level", numbers(all.iter().map(|p| u64::from(p.1.meta().level)))),
    ])
}

fn commits(world: &World) -> RecordBatch {
    batch(vec![("commit", Arc::new(UInt64Array::from(vec![world.commit().0])))])
}

fn settings(shared: &Shared) -> RecordBatch {
    let o = &shared.options;
    let all = [
        ("commit_interval", format!("{:?}", o.commit_interval)),
        ("commit_rows", o.commit_rows.to_string()),
        ("memory_bytes_max", o.memory_bytes_max.to_string()),
        ("cache_bytes_max", o.cache_bytes_max.to_string()),
        ("change_bytes_max", o.change_bytes_max.to_string()),
        ("query_bytes_max", o.query_bytes_max.to_string()),
        ("query_threads", o.query_threads.to_string()),
        ("query_timeout", format!("{:?}", o.query_timeout)),
        ("queue_bytes_max", o.queue_bytes_max.to_string()),
        ("seen_bytes_max", o.seen_bytes_max.to_string()),
        ("sync", format!("{:?}", o.sync).to_lowercase()),
        ("workers", o.workers.to_string()),
    ];
    batch(vec![
        ("name", texts(all.iter().map(|s| s.0))),
        ("value", texts(all.iter().map(|s| &s.1))),
    ])
}
