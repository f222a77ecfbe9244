//! A JSON value into a column.
//!
//! | JSON | goes into |
//! |---|---|
//! | `null` | any column that may be null |
//! | string | any type, by the rules of `value`; jsonb keeps its quotes |
//! | number | numbers if nothing is lost, timestamps, text and jsonb as it is written, `0` and `1` into boolean; where Kafka Connect writes, days into date, microseconds (or what `timestamp_unit` says) into time, microseconds into interval |
//! | `true`, `false` | boolean; text and jsonb as written |
//! | array | a list; jsonb and text as compact JSON |
//! | object | jsonb and text as compact JSON |

use arrow::datatypes::IntervalMonthDayNano;
use yeoul_batch::TimestampUnit;

use super::cursor::{Cursor, Number};
use super::{Broken, Failure};
use crate::column::{Column, Values};
use crate::value::{Decimal, Misfit, narrow, parse_f64, push_text};

/// Appends the value here to `column`, leaving the cursor behind it. After a misfit the cursor is
/// somewhere inside the value, and the column may hold half of it.
#[inline]
pub(super) fn push(
    column: &mut Column,
    cursor: &mut Cursor<'_>,
    scratch: &mut String,
) -> Result<(), Failure> {
    match cursor.peek() {
        b'"' => {
            let quote = cursor.pos;
            let span = cursor.string()?;
            match &mut column.values {
                Values::Text { values, chars_max: usize::MAX } if !span.escaped => {
                    values.push_span(cursor.text, span.start, span.end);
                    column.pushed();
                }
                Values::Json(values) => {
                    values.push_span(cursor.text, quote, cursor.pos);
                    column.pushed();
                }
                _ => push_text(column, cursor.unescape(span, scratch))?,
            }
            Ok(())
        }
        b'-' | b'0'..=b'9' => {
            let number = cursor.number()?;
            Ok(push_number(column, cursor, &number)?)
        }
        _ => push_other(column, cursor, scratch),
    }
}

#[inline]
fn push_number(column: &mut Column, cursor: &Cursor<'_>, number: &Number) -> Result<(), Misfit> {
    let text = &cursor.text[number.start..number.end];
    let integer = || match number.small_integer() {
        Some(value) => Ok(value),
        None => Decimal::parse(text.as_bytes()).ok_or(Misfit::Invalid)?.integer(),
    };
    match &mut column.values {
        Values::Int64(v) => v.push(integer()?),
        Values::Int32(v) => v.push(narrow(integer()?)?),
        Values::Int16(v) => v.push(narrow(integer()?)?),
        Values::Float64(v) => v.push(match number.small_double() {
            Some(value) => value,
            None => parse_f64(text)?,
        }),
        Values::Timestamp { values, unit, .. } => match number.small_integer() {
            Some(value) => values.push(unit.micros(value).ok_or(Misfit::OutOfRange)?),
            None => return push_text(column, text),
        },
        Values::Text { .. }
        | Values::Json(_)
        | Values::Bool(_)
        | Values::Decimal { .. }
        | Values::Float32(_) => return push_text(column, text),
        Values::Date(v) if column.forms.connect => v.push(narrow(integer()?)?),
        Values::Time(v) if column.forms.connect => {
            v.push(time_of_day(integer()?, column.forms.unit).ok_or(Misfit::OutOfRange)?);
        }
        Values::Interval(v) if column.forms.connect => {
            let nanos = integer()?.checked_mul(1_000).ok_or(Misfit::OutOfRange)?;
            v.push(IntervalMonthDayNano::new(0, 0, nanos));
        }
        Values::Date(_)
        | Values::Time(_)
        | Values::Interval(_)
        | Values::Uuid(_)
        | Values::Binary { .. }
        | Values::List { .. } => return Err(Misfit::Invalid),
    }
    column.pushed();
    Ok(())
}

/// Microseconds since midnight of a number of them, or of what `unit` says.
fn time_of_day(number: i64, unit: TimestampUnit) -> Option<i64> {
    const DAY_US: i64 = 86_400_000_000;
    let micros = match unit {
        TimestampUnit::Auto => Some(number),
        unit => unit.micros(number),
    };
    micros.filter(|micros| (0..=DAY_US).contains(micros))
}

fn push_other(
    column: &mut Column,
    cursor: &mut Cursor<'_>,
    scratch: &mut String,
) -> Result<(), Failure> {
    match cursor.peek() {
        b'n' => {
            cursor.literal("null")?;
            column.push_null();
            Ok(())
        }
        b't' | b'f' => push_bool(column, cursor),
        b'[' if matches!(column.values, Values::List { .. }) => push_list(column, cursor, scratch),
        b'[' | b'{' => push_nested(column, cursor, scratch),
        _ => Err(cursor.broken("a value").into()),
    }
}

fn push_bool(column: &mut Column, cursor: &mut Cursor<'_>) -> Result<(), Failure> {
    let value = cursor.peek() == b't';
    let word = if value { "true" } else { "false" };
    cursor.literal(word)?;
    match &mut column.values {
        Values::Bool(v) => v.push(value),
        Values::Text { .. } | Values::Json(_) => return Ok(push_text(column, word)?),
        _ => return Err(Misfit::Invalid.into()),
    }
    column.pushed();
    Ok(())
}

/// An array or object as compact text.
fn push_nested(
    column: &mut Column,
    cursor: &mut Cursor<'_>,
    scratch: &mut String,
) -> Result<(), Failure> {
    if !matches!(column.values, Values::Text { .. } | Values::Json(_)) {
        return Err(Misfit::Invalid.into());
    }
    scratch.clear();
    cursor.walk_value(0, &mut |token| scratch.push_str(token))?;
    if let Values::Json(values) = &mut column.values {
        values.push(scratch);
        column.pushed();
        return Ok(());
    }
    // A varchar(n) has at most n characters, whatever they say.
    Ok(push_text(column, scratch)?)
}

fn push_list(
    column: &mut Column,
    cursor: &mut Cursor<'_>,
    scratch: &mut String,
) -> Result<(), Failure> {
    let Values::List { ends, item, .. } = &mut column.values else {
        return Err(Misfit::Invalid.into());
    };
    push_elements(item, cursor, scratch)?;
    ends.push(i32::try_from(item.rows).map_err(|_| Misfit::TooLong)?);
    column.pushed();
    Ok(())
}

/// Appends the elements of the array here to the column of elements. (Lists of lists nest as deep as
/// their type does, so the recursion is bounded by the schema.)
pub(super) fn push_elements(
    item: &mut Column,
    cursor: &mut Cursor<'_>,
    scratch: &mut String,
) -> Result<(), Failure> {
    cursor.pos += 1;
    cursor.skip_space();
    let mut first = true;
    while cursor.peek() != b']' {
        if !first {
            cursor.byte(b',', "a comma or the end of an array")?;
            cursor.skip_space();
        }
        first = false;
        if cursor.peek() == b'n' && !item.nullable {
            return Err(Misfit::Null.into());
        }
        push(item, cursor, scratch)?;
        cursor.skip_space();
    }
    cursor.pos += 1;
    Ok(())
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Misfit> for Failure {
    fn from(misfit: Misfit) -> Self {
        Self::Misfit(misfit)
    }
}
