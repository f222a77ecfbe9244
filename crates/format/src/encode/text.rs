//! Values as PostgreSQL's text, and what CSV and COPY put around it.

use super::cells::Cells;
use super::digits::{self, Fraction};
use super::json;

/// Appends the text of a value that is not null.
pub(super) fn cell(cells: &Cells, row: usize, out: &mut Vec<u8>) {
    match cells {
        Cells::Null => {}
        Cells::Bool(a) => out.push(if a.value(row) { b't' } else { b'f' }),
        Cells::Int(a) => digits::integer(a.value(row), out),
        Cells::Unsigned(a) => digits::unsigned(a.value(row), out),
        Cells::Float32(a) => {
            let value = a.value(row);
            float(value.into(), Some(value), 6, out);
        }
        Cells::Float64(a) => float(a.value(row), None, 15, out),
        Cells::Decimal(a, scale) => digits::decimal(a.value(row), *scale, out),
        Cells::Date(a) => digits::date(a.value(row).into(), out),
        Cells::Time(a) => digits::clock(a.value(row), Fraction::Trimmed, out),
        Cells::Timestamp { values, zoned } => {
            digits::timestamp(values.value(row), b' ', Fraction::Trimmed, out);
            if *zoned {
                out.extend_from_slice(b"+00");
            }
        }
        Cells::Interval(a) => digits::interval(a.value(row), out),
        Cells::Text(a) | Cells::Json(a) => out.extend_from_slice(a.value(row).as_bytes()),
        Cells::Uuid(a) => digits::uuid(a.value(row), out),
        Cells::Binary(a) => {
            out.extend_from_slice(b"\\x");
            for &byte in a.value(row) {
                digits::hex(byte, out);
            }
        }
        Cells::List(list, items) => {
            out.push(b'{');
            let ends = list.value_offsets();
            for (place, item) in (ends[row]..ends[row + 1]).enumerate() {
                out.extend((place > 0).then_some(b','));
                element(items, usize::try_from(item).unwrap_or(0), out);
            }
            out.push(b'}');
        }
        Cells::Struct(..) => json::cell(cells, row, out),
    }
}

fn float(value: f64, single: Option<f32>, plain: i32, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        digits::float(value, single, plain, out);
    }
}

/// Appends an element of an array, quoted where its text would be read as something else.
fn element(items: &Cells, row: usize, out: &mut Vec<u8>) {
    if items.is_null(row) {
        out.extend_from_slice(b"NULL");
        return;
    }
    let start = out.len();
    cell(items, row, out);
    if matches!(items, Cells::List(..)) {
        return;
    }
    let text = &out[start..];
    let special = |b: &u8| b.is_ascii_whitespace() || b"{},\"\\".contains(b) || *b == 0x0b;
    if text.is_empty() || text.eq_ignore_ascii_case(b"null") || text.iter().any(special) {
        let text = out.split_off(start);
        out.push(b'"');
        for byte in text {
            out.extend(matches!(byte, b'"' | b'\\').then_some(b'\\'));
            out.push(byte);
        }
        out.push(b'"');
    }
}

/// Quotes the field that begins at `start` if it needs it (RFC 4180). An empty one is quoted, so that
/// it is no null.
pub(super) fn quote_csv(out: &mut Vec<u8>, start: usize, delimiter: u8) {
    let text = &out[start..];
    let special = |&b: &u8| b == delimiter || matches!(b, b'"' | b'\n' | b'\r');
    if !text.is_empty() && !text.iter().any(special) {
        return;
    }
    let text = out.split_off(start);
    out.push(b'"');
    for byte in text {
        out.extend((byte == b'"').then_some(b'"'));
        out.push(byte);
    }
    out.push(b'"');
}

/// Escapes the value that begins at `start` for COPY text.
pub(super) fn escape_copy(out: &mut Vec<u8>, start: usize) {
    let escape = |byte: u8| match byte {
        b'\\' => Some(b'\\'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        b'\t' => Some(b't'),
        0x08 => Some(b'b'),
        0x0b => Some(b'v'),
        0x0c => Some(b'f'),
        _ => None,
    };
    if !out[start..].iter().any(|&b| escape(b).is_some()) {
        return;
    }
    for byte in out.split_off(start) {
        match escape(byte) {
            Some(letter) => out.extend_from_slice(&[b'\\', letter]),
            None => out.push(byte),
        }
    }
}
