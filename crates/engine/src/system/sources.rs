//! `yeoul.sources`: where every partition of every source stands, and what its connector says.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};

use super::{batch, numbers, texts};
use crate::commit::{SourceKey, SourceState};
use crate::reports::{Reported, ReportedPartition};
use crate::shared::Shared;
use crate::world::World;

/// One row of the table.
struct Row<'a> {
    stream: String,
    key: SourceKey,
    state: SourceState,
    said: Option<&'a Reported>,
    partition: Option<&'a ReportedPartition>,
    watermark_us: Option<i64>,
}

impl Row<'_> {
    fn state(&self) -> Option<&'static str> {
        let said = self.said?;
        // What a partition does holds while its source goes on.
        let own = self.partition.and_then(|p| p.state).filter(|_| said.state.goes_on());
        Some(own.unwrap_or(said.state).word())
    }

    /// How much there is to read.
    fn lag(&self) -> Option<u64> {
        Some(self.partition?.end?.saturating_sub(self.state.position))
    }
}

/// One row per partition of a source, and one for a source that runs and has delivered nothing yet.
pub(super) fn sources(world: &World, shared: &Shared) -> RecordBatch {
    let reports = shared.reports.all(&world.catalog);
    let said = |key: &SourceKey| reports.get(&(key.relation, key.source.to_string()));
    let mut keys: Vec<(SourceKey, SourceState)> =
        world.sources.iter().map(|(key, state)| (key.clone(), *state)).collect();
    for ((relation, source), said) in &reports {
        let source: Arc<str> = source.as_str().into();
        let key = |partition: &Arc<str>| SourceKey {
            relation: *relation,
            source: Arc::clone(&source),
            partition: Arc::clone(partition),
        };
        let silent = said.partitions.keys().map(key).filter(|key| !world.sources.has(key));
        let before = keys.len();
        keys.extend(silent.map(|key| (key, SourceState::default())));
        let delivered = |(of, _): &(SourceKey, _)| of.relation == *relation && of.source == source;
        if before == keys.len() && !keys.iter().any(delivered) {
            keys.push((key(&"".into()), SourceState::default()));
        }
    }
    keys.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |(key, state): (SourceKey, SourceState)| {
        let relation = world.catalog.by_id(key.relation);
        let said = said(&key);
        Row {
            stream: relation.map_or_else(String::new, |relation| relation.name.clone()),
            state,
            said,
            partition: said.and_then(|said| said.partitions.get(&key.partition)),
            watermark_us: world.partition_watermarks.get(&key).copied(),
            key,
        }
    };
    columns(&keys.into_iter().map(row).collect::<Vec<_>>(), shared.clock.now_us())
}

fn columns(rows: &[Row<'_>], now_us: i64) -> RecordBatch {
    let counts = |count: fn(&SourceState) -> u64| numbers(rows.iter().map(|row| count(&row.state)));
    let watermarks: TimestampMicrosecondArray = rows.iter().map(|row| row.watermark_us).collect();
    #[expect(clippy::cast_precision_loss, reason = "ages are shorter than 285 years")]
    let age = |row: &Row<'_>| Some(now_us.saturating_sub(row.watermark_us?) as f64 / 1e6);
    let rate = |row: &Row<'_>| Some(row.partition?.rate?.at(now_us));
    let last = |row: &Row<'_>| row.said.and_then(|said| said.last_error.clone());
    let last_at: TimestampMicrosecondArray = rows.iter().map(|row| Some(last(row)?.1)).collect();
    batch(vec![
        ("stream", texts(rows.iter().map(|row| &row.stream))),
        ("source", texts(rows.iter().map(|row| row.key.source.as_ref()))),
        ("partition", texts(rows.iter().map(|row| row.key.partition.as_ref()))),
        ("position", counts(|state| state.position)),
        ("received", counts(|state| state.counts.received)),
        ("stored", counts(|state| state.counts.stored)),
        ("duplicates", counts(|state| state.counts.duplicates)),
        ("dead_letters", counts(|state| state.counts.dead_letters)),
        ("late", counts(|state| state.counts.late)),
        ("bytes", known(rows, |row| row.partition?.bytes)),
        ("state", words(rows, |row| row.state().map(str::to_owned))),
        ("error", words(rows, |row| row.said?.error.clone())),
        ("lag", known(rows, |row| row.lag())),
        ("rows_per_second", Arc::new(rows.iter().map(rate).collect::<Float64Array>())),
        ("watermark", Arc::new(watermarks.with_timezone("UTC"))),
        ("watermark_age_seconds", Arc::new(rows.iter().map(age).collect::<Float64Array>())),
        ("last_error", words(rows, |row| Some(last(row)?.0))),
        ("last_error_at", Arc::new(last_at.with_timezone("UTC"))),
        ("rebalances", known(rows, |row| row.said?.rebalances)),
        ("rebalance", words(rows, |row| row.said?.rebalance.clone())),
        ("rebalance_reason", words(rows, |row| row.said?.rebalance_reason.clone())),
    ])
}

fn known(rows: &[Row<'_>], value: impl Fn(&Row<'_>) -> Option<u64>) -> ArrayRef {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Arc::new(rows.iter().map(|row| value(row).map(signed)).collect::<Int64Array>())
}

fn words(rows: &[Row<'_>], value: impl Fn(&Row<'_>) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringViewArray>())
}
