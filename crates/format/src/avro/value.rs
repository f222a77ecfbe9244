//! A value into a column.
//!
//! | Avro | goes into |
//! |---|---|
//! | null | any column that may be null |
//! | boolean | boolean; text and jsonb as JSON writes it |
//! | int, long | numbers if nothing is lost, timestamps, text and jsonb as digits, `0` and `1` into boolean |
//! | float, double | numbers if nothing but digits behind a decimal's scale is lost, timestamps, text and jsonb |
//! | decimal | the same but timestamps |
//! | string | any type, by the rules of `value`: so jsonb from its text |
//! | enum | the same, but a string in jsonb |
//! | bytes, fixed | bytea; uuid if they are 16; text and jsonb if they are text |
//! | date, time, timestamp | each other where PostgreSQL casts them, the number written into integers, text and jsonb as JSON shows them |
//! | uuid, duration | uuid, interval; text and jsonb |
//! | array | a list; text and jsonb as JSON |
//! | map, record | text and jsonb as JSON |

use arrow::datatypes::IntervalMonthDayNano;

use super::cursor::{Broken, Cursor};
use super::schema::{Ticks, Type, TypeId};
use super::shown;
use crate::column::{Column, Values};
use crate::value::{Misfit, narrow, push_text};

const DAY_US: i64 = 86_400_000_000;

/// Why a value was not taken.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It cannot be read.
    Broken(Broken),
    /// It can, and does not fit its column.
    Misfit(Misfit),
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

/// Appends the value of type `id` here to `column`. After a misfit the cursor is somewhere inside the
/// value, and the column may hold half of it.
pub(super) fn push(
    types: &[Type],
    id: TypeId,
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    scratch: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut id = id;
    if let Type::Union(branches) = &types[id] {
        id = branches[cursor.branch(branches.len())?];
    }
    let start = cursor.rest();
    let one = &types[id];
    match one {
        Type::Null => column.push_null(),
        Type::Boolean if let Values::Bool(values) = &mut column.values => {
            values.push(cursor.boolean()?);
            column.pushed();
        }
        Type::Int => push_integer(column, cursor.int()?.into(), scratch)?,
        Type::Long => match (&mut column.values, cursor.long()?) {
            (Values::Int64(values), value) => {
                values.push(value);
                column.pushed();
            }
            (_, value) => push_integer(column, value, scratch)?,
        },
        Type::Double => match (&mut column.values, cursor.double()?) {
            (Values::Float64(values), value) => {
                values.push(value);
                column.pushed();
            }
            (_, value) => push_float(column, value, None, scratch)?,
        },
        Type::Float => {
            let value = cursor.float()?;
            push_float(column, value.into(), Some(value), scratch)?;
        }
        Type::String => push_string(column, cursor.string()?, start)?,
        Type::Enum(symbols) if !matches!(column.values, Values::Json(_)) => {
            push_text(column, cursor.symbol(symbols)?)?;
        }
        Type::Bytes => push_bytes(column, cursor.bytes()?)?,
        Type::Fixed(size) => push_bytes(column, cursor.take(*size)?)?,
        Type::Decimal { scale, fixed } => {
            push_decimal(column, cursor.decimal(*fixed)?, *scale, scratch)?;
        }
        Type::Date | Type::Time(_) | Type::Timestamp { .. }
            if !matches!(column.values, Values::Text { .. } | Values::Json(_)) =>
        {
            push_time(one, column, cursor)?;
        }
        Type::Uuid if let Values::Uuid(values) = &mut column.values => {
            values.push(cursor.array()?);
            column.pushed();
        }
        Type::Duration if let Values::Interval(values) = &mut column.values => {
            values.push(duration(cursor)?);
            column.pushed();
        }
        Type::Array(item) if matches!(column.values, Values::List { .. }) => {
            push_list(types, *item, cursor, column, scratch)?;
        }
        _ => push_shown(types, id, cursor, column, scratch)?,
    }
    Ok(())
}

/// Appends a string that stands in `bytes`.
#[inline]
fn push_string(column: &mut Column, text: &str, bytes: &[u8]) -> Result<(), Misfit> {
    match &mut column.values {
        Values::Text { values, chars_max: usize::MAX } => {
            values.push_within(text, bytes);
            column.pushed();
            Ok(())
        }
        _ => push_text(column, text),
    }
}

/// Appends the value as JSON shows it: text without quotes.
fn push_shown(
    types: &[Type],
    id: TypeId,
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    scratch: &mut Vec<u8>,
) -> Result<(), Failure> {
    let json = match &column.values {
        Values::Json(_) => true,
        Values::Text { .. } => false,
        _ => return Err(Misfit::Invalid.into()),
    };
    scratch.clear();
    shown::write(types, id, cursor, 0, scratch)?;
    let text = match &scratch[..] {
        [b'"', inner @ .., b'"'] if !json && is_plain(&types[id]) => inner,
        all => all,
    };
    let text = std::str::from_utf8(text).map_err(|_| Misfit::Invalid)?;
    match &mut column.values {
        Values::Json(values) => {
            values.push(text);
            column.pushed();
        }
        _ => push_text(column, text)?,
    }
    Ok(())
}

/// Whether a value's JSON is a string without escapes.
fn is_plain(one: &Type) -> bool {
    matches!(one, Type::Date | Type::Time(_) | Type::Timestamp { .. } | Type::Uuid | Type::Duration)
}

fn push_integer(column: &mut Column, value: i64, scratch: &mut Vec<u8>) -> Result<(), Misfit> {
    match &mut column.values {
        Values::Int64(values) => values.push(value),
        Values::Int32(values) => values.push(narrow(value)?),
        Values::Int16(values) => values.push(narrow(value)?),
        #[expect(clippy::cast_precision_loss, reason = "the nearest double is meant")]
        Values::Float64(values) => values.push(value as f64),
        Values::Timestamp { values, unit, .. } => {
            values.push(unit.micros(value).ok_or(Misfit::OutOfRange)?);
        }
        Values::Text { .. }
        | Values::Json(_)
        | Values::Bool(_)
        | Values::Decimal { .. }
        | Values::Float32(_) => {
            scratch.clear();
            shown::integer(value, scratch);
            return push_digits(column, scratch);
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

/// Appends what the digits in `text` say.
fn push_digits(column: &mut Column, text: &[u8]) -> Result<(), Misfit> {
    push_text(column, std::str::from_utf8(text).map_err(|_| Misfit::Invalid)?)
}

/// Appends a double, which was `single` if it was one.
fn push_float(
    column: &mut Column,
    value: f64,
    single: Option<f32>,
    scratch: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match &mut column.values {
        Values::Float64(values) => values.push(value),
        Values::Float32(values) => {
            #[expect(clippy::cast_possible_truncation, reason = "the nearest real is meant")]
            let nearest = single.unwrap_or(value as f32);
            if nearest.is_infinite() && value.is_finite() {
                return Err(Misfit::OutOfRange);
            }
            values.push(nearest);
        }
        // A number that is none has no form in JSON.
        Values::Json(values) if !value.is_finite() => values.push("null"),
        Values::Text { .. }
        | Values::Json(_)
        | Values::Decimal { .. }
        | Values::Int16(_)
        | Values::Int32(_)
        | Values::Int64(_)
        | Values::Timestamp { .. } => {
            scratch.clear();
            shown::float(value, single, scratch);
            return push_digits(column, scratch);
        }
        Values::Bool(_)
        | Values::Date(_)
        | Values::Time(_)
        | Values::Interval(_)
        | Values::Uuid(_)
        | Values::Binary { .. }
        | Values::List { .. } => return Err(Misfit::Invalid),
    }
    column.pushed();
    Ok(())
}

fn push_bytes(column: &mut Column, value: &[u8]) -> Result<(), Misfit> {
    match &mut column.values {
        Values::Binary { ends, bytes } => {
            bytes.extend_from_slice(value);
            ends.push(i32::try_from(bytes.len()).map_err(|_| Misfit::TooLong)?);
            column.pushed();
            Ok(())
        }
        Values::Uuid(values) => {
            values.push(value.try_into().map_err(|_| Misfit::Invalid)?);
            column.pushed();
            Ok(())
        }
        Values::Text { .. } | Values::Json(_) => {
            push_text(column, std::str::from_utf8(value).map_err(|_| Misfit::Invalid)?)
        }
        _ => Err(Misfit::Invalid),
    }
}

/// Appends a decimal: its digits as one number in two's complement, the highest byte first.
fn push_decimal(
    column: &mut Column,
    digits: &[u8],
    places: u16,
    scratch: &mut Vec<u8>,
) -> Result<(), Misfit> {
    match &mut column.values {
        Values::Decimal { values, precision, scale }
            if i32::from(*scale) == i32::from(places) && digits.len() <= 16 =>
        {
            let value = shown::wide(digits);
            let limit = 10_u128.checked_pow((*precision).into());
            let fits = limit.is_none_or(|limit| value.unsigned_abs() < limit);
            values.push(fits.then_some(value).ok_or(Misfit::OutOfRange)?);
            column.pushed();
            Ok(())
        }
        Values::Decimal { .. }
        | Values::Text { .. }
        | Values::Json(_)
        | Values::Int16(_)
        | Values::Int32(_)
        | Values::Int64(_)
        | Values::Float32(_)
        | Values::Float64(_) => {
            scratch.clear();
            shown::decimal(digits, places.into(), scratch);
            push_digits(column, scratch)
        }
        _ => Err(Misfit::Invalid),
    }
}

/// Appends a date, a time or a timestamp to a column that is neither text nor jsonb.
fn push_time(one: &Type, column: &mut Column, cursor: &mut Cursor<'_>) -> Result<(), Failure> {
    let number = match one {
        Type::Date | Type::Time(Ticks::Millis) => cursor.int()?.into(),
        _ => cursor.long()?,
    };
    let us = micros(one, number);
    match (one, &mut column.values) {
        (_, Values::Int64(values)) => values.push(number),
        (_, Values::Int32(values)) => values.push(narrow(number)?),
        (_, Values::Int16(values)) => values.push(narrow(number)?),
        (Type::Date | Type::Timestamp { .. }, Values::Timestamp { values, .. }) => {
            values.push(us.ok_or(Misfit::OutOfRange)?);
        }
        (Type::Date, Values::Date(values)) => values.push(narrow(number)?),
        (Type::Timestamp { .. }, Values::Date(values)) => {
            values.push(narrow(us.ok_or(Misfit::OutOfRange)?.div_euclid(DAY_US))?);
        }
        (Type::Time(_), Values::Time(values)) => {
            let us = us.filter(|us| (0..DAY_US).contains(us));
            values.push(us.ok_or(Misfit::OutOfRange)?);
        }
        _ => return Err(Misfit::Invalid.into()),
    }
    column.pushed();
    Ok(())
}

/// Microseconds of the number that a date, a time or a timestamp is written as.
pub(super) fn micros(one: &Type, number: i64) -> Option<i64> {
    match one {
        Type::Date => number.checked_mul(DAY_US),
        Type::Time(Ticks::Millis) | Type::Timestamp { ticks: Ticks::Millis, .. } => {
            number.checked_mul(1_000)
        }
        Type::Time(Ticks::Nanos) | Type::Timestamp { ticks: Ticks::Nanos, .. } => {
            Some(number.div_euclid(1_000))
        }
        _ => Some(number),
    }
}

/// Months, days and milliseconds, each as four bytes without a sign.
pub(super) fn duration(cursor: &mut Cursor<'_>) -> Result<IntervalMonthDayNano, Failure> {
    let mut part = || cursor.array().map(u32::from_le_bytes);
    let (months, days, millis) = (part()?, part()?, part()?);
    let whole = |part: u32| i32::try_from(part).map_err(|_| Misfit::OutOfRange);
    Ok(IntervalMonthDayNano::new(whole(months)?, whole(days)?, i64::from(millis) * 1_000_000))
}

fn push_list(
    types: &[Type],
    item_id: TypeId,
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    scratch: &mut Vec<u8>,
) -> Result<(), Failure> {
    let Values::List { ends, item, .. } = &mut column.values else {
        return Err(Misfit::Invalid.into());
    };
    cursor.elements(|cursor| {
        push(types, item_id, cursor, item, scratch)?;
        if item.last_is_null() && !item.nullable {
            return Err(Misfit::Null.into());
        }
        Ok::<(), Failure>(())
    })?;
    ends.push(i32::try_from(item.rows).map_err(|_| Misfit::TooLong)?);
    column.pushed();
    Ok(())
}
