//! Seeded chance: every choice of a case comes from here.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use super::tree::{Mark, Tree};

/// A stream of choices that a seed repeats.
pub(super) struct Chance {
    random: StdRng,
    marks: u32,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), marks: 0 }
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// A number of `low ..= high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.random.random_range(low..=high)
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `items`.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Small numbers often, large ones rarely: about 1/k for each k below `end`.
    pub(super) fn skewed(&mut self, end: usize) -> usize {
        let above = self.below(end) + 1;
        self.below(above)
    }

    /// A mark that nothing has yet.
    pub(super) fn mark(&mut self) -> Mark {
        self.marks += 1;
        Mark(self.marks)
    }

    /// `full`, in whose place any of `simpler` may stand when a failure is made small.
    pub(super) fn or<const N: usize>(&mut self, full: impl Into<Tree>, simpler: [Tree; N]) -> Tree {
        let ways = std::iter::once(full.into()).chain(simpler).collect();
        Tree::Or(self.mark(), ways)
    }

    /// What may be left out.
    pub(super) fn maybe(&mut self, full: impl Into<Tree>) -> Tree {
        self.or(full, [Tree::from("")])
    }
}
