//! What the commit thread remembers of a stream: its watermark and its duplicate index.

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use yeoul_batch::EventTime;
use yeoul_flow::Watermark;

use super::keys::Keys;
use crate::catalog::{Body, Relation, StreamBody};
use crate::duplicates::SharedSeen;
use crate::error::EngineError;

/// See the module.
pub(crate) struct StreamState {
    event_time: Option<usize>,
    watermark: Watermark,
    seen: Option<SharedSeen>,
}

impl StreamState {
    pub(crate) fn new(body: &StreamBody, newest_us: Option<i64>, seen: Option<SharedSeen>) -> Self {
        let newest = newest_us.map_or(EventTime::MIN, EventTime);
        Self {
            event_time: body.event_time,
            watermark: Watermark::resume(body.delay_us, newest),
            seen,
        }
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

    /// What a replayed delivery did: its keys are remembered and the watermark moves on.
    pub(crate) fn replay(
        &mut self,
        relation: &Relation,
        stored: &RecordBatch,
        at_us: i64,
    ) -> Result<(), EngineError> {
        self.observe(stored)?;
        let body = match &relation.body {
            Body::Stream(body) if stored.num_rows() > 0 => body,
            _ => return Ok(()),
        };
        if let (Some(seen), Some((columns, _))) = (&self.seen, &body.unique) {
            seen.lock().insert(&Keys::of(stored, columns)?.hashes, at_us)?;
        }
        Ok(())
    }

    /// Moves the watermark on; how many of `rows` were behind it.
    pub(crate) fn observe(&mut self, rows: &RecordBatch) -> Result<u32, EngineError> {
        let Some(column) = self.event_time else { return Ok(0) };
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
            self.watermark.observe(micros.as_ref())?
        };
        Ok(u32::try_from(late).unwrap_or(u32::MAX))
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
