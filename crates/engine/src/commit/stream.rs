//! What the commit thread remembers of a stream: its watermark and its duplicate index.

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use yeoul_batch::EventTime;
use yeoul_flow::{TooLate, Watermark};

use super::keys::Keys;
use crate::catalog::{Body, Relation, StreamBody};
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

impl StreamState {
    pub(crate) fn new(body: &StreamBody, newest_us: Option<i64>, seen: Option<SharedSeen>) -> Self {
        let newest = newest_us.map_or(EventTime::MIN, EventTime);
        Self {
            event_time: body.event_time,
            lateness_us: body.lateness_us,
            idle_us: body.idle_us,
            active_us: None,
            watermark: Watermark::resume(body.delay_us, newest),
            seen,
        }
    }

    /// As `body` says, with what was seen so far.
    pub(crate) fn altered(self, body: &StreamBody) -> Self {
        let active_us = self.active_us;
        Self::new(body, self.newest_us(), self.seen).active_at(active_us)
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

    /// The windows that end by then are closed: no row of theirs is to come, late as it may be.
    pub(crate) fn closing_us(&self) -> Option<i64> {
        self.watermark_us().map(|watermark| watermark.saturating_sub(self.lateness_us))
    }

    /// The newest event time, when there was one.
    pub(crate) fn newest_us(&self) -> Option<i64> {
        let newest = self.watermark.newest();
        (newest != EventTime::MIN).then_some(newest.0)
    }

    /// The watermark, when there is one.
    pub(crate) fn watermark_us(&self) -> Option<i64> {
        self.newest_us().map(|_| self.watermark.current().0)
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

    /// What a replayed delivery did: its keys are remembered and the watermark moves on. Gives the
    /// rows that were later than is allowed.
    pub(crate) fn replay(
        &mut self,
        relation: &Relation,
        stored: &RecordBatch,
        at_us: i64,
    ) -> Result<Vec<TooLate>, EngineError> {
        let (_, too_late) = self.observe(stored)?;
        let body = match &relation.body {
            Body::Stream(body) if stored.num_rows() > 0 => body,
            _ => return Ok(too_late),
        };
        if let (Some(seen), Some((columns, _))) = (&self.seen, &body.unique) {
            seen.lock().insert(&Keys::of(stored, columns)?.hashes, at_us)?;
        }
        Ok(too_late)
    }

    /// Moves the watermark on; how many of `rows` were behind it, and which of them were later than
    /// is allowed.
    pub(crate) fn observe(
        &mut self,
        rows: &RecordBatch,
    ) -> Result<(u32, Vec<TooLate>), EngineError> {
        let mut too_late = Vec::new();
        let Some(column) = self.event_time else { return Ok((0, too_late)) };
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
            self.watermark.observe(micros.as_ref(), self.lateness_us, &mut too_late)?
        };
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
