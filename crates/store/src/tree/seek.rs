//! Reading the first or the last rows of ranges of keys, in the order of the keys.
//!
//! ```text
//!   ranges ─┬─ memory batches: binary search                    ┌─▶ parts: the other columns of these ─┐
//!           └─ parts: sparse index ─▶ key columns of a few rows ─┴─ rows of memory ─────────────────────┴─▶ rule ─▶ answer
//!                        ▲                       │ not enough: more rows than before
//!                        └───────────────────────┘
//! ```
//!
//! What must hold: the answer is that of a scan, sorted, filtered by each range, and cut after so many
//! rows. All ranges are read side by side, so that a page that several need is read once.
//!
//! Limits: what is in memory is the answer, of each range and part at most as many keys as rows are asked for
//! (four times as many each time that these were not enough), and for `combine` trees the states of the keys
//! that a round takes.

use std::borrow::Cow;
use std::ops::{Bound, Range};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::Rows;
use yeoul_batch::{Combine, KeyCodec, KeyRange, RangeRows};

use super::blocks::{Block, PartReading, Sought};
use super::gather::{compact_views, gather};
use super::part::Part;
use super::reach::{Aim, Blocks, Cursor, Pick, Reach};
use super::snapshot::TreeSnapshot;
use super::weight::RowBytes;
use crate::{Rule, RuleKind, StoreError, TreeSpec};

/// Rows of which the key columns are decoded at once.
const READ_ROWS: usize = 1 << 16;

/// The first key in a range, or a shorter one before that; `None` when no key is so great.
fn low(range: &KeyRange) -> Option<Cow<'_, [u8]>> {
    match &range.from {
        Bound::Unbounded => Some(Cow::Borrowed(&[])),
        Bound::Included(bytes) => Some(Cow::Borrowed(bytes)),
        Bound::Excluded(bytes) => behind(bytes).map(Cow::Owned),
    }
}

/// The first key behind a range; `None` when there is none.
fn high(range: &KeyRange) -> Option<Cow<'_, [u8]>> {
    match &range.to {
        Bound::Unbounded => None,
        Bound::Included(bytes) => behind(bytes).map(Cow::Owned),
        Bound::Excluded(bytes) => Some(Cow::Borrowed(bytes)),
    }
}

/// The least bytes that are greater than all that begin with `prefix`.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < 0xff)?;
    let mut bytes = prefix[..=last].to_vec();
    bytes[last] += 1;
    Some(bytes)
}

/// The ordered bytes of keys of a tree that are given as columns: those of its key, or only the leading
/// ones.
///
/// # Errors
/// When there are more columns than the key has, or their types are others.
pub fn key_bytes(spec: &TreeSpec, columns: &[ArrayRef]) -> Result<Rows, StoreError> {
    let Some(key) = spec.key.get(..columns.len()) else {
        return Err(no_such_key(spec, &format!("has no {} columns in its key", columns.len())));
    };
    Ok(KeyCodec::new(&spec.schema, key)?.encode_columns(columns)?)
}

/// The first `rows_max` rows, under the tree's rule, of each of `ranges`; with `reverse` the last, the last
/// one first. Of rows of a [`Rule::Keep`] tree with equal keys those of older parts and batches come first
/// (with `reverse` last).
///
/// # Errors
/// When the tree has no key, or a part cannot be read.
pub fn read_ranges(
    tree: &TreeSnapshot,
    ranges: &[KeyRange],
    rows_max: usize,
    reverse: bool,
) -> Result<RangeRows, StoreError> {
    read(tree, ranges, (rows_max, u64::MAX), reverse)
}

/// The first rows of a range of a [`Rule::Keep`] tree: at most `rows_max`, and so many that they take about `bytes_max`
/// at most, but one where there is one.
///
/// # Errors
/// As [`read_ranges`].
pub fn read_some(
    tree: &TreeSnapshot,
    range: KeyRange,
    rows_max: usize,
    bytes_max: u64,
) -> Result<RangeRows, StoreError> {
    if tree.spec.rule.kind() != RuleKind::Keep {
        return Err(no_such_key(&tree.spec, "is not one whose rows are kept as they are"));
    }
    read(tree, &[range], (rows_max, bytes_max), false)
}

fn read(
    tree: &TreeSnapshot,
    ranges: &[KeyRange],
    (rows_max, bytes_max): (usize, u64),
    reverse: bool,
) -> Result<RangeRows, StoreError> {
    if tree.spec.key.is_empty() {
        return Err(no_such_key(&tree.spec, "has no key"));
    }
    let rows = rows_max.saturating_add(1);
    let aim = Aim { rule: tree.spec.rule.kind(), reverse, rows };
    let mut search = Search::new(tree, ranges, aim)?;
    search.bytes_left = bytes_max;
    while search.round()? {}
    search.answer(ranges.len(), rows_max)
}

fn no_such_key(spec: &TreeSpec, what: &str) -> StoreError {
    StoreError::Definition(format!("tree {} \"{}\" {what}", spec.id, spec.name))
}

/// Rows of a part that a range needs.
struct Want {
    source: usize,
    rows: Range<usize>,
    reach: usize,
    cursor: usize,
}

/// How many of `wants`, which are of one part and in order, are read at once: about [`READ_ROWS`] rows.
fn read_together(wants: &[Want]) -> usize {
    let (mut rows, mut end) = (0, 0);
    let mut more = |want: &Want| {
        rows += want.rows.end.saturating_sub(want.rows.start.max(end));
        end = end.max(want.rows.end);
        rows <= READ_ROWS
    };
    wants.iter().take_while(|&want| more(want)).count().max(1)
}

/// A search in progress. Sources are numbered: the parts, then the batches of memory.
struct Search<'a> {
    tree: &'a TreeSnapshot,
    aim: Aim,
    reading: PartReading,
    /// By their first key.
    reaches: Vec<Reach<'a>>,
    /// The batches of memory, then what was read.
    blocks: Blocks,
    /// The batches of memory, then answers.
    batches: Vec<RecordBatch>,
    /// How much more is wanted.
    bytes_left: u64,
    /// There are more rows than those that were found, which take as much as is wanted.
    cut: bool,
}

impl<'a> Search<'a> {
    fn new(tree: &'a TreeSnapshot, ranges: &'a [KeyRange], aim: Aim) -> Result<Self, StoreError> {
        let mut reaches = Vec::with_capacity(ranges.len());
        for (number, range) in ranges.iter().enumerate() {
            let (Some(low), high) = (low(range), high(range)) else { continue };
            if high.as_ref().is_none_or(|high| low < *high) {
                reaches.push(Reach::new(number, low, high, aim));
            }
        }
        reaches.sort_by(|a, b| a.low.cmp(&b.low));
        let mut search = Self {
            tree,
            aim,
            reading: PartReading::new(&tree.spec)?,
            reaches,
            blocks: Blocks(Vec::new()),
            batches: tree.memory.iter().map(|batch| batch.rows().clone()).collect(),
            bytes_left: u64::MAX,
            cut: false,
        };
        for (source, part) in tree.parts.iter().enumerate() {
            search.seek_in_part(source, part)?;
        }
        search.seek_in_memory()?;
        Ok(search)
    }

    /// The ranges that can have rows with keys from `first` to `last`.
    fn meeting(&mut self, first: &[u8], last: &[u8]) -> impl Iterator<Item = &mut Reach<'a>> {
        let end = self.reaches.partition_point(|reach| *reach.low <= *last);
        self.reaches[..end].iter_mut().filter(move |reach| reach.meets(first, last))
    }

    fn seek_in_part(&mut self, source: usize, part: &Part) -> Result<(), StoreError> {
        let meta = part.meta();
        let total = usize::try_from(meta.rows).unwrap_or(usize::MAX);
        for reach in self.meeting(&meta.first_key, &meta.last_key) {
            let rows = part.sparse_keys()?.rows_from_to(Some(&reach.low), reach.high.as_deref());
            let rows = rows.start.min(total)..rows.end.min(total);
            if !rows.is_empty() {
                reach.cursors.push(Cursor::new(source, rows));
            }
        }
        Ok(())
    }

    fn seek_in_memory(&mut self) -> Result<(), StoreError> {
        let tree = self.tree;
        for (number, batch) in tree.memory.iter().enumerate() {
            let sorted = batch.sorted(&tree.spec)?;
            if sorted.len() > 0 {
                let (first, last) = (sorted.key(0), sorted.key(sorted.len() - 1));
                for reach in self.meeting(first, last) {
                    let from = sorted.below(&reach.low);
                    let to = reach.high.as_ref().map_or(sorted.len(), |high| sorted.below(high));
                    if from < to {
                        let mut cursor = Cursor::new(tree.parts.len() + number, 0..0);
                        cursor.push(number, from..to);
                        reach.cursors.push(cursor);
                    }
                }
            }
            self.blocks.0.push(Some(Block::Memory { sorted, rows: batch.rows().clone() }));
        }
        Ok(())
    }

    /// Reads on where something is missing, and takes what then comes next. Says whether to go on.
    fn round(&mut self) -> Result<bool, StoreError> {
        self.read_on()?;
        let mut picks = Vec::new();
        for (number, reach) in self.reaches.iter_mut().enumerate().filter(|(_, r)| !r.done) {
            reach.pick(number, self.aim, &self.blocks, &mut picks);
        }
        self.cut(&mut picks)?;
        self.keep(&picks)?;
        let mut needed = vec![false; self.blocks.0.len()];
        needed[..self.tree.memory.len()].fill(true);
        let mut open = false;
        for reach in &mut self.reaches {
            reach.done |= self.cut || reach.found.len() >= self.aim.rows;
            open |= !reach.done;
            reach.blocks().for_each(|block| needed[block] = true);
        }
        for (block, _) in self.blocks.0.iter_mut().zip(needed).filter(|(_, needed)| !needed) {
            *block = None;
        }
        Ok(open)
    }

    /// Leaves out what would be more than is wanted.
    fn cut(&mut self, picks: &mut Vec<Pick>) -> Result<(), StoreError> {
        if self.bytes_left == u64::MAX {
            return Ok(());
        }
        let parts = self.tree.parts.len();
        let memory = &self.batches[..self.tree.memory.len()];
        let memory: Vec<RowBytes<'_>> = memory.iter().map(RowBytes::of).collect();
        let mut any = self.reaches.iter().any(|reach| !reach.found.is_empty());
        for (number, pick) in picks.iter().enumerate() {
            let bytes = match pick.source.checked_sub(parts) {
                Some(batch) => memory[batch].row(pick.position),
                None => {
                    let weights = self.tree.parts[pick.source].weights()?;
                    let position = pick.position as u64;
                    weights.before(position + 1) - weights.before(position)
                }
            };
            match self.bytes_left.checked_sub(bytes) {
                Some(left) => self.bytes_left = left,
                None if !any => self.bytes_left = 0,
                None => {
                    self.cut = true;
                    picks.truncate(number);
                    break;
                }
            }
            any = true;
        }
        Ok(())
    }

    fn read_on(&mut self) -> Result<(), StoreError> {
        let mut wants: Vec<Want> = Vec::new();
        for (number, reach) in self.reaches.iter().enumerate().filter(|(_, r)| !r.done) {
            let want = |(cursor, source, rows)| Want { source, rows, reach: number, cursor };
            wants.extend(reach.wants(self.aim).map(want));
        }
        wants.sort_unstable_by_key(|want| (want.source, want.rows.start));
        for wants in wants.chunk_by(|a, b| a.source == b.source) {
            let mut from = 0;
            while from < wants.len() {
                let to = from + read_together(&wants[from..]);
                self.read_block(&wants[from..to])?;
                from = to;
            }
        }
        Ok(())
    }

    /// Reads rows of one part.
    fn read_block(&mut self, wants: &[Want]) -> Result<(), StoreError> {
        let reverse = self.aim.reverse;
        let sought: Vec<Sought<'_>> = wants
            .iter()
            .map(|want| self.reaches[want.reach].sought(want.rows.clone(), reverse))
            .collect();
        let part = &self.tree.parts[wants[0].source];
        let (block, found) = self.reading.block(part, &sought, reverse)?;
        let number = self.blocks.0.len();
        self.blocks.0.push(Some(block));
        for (want, found) in wants.iter().zip(found) {
            let reach = &mut self.reaches[want.reach];
            reach.take(want.cursor, &self.blocks, number, &found, &want.rows, reverse);
        }
        Ok(())
    }

    /// Adds what was chosen to what the ranges have.
    fn keep(&mut self, picks: &[Pick]) -> Result<(), StoreError> {
        let memory = self.tree.memory.len();
        let (read, mut at) = self.whole_rows(picks)?;
        if let Rule::Combine(combine) = &self.tree.spec.rule {
            return self.keep_combined(&**combine, picks, &read, at);
        }
        let base = self.batches.len() - memory;
        at.iter_mut().filter(|at| at.0 >= memory).for_each(|at| at.0 += base);
        self.batches.extend(read);
        for (pick, at) in picks.iter().zip(at) {
            self.reaches[pick.reach].found.push(at);
        }
        Ok(())
    }

    /// Reads what is missing of the rows that were chosen. Gives for each its batch, the batches of memory
    /// counted first and then those that are given, and its row there.
    #[expect(clippy::type_complexity, reason = "batches, and rows in them")]
    fn whole_rows(
        &self,
        picks: &[Pick],
    ) -> Result<(Vec<RecordBatch>, Vec<(usize, usize)>), StoreError> {
        let (parts, memory) = (self.tree.parts.len(), self.tree.memory.len());
        let mut at: Vec<(usize, usize)> =
            picks.iter().map(|pick| (pick.source.wrapping_sub(parts), pick.position)).collect();
        let mut order: Vec<usize> = (0..picks.len()).filter(|&i| picks[i].source < parts).collect();
        order.sort_unstable_by_key(|&i| (picks[i].source, picks[i].position));
        let mut read = Vec::new();
        for of_part in order.chunk_by(|&a, &b| picks[a].source == picks[b].source) {
            let mut positions: Vec<usize> = Vec::new();
            let mut rows: Vec<(usize, usize)> = Vec::new();
            let mut blocks: Vec<usize> = Vec::new();
            for &i in of_part {
                let pick = &picks[i];
                // Ranges that overlap choose the same rows.
                if positions.last() != Some(&pick.position) {
                    positions.push(pick.position);
                    let known = blocks.iter().rposition(|&block| block == pick.block);
                    let block = known.unwrap_or(blocks.len());
                    if known.is_none() {
                        blocks.push(pick.block);
                    }
                    rows.push((block, pick.row));
                }
                at[i] = (memory + read.len(), positions.len() - 1);
            }
            let leads: Vec<&RecordBatch> = blocks.iter().filter_map(|&b| self.lead(b)).collect();
            let lead = gather(self.reading.lead_schema(), &leads, &rows)?;
            let part = &self.tree.parts[picks[of_part[0]].source];
            read.push(self.reading.whole(part, &positions, &lead)?);
        }
        Ok((read, at))
    }

    fn lead(&self, block: usize) -> Option<&RecordBatch> {
        match self.blocks.get(block) {
            Block::Part { lead, .. } => Some(lead),
            Block::Memory { .. } => None,
        }
    }

    /// Combines all rows that were chosen at once, each a single time although ranges may overlap. Every
    /// range has chosen all rows of its keys, so that between its first and its last key there are no others.
    fn keep_combined(
        &mut self,
        combine: &dyn Combine,
        picks: &[Pick],
        read: &[RecordBatch],
        mut at: Vec<(usize, usize)>,
    ) -> Result<(), StoreError> {
        if picks.is_empty() {
            return Ok(());
        }
        at.sort_unstable();
        at.dedup();
        let memory = &self.batches[..self.tree.memory.len()];
        let batches: Vec<&RecordBatch> = memory.iter().chain(read).collect();
        let rows = gather(&self.tree.spec.schema, &batches, &at)?;
        let combined = combine.combine(&[rows], true)?;
        let keys = self.reading.codec().encode(&combined)?;
        let mut order: Vec<usize> = (0..keys.num_rows()).collect();
        order.sort_unstable_by(|&a, &b| keys.row(a).cmp(&keys.row(b)));
        let batch = self.batches.len();
        for picks in picks.chunk_by(|a, b| a.reach == b.reach) {
            let key = |pick: &Pick| self.blocks.get(pick.block).key(pick.row);
            let (first, last) = (key(&picks[0]), key(&picks[picks.len() - 1]));
            let (first, last) = if self.aim.reverse { (last, first) } else { (first, last) };
            let from = order.partition_point(|&row| keys.row(row).data() < first);
            let to = order.partition_point(|&row| keys.row(row).data() <= last);
            let rows = order[from..to].iter().map(|&row| (batch, row));
            let found = &mut self.reaches[picks[0].reach].found;
            if self.aim.reverse {
                found.extend(rows.rev());
            } else {
                found.extend(rows);
            }
        }
        self.batches.push(combined);
        Ok(())
    }

    fn answer(self, ranges: usize, rows_max: usize) -> Result<RangeRows, StoreError> {
        let mut found: Vec<Vec<(usize, usize)>> = vec![Vec::new(); ranges];
        for reach in self.reaches {
            found[reach.number] = reach.found;
        }
        let mut rows = Vec::new();
        let mut numbers = Vec::new();
        for (number, found) in (0u32..).zip(&found) {
            let given = &found[..found.len().min(rows_max)];
            rows.extend_from_slice(given);
            numbers.resize(rows.len(), number);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = compact_views(gather(&self.tree.spec.schema, &batches, &rows)?)?;
        let more = found.iter().map(|found| self.cut || found.len() > rows_max).collect();
        Ok(RangeRows { rows, ranges: numbers, more })
    }
}
