//! Rates of counts, and the interval in which the true rate lies.
//!
//! `ctr = clicks / impressions`. The bounds are Wilson's score interval (E. B. Wilson, "Probable
//! inference, the law of succession, and statistical inference", JASA 22, 1927), with
//! p = successes / trials:
//!
//! ```text
//!   (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)
//! ```
//!
//! The lower bound is what to sort by: one click on one impression is not a rate of 100 %.

use arrow::array::{Array, AsArray, Float64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::error::ArrowError;

/// The z of a two-sided 95 % interval.
pub const WILSON_Z: f64 = 1.959963984540054;

/// Clicks per impression; nothing when there was no impression. More than one where clicks came
/// without their impressions.
#[must_use]
#[inline]
pub fn ctr_value(clicks: f64, impressions: f64) -> Option<f64> {
    (impressions > 0.0).then(|| clicks / impressions)
}

/// The lower end of Wilson's interval, in `0 ..= 1`; nothing without trials. `successes` is first
/// clamped to `0 ..= trials`, because events may come before what they answer.
#[must_use]
#[inline]
pub fn wilson_lower_value(successes: f64, trials: f64, z: f64) -> Option<f64> {
    (trials > 0.0).then(|| lower(successes, trials, z))
}

/// The upper end of Wilson's interval; see [`wilson_lower_value`].
#[must_use]
#[inline]
pub fn wilson_upper_value(successes: f64, trials: f64, z: f64) -> Option<f64> {
    (trials > 0.0).then(|| upper(successes, trials, z))
}

/// [`ctr_value`] over columns (Int64 or Float64 each); null where either is null.
pub fn ctr(clicks: &dyn Array, impressions: &dyn Array) -> Result<Float64Array, ArrowError> {
    rates("ctr", clicks, impressions, |c, i| c / i)
}

/// [`wilson_lower_value`] over columns (Int64 or Float64 each); null where either is null.
pub fn wilson_lower(
    successes: &dyn Array,
    trials: &dyn Array,
    z: f64,
) -> Result<Float64Array, ArrowError> {
    rates("wilson_lower", successes, trials, |s, n| lower(s, n, z))
}

/// [`wilson_upper_value`] over columns (Int64 or Float64 each); null where either is null.
pub fn wilson_upper(
    successes: &dyn Array,
    trials: &dyn Array,
    z: f64,
) -> Result<Float64Array, ArrowError> {
    rates("wilson_upper", successes, trials, |s, n| upper(s, n, z))
}

/// The middle and the half width of the interval. Comparisons are written so that a NaN stays one.
#[inline]
fn interval(successes: f64, trials: f64, z: f64) -> (f64, f64) {
    let s = if successes > trials { trials } else { successes };
    let s = if s < 0.0 { 0.0 } else { s };
    // Everything times n, so that neither end of the range loses digits.
    let z2 = z * z;
    let middle = s + z2 / 2.0;
    let spread = z * (s * (trials - s) / trials + z2 / 4.0).sqrt();
    let scale = trials + z2;
    (middle / scale, spread / scale)
}

#[inline]
fn lower(successes: f64, trials: f64, z: f64) -> f64 {
    let (middle, spread) = interval(successes, trials, z);
    let bound = middle - spread;
    // Rounding may leave −1e−17 where the bound is 0.
    if bound < 0.0 { 0.0 } else { bound }
}

#[inline]
fn upper(successes: f64, trials: f64, z: f64) -> f64 {
    let (middle, spread) = interval(successes, trials, z);
    let bound = middle + spread;
    if bound > 1.0 { 1.0 } else { bound }
}

/// Computes every lane, then masks those without trials: the loop has no branch.
fn rates(
    function: &str,
    part: &dyn Array,
    whole: &dyn Array,
    rate: impl Fn(f64, f64) -> f64,
) -> Result<Float64Array, ArrowError> {
    if part.len() != whole.len() {
        return Err(ArrowError::InvalidArgumentError(format!(
            "{function}: columns of {} and {} rows",
            part.len(),
            whole.len()
        )));
    }
    let parts = floats(function, part)?;
    let wholes = floats(function, whole)?;
    let values: Vec<f64> = parts.iter().zip(wholes.iter()).map(|(&p, &w)| rate(p, w)).collect();
    let tried = BooleanBuffer::collect_bool(wholes.len(), |i| wholes[i] > 0.0);
    let tried = NullBuffer::new(tried);
    let known = NullBuffer::union(part.nulls(), whole.nulls());
    let nulls = NullBuffer::union(known.as_ref(), Some(&tried)).filter(|n| n.null_count() > 0);
    Ok(Float64Array::new(values.into(), nulls))
}

fn floats(function: &str, column: &dyn Array) -> Result<ScalarBuffer<f64>, ArrowError> {
    match column.data_type() {
        DataType::Float64 => Ok(column.as_primitive::<Float64Type>().values().clone()),
        #[expect(clippy::cast_precision_loss, reason = "counts beyond 2^53 need no last digit")]
        DataType::Int64 => Ok(column
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .map(|&v| v as f64)
            .collect::<Vec<_>>()
            .into()),
        other => Err(ArrowError::InvalidArgumentError(format!(
            "{function} takes columns of bigint or double precision, not {other}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    #[track_caller]
    fn close(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn bounds_equal_the_textbook_formula() {
        for (s, n) in [(0.0, 1.0), (1.0, 1.0), (7.0, 20.0), (1.0, 10_000.0), (5e8, 1e9)] {
            for z in [WILSON_Z, 1.281551565545] {
                let p: f64 = s / n;
                let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
                let middle = p + z * z / (2.0 * n);
                let scale = 1.0 + z * z / n;
                close(wilson_lower_value(s, n, z), ((middle - spread) / scale).max(0.0));
                close(wilson_upper_value(s, n, z), ((middle + spread) / scale).min(1.0));
            }
        }
        // In 60 decimal digits.
        close(wilson_lower_value(7.0, 20.0, WILSON_Z), 0.181_191_824_101_082);
        close(wilson_upper_value(7.0, 20.0, WILSON_Z), 0.567_145_723_314_763_7);
    }

    #[test]
    fn columns_agree_with_their_scalar_twins() {
        let clicks = Int64Array::from(vec![Some(3), Some(0), None, Some(9), Some(4), Some(-1)]);
        let shown =
            Float64Array::from(vec![Some(10.0), Some(0.0), Some(5.0), Some(3.0), None, Some(2.0)]);
        let columns = [
            ctr(&clicks, &shown).unwrap(),
            wilson_lower(&clicks, &shown, WILSON_Z).unwrap(),
            wilson_upper(&clicks, &shown, WILSON_Z).unwrap(),
        ];
        for row in 0..clicks.len() {
            let both = (clicks.is_valid(row) && shown.is_valid(row))
                .then(|| (clicks.value(row) as f64, shown.value(row)));
            let twins = [
                both.and_then(|(c, s)| ctr_value(c, s)),
                both.and_then(|(c, s)| wilson_lower_value(c, s, WILSON_Z)),
                both.and_then(|(c, s)| wilson_upper_value(c, s, WILSON_Z)),
            ];
            for (column, twin) in columns.iter().zip(twins) {
                assert_eq!(column.is_valid(row).then(|| column.value(row)), twin, "row {row}");
            }
        }
        assert_eq!(columns[0].null_count(), 3);
    }

    #[test]
    fn bounds_stay_between_zero_and_one() {
        for (s, n) in [(12.0, 3.0), (-4.0, 3.0), (3.0, 3.0), (0.0, 1e15)] {
            let low = wilson_lower_value(s, n, WILSON_Z).unwrap();
            let high = wilson_upper_value(s, n, WILSON_Z).unwrap();
            assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
        }
        assert_eq!(wilson_lower_value(0.0, 0.0, WILSON_Z), None);
    }

    #[test]
    fn refuses_other_types_by_name() {
        let text = arrow::array::StringArray::from(vec!["1"]);
        let one = Int64Array::from(vec![1]);
        let message = ctr(&text, &one).unwrap_err().to_string();
        assert!(message.contains("ctr takes columns of bigint or double precision"), "{message}");
    }
}
