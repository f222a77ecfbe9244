//! Rows that came later than is allowed, on their way into `yeoul.late_rows`: those of a delivery and a
//! minute are one row there, so that a file out of order does not double what is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use yeoul_batch::{CommitId, EventTime, TreeId};
use yeoul_flow::TooLate;

use super::state::State;
use crate::catalog::{LATE_ROWS, Relation, late_rows};
use crate::error::EngineError;
use crate::record::CommitRecord;

const MINUTE_US: i64 = 60_000_000;

/// Rows of one delivery.
pub(crate) struct Late {
    stream: String,
    source: Arc<str>,
    partition: Arc<str>,
    minutes: Vec<Minute>,
    received_us: i64,
}

impl Late {
    /// What there is to tell of a delivery to `stream`: nothing when no row of it was too late.
    pub(crate) fn of(
        stream: &Relation,
        source: &Arc<str>,
        partition: &Arc<str>,
        rows: &[TooLate],
        received_us: i64,
    ) -> Option<Self> {
        (!rows.is_empty()).then(|| Self {
            stream: stream.name.clone(),
            source: Arc::clone(source),
            partition: Arc::clone(partition),
            minutes: by_minute(rows),
            received_us,
        })
    }
}

/// Late rows whose event times are in the same minute.
#[derive(Clone, Copy, Debug)]
struct Minute {
    earliest: EventTime,
    /// The greatest watermark that one of them met.
    watermark: EventTime,
    rows: i64,
}

/// The rows by minute.
fn by_minute(rows: &[TooLate]) -> Vec<Minute> {
    let mut minutes: BTreeMap<i64, Minute> = BTreeMap::new();
    for row in rows {
        let none = Minute { earliest: row.time, watermark: row.watermark, rows: 0 };
        let minute = minutes.entry(row.time.0.div_euclid(MINUTE_US)).or_insert(none);
        minute.earliest = minute.earliest.min(row.time);
        minute.watermark = minute.watermark.max(row.watermark);
        minute.rows += 1;
    }
    minutes.into_values().collect()
}

/// The rows of the stream for what a commit brings.
pub(super) fn stored(
    relation: &Relation,
    commit: CommitId,
    late: &[Late],
) -> Result<RecordBatch, EngineError> {
    let text = |of: fn(&Late) -> &str| -> ArrayRef {
        let texts = late.iter().flat_map(|l| std::iter::repeat_n(of(l), l.minutes.len()));
        Arc::new(texts.map(Some).collect::<StringViewArray>())
    };
    let time = |of: &dyn Fn(&Late, &Minute) -> EventTime| -> ArrayRef {
        let times = late.iter().flat_map(|l| l.minutes.iter().map(move |row| of(l, row).0));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let counts = late.iter().flat_map(|l| l.minutes.iter().map(|minute| minute.rows));
    let counts = Int64Array::from_iter_values(counts);
    let rows = counts.len();
    let commit = i64::try_from(commit.0).unwrap_or(i64::MAX);
    let columns = vec![
        text(|l| &l.stream),
        text(|l| &l.source),
        text(|l| &l.partition),
        time(&|_, minute| minute.earliest),
        time(&|_, minute| minute.watermark),
        Arc::new(counts),
        time(&|l, _| EventTime(l.received_us)),
        Arc::new(Int64Array::from(vec![commit; rows])),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&relation.schema), columns)?)
}

/// Gives a new folder the stream, and one that was written before there was one. Called when the log is
/// replayed, whose definitions have numbers of trees in them. One commit without anything in the log, then
/// a checkpoint: a crash before it is durable leaves the folder as it was.
pub(crate) fn add_late_rows(state: &mut State) -> Result<(), EngineError> {
    if state.catalog.by_id(LATE_ROWS).is_some() {
        return Ok(());
    }
    let relation = late_rows(TreeId(state.next_tree));
    state.next_tree += 1;
    state.store.create_tree(relation.trees[0].clone())?;
    state.add(Arc::new(relation), None);
    let commit = state.commit.next();
    state.store.append_log(&CommitRecord::default().encode(commit, 0))?;
    state.commit = commit;
    state.publish(Vec::new())?;
    state.store.checkpoint()?;
    Ok(())
}
