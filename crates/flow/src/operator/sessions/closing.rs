//! Sessions that are told once: when no row can come any more that would prolong or join them.
//!
//! ```text
//!   rows ── too late: left out
//!     └──▶ sessions ─┬─ complete: told, and taken out of the tree
//!                    └─ open: its timer says when it may be complete
//!
//!   timers:  when │ keys, start        looked at again when the watermark gets there
//! ```
//!
//! A session is complete when a row that is a gap behind its last one would come too late. What is taken later is
//! further behind, so it is never part of a session that was told: the answer is that of all rows that were not too
//! late when they came.
//!
//! What must hold: every open session has a timer, for its start, that is not behind the time at which it is complete. A
//! session that grows is not given another; when the timer passes, the session is asked how far it has come.
//! A timer without a session at its start says nothing: another has that session's rows, and a timer.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::{concat, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use yeoul_batch::{Combine, KeyCodec, KeyRange, Updates};

use super::{Merged, Sessions, TREE, picked};
use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::graph::{StepTime, TreeShape};
use crate::group::Groups;
use crate::operator::Step;

/// The tree of timers.
const TIMERS: usize = 1;

/// When sessions are told.
#[derive(Debug)]
pub(super) struct Closing {
    /// How far the watermark must be past the time of a row until rows of that time come too late.
    lag_us: i64,
    gap_us: i64,
    /// Timers: when, the keys, the start.
    schema: SchemaRef,
    timers: Arc<Aggregate>,
    /// No timer is before this; `None`: not known.
    next_us: Option<i64>,
}

/// What becomes of sessions in a step.
pub(super) struct Fate {
    /// Which are told.
    pub(super) told: Vec<bool>,
}

impl Closing {
    /// Of sessions that are kept in `states`.
    pub(super) fn new(lag_us: i64, gap_us: i64, states: &Aggregate) -> Result<Self, FlowError> {
        let keys = &Combine::schema(states).fields()[..states.key_len()];
        let when = Arc::new(Field::new("_when", DataType::Int64, false));
        let fields: Vec<_> = std::iter::once(when).chain(keys.iter().cloned()).collect();
        let schema = Arc::new(Schema::new(fields));
        let timers = Arc::new(Aggregate::bag(&schema)?);
        Ok(Self { lag_us, gap_us, schema, timers, next_us: None })
    }

    /// What its tree is.
    pub(super) fn shape(&self) -> TreeShape {
        TreeShape::Bag(Arc::clone(&self.timers))
    }

    /// Whether a timer may pass at `time`.
    pub(super) fn is_due(&self, time: StepTime) -> bool {
        let Some(closing) = time.closing_us else { return false };
        time.closed_us.is_none_or(|closed| closed < closing)
            && self.next_us.is_none_or(|next| next <= closing)
    }

    /// Of which of the times rows come in time.
    pub(super) fn in_time(
        &self,
        times: &TimestampMicrosecondArray,
        time: StepTime,
    ) -> Option<BooleanArray> {
        let passed_us = time.closed_us?.saturating_sub(self.lag_us);
        let in_time = |time: Option<i64>| Some(time.is_none_or(|time| time > passed_us));
        Some(times.iter().map(in_time).collect())
    }

    /// When a session is complete whose last row has this time.
    fn complete_us(&self, last: i64) -> i64 {
        last.saturating_add(self.gap_us).saturating_add(self.lag_us)
    }

    /// Takes out the timers that have passed; gives the keys and starts that they are for, each once.
    fn pass(&mut self, step: &mut Step<'_>) -> Result<Vec<ArrayRef>, FlowError> {
        let time = step.time();
        let width = self.schema.fields().len();
        if !self.is_due(time) {
            return Ok(Vec::new());
        }
        let closing = time.closing_us.unwrap_or(i64::MIN);
        let from = time.closed_us.map(|us| self.key(us)).transpose()?;
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let to = self.key(closing)?;
        let later = KeyRange { from: Bound::Excluded(to.clone()), to: Bound::Unbounded };
        let later = step.read_ranges(TIMERS, &[later], 1, false)?.rows;
        let later = later.column(0).as_primitive::<Int64Type>();
        self.next_us = Some(later.iter().flatten().next().unwrap_or(i64::MAX));
        let passed = KeyRange { from, to: Bound::Included(to) };
        let passed = step.read_ranges(TIMERS, &[passed], usize::MAX, false)?.rows;
        if passed.num_rows() == 0 {
            return Ok(Vec::new());
        }
        step.put(TIMERS, self.timers.taken_out(&passed)?);
        let keys = &passed.columns()[1..width];
        Ok(Groups::of(keys, passed.num_rows())?.take(keys)?)
    }

    fn key(&self, us: i64) -> Result<Vec<u8>, FlowError> {
        let when: ArrayRef = Arc::new(Int64Array::from(vec![us]));
        let encoded = KeyCodec::new(&self.schema, &[0])?.encode_columns(&[when])?;
        Ok(encoded.row(0).data().to_vec())
    }

    /// Sets a timer for each of these keys and starts.
    fn set(
        &mut self,
        when: Vec<i64>,
        keys: Vec<ArrayRef>,
        step: &mut Step<'_>,
    ) -> Result<(), FlowError> {
        let Some(least) = when.iter().copied().min() else { return Ok(()) };
        self.next_us = self.next_us.map(|next| next.min(least));
        let when: ArrayRef = Arc::new(Int64Array::from(when));
        let columns = std::iter::once(when).chain(keys).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let counts = Int64Array::from(vec![1; rows.num_rows()]);
        step.put(TIMERS, self.timers.partial(&Updates::new(rows, counts))?);
        Ok(())
    }
}

impl Sessions {
    /// What is stored at the starts whose timers have passed.
    pub(super) fn passed(&mut self, step: &mut Step<'_>) -> Result<RecordBatch, FlowError> {
        let keys = match &mut self.closing {
            Some(closing) => closing.pass(step)?,
            None => Vec::new(),
        };
        if keys.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(Combine::schema(&*self.states))));
        }
        Ok(self.states.combine(&[step.get_many(TREE, &keys)?], true)?)
    }

    /// Tells sessions that are complete, and sees that the others have timers. `before` are the sessions as they
    /// were, `passed` what is stored at starts whose timers have passed.
    pub(super) fn close(
        &mut self,
        before: &Merged,
        after: &Merged,
        passed: &RecordBatch,
        step: &mut Step<'_>,
    ) -> Result<Fate, FlowError> {
        let Some(closing) = &self.closing else {
            return Ok(Fate { told: vec![false; after.pieces.sessions.len()] });
        };
        let until = step.time().closing_us.unwrap_or(i64::MIN);
        let sessions = &after.pieces.sessions;
        let complete: Vec<i64> = sessions.iter().map(|s| closing.complete_us(s.last)).collect();
        let told: Vec<bool> = complete.iter().map(|&at| at <= until).collect();
        let mut timed = self.timed(before, after, passed)?;
        timed.iter_mut().zip(&told).for_each(|(timed, told)| *timed |= told);
        let untimed: Vec<u32> =
            (0u32..).zip(&timed).filter(|(_, timed)| !**timed).map(|(at, _)| at).collect();
        let when = untimed.iter().map(|&at| complete[at as usize]).collect();
        let keys = picked(&after.states.columns()[..self.states.key_len()], untimed)?;
        if let Some(closing) = &mut self.closing {
            closing.set(when, keys, step)?;
        }
        Ok(Fate { told })
    }

    /// Which sessions have a timer already that is not too late.
    fn timed(
        &self,
        before: &Merged,
        after: &Merged,
        passed: &RecordBatch,
    ) -> Result<Vec<bool>, FlowError> {
        let key_len = self.states.key_len();
        let sides = [&after.states, &before.states, passed];
        let rows = sides.iter().map(|side| side.num_rows()).sum();
        let keys = (0..key_len).map(|at| {
            let parts = sides.map(|side| side.column(at).as_ref());
            concat(&parts)
        });
        let groups = Groups::of(&keys.collect::<Result<Vec<_>, _>>()?, rows)?;
        // Of each start the least time at which a session there was complete before this step.
        let mut least = vec![i64::MAX; groups.count()];
        let (of_after, ids) = groups.ids().split_at(after.states.num_rows());
        let (of_before, of_passed) = ids.split_at(before.states.num_rows());
        for (&id, session) in of_before.iter().zip(&before.pieces.sessions) {
            least[id as usize] = session.last;
        }
        of_passed.iter().for_each(|&id| least[id as usize] = i64::MAX);
        let timed = of_after.iter().zip(&after.pieces.sessions);
        Ok(timed.map(|(&id, session)| least[id as usize] <= session.last).collect())
    }

    /// The rows of the answer that are told.
    pub(super) fn told(&self, after: &Merged, fate: &Fate) -> Result<Option<Updates>, FlowError> {
        if !fate.told.contains(&true) {
            return Ok(None);
        }
        let mask = BooleanArray::from(fate.told.clone());
        let states = filter_record_batch(&after.states, &mask)?;
        let sessions = after.pieces.sessions.iter().zip(&fate.told);
        let lasts = sessions.filter(|(_, told)| **told).map(|(session, _)| session.last);
        Ok(Some(Updates::inserts(self.rows(&states, lasts)?)))
    }

    /// The sessions of `after` that are of keys among those of `local`, and are not told.
    pub(super) fn open_of_keys(
        &self,
        after: &Merged,
        fate: &Fate,
        local: &Merged,
    ) -> Result<RecordBatch, FlowError> {
        let key_len = self.key_len();
        let all = concat_batches(&local.states.schema(), [&local.states, &after.states])?;
        let keys = Groups::of(&all.columns()[..key_len], all.num_rows())?;
        let (of_local, of_after) = keys.ids().split_at(local.states.num_rows());
        // Numbers are given as keys are met.
        let known = of_local.iter().max().map_or(0, |most| most + 1);
        let rows = (0u32..).zip(of_after.iter().zip(&fate.told));
        let open = rows.filter(|(_, (key, told))| **key < known && !**told).map(|(row, _)| row);
        Ok(take_record_batch(&after.states, &UInt32Array::from_iter_values(open))?)
    }
}
