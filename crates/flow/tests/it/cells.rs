//! One value at a time: how the twins see columns.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
}

pub(crate) type Row = Vec<Cell>;

impl Cell {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    #[expect(clippy::cast_precision_loss, reason = "small")]
    pub(crate) fn float(&self) -> f64 {
        match self {
            Self::Int(v) => *v as f64,
            Self::Float(v) => *v,
            other => panic!("{other:?} is no number"),
        }
    }

    /// Ascending, nulls last.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Greater,
            (_, Self::Null) => Ordering::Less,
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (a, b) => panic!("{a:?} and {b:?} are of two types"),
        }
    }

    /// Equal, floats nearly.
    pub(crate) fn near(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Float(a), Self::Float(b)) => {
                a.total_cmp(b).is_eq() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
            }
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.near(b))
            }
            (Self::Null | Self::List(_), _) | (_, Self::Null | Self::List(_)) => false,
            (a, b) => a.order(b).is_eq(),
        }
    }
}

pub(crate) fn cell(column: &ArrayRef, row: usize) -> Cell {
    if column.is_null(row) {
        return Cell::Null;
    }
    match column.data_type() {
        DataType::Boolean => Cell::Bool(column.as_boolean().value(row)),
        DataType::Int32 => Cell::Int(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Int(column.as_primitive::<Int64Type>().value(row).into()),
        DataType::Timestamp(..) => {
            Cell::Int(column.as_primitive::<TimestampMicrosecondType>().value(row).into())
        }
        DataType::Decimal128(..) => Cell::Int(column.as_primitive::<Decimal128Type>().value(row)),
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8View => Cell::Text(column.as_string_view().value(row).to_owned()),
        DataType::FixedSizeBinary(_) => {
            Cell::Bytes(column.as_fixed_size_binary().value(row).to_vec())
        }
        DataType::List(_) => {
            let values = column.as_list::<i32>().value(row);
            Cell::List((0..values.len()).map(|i| cell(&values, i)).collect())
        }
        other => panic!("no cells of {other}"),
    }
}

pub(crate) fn rows(batch: &RecordBatch) -> Vec<Row> {
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().map(|column| cell(column, row)).collect())
        .collect()
}

/// Sorted, so that two results can be compared.
pub(crate) fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(|row| format!("{row:?}"));
    rows
}
