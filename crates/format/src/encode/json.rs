//! Values as JSON.

use super::cells::Cells;
use super::digits::{self, Fraction};

/// Appends a value.
pub(super) fn cell(cells: &Cells, row: usize, out: &mut Vec<u8>) {
    if cells.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match cells {
        Cells::Null => out.extend_from_slice(b"null"),
        Cells::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
        Cells::Int(a) => digits::integer(a.value(row), out),
        Cells::Unsigned(a) => digits::unsigned(a.value(row), out),
        Cells::Float32(a) => {
            let value = a.value(row);
            float(value.into(), Some(value), out);
        }
        Cells::Float64(a) => float(a.value(row), None, out),
        Cells::Decimal(a, scale) => digits::decimal(a.value(row), *scale, out),
        Cells::Timestamp { values, zoned } => {
            out.push(b'"');
            digits::timestamp(values.value(row), b'T', Fraction::Thousands, out);
            out.extend_from_slice(if *zoned { b"Z\"" } else { b"\"" });
        }
        Cells::Date(_) | Cells::Time(_) | Cells::Interval(_) | Cells::Uuid(_) => {
            out.push(b'"');
            super::text::cell(cells, row, out);
            out.push(b'"');
        }
        Cells::Text(a) => string(a.value(row), out),
        Cells::Json(a) => out.extend_from_slice(a.value(row).as_bytes()),
        Cells::Binary(a) => {
            out.extend_from_slice(b"\"\\\\x");
            for &byte in a.value(row) {
                digits::hex(byte, out);
            }
            out.push(b'"');
        }
        Cells::List(list, items) => {
            out.push(b'[');
            let ends = list.value_offsets();
            for (place, item) in (ends[row]..ends[row + 1]).enumerate() {
                out.extend((place > 0).then_some(b','));
                cell(items, usize::try_from(item).unwrap_or(0), out);
            }
            out.push(b']');
        }
        Cells::Struct(_, columns) => {
            out.push(b'{');
            for (place, (name, values)) in columns.iter().enumerate() {
                out.extend((place > 0).then_some(b','));
                string(name, out);
                out.push(b':');
                cell(values, row, out);
            }
            out.push(b'}');
        }
    }
}

fn float(value: f64, single: Option<f32>, out: &mut Vec<u8>) {
    if value.is_finite() {
        digits::float(value, single, 16, out);
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends a string with its quotes.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                out.extend_from_slice(b"\\u00");
                digits::hex(control, out);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}
