//! An aggregate whose groups are told once, when their window is closed, and then forgotten.
//!
//! ```text
//!   tree:  window │ other keys │ states …        in the order of the windows
//!          ─── closed: told and released ──┤├── open ───▶
//! ```
//!
//! Its first key is the window: a time that says when the group is complete. What comes for a window that was
//! closed before this step changes nothing.
//!
//! What must hold: a group is told once, and its answer only comes.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use yeoul_batch::{Combine, KeyCodec, KeyRange, RangeRows, Updates};

use super::time::StepTime;
use crate::aggregate::Aggregate;
use crate::error::FlowError;

/// See the module.
#[derive(Debug)]
pub(crate) struct Closing {
    aggregate: Arc<Aggregate>,
    /// How far behind the window's time the group is complete.
    lag_us: i64,
    /// No open window is complete before this; `None`: not known.
    next_us: Option<i64>,
}

/// What a step of it did.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    /// The groups that were told.
    pub(crate) answer: Option<Updates>,
    /// For its tree.
    pub(crate) deltas: Vec<RecordBatch>,
}

impl Closing {
    pub(crate) fn new(aggregate: Arc<Aggregate>, lag_us: i64) -> Self {
        Self { aggregate, lag_us, next_us: None }
    }

    /// Whether windows can be closed at `time`.
    pub(crate) fn is_due(&self, time: StepTime) -> bool {
        let Some(closing) = time.closing_us else { return false };
        time.closed_us.is_none_or(|closed| closed < closing)
            && self.next_us.is_none_or(|next| next <= closing)
    }

    /// Takes the states of what came; closes the windows whose time has come. `read` gives the states in a range of
    /// keys, and at most so many.
    pub(crate) fn step(
        &mut self,
        parts: &[RecordBatch],
        time: StepTime,
        read: impl Fn(KeyRange, usize) -> Result<RangeRows, FlowError>,
    ) -> Result<Closed, FlowError> {
        let came = self.aggregate.combine(parts, false)?;
        let closing = time.closing_us.unwrap_or(i64::MIN);
        let closed = time.closed_us.unwrap_or(i64::MIN);
        let complete = self.complete_us(&came);
        let is = |is: &dyn Fn(i64) -> bool| -> BooleanArray {
            complete.iter().map(|at| Some(at.is_some_and(is))).collect()
        };
        let open = filter_record_batch(&came, &is(&|at| at > closing))?;
        // Of these nothing is in the tree but what came in earlier steps.
        let due = filter_record_batch(&came, &is(&|at| closed < at && at <= closing))?;
        let mut told = vec![due];
        let mut deltas = Vec::new();
        if self.is_due(time) {
            let from = time.closed_us.map(|us| self.key(us)).transpose()?;
            let to = self.key(closing)?;
            let from = from.map_or(Bound::Unbounded, Bound::Excluded);
            let stored = read(KeyRange { from, to: Bound::Included(to.clone()) }, usize::MAX)?.rows;
            if stored.num_rows() > 0 {
                deltas.push(self.aggregate.taken_out(&stored)?);
                told.push(stored);
            }
            let later = read(KeyRange { from: Bound::Excluded(to), to: Bound::Unbounded }, 1)?;
            let later = self.complete_us(&later.rows);
            self.next_us = Some(later.iter().flatten().next().unwrap_or(i64::MAX));
        }
        if open.num_rows() > 0 {
            let least = self.complete_us(&open).iter().flatten().min();
            self.next_us = self.next_us.zip(least).map(|(next, least)| next.min(least));
            deltas.push(open);
        }
        let told = self.aggregate.combine(&told, true)?;
        let answer = (told.num_rows() > 0).then(|| self.aggregate.finish(&told)).transpose()?;
        Ok(Closed { answer: answer.map(Updates::inserts), deltas })
    }

    /// When the group of each row of states is complete.
    fn complete_us(&self, states: &RecordBatch) -> TimestampMicrosecondArray {
        let windows = states.column(0).as_primitive::<TimestampMicrosecondType>();
        windows.unary(|time| time.saturating_add(self.lag_us))
    }

    /// The keys of groups that are complete at `us` begin with this.
    fn key(&self, us: i64) -> Result<Vec<u8>, FlowError> {
        let time = TimestampMicrosecondArray::from(vec![us.saturating_sub(self.lag_us)]);
        let states = Combine::schema(&*self.aggregate);
        let zone = match states.field(0).data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        let time: ArrayRef = Arc::new(time.with_timezone_opt(zone));
        Ok(KeyCodec::new(states, &[0])?.encode_columns(&[time])?.row(0).data().to_vec())
    }
}
