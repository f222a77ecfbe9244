//! Rows of two sides with equal keys.
//!
//! Limits: pairs are made a few [`Layout::pairs_max`] at a time, whatever the number of all of them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, take_arrays};
use arrow::datatypes::SchemaRef;
use yeoul_batch::{ExprRef, Updates};

use super::super::arranged::chosen;
use super::LEFT;

use crate::error::FlowError;
use crate::group::{ByGroup, Groups};
use crate::linear::truth;
use crate::workers::Workers;

/// How many times each worker makes as many pairs as it may before they are handed on.
const TURNS: usize = 4;

/// How a pair is made of stored rows of both sides.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where each column of a side is in its stored rows.
    pub(super) places: [Vec<usize>; 2],
    /// The columns of both sides.
    pub(super) schema: SchemaRef,
    /// What else must be true of a pair.
    pub(super) residual: Option<ExprRef>,
    /// How many pairs a worker makes at once, at most.
    pub(super) pairs_max: usize,
}

/// Positions on both sides.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) left: Vec<u32>,
    pub(super) right: Vec<u32>,
}

/// Some rows of the left side, and of the rows of the right side that match each, some.
#[derive(Debug, Clone)]
struct Span {
    rows: Range<usize>,
    matching: Range<usize>,
}

/// Rows of a left and a right side, by key.
#[derive(Clone)]
pub(super) struct Pairing {
    layout: Arc<Layout>,
    left: Updates,
    right: Updates,
    /// The key of each row of the left side.
    ids: Arc<Vec<u32>>,
    /// The rows of the right side of each key.
    by_key: Arc<ByGroup>,
}

impl Pairing {
    pub(super) fn new(
        layout: &Arc<Layout>,
        left: &Updates,
        right: &Updates,
        key_len: usize,
    ) -> Result<Self, FlowError> {
        let keys = left.rows().columns()[..key_len]
            .iter()
            .zip(&right.rows().columns()[..key_len])
            .map(|(left, right)| concat(&[left, right]))
            .collect::<Result<Vec<_>, _>>()?;
        let groups = Groups::of(&keys, left.len() + right.len())?;
        let (ids, of_right) = groups.ids().split_at(left.len());
        Ok(Self {
            layout: Arc::clone(layout),
            left: left.clone(),
            right: right.clone(),
            ids: Arc::new(ids.to_vec()),
            by_key: Arc::new(ByGroup::new(of_right, groups.count())),
        })
    }

    /// All pairs as rows of both sides' columns, a few at a time.
    pub(super) fn joined(
        &self,
        pool: &Workers,
        mut emit: impl FnMut(Updates) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let spans = self.spans();
        for spans in spans.chunks(TURNS * pool.count()) {
            let pairing = self.clone();
            let work = move |span: Span| {
                let pairs = pairing.pairs(&span);
                let (rows, kept) = pairing.rows(&pairs)?;
                let diffs = pairing.diffs(&pairs);
                let updates = match diffs {
                    None => Updates::inserts(rows),
                    Some(diffs) => Updates::new(rows, diffs),
                };
                match kept {
                    None => Ok(updates),
                    Some(kept) => chosen(&updates, &kept),
                }
            };
            for updates in pool.map(spans.to_vec(), work) {
                emit(updates?)?;
            }
        }
        Ok(())
    }

    /// How many rows of the other side, by their diffs, match each row of side `at`.
    pub(super) fn counts(&self, at: usize, pool: &Workers) -> Result<Vec<i64>, FlowError> {
        let mut counts = vec![0; [&self.left, &self.right][at].len()];
        for spans in self.spans().chunks(TURNS * pool.count()) {
            let pairing = self.clone();
            let work = move |span: Span| -> Result<Vec<(u32, i64)>, FlowError> {
                let pairs = pairing.pairs(&span);
                let kept = pairing.rows(&pairs)?.1;
                let (own, others, updates) = if at == LEFT {
                    (&pairs.left, &pairs.right, &pairing.right)
                } else {
                    (&pairs.right, &pairs.left, &pairing.left)
                };
                let diff = |row: u32| updates.diffs().map_or(1, |diffs| diffs.value(row as usize));
                let found = own.iter().zip(others).enumerate();
                let found = found.filter(|(pair, _)| kept.as_ref().is_none_or(|k| k.value(*pair)));
                Ok(found.map(|(_, (&row, &other))| (row, diff(other))).collect())
            };
            for found in pool.map(spans.to_vec(), work) {
                found?.into_iter().for_each(|(row, diff)| counts[row as usize] += diff);
            }
        }
        Ok(counts)
    }

    /// All pairs, in spans of at most as many as may be made at once.
    fn spans(&self) -> Vec<Span> {
        let most = self.layout.pairs_max;
        let mut spans = Vec::new();
        let (mut start, mut pairs) = (0, 0);
        for (row, &id) in self.ids.iter().enumerate() {
            let more = self.by_key.get(id).len();
            if pairs > 0 && pairs + more > most {
                spans.push(Span { rows: start..row, matching: 0..most });
                (start, pairs) = (row, 0);
            }
            if more > most {
                let parts = (0..more).step_by(most);
                let part = |from| Span { rows: row..row + 1, matching: from..from + most };
                spans.extend(parts.map(part));
                start = row + 1;
            } else {
                pairs += more;
            }
        }
        if pairs > 0 {
            spans.push(Span { rows: start..self.ids.len(), matching: 0..most });
        }
        spans
    }

    fn pairs(&self, Span { rows, matching }: &Span) -> Pairs {
        let mut pairs = Pairs::default();
        for (row, &id) in (0u32..).zip(self.ids.iter()).skip(rows.start).take(rows.len()) {
            let of_key = self.by_key.get(id);
            let some = &of_key[matching.start.min(of_key.len())..matching.end.min(of_key.len())];
            pairs.left.extend(std::iter::repeat_n(row, some.len()));
            pairs.right.extend_from_slice(some);
        }
        pairs
    }

    /// The columns of both sides, and of which pairs the residual is true.
    fn rows(&self, pairs: &Pairs) -> Result<(RecordBatch, Option<BooleanArray>), FlowError> {
        let Layout { places, schema, residual, .. } = &*self.layout;
        let mut columns = Vec::with_capacity(schema.fields().len());
        let sides = [(&self.left, &pairs.left), (&self.right, &pairs.right)];
        for ((side, rows), places) in sides.into_iter().zip(places) {
            let columns_of = side.rows().columns();
            let wanted: Vec<_> = places.iter().map(|&p| Arc::clone(&columns_of[p])).collect();
            columns.extend(take_arrays(&wanted, &UInt32Array::from(rows.clone()), None)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.left.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
        let kept = residual.as_ref().map(|residual| truth(residual, &rows)).transpose()?;
        Ok((rows, kept))
    }

    fn diffs(&self, pairs: &Pairs) -> Option<Int64Array> {
        let (left, right) = (self.left.diffs(), self.right.diffs());
        if left.is_none() && right.is_none() {
            return None;
        }
        let diff =
            |diffs: Option<&Int64Array>, row: u32| diffs.map_or(1, |d| d.value(row as usize));
        let both = pairs.left.iter().zip(&pairs.right);
        Some(both.map(|(&l, &r)| diff(left, l) * diff(right, r)).collect())
    }
}
