//! An aggregate whose change somebody needs.
//!
//! ```text
//!   delta ─ keys ─▶ cache ─ missing ─▶ tree (as of the commit before)
//!     │               └── old states ◀──┘
//!     └── old + delta = new ─▶ cache
//!   change = −finish(old) +finish(new), what is equal left out
//! ```
//!
//! What must hold: the cache never knows more than the trees do once the step is published, so
//! any part of it may be dropped at any time between steps.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_arrays, take_record_batch};
use yeoul_batch::{Combine, Updates};

use super::cache::Cache;
use crate::aggregate::Aggregate;
use crate::error::FlowError;
use crate::graph::CacheBudget;
use crate::group::Groups;

#[derive(Debug)]
pub(crate) struct Tracked {
    aggregate: Arc<Aggregate>,
    cache: Cache,
}

impl Tracked {
    pub(crate) fn new(aggregate: Arc<Aggregate>, caches: &CacheBudget) -> Self {
        let cache = Cache::new(Arc::clone(aggregate.schema()), aggregate.key_len(), caches);
        Self { aggregate, cache }
    }

    /// What the deltas `parts` change in the aggregate's rows. `initial`: nothing was there before,
    /// not even the row of a global aggregate.
    pub(crate) fn apply(
        &mut self,
        parts: &[RecordBatch],
        initial: bool,
        read: impl Fn(&[ArrayRef]) -> Result<RecordBatch, FlowError>,
    ) -> Result<Option<Updates>, FlowError> {
        let empty = RecordBatch::new_empty(Arc::clone(self.aggregate.schema()));
        let delta = match parts {
            [] if initial && self.aggregate.is_global() => empty.clone(),
            [] => return Ok(None),
            [part] => part.clone(),
            several => self.aggregate.combine(several, false)?,
        };
        let keys = &delta.columns()[..self.aggregate.key_len()];
        let (mut old, missing) = self.cache.take(keys)?;
        if !missing.is_empty() {
            let wanted = take_arrays(keys, &UInt32Array::from(missing), None)?;
            let stored = read(&wanted)?;
            if stored.num_rows() > 0 {
                old = self.aggregate.combine(&[old, stored], true)?;
            }
        }
        let new = self.aggregate.combine(&[old.clone(), delta], true)?;
        self.cache.put(&new)?;
        let before = if initial {
            RecordBatch::new_empty(Arc::clone(self.aggregate.output()))
        } else {
            self.aggregate.finish(&old)?
        };
        difference(&before, &self.aggregate.finish(&new)?)
    }
}

/// −`before` +`after`, rows that are in both left out.
pub(crate) fn difference(
    before: &RecordBatch,
    after: &RecordBatch,
) -> Result<Option<Updates>, FlowError> {
    let rows = concat_batches(&after.schema(), [before, after])?;
    let groups = Groups::of(rows.columns(), rows.num_rows())?;
    let mut diffs = vec![0i64; groups.count()];
    for (row, &group) in groups.ids().iter().enumerate() {
        diffs[group as usize] += if row < before.num_rows() { -1 } else { 1 };
    }
    let (kept, diffs): (Vec<u32>, Vec<i64>) = groups
        .firsts()
        .iter()
        .zip(diffs)
        .filter(|(_, diff)| *diff != 0)
        .map(|(first, diff)| (*first, diff))
        .unzip();
    if kept.is_empty() {
        return Ok(None);
    }
    let rows = take_record_batch(&rows, &UInt32Array::from(kept))?;
    Ok(Some(Updates::new(rows, Int64Array::from(diffs))))
}
