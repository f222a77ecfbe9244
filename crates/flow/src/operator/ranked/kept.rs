//! Ranking rows that only come: one that is behind the last wanted never returns, so just the wanted
//! ones are kept.
//!
//! ```text
//!   new rows ─▶ not behind the last of a full partition ─▶ among the rows kept ─▶ who came in
//!                                                                               └▶ who fell out
//!   tree:    partition │ the rest of the row │ _multiplicity
//!   memory:  the same │ order, as bytes       linked by partition, the last of it first
//! ```
//!
//! Of the tree only partitions are read that memory does not know; their order follows from the rows.
//! A row in memory that stays is not copied: only the links change.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    AsArray, BinaryArray, BooleanArray, DynComparator, Int64Array, RecordBatch, make_comparator,
};
use arrow::compute::{SortOptions, filter_record_batch, interleave_record_batch};
use arrow::datatypes::Int64Type;
use hashbrown::HashMap;
use yeoul_batch::Updates;

use super::spec::RankFunction;
use super::sweep::{Changes, Item, Kept};
use super::{Ranking, TREE};
use crate::error::FlowError;
use crate::group::{ByGroup, Groups, compact_batch};
use crate::operator::Step;
use crate::operator::known::Known;

/// Takes new rows; gives the change of the answer when somebody hears it.
pub(super) fn step(
    ranking: &Ranking,
    known: &mut Known,
    updates: &Updates,
    step: &mut Step<'_>,
) -> Result<Option<Updates>, FlowError> {
    known.begin();
    let new = ranking.kept_rows(updates.rows())?;
    let keys = &new.columns()[..ranking.layout.keys.len()];
    let groups = Groups::of(keys, new.num_rows())?;
    let hashes =
        known.know(&groups.take(keys)?, |keys| ranking.with_order(&step.get_many(TREE, keys)?))?;
    let mut contest = Contest::new(ranking, known, &new)?;
    let by_partition = ByGroup::new(groups.ids(), groups.count());
    for (&hash, rows) in hashes.iter().zip(by_partition.iter()) {
        contest.add(hash, rows);
    }
    let answer = if step.is_heard() { contest.answer()? } else { None };
    let Outcome { delta, coming, partitions } = contest.outcome()?;
    step.put(TREE, delta);
    let first = known.push(coming)?;
    for Standing { hash, rows, full } in partitions {
        let numbers = rows.into_iter().rev().map(|row| match row {
            Row::Known(number) => number,
            Row::Coming(at) => first + at,
        });
        known.link(hash, numbers, full);
    }
    Ok(answer)
}

/// A row that is kept from now on.
enum Row {
    /// The number that it has in memory.
    Known(u32),
    /// Its place among those that come.
    Coming(u32),
}

/// A partition after the step.
struct Standing {
    hash: u128,
    /// In their order.
    rows: Vec<Row>,
    /// A row behind the last is not wanted.
    full: bool,
}

/// What a step does to tree and memory.
struct Outcome {
    delta: RecordBatch,
    coming: RecordBatch,
    partitions: Vec<Standing>,
}

/// A row that takes part.
#[derive(Clone, Copy)]
struct Entry {
    /// Its number, when it was kept before.
    number: Option<u32>,
    /// Its chunk, the new rows being the last one, and the row in it.
    at: (usize, usize),
}

/// Rows of touched partitions, before and after.
struct Contest<'a> {
    ranking: &'a Ranking,
    known: &'a Known,
    /// The chunks in memory, then the new rows.
    chunks: Vec<&'a RecordBatch>,
    orders: Vec<&'a BinaryArray>,
    counts: Vec<&'a Int64Array>,
    /// What compares the columns behind the partition where rows tie, by the chunks of both.
    rest: RefCell<HashMap<(usize, usize), Vec<DynComparator>>>,
    entries: Vec<Entry>,
    changes: Changes,
    /// Partitions that were looked at, and where what is kept of each ends in the changes.
    partitions: Vec<(u128, usize)>,
}

impl<'a> Contest<'a> {
    fn new(
        ranking: &'a Ranking,
        known: &'a Known,
        new: &'a RecordBatch,
    ) -> Result<Self, FlowError> {
        let chunks: Vec<&RecordBatch> = known.chunks().iter().chain([new]).collect();
        let width = ranking.layout.schema.fields().len();
        let counts = chunks.iter().map(|rows| rows.column(width).as_primitive::<Int64Type>());
        let orders = chunks.iter().map(|rows| rows.column(width + 1).as_binary::<i32>());
        let (counts, orders) = (counts.collect(), orders.collect());
        let (entries, changes, partitions) = (Vec::new(), Changes::default(), Vec::new());
        let last = chunks.len() - 1;
        let of_new = comparators(ranking, (new, new))?;
        let rest = RefCell::new(HashMap::from_iter([((last, last), of_new)]));
        Ok(Self { ranking, known, chunks, orders, counts, rest, entries, changes, partitions })
    }

    /// Adds a partition with its new rows.
    fn add(&mut self, hash: u128, rows: &[u32]) {
        let new = self.chunks.len() - 1;
        let bar = self.known.noted(hash).map(|at| self.order(at));
        let wanted = |row: &&u32| bar.is_none_or(|bar| self.order((new, **row as usize)) <= bar);
        let start = self.entries.len();
        let coming = rows.iter().filter(wanted);
        let coming: Vec<Entry> =
            coming.map(|&row| Entry { number: None, at: (new, row as usize) }).collect();
        if coming.is_empty() {
            return;
        }
        let kept = self.known.linked(hash);
        self.entries.extend(
            kept.map(|(number, chunk, row)| Entry { number: Some(number), at: (chunk, row) }),
        );
        // In their order, and then what is new, so that there is little to sort.
        self.entries[start..].reverse();
        self.entries.extend(coming);
        let mut sorted = self.entries.split_off(start);
        sorted.sort_by(|a, b| self.compare(a.at, b.at));
        let mut items: Vec<Item> = Vec::with_capacity(sorted.len());
        for entry in sorted {
            let count = self.counts[entry.at.0].value(entry.at.1);
            let before = if entry.number.is_some() { count } else { 0 };
            let mut tied = false;
            if let (Some(item), Some(last)) = (items.last_mut(), self.entries.last()) {
                if self.compare(last.at, entry.at).is_eq() {
                    item.before += before;
                    item.after += count;
                    continue;
                }
                tied = self.order(last.at) == self.order(entry.at);
            }
            let row = u32::try_from(self.entries.len()).expect("a step is bounded");
            items.push(Item { row, before, after: count, tied });
            self.entries.push(entry);
        }
        // No row of the partition is missing, so none is needed.
        self.ranking.wanted.sweep(&items, false, &mut self.changes);
        self.partitions.push((hash, self.changes.kept.len()));
    }

    fn order(&self, (chunk, row): (usize, usize)) -> &'a [u8] {
        self.orders[chunk].value(row)
    }

    /// By the order, then by the rest of the columns.
    fn compare(&self, a: (usize, usize), b: (usize, usize)) -> Ordering {
        self.order(a).cmp(self.order(b)).then_with(|| {
            let mut rest = self.rest.borrow_mut();
            let rest = rest.entry((a.0, b.0)).or_insert_with(|| {
                let chunks = (self.chunks[a.0], self.chunks[b.0]);
                comparators(self.ranking, chunks).expect("rows of these types were compared before")
            });
            let different = rest.iter().map(|rest| rest(a.1, b.1)).find(|order| order.is_ne());
            different.unwrap_or(Ordering::Equal)
        })
    }

    /// The change of the answer.
    fn answer(&self) -> Result<Option<Updates>, FlowError> {
        let Changes { rows, ranks, diffs, .. } = &self.changes;
        if rows.is_empty() {
            return Ok(None);
        }
        let rows = self.gather(rows.iter().copied())?;
        self.ranking.answer(&rows, ranks, diffs.clone()).map(Some)
    }

    /// Rows that take part, without the order.
    fn gather(&self, rows: impl Iterator<Item = u32>) -> Result<RecordBatch, FlowError> {
        let places: Vec<(usize, usize)> = rows.map(|row| self.entries[row as usize].at).collect();
        Ok(interleave_record_batch(&self.chunks, &places)?)
    }

    /// What comes of it.
    fn outcome(&self) -> Result<Outcome, FlowError> {
        let moved: Vec<&Kept> = self
            .changes
            .kept
            .iter()
            .filter(|kept| kept.diff != 0 || self.number(kept).is_none())
            .collect();
        let rows = compact_batch(&self.gather(moved.iter().map(|kept| kept.row))?)?;
        let width = self.ranking.layout.schema.fields().len();
        let counted = |count: &dyn Fn(&Kept) -> i64, of: &dyn Fn(&Kept) -> bool| {
            let mut columns = rows.columns().to_vec();
            let counts: Int64Array = moved.iter().map(|kept| Some(count(kept))).collect();
            columns[width] = Arc::new(counts);
            let these: BooleanArray = moved.iter().map(|kept| Some(of(kept))).collect();
            let rows = RecordBatch::try_new(rows.schema(), columns)?;
            compact_batch(&filter_record_batch(&rows, &these)?)
        };
        let delta = counted(&|kept| kept.diff, &|kept| kept.diff != 0)?;
        let coming = |kept: &Kept| kept.count != 0 && self.number(kept).is_none();
        let coming = counted(&|kept| kept.count, &coming)?;
        let stored: Vec<usize> = (0..=width).collect();
        let delta = delta.project(&stored)?;
        Ok(Outcome { delta, coming, partitions: self.standings() })
    }

    /// The number of a row that is in memory as it is kept. One that was read may have come in pieces.
    fn number(&self, kept: &Kept) -> Option<u32> {
        let Entry { number, at: (chunk, row) } = self.entries[kept.row as usize];
        number.filter(|_| self.counts[chunk].value(row) == kept.count)
    }

    /// The partitions after the step; rows that come are numbered in the order of the changes.
    fn standings(&self) -> Vec<Standing> {
        let (mut start, mut coming) = (0, 0);
        let standing = |&(hash, end): &(u128, usize)| {
            let kept = &self.changes.kept[start..end];
            start = end;
            let full = self.is_full(kept);
            let rows = kept.iter().filter(|kept| kept.count != 0).map(|kept| {
                self.number(kept).map_or_else(
                    || {
                        coming += 1;
                        Row::Coming(coming - 1)
                    },
                    Row::Known,
                )
            });
            Standing { hash, rows: rows.collect(), full }
        };
        self.partitions.iter().map(standing).collect()
    }

    /// Whether a row behind these, in their order and not tied with the last, is not wanted.
    fn is_full(&self, kept: &[Kept]) -> bool {
        let wanted = &self.ranking.wanted;
        let before = match wanted.function {
            RankFunction::RowNumber | RankFunction::Rank => {
                kept.iter().map(|kept| kept.count).fold(0, i64::saturating_add)
            }
            RankFunction::DenseRank => {
                let orders = kept.iter().filter(|kept| kept.count != 0);
                let orders = orders.map(|kept| self.order(self.entries[kept.row as usize].at));
                let mut orders: Vec<&[u8]> = orders.collect();
                orders.dedup();
                i64::try_from(orders.len()).unwrap_or(i64::MAX)
            }
        };
        before >= wanted.last
    }
}

fn comparators(
    ranking: &Ranking,
    (a, b): (&RecordBatch, &RecordBatch),
) -> Result<Vec<DynComparator>, FlowError> {
    let options = SortOptions { descending: false, nulls_first: false };
    let behind = ranking.layout.keys.len()..ranking.layout.schema.fields().len();
    let one = |column| make_comparator(a.column(column), b.column(column), options);
    Ok(behind.map(one).collect::<Result<_, _>>()?)
}
