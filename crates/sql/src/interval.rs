//! Lengths of time as people write them.

use datafusion::arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use datafusion::sql::sqlparser::ast::{self as sql, DateTimeField};
use yeoul_batch::text::parse_interval;

use crate::ast::Micros;

const DAY_US: i64 = 86_400_000_000;

/// The length of `1 hour`, `90 days`, `1 day 12 hours`, … in microseconds.
///
/// The error is a hint: why the text is not a length of time of a fixed number of seconds.
pub(crate) fn duration(text: &str) -> Result<Micros, String> {
    // A bare number would be months.
    let is_bare = text.trim().is_empty() || text.trim().parse::<f64>().is_ok();
    let Some(interval) = parse_interval_month_day_nano(text).ok().filter(|_| !is_bare) else {
        return Err("write a number and a unit, such as '1 hour' or '90 days'".to_owned());
    };
    if interval.months != 0 {
        return Err("months and years have no fixed length; write days".to_owned());
    }
    if interval.nanoseconds % 1000 != 0 {
        return Err("times are kept to the microsecond".to_owned());
    }
    let us = i64::from(interval.days)
        .checked_mul(DAY_US)
        .and_then(|days| days.checked_add(interval.nanoseconds / 1000));
    match us {
        Some(us) if us >= 0 => Ok(Micros(us)),
        Some(_) => Err("it must not be negative".to_owned()),
        None => Err("it is too long".to_owned()),
    }
}

/// The length of an `INTERVAL` literal, in either spelling (`'1 minute'`, `'1' MINUTE`).
pub(crate) fn literal(expr: &sql::Expr) -> Option<Result<Micros, String>> {
    match expr {
        sql::Expr::Interval(interval) => {
            let value = match interval.value.as_ref() {
                sql::Expr::Value(v) => match &v.value {
                    sql::Value::Number(n, _) => n.clone(),
                    other => other.clone().into_string()?,
                },
                _ => return None,
            };
            if interval.last_field.is_some() {
                return Some(Err("write the interval as one text: '1 day 2 hours'".to_owned()));
            }
            Some(match &interval.leading_field {
                None => duration(&value),
                Some(field) => duration(&format!("{value} {}", unit(field))),
            })
        }
        sql::Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

fn unit(field: &DateTimeField) -> String {
    field.to_string().to_lowercase()
}

/// The text of an interval literal in words that Arrow reads, where it has PostgreSQL's clocks or another form that
/// Arrow does not know: `1 day 02:03:04` is `0 months 1 days 7384000000000 nanoseconds`.
pub(crate) fn read_forms(expr: &mut sql::Expr) {
    if let sql::Expr::Interval(interval) = expr
        && interval.leading_field.is_none()
        && let sql::Expr::Value(value) = interval.value.as_mut()
        && let sql::Value::SingleQuotedString(text) = &mut value.value
        && parse_interval_month_day_nano(text).is_err()
        && let Ok(i) = parse_interval(text)
    {
        *text = format!("{} months {} days {} nanoseconds", i.months, i.days, i.nanoseconds);
    }
}

/// The shortest exact way to write a length of time: `90 s`, `1 min`, `2 d`.
pub(crate) fn display(us: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (DAY_US, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
        (1_000, "ms"),
        (1, "µs"),
    ];
    for (length, unit) in UNITS {
        if us % length == 0 && us != 0 {
            return format!("{} {unit}", us / length);
        }
    }
    "0 s".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let check = |text: &str, us: i64| assert_eq!(duration(text), Ok(Micros(us)), "{text}");
        check("1 hour", 3_600_000_000);
        check("90 days", 90 * DAY_US);
        check("1 day 12 hours", DAY_US + DAY_US / 2);
        check("5 seconds", 5_000_000);
        check("250 milliseconds", 250_000);
        check("0 seconds", 0);
        assert!(duration("1 month").is_err());
        assert!(duration("-1 hour").is_err());
        assert!(duration("soon").is_err());
        let read = |text: &str| {
            let mut expr = sql::Expr::Interval(sql::Interval {
                value: Box::new(sql::Expr::value(sql::Value::SingleQuotedString(text.to_owned()))),
                leading_field: None,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            });
            read_forms(&mut expr);
            let sql::Expr::Interval(interval) = expr else { return None };
            let sql::Expr::Value(value) = *interval.value else { return None };
            let i = parse_interval_month_day_nano(&value.value.into_string()?).ok()?;
            Some((i.months, i.days, i.nanoseconds / 1_000))
        };
        for (text, expected) in [
            ("1 day 02:03:04", (0, 1, 7_384_000_000)),
            ("-00:00:00.000001", (0, 0, -1)),
            ("1 year 2 mons -3 days +04:05:06.789", (14, -3, 14_706_789_000)),
            ("100:59", (0, 0, 363_540_000_000)),
            ("2 hours", (0, 0, 7_200_000_000)),
            ("P1DT2H", (0, 1, 7_200_000_000)),
            ("3 days ago", (0, -3, 0)),
            ("@ 1 hour", (0, 0, 3_600_000_000)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in ["1:60", "1:2:3:4", ":", "1:", "1:2:-3", "--1:2", "x:y", "soon", ""] {
            assert!(read(text).is_none(), "{text}");
        }
        assert_eq!(display(90_000_000), "90 s");
        assert_eq!(display(2 * DAY_US), "2 d");
    }
}
