//! Values as JSON, for columns of text and jsonb and for people, in the forms of [`crate::encode`];
//! and passing values that nobody asks for.
//!
//! A value of a union is written as what it is, without the name of its branch.

use super::cursor::{Broken, Cursor, DECIMAL_BYTES_MAX};
use super::schema::{Ticks, Type, TypeId};
use super::value::micros;
use crate::encode::digits::{self, Fraction};
use crate::encode::json_string;

/// Deepest nesting of arrays, maps and records, as in JSON.
const DEPTH_MAX: usize = 128;

/// Appends the value of type `id` here.
pub(super) fn write(
    types: &[Type],
    id: TypeId,
    cursor: &mut Cursor<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), Broken> {
    let one = &types[id];
    match one {
        Type::Null => out.extend_from_slice(b"null"),
        Type::Boolean => {
            out.extend_from_slice(if cursor.boolean()? { b"true" } else { b"false" });
        }
        Type::Int => integer(cursor.int()?.into(), out),
        Type::Long => integer(cursor.long()?, out),
        Type::Float => {
            let value = cursor.float()?;
            number(value.into(), Some(value), out);
        }
        Type::Double => number(cursor.double()?, None, out),
        Type::String => json_string(cursor.string()?, out),
        Type::Enum(symbols) => json_string(cursor.symbol(symbols)?, out),
        Type::Bytes => bytes(cursor.bytes()?, out),
        Type::Fixed(size) => bytes(cursor.take(*size)?, out),
        Type::Decimal { scale, fixed } => decimal(cursor.decimal(*fixed)?, (*scale).into(), out),
        Type::Date | Type::Time(_) | Type::Timestamp { .. } => time(one, cursor, out)?,
        Type::Uuid => {
            out.push(b'"');
            digits::uuid(&cursor.array::<16>()?, out);
            out.push(b'"');
        }
        Type::Duration => duration(cursor, out)?,
        Type::Union(branches) => {
            let branch = cursor.branch(branches.len())?;
            return write(types, branches[branch], cursor, depth, out);
        }
        Type::Array(_) | Type::Map(_) | Type::Record(_) if depth == DEPTH_MAX => {
            return Err(cursor.broken("it nests too deep"));
        }
        Type::Array(item) => {
            out.push(b'[');
            let mut first = true;
            cursor.elements(|cursor| {
                comma(&mut first, out);
                write(types, *item, cursor, depth + 1, out)
            })?;
            out.push(b']');
        }
        Type::Map(value) => {
            out.push(b'{');
            let mut first = true;
            cursor.elements(|cursor| {
                comma(&mut first, out);
                json_string(cursor.string()?, out);
                out.push(b':');
                write(types, *value, cursor, depth + 1, out)
            })?;
            out.push(b'}');
        }
        Type::Record(fields) => {
            out.push(b'{');
            let mut first = true;
            cursor.count()?;
            for field in fields {
                comma(&mut first, out);
                json_string(&field.name, out);
                out.push(b':');
                write(types, field.value, cursor, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn comma(first: &mut bool, out: &mut Vec<u8>) {
    if !std::mem::take(first) {
        out.push(b',');
    }
}

/// Appends the digits of an integer.
pub(super) fn integer(value: i64, out: &mut Vec<u8>) {
    digits::integer(value, out);
}

/// Appends a double, which was `single` if it was one; `null` for what JSON has no number for.
fn number(value: f64, single: Option<f32>, out: &mut Vec<u8>) {
    if value.is_finite() {
        float(value, single, out);
    } else {
        out.extend_from_slice(b"null");
    }
}

/// The same; what is no number as PostgreSQL calls it.
pub(super) fn float(value: f64, single: Option<f32>, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        digits::float(value, single, 16, out);
    }
}

fn bytes(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"\\\\x");
    value.iter().for_each(|byte| digits::hex(*byte, out));
    out.push(b'"');
}

/// A number in two's complement, the highest byte first, of at most 16 bytes.
pub(super) fn wide(digits: &[u8]) -> i128 {
    let negative = digits.first().is_some_and(|byte| *byte >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 16];
    if let Some(tail) = all.len().checked_sub(digits.len()) {
        all[tail..].copy_from_slice(digits);
    }
    i128::from_be_bytes(all)
}

/// Appends a decimal with `scale` digits behind the point.
pub(super) fn decimal(value: &[u8], scale: usize, out: &mut Vec<u8>) {
    if value.len() <= 16 {
        return digits::decimal(wide(value), scale, out);
    }
    // Nine digits at a time, the last ones first.
    let negative = value.first().is_some_and(|byte| *byte >= 0x80);
    let mut rest = [0; DECIMAL_BYTES_MAX];
    let rest = &mut rest[..value.len().min(DECIMAL_BYTES_MAX)];
    let mut carry = negative;
    for (byte, from) in rest.iter_mut().zip(value).rev() {
        (*byte, carry) =
            if negative { (!from).overflowing_add(carry.into()) } else { (*from, false) };
    }
    let mut text = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        let mut nine = 0_u64;
        for byte in rest.iter_mut() {
            nine = nine << 8 | u64::from(*byte);
            *byte = u8::try_from(nine / 1_000_000_000).unwrap_or(u8::MAX);
            nine %= 1_000_000_000;
        }
        for _ in 0..9 {
            text.push(b'0' + u8::try_from(nine % 10).unwrap_or(0));
            nine /= 10;
        }
    }
    while text.len() > scale + 1 && text.last() == Some(&b'0') {
        text.pop();
    }
    while text.len() < scale + 1 {
        text.push(b'0');
    }
    if scale > 0 {
        text.insert(scale, b'.');
    }
    out.extend(negative.then_some(b'-'));
    out.extend(text.iter().rev());
}

fn time(one: &Type, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    let start = *cursor;
    let number = match one {
        Type::Date | Type::Time(Ticks::Millis) => cursor.int()?.into(),
        _ => cursor.long()?,
    };
    let beyond = || start.broken("a time is beyond all years");
    out.push(b'"');
    match one {
        Type::Date => digits::date(number, out),
        Type::Time(_) => {
            let us = micros(one, number).filter(|us| *us >= 0).ok_or_else(beyond)?;
            digits::clock(us, Fraction::Trimmed, out);
        }
        _ => {
            let us = micros(one, number).ok_or_else(beyond)?;
            digits::timestamp(us, b'T', Fraction::Thousands, out);
        }
    }
    if matches!(one, Type::Timestamp { zoned: true, .. }) {
        out.push(b'Z');
    }
    out.push(b'"');
    Ok(())
}

fn duration(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    let start = *cursor;
    let value =
        super::value::duration(cursor).map_err(|_| start.broken("a duration is too long"))?;
    out.push(b'"');
    digits::interval(value, out);
    out.push(b'"');
    Ok(())
}

/// Passes the value of type `id` here.
pub(super) fn skip(
    types: &[Type],
    id: TypeId,
    cursor: &mut Cursor<'_>,
    depth: usize,
) -> Result<(), Broken> {
    match &types[id] {
        Type::Null => {}
        Type::Boolean => drop(cursor.boolean()?),
        Type::Int | Type::Date | Type::Time(Ticks::Millis) => drop(cursor.int()?),
        Type::Long | Type::Time(_) | Type::Timestamp { .. } => drop(cursor.long()?),
        Type::Float => drop(cursor.take(4)?),
        Type::Double => drop(cursor.take(8)?),
        Type::Bytes | Type::String => drop(cursor.bytes()?),
        Type::Decimal { fixed, .. } => drop(cursor.decimal(*fixed)?),
        Type::Fixed(size) => drop(cursor.take(*size)?),
        Type::Uuid => drop(cursor.take(16)?),
        Type::Duration => drop(cursor.take(12)?),
        Type::Enum(symbols) => drop(cursor.symbol(symbols)?),
        Type::Union(branches) => {
            let branch = cursor.branch(branches.len())?;
            return skip(types, branches[branch], cursor, depth);
        }
        Type::Array(_) | Type::Map(_) | Type::Record(_) if depth == DEPTH_MAX => {
            return Err(cursor.broken("it nests too deep"));
        }
        Type::Array(item) => {
            cursor.skip_elements(|cursor| skip(types, *item, cursor, depth + 1))?;
        }
        Type::Map(value) => cursor.skip_elements(|cursor| {
            cursor.bytes()?;
            skip(types, *value, cursor, depth + 1)
        })?,
        Type::Record(fields) => {
            cursor.count()?;
            for field in fields {
                skip(types, field.value, cursor, depth + 1)?;
            }
        }
    }
    Ok(())
}
