//! Sums, averages, variances.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Float64Type, Int64Type};
use yeoul_functions::FloatSums;

use super::Rows;
use crate::error::FlowError;

/// Sums of 128 bits as two columns, so that the sum is a plain integer wherever it fits one:
/// `carry · 2⁶⁴ + sum`.
struct WideSums {
    sums: Vec<i64>,
    carries: Vec<i64>,
}

impl WideSums {
    fn zeros(count: usize) -> Self {
        Self { sums: vec![0; count], carries: vec![0; count] }
    }

    #[inline]
    fn add(&mut self, group: usize, value: i64) {
        let (sum, over) = self.sums[group].overflowing_add(value);
        self.sums[group] = sum;
        if over {
            self.carries[group] += if value < 0 { -1 } else { 1 };
        }
    }

    #[inline]
    fn add_wide(&mut self, group: usize, value: i128) {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the value")]
        let (low, high) = {
            let low = value as i64;
            (low, ((value - i128::from(low)) >> 64) as i64)
        };
        self.add(group, low);
        self.carries[group] += high;
    }

    fn into_columns(self) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from(self.sums)), Arc::new(Int64Array::from(self.carries))]
    }
}

pub(super) fn integers(values: &Int64Array, rows: &Rows<'_>) -> Vec<ArrayRef> {
    let mut sums = WideSums::zeros(rows.count);
    let slice = values.values();
    if rows.diffs.is_none() {
        rows.each(values.nulls(), |row, group, _| sums.add(group, slice[row]));
    } else {
        rows.each(values.nulls(), |row, group, diff| {
            sums.add_wide(group, i128::from(slice[row]) * i128::from(diff));
        });
    }
    sums.into_columns()
}

pub(super) fn merge_integers(columns: &[ArrayRef], rows: &Rows<'_>) -> Vec<ArrayRef> {
    let parts = columns[0].as_primitive::<Int64Type>().values();
    let carries = columns[1].as_primitive::<Int64Type>().values();
    let mut sums = WideSums::zeros(rows.count);
    for ((&sum, &carry), &id) in parts.iter().zip(carries).zip(rows.ids) {
        sums.add(id as usize, sum);
        sums.carries[id as usize] += carry;
    }
    sums.into_columns()
}

/// Sums of decimals (or of sums of decimals), modulo 2¹²⁸: the answer is exact whenever it fits.
pub(super) fn decimals(
    values: &ArrayRef,
    scale: i8,
    rows: &Rows<'_>,
) -> Result<Vec<ArrayRef>, FlowError> {
    let values = values.as_primitive::<Decimal128Type>();
    let slice = values.values();
    let mut sums = vec![0i128; rows.count];
    rows.each(values.nulls(), |row, group, diff| {
        let value = if diff == 1 { slice[row] } else { slice[row].wrapping_mul(diff.into()) };
        sums[group] = sums[group].wrapping_add(value);
    });
    let sums = Decimal128Array::from(sums).with_precision_and_scale(38, scale)?;
    Ok(vec![Arc::new(sums)])
}

pub(super) fn floats(values: &Float64Array, rows: &Rows<'_>) -> Result<Vec<ArrayRef>, FlowError> {
    let mut sums = FloatSums::zeros(rows.count);
    sums.add(values, rows.diffs, rows.ids);
    Ok(sums.into_columns()?)
}

/// Sums of squares: each square as an exact pair of doubles.
pub(super) fn squares(values: &Float64Array, rows: &Rows<'_>) -> Result<Vec<ArrayRef>, FlowError> {
    let high: Vec<f64> = values.values().iter().map(|v| v * v).collect();
    let low: Vec<f64> = values
        .values()
        .iter()
        .zip(&high)
        .map(|(v, square)| if square.is_finite() { v.mul_add(*v, -square) } else { 0.0 })
        .collect();
    let column = |part: Vec<f64>| Float64Array::new(part.into(), values.nulls().cloned());
    let mut sums = FloatSums::zeros(rows.count);
    sums.add(&column(high), rows.diffs, rows.ids);
    sums.add(&column(low), rows.diffs, rows.ids);
    Ok(sums.into_columns()?)
}

pub(super) fn merge_floats(
    columns: &[ArrayRef],
    rows: &Rows<'_>,
) -> Result<Vec<ArrayRef>, FlowError> {
    let mut sums = FloatSums::zeros(rows.count);
    sums.merge(columns, rows.ids)?;
    Ok(sums.into_columns()?)
}

/// The validity of answers: those of groups with a value.
pub(crate) fn some_values(counts: &Int64Array) -> Option<NullBuffer> {
    let nulls: NullBuffer = counts.values().iter().map(|&count| count > 0).collect();
    (nulls.null_count() > 0).then_some(nulls)
}

/// `sum(integer)`: an error where the sum leaves Int64.
pub(crate) fn integer_sum(counts: &ArrayRef, columns: &[ArrayRef]) -> Result<ArrayRef, FlowError> {
    let sums = columns[0].as_primitive::<Int64Type>();
    let carries = columns[1].as_primitive::<Int64Type>();
    if carries.values().iter().any(|&carry| carry != 0) {
        return Err(FlowError::range("sum()", "bigint"));
    }
    let valid = some_values(counts.as_primitive());
    Ok(Arc::new(Int64Array::new(sums.values().clone(), valid)))
}

/// `avg(integer)`.
#[expect(clippy::cast_precision_loss, reason = "an average is a double")]
pub(crate) fn integer_average(counts: &ArrayRef, columns: &[ArrayRef]) -> ArrayRef {
    let counts = counts.as_primitive::<Int64Type>();
    let sums = columns[0].as_primitive::<Int64Type>().values().iter();
    let carries = columns[1].as_primitive::<Int64Type>().values();
    let averages: Vec<f64> = sums
        .zip(carries)
        .zip(counts.values())
        .map(|((&sum, &carry), &count)| {
            ((i128::from(carry) << 64) + i128::from(sum)) as f64 / count.max(1) as f64
        })
        .collect();
    Arc::new(Float64Array::new(averages.into(), some_values(counts)))
}

/// Sums of floats or decimals as an answer of `data_type`.
pub(crate) fn wide_values(
    counts: &ArrayRef,
    sums: &[ArrayRef],
    data_type: &DataType,
) -> Result<ArrayRef, FlowError> {
    let valid = some_values(counts.as_primitive());
    let DataType::Decimal128(precision, scale) = *data_type else {
        let values = yeoul_functions::sum::finish(sums)?;
        return Ok(Arc::new(Float64Array::new(values.values().clone(), valid)));
    };
    let sums = sums[0].as_primitive::<Decimal128Type>();
    let values = Decimal128Array::new(sums.values().clone(), valid);
    checked_decimal(values, precision, scale, "sum()")
}

/// `avg(decimal)`, cut off after the answer's scale, as the batch engine does.
pub(crate) fn decimal_average(
    counts: &ArrayRef,
    sums: &ArrayRef,
    data_type: &DataType,
) -> Result<ArrayRef, FlowError> {
    let counts = counts.as_primitive::<Int64Type>();
    let sums = sums.as_primitive::<Decimal128Type>();
    let DataType::Decimal128(precision, scale) = *data_type else {
        return Err(FlowError::Unsupported(format!("avg() as {data_type}")));
    };
    let more = u32::from((scale - sums.scale()).unsigned_abs());
    let factor = 10i128.pow(more);
    let mut averages = Vec::with_capacity(sums.len());
    for (&sum, &count) in sums.values().iter().zip(counts.values()) {
        let scaled = sum.checked_mul(factor).ok_or_else(|| FlowError::range("avg()", data_type))?;
        averages.push(scaled / i128::from(count.max(1)));
    }
    let values = Decimal128Array::new(averages.into(), some_values(counts));
    checked_decimal(values, precision, scale, "avg()")
}

fn checked_decimal(
    values: Decimal128Array,
    precision: u8,
    scale: i8,
    what: &str,
) -> Result<ArrayRef, FlowError> {
    let fits = values
        .iter()
        .flatten()
        .all(|value| Decimal128Type::validate_decimal_precision(value, precision, scale).is_ok());
    if !fits {
        return Err(FlowError::range(what, format_args!("numeric({precision},{scale})")));
    }
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// Variance or deviation from counts, sums and sums of squares: (Q − S²/n) / (n − `less`), in
/// pairs of doubles, so that what cancels does not show.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(crate) fn variance(
    counts: &ArrayRef,
    sums: &[ArrayRef],
    squares: &[ArrayRef],
    sample: bool,
    root: bool,
) -> ArrayRef {
    let less = i64::from(sample);
    let counts = counts.as_primitive::<Int64Type>().values();
    let pair = |columns: &[ArrayRef], row: usize| {
        let part = |i: usize| columns[i].as_primitive::<Float64Type>().value(row);
        (part(0), part(1))
    };
    let specials = |columns: &[ArrayRef], row: usize| {
        columns[2].as_primitive::<Decimal128Type>().value(row) != 0
    };
    let answers = counts.iter().enumerate().map(|(row, &n)| {
        if n <= less {
            return None;
        }
        if specials(sums, row) || specials(squares, row) {
            return Some(f64::NAN);
        }
        let sum = pair(sums, row);
        let mean_square = divided(product(sum, sum), n as f64);
        let square = pair(squares, row);
        let moment = difference(square, mean_square).max(0.0);
        let variance = moment / (n - less) as f64;
        Some(if root { variance.sqrt() } else { variance })
    });
    Arc::new(answers.collect::<Float64Array>())
}

type Pair = (f64, f64);

fn normal(high: f64, low: f64) -> Pair {
    let sum = high + low;
    (sum, low - (sum - high))
}

fn product(a: Pair, b: Pair) -> Pair {
    let high = a.0 * b.0;
    let low = a.0.mul_add(b.0, -high) + (a.0 * b.1 + a.1 * b.0);
    normal(high, low)
}

fn divided(a: Pair, by: f64) -> Pair {
    let high = a.0 / by;
    let rest = high.mul_add(-by, a.0) + a.1;
    normal(high, rest / by)
}

fn difference(a: Pair, b: Pair) -> f64 {
    let high = a.0 - b.0;
    let part = high - a.0;
    let error = (a.0 - (high - part)) + (-b.0 - part);
    high + (error + (a.1 - b.1))
}

/// `avg(float)`.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(crate) fn float_average(counts: &ArrayRef, sums: &[ArrayRef]) -> Result<ArrayRef, FlowError> {
    let counts = counts.as_primitive::<Int64Type>();
    let sums = yeoul_functions::sum::finish(sums)?;
    let values = sums.values().iter().zip(counts.values());
    let averages: Vec<f64> = values.map(|(sum, &count)| sum / count.max(1) as f64).collect();
    Ok(Arc::new(Float64Array::new(averages.into(), some_values(counts))))
}
