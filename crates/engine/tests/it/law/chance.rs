//! Seeded chance: every choice of a case comes from here.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

/// A stream of choices that a seed repeats.
pub(super) struct Chance(StdRng);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// A number of `low ..= high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high)
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

    /// A seed for something else.
    pub(super) fn seed(&mut self) -> u64 {
        self.0.random()
    }
}
