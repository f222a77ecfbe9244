//! Aggregate states: some columns per kind, built from rows, merged by group.
//!
//! | kind | columns | undone by |
//! |---|---|---|
//! | count | `count` Int64 | subtracting |
//! | integer sum | `sum`, `carry` Int64: carry·2⁶⁴ + sum | subtracting |
//! | decimal sum | `sum` Decimal128(38, s), modulo 2¹²⁸ | subtracting |
//! | float sum, squares | `high`, `low`, `specials` | subtracting |
//! | truths | `trues`, `falses` Int64 | subtracting |
//! | extreme | the value, null before any | – |
//! | row | the order's columns, the value, `present` Boolean | – |
//! | sketch, digest | Binary | – |
//! | set | Binary: sorted values, counted where they can be taken back | counts |
//!
//! What must hold for each kind: merging is associative and commutative, and the state of no rows
//! is neutral.

mod blob;
mod codec;
mod extreme;
mod set;
mod sum;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::error::ArrowError;
use yeoul_functions::{distinct, percentile};

pub(crate) use extreme::Direction;
pub(crate) use set::{SetKind, SetQuestion};
pub(crate) use sum::{
    decimal_average, float_average, integer_average, integer_sum, variance, wide_values,
};

use crate::error::FlowError;
use crate::group::both;

/// Rows on their way into states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// The group of each row.
    pub(crate) ids: &'a [u32],
    /// How many groups.
    pub(crate) count: usize,
    /// The rows that count; all, when there is none.
    pub(crate) selected: Option<&'a BooleanBuffer>,
    /// How often each row counts; once, when there is none.
    pub(crate) diffs: Option<&'a Int64Array>,
}

impl Rows<'_> {
    /// Gives row, group and diff of every row that is selected and not null.
    #[inline]
    pub(crate) fn each(&self, nulls: Option<&NullBuffer>, mut take: impl FnMut(usize, usize, i64)) {
        let diffs = self.diffs.map(|d| d.values());
        match (both(nulls, self.selected), diffs) {
            (None, None) => {
                self.ids.iter().enumerate().for_each(|(row, &id)| take(row, id as usize, 1));
            }
            (None, Some(diffs)) => {
                let rows = self.ids.iter().zip(diffs).enumerate();
                rows.for_each(|(row, (&id, &diff))| take(row, id as usize, diff));
            }
            (Some(mask), None) => {
                mask.set_indices().for_each(|row| take(row, self.ids[row] as usize, 1));
            }
            (Some(mask), Some(diffs)) => {
                mask.set_indices().for_each(|row| take(row, self.ids[row] as usize, diffs[row]));
            }
        }
    }

    /// The values as floats, null where they are not selected.
    fn floats(&self, values: &ArrayRef) -> Result<Float64Array, FlowError> {
        let values = widened(values, &DataType::Float64)?;
        let values: &Float64Array = values.as_primitive::<Float64Type>();
        let valid = both(values.nulls(), self.selected).map(NullBuffer::new);
        Ok(Float64Array::new(values.values().clone(), valid))
    }
}

/// `values` as `data_type`; a value that does not fit is an error.
pub(crate) fn widened(values: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, FlowError> {
    if values.data_type() == data_type {
        return Ok(Arc::clone(values));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(values, data_type, &options)?)
}

/// What is kept of the rows of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// How many rows (no argument) or values that are not null.
    Count,
    IntegerSum,
    DecimalSum {
        scale: i8,
    },
    FloatSum,
    /// The sum of the squares.
    Squares,
    Truths,
    /// The least or greatest value.
    Extreme {
        data_type: DataType,
        greatest: bool,
    },
    /// The first or last row: of the order's columns, then the value.
    Row {
        data_types: Vec<DataType>,
        directions: Vec<Direction>,
        last: bool,
    },
    Sketch,
    Digest,
    Set(SetKind),
}

impl Kind {
    /// Names and types of the state's columns.
    pub(crate) fn columns(&self) -> Vec<(String, DataType)> {
        let named = |names: &[(&str, DataType)]| {
            names.iter().map(|(name, t)| ((*name).to_owned(), t.clone())).collect()
        };
        match self {
            Self::Count => named(&[("count", DataType::Int64)]),
            Self::IntegerSum => named(&[("sum", DataType::Int64), ("carry", DataType::Int64)]),
            Self::DecimalSum { scale } => named(&[("sum", DataType::Decimal128(38, *scale))]),
            Self::FloatSum => named(&yeoul_functions::sum::STATE_COLUMNS),
            Self::Squares => {
                let columns = yeoul_functions::sum::STATE_COLUMNS;
                columns.into_iter().map(|(name, t)| (format!("squares_{name}"), t)).collect()
            }
            Self::Truths => named(&[("trues", DataType::Int64), ("falses", DataType::Int64)]),
            Self::Extreme { data_type, greatest } => {
                named(&[(if *greatest { "max" } else { "min" }, data_type.clone())])
            }
            Self::Row { data_types, .. } => {
                let order = data_types.len() - 1;
                let name = |i| if i == order { "value".to_owned() } else { format!("order_{i}") };
                let mut columns: Vec<_> =
                    data_types.iter().enumerate().map(|(i, t)| (name(i), t.clone())).collect();
                columns.push(("present".to_owned(), DataType::Boolean));
                columns
            }
            Self::Sketch => named(&[("sketch", DataType::Binary)]),
            Self::Digest => named(&[("digest", DataType::Binary)]),
            Self::Set(_) => named(&[("set", DataType::Binary)]),
        }
    }

    /// The states of the groups of some rows.
    pub(crate) fn build(
        &self,
        arguments: &[ArrayRef],
        rows: &Rows<'_>,
    ) -> Result<Vec<ArrayRef>, FlowError> {
        match self {
            Self::Count => Ok(vec![count(arguments.first(), rows)]),
            Self::IntegerSum => {
                let values = widened(&arguments[0], &DataType::Int64)?;
                Ok(sum::integers(values.as_primitive::<Int64Type>(), rows))
            }
            Self::DecimalSum { scale } => sum::decimals(&arguments[0], *scale, rows),
            Self::FloatSum => sum::floats(&rows.floats(&arguments[0])?, rows),
            Self::Squares => sum::squares(&rows.floats(&arguments[0])?, rows),
            Self::Truths => Ok(truths(&arguments[0], rows)),
            Self::Extreme { greatest, .. } => {
                Ok(vec![extreme::extreme(&arguments[0], *greatest, rows)?])
            }
            Self::Row { directions, last, .. } => {
                extreme::first_row(arguments, directions, *last, rows)
            }
            Self::Sketch => sketch(&arguments[0], rows),
            Self::Digest => {
                let values = rows.floats(&arguments[0])?;
                Ok(vec![Arc::new(percentile::build(&values, rows.ids, rows.count))])
            }
            Self::Set(set) => Ok(vec![Arc::new(set.build(arguments, rows)?)]),
        }
    }

    /// The states of groups of states.
    pub(crate) fn merge(
        &self,
        columns: &[ArrayRef],
        ids: &[u32],
        count: usize,
    ) -> Result<Vec<ArrayRef>, FlowError> {
        let rows = Rows { ids, count, selected: None, diffs: None };
        match self {
            Self::Count => Ok(vec![added(&columns[0], &rows)]),
            Self::Truths => Ok(vec![added(&columns[0], &rows), added(&columns[1], &rows)]),
            Self::IntegerSum => Ok(sum::merge_integers(columns, &rows)),
            Self::DecimalSum { scale } => sum::decimals(&columns[0], *scale, &rows),
            Self::FloatSum | Self::Squares => sum::merge_floats(columns, &rows),
            Self::Extreme { greatest, .. } => {
                Ok(vec![extreme::extreme(&columns[0], *greatest, &rows)?])
            }
            Self::Row { directions, last, .. } => {
                extreme::merge_rows(columns, directions, *last, &rows)
            }
            Self::Sketch => {
                let merged = distinct::merge(binary(&columns[0])?, ids, count);
                Ok(vec![Arc::new(merged.map_err(ArrowError::from)?)])
            }
            Self::Digest => {
                let merged = percentile::merge(binary(&columns[0])?, ids, count);
                Ok(vec![Arc::new(merged.map_err(ArrowError::from)?)])
            }
            Self::Set(set) => Ok(vec![Arc::new(set.merge(binary(&columns[0])?, ids, count)?)]),
        }
    }

    /// The state of a group without rows.
    pub(crate) fn empty(&self, arguments: &[DataType]) -> Result<Vec<ArrayRef>, FlowError> {
        let arguments: Vec<ArrayRef> =
            arguments.iter().map(arrow::array::new_empty_array).collect();
        self.build(&arguments, &Rows { ids: &[], count: 1, selected: None, diffs: None })
    }
}

pub(crate) fn binary(column: &ArrayRef) -> Result<&BinaryArray, FlowError> {
    let wrong =
        || ArrowError::SchemaError(format!("a state is binary, not {}", column.data_type()));
    Ok(column.as_binary_opt::<i32>().ok_or_else(wrong)?)
}

/// How many rows count, per group.
fn count(argument: Option<&ArrayRef>, rows: &Rows<'_>) -> ArrayRef {
    let mut counts = vec![0i64; rows.count];
    rows.each(argument.and_then(|a| a.nulls()), |_, group, diff| counts[group] += diff);
    Arc::new(Int64Array::from(counts))
}

/// The diffs of all rows added up per group: the hidden row count.
pub(crate) fn row_counts(rows: &Rows<'_>) -> ArrayRef {
    count(None, &Rows { selected: None, ..*rows })
}

/// Counts added up per group.
pub(crate) fn added(counts: &ArrayRef, rows: &Rows<'_>) -> ArrayRef {
    let values = counts.as_primitive::<Int64Type>().values();
    let mut sums = vec![0i64; rows.count];
    for (&value, &id) in values.iter().zip(rows.ids) {
        sums[id as usize] += value;
    }
    Arc::new(Int64Array::from(sums))
}

fn truths(argument: &ArrayRef, rows: &Rows<'_>) -> Vec<ArrayRef> {
    let values = argument.as_boolean();
    let mut counts = [vec![0i64; rows.count], vec![0i64; rows.count]];
    rows.each(values.nulls(), |row, group, diff| {
        counts[usize::from(!values.value(row))][group] += diff;
    });
    counts.map(|c| -> ArrayRef { Arc::new(Int64Array::from(c)) }).into()
}

fn sketch(argument: &ArrayRef, rows: &Rows<'_>) -> Result<Vec<ArrayRef>, FlowError> {
    let hashes = yeoul_batch::hash64(std::slice::from_ref(argument), argument.len())?;
    let valid = both(argument.nulls(), rows.selected).map(NullBuffer::new);
    Ok(vec![Arc::new(distinct::build(&hashes, valid.as_ref(), rows.ids, rows.count))])
}
