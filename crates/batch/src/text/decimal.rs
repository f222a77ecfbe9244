//! Decimal numbers as text.

use super::Misfit;

/// 10ⁿ as far as it fits.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut n = 1;
    while n < 39 {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};
/// Digits that always fit a `u128`.
const DIGITS_MAX: u32 = 38;

/// A decimal number: `digits × 10^exponent`, exact unless it had more than 38 significant digits.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    negative: bool,
    digits: u128,
    exponent: i32,
    /// Whether digits other than 0 were cut off.
    cut: bool,
}

impl Decimal {
    /// Reads `[+-]digits[.digits][e[+-]digits]`, all of `text`; at least one digit.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, mut rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let mut number = Self { negative, digits: 0, exponent: 0, cut: false };
        let (mut seen, mut kept, mut fraction) = (false, 0, false);
        while let [byte, tail @ ..] = rest {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    let digit = byte - b'0';
                    if kept < DIGITS_MAX {
                        number.digits = number.digits * 10 + u128::from(digit);
                        kept += u32::from(number.digits != 0);
                        number.exponent -= i32::from(fraction);
                    } else {
                        number.cut |= digit != 0;
                        number.exponent = number.exponent.saturating_add(i32::from(!fraction));
                    }
                }
                b'.' if !fraction => fraction = true,
                b'e' | b'E' if seen => {
                    number.exponent = number.exponent.saturating_add(exponent(tail)?);
                    return Some(number);
                }
                _ => return None,
            }
            rest = tail;
        }
        seen.then_some(number)
    }

    /// `self × 10^scale` as an integer, rounded half away from zero, and whether that was exact.
    /// `None` when it does not fit.
    pub fn scaled(self, scale: i32) -> Option<(i128, bool)> {
        if self.digits == 0 {
            return Some((0, !self.cut));
        }
        let shift = self.exponent.saturating_add(scale);
        let digits = i128::try_from(self.digits).ok()?;
        let (size, exact) = match usize::try_from(shift) {
            Ok(up) => (digits.checked_mul(*POWERS.get(up)?)?, true),
            Err(_) => match POWERS.get(usize::try_from(shift.unsigned_abs()).ok()?) {
                None => (0, false),
                Some(&power) => {
                    let (whole, rest) = (digits / power, digits % power);
                    (whole + i128::from(rest >= power - rest), rest == 0)
                }
            },
        };
        Some((if self.negative { -size } else { size }, exact && !self.cut))
    }

    /// `self × 10^scale` as an integer, rounded down.
    pub fn floored(self, scale: i32) -> Option<i128> {
        let shift = self.exponent.saturating_add(scale);
        if shift >= 0 {
            return self.scaled(scale).map(|(value, _)| value);
        }
        let digits = i128::try_from(self.digits).ok()?;
        let power = POWERS.get(usize::try_from(shift.unsigned_abs()).ok()?);
        let whole = power.map_or(0, |power| digits / power);
        let rest = self.cut || power.map_or(digits > 0, |power| digits % power > 0);
        Some(if self.negative { -whole - i128::from(rest) } else { whole })
    }

    /// The value of a `numeric(precision,scale)` column.
    pub fn rounded(self, precision: u8, scale: i8) -> Option<i128> {
        let (value, _) = self.scaled(i32::from(scale))?;
        let limit = POWERS.get(usize::from(precision))?;
        (value.abs() < *limit).then_some(value)
    }

    /// The integer it is; invalid when it has a fraction.
    pub fn integer(self) -> Result<i64, Misfit> {
        let (value, exact) = self.scaled(0).ok_or(Misfit::OutOfRange)?;
        let value = i64::try_from(value).map_err(|_| Misfit::OutOfRange)?;
        if exact { Ok(value) } else { Err(Misfit::Invalid) }
    }
}

/// An exponent's digits; too many of them stop at the ends of `i32`, which is far out of any range.
fn exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i32 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(i32::from(digit));
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_away_from_zero() {
        let numeric =
            |text: &str, p, s| Decimal::parse(text.as_bytes()).and_then(|d| d.rounded(p, s));
        assert_eq!(numeric("12.345", 10, 2), Some(1235));
        assert_eq!(numeric("-12.345", 10, 2), Some(-1235));
        assert_eq!(numeric("12.3449999", 10, 2), Some(1234));
        assert_eq!(numeric("1e2", 10, 2), Some(10000));
        assert_eq!(numeric("99999999.99", 10, 2), Some(9_999_999_999));
        assert_eq!(numeric("99999999.995", 10, 2), None);
        assert_eq!(numeric("0.000000000000000000000000000000000000000000001", 38, 9), Some(0));
        assert_eq!(numeric("100000000000000000000000000000000000000000", 38, 9), None);
        assert_eq!(numeric("1234567.8", 5, -3), Some(1235));
    }
}
