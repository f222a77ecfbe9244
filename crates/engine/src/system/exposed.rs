//! `yeoul.sources` and `yeoul.sinks` as Prometheus reads them: a metric for each column that is a figure, a label for each
//! that says whose it is.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, RecordBatch, StringViewArray};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{sinks, sources};
use crate::shared::Shared;
use crate::world::World;

/// A column, and what it is called outside.
struct Exposed {
    column: &'static str,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

const fn counter(column: &'static str, name: &'static str, help: &'static str) -> Exposed {
    Exposed { column, name, kind: "counter", help }
}

const fn gauge(column: &'static str, name: &'static str, help: &'static str) -> Exposed {
    Exposed { column, name, kind: "gauge", help }
}

const SOURCES: &[Exposed] = &[
    counter("received", "yeoul_source_rows_received_total", "Rows and dead letters that came."),
    counter("stored", "yeoul_source_rows_stored_total", "Rows stored."),
    counter("duplicates", "yeoul_source_rows_duplicate_total", "Rows dropped as duplicates."),
    counter("dead_letters", "yeoul_source_dead_letters_total", "What was no row."),
    counter("late", "yeoul_source_rows_late_total", "Stored rows behind the watermark."),
    gauge("position", "yeoul_source_position", "What is read next."),
    gauge(
        "lag",
        "yeoul_source_lag",
        "How much there is that was not stored yet, in units of positions.",
    ),
    gauge(
        "watermark_age_seconds",
        "yeoul_source_watermark_age_seconds",
        "Time since the watermark.",
    ),
    counter("rebalances", "yeoul_source_rebalances_total", "How often a group was divided anew."),
];
const SINKS: &[Exposed] = &[
    counter("sent_rows", "yeoul_sink_rows_sent_total", "Changed rows sent since the start."),
    gauge("sent_commit", "yeoul_sink_sent_commit", "The commit up to which everything was sent."),
    gauge("lag_commits", "yeoul_sink_lag_commits", "Commits that were not sent yet."),
    gauge(
        "lag_seconds",
        "yeoul_sink_lag_seconds",
        "Age of the oldest change that was not sent yet.",
    ),
    gauge("kept_rows", "yeoul_sink_kept_rows", "Changed rows that are kept for it."),
];

/// Appends how all sources and sinks are.
pub(crate) fn write(world: &World, shared: &Shared, out: &mut String) -> Result<(), ArrowError> {
    let sources = sources::sources(world, shared);
    let labels = ["stream", "source", "partition"];
    all(&sources, &labels, SOURCES, out)?;
    states(&sources, &labels, "yeoul_source_state", out);
    let sinks = sinks::sinks(world, shared);
    all(&sinks, &["name"], SINKS, out)?;
    states(&sinks, &["name"], "yeoul_sink_state", out);
    Ok(())
}

fn all(
    rows: &RecordBatch,
    labels: &[&str],
    exposed: &[Exposed],
    out: &mut String,
) -> Result<(), ArrowError> {
    for Exposed { column, name, kind, help } in exposed {
        let Some(values) = rows.column_by_name(column) else { continue };
        if values.null_count() == values.len() {
            continue;
        }
        let options = FormatOptions::new();
        let shown = ArrayFormatter::try_new(values.as_ref(), &options)?;
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for row in (0..rows.num_rows()).filter(|row| values.is_valid(*row)) {
            let _ = writeln!(out, "{name}{{{}}} {}", labelled(rows, labels, row), shown.value(row));
        }
    }
    Ok(())
}

/// What each is doing: 1 with the word for it.
fn states(rows: &RecordBatch, labels: &[&str], name: &str, out: &mut String) {
    let Some(state) = texts(rows.column_by_name("state")) else { return };
    if state.null_count() == state.len() {
        return;
    }
    let help = "What it is doing, in the label \"state\".";
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    for row in (0..rows.num_rows()).filter(|row| state.is_valid(*row)) {
        let labels = labelled(rows, labels, row);
        let _ = writeln!(out, "{name}{{{labels},state=\"{}\"}} 1", state.value(row));
    }
}

fn texts(column: Option<&ArrayRef>) -> Option<&StringViewArray> {
    column?.as_any().downcast_ref()
}

fn labelled(rows: &RecordBatch, labels: &[&str], row: usize) -> String {
    let label = |name: &&str| {
        let value = texts(rows.column_by_name(name)).map_or("", |values| values.value(row));
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // What is called "name" there would say nothing among all others.
        let name = if *name == "name" { "sink" } else { name };
        format!("{name}=\"{value}\"")
    };
    labels.iter().map(label).collect::<Vec<_>>().join(",")
}
