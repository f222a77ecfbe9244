//! Dates, times of day and instants as text, and instants as numbers.

use super::{Decimal, Misfit};
use yeoul_batch::{TimestampUnit, days_in_month, days_of};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// Microseconds of a number with a fraction, cut to the microsecond.
fn micros_of(unit: TimestampUnit, number: Decimal) -> Option<i64> {
    let whole = number.floored(0)?;
    let size = if whole < 0 { -(whole + 1) } else { whole };
    let digits = match unit.resolve(u64::try_from(size).ok()?) {
        TimestampUnit::Millis => 3,
        TimestampUnit::Micros => 0,
        TimestampUnit::Nanos => -3,
        TimestampUnit::Seconds | TimestampUnit::Auto => 6,
    };
    i64::try_from(number.floored(digits)?).ok()
}

fn two(a: u8, b: u8) -> Option<i32> {
    let (a, b) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
    (a <= 9 && b <= 9).then(|| i32::from(a) * 10 + i32::from(b))
}

/// `yyyy-mm-dd` at the beginning: days since 1970 and the rest.
fn date(text: &[u8]) -> Option<(i32, &[u8])> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] = text else { return None };
    let (year, month, day) =
        (two(*y1, *y2)? * 100 + two(*y3, *y4)?, two(*m1, *m2)?, two(*d1, *d2)?);
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let exists = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    let days = exists.then(|| days_of(year, month, day))?;
    Some((i32::try_from(days).ok()?, rest))
}

/// `hh:mm[:ss[.f…]]` at the beginning: microseconds and the rest. `24:00` and a leap second count on.
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let [h1, h2, b':', m1, m2, rest @ ..] = text else { return None };
    let (hour, minute) = (two(*h1, *h2)?, two(*m1, *m2)?);
    let (second, fraction_us, rest) = match rest {
        [b':', s1, s2, b'.', rest @ ..] => {
            let (us, rest) = fraction(rest)?;
            (two(*s1, *s2)?, us, rest)
        }
        [b':', s1, s2, rest @ ..] => (two(*s1, *s2)?, 0, rest),
        rest => (0, 0, rest),
    };
    if minute > 59 || second > 60 || hour > 24 {
        return None;
    }
    let us = i64::from(hour * 3600 + minute * 60 + second) * SECOND_US + fraction_us;
    (us <= DAY_US).then_some((us, rest))
}

/// The digits after the point as microseconds; finer ones are cut.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let (mut us, mut count) = (0, 0);
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        if count < 6 {
            us = us * 10 + i64::from(digit);
        }
        count += 1;
    }
    for _ in count..6 {
        us *= 10;
    }
    (count > 0).then(|| (us, &text[count..]))
}

/// Nothing, `Z`, `UTC`, `GMT` or `±hh[[:]mm]`, after blanks: the offset in microseconds.
fn zone(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let offset = |sign: u8, h: i32, m: i32| {
        let us = i64::from(h * 60 + m) * 60 * SECOND_US;
        (h <= 15 && m <= 59).then_some(if sign == b'-' { -us } else { us })
    };
    match text {
        [] | b"Z" | b"z" | b"UTC" | b"GMT" | b"utc" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2] => offset(*sign, two(*h1, *h2)?, 0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            offset(*sign, two(*h1, *h2)?, two(*m1, *m2)?)
        }
        _ => None,
    }
}

/// The three pieces of a timestamp: days, microseconds of the day, offset in microseconds.
fn instant(text: &[u8]) -> Option<(i32, i64, i64)> {
    let (days, rest) = date(text)?;
    match rest {
        [] => Some((days, 0, 0)),
        [b'T' | b't' | b' ', rest @ ..] => {
            let (us, rest) = clock(rest)?;
            Some((days, us, zone(rest)?))
        }
        _ => None,
    }
}

/// An instant in microseconds since 1970; `zoned` says whether an offset counts.
pub(super) fn parse_timestamp(text: &str, zoned: bool, unit: TimestampUnit) -> Result<i64, Misfit> {
    let bytes = text.trim_ascii().as_bytes();
    if let Some((days, us, offset_us)) = instant(bytes) {
        return Ok(i64::from(days) * DAY_US + us - if zoned { offset_us } else { 0 });
    }
    let number = Decimal::parse(bytes).ok_or(Misfit::Invalid)?;
    micros_of(unit, number).ok_or(Misfit::OutOfRange)
}

/// Days since 1970.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    instant(text.trim_ascii().as_bytes()).map(|(days, _, _)| days)
}

/// Microseconds since midnight.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let (us, rest) = clock(text.trim_ascii().as_bytes())?;
    (rest.is_empty() && us < DAY_US).then_some(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse_timestamp(text, true, TimestampUnit::Auto).ok(), expected, "{text}");
    }

    #[test]
    fn timestamps_of_every_form() {
        check("1970-01-01", Some(0));
        check("2019-11-24 00:00:34.762830+00:00", Some(1_574_553_634_762_830));
        check("2019-10-01 00:00:00 UTC", Some(1_569_888_000_000_000));
        check("2019-10-01T00:00:00Z", Some(1_569_888_000_000_000));
        check("2019-10-01T09:00:00+09:00", Some(1_569_888_000_000_000));
        check("2019-10-01T09:00:00.000+0900", Some(1_569_888_000_000_000));
        check("2019-09-30 19:00-05", Some(1_569_888_000_000_000));
        check("2010-12-01 08:26", Some(1_291_191_960_000_000));
        check("1969-12-31T23:59:59.5Z", Some(-500_000));
        check("2020-02-29", Some(1_582_934_400_000_000));
        check("1900-02-29", None);
        check("2020-13-01", None);
        check("2020-01-01T25:00:00", None);
        check("2020-01-01T00:00:00.", None);
        check("2020-01-01T00:00:00 PST", None);
        check("2020-01-01x", None);
        check("yesterday", None);
        check("", None);
    }

    #[test]
    fn numbers_by_size_and_by_unit() {
        check("1769900400", Some(1_769_900_400_000_000));
        check("1769900400.1234567", Some(1_769_900_400_123_456));
        check("-1.5", Some(-1_500_000));
        check("-0.0000001", Some(-1));
        check("0.9999999999999999999999999", Some(999_999));
        check("1e-99999", Some(0));
        check("1769900400123", Some(1_769_900_400_123_000));
        check("1769900400123456", Some(1_769_900_400_123_456));
        check("1769900400123456789", Some(1_769_900_400_123_456));
        check("1e400", None);
        assert_eq!(TimestampUnit::Millis.micros(5), Some(5_000));
        assert_eq!(TimestampUnit::Nanos.micros(-1), Some(-1));
        assert_eq!(TimestampUnit::Seconds.micros(i64::MAX), None);
    }

    #[test]
    fn every_day_of_eight_centuries_counts_on() {
        let mut expected = -135_140;
        assert_eq!(parse_date("1970-01-01"), Some(0));
        for year in 1600..2400 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    assert_eq!(parse_date(&text), Some(expected), "{text}");
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn times_of_day() {
        assert_eq!(parse_time("02:03:04.5"), Some(7_384_500_000));
        assert_eq!(parse_time("23:59"), Some(86_340_000_000));
        assert_eq!(parse_time("24:00"), None);
        assert_eq!(parse_time("1:00"), None);
    }
}
