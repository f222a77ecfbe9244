//! Numbers, dates and times as digits.

use arrow::datatypes::IntervalMonthDayNano;
use std::io::Write as _;

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// Appends an integer.
pub(crate) fn integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(value.unsigned_abs(), out);
}

/// Appends a natural number.
pub(crate) fn unsigned(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while value >= 10 {
        at -= 2;
        let pair = usize::try_from(value % 100).unwrap_or(0) * 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
        value /= 100;
    }
    if value > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + (value % 10).to_le_bytes()[0];
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number with at least `width` digits.
pub(crate) fn padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    unsigned(value, out);
    let len = out.len() - start;
    for _ in len..width {
        out.insert(start, b'0');
    }
}

fn two(value: i64, out: &mut Vec<u8>) {
    let pair = usize::try_from(value.rem_euclid(100)).unwrap_or(0) * 2;
    out.extend_from_slice(&PAIRS[pair..pair + 2]);
}

/// Appends a decimal of `scale` digits behind the point.
pub(crate) fn decimal(value: i128, scale: usize, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let start = out.len();
    match u64::try_from(value.unsigned_abs()) {
        Ok(small) => padded(small, scale + 1, out),
        // Writing to a vector cannot fail.
        Err(_) => drop(write!(out, "{:0width$}", value.unsigned_abs(), width = scale + 1)),
    }
    if scale > 0 {
        let point = out.len() - scale;
        debug_assert!(point > start, "a digit before the point");
        out.insert(point, b'.');
    }
}

/// Appends the shortest decimal text that reads back as `value`, with an exponent outside
/// 10⁻⁴ ≤ |value| < 10^`plain`, as PostgreSQL writes it.
pub(crate) fn float(value: f64, single: Option<f32>, plain: i32, out: &mut Vec<u8>) {
    let start = out.len();
    let size = value.abs();
    if size == 0.0 || (size >= 1e-4 && size < 10_f64.powi(plain)) {
        drop(match single {
            Some(value) => write!(out, "{value}"),
            None => write!(out, "{value}"),
        });
        return;
    }
    drop(match single {
        Some(value) => write!(out, "{value:e}"),
        None => write!(out, "{value:e}"),
    });
    // Rust writes 1e20 and 1e-7; PostgreSQL and C 1e+20 and 1e-07.
    if let Some(e) = out[start..].iter().position(|&b| b == b'e') {
        let mut digits = start + e + 1;
        if out.get(digits) == Some(&b'-') {
            digits += 1;
        } else {
            out.insert(digits, b'+');
            digits += 1;
        }
        if out.len() - digits < 2 {
            out.insert(digits, b'0');
        }
    }
}

/// Appends `yyyy-mm-dd`.
pub(crate) fn date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = yeoul_batch::date_of(days);
    if let Ok(year @ 0..=9_999) = u64::try_from(year) {
        padded(year, 4, out);
    } else {
        integer(year, out);
    }
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
}

/// How the digits behind the second are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fraction {
    /// None, three or six, whatever is enough.
    Thousands,
    /// As few as are enough.
    Trimmed,
}

/// Appends `hh:mm:ss[.f…]`.
pub(crate) fn clock(us: i64, fraction: Fraction, out: &mut Vec<u8>) {
    let seconds = us / 1_000_000;
    let hours = seconds / 3_600;
    if hours < 100 {
        two(hours, out)
    } else {
        integer(hours, out)
    }
    out.push(b':');
    two(seconds / 60 % 60, out);
    out.push(b':');
    two(seconds % 60, out);
    let rest = (us % 1_000_000).unsigned_abs();
    if rest == 0 {
        return;
    }
    out.push(b'.');
    if fraction == Fraction::Thousands && rest.is_multiple_of(1_000) {
        padded(rest / 1_000, 3, out);
        return;
    }
    padded(rest, 6, out);
    while fraction == Fraction::Trimmed && out.last() == Some(&b'0') {
        out.pop();
    }
}

/// Appends an instant, its date and time divided by `between`.
pub(crate) fn timestamp(us: i64, between: u8, fraction: Fraction, out: &mut Vec<u8>) {
    const DAY_US: i64 = 86_400_000_000;
    date(us.div_euclid(DAY_US), out);
    out.push(between);
    clock(us.rem_euclid(DAY_US), fraction, out);
}

/// Appends `1 year 2 mons -3 days +04:05:06.7`: behind a negative part a positive one has its sign.
pub(crate) fn interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let start = out.len();
    let parts = [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")];
    let mut negative = false;
    for (count, unit) in parts {
        if count != 0 {
            if out.len() > start {
                out.push(b' ');
            }
            out.extend((negative && count > 0).then_some(b'+'));
            negative = count < 0;
            integer(count.into(), out);
            out.push(b' ');
            out.extend_from_slice(unit.as_bytes());
            out.extend((count != 1).then_some(b's'));
        }
    }
    let us = value.nanoseconds / 1_000;
    if us != 0 || out.len() == start {
        if out.len() > start {
            out.push(b' ');
        }
        match us < 0 {
            true => out.push(b'-'),
            false => out.extend(negative.then_some(b'+')),
        }
        clock(us.saturating_abs(), Fraction::Trimmed, out);
    }
}

/// Appends the 36 characters of a UUID.
pub(crate) fn uuid(bytes: &[u8], out: &mut Vec<u8>) {
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        hex(*byte, out);
    }
}

/// Appends a byte as two hexadecimal digits.
pub(crate) fn hex(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}
