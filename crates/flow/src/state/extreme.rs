//! The least, the greatest, the first and the last: states over rows that are never taken back.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, DynComparator, PrimitiveArray,
    UInt32Array, downcast_primitive_array, make_comparator,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{SortOptions, take};
use arrow::datatypes::ArrowPrimitiveType;

use super::Rows;
use crate::error::FlowError;
use crate::group::compact;

/// How one column is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

impl Direction {
    /// SQL's default: ascending, nulls last.
    pub(crate) const ASCENDING: Self = Self { descending: false, nulls_first: false };
}

/// The least or greatest value of each group, null where there is none.
pub(super) fn extreme(
    values: &ArrayRef,
    greatest: bool,
    rows: &Rows<'_>,
) -> Result<ArrayRef, FlowError> {
    let array = values.as_ref();
    Ok(downcast_primitive_array!(
        array => primitive(array, greatest, rows),
        _ => {
            let compare = make_comparator(array, array, SortOptions::default())?;
            let best = best(rows, array.nulls(), |a, b| {
                compare(a, b) == if greatest { Ordering::Greater } else { Ordering::Less }
            });
            compact(take(array, &best, None)?)
        }
    ))
}

fn primitive<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    greatest: bool,
    rows: &Rows<'_>,
) -> ArrayRef {
    let slice = values.values();
    let mut best = vec![T::Native::default(); rows.count];
    let mut seen = vec![false; rows.count];
    let wanted = if greatest { Ordering::Greater } else { Ordering::Less };
    rows.each(values.nulls(), |row, group, _| {
        let value = slice[row];
        if !seen[group] || value.compare(best[group]) == wanted {
            best[group] = value;
            seen[group] = true;
        }
    });
    let nulls: NullBuffer = seen.into();
    let nulls = (nulls.null_count() > 0).then_some(nulls);
    let array = PrimitiveArray::<T>::new(best.into(), nulls);
    Arc::new(array.with_data_type(values.data_type().clone()))
}

/// The row of each group that is `better` than the others, null where there is none.
fn best(
    rows: &Rows<'_>,
    nulls: Option<&NullBuffer>,
    better: impl Fn(usize, usize) -> bool,
) -> UInt32Array {
    const NONE: u32 = u32::MAX;
    let mut best = vec![NONE; rows.count];
    rows.each(nulls, |row, group, _| {
        let current = best[group];
        if current == NONE || better(row, current as usize) {
            #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer rows")]
            let row = row as u32;
            best[group] = row;
        }
    });
    best.into_iter().map(|row| (row != NONE).then_some(row)).collect()
}

/// The state of the first (or last) row of each group: `columns` are the order's, then the value.
pub(super) fn first_row(
    columns: &[ArrayRef],
    directions: &[Direction],
    last: bool,
    rows: &Rows<'_>,
) -> Result<Vec<ArrayRef>, FlowError> {
    let best = best(rows, None, ordering(columns, directions, last)?);
    let mut state = Vec::with_capacity(columns.len() + 1);
    for column in columns {
        state.push(compact(take(column, &best, None)?));
    }
    let present: BooleanArray = best.iter().map(|row| Some(row.is_some())).collect();
    state.push(Arc::new(present));
    Ok(state)
}

/// The first (or last) of the states of each group.
pub(super) fn merge_rows(
    columns: &[ArrayRef],
    directions: &[Direction],
    last: bool,
    rows: &Rows<'_>,
) -> Result<Vec<ArrayRef>, FlowError> {
    let (columns, present) = columns.split_at(columns.len() - 1);
    let selected = present[0].as_boolean().values();
    first_row(columns, directions, last, &Rows { selected: Some(selected), ..*rows })
}

/// Whether a row comes before (after, if `last`) another.
fn ordering(
    columns: &[ArrayRef],
    directions: &[Direction],
    last: bool,
) -> Result<impl Fn(usize, usize) -> bool, FlowError> {
    let mut comparators: Vec<DynComparator> = Vec::with_capacity(columns.len());
    for (column, &Direction { descending, nulls_first }) in columns.iter().zip(directions) {
        comparators.push(make_comparator(column, column, SortOptions { descending, nulls_first })?);
    }
    let wanted = if last { Ordering::Greater } else { Ordering::Less };
    Ok(move |a: usize, b: usize| {
        let order = comparators.iter().map(|compare| compare(a, b)).find(|order| order.is_ne());
        order == Some(wanted)
    })
}
