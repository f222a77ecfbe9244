//! Numbers as text.

use super::{Decimal, Misfit};

/// An integer: digits with a sign, or a decimal form without a fraction.
pub(crate) fn parse_integer(text: &str) -> Result<i64, Misfit> {
    let text = text.trim_ascii().as_bytes();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return Err(Misfit::Invalid);
    }
    if digits.len() <= 18 {
        let mut value: i64 = 0;
        for byte in digits {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return slow_integer(text);
            }
            value = value * 10 + i64::from(digit);
        }
        return Ok(if negative { -value } else { value });
    }
    slow_integer(text)
}

#[cold]
fn slow_integer(text: &[u8]) -> Result<i64, Misfit> {
    Decimal::parse(text).ok_or(Misfit::Invalid)?.integer()
}

/// A double.
pub(crate) fn parse_f64(text: &str) -> Result<f64, Misfit> {
    let text = text.trim_ascii();
    let value: f64 = fast_float2::parse(unsigned_plus(text)).map_err(|_| Misfit::Invalid)?;
    if value.is_infinite() && is_finite_text(text) { Err(Misfit::OutOfRange) } else { Ok(value) }
}

/// A real.
pub(crate) fn parse_f32(text: &str) -> Result<f32, Misfit> {
    let text = text.trim_ascii();
    let value: f32 = fast_float2::parse(unsigned_plus(text)).map_err(|_| Misfit::Invalid)?;
    if value.is_infinite() && is_finite_text(text) { Err(Misfit::OutOfRange) } else { Ok(value) }
}

fn unsigned_plus(text: &str) -> &str {
    match text.strip_prefix('+') {
        Some(rest) if !rest.starts_with(['+', '-']) => rest,
        _ => text,
    }
}

/// Whether the text of an infinite value is not `inf` but an overflow.
fn is_finite_text(text: &str) -> bool {
    !text.bytes().any(|b| b.eq_ignore_ascii_case(&b'n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-17", Ok(-17)),
            (" +5 ", Ok(5)),
            ("12.0", Ok(12)),
            ("1e3", Ok(1000)),
            ("1500e-2", Ok(15)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("00000000000000000000000000000000000000000000000007", Ok(7)),
            ("9223372036854775808", Err(Misfit::OutOfRange)),
            ("1e99999999999", Err(Misfit::OutOfRange)),
            ("12.5", Err(Misfit::Invalid)),
            ("1e-9999999999", Err(Misfit::Invalid)),
            ("", Err(Misfit::Invalid)),
            ("-", Err(Misfit::Invalid)),
            ("12a", Err(Misfit::Invalid)),
            ("1.2.3", Err(Misfit::Invalid)),
            (".", Err(Misfit::Invalid)),
            ("1e", Err(Misfit::Invalid)),
        ] {
            assert_eq!(parse_integer(text), expected, "{text}");
        }
    }

    #[test]
    fn floats() {
        assert_eq!(parse_f64("+1.5"), Ok(1.5));
        assert_eq!(parse_f64("-Infinity"), Ok(f64::NEG_INFINITY));
        assert!(parse_f64("NaN").is_ok_and(f64::is_nan));
        assert_eq!(parse_f64("1e999"), Err(Misfit::OutOfRange));
        assert_eq!(parse_f32("1e39"), Err(Misfit::OutOfRange));
        assert_eq!(parse_f64("+-1"), Err(Misfit::Invalid));
        assert_eq!(parse_f64("1x"), Err(Misfit::Invalid));
    }
}
