//! Numbers on their way into a column, rounded as PostgreSQL rounds them on assignment.
//!
//! | written | into integers and numeric(p, s) |
//! |---|---|
//! | a number in the text of `VALUES` or `SET` | exact as it is written; the half away from zero |
//! | `numeric` | exact; the half away from zero |
//! | `real`, `double precision` | the half to the even neighbour |
//!
//! Not here: texts, which are no integer when they have a fraction.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::sql::sqlparser::ast as sql;

use crate::datatype;

/// The most digits that a number may have once its exponent is worked in; more fit into no column.
const DIGITS_MAX: usize = 400;

/// A number in the text for the column `field`: the exact text of it. As an expression it would become
/// a double first, which has 15 digits, while a column may have 38.
pub(crate) fn exact(expr: &mut sql::Expr, field: &Field) {
    let scale = match field.data_type() {
        t if t.is_integer() => Some(0),
        DataType::Decimal128(_, scale) => Some(usize::try_from(*scale).unwrap_or(0)),
        t if t.is_floating() => None,
        _ => return,
    };
    let Some(text) = literal(expr) else { return };
    let text = match scale {
        Some(scale) => rounded(&text, scale),
        None => Some(text),
    };
    if let Some(text) = text {
        *expr = sql::Expr::value(sql::Value::SingleQuotedString(text));
    }
}

/// A cast of a number in the text to an integer: of the number as it is written, rounded. As an
/// expression it would become a double first, of which the half goes to the even neighbour.
pub(crate) fn exact_cast(expr: &mut sql::Expr) {
    let sql::Expr::Cast { expr, data_type, .. } = expr else { return };
    let is_integer = datatype::from_sql(data_type).is_ok_and(|f| f.data_type().is_integer());
    let Some(text) = literal(expr).filter(|text| text.contains(['.', 'e', 'E'])) else { return };
    if let Some(text) = rounded(&text, 0).filter(|text| is_integer && text.parse::<i64>().is_ok()) {
        **expr = sql::Expr::value(sql::Value::Number(text, false));
    }
}

/// The text of a number with or without a sign.
fn literal(expr: &sql::Expr) -> Option<String> {
    match expr {
        sql::Expr::Value(value) => match &value.value {
            sql::Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, expr } => match expr.as_ref() {
            sql::Expr::Value(_) => literal(expr).map(|text| format!("-{text}")),
            _ => None,
        },
        sql::Expr::UnaryOp { op: sql::UnaryOperator::Plus, expr } => literal(expr),
        sql::Expr::Nested(expr) => literal(expr),
        _ => None,
    }
}

/// The decimal number `text`, an exponent worked in, with at most `scale` digits behind the point.
/// `None` where it is none, or one of too many digits.
fn rounded(text: &str, scale: usize) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all = format!("{whole}{fraction}").into_bytes();
    if all.is_empty() || !all.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // How many digits stand before the point.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    if point.unsigned_abs() > DIGITS_MAX as u64 || all.len() > DIGITS_MAX {
        return None;
    }
    let zeros = |n: i64| std::iter::repeat_n(b'0', usize::try_from(n).unwrap_or(0));
    all.splice(0..0, zeros(1 - point));
    let mut point = usize::try_from(point.max(1)).ok()?;
    let missing = i64::try_from(point).ok()? - i64::try_from(all.len()).ok()?;
    all.extend(zeros(missing));
    let keep = point + scale;
    if all.len() > keep {
        let up = all[keep] >= b'5';
        all.truncate(keep);
        if up && carry(&mut all) {
            point += 1;
        }
    }
    let (whole, fraction) = all.split_at(point);
    let text = |digits: &[u8]| digits.iter().map(|d| char::from(*d)).collect::<String>();
    let fraction = if fraction.is_empty() { String::new() } else { format!(".{}", text(fraction)) };
    Some(format!("{sign}{}{fraction}", text(whole)))
}

/// Adds one to the last of the `digits`; whether there is one more of them now.
fn carry(digits: &mut Vec<u8>) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return false;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
    true
}

/// Numbers without their fractions, of the same type or of `numeric` without a scale.
pub(crate) fn whole(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match values.data_type() {
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            Ok(Arc::new(values.unary::<_, Float32Type>(f32::round_ties_even)))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            Ok(Arc::new(values.unary::<_, Float64Type>(f64::round_ties_even)))
        }
        DataType::Decimal128(_, scale) if *scale > 0 => cast(values, &DataType::Decimal128(38, 0)),
        _ => Ok(Arc::clone(values)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_by_their_digits() {
        let cases = [
            ("2.5", 0, "3"),
            ("-2.5", 0, "-3"),
            ("2.4999", 0, "2"),
            ("0.5", 0, "1"),
            (".4", 0, "0"),
            ("7.", 0, "7"),
            ("999.995", 2, "1000.00"),
            ("99.5", 0, "100"),
            ("1.005", 2, "1.01"),
            ("1.005", 9, "1.005"),
            ("1e3", 0, "1000"),
            ("1.25E1", 1, "12.5"),
            ("125e-3", 2, "0.13"),
            ("5e-1", 0, "1"),
            ("4e-9", 2, "0.00"),
            ("0.1e-3", 6, "0.0001"),
            ("9223372036854775807.4", 0, "9223372036854775807"),
            (
                "12345678901234567890123456789.123456789",
                9,
                "12345678901234567890123456789.123456789",
            ),
        ];
        for (text, scale, expected) in cases {
            assert_eq!(rounded(text, scale).as_deref(), Some(expected), "{text}");
        }
        for text in ["1e999999999999999999999", "1e1000", "1e-1000", "x", "", ".", "0x10"] {
            assert_eq!(rounded(text, 0), None, "{text}");
        }
    }
}
