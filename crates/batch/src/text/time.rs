//! Dates, times of day and instants as text, and instants as numbers.

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;

use super::{Decimal, Misfit};
use crate::{TimestampUnit, date_of, days_in_month, days_of};

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

/// A number of one digit or two at the beginning, and the rest.
fn one_or_two(text: &[u8]) -> Option<(i32, &[u8])> {
    match text {
        [a, b, rest @ ..] if b.is_ascii_digit() => Some((two(*a, *b)?, rest)),
        [a, rest @ ..] => Some((two(b'0', *a)?, rest)),
        [] => None,
    }
}

/// `yyyy-mm-dd`, `yyyy/m/d` or `yyyymmdd` at the beginning: days since 1970 and the rest.
fn date(text: &[u8]) -> Option<(i32, &[u8])> {
    let [y1, y2, y3, y4, rest @ ..] = text else { return None };
    let year = two(*y1, *y2)? * 100 + two(*y3, *y4)?;
    let (month, day, rest) = match rest {
        [b'-', m1, m2, b'-', d1, d2, rest @ ..] if m2.is_ascii_digit() && d2.is_ascii_digit() => {
            (two(*m1, *m2)?, two(*d1, *d2)?, rest)
        }
        [mark @ (b'-' | b'/'), rest @ ..] => {
            let (month, rest) = one_or_two(rest)?;
            let (day, rest) = one_or_two(rest.strip_prefix(&[*mark])?)?;
            (month, day, rest)
        }
        [m1, m2, d1, d2, rest @ ..] => (two(*m1, *m2)?, two(*d1, *d2)?, rest),
        _ => return None,
    };
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let exists = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    let days = exists.then(|| days_of(year, month, day))?;
    Some((i32::try_from(days).ok()?, rest))
}

/// `hh:mm[:ss[.f…]]` or `hhmmss` at the beginning, `AM` or `PM` behind it: microseconds and the rest. `24:00` and a
/// leap second count on.
fn clock(text: &[u8]) -> Option<(i64, &[u8])> {
    let (hour, minute, rest) = match text {
        [h1, h2, b':', m1, m2, rest @ ..] => (two(*h1, *h2)?, two(*m1, *m2)?, rest),
        [h2, b':', m1, m2, rest @ ..] => (two(b'0', *h2)?, two(*m1, *m2)?, rest),
        [h1, h2, m1, m2, s1, s2, rest @ ..] if text[..6].iter().all(u8::is_ascii_digit) => {
            let us = i64::from(two(*h1, *h2)? * 3600 + two(*m1, *m2)? * 60 + two(*s1, *s2)?);
            let exists = *m1 < b'6' && *s1 < b'6' && us <= DAY_US / SECOND_US;
            return exists.then_some((us * SECOND_US, rest));
        }
        _ => return None,
    };
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
    let (hour, rest) = half_of_day(hour, rest)?;
    let us = i64::from(hour * 3600 + minute * 60 + second) * SECOND_US + fraction_us;
    (us <= DAY_US).then_some((us, rest))
}

/// The hour by `AM` or `PM` where one of them stands behind the clock, and the rest.
fn half_of_day(hour: i32, text: &[u8]) -> Option<(i32, &[u8])> {
    let [half @ (b'a' | b'A' | b'p' | b'P'), b'm' | b'M', rest @ ..] = text.trim_ascii_start()
    else {
        return Some((hour, text));
    };
    // `America/…` begins so, too.
    if rest.first().is_some_and(u8::is_ascii_alphabetic) {
        return Some((hour, text));
    }
    let late = half.eq_ignore_ascii_case(&b'p');
    (1..=12).contains(&hour).then_some((hour % 12 + if late { 12 } else { 0 }, rest))
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
            let (us, rest) = clock(rest.trim_ascii_start())?;
            let offset_us = zone(rest).or_else(|| named_zone(days, us, rest))?;
            Some((days, us, offset_us))
        }
        _ => None,
    }
}

/// How far the clocks of a zone with a name are ahead when they show a time, in microseconds.
#[cold]
fn named_zone(days: i32, us: i64, name: &[u8]) -> Option<i64> {
    let name = str::from_utf8(name).ok()?.trim();
    let zone: Tz =
        name.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| name.parse().ok())??;
    let local = i64::from(days) * DAY_US + us;
    let (year, month, day) = date_of(local.div_euclid(DAY_US));
    let seconds = local.rem_euclid(DAY_US) / SECOND_US;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let shown = string_to_datetime(&zone, &text).ok()?;
    Some(local.div_euclid(SECOND_US) * SECOND_US - shown.timestamp() * SECOND_US)
}

/// An instant in microseconds since 1970; `zoned` says whether an offset counts.
pub fn parse_instant(text: &str, zoned: bool) -> Option<i64> {
    let (days, us, offset_us) = instant(text.trim_ascii().as_bytes())?;
    Some(i64::from(days) * DAY_US + us - if zoned { offset_us } else { 0 })
}

/// The same of a text that may also be a number, which counts `unit` since 1970.
pub fn parse_timestamp(text: &str, zoned: bool, unit: TimestampUnit) -> Result<i64, Misfit> {
    let bytes = text.trim_ascii().as_bytes();
    // All digits, they are a number unless there are as many as a date has, and nobody said otherwise.
    let number = unit != TimestampUnit::Auto || bytes.len() != 8;
    if !(number && bytes.iter().all(u8::is_ascii_digit))
        && let Some(us) = parse_instant(text, zoned)
    {
        return Ok(us);
    }
    let number = Decimal::parse(bytes).ok_or(Misfit::Invalid)?;
    micros_of(unit, number).ok_or(Misfit::OutOfRange)
}

/// Days since 1970.
pub fn parse_date(text: &str) -> Option<i32> {
    instant(text.trim_ascii().as_bytes()).map(|(days, _, _)| days)
}

/// Microseconds since midnight.
pub fn parse_time(text: &str) -> Option<i64> {
    let (us, rest) = clock(text.trim_ascii().as_bytes())?;
    (zone(rest).is_some() && us < DAY_US).then_some(us)
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
        check("20191001", Some(1_569_888_000_000_000));
        check(" 2019/10/1 ", Some(1_569_888_000_000_000));
        check("2019-10-1 9:00 +09", Some(1_569_888_000_000_000));
        check("20191001T090000+09", Some(1_569_888_000_000_000));
        check("2019-10-01  12:00:00 am", Some(1_569_888_000_000_000));
        check("2019-10-01 12:30 PM UTC", Some(1_569_933_000_000_000));
        check("2019-10-01 09:00:00.5 Asia/Seoul", Some(1_569_888_000_500_000));
        check("2019-07-01 00:00 America/New_York", Some(1_561_953_600_000_000));
        check("1500-01-01 00:00 UTC", Some(-14_831_769_600_000_000));
        check("2019-10/01", None);
        check("2019-10-01 13:00 PM", None);
        check("2019-10-01 09:00 Asia/Nowhere", None);
        check("2019-10-01 096100", None);
        check("infinity", None);
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
        check("20269901", Some(20_269_901_000_000));
        assert_eq!(
            parse_timestamp("20260101", true, TimestampUnit::Seconds),
            Ok(20_260_101_000_000)
        );
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
        assert_eq!(parse_time("1:00"), Some(3_600_000_000));
        assert_eq!(parse_time("11:59 pm"), Some(86_340_000_000));
        assert_eq!(parse_time("01:00+09"), Some(3_600_000_000));
        assert_eq!(parse_time("1000"), None);
    }
}
