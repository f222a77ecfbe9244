//! Sorted sequences of rows made into one, under the tree's rule.
//!
//! ```text
//!   oldest part ─┐
//!   newer part  ─┼─▶ rows by key, within a key by age ─▶ rule ─▶ batches
//!   memory      ─┘
//! ```
//!
//! What must hold: the sources come oldest first, so that of two equal versions the later arrival
//! wins; rows of one key never end up in two batches of a keyed tree.
//!
//! Limits: one chunk per source and one output batch are held, both of fewer rows when these are wide; a key with
//! more rows than an output batch makes that batch longer.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::UInt64Type;

use super::gather::gather;
use super::order::{Address, KeyOrder, Keys, sort_rows};
use super::source::{Chunk, Source};
use crate::{Rule, StoreError, TreeSpec};

/// About how much the rows of a batch take that were read for it.
const BATCH_BYTES: usize = 32 << 20;

/// Which rows of a key the sources hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cover {
    /// Some: tombstones and zero states stay.
    Some,
    /// All that arrived up to some moment: zero states go, and tombstones go whose version is below
    /// that of every row outside.
    Prefix {
        /// The least version of any row outside.
        version_floor: u64,
    },
    /// All: the answer as a reader sees it.
    All,
}

/// One source with the chunk that it is in.
struct Cursor {
    source: Source,
    chunk: Option<Arc<Chunk>>,
    row: usize,
    /// The chunk's number among the pending ones, once a row of it is pending.
    slot: Option<usize>,
}

impl Cursor {
    fn advance(&mut self, to: usize, order: &KeyOrder) -> Result<(), StoreError> {
        self.row = to;
        if self.chunk.as_ref().is_some_and(|chunk| to < chunk.rows.num_rows()) {
            return Ok(());
        }
        self.chunk = self.source.next_chunk(order)?.map(Arc::new);
        self.row = 0;
        self.slot = None;
        Ok(())
    }
}

/// Rows chosen for output, in order.
#[derive(Default)]
struct Pending {
    chunks: Vec<Arc<Chunk>>,
    rows: Vec<(usize, usize)>,
    /// What the rows take that were chosen since some were taken out.
    bytes: usize,
}

impl Pending {
    fn same(&self, a: (usize, usize), b: (usize, usize)) -> bool {
        self.chunks[a.0].keys.same(a.1, &self.chunks[b.0].keys, b.1)
    }

    /// Where the rows of the last key begin.
    fn last_key(&self) -> usize {
        let Some(&last) = self.rows.last() else { return 0 };
        let mut at = self.rows.len() - 1;
        while at > 0 && self.same(self.rows[at - 1], last) {
            at -= 1;
        }
        at
    }

    /// Takes the rows before `cut` out; those behind stay.
    fn take(&mut self, cut: usize) -> Self {
        let kept = self.rows.split_off(cut);
        let taken = std::mem::take(self);
        for (slot, row) in kept {
            let chunk = &taken.chunks[slot];
            let known = self.chunks.iter().position(|c| Arc::ptr_eq(c, chunk));
            let slot = known.unwrap_or_else(|| {
                self.chunks.push(Arc::clone(chunk));
                self.chunks.len() - 1
            });
            self.rows.push((slot, row));
        }
        taken
    }
}

/// The merge of some sources; give it rows until it is done.
pub(crate) struct Merge {
    spec: Arc<TreeSpec>,
    order: Arc<KeyOrder>,
    cursors: Vec<Cursor>,
    pending: Pending,
    cover: Cover,
    batch_rows: usize,
}

impl Merge {
    /// Merges `sources`, oldest first, into batches of about `batch_rows`.
    pub(crate) fn new(
        spec: &Arc<TreeSpec>,
        order: &Arc<KeyOrder>,
        sources: Vec<Source>,
        cover: Cover,
        batch_rows: usize,
    ) -> Result<Self, StoreError> {
        let mut cursors = Vec::with_capacity(sources.len());
        for source in sources {
            let mut cursor = Cursor { source, chunk: None, row: 0, slot: None };
            cursor.advance(0, order)?;
            if cursor.chunk.is_some() {
                cursors.push(cursor);
            }
        }
        Ok(Self {
            spec: Arc::clone(spec),
            order: Arc::clone(order),
            cursors,
            pending: Pending::default(),
            cover,
            batch_rows,
        })
    }

    /// The next rows; `None` after the last.
    pub(crate) fn next_batch(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        loop {
            let wanted = self.batch_rows;
            while self.pending.rows.len() < wanted
                && self.pending.bytes < BATCH_BYTES
                && self.step(wanted)?
            {}
            let done = self.cursors.is_empty();
            if done && self.pending.rows.is_empty() {
                return Ok(None);
            }
            let keep = matches!(self.spec.rule, Rule::Keep);
            let cut = if done || keep { self.pending.rows.len() } else { self.pending.last_key() };
            if cut == 0 {
                // One key fills the batch: go on until it ends.
                self.step(usize::MAX)?;
                continue;
            }
            let taken = self.pending.take(cut);
            for cursor in &mut self.cursors {
                cursor.slot = None;
            }
            let batch = self.apply(&taken)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }

    /// Moves the longest run of rows that no other source interrupts to the pending ones.
    fn step(&mut self, rows_max: usize) -> Result<bool, StoreError> {
        let Some((first, second)) = self.heads() else { return Ok(false) };
        let cursor = &self.cursors[first];
        let Some(chunk) = cursor.chunk.clone() else { return Ok(false) };
        let (from, row_bytes) = (cursor.row, chunk.row_bytes);
        let room = rows_max.saturating_sub(self.pending.rows.len()).max(1);
        let len = chunk.rows.num_rows().min(from.saturating_add(room));
        let to = match second.map(|other| (other, &self.cursors[other])) {
            None => len,
            Some((other, cursor)) => match &cursor.chunk {
                None => len,
                Some(head) => {
                    chunk.keys.end_of_run(from, len, &head.keys, cursor.row, other < first)
                }
            },
        };
        let cursor = &mut self.cursors[first];
        let slot = *cursor.slot.get_or_insert_with(|| {
            self.pending.chunks.push(chunk);
            self.pending.chunks.len() - 1
        });
        self.pending.rows.extend((from..to).map(|row| (slot, row)));
        self.pending.bytes += (to - from) * row_bytes;
        cursor.advance(to, &self.order)?;
        if cursor.chunk.is_none() {
            self.cursors.remove(first);
        }
        Ok(true)
    }

    /// The source with the least key, oldest first, and the one after it.
    fn heads(&self) -> Option<(usize, Option<usize>)> {
        let mut best: Option<usize> = None;
        let mut second: Option<usize> = None;
        for i in 0..self.cursors.len() {
            match best {
                None => best = Some(i),
                Some(b) if self.compare(i, b) == Ordering::Less => {
                    second = best;
                    best = Some(i);
                }
                Some(_) => {
                    if second.is_none_or(|s| self.compare(i, s) == Ordering::Less) {
                        second = Some(i);
                    }
                }
            }
        }
        best.map(|best| (best, second))
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        let (a, b) = (&self.cursors[a], &self.cursors[b]);
        match (&a.chunk, &b.chunk) {
            (Some(x), Some(y)) => x.keys.compare(a.row, &y.keys, b.row),
            _ => unreachable!("a cursor without rows is removed"),
        }
    }

    fn apply(&self, taken: &Pending) -> Result<RecordBatch, StoreError> {
        let batches: Vec<&RecordBatch> = taken.chunks.iter().map(|chunk| &chunk.rows).collect();
        match &self.spec.rule {
            Rule::Keep => gather(&self.spec.schema, &batches, &taken.rows),
            Rule::Latest => {
                let rows = self.latest(taken);
                gather(&self.spec.schema, &batches, &rows)
            }
            Rule::Combine(combine) => {
                let rows = gather(&self.spec.schema, &batches, &taken.rows)?;
                let complete = self.cover != Cover::Some;
                let doubled = taken.rows.windows(2).any(|w| taken.same(w[0], w[1]));
                if !complete && !doubled {
                    return Ok(rows);
                }
                let combined = combine.combine(&[rows], complete)?;
                sorted(&self.spec, &self.order, combined)
            }
        }
    }

    /// Of each key the row with the highest version, of equal ones the last.
    fn latest(&self, taken: &Pending) -> Vec<(usize, usize)> {
        let marks: Vec<Marks<'_>> = taken.chunks.iter().map(|c| Marks::of(&c.rows)).collect();
        let mut rows = Vec::with_capacity(taken.rows.len());
        let mut at = 0;
        while at < taken.rows.len() {
            let first = taken.rows[at];
            let mut best = first;
            at += 1;
            while at < taken.rows.len() && taken.same(first, taken.rows[at]) {
                let other = taken.rows[at];
                if marks[other.0].versions[other.1] >= marks[best.0].versions[best.1] {
                    best = other;
                }
                at += 1;
            }
            let gone = marks[best.0].deleted.value(best.1)
                && match self.cover {
                    Cover::Some => false,
                    Cover::Prefix { version_floor } => {
                        marks[best.0].versions[best.1] < version_floor
                    }
                    Cover::All => true,
                };
            if !gone {
                rows.push(best);
            }
        }
        rows
    }
}

/// The two columns that a `latest` tree ends with.
pub(crate) struct Marks<'a> {
    pub(crate) versions: &'a [u64],
    pub(crate) deleted: &'a BooleanArray,
}

impl<'a> Marks<'a> {
    pub(crate) fn of(rows: &'a RecordBatch) -> Self {
        let columns = rows.num_columns();
        Self {
            versions: rows.column(columns - 2).as_primitive::<UInt64Type>().values(),
            deleted: rows.column(columns - 1).as_boolean(),
        }
    }
}

/// The rows of one batch in the order of their keys.
pub(crate) fn sorted(
    spec: &TreeSpec,
    order: &KeyOrder,
    rows: RecordBatch,
) -> Result<RecordBatch, StoreError> {
    let keys: [Keys; 1] = [order.encode(&rows)?];
    let len = u32::try_from(rows.num_rows()).expect("fewer than 2^32 rows in a batch");
    let mut addresses: Vec<Address> = (0..len).map(|row| (0, row)).collect();
    sort_rows(order, &keys, &mut addresses);
    if addresses.is_sorted() {
        return Ok(rows);
    }
    let picked: Vec<(usize, usize)> = addresses.iter().map(|a| (0, a.1 as usize)).collect();
    gather(&spec.schema, &[&rows], &picked)
}
