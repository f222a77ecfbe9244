//! Sums of floats in which neither the order of adding nor taking back shows.
//!
//! A sum is kept as `high + low`, an unevaluated pair of doubles of 106 bits together (T. J.
//! Dekker 1971; the additions are algorithms 4 and 6 of Joldes, Muller, Popescu, "Tight and
//! rigorous error bounds for basic building blocks of double-word arithmetic", TOMS 44, 2017,
//! relative error at most 2u² and 3u² with u = 2⁻⁵³).
//!
//! What holds: when every addend is a multiple of 2⁻ᵏ and no partial sum reaches 2¹⁰³⁻ᵏ, **all
//! additions are exact**, so any order gives the same pair and taking back leaves exactly zero.
//! Prices from 0.01 up have k = 59: exact up to 1.7·10¹³. Beyond that the error is 10⁻³¹ of the largest
//! partial sum.
//!
//! NaN and the infinities are counted beside the pair, so that they too can be taken back.
//!
//! Limits: finite values whose sum exceeds the range of a double become an infinity for good;
//! 2⁴¹ (2·10¹²) of each special value per group.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use arrow::error::ArrowError;

/// The columns of a stored sum: name and type, none of them null.
pub const STATE_COLUMNS: [(&str, DataType); 3] = [
    ("high", DataType::Float64),
    ("low", DataType::Float64),
    ("specials", DataType::Decimal128(38, 0)),
];

const FIELD_BITS: u32 = 42;
const NAN: i128 = 1;
const POSITIVE: i128 = 1 << FIELD_BITS;
const NEGATIVE: i128 = 1 << (2 * FIELD_BITS);

/// One sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FloatSum {
    /// The sum of the finite values, rounded to a double.
    pub high: f64,
    /// What the rounding of `high` left out.
    pub low: f64,
    /// Three counts: NaN + 2⁴²·(+∞) + 2⁸⁴·(−∞). Adding two such numbers adds the counts.
    pub specials: i128,
}

impl FloatSum {
    /// The sum of nothing.
    pub const ZERO: Self = Self { high: 0.0, low: 0.0, specials: 0 };

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.add_finite(value);
        } else {
            self.specials += special(value);
        }
    }

    /// Takes a value back.
    #[inline]
    pub fn subtract(&mut self, value: f64) {
        if value.is_finite() {
            self.add_finite(-value);
        } else {
            self.specials -= special(value);
        }
    }

    /// Adds a value `diff` times; negative: takes it back.
    #[inline]
    pub fn add_times(&mut self, value: f64, diff: i64) {
        match diff {
            1 => self.add(value),
            -1 => self.subtract(value),
            _ if value.is_finite() => {
                let (high, low) = two_product(value, diff);
                self.add_pair(high, low);
            }
            _ => self.specials += special(value) * i128::from(diff),
        }
    }

    /// Adds another sum.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        self.add_pair(other.high, other.low);
        self.specials += other.specials;
    }

    /// The sum as SQL shows it: NaN when there is one, or both infinities; an infinity when there
    /// is one; else the finite sum.
    #[must_use]
    #[inline]
    pub fn value(&self) -> f64 {
        if self.specials == 0 {
            return self.high;
        }
        let (nan, positive, negative) = self.counts();
        if nan != 0 || (positive != 0 && negative != 0) {
            f64::NAN
        } else if positive != 0 {
            f64::INFINITY
        } else if negative != 0 {
            f64::NEG_INFINITY
        } else {
            self.high
        }
    }

    /// How many NaN, +∞ and −∞ are in the sum.
    #[must_use]
    pub fn counts(&self) -> (i64, i64, i64) {
        let (nan, rest) = split(self.specials);
        let (positive, rest) = split(rest);
        let (negative, _) = split(rest);
        (nan, positive, negative)
    }

    /// Whether everything that was added has been taken back.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.high == 0.0 && self.low == 0.0 && self.specials == 0
    }

    #[inline]
    fn add_finite(&mut self, value: f64) {
        let (sum, error) = two_sum(self.high, value);
        let (high, low) = quick_two_sum(sum, self.low + error);
        self.settle(sum, high, low);
    }

    #[inline]
    fn add_pair(&mut self, high: f64, low: f64) {
        let (sum, error) = two_sum(self.high, high);
        let (low_sum, low_error) = two_sum(self.low, low);
        let (high, rest) = quick_two_sum(sum, error + low_sum);
        let (high, low) = quick_two_sum(high, low_error + rest);
        self.settle(sum, high, low);
    }

    /// An overflow makes the error terms NaN; `sum` itself is still the infinity to show.
    #[inline]
    fn settle(&mut self, sum: f64, high: f64, low: f64) {
        let finite = high.is_finite() && low.is_finite();
        self.high = if finite { high } else { sum };
        self.low = if finite { low } else { 0.0 };
    }
}

/// What a value that is not finite adds to `specials`.
#[cold]
fn special(value: f64) -> i128 {
    if value.is_nan() {
        NAN
    } else if value > 0.0 {
        POSITIVE
    } else {
        NEGATIVE
    }
}

/// Takes the lowest signed field off.
fn split(packed: i128) -> (i64, i128) {
    let up = 128 - FIELD_BITS;
    let field = (packed << up) >> up;
    let narrow = i64::try_from(field).expect("a field of 42 bits fits");
    (narrow, (packed - field) >> FIELD_BITS)
}

/// `a + b` as a double and its rounding error (Knuth).
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let a_part = sum - b_part;
    (sum, (a - a_part) + (b - b_part))
}

/// As [`two_sum`] for |a| ≥ |b| (Dekker).
#[inline]
fn quick_two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    (sum, b - (sum - a))
}

/// `value · times` as a pair: exact up to 2⁵³ times, and no multiplicity comes near.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn two_product(value: f64, times: i64) -> (f64, f64) {
    let times = times as f64;
    let product = value * times;
    (product, value.mul_add(times, -product))
}

/// One sum per group, as columns.
#[derive(Clone, Debug, Default)]
pub struct FloatSums {
    sums: Vec<FloatSum>,
}

impl FloatSums {
    /// `group_count` empty sums.
    #[must_use]
    pub fn zeros(group_count: usize) -> Self {
        Self { sums: vec![FloatSum::ZERO; group_count] }
    }

    /// How many groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The sums.
    #[must_use]
    pub fn sums(&self) -> &[FloatSum] {
        &self.sums
    }

    /// More groups, empty.
    pub fn grow(&mut self, group_count: usize) {
        self.sums.resize(group_count.max(self.sums.len()), FloatSum::ZERO);
    }

    /// Adds each value to its row's group, as many times as its diff says (once without diffs).
    /// Nulls add nothing.
    ///
    /// # Panics
    /// When lengths differ or a group is not below [`FloatSums::len`]: a caller's mistake.
    pub fn add(&mut self, values: &Float64Array, diffs: Option<&Int64Array>, groups: &[u32]) {
        assert_eq!(values.len(), groups.len(), "sum: one group per row");
        let nulls = values.nulls().filter(|n| n.null_count() > 0);
        let numbers = values.values();
        match (diffs, nulls) {
            (None, None) => {
                for (&value, &group) in numbers.iter().zip(groups) {
                    self.sums[group as usize].add(value);
                }
            }
            (None, Some(nulls)) => {
                for row in nulls.valid_indices() {
                    self.sums[groups[row] as usize].add(numbers[row]);
                }
            }
            (Some(diffs), nulls) => {
                let diffs = &diffs.values()[..groups.len()];
                for row in 0..groups.len() {
                    if nulls.is_none_or(|n| n.is_valid(row)) {
                        self.sums[groups[row] as usize].add_times(numbers[row], diffs[row]);
                    }
                }
            }
        }
    }

    /// Adds stored sums (columns as in [`STATE_COLUMNS`]) to their rows' groups.
    pub fn merge(&mut self, columns: &[ArrayRef], groups: &[u32]) -> Result<(), ArrowError> {
        let (high, low, specials) = state_columns(columns)?;
        if high.len() != groups.len() {
            return Err(ArrowError::InvalidArgumentError("sum: one group per state".into()));
        }
        let rows = high.values().iter().zip(low.values()).zip(specials.values()).zip(groups);
        for (((&high, &low), &specials), &group) in rows {
            self.sums[group as usize].merge(&FloatSum { high, low, specials });
        }
        Ok(())
    }

    /// The columns to store: as in [`STATE_COLUMNS`].
    pub fn into_columns(self) -> Result<Vec<ArrayRef>, ArrowError> {
        let high: Float64Array = self.sums.iter().map(|s| s.high).collect::<Vec<_>>().into();
        let low: Float64Array = self.sums.iter().map(|s| s.low).collect::<Vec<_>>().into();
        let specials: Decimal128Array =
            self.sums.iter().map(|s| s.specials).collect::<Vec<_>>().into();
        let specials = specials.with_precision_and_scale(38, 0)?;
        Ok(vec![Arc::new(high), Arc::new(low), Arc::new(specials)])
    }
}

/// What SQL shows for stored sums (columns as in [`STATE_COLUMNS`]).
pub fn finish(columns: &[ArrayRef]) -> Result<Float64Array, ArrowError> {
    let (high, low, specials) = state_columns(columns)?;
    if specials.values().iter().all(|&s| s == 0) {
        return Ok(Float64Array::new(high.values().clone(), None));
    }
    let rows = high.values().iter().zip(low.values()).zip(specials.values());
    let values: Vec<f64> =
        rows.map(|((&high, &low), &specials)| FloatSum { high, low, specials }.value()).collect();
    Ok(values.into())
}

fn state_columns(
    columns: &[ArrayRef],
) -> Result<(&Float64Array, &Float64Array, &Decimal128Array), ArrowError> {
    let wrong = || ArrowError::InvalidArgumentError("sum: the state is three columns".into());
    let [high, low, specials] = columns else { return Err(wrong()) };
    Ok((
        high.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?,
        low.as_primitive_opt::<Float64Type>().ok_or_else(wrong)?,
        specials.as_primitive_opt::<Decimal128Type>().ok_or_else(wrong)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::random::Random;

    fn shuffle(values: &mut [f64], random: &mut Random) {
        for i in (1..values.len()).rev() {
            values.swap(i, usize::try_from(random.below(i as u64 + 1)).unwrap());
        }
    }

    #[test]
    fn order_does_not_show_and_taking_back_leaves_zero() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let mut values: Vec<f64> =
                (0..2000).map(|_| (random.below(100_000_000) as f64 - 4e7) / 100.0 * 1.1).collect();
            values.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY]);
            let mut first = FloatSum::ZERO;
            values.iter().for_each(|&v| first.add(v));
            shuffle(&mut values, &mut random);
            let mut parts = [FloatSum::ZERO; 3];
            values.iter().enumerate().for_each(|(i, &v)| parts[i % 3].add(v));
            let mut second = parts[2];
            second.merge(&parts[0]);
            second.merge(&parts[1]);
            assert_eq!(first, second, "seed {seed}");
            assert!(first.value().is_nan());
            assert_eq!(first.counts(), (1, 2, 1));
            shuffle(&mut values, &mut random);
            values.iter().for_each(|&v| second.subtract(v));
            assert!(second.is_zero(), "seed {seed}: {second:?}");
        }
    }

    #[test]
    fn keeps_what_a_double_loses() {
        let mut sum = FloatSum::ZERO;
        for value in [1e16, 1.0, -1e16, 0.1, 1e-20] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 1.1);
        sum.add_times(0.1, 3);
        sum.add_times(0.1, -4);
        sum.subtract(1.0);
        assert!((sum.value() - 1e-20).abs() < 1e-31, "{}", sum.value());
    }

    #[test]
    fn specials_come_and_go() {
        let mut sum = FloatSum::ZERO;
        sum.add(2.5);
        sum.add(f64::INFINITY);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add_times(f64::NEG_INFINITY, 3);
        assert!(sum.value().is_nan());
        sum.subtract(f64::INFINITY);
        assert_eq!(sum.value(), f64::NEG_INFINITY);
        sum.add_times(f64::NEG_INFINITY, -3);
        assert_eq!(sum.value(), 2.5);
        sum.subtract(f64::NAN);
        assert_eq!(sum.counts(), (-1, 0, 0));
        let mut other = FloatSum::ZERO;
        other.add_times(f64::INFINITY, -5);
        sum.merge(&other);
        assert_eq!(sum.counts(), (-1, -5, 0));
    }

    #[test]
    fn overflow_is_an_infinity_and_not_a_nan() {
        let mut sum = FloatSum::ZERO;
        for _ in 0..3 {
            sum.add(f64::MAX);
        }
        assert_eq!(sum.value(), f64::INFINITY);
        let mut other = FloatSum::ZERO;
        other.add(1.0);
        other.merge(&sum);
        assert_eq!(other.value(), f64::INFINITY);
        sum.add_times(-1.0, 7);
        assert_eq!(sum.value(), f64::INFINITY);
    }

    #[test]
    fn columns_agree_with_their_scalar_twins() {
        let mut random = Random::new(3);
        let rows = 5000;
        let values: Float64Array = (0..rows)
            .map(|_| match random.below(20) {
                0 => None,
                1 => Some(f64::INFINITY),
                _ => Some(random.unit() * 1e6 - 3e5),
            })
            .collect();
        let diffs: Int64Array = (0..rows)
            .map(|_| i64::try_from(random.below(5)).unwrap() - 2)
            .collect::<Vec<_>>()
            .into();
        let groups: Vec<u32> = (0..rows).map(|_| u32::try_from(random.below(7)).unwrap()).collect();
        for diffs in [None, Some(&diffs)] {
            let mut twins = [FloatSum::ZERO; 7];
            for row in 0..rows {
                if values.is_valid(row) {
                    let diff = diffs.map_or(1, |d| d.value(row));
                    twins[groups[row] as usize].add_times(values.value(row), diff);
                }
            }
            let mut sums = FloatSums::zeros(3);
            sums.grow(7);
            sums.add(&values, diffs, &groups);
            assert_eq!(sums.sums(), twins);
            let columns = sums.into_columns().unwrap();
            let mut merged = FloatSums::zeros(2);
            let halves = [0, 1, 0, 1, 0, 1, 0];
            merged.merge(&columns, &halves).unwrap();
            let mut twin = FloatSum::ZERO;
            twins.iter().step_by(2).for_each(|t| twin.merge(t));
            assert_eq!(merged.sums()[0], twin);
            let shown = finish(&columns).unwrap();
            for (group, twin) in twins.iter().enumerate() {
                assert_eq!(shown.value(group).to_bits(), twin.value().to_bits());
            }
        }
    }
}
