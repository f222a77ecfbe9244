//! Joins in which the time of one side's rows bounds that of the other's: `c.at BETWEEN s.at AND s.at + INTERVAL '1
//! minute'`, and equal windows.
//!
//! ```text
//!   time of a row ──── lag ────┬───────────── kept ─────────────┬──▶ watermark, less the lateness
//!                              │ what comes now is too late     │ no row that is not can match it: released
//! ```
//!
//! A row that comes too late is not joined, for rows that it matches may be released already. So the answer is that
//! of all rows that were not too late when they came.
//!
//! What must hold: a row that is kept longer than it is needed changes nothing, for nothing matches it any more.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use yeoul_batch::Updates;

use super::super::arranged::{Arrangement, chosen};
use crate::error::FlowError;
use crate::graph::Release;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinTimes {
    /// The time of each side's rows, by position in its columns: timestamps in microseconds.
    pub columns: [usize; 2],
    /// How far the watermark must be past a time of each side until rows with that time come too late, in
    /// microseconds.
    pub lags_us: [i64; 2],
    /// How far it must be past the time of a row of each side until nothing depends on that row any more; `None`:
    /// it never is.
    pub kept_us: [Option<i64>; 2],
}

impl JoinTimes {
    pub(in crate::operator) fn check(&self, inputs: [&SchemaRef; 2]) -> Result<(), FlowError> {
        for (column, input) in self.columns.iter().zip(inputs) {
            let time = input.fields().get(*column).map(|field| field.data_type());
            if !matches!(time, Some(DataType::Timestamp(TimeUnit::Microsecond, _))) {
                return Err(FlowError::Unsupported(
                    "rows of a join are released by a timestamp in microseconds".into(),
                ));
            }
        }
        Ok(())
    }

    /// Updates of a side, without those of rows that come too late.
    pub(in crate::operator) fn in_time(
        &self,
        at: usize,
        updates: Updates,
        closed_us: Option<i64>,
    ) -> Result<Updates, FlowError> {
        let Some(closed_us) = closed_us else { return Ok(updates) };
        let times = updates.rows().column(self.columns[at]);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let passed_us = closed_us.saturating_sub(self.lags_us[at]);
        if arrow::compute::min(times).is_none_or(|least| least > passed_us) {
            return Ok(updates);
        }
        let late = BooleanBuffer::collect_bool(times.len(), |row| {
            times.is_valid(row) && times.value(row) <= passed_us
        });
        chosen(&updates, &BooleanArray::new(!&late, None))
    }

    /// By what an arrangement of a side is released.
    pub(in crate::operator) fn release(&self, at: usize, of: &Arrangement) -> Option<Release> {
        Some(Release { column: of.place(self.columns[at])?, kept_us: self.kept_us[at]? })
    }
}

/// Arranged updates whose time is known, and the others: a time that is null is in no bounds, so they match nothing.
pub(super) fn timed(
    updates: Updates,
    time: usize,
) -> Result<(Updates, Option<Updates>), FlowError> {
    let column: &ArrayRef = updates.rows().column(time);
    let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) else {
        return Ok((updates, None));
    };
    let known = BooleanArray::new(nulls.inner().clone(), None);
    let unknown = BooleanArray::new(!nulls.inner(), None);
    Ok((chosen(&updates, &known)?, Some(chosen(&updates, &unknown)?)))
}
