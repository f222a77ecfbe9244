//! The values of many groups at once: what a batch query collects before it asks for a percentile.
//!
//! ```text
//!   batches ──add──▶ kept as they come ──take──▶ put in order of their groups, once
//!                       └─ more than `values_max` ──▶ per group: a digest
//! ```
//!
//! While the values fit they are kept, and answers are exact. Selecting one value among many is several times
//! faster than keeping a digest of them sorted, so this is the fast way as well as the exact one.

use arrow::array::Float64Array;
use datasketches::tdigest::TDigestMut;

use super::{DIGEST_K, RAW_MAX, read_digest};
use crate::error::StateError;

/// The values of some groups, in order of the groups.
#[derive(Debug, Default)]
pub struct Collected {
    /// Where each group starts in `values`; one more than there are groups.
    offsets: Vec<usize>,
    values: Vec<f64>,
    digests: Vec<Option<Box<TDigestMut>>>,
}

impl Collected {
    /// How many values each group has beside its digest.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.offsets.windows(2).map(|ends| ends[1] - ends[0])
    }

    /// The digest of each group, to be handed to [`Collector::add_group`] elsewhere.
    pub fn digests(&mut self) -> impl Iterator<Item = Option<Vec<u8>>> {
        self.digests.iter_mut().map(|digest| digest.as_mut().map(|digest| digest.serialize()))
    }

    /// The values of all groups, one group after the other.
    #[must_use]
    pub fn into_values(self) -> Vec<f64> {
        self.values
    }

    /// The value of each group at `rank` (`0 ..= 1`): `percentile_cont` of the values, or what the
    /// digest says.
    pub fn percentiles(&mut self, rank: f64) -> impl Iterator<Item = Option<f64>> {
        let values = &mut self.values;
        self.offsets.windows(2).zip(&mut self.digests).map(move |(ends, digest)| {
            let own = &mut values[ends[0]..ends[1]];
            match digest {
                Some(digest) => {
                    settle(digest, own);
                    digest.quantile(rank).ok().flatten()
                }
                None => select(own, rank),
            }
        })
    }
}

/// Adds values to a digest.
fn settle(digest: &mut TDigestMut, values: &mut [f64]) {
    // In order, the digest has little left to sort.
    values.sort_unstable_by(f64::total_cmp);
    values.iter().filter(|v| v.is_finite()).for_each(|&v| digest.update(v));
}

/// Values as they came.
#[derive(Debug)]
enum Piece {
    /// Each with its group.
    Rows(Float64Array, Vec<u32>),
    /// All of one group.
    Group(Float64Array, u32),
}

/// The values of all groups. Values that were added are shared, not copied.
#[derive(Debug)]
pub struct Collector {
    pieces: Vec<Piece>,
    /// How many values in `pieces` each group has.
    counts: Vec<usize>,
    digests: Vec<Option<Box<TDigestMut>>>,
    /// Values in `pieces`.
    held: usize,
    /// How many may be held; beyond that groups become digests.
    values_max: usize,
}

impl Collector {
    /// Holds up to `values_max` values before it makes digests of them; a digest leaves out NaN and
    /// infinities.
    #[must_use]
    pub fn new(values_max: usize) -> Self {
        let (pieces, counts, digests) = (Vec::new(), Vec::new(), Vec::new());
        Self { pieces, counts, digests, held: 0, values_max }
    }

    /// Makes room for the groups `0 .. count`.
    pub fn grow(&mut self, count: usize) {
        if count > self.counts.len() {
            self.counts.resize(count, 0);
            self.digests.resize_with(count, || None);
        }
    }

    /// Adds values, each to its group. Nulls are not looked at.
    ///
    /// # Panics
    /// When lengths differ or there is no such group: a caller's mistake.
    pub fn add_rows(&mut self, values: Float64Array, groups: Vec<u32>) {
        assert_eq!(values.len(), groups.len(), "percentile: one group per row");
        groups.iter().for_each(|&group| self.counts[group as usize] += 1);
        self.held += values.len();
        if !values.is_empty() {
            self.pieces.push(Piece::Rows(values, groups));
        }
    }

    /// Adds values to one group, and the digest of more of them.
    ///
    /// # Panics
    /// When there is no such group: a caller's mistake.
    pub fn add_group(
        &mut self,
        group: u32,
        values: Float64Array,
        digest: Option<&[u8]>,
    ) -> Result<(), StateError> {
        self.counts[group as usize] += values.len();
        self.held += values.len();
        if !values.is_empty() {
            self.pieces.push(Piece::Group(values, group));
        }
        if let Some(bytes) = digest {
            let theirs = read_digest(bytes)?;
            match &mut self.digests[group as usize] {
                Some(mine) => mine.merge(&theirs),
                none => *none = Some(Box::new(theirs)),
            }
        }
        Ok(())
    }

    /// Makes digests when there are too many values. To be called after a batch.
    #[expect(clippy::cast_possible_truncation, reason = "groups are numbered with 32 bits")]
    pub fn bound(&mut self) {
        if self.held <= self.values_max {
            return;
        }
        let mut all = self.take(self.counts.len());
        self.grow(all.digests.len());
        for group in 0..all.digests.len() {
            let own = &mut all.values[all.offsets[group]..all.offsets[group + 1]];
            let mut digest = all.digests[group].take();
            if own.len() > RAW_MAX || digest.is_some() {
                let digest = digest.get_or_insert_with(|| {
                    Box::new(TDigestMut::new(DIGEST_K).expect("the size is a legal one"))
                });
                settle(digest, own);
            } else {
                self.add_rows(own.to_vec().into(), vec![group as u32; own.len()]);
            }
            self.digests[group] = digest;
        }
        // Many small groups: they stay as they are, and are looked at again when they have doubled.
        self.values_max = self.values_max.max(2 * self.held);
    }

    /// The values in order of their groups.
    fn in_order(&self) -> (Vec<usize>, Vec<f64>) {
        let mut offsets = Vec::with_capacity(self.counts.len() + 1);
        let mut total = 0;
        offsets.push(0);
        for &count in &self.counts {
            total += count;
            offsets.push(total);
        }
        let mut next = offsets.clone();
        let mut values = vec![0.0; total];
        for piece in &self.pieces {
            match piece {
                Piece::Rows(own, groups) => {
                    for (&value, &group) in own.values().iter().zip(groups) {
                        let slot = &mut next[group as usize];
                        values[*slot] = value;
                        *slot += 1;
                    }
                }
                Piece::Group(own, group) => {
                    let slot = &mut next[*group as usize];
                    values[*slot..*slot + own.len()].copy_from_slice(own.values());
                    *slot += own.len();
                }
            }
        }
        (offsets, values)
    }

    /// Takes out the first `count` groups; those behind them are numbered from 0 then.
    #[expect(clippy::cast_possible_truncation, reason = "groups are numbered with 32 bits")]
    pub fn take(&mut self, count: usize) -> Collected {
        let (mut offsets, mut values) = self.in_order();
        let rest_digests = self.digests.split_off(count);
        let digests = std::mem::replace(&mut self.digests, rest_digests);
        self.pieces.clear();
        self.counts.clear();
        self.counts.resize(self.digests.len(), 0);
        self.held = 0;
        let rest = values.split_off(offsets[count]);
        let mut groups = Vec::with_capacity(rest.len());
        for (group, ends) in offsets[count..].windows(2).enumerate() {
            groups.resize(groups.len() + ends[1] - ends[0], group as u32);
        }
        self.add_rows(rest.into(), groups);
        offsets.truncate(count + 1);
        Collected { offsets, values, digests }
    }

    /// The value of the only group at `rank`; more values may come afterwards.
    pub fn percentile(&mut self, rank: f64) -> Option<f64> {
        self.grow(1);
        let mut all = self.take(1);
        let value = all.percentiles(rank).next().flatten();
        self.grow(1);
        match all.digests.pop().flatten() {
            // The values are in it now.
            Some(digest) => self.digests[0] = Some(digest),
            None => {
                let groups = vec![0; all.values.len()];
                self.add_rows(all.values.into(), groups);
            }
        }
        value
    }

    /// From now on, holds fewer values.
    pub fn limit(&mut self, values_max: usize) {
        self.values_max = self.values_max.min(values_max);
        self.bound();
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.counts.len()
    }

    /// About how many bytes are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.counts.capacity() * 16 + self.held * 12
    }
}

/// The value at `rank`, interpolated between its neighbours as PostgreSQL's `percentile_cont` does.
/// Leaves the values in another order.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is between 0 and 1, and memory holds fewer than 2^52 values"
)]
pub fn select(values: &mut [f64], rank: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&rank) {
        return None;
    }
    let at = rank * values.len().checked_sub(1)? as f64;
    let (_, &mut below, rest) = values.select_nth_unstable_by(at.floor() as usize, f64::total_cmp);
    let part = at.fract();
    if part == 0.0 {
        return Some(below);
    }
    let above = rest.iter().copied().min_by(f64::total_cmp)?;
    Some(below + (above - below) * part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::random::Random;

    /// The slow way: everything sorted.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a short list"
    )]
    fn sorted_value(values: &[f64], rank: f64) -> Option<f64> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = rank * values.len().checked_sub(1)? as f64;
        let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
        Some(if at.fract() == 0.0 { below } else { below + (above - below) * at.fract() })
    }

    #[test]
    fn selecting_is_sorting() {
        let mut random = Random::new(5);
        for n in 0..200 {
            let values: Vec<f64> = (0..n)
                .map(|_| match random.below(20) {
                    0 => -0.0,
                    1 => f64::INFINITY,
                    2 => f64::NAN,
                    3..8 => f64::from(u32::try_from(random.below(5)).unwrap()),
                    _ => random.unit() * 100.0 - 50.0,
                })
                .collect();
            for rank in [0.0, 0.1, 0.5, 0.95, 1.0, random.unit()] {
                let found = select(&mut values.clone(), rank).map(f64::to_bits);
                assert_eq!(found, sorted_value(&values, rank).map(f64::to_bits), "{n} {rank}");
            }
            assert_eq!(select(&mut values.clone(), 1.5), None);
        }
    }

    /// Groups that come in pieces and go in pieces, against lists of lists.
    #[test]
    fn pieces_come_out_by_group() {
        let mut random = Random::new(7);
        for _ in 0..50 {
            let mut collector = Collector::new(usize::MAX);
            let mut lists: Vec<Vec<f64>> = Vec::new();
            for _ in 0..random.below(12) {
                let count = lists.len() + usize::try_from(random.below(4)).unwrap() + 1;
                lists.resize(count, Vec::new());
                collector.grow(count);
                let mut group = || u32::try_from(random.below(count as u64)).unwrap();
                if group() == 0 && count > 2 {
                    let n = group() as usize;
                    let taken = collector.take(n);
                    let expected: Vec<f64> = lists.drain(..n).flatten().collect();
                    assert_eq!(taken.into_values(), expected);
                    assert_eq!(collector.groups(), lists.len());
                    continue;
                }
                let groups: Vec<u32> = (0..20).map(|_| group()).collect();
                let values: Vec<f64> = (0..20).map(f64::from).collect();
                groups.iter().zip(&values).for_each(|(&g, &v)| lists[g as usize].push(v));
                collector.add_rows(values.into(), groups);
                let one = group();
                lists[one as usize].extend([0.5, 1.5]);
                collector.add_group(one, vec![0.5, 1.5].into(), None).unwrap();
            }
            let mut all = collector.take(lists.len());
            assert!(all.lengths().eq(lists.iter().map(Vec::len)));
            let found: Vec<_> = all.percentiles(0.3).collect();
            let expected: Vec<_> = lists.iter().map(|own| sorted_value(own, 0.3)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn too_many_values_become_digests_and_small_groups_do_not() {
        let mut random = Random::new(6);
        let mut collector = Collector::new(10_000);
        collector.grow(3);
        let mut all = vec![Vec::new(); 3];
        for _ in 0..120 {
            let values: Vec<f64> = (0..500).map(|_| (random.unit() * 9.0).exp()).collect();
            let groups: Vec<u32> = (0..500).map(|i| u32::from(i == 0)).collect();
            groups.iter().zip(&values).for_each(|(&g, &v)| all[g as usize].push(v));
            collector.add_rows(values.into(), groups);
            collector.bound();
        }
        assert!(collector.bytes() < 11_000 * 12, "{}", collector.bytes());
        // Over to another one, as between the steps of a query.
        let mut state = collector.take(3);
        let digests: Vec<_> = state.digests().collect();
        assert!(digests[0].is_some() && digests[1].is_none() && digests[2].is_none());
        let lengths: Vec<usize> = state.lengths().collect();
        let values = Float64Array::from(state.into_values());
        let mut last = Collector::new(10_000);
        last.grow(3);
        let mut at = 0;
        for (group, (digest, len)) in digests.iter().zip(lengths).enumerate() {
            let group = u32::try_from(group).unwrap();
            last.add_group(group, values.slice(at, len), digest.as_deref()).unwrap();
            at += len;
        }
        all[0].sort_by(f64::total_cmp);
        let mut last = last.take(3);
        for rank in [0.01, 0.5, 0.95, 0.999] {
            let found: Vec<_> = last.percentiles(rank).collect();
            let below = all[0].partition_point(|&v| v < found[0].unwrap()) as f64;
            assert!((below / all[0].len() as f64 - rank).abs() < 0.01, "{rank}: {below}");
            assert_eq!(found[1], sorted_value(&all[1], rank));
            assert_eq!(found[2], None);
        }
    }
}
