//! The one place where the text of a value becomes a value, whatever format it came in: a JSON
//! string, a CSV field, a field of COPY text, a parameter of a query.
//!
//! | type | forms |
//! |---|---|
//! | boolean | `true t yes y on 1`, `false f no n off 0`, any case |
//! | integers | digits with a sign; `12.0` and `1e3` too, since nothing is lost |
//! | real, double | decimal forms, `NaN`, `Infinity`; a finite text that overflows is out of range |
//! | numeric(p,s) | as [`yeoul_batch::text`] reads them, or the base64 of the unscaled value ([`DecimalFormat`]) |
//! | date, time, interval | as [`yeoul_batch::text`] reads them |
//! | timestamp | the same, or a number ([`TimestampUnit`]) |
//! | jsonb | any JSON text, kept without white space |
//! | uuid | 32 hexadecimal digits, with or without hyphens and braces |
//! | bytea | `\x…` hexadecimal; any other text is its own bytes; base64 where Kafka Connect writes |
//! | T[] | `{a,"b",NULL}` or a JSON array |
//!
//! Eight digits that are a date (`20191124`) are one, and no number of seconds.

mod array;
mod base64;
mod number;
mod parser;
mod uuid;

use crate::column::{Column, Values};
use crate::json;
use yeoul_batch::DecimalFormat;
pub(crate) use yeoul_batch::text::{Decimal, Misfit};
use yeoul_batch::text::{parse_date, parse_interval, parse_time, parse_timestamp};

pub(crate) use number::parse_f64;
pub use parser::ValueParser;

/// Appends the value that `text` says to `column`. On an error the column may hold half a value:
/// [`Column::truncate`] takes it back.
pub(crate) fn push_text(column: &mut Column, text: &str) -> Result<(), Misfit> {
    let invalid = Misfit::Invalid;
    match &mut column.values {
        Values::Text { values, chars_max } => {
            if *chars_max != usize::MAX && text.chars().count() > *chars_max {
                return Err(Misfit::TooLong);
            }
            values.push(text);
        }
        Values::Int64(v) => v.push(number::parse_integer(text)?),
        Values::Int32(v) => v.push(narrow(number::parse_integer(text)?)?),
        Values::Int16(v) => v.push(narrow(number::parse_integer(text)?)?),
        Values::Float64(v) => v.push(parse_f64(text)?),
        Values::Float32(v) => v.push(number::parse_f32(text)?),
        Values::Bool(v) => v.push(parse_boolean(text).ok_or(invalid)?),
        Values::Decimal { values, precision, .. }
            if column.forms.decimals == DecimalFormat::Base64 =>
        {
            values.push(base64::decimal(text, *precision)?);
        }
        Values::Decimal { values, precision, scale } => {
            let number = Decimal::parse(text.trim_ascii().as_bytes()).ok_or(invalid)?;
            values.push(number.rounded(*precision, *scale).ok_or(Misfit::OutOfRange)?);
        }
        Values::Timestamp { values, zone, unit } => {
            values.push(parse_timestamp(text, zone.is_some(), *unit)?);
        }
        Values::Date(v) => v.push(parse_date(text).ok_or(invalid)?),
        Values::Time(v) => v.push(parse_time(text).ok_or(invalid)?),
        Values::Interval(v) => v.push(parse_interval(text)?),
        Values::Json(values) => values.push(&json::compact(text).ok_or(invalid)?),
        Values::Uuid(v) => v.push(uuid::parse(text).ok_or(invalid)?),
        Values::Binary { ends, bytes } if column.forms.connect => {
            bytes.extend_from_slice(&base64::bytes(text).ok_or(invalid)?);
            ends.push(i32::try_from(bytes.len()).map_err(|_| Misfit::TooLong)?);
        }
        Values::Binary { ends, bytes } => {
            match text.strip_prefix("\\x") {
                Some(hex) => push_hex(hex, bytes).ok_or(invalid)?,
                None => bytes.extend_from_slice(text.as_bytes()),
            }
            ends.push(i32::try_from(bytes.len()).map_err(|_| Misfit::TooLong)?);
        }
        Values::List { ends, item, .. } => {
            if text.trim_ascii_start().starts_with('[') {
                json::push_array(item, text)?;
            } else {
                array::push_elements(item, text)?;
            }
            ends.push(i32::try_from(item.rows).map_err(|_| Misfit::TooLong)?);
        }
    }
    column.pushed();
    Ok(())
}

/// Appends the value that `text[start .. end]` says: [`push_text`] for values that stand in a longer
/// text.
#[inline]
pub(crate) fn push_span(
    column: &mut Column,
    text: &str,
    start: usize,
    end: usize,
) -> Result<(), Misfit> {
    if let Values::Text { values, chars_max: usize::MAX } = &mut column.values {
        values.push_span(text, start, end);
        column.pushed();
        return Ok(());
    }
    push_text(column, &text[start..end])
}

/// An integer in a narrower type.
pub(crate) fn narrow<T: TryFrom<i64>>(value: i64) -> Result<T, Misfit> {
    T::try_from(value).map_err(|_| Misfit::OutOfRange)
}

fn parse_boolean(text: &str) -> Option<bool> {
    const WORDS: [(&str, bool); 12] = [
        ("true", true),
        ("false", false),
        ("t", true),
        ("f", false),
        ("1", true),
        ("0", false),
        ("yes", true),
        ("no", false),
        ("y", true),
        ("n", false),
        ("on", true),
        ("off", false),
    ];
    let word = text.trim_ascii();
    WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|&(_, value)| value)
}

fn push_hex(hex: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    for &[high, low] in pairs {
        bytes.push((hex_digit(high)? << 4) | hex_digit(low)?);
    }
    rest.is_empty().then_some(())
}

pub(crate) fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
