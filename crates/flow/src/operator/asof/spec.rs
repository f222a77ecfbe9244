//! What an ASOF join is, and by what its rows are kept.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use yeoul_batch::{Expr, ExprError, ExprRef, KeyCodec, is_whole};

use super::super::join::JoinTimes;
use super::super::keyless;
use super::{LEFT, RIGHT};
use crate::error::FlowError;

/// Which row of the right side is joined, of those whose time is where it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearest {
    /// The last one at the time of the left row or before.
    NotAfter,
    /// The last one before it.
    Before,
    /// The first one at the time of the left row or after.
    NotBefore,
    /// The first one after it.
    After,
}

impl Nearest {
    /// Whether the row at the very time of the left row is not meant.
    pub(super) fn is_strict(self) -> bool {
        matches!(self, Self::Before | Self::After)
    }

    /// Whether later is nearer.
    pub(super) fn is_last(self) -> bool {
        matches!(self, Self::NotAfter | Self::Before)
    }
}

/// An ASOF join of two nodes.
#[derive(Debug, Clone)]
pub struct AsOfSpec {
    /// What rows match by: values of the left side and of the right, pair by pair of one type. None: all rows match.
    pub on: Vec<(ExprRef, ExprRef)>,
    /// What is near: whole numbers, dates or timestamps in microseconds, of one type.
    pub near: (ExprRef, ExprRef),
    /// Which row is the nearest. Of those that are equally near it is the first by their other columns.
    pub nearest: Nearest,
    /// Whether rows of the left side without a row of the right one stay, with nulls.
    pub outer: bool,
    /// How rows are let go of: those of the left side, and those of the right side behind which a later one is. Only
    /// for rows of the right side that only come, of which the last one is the nearest.
    pub times: Option<JoinTimes>,
}

impl AsOfSpec {
    pub(super) fn check(
        &self,
        inputs: [&SchemaRef; 2],
        append_only: [bool; 2],
    ) -> Result<(), FlowError> {
        let near = [&self.near.0, &self.near.1].map(|near| near.data_type());
        if near[LEFT] != near[RIGHT] || !is_whole(near[LEFT]) {
            return Err(FlowError::Unsupported(format!(
                "what is near cannot be told of {} and {}",
                near[LEFT], near[RIGHT]
            )));
        }
        if let Some((left, right)) = self.on.iter().find(|(l, r)| l.data_type() != r.data_type()) {
            let (left, right) = (left.data_type(), right.data_type());
            return Err(FlowError::Unsupported(format!(
                "{left} is compared with {right} in an ASOF join"
            )));
        }
        let Some(times) = &self.times else { return Ok(()) };
        times.check(inputs)?;
        let near = [&self.near.0, &self.near.1].map(|near| near.as_column());
        if near != times.columns.map(Some) {
            return Err(FlowError::Unsupported(
                "rows of an ASOF join are released by what is near".into(),
            ));
        }
        if !self.nearest.is_last() || !append_only[RIGHT] {
            return Err(FlowError::Unsupported(
                "rows of an ASOF join are released only where the last of rows that come is the nearest".into(),
            ));
        }
        Ok(())
    }

    /// What the rows of each side are kept by: the keys, then how near.
    pub(super) fn keys(&self) -> [Vec<ExprRef>; 2] {
        let (mut left, mut right): (Vec<ExprRef>, Vec<ExprRef>) = match self.on.is_empty() {
            true => (vec![keyless()], vec![keyless()]),
            false => self.on.iter().cloned().unzip(),
        };
        let last = self.nearest.is_last();
        left.push(Arc::new(Place { of: Arc::clone(&self.near.0), last }));
        right.push(Arc::new(Place { of: Arc::clone(&self.near.1), last }));
        [left, right]
    }

    /// The columns of both sides.
    pub(super) fn schema(&self, inputs: [&SchemaRef; 2]) -> SchemaRef {
        let own = inputs[LEFT].fields().iter().map(|field| field.as_ref().clone());
        let others = inputs[RIGHT]
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(field.is_nullable() || self.outer));
        Arc::new(Schema::new(own.chain(others).collect::<Vec<Field>>()))
    }
}

/// The place of a value on the way from a row of the left side to farther ones of the right side, as a number that
/// grows with the way.
#[derive(Debug)]
struct Place {
    of: ExprRef,
    /// Whether lesser values are farther.
    last: bool,
}

/// The place of a value of which lesser ones are farther, as ordered bytes.
pub(super) fn place_bytes(value: i64) -> Result<Vec<u8>, FlowError> {
    let schema = Arc::new(Schema::new(vec![Field::new("place", DataType::Int64, true)]));
    let place: ArrayRef = Arc::new(Int64Array::from(vec![!value]));
    let bytes = KeyCodec::new(&schema, &[0])?.encode_columns(&[place])?;
    Ok(bytes.row(0).data().to_vec())
}

impl Expr for Place {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, ExprError> {
        let values = self.of.evaluate(rows)?;
        let error = |e: arrow::error::ArrowError| ExprError { message: e.to_string() };
        // Days are numbers of 32 bits.
        let values = match values.data_type() {
            DataType::Date32 => cast(&values, &DataType::Int32).map_err(error)?,
            _ => values,
        };
        let numbers = cast(&values, &DataType::Int64).map_err(error)?;
        if !self.last {
            return Ok(numbers);
        }
        let places: Int64Array = numbers.as_primitive::<Int64Type>().unary(|value| !value);
        Ok(Arc::new(places))
    }

    fn data_type(&self) -> &DataType {
        &DataType::Int64
    }
}
