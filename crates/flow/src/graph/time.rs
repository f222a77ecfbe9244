//! What a step knows of time. It comes from the caller, who reads it from the commit, so that a commit that
//! is replayed does what it did.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;

use crate::error::FlowError;

/// A partition of a tree whose rows are released is a part of how long they are kept: this many make it up.
const PARTITIONS: i64 = 4;
/// The least width of such a partition: every partition is a file, and files are looked at one by one.
const WIDTH_MIN_US: i64 = 60_000_000;

/// See the module. All instants are in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTime {
    /// The commit's clock. It never goes back.
    pub now_us: i64,
    /// Up to where windows were closed before: those that end by then are told, and change no more.
    pub closed_us: Option<i64>,
    /// Up to where windows are closed now: the least watermark of the sources, less what they may be late.
    /// It never goes back either.
    pub closing_us: Option<i64>,
}

/// How a tree lets go of rows: those whose time is far enough behind where windows are closed are not needed any
/// more, and whether they are still there changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The column of the time: a timestamp in microseconds.
    pub column: usize,
    /// How far behind, in microseconds.
    pub kept_us: i64,
}

impl Release {
    /// How wide the partitions are by which the tree lets go.
    #[must_use]
    pub fn width_us(&self) -> i64 {
        (self.kept_us / PARTITIONS).max(WIDTH_MIN_US)
    }

    /// Rows of before this are not needed when windows are closed up to `closed_us`.
    #[must_use]
    pub fn before_us(&self, closed_us: i64) -> i64 {
        closed_us.saturating_sub(self.kept_us).saturating_add(1)
    }

    /// The rows of batches that are not to be let go of. Rows without a time stay.
    pub(crate) fn kept(
        &self,
        batches: Vec<RecordBatch>,
        closed_us: i64,
    ) -> Result<Vec<RecordBatch>, FlowError> {
        let before_us = self.before_us(closed_us);
        let mut kept = Vec::with_capacity(batches.len());
        for rows in batches {
            let times = rows.column(self.column).as_primitive::<TimestampMicrosecondType>();
            if arrow::compute::min(times).is_none_or(|least| least >= before_us) {
                kept.push(rows);
                continue;
            }
            let is_kept = |time: Option<i64>| Some(time.is_none_or(|time| time >= before_us));
            let mask: BooleanArray = times.iter().map(is_kept).collect();
            kept.push(filter_record_batch(&rows, &mask)?);
        }
        kept.retain(|rows| rows.num_rows() > 0);
        Ok(kept)
    }

    /// The first partition with rows that are needed.
    pub(crate) fn first(&self, closed_us: i64) -> i64 {
        self.before_us(closed_us).div_euclid(self.width_us())
    }
}
