//! Percentiles: the values themselves while they are few, a t-digest when they are many.
//!
//! ```text
//!   raw:    up to 128 values, sorted                     exact, and the same in any order
//!   digest: t-digest, about 200 weighted means           within 1 % of rank, far less at the ends
//! ```
//!
//! The digest is the one of Apache DataSketches (T. Dunning, O. Ertl, "Computing extremely
//! accurate quantiles using t-digests", 2019; scale function K₂, k = 200), in its portable format.
//! A raw state answers by linear interpolation, as `percentile_cont` does.
//!
//! What depends on the order of merging: a digest's means, slightly. Over a million values the rank
//! of an answer moved by 0.3 % between orders and was 0.4 % off at most; the tests hold 0.5 %
//! and 1 %. The count, the least and the greatest value never depend on the order.
//!
//! NaN and infinities are left out. Limits: a state is at most 6.5 KiB (4 KiB as a rule); values cannot be
//! taken back.

mod collect;

use arrow::array::{Array, BinaryArray, BinaryBuilder, Float64Array};
use datasketches::tdigest::TDigestMut;

use crate::error::StateError;
use crate::group::ByGroup;

pub use collect::{Collected, Collector, select};

/// The digest's size: it keeps about this many means.
const DIGEST_K: u16 = 200;
/// Up to here the values themselves are no larger than their digest.
const RAW_MAX: usize = 128;

/// The most values of a stored digest: far more than ever come (a million a second for 285 years), and far fewer
/// than make the digest's own count overflow.
const WEIGHT_MAX: u64 = 1 << 53;

const RAW: u8 = 1;
const DIGEST: u8 = 2;

fn damaged(reason: impl Into<String>) -> StateError {
    StateError { function: "approx_percentile", reason: reason.into() }
}

#[derive(Clone, Debug)]
enum Form {
    /// In ascending order once `Percentiles::sort` was called.
    Raw(Vec<f64>),
    Digest(Box<TDigestMut>),
}

/// A collection of values that can be asked for its percentiles.
#[derive(Clone, Debug)]
pub struct Percentiles {
    form: Form,
}

impl Default for Percentiles {
    fn default() -> Self {
        Self::new()
    }
}

impl Percentiles {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self { form: Form::Raw(Vec::new()) }
    }

    /// Adds a value; NaN and infinities are left out.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        match &mut self.form {
            Form::Raw(values) => {
                // −0 and 0 are one value; which came first must not show.
                values.push(value + 0.0);
                if values.len() > RAW_MAX {
                    self.digest_mut();
                }
            }
            Form::Digest(digest) => digest.update(value),
        }
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        match &other.form {
            Form::Raw(values) => values.iter().for_each(|&v| self.add(v)),
            Form::Digest(digest) => self.digest_mut().merge(digest),
        }
    }

    /// The value below which the fraction `rank` (`0 ..= 1`) of the values lies; nothing when there
    /// are none, or when `rank` is no fraction.
    #[must_use]
    pub fn value(&mut self, rank: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&rank) {
            return None;
        }
        match &mut self.form {
            Form::Raw(values) => {
                sort(values);
                interpolate(values, rank)
            }
            Form::Digest(digest) => digest.quantile(rank).ok().flatten(),
        }
    }

    /// The state to store.
    #[must_use]
    pub fn to_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &mut self.form {
            Form::Raw(values) => {
                sort(values);
                write_raw(values, &mut bytes);
            }
            Form::Digest(digest) => write_digest(digest, &mut bytes),
        }
        bytes
    }

    /// Reads a stored state.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let form = match Stored::parse(bytes)? {
            Stored::Raw(values) => Form::Raw(values.iter().map(read_value).collect()),
            Stored::Digest(bytes) => Form::Digest(Box::new(read_digest(bytes)?)),
        };
        Ok(Self { form })
    }

    fn digest_mut(&mut self) -> &mut TDigestMut {
        if let Form::Raw(values) = &mut self.form {
            sort(values);
            self.form = Form::Digest(Box::new(to_digest(values)));
        }
        match &mut self.form {
            Form::Digest(digest) => digest,
            Form::Raw(_) => unreachable!("made a digest above"),
        }
    }
}

fn sort(values: &mut [f64]) {
    values.sort_unstable_by(f64::total_cmp);
}

fn to_digest(values: &[f64]) -> TDigestMut {
    let mut digest = TDigestMut::new(DIGEST_K).expect("the size is a legal one");
    values.iter().for_each(|&v| digest.update(v));
    digest
}

/// `percentile_cont` of sorted values.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 128 values"
)]
fn interpolate(values: &[f64], rank: f64) -> Option<f64> {
    let at = rank * (values.len().checked_sub(1)?) as f64;
    let below = values[at.floor() as usize];
    let above = values[at.ceil() as usize];
    // Two products, because the difference of two finite values need not be finite.
    let part = at.fract();
    Some(if part == 0.0 { below } else { below * (1.0 - part) + above * part })
}

/// A stored state, looked at where it lies. No bytes at all are no values.
enum Stored<'a> {
    Raw(&'a [[u8; 8]]),
    Digest(&'a [u8]),
}

impl<'a> Stored<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, StateError> {
        let Some((&kind, payload)) = bytes.split_first() else { return Ok(Self::Raw(&[])) };
        match kind {
            RAW => {
                let (values, rest) = payload.as_chunks::<8>();
                let sorted = values.windows(2).all(|w| read_value(&w[0]) <= read_value(&w[1]));
                let finite = values.iter().all(|v| read_value(v).is_finite());
                if rest.is_empty() && values.len() <= RAW_MAX && sorted && finite {
                    Ok(Self::Raw(values))
                } else {
                    Err(damaged(format!("{} bytes of sorted values expected", payload.len())))
                }
            }
            DIGEST => Ok(Self::Digest(payload)),
            other => Err(damaged(format!("unknown form {other}"))),
        }
    }
}

fn read_value(value: &[u8; 8]) -> f64 {
    f64::from_le_bytes(*value)
}

fn read_digest(bytes: &[u8]) -> Result<TDigestMut, StateError> {
    // The library also reads a format that begins with 0, and takes as much memory as that says.
    let size = bytes.get(3..5).map(|k| u16::from_le_bytes([k[0], k[1]]));
    if bytes.starts_with(&[0]) || size != Some(DIGEST_K) {
        return Err(damaged(format!("a digest of size {DIGEST_K} expected")));
    }
    let digest = TDigestMut::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
    check_weight(digest.total_weight())?;
    Ok(digest)
}

fn check_weight(values: u64) -> Result<(), StateError> {
    if values <= WEIGHT_MAX {
        return Ok(());
    }
    Err(damaged(format!("a digest of {values} values; the most is {WEIGHT_MAX}")))
}

fn write_raw(values: &[f64], out: &mut Vec<u8>) {
    out.push(RAW);
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
}

fn write_digest(digest: &mut TDigestMut, out: &mut Vec<u8>) {
    out.push(DIGEST);
    out.extend_from_slice(&digest.serialize());
}

/// Writes the state of sorted values in the form that their number asks for.
fn write(values: &[f64], out: &mut Vec<u8>) {
    if values.len() > RAW_MAX {
        write_digest(&mut to_digest(values), out);
    } else {
        write_raw(values, out);
    }
}

/// One state per group from the values; nulls are left out.
///
/// # Panics
/// When lengths differ or a group is not below `group_count`: a caller's mistake.
#[must_use]
pub fn build(values: &Float64Array, groups: &[u32], group_count: usize) -> BinaryArray {
    assert_eq!(values.len(), groups.len(), "approx_percentile: one group per row");
    let by_group = ByGroup::new(groups, group_count, |row| {
        values.is_valid(row) && values.value(row).is_finite()
    });
    let mut states = BinaryBuilder::with_capacity(group_count, values.len() * 8 + group_count);
    let (mut own, mut bytes) = (Vec::new(), Vec::new());
    for rows in by_group.iter() {
        own.clear();
        own.extend(rows.iter().map(|&row| values.value(row as usize) + 0.0));
        sort(&mut own);
        bytes.clear();
        write(&own, &mut bytes);
        states.append_value(&bytes);
    }
    states.finish()
}

/// One state per group from stored states; a null state has no values.
///
/// # Panics
/// When lengths differ or a group is not below `group_count`: a caller's mistake.
pub fn merge(
    stored: &BinaryArray,
    groups: &[u32],
    group_count: usize,
) -> Result<BinaryArray, StateError> {
    assert_eq!(stored.len(), groups.len(), "approx_percentile: one group per state");
    let by_group = ByGroup::new(groups, group_count, |row| stored.is_valid(row));
    let mut states = BinaryBuilder::with_capacity(group_count, stored.value_data().len());
    let (mut values, mut bytes) = (Vec::new(), Vec::new());
    for rows in by_group.iter() {
        if let &[only] = rows {
            states.append_value(stored.value(only as usize));
            continue;
        }
        values.clear();
        let mut digest: Option<TDigestMut> = None;
        for &row in rows {
            match Stored::parse(stored.value(row as usize))? {
                Stored::Raw(more) => values.extend(more.iter().map(read_value)),
                Stored::Digest(bytes) => {
                    let theirs = read_digest(bytes)?;
                    match &mut digest {
                        Some(mine) => {
                            check_weight(mine.total_weight() + theirs.total_weight())?;
                            mine.merge(&theirs);
                        }
                        None => digest = Some(theirs),
                    }
                }
            }
        }
        sort(&mut values);
        bytes.clear();
        match digest {
            None => write(&values, &mut bytes),
            Some(mut digest) => {
                values.iter().for_each(|&v| digest.update(v));
                write_digest(&mut digest, &mut bytes);
            }
        }
        states.append_value(&bytes);
    }
    Ok(states.finish())
}

/// The value at `rank` of each stored state; null for a null state and for one without values.
pub fn finish(stored: &BinaryArray, rank: f64) -> Result<Float64Array, StateError> {
    if !(0.0..=1.0).contains(&rank) {
        return Err(damaged(format!("{rank} is not a fraction between 0 and 1")));
    }
    let mut values = Vec::with_capacity(stored.len());
    let mut own = Vec::new();
    for row in 0..stored.len() {
        values.push(if stored.is_null(row) {
            None
        } else {
            match Stored::parse(stored.value(row))? {
                Stored::Raw(raw) => {
                    own.clear();
                    own.extend(raw.iter().map(read_value));
                    interpolate(&own, rank)
                }
                Stored::Digest(bytes) => read_digest(bytes)?.quantile(rank).ok().flatten(),
            }
        });
    }
    Ok(values.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::random::Random;

    /// How far the rank of `found` is from `rank` in sorted values.
    fn rank_error(sorted: &[f64], found: f64, rank: f64) -> f64 {
        let below = sorted.partition_point(|&v| v < found) as f64;
        let upto = sorted.partition_point(|&v| v <= found) as f64;
        let n = sorted.len() as f64;
        let at = rank * n;
        (below - at).max(at - upto).max(0.0) / n
    }

    #[test]
    fn few_values_are_exact_in_any_order() {
        let mut a = Percentiles::new();
        let mut b = Percentiles::new();
        for v in 1..=100 {
            if v % 3 == 0 { a.add(f64::from(v)) } else { b.add(f64::from(101 - v)) }
        }
        b.add(f64::NAN);
        b.add(f64::INFINITY);
        let mut ab = a.clone();
        ab.merge(&b);
        b.merge(&a);
        assert_eq!(ab.to_bytes(), b.to_bytes());
        let mut four = Percentiles::new();
        [4.0, 1.0, 3.0, 2.0].into_iter().for_each(|v| four.add(v));
        let answers: Vec<_> = [0.0, 0.25, 0.5, 1.0].map(|r| four.value(r)).into();
        assert_eq!(answers, vec![Some(1.0), Some(1.75), Some(2.5), Some(4.0)]);
        assert_eq!(four.value(1.5), None);
        assert_eq!(Percentiles::new().value(0.5), None);
    }

    #[test]
    fn many_values_stay_within_the_stated_error() {
        for seed in 0..3 {
            let mut random = Random::new(seed);
            // Long-tailed, like prices.
            let mut values: Vec<f64> =
                (0..1_000_000).map(|_| (random.unit() * 12.0).exp().round()).collect();
            let parts = 200;
            let groups: Vec<u32> =
                (0..values.len()).map(|i| u32::try_from(i % parts).unwrap()).collect();
            let states = build(&values.clone().into(), &groups, parts);
            let one = |rows: Vec<usize>| {
                let stored = BinaryArray::from_iter_values(rows.iter().map(|&r| states.value(r)));
                merge(&stored, &vec![0; parts], 1).unwrap()
            };
            let forth = one((0..parts).collect());
            let back = one((0..parts).rev().collect());
            // Pairwise, as a tree merges.
            let mut level: BinaryArray = states.clone();
            while level.len() > 1 {
                let pairs: Vec<u32> =
                    (0..level.len()).map(|i| u32::try_from(i / 2).unwrap()).collect();
                level = merge(&level, &pairs, level.len().div_ceil(2)).unwrap();
            }
            values.sort_unstable_by(f64::total_cmp);
            for rank in [0.0, 0.001, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0] {
                let answers = [&forth, &back, &level].map(|s| finish(s, rank).unwrap().value(0));
                for answer in answers {
                    let error = rank_error(&values, answer, rank);
                    assert!(error < 0.01, "seed {seed} rank {rank}: {answer} is off by {error}");
                    let apart = rank_error(&values, answer, rank_of(&values, answers[0]));
                    assert!(apart < 0.005, "seed {seed} rank {rank}: {apart} apart by order");
                }
            }
            assert!(forth.value(0).len() < 6656, "{}", forth.value(0).len());
        }
    }

    fn rank_of(sorted: &[f64], value: f64) -> f64 {
        sorted.partition_point(|&v| v < value) as f64 / sorted.len() as f64
    }

    #[test]
    fn columns_agree_with_their_scalar_twins() {
        let mut random = Random::new(11);
        let values: Float64Array =
            (0..4000).map(|_| (random.below(10) > 0).then(|| random.unit() * 100.0)).collect();
        let groups: Vec<u32> = (0..4000).map(|i| if i % 50 == 0 { 1 } else { 0 }).collect();
        let states = build(&values, &groups, 3);
        let mut few = Percentiles::new();
        for row in (0..4000).step_by(50) {
            if values.is_valid(row) {
                few.add(values.value(row));
            }
        }
        assert_eq!(states.value(1), few.to_bytes());
        let shown = finish(&states, 0.9).unwrap();
        assert_eq!(Some(shown.value(1)), few.value(0.9));
        let mut many = Percentiles::from_bytes(states.value(0)).unwrap();
        assert_eq!(Some(shown.value(0)), many.value(0.9));
        assert!(shown.is_null(2));
        let merged = merge(&states, &[0, 0, 1], 2).unwrap();
        many.merge(&few);
        assert_eq!(finish(&merged, 0.5).unwrap().value(0), many.value(0.5).unwrap());
    }

    #[test]
    fn refuses_damaged_states() {
        for bytes in [&[9u8][..], &[RAW, 1], &[DIGEST], &[DIGEST, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(Percentiles::from_bytes(bytes).is_err(), "{bytes:?}");
        }
        let mut larger = Percentiles::from_bytes(&[RAW]).unwrap();
        (0..1000).for_each(|n| larger.add(f64::from(n)));
        let mut larger = larger.to_bytes();
        larger[4] = 201;
        assert!(Percentiles::from_bytes(&larger).is_err());
        // Its first mean stands for more values than can be.
        let mut heavy = larger;
        heavy[4..6].copy_from_slice(&DIGEST_K.to_le_bytes());
        assert!(Percentiles::from_bytes(&heavy).is_ok());
        heavy[41..49].copy_from_slice(&WEIGHT_MAX.to_le_bytes());
        assert!(Percentiles::from_bytes(&heavy).is_err());
        // The other format that the library reads: 2^32 - 1 means are to follow.
        let mut other = vec![DIGEST, 0, 0, 0, 1];
        [0.0, 1.0, 200.0_f64].iter().for_each(|number| other.extend(number.to_be_bytes()));
        other.extend([255; 4]);
        assert!(Percentiles::from_bytes(&other).is_err());
        assert!(finish(&BinaryArray::from_iter_values([[RAW]]), 1.5).is_err());
    }
}
