//! Whether rows have a match, before a step and after it.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, UInt32Array};
use arrow::compute::concat;
use arrow::datatypes::Int64Type;
use yeoul_batch::Updates;

use super::super::arranged::taken;
use super::pairs::{Layout, Pairing};
use super::spec::Unmatched;
use super::{LEFT, concat as all_of};
use crate::error::FlowError;
use crate::group::Groups;
use crate::workers::Workers;

/// How many matches rows have: first those that a step brings, then those that were there.
pub(super) struct Matches {
    rows: Updates,
    /// How many of the rows the step brings.
    new: usize,
    /// The matches of each row before the step.
    before: Vec<i64>,
    /// And after it.
    after: Vec<i64>,
}

impl Matches {
    /// By the key alone: `counts` and `changes` are keys of the other side, with how often they were there,
    /// and how often they come or go.
    pub(super) fn by_key(
        new: &Updates,
        old: &Updates,
        counts: &Updates,
        changes: &Updates,
        key_len: usize,
    ) -> Result<Self, FlowError> {
        let rows = together(new, old)?;
        let keys = (0..key_len)
            .map(|key| {
                let column = |updates: &Updates| Arc::clone(updates.rows().column(key));
                let (rows, counts, changes) = (column(&rows), column(counts), column(changes));
                concat(&[&rows, &counts, &changes])
            })
            .collect::<Result<Vec<_>, _>>()?;
        let groups = Groups::of(&keys, rows.len() + counts.len() + changes.len())?;
        let (ids, others) = groups.ids().split_at(rows.len());
        let (of_counts, of_changes) = others.split_at(counts.len());
        let mut before = vec![0; groups.count()];
        add(&mut before, of_counts, counts);
        let mut after = before.clone();
        add(&mut after, of_changes, changes);
        let spread = |counts: &[i64]| ids.iter().map(|&id| counts[id as usize]).collect();
        Ok(Self { new: new.len(), before: spread(&before), after: spread(&after), rows })
    }

    /// By the rows of the other side, as they were and as they change. `at`: which side the rows are of.
    pub(super) fn by_residual(
        layout: &Arc<Layout>,
        at: usize,
        [new, old]: [&Updates; 2],
        [others, changes]: [&Updates; 2],
        key_len: usize,
        pool: &Workers,
    ) -> Result<Self, FlowError> {
        let count = |rows: &Updates, others: &Updates| -> Result<Vec<i64>, FlowError> {
            let [left, right] = if at == LEFT { [rows, others] } else { [others, rows] };
            Pairing::new(layout, left, right, key_len)?.counts(at, pool)
        };
        let rows = together(new, old)?;
        let change = count(&rows, changes)?;
        // Rows that were there, and whose matches stay as they are, stay as they are.
        let moved = |&(row, &change): &(u32, &i64)| (row as usize) < new.len() || change != 0;
        let (places, change): (Vec<u32>, Vec<i64>) =
            (0u32..).zip(&change).filter(moved).map(|(row, &change)| (row, change)).unzip();
        let places = UInt32Array::from(places);
        let diffs = rows.diffs().map(|diffs| take(diffs, &places)).transpose()?;
        let rows = taken(rows.rows(), &places, diffs)?;
        let before = count(&rows, others)?;
        let after = before.iter().zip(&change).map(|(before, change)| before + change).collect();
        Ok(Self { new: new.len(), rows, before, after })
    }

    /// What the step changes of the rows that stay by themselves, and whether these have a match.
    pub(super) fn changes(&self, unmatched: Unmatched) -> Result<Vec<(Updates, bool)>, FlowError> {
        let mut all = Vec::new();
        let kept: &[bool] = match unmatched {
            Unmatched::Gone => &[],
            Unmatched::Without => &[false],
            Unmatched::With => &[true],
            Unmatched::Marked => &[false, true],
        };
        for &matched in kept {
            let mut places = Vec::new();
            let mut diffs = Vec::new();
            for (row, (&before, &after)) in (0u32..).zip(self.before.iter().zip(&self.after)) {
                let had = (before > 0) == matched && row as usize >= self.new;
                let has = (after > 0) == matched;
                if had != has {
                    let there = self.rows.diffs().map_or(1, |diffs| diffs.value(row as usize));
                    places.push(row);
                    diffs.push(if has { there } else { -there });
                }
            }
            let come_only = diffs.iter().all(|&diff| diff == 1);
            let diffs = (!come_only).then(|| Int64Array::from(diffs));
            all.push((taken(self.rows.rows(), &UInt32Array::from(places), diffs)?, matched));
        }
        Ok(all)
    }
}

fn together(new: &Updates, old: &Updates) -> Result<Updates, FlowError> {
    all_of(&[new.clone(), old.clone()])
}

fn take(diffs: &Int64Array, places: &UInt32Array) -> Result<Int64Array, FlowError> {
    Ok(arrow::compute::take(diffs, places, None)?.as_primitive::<Int64Type>().clone())
}

fn add(counts: &mut [i64], ids: &[u32], updates: &Updates) {
    for (row, &id) in ids.iter().enumerate() {
        counts[id as usize] += updates.diffs().map_or(1, |diffs| diffs.value(row));
    }
}
