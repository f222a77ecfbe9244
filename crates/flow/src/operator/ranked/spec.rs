//! What is ranked, and how its rows are stored.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use yeoul_batch::ExprRef;

use crate::aggregate::Order;
use crate::error::FlowError;
use crate::operator::keyless;

/// How rows are numbered within their partition, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankFunction {
    /// One after the other.
    RowNumber,
    /// By how many rows are before; those that tie have one number.
    Rank,
    /// By how many different places are before; those that tie have one number.
    DenseRank,
}

/// Which rows of each partition are wanted.
#[derive(Debug, Clone)]
pub struct RankedSpec {
    /// What tells partitions apart. None: all rows are one.
    pub partition: Vec<ExprRef>,
    /// The order within a partition.
    pub order: Vec<Order>,
    /// How rows are numbered.
    pub function: RankFunction,
    /// The least number wanted.
    pub first: u64,
    /// The greatest number wanted.
    pub last: u64,
    /// A column for the number, appended: BIGINT or an unsigned one of its size.
    pub rank: Option<FieldRef>,
}

impl RankedSpec {
    pub(super) fn check(&self) -> Result<(), FlowError> {
        match self.rank.as_ref().map(|rank| rank.data_type()) {
            None | Some(DataType::Int64 | DataType::UInt64) => Ok(()),
            Some(other) => Err(FlowError::Unsupported(format!("a rank is not of type {other}"))),
        }
    }

    /// The columns of the answer.
    pub(super) fn schema(&self, input: &SchemaRef) -> SchemaRef {
        match &self.rank {
            None => Arc::clone(input),
            Some(rank) => {
                let fields = input.fields().iter().chain(std::iter::once(rank));
                Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
            }
        }
    }
}

/// How a row is stored: what tells partitions apart, where all rows are stored the order as bytes, the rest
/// of its columns.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) keys: Vec<ExprRef>,
    /// The columns of the input that are stored behind the order.
    pub(super) rest: Vec<usize>,
    /// Where each column of the input is in a stored row.
    pub(super) places: Vec<usize>,
    pub(super) schema: SchemaRef,
    /// Where the order is in a row in memory: behind the keys, or where it is not stored behind everything.
    pub(super) order: usize,
    /// The columns that decide between rows that tie.
    pub(super) behind: Range<usize>,
}

impl Layout {
    pub(super) fn new(spec: &RankedSpec, input: &SchemaRef, ordered: bool) -> Self {
        let keys = if spec.partition.is_empty() { vec![keyless()] } else { spec.partition.clone() };
        let mut places: Vec<Option<usize>> = vec![None; input.fields().len()];
        let mut fields = Vec::new();
        let mut names = HashSet::new();
        let mut push = |name: &str, data_type: &DataType, nullable: bool| {
            // A relation that is joined with itself has columns of one name; a file may not.
            let mut unique = name.to_owned();
            while !names.insert(unique.clone()) {
                unique.push('_');
            }
            fields.push(Field::new(unique, data_type.clone(), nullable));
        };
        for (at, key) in keys.iter().enumerate() {
            let name = match key.as_column() {
                Some(column) => {
                    places[column] = Some(at);
                    input.field(column).name().clone()
                }
                None => format!("_key_{at}"),
            };
            push(&name, key.data_type(), true);
        }
        if ordered {
            push("_order", &DataType::Binary, false);
        }
        let behind = keys.len() + usize::from(ordered);
        let mut rest = Vec::new();
        for (column, place) in places.iter_mut().enumerate() {
            if place.is_none() {
                *place = Some(behind + rest.len());
                rest.push(column);
                let field = input.field(column);
                push(field.name(), field.data_type(), field.is_nullable());
            }
        }
        let places = places.into_iter().flatten().collect();
        let order = if ordered { keys.len() } else { fields.len() + 1 };
        let behind = behind..fields.len();
        Self { keys, rest, places, schema: Arc::new(Schema::new(fields)), order, behind }
    }
}
