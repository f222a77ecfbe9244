//! What the commit thread remembers of a stream: its watermark and its duplicate index.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use yeoul_batch::EventTime;
use yeoul_flow::{PartitionName, PartitionTime, TooLate, Watermark};

use super::keys::Keys;
use super::sources::SourceKey;
use crate::catalog::{Body, Relation, StreamBody};
use crate::delivery::Pace;
use crate::duplicates::SharedSeen;
use crate::error::EngineError;

/// See the module.
pub(crate) struct StreamState {
    event_time: Option<usize>,
    lateness_us: i64,
    /// After how long without rows it is idle.
    idle_us: Option<i64>,
    /// When rows came last, or it was created, if it may be idle.
    active_us: Option<i64>,
    watermark: Watermark,
    seen: Option<SharedSeen>,
}

/// After how long without rows a partition is idle that is read beside others, unless the stream says so.
const PARTITION_IDLE_US: i64 = 10_000_000;

impl StreamState {
    pub(crate) fn new(body: &StreamBody, seen: Option<SharedSeen>) -> Self {
        let idle_us = body.idle_us.unwrap_or(PARTITION_IDLE_US);
        Self {
            event_time: body.event_time,
            lateness_us: body.lateness_us,
            idle_us: body.idle_us,
            active_us: None,
            watermark: Watermark::new(body.delay_us, idle_us),
            seen,
        }
    }

    /// The same where all partitions are up to `reached_us`, and each so far.
    pub(crate) fn resume(
        self,
        reached_us: Option<i64>,
        partitions: BTreeMap<PartitionName, PartitionTime>,
    ) -> Self {
        let reached = reached_us.map_or(EventTime::MIN, EventTime);
        Self { watermark: self.watermark.resume(reached, partitions), ..self }
    }

    /// As `body` says at `now_us`, with what was seen so far.
    pub(crate) fn altered(self, body: &StreamBody, now_us: i64) -> Self {
        let (active_us, reached_us) = (self.active_us, self.reached_us(now_us));
        let partitions = self.partitions().clone();
        Self::new(body, self.seen).resume(reached_us, partitions).active_at(active_us)
    }

    /// The same where rows came last at `active_us`.
    pub(crate) fn active_at(self, active_us: Option<i64>) -> Self {
        Self { active_us, ..self }
    }

    /// Notes that rows came at `now_us`.
    pub(crate) fn came(&mut self, now_us: i64) {
        self.active_us = self.idle_us.map(|_| now_us);
    }

    /// When rows came last, or it was created, if it may be idle.
    pub(crate) fn active_us(&self) -> Option<i64> {
        self.active_us
    }

    /// Whether windows over it are closed by its watermark, at `now_us`: it has one, and has not been idle for long.
    pub(crate) fn holds(&self, now_us: i64) -> bool {
        let is_idle =
            |idle: i64| self.active_us.is_some_and(|active| now_us.saturating_sub(active) >= idle);
        self.event_time.is_some() && !self.idle_us.is_some_and(is_idle)
    }

    /// The windows that end by then are closed at `now_us`: no row of theirs is to come, late as it may be.
    pub(crate) fn closing_us(&self, now_us: i64) -> Option<i64> {
        self.watermark_us(now_us).map(|watermark| watermark.saturating_sub(self.lateness_us))
    }

    /// The event time that all partitions are up to at `now_us`, when there was one.
    pub(crate) fn reached_us(&self, now_us: i64) -> Option<i64> {
        let reached = self.watermark.reached(now_us);
        (reached != EventTime::MIN).then_some(reached.0)
    }

    /// The watermark at `now_us`, when there is one.
    pub(crate) fn watermark_us(&self, now_us: i64) -> Option<i64> {
        self.reached_us(now_us).map(|_| self.watermark.current(now_us).0)
    }

    /// How far the partitions are that have watermarks of their own.
    pub(crate) fn partitions(&self) -> &BTreeMap<PartitionName, PartitionTime> {
        self.watermark.partitions()
    }

    /// The watermarks of those partitions of which rows came.
    pub(crate) fn partition_watermarks_us(&self) -> impl Iterator<Item = (&PartitionName, i64)> {
        self.watermark.own()
    }

    /// Notes that it is `now_us`.
    pub(crate) fn pass(&mut self, now_us: i64) {
        self.watermark.pass(now_us);
    }

    /// The rows whose key was there before, ascending; all keys are remembered from now on.
    pub(crate) fn duplicates(
        &self,
        keys: Option<&Keys>,
        now_us: i64,
        mask: &mut Vec<bool>,
    ) -> Result<Vec<u32>, EngineError> {
        let (Some(seen), Some(keys)) = (&self.seen, keys) else { return Ok(Vec::new()) };
        seen.lock().probe_and_insert(&keys.hashes, now_us, mask)?;
        Ok(keys.rows_where(mask))
    }

    /// Remembers the keys of a replayed delivery.
    pub(crate) fn remember(
        &self,
        relation: &Relation,
        stored: &RecordBatch,
        at_us: i64,
    ) -> Result<(), EngineError> {
        let body = match &relation.body {
            Body::Stream(body) if stored.num_rows() > 0 => body,
            _ => return Ok(()),
        };
        if let (Some(seen), Some((columns, _))) = (&self.seen, &body.unique) {
            seen.lock().insert(&Keys::of(stored, columns)?.hashes, at_us)?;
        }
        Ok(())
    }

    /// Moves the watermark on by rows of a partition that come at `now_us`; how many of `rows` were behind it, and which
    /// of them were later than is allowed.
    pub(crate) fn observe(
        &mut self,
        key: &SourceKey,
        pace: Pace,
        rows: &RecordBatch,
        now_us: i64,
    ) -> Result<(u32, Vec<TooLate>), EngineError> {
        let mut too_late = Vec::new();
        let Some(column) = self.event_time else { return Ok((0, too_late)) };
        let name = (Arc::clone(&key.source), Arc::clone(&key.partition));
        if pace == Pace::Partition {
            self.watermark.begin(name.clone(), now_us);
        }
        let times = rows.column(column);
        let late = if times.null_count() == times.len() {
            0
        } else {
            let micros = arrow::compute::cast(
                times,
                &arrow::datatypes::DataType::Timestamp(
                    arrow::datatypes::TimeUnit::Microsecond,
                    None,
                ),
            )?;
            let (of, lateness_us) = (Some(&name), self.lateness_us);
            self.watermark.observe(of, now_us, micros.as_ref(), lateness_us, &mut too_late)?
        };
        if pace == Pace::Left {
            self.watermark.end(&name, now_us);
        }
        Ok((u32::try_from(late).unwrap_or(u32::MAX), too_late))
    }
}

/// `rows` without those in `dropped` (ascending row numbers).
pub(crate) fn without(rows: &RecordBatch, dropped: &[u32]) -> Result<RecordBatch, EngineError> {
    if dropped.is_empty() {
        return Ok(rows.clone());
    }
    let mut keep = vec![true; rows.num_rows()];
    for &row in dropped {
        if let Some(slot) = keep.get_mut(row as usize) {
            *slot = false;
        }
    }
    Ok(filter_record_batch(rows, &BooleanArray::from(keep))?)
}
