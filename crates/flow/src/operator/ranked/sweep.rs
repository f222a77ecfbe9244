//! Going through the rows of a partition in their order, as they were and as they are.

use super::spec::RankFunction;

/// A row with how often it was there and is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) row: u32,
    pub(super) before: i64,
    pub(super) after: i64,
    /// Whether it ties with the item before it.
    pub(super) tied: bool,
}

/// Which numbers are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) function: RankFunction,
    pub(super) first: i64,
    pub(super) last: i64,
    /// Rows are told apart by their number.
    pub(super) numbered: bool,
}

/// What changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) rows: Vec<u32>,
    pub(super) ranks: Vec<i64>,
    pub(super) diffs: Vec<i64>,
    /// Of the rows up to the last wanted number: how often they are there, and how much more often than
    /// before.
    pub(super) kept: Vec<Kept>,
}

/// A row up to the last wanted number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) row: u32,
    pub(super) count: i64,
    pub(super) diff: i64,
}

/// Where one side of the comparison is.
#[derive(Debug, Default, Clone, Copy)]
struct Cursor {
    /// Rows before this one.
    rows: i64,
    /// The number of those that tie with it.
    rank: i64,
    /// Different places so far.
    places: i64,
    /// Rows of this place so far: none yet, and the next row begins it.
    of_place: i64,
}

impl Cursor {
    /// Begins a new place in the order.
    fn next_place(&mut self) {
        self.of_place = 0;
    }

    /// The first number of `count` copies of a row, and how they go on.
    fn take(&mut self, count: i64, function: RankFunction) -> i64 {
        if self.of_place == 0 && count > 0 {
            self.places += 1;
            self.rank = self.rows + 1;
        }
        let number = match function {
            RankFunction::RowNumber => self.rows + 1,
            RankFunction::Rank => self.rank,
            RankFunction::DenseRank => self.places,
        };
        self.rows += count;
        self.of_place += count;
        number
    }

    /// Whether rows behind what was seen cannot be wanted, although one of them may tie with the last.
    fn is_past(&self, wanted: &Wanted) -> bool {
        match wanted.function {
            RankFunction::RowNumber => self.rows >= wanted.last,
            RankFunction::Rank => self.rank > wanted.last,
            RankFunction::DenseRank => self.places > wanted.last,
        }
    }
}

impl Wanted {
    /// Compares a partition as it was with how it is. `more`: behind these items there are others; then
    /// `false` says that they are needed, and nothing was added to `changes`.
    pub(super) fn sweep(&self, items: &[Item], more: bool, changes: &mut Changes) -> bool {
        let start = (changes.rows.len(), changes.kept.len());
        let (mut before, mut after) = (Cursor::default(), Cursor::default());
        for item in items {
            if !item.tied {
                before.next_place();
                after.next_place();
            }
            if before.is_past(self) && after.is_past(self) {
                return true;
            }
            let was = before.take(item.before, self.function);
            let is = after.take(item.after, self.function);
            self.compare(item, was, is, changes);
        }
        let enough = !more || (before.is_past(self) && after.is_past(self));
        if !enough {
            changes.rows.truncate(start.0);
            changes.ranks.truncate(start.0);
            changes.diffs.truncate(start.0);
            changes.kept.truncate(start.1);
        }
        enough
    }

    /// `was` and `is`: the number of the first copy.
    fn compare(&self, item: &Item, was: i64, is: i64, changes: &mut Changes) {
        let up_to = |count: i64, number: i64, last: i64| match self.function {
            RankFunction::RowNumber => count.min(last - number + 1).max(0),
            _ if number <= last => count,
            _ => 0,
        };
        let count = up_to(item.after, is, self.last);
        let diff = count - up_to(item.before, was, self.last);
        if count != 0 || diff != 0 {
            changes.kept.push(Kept { row: item.row, count, diff });
        }
        let mut push = |rank: i64, diff: i64| {
            if diff != 0 {
                changes.rows.push(item.row);
                changes.ranks.push(rank);
                changes.diffs.push(diff);
            }
        };
        let shown = |count: i64, number: i64| {
            up_to(count, number, self.last) - up_to(count, number, self.first - 1)
        };
        match (self.numbered, self.function) {
            (false, _) => push(0, shown(item.after, is) - shown(item.before, was)),
            (true, RankFunction::RowNumber) => {
                let numbers = |count: i64, number: i64| {
                    number.max(self.first)..(number + count).min(self.last + 1)
                };
                let (was, is) = (numbers(item.before, was), numbers(item.after, is));
                was.clone().filter(|n| !is.contains(n)).for_each(|n| push(n, -1));
                is.filter(|n| !was.contains(n)).for_each(|n| push(n, 1));
            }
            (true, _) if was == is => push(is, shown(item.after, is) - shown(item.before, was)),
            (true, _) => {
                push(was, -shown(item.before, was));
                push(is, shown(item.after, is));
            }
        }
    }
}
