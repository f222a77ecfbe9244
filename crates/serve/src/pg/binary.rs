//! Values in the binary form of the Postgres wire: big-endian, time from the year 2000,
//! numerics in digits of base 10,000.

use arrow::array::{Array, ListArray};
use bytes::BufMut;

use super::values::Values;

/// From 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const EPOCH_US: i64 = 946_684_800_000_000;

/// Puts the value of `row`, which is not NULL, without its length.
pub(crate) fn put_value(values: &Values, row: usize, out: &mut Vec<u8>) {
    match values {
        Values::Null => {}
        Values::Bool(a) => out.put_u8(u8::from(a.value(row))),
        Values::Int2(a) => out.put_i16(a.value(row)),
        Values::Int4(a) => out.put_i32(a.value(row)),
        Values::Int8(a) => out.put_i64(a.value(row)),
        Values::Float4(a) => out.put_f32(a.value(row)),
        Values::Float8(a) => out.put_f64(a.value(row)),
        Values::Numeric(a, scale) => {
            let value = a.value(row);
            let mut buffer = [b'0'; 40];
            let digits = digits_of(value.unsigned_abs(), &mut buffer);
            put_numeric(out, value < 0, digits, *scale);
        }
        Values::Digits(a) => put_digits(out, a.value(row)),
        Values::Text(a) => out.put_slice(a.value(row).as_bytes()),
        Values::Jsonb(a) => {
            out.put_u8(1);
            out.put_slice(a.value(row).as_bytes());
        }
        Values::Bytea(a) => out.put_slice(a.value(row)),
        Values::Uuid(a) => out.put_slice(a.value(row)),
        Values::Date(a) => out.put_i32(a.value(row).saturating_sub(EPOCH_DAYS)),
        Values::Time(a) => out.put_i64(a.value(row)),
        Values::Timestamp(a) | Values::Timestamptz(a) => {
            out.put_i64(a.value(row).saturating_sub(EPOCH_US));
        }
        Values::Interval(a) => {
            let value = a.value(row);
            out.put_i64(value.nanoseconds / 1_000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        Values::List(lists, items, oid) => {
            let (start, end) = bounds(lists, row);
            let nulls = (start..end).any(|item| items.is_null(item));
            out.put_i32(i32::from(end > start));
            out.put_i32(i32::from(nulls));
            out.put_u32(*oid);
            if end == start {
                return;
            }
            out.put_u32(u32::try_from(end - start).unwrap_or(u32::MAX));
            out.put_i32(1);
            for item in start..end {
                put_sized(items, item, out);
            }
        }
    }
}

/// Puts the value of `row` with its length in front; −1 is NULL.
pub(crate) fn put_sized(values: &Values, row: usize, out: &mut Vec<u8>) {
    if values.is_null(row) {
        out.put_i32(-1);
        return;
    }
    let at = out.len();
    out.put_u32(0);
    put_value(values, row, out);
    let length = u32::try_from(out.len() - at - 4).expect("a value is far below 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Where the items of `row` lie.
fn bounds(lists: &ListArray, row: usize) -> (usize, usize) {
    let offsets = lists.value_offsets();
    let place = |at: i32| usize::try_from(at).unwrap_or(0);
    debug_assert!(row < lists.len(), "a row of the array");
    (place(offsets[row]), place(offsets[row + 1]))
}

/// The digit of a number below ten.
fn digit(value: u64) -> u8 {
    b"0123456789"[usize::try_from(value % 10).unwrap_or(0)]
}

/// The decimal digits of an unscaled value, without leading zeros, in the buffer's end.
fn digits_of(value: u128, buffer: &mut [u8; 40]) -> &[u8] {
    const CHUNK: u128 = 10_000_000_000_000_000_000;
    let mut at = buffer.len();
    let mut rest = value;
    while rest > 0 {
        let mut chunk = u64::try_from(rest % CHUNK).unwrap_or(0);
        rest /= CHUNK;
        for _ in 0..19 {
            if at == 0 || (rest == 0 && chunk == 0) {
                break;
            }
            at -= 1;
            buffer[at] = digit(chunk % 10);
            chunk /= 10;
        }
    }
    &buffer[at..]
}

/// A numeric given as its unscaled digits (no leading zeros) and its scale.
fn put_numeric(out: &mut Vec<u8>, negative: bool, digits: &[u8], scale: i8) {
    let scale = isize::from(scale);
    // Groups of four digits are counted from the decimal point in both directions.
    let before = digits.len().cast_signed() - scale;
    let weight = (before + 3).div_euclid(4) - 1;
    let lead = (weight + 1) * 4 - before;
    let digit = |place: isize| -> i16 {
        let place = usize::try_from(place - lead).ok();
        place.and_then(|p| digits.get(p)).map_or(0, |d| i16::from(*d - b'0'))
    };
    let head = out.len();
    out.put_bytes(0, 8);
    let mut groups: usize = 0;
    let mut end = out.len();
    let mut at: isize = 0;
    while at < digits.len().cast_signed() + lead {
        let group = ((digit(at) * 10 + digit(at + 1)) * 10 + digit(at + 2)) * 10 + digit(at + 3);
        out.put_i16(group);
        groups += 1;
        if group != 0 {
            end = out.len();
        }
        at += 4;
    }
    // Groups of zeros at the end are not sent.
    groups -= (out.len() - end) / 2;
    out.truncate(end);
    let weight = if groups == 0 { 0 } else { i16::try_from(weight).unwrap_or(0) };
    let sign: u16 = if negative && groups > 0 { 0x4000 } else { 0 };
    let groups = u16::try_from(groups).unwrap_or(0);
    let places = u16::try_from(scale.max(0)).unwrap_or(0);
    out[head..head + 2].copy_from_slice(&groups.to_be_bytes());
    out[head + 2..head + 4].copy_from_slice(&weight.to_be_bytes());
    out[head + 4..head + 6].copy_from_slice(&sign.to_be_bytes());
    out[head + 6..head + 8].copy_from_slice(&places.to_be_bytes());
}

/// A numeric given as its decimal text.
fn put_digits(out: &mut Vec<u8>, text: &str) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: Vec<u8> =
        whole.bytes().chain(fraction.bytes()).skip_while(|d| *d == b'0').collect();
    put_numeric(out, negative, &digits, i8::try_from(fraction.len()).unwrap_or(i8::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Decimal128Array};
    use arrow::datatypes::Field;
    use std::sync::Arc;
    use yeoul_format::encode::TextColumn;

    fn numeric(value: i128, scale: i8) -> Vec<i16> {
        let mut buffer = [b'0'; 40];
        let digits = digits_of(value.unsigned_abs(), &mut buffer);
        let mut out = Vec::new();
        put_numeric(&mut out, value < 0, digits, scale);
        let fields: Vec<i16> =
            out.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect();
        fields
    }

    /// Reads the wire form back by its definition: Σ group · 10000^(weight − i).
    fn back(fields: &[i16]) -> String {
        let [groups, weight, sign, places] = [fields[0], fields[1], fields[2], fields[3]];
        assert_eq!(usize::try_from(groups).unwrap(), fields.len() - 4);
        let group = |i: i16| {
            let at = weight - i;
            if at < 0 {
                0
            } else {
                fields.get(4 + usize::try_from(at).unwrap()).copied().unwrap_or(0)
            }
        };
        let mut whole = String::new();
        for i in (0..=weight.max(0)).rev() {
            whole.push_str(&format!("{:04}", group(i)));
        }
        let whole = whole.trim_start_matches('0');
        let mut fraction = String::new();
        for i in 1..=places / 4 + 1 {
            fraction.push_str(&format!("{:04}", group(-i)));
        }
        fraction.truncate(usize::try_from(places).unwrap());
        let sign = if sign == 0x4000 { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { whole };
        if fraction.is_empty() {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{fraction}")
        }
    }

    #[test]
    fn numerics_by_the_documentation() {
        assert_eq!(numeric(0, 2), [0, 0, 0, 2]);
        assert_eq!(numeric(123_456, 2), [2, 0, 0, 2, 1234, 5600]);
        assert_eq!(numeric(-5, 2), [1, -1, 0x4000, 2, 500]);
        assert_eq!(numeric(10_000, 0), [1, 1, 0, 0, 1]);
        assert_eq!(numeric(1, 6), [1, -2, 0, 6, 100]);
        assert_eq!(numeric(12, -3), [2, 1, 0, 0, 1, 2000]);
    }

    #[test]
    fn numerics_read_back_as_their_text() {
        let mut state = 88_172_645_463_325_252_u64;
        for round in 0..5_000_i32 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Below 2^126, so of at most 38 digits.
            let square = (u128::from(state) * u128::from(state)) >> (state % 120 + 2);
            let value = i128::try_from(square).unwrap();
            let value = if state & 1 == 0 { value } else { -value };
            let scale = i8::try_from(round % 19).unwrap();
            let array: ArrayRef = Arc::new(
                Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap(),
            );
            let field = Field::new("n", array.data_type().clone(), true);
            let mut text = Vec::new();
            TextColumn::new(&field, &array).unwrap().write(0, &mut text);
            let text = String::from_utf8(text).unwrap();
            let got = back(&numeric(value, scale));
            let zero = value == 0;
            assert!(got == text || zero, "{value} at scale {scale}: {got} and {text}");
        }
    }
}
