//! The right rows that may be met, in the order of their keys: as they were before a step, and as they are.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use arrow::row::Rows;
use yeoul_batch::KeyCodec;

use crate::error::FlowError;

/// Stored rows with how often each is there, comes or goes.
pub(super) struct Counted {
    rows: RecordBatch,
    counts: Int64Array,
    /// The ordered bytes of each whole row.
    bytes: Rows,
}

impl Counted {
    /// Rows of `width` columns, with their counts behind.
    pub(super) fn new(rows: &RecordBatch, width: usize) -> Result<Self, FlowError> {
        let columns: Vec<usize> = (0..width).collect();
        let bytes = KeyCodec::new(&rows.schema(), &columns)?.encode(rows)?;
        let counts = rows.column(width).as_primitive::<Int64Type>().clone();
        Ok(Self { rows: rows.project(&columns)?, counts, bytes })
    }

    pub(super) fn counts(&self) -> &Int64Array {
        &self.counts
    }

    pub(super) fn bytes(&self, row: usize) -> &[u8] {
        self.bytes.row(row).data()
    }
}

/// See the module.
pub(super) struct Candidates {
    /// Those that change, then those that were there.
    rows: RecordBatch,
    changed: Counted,
    there: Counted,
    /// The rows that were there before, and those that are there after, in order.
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Candidates {
    /// `changed` has each row once; `there` some rows, maybe repeatedly.
    pub(super) fn new(changed: Counted, there: Counted) -> Result<Self, FlowError> {
        let rows = concat_batches(&changed.rows.schema(), [&changed.rows, &there.rows])?;
        let mut candidates = Self { rows, changed, there, before: Vec::new(), after: Vec::new() };
        let mut order: Vec<u32> = (0u32..).take(candidates.rows.num_rows()).collect();
        order.sort_by(|&a, &b| candidates.bytes(a).cmp(candidates.bytes(b)));
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for same in order.chunk_by(|&a, &b| candidates.bytes(a) == candidates.bytes(b)) {
            let (mut was, mut change) = (0, 0);
            for &row in same {
                let row = row as usize;
                match row.checked_sub(candidates.changed.counts.len()) {
                    None => change = candidates.changed.counts.value(row),
                    Some(row) => was = candidates.there.counts.value(row),
                }
            }
            before.extend((was > 0).then_some(same[0]));
            after.extend((was + change > 0).then_some(same[0]));
        }
        (candidates.before, candidates.after) = (before, after);
        Ok(candidates)
    }

    pub(super) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    fn bytes(&self, row: u32) -> &[u8] {
        let row = row as usize;
        match row.checked_sub(self.changed.counts.len()) {
            None => self.changed.bytes(row),
            Some(row) => self.there.bytes(row),
        }
    }

    /// What is met from a place on, or behind it, before and after: the last `place_bytes` of `place` are the place.
    pub(super) fn of(
        &self,
        place: &[u8],
        place_bytes: usize,
        behind: bool,
    ) -> (Option<u32>, Option<u32>) {
        let key = &place[..place.len() - place_bytes];
        let first = |rows: &[u32]| {
            let at = rows.partition_point(|&row| {
                let bytes = self.bytes(row);
                bytes < place || (behind && bytes.starts_with(place))
            });
            rows.get(at).copied().filter(|&row| self.bytes(row).starts_with(key))
        };
        (first(&self.before), first(&self.after))
    }
}
