//! Intervals as text: PostgreSQL's words and clocks, and ISO 8601 durations.

use arrow::datatypes::IntervalMonthDayNano;

use super::{Decimal, Misfit};

const SECOND_NS: i128 = 1_000_000_000;

/// What one of a unit is: months, days and nanoseconds.
type Unit = (i128, i128, i128);

const UNITS: [(&[&str], Unit); 11] = [
    (&["microsecond", "us"], (0, 0, 1_000)),
    (&["millisecond", "ms"], (0, 0, 1_000_000)),
    (&["second", "sec", "s"], (0, 0, SECOND_NS)),
    (&["minute", "min", "m"], (0, 0, 60 * SECOND_NS)),
    (&["hour", "hr", "h"], (0, 0, 3_600 * SECOND_NS)),
    (&["day", "d"], (0, 1, 0)),
    (&["week", "w"], (0, 7, 0)),
    (&["month", "mon"], (1, 0, 0)),
    (&["year", "yr", "y"], (12, 0, 0)),
    (&["decade"], (120, 0, 0)),
    (&["century", "centurie"], (1_200, 0, 0)),
];

/// Months, days and nanoseconds while they are added up.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    nanos: i128,
}

impl Sum {
    /// Adds `amount` of `unit`. A fraction of a month or a day goes over into the smaller unit
    /// (a month has 30 days there, a day 24 hours), as in PostgreSQL.
    fn add(&mut self, amount: Decimal, unit: Unit) -> Option<()> {
        /// Places kept of a fraction.
        const PLACES: i32 = 9;
        let one = 10_i128.pow(PLACES.unsigned_abs());
        let (amount, _) = amount.scaled(PLACES)?;
        let months = amount.checked_mul(unit.0)?;
        let days = amount.checked_mul(unit.1)?.checked_add((months % one).checked_mul(30)?)?;
        let nanos = amount
            .checked_mul(unit.2)?
            .checked_add((days % one).checked_mul(86_400 * SECOND_NS)?)?;
        self.months = self.months.checked_add(months / one)?;
        self.days = self.days.checked_add(days / one)?;
        self.nanos = self.nanos.checked_add(nanos / one)?;
        Some(())
    }

    fn finish(self) -> Result<IntervalMonthDayNano, Misfit> {
        let months = i32::try_from(self.months).map_err(|_| Misfit::OutOfRange)?;
        let days = i32::try_from(self.days).map_err(|_| Misfit::OutOfRange)?;
        let nanos = i64::try_from(self.nanos).map_err(|_| Misfit::OutOfRange)?;
        Ok(IntervalMonthDayNano::new(months, days, nanos))
    }
}

/// Reads an interval.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano, Misfit> {
    let text = text.trim_ascii();
    let text = text.strip_prefix('@').map_or(text, str::trim_ascii_start);
    let mut sum = Sum::default();
    let read = match text.strip_prefix('P') {
        Some(rest) => iso(rest, &mut sum),
        None => words(text, &mut sum),
    };
    read.ok_or(Misfit::Invalid)?;
    sum.finish()
}

/// Splits a number off: its text and what follows.
fn number(text: &str) -> Option<(Decimal, &str)> {
    let end = text
        .bytes()
        .position(|b| !matches!(b, b'0'..=b'9' | b'.' | b'+' | b'-'))
        .unwrap_or(text.len());
    Some((Decimal::parse(&text.as_bytes()[..end])?, &text[end..]))
}

/// `1 year 2 mons -3 days 04:05:06.7 ago`.
fn words(text: &str, sum: &mut Sum) -> Option<()> {
    let mut rest = text;
    let mut any = false;
    while !rest.is_empty() {
        let piece_end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
        let piece = &rest[..piece_end];
        if piece.contains(':') {
            sum.nanos = sum.nanos.checked_add(clock(piece)?)?;
            rest = rest[piece_end..].trim_ascii_start();
        } else if any && piece.eq_ignore_ascii_case("ago") {
            (sum.months, sum.days, sum.nanos) = (-sum.months, -sum.days, -sum.nanos);
            return rest[piece_end..].trim_ascii().is_empty().then_some(());
        } else {
            let (amount, after) = number(rest)?;
            let after = after.trim_ascii_start();
            let word_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            sum.add(amount, unit(&after[..word_end])?)?;
            rest = after[word_end..].trim_ascii_start();
        }
        any = true;
    }
    any.then_some(())
}

fn unit(word: &str) -> Option<Unit> {
    if word.is_empty() {
        return Some((0, 0, SECOND_NS));
    }
    let word = word.to_ascii_lowercase();
    let named = |w: &str| UNITS.iter().find(|(names, _)| names.contains(&w)).map(|(_, unit)| *unit);
    named(&word).or_else(|| named(word.strip_suffix('s')?))
}

/// `[-]hh:mm[:ss[.f]]` in nanoseconds.
fn clock(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut pieces = text.split(':');
    let whole = |piece: Option<&str>| piece?.parse::<u32>().ok().map(i128::from);
    let (hours, minutes) = (whole(pieces.next())?, whole(pieces.next())?);
    let seconds = match pieces.next() {
        None => 0,
        Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            Decimal::parse(text.as_bytes())?.scaled(9)?.0
        }
        Some(_) => return None,
    };
    if pieces.next().is_some() || minutes > 59 || seconds >= 61 * SECOND_NS {
        return None;
    }
    let nanos = (hours * 3_600 + minutes * 60) * SECOND_NS + seconds;
    Some(if negative { -nanos } else { nanos })
}

/// `1Y2M3W4DT5H6M7.8S`, after the `P`.
fn iso(text: &str, sum: &mut Sum) -> Option<()> {
    let (mut rest, mut in_time, mut any) = (text, false, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            if in_time || after.is_empty() {
                return None;
            }
            (in_time, rest) = (true, after);
            continue;
        }
        let (amount, after) = number(rest)?;
        let unit = match (after.bytes().next()?, in_time) {
            (b'Y', false) => (12, 0, 0),
            (b'M', false) => (1, 0, 0),
            (b'W', false) => (0, 7, 0),
            (b'D', false) => (0, 1, 0),
            (b'H', true) => (0, 0, 3_600 * SECOND_NS),
            (b'M', true) => (0, 0, 60 * SECOND_NS),
            (b'S', true) => (0, 0, SECOND_NS),
            _ => return None,
        };
        sum.add(amount, unit)?;
        rest = &after[1..];
        any = true;
    }
    any.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_every_form() {
        let ns = 1_000_000_000;
        for (text, expected) in [
            ("1 day", Some((0, 1, 0))),
            ("5 minutes", Some((0, 0, 300 * ns))),
            ("1 year 2 mons -3 days +04:05:06.7", Some((14, -3, 14_706_700_000_000))),
            ("-00:00:01", Some((0, 0, -ns))),
            ("1 hour ago", Some((0, 0, -3_600 * ns))),
            ("1.5 days", Some((0, 1, 43_200 * ns))),
            ("0.5 months", Some((0, 15, 0))),
            ("500ms", Some((0, 0, ns / 2))),
            ("90", Some((0, 0, 90 * ns))),
            ("P1Y2M3DT4H5M6.5S", Some((14, 3, 14_706_500_000_000))),
            ("PT90S", Some((0, 0, 90 * ns))),
            ("P2W", Some((0, 14, 0))),
            ("@ 1 hour", Some((0, 0, 3_600 * ns))),
            ("P", None),
            ("P1H", None),
            ("P1DT", None),
            ("1 parsec", None),
            ("day", None),
            ("", None),
            ("99999999999 years", None),
            ("1:2:3:4", None),
        ] {
            let found = parse_interval(text).ok().map(|i| (i.months, i.days, i.nanoseconds));
            assert_eq!(found, expected, "{text}");
        }
    }
}
