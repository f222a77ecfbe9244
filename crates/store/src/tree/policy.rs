//! What to merge next: a pure choice over sizes.
//!
//! ```text
//!   sizes, oldest first:   256  64 │ 16 16 16 16 │            four of a tier, side by side: merge them
//!   tiers (powers of 4):     5   4 │  3  3  3  3 │
//! ```
//!
//! What must hold: only neighbours are merged, so that what is older stays older (equal versions are
//! decided by arrival, and a run that begins with the oldest covers a prefix of history); every row
//! is rewritten about once per tier.

use std::ops::Range;

/// When neighbours are merged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiering {
    /// Sizes up to this one are in the lowest tier.
    pub(crate) tier_base: u64,
    /// This many of one tier make a merge.
    pub(crate) width_min: usize,
    /// At most this many at once.
    pub(crate) width_max: usize,
    /// At most this much in all.
    pub(crate) total_max: u64,
}

impl Tiering {
    fn tier(&self, size: u64) -> u32 {
        if size <= self.tier_base { 0 } else { (size / self.tier_base.max(1)).ilog2() / 2 + 1 }
    }

    /// The neighbours to merge next, given all sizes, oldest first.
    pub(crate) fn plan(&self, sizes: &[u64]) -> Option<Range<usize>> {
        let tiers: Vec<u32> = sizes.iter().map(|&size| self.tier(size)).collect();
        let mut wanted: Vec<u32> = tiers.clone();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.into_iter().find_map(|tier| self.plan_tier(sizes, &tiers, tier))
    }

    fn plan_tier(&self, sizes: &[u64], tiers: &[u32], tier: u32) -> Option<Range<usize>> {
        let mut from = 0;
        while from < tiers.len() {
            let len = tiers[from..].iter().take_while(|&&t| t <= tier).count();
            // What is smaller behind the last of the tier is left to grow.
            let end = tiers[from..from + len].iter().rposition(|&t| t == tier);
            let run = from..from + end.map_or(0, |end| end + 1);
            let exact = tiers[run.clone()].iter().filter(|&&t| t == tier).count();
            if exact >= self.width_min
                && let Some(plan) = self.fit(sizes, run)
            {
                return Some(plan);
            }
            from += len + 1;
        }
        None
    }

    /// The first part of a run that is wide enough within the limits.
    fn fit(&self, sizes: &[u64], run: Range<usize>) -> Option<Range<usize>> {
        for from in run.clone() {
            let mut total = 0;
            let mut to = from;
            while to < run.end && to - from < self.width_max && total + sizes[to] <= self.total_max
            {
                total += sizes[to];
                to += 1;
            }
            // Near the limit fewer than `width_min` fit, and then half of the limit is enough.
            let full = to - from >= 2 && total > self.total_max / 2;
            if to - from >= self.width_min || full {
                return Some(from..to);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIERING: Tiering =
        Tiering { tier_base: 10, width_min: 4, width_max: 8, total_max: 10_000 };

    fn check(sizes: &[u64], expected: Option<Range<usize>>) {
        assert_eq!(TIERING.plan(sizes), expected, "{sizes:?}");
    }

    #[test]
    fn plans() {
        check(&[], None);
        check(&[5, 5, 5], None);
        check(&[5, 5, 5, 5], Some(0..4));
        check(&[900, 5, 5, 5, 5], Some(1..5));
        check(&[900, 5, 900, 5, 900, 5], None);
        check(&[900, 5, 900, 5, 900, 5, 900], Some(0..7));
        check(&[6_000, 6_000, 6_000, 6_000], None);
        check(&[3_000, 3_000, 3_000, 3_000], Some(0..3));
        check(&[1; 20], Some(0..8));
    }

    #[test]
    fn the_number_stays_logarithmic_and_rows_are_rewritten_once_per_tier() {
        let tiering = Tiering { total_max: u64::MAX, ..TIERING };
        let (mut sizes, mut rewritten) = (Vec::new(), 0u64);
        for size in std::iter::repeat_n(10, 100_000) {
            sizes.push(size);
            while let Some(run) = tiering.plan(&sizes) {
                let total: u64 = sizes[run.clone()].iter().sum();
                rewritten += total;
                sizes.splice(run, [total]);
            }
        }
        assert!(sizes.len() <= 40, "{} batches", sizes.len());
        assert!(rewritten <= 1_000_000 * 10, "{rewritten}");
    }
}
