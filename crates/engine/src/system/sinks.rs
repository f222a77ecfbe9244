//! `yeoul.sinks`: what every sink sends, how far it is, and what it could not do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use yeoul_sql::RelationKind;

use super::{batch, of_kind, texts};
use crate::catalog::{Relation, SinkBody};
use crate::commit::{Build, SinkState};
use crate::shared::Shared;
use crate::sinks::ReportedSink;
use crate::world::World;

/// One row of the table.
struct Row<'a> {
    relation: &'a Relation,
    body: &'a SinkBody,
    state: SinkState,
    said: ReportedSink,
    /// Whether it has said anything.
    runs: bool,
    build: Option<&'a Build>,
    kept: u64,
}

impl Row<'_> {
    fn word(&self) -> &'static str {
        match self.build {
            Some(Build::Failed(_)) => "failed",
            Some(Build::Running(_) | Build::Waiting(_)) => "building",
            _ if self.body.paused => "paused",
            _ if self.said.failed => "failed",
            _ if self.runs => "running",
            _ => "stopped",
        }
    }

    fn error(&self) -> Option<String> {
        let built = match self.build {
            Some(Build::Failed(status)) => status.failed.lock().clone(),
            _ => None,
        };
        self.state.failed.clone().or(built).or_else(|| self.said.error.clone())
    }

    fn built(&self) -> Option<(u64, u64)> {
        match self.build {
            Some(Build::Running(status) | Build::Waiting(status)) => {
                Some((status.done.load(Ordering::Relaxed), status.total.load(Ordering::Relaxed)))
            }
            _ => None,
        }
    }
}

/// One row per sink.
pub(super) fn sinks(world: &World, shared: &Shared) -> RecordBatch {
    let mut reports = shared.sink_reports.all(&world.catalog);
    let relations = of_kind(world, RelationKind::Sink);
    // What was let go of since the last commit is not kept any more.
    let snapshot = shared.store.snapshot();
    let rows: Vec<Row<'_>> = relations
        .iter()
        .filter_map(|relation| {
            let said = reports.remove(&relation.id);
            Some(Row {
                relation,
                body: relation.sink()?,
                state: world.sinks.get(&relation.id).cloned().unwrap_or_default(),
                runs: said.is_some(),
                said: said.unwrap_or_default(),
                build: world.unready.get(&relation.id),
                kept: snapshot.tree(relation.changes()).map_or(0, |tree| tree.rows()),
            })
        })
        .collect();
    columns(&rows, world.commit().0, shared.clock.now_us())
}

fn columns(rows: &[Row<'_>], commit: u64, now_us: i64) -> RecordBatch {
    let sent = |row: &Row<'_>| row.said.sent.map(|sent| sent.commit().0);
    let lag = |row: &Row<'_>| Some(commit.saturating_sub(row.said.sent?.commit().0));
    #[expect(clippy::cast_precision_loss, reason = "lags are shorter than 285 years")]
    let seconds = |row: &Row<'_>| match row.said.behind_us {
        Some(at_us) => Some(now_us.saturating_sub(at_us) as f64 / 1e6),
        None => row.said.sent.map(|_| 0.0),
    };
    let rate = |row: &Row<'_>| Some(row.said.rate?.at(now_us));
    let last_at: TimestampMicrosecondArray =
        rows.iter().map(|row| Some(row.said.last_error.as_ref()?.1)).collect();
    let words = |value: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<StringViewArray>())
    };
    let known = |value: &dyn Fn(&Row<'_>) -> Option<u64>| -> ArrayRef {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Arc::new(rows.iter().map(|row| value(row).map(signed)).collect::<Int64Array>())
    };
    batch(vec![
        ("name", texts(rows.iter().map(|row| &row.relation.name))),
        ("sends", texts(rows.iter().map(|row| &row.body.of))),
        ("connector", texts(rows.iter().map(|row| &row.body.connector.name))),
        ("envelope", texts(rows.iter().map(|row| row.body.envelope.word()))),
        ("state", texts(rows.iter().map(Row::word))),
        ("error", words(&|row| row.error())),
        ("sent_commit", known(&sent)),
        ("lag_commits", known(&lag)),
        ("lag_seconds", Arc::new(rows.iter().map(seconds).collect::<Float64Array>())),
        ("kept_rows", known(&|row| Some(row.kept))),
        ("sent_rows", known(&|row| Some(row.said.rows))),
        ("rows_per_second", Arc::new(rows.iter().map(rate).collect::<Float64Array>())),
        ("last_error", words(&|row| Some(row.said.last_error.as_ref()?.0.clone()))),
        ("last_error_at", Arc::new(last_at.with_timezone("UTC"))),
        ("built_rows", known(&|row| Some(row.built()?.0))),
        ("source_rows", known(&|row| Some(row.built()?.1))),
        ("rewinds", known(&|row| Some(u64::from(row.state.rewinds)))),
        ("definition", texts(rows.iter().map(|row| &row.relation.sql))),
    ])
}
