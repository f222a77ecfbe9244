//! One range of keys during a search: how far each source has been read for it, and which rows are next.
//!
//! ```text
//!   part 1   ▒▒▒▒▒▒▒│██████░░░░░░░        ▒ chosen  █ read, not chosen  ░ not read
//!   part 2   ▒▒▒│░░░░░░░░░                the next key may be in part 2: it is read on first
//!   memory   ▒▒▒▒▒│██████████
//! ```
//!
//! What must hold: a row is chosen only when no source can still give one that comes before it, and for
//! keyed trees all rows of a key are chosen together.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

use super::blocks::{Block, Sought};
use super::sparse::BLOCK_ROWS;
use crate::RuleKind;

/// Rows of a part that are read for a range at once are never more: about a row group.
const WINDOW_ROWS_MAX: usize = 1 << 17;

/// Every time that a range has not had enough, this many times as much is read.
const GROWTH: usize = 4;

/// The blocks of a search by their number; those that no range needs any more are gone.
pub(super) struct Blocks(pub(super) Vec<Option<Block>>);

impl Blocks {
    pub(super) fn get(&self, number: usize) -> &Block {
        self.0[number].as_ref().expect("a block stays while a range or a pick names it")
    }
}

/// Some rows of a block.
struct Run {
    block: usize,
    rows: Range<usize>,
}

/// A source as far as one range goes.
pub(super) struct Cursor {
    /// Its number, oldest first.
    pub(super) source: usize,
    /// Rows of the part which may be in the range and have not been read.
    pub(super) unread: Range<usize>,
    /// Rows in the range that have been read and not been chosen, in the direction of the search.
    runs: VecDeque<Run>,
    /// Nothing can be chosen before more of it is read.
    starving: bool,
}

impl Cursor {
    pub(super) fn new(source: usize, unread: Range<usize>) -> Self {
        Self { source, unread, runs: VecDeque::new(), starving: false }
    }

    /// Adds rows behind those that it has.
    pub(super) fn push(&mut self, block: usize, rows: Range<usize>) {
        self.starving = false;
        if !rows.is_empty() {
            self.runs.push_back(Run { block, rows });
        }
    }

    /// The first of the rows `from` rows behind the head.
    fn peek(&self, mut from: usize, reverse: bool) -> Option<(&Run, usize)> {
        for run in &self.runs {
            if from < run.rows.len() {
                let row = if reverse { run.rows.end - 1 - from } else { run.rows.start + from };
                return Some((run, row));
            }
            from -= run.rows.len();
        }
        None
    }

    fn head<'b>(&self, blocks: &'b Blocks, reverse: bool) -> Option<&'b [u8]> {
        self.peek(0, reverse).map(|(run, row)| blocks.get(run.block).key(row))
    }

    fn pop(&mut self, reverse: bool) {
        let Some(run) = self.runs.front_mut() else { return };
        if reverse {
            run.rows.end -= 1;
        } else {
            run.rows.start += 1;
        }
        if run.rows.is_empty() {
            self.runs.pop_front();
        }
    }

    fn has_rows(&self, rows: usize) -> bool {
        let mut left = rows;
        self.runs.iter().any(|run| {
            left = left.saturating_sub(run.rows.len());
            left == 0
        })
    }
}

/// A row that is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    /// For which of the ranges of the search.
    pub(super) reach: usize,
    pub(super) source: usize,
    pub(super) block: usize,
    /// Where it is in the block.
    pub(super) row: usize,
    /// Where it is in the source.
    pub(super) position: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    pub(super) rule: RuleKind,
    pub(super) reverse: bool,
    /// Rows of each range: one more than are given, to know whether there is one.
    pub(super) rows: usize,
}

/// One range.
pub(super) struct Reach<'a> {
    /// The caller's number of it.
    pub(super) number: usize,
    /// The first key that is in it.
    pub(super) low: Cow<'a, [u8]>,
    /// The first key behind it, if there is any.
    pub(super) high: Option<Cow<'a, [u8]>>,
    /// By source, oldest first; only those that can have rows.
    pub(super) cursors: Vec<Cursor>,
    /// Where the rows are that were found, in order: a batch of the search and a row of it.
    pub(super) found: Vec<(usize, usize)>,
    pub(super) done: bool,
    /// Among how many rows of a part is looked next; how many of them are taken, and how many keys chosen.
    window: usize,
    keys_max: usize,
}

impl<'a> Reach<'a> {
    pub(super) fn new(
        number: usize,
        low: Cow<'a, [u8]>,
        high: Option<Cow<'a, [u8]>>,
        aim: Aim,
    ) -> Self {
        Self {
            number,
            low,
            high,
            cursors: Vec::new(),
            found: Vec::new(),
            done: false,
            // The first row may be the last of its block.
            window: (1 + aim.rows / BLOCK_ROWS).saturating_mul(BLOCK_ROWS).min(WINDOW_ROWS_MAX),
            keys_max: aim.rows,
        }
    }

    /// Whether a source with keys from `first` to `last` can have rows of it.
    pub(super) fn meets(&self, first: &[u8], last: &[u8]) -> bool {
        *self.low <= *last && self.high.as_ref().is_none_or(|high| *first < **high)
    }

    /// Takes in what was found in a part for one of its cursors, in the rows `read` of the part: the rows
    /// `found` of a block, from where the range begins (`reverse`: ends).
    pub(super) fn take(
        &mut self,
        cursor: usize,
        blocks: &Blocks,
        block: usize,
        found: &Range<usize>,
        read: &Range<usize>,
        reverse: bool,
    ) {
        let rows = blocks.get(block);
        let from = found.start + rows.below(found, &self.low);
        let to = self.high.as_ref().map_or(found.end, |high| found.start + rows.below(found, high));
        let unread = &mut self.cursors[cursor].unread;
        let first = |row: usize| if found.is_empty() { None } else { Some(rows.position(row)) };
        if if reverse { from > found.start } else { to < found.end } {
            // Rows outside of the range on the far side: no further row is in it.
            *unread = 0..0;
        } else if reverse {
            unread.end = first(found.start).unwrap_or(read.start);
        } else {
            unread.start = first(found.end.saturating_sub(1)).map_or(read.end, |last| last + 1);
        }
        self.cursors[cursor].push(block, from..to);
    }

    /// The rows of parts that are to be read next, with the cursors and the sources that they are for.
    pub(super) fn wants(&self, aim: Aim) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        let (window, missing) = (self.window, aim.rows - self.found.len());
        let hungry = move |cursor: &Cursor| {
            !cursor.unread.is_empty() && (cursor.starving || !cursor.has_rows(missing))
        };
        let cursors = self.cursors.iter().enumerate();
        cursors.filter(move |(_, cursor)| hungry(cursor)).map(move |(at, cursor)| {
            let unread = &cursor.unread;
            let len = unread.len().min(window);
            let rows = if aim.reverse {
                unread.end - len..unread.end
            } else {
                unread.start..unread.start + len
            };
            (at, cursor.source, rows)
        })
    }

    /// What is looked for among the rows `rows` of a part.
    pub(super) fn sought(&self, rows: Range<usize>, reverse: bool) -> Sought<'_> {
        let bound = if reverse { self.high.as_deref() } else { Some(&*self.low) };
        Sought { rows, bound, rows_max: self.keys_max }
    }

    /// Chooses rows until there are enough, or until more must be read. `this` is its number in the search.
    pub(super) fn pick(&mut self, this: usize, aim: Aim, blocks: &Blocks, picks: &mut Vec<Pick>) {
        let missing = aim.rows - self.found.len();
        // Sums may turn out to be zero, so that of them more are taken each time.
        let combine = aim.rule == RuleKind::Combine;
        let limit = if combine { self.keys_max } else { missing };
        let mut heads: Vec<Option<&[u8]>> =
            self.cursors.iter().map(|cursor| cursor.head(blocks, aim.reverse)).collect();
        let mut group: Vec<(usize, Pick)> = Vec::new();
        let mut taken = 0;
        while taken < limit {
            let Some(best) = self.next(&heads, aim.reverse) else { break };
            group.clear();
            if !self.gather_group(this, best, &heads, aim, blocks, &mut group) {
                break;
            }
            for &(at, _) in &group {
                self.cursors[at].pop(aim.reverse);
                heads[at] = self.cursors[at].head(blocks, aim.reverse);
            }
            let before = picks.len();
            if aim.rule == RuleKind::Latest {
                picks.extend(latest(&group, blocks));
            } else {
                picks.extend(group.iter().map(|(_, pick)| *pick));
            }
            taken += usize::from(picks.len() > before);
        }
        self.window = self.window.saturating_mul(GROWTH).min(WINDOW_ROWS_MAX);
        self.keys_max = self.keys_max.saturating_mul(GROWTH);
    }

    /// The cursor whose head comes next; `None` when one must be read on, or when all are at their end.
    fn next(&mut self, heads: &[Option<&[u8]>], reverse: bool) -> Option<usize> {
        let mut best: Option<(usize, &[u8])> = None;
        let mut starving = false;
        for (at, (cursor, head)) in self.cursors.iter_mut().zip(heads).enumerate() {
            let Some(key) = *head else {
                cursor.starving = !cursor.unread.is_empty();
                starving |= cursor.starving;
                continue;
            };
            // Of rows of one key the older come first, and backwards last.
            let comes_before = |other: &[u8]| match key.cmp(other) {
                Ordering::Less => !reverse,
                Ordering::Greater | Ordering::Equal => reverse,
            };
            if best.is_none_or(|(_, other)| comes_before(other)) {
                best = Some((at, key));
            }
        }
        if starving {
            return None;
        }
        self.done |= best.is_none();
        best.map(|(at, _)| at)
    }

    /// The next row, and for keyed trees all others of its key. Says whether these are all there are.
    fn gather_group(
        &mut self,
        this: usize,
        best: usize,
        heads: &[Option<&[u8]>],
        aim: Aim,
        blocks: &Blocks,
        group: &mut Vec<(usize, Pick)>,
    ) -> bool {
        let only = (aim.rule == RuleKind::Keep).then_some(best);
        let key = heads[best];
        for (at, head) in heads.iter().enumerate() {
            if *head != key || only.is_some_and(|only| only != at) {
                continue;
            }
            let cursor = &self.cursors[at];
            let mut len = 0;
            while let Some((run, row)) = cursor.peek(len, aim.reverse) {
                let block = blocks.get(run.block);
                if Some(block.key(row)) != key || only.is_some() && len > 0 {
                    break;
                }
                let position = block.position(row);
                let (source, block) = (cursor.source, run.block);
                group.push((at, Pick { reach: this, source, block, row, position }));
                len += 1;
            }
            let ended = only.is_none() && !cursor.has_rows(len + 1);
            if ended && !cursor.unread.is_empty() {
                self.cursors[at].starving = true;
                return false;
            }
        }
        true
    }

    /// The blocks that it may still choose rows of.
    pub(super) fn blocks(&self) -> impl Iterator<Item = usize> {
        let open = if self.done { 0 } else { self.cursors.len() };
        self.cursors[..open].iter().flat_map(|cursor| cursor.runs.iter().map(|run| run.block))
    }
}

/// Of the rows of one key the one with the highest version, of equal ones the last to arrive; `None`
/// when it is a tombstone.
fn latest(group: &[(usize, Pick)], blocks: &Blocks) -> Option<Pick> {
    let version = |pick: &Pick| blocks.get(pick.block).version(pick.row);
    let picks = group.iter().map(|(_, pick)| *pick);
    let newest = picks.max_by_key(|pick| (version(pick).0, pick.source, pick.position))?;
    (!version(&newest).1).then_some(newest)
}
