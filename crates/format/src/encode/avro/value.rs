//! A value as bytes. Its table is in [`super`].

use super::binary;
use super::slot::{Form, Slot};
use crate::encode::cells::Cells;
use crate::encode::digits;

/// The branch of a union that is null: the number 0.
pub(super) const NULL: u8 = 0;
/// The branch that is the value: the number 1.
pub(super) const PRESENT: u8 = 2;

/// Appends the value of `row`.
pub(super) fn put(slot: &Slot, cells: &Cells, row: usize, out: &mut Vec<u8>) {
    if slot.nullable {
        if cells.is_null(row) {
            out.push(NULL);
            return;
        }
        out.push(PRESENT);
    }
    match cells {
        Cells::Null => {}
        Cells::Bool(a) => out.push(a.value(row).into()),
        Cells::Int(a) => binary::long(a.value(row), out),
        Cells::Unsigned(a) => match (i64::try_from(a.value(row)), &slot.form) {
            (Ok(value), Form::Int | Form::Long) => binary::long(value, out),
            _ => binary::decimal(a.value(row).into(), out),
        },
        Cells::Float32(a) => out.extend_from_slice(&a.value(row).to_le_bytes()),
        Cells::Float64(a) => out.extend_from_slice(&a.value(row).to_le_bytes()),
        Cells::Decimal(a, _) => binary::decimal(a.value(row), out),
        Cells::Date(a) => binary::long(a.value(row).into(), out),
        Cells::Time(a) => binary::long(a.value(row), out),
        Cells::Timestamp { values, .. } => binary::long(values.value(row), out),
        Cells::Interval(a) => {
            let start = out.len();
            digits::interval(a.value(row), out);
            binary::lengthen(start, out);
        }
        Cells::Text(a) | Cells::Json(a) => binary::bytes(a.value(row).as_bytes(), out),
        Cells::Uuid(a) => {
            let start = out.len();
            digits::uuid(a.value(row), out);
            binary::lengthen(start, out);
        }
        Cells::Binary(a) => binary::bytes(a.value(row), out),
        Cells::List(list, items) => {
            let Form::Array(item) = &slot.form else { unreachable!("a list is an array") };
            let ends = list.value_offsets();
            let place = |end: i32| usize::try_from(end).expect("offsets have no sign");
            let (start, end) = (place(ends[row]), place(ends[row + 1]));
            // One block with all of them, and none behind it.
            if end > start {
                binary::length(end - start, out);
                (start..end).for_each(|element| put(item, items, element, out));
            }
            binary::length(0, out);
        }
        Cells::Struct(_, columns) => {
            let Form::Record(slots) = &slot.form else { unreachable!("a struct is a record") };
            for (slot, (_, cells)) in slots.iter().zip(columns) {
                put(slot, cells, row, out);
            }
        }
    }
}
