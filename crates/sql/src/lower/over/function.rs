//! Window functions, evaluated by the batch engine's own, so that there is one meaning.
//!
//! ```text
//!   rows ─ sorted by partition and order ─▶ WindowExpr, partition by partition ─▶ back in the rows' order
//! ```
//!
//! Rows that tie in an order keep the one in which they are given.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BinaryArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat, take, take_record_batch};
use datafusion::arrow::datatypes::Fields;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_planner::create_window_expr;
use yeoul_batch::{Behind, ExprError, Known, PartitionFunction, Reach};

use super::super::expr::guarded;
use super::Call;
use super::behind::{Knows, Placed, state_schema};
use super::reach::{of_call, reach};
use crate::planner::Planner;

/// Calls of window functions.
#[derive(Debug)]
pub(super) struct Calls {
    orders: Vec<Order>,
    fields: Fields,
    reach: Option<Reach>,
    behind: Option<From>,
}

/// How calls of one order are evaluated behind rows that are not there.
#[derive(Debug)]
struct From {
    /// What each call has to know, in the order of the answers.
    calls: Vec<(Knows, Arc<dyn WindowExpr>)>,
    known: Known,
}

/// Calls in one order.
#[derive(Debug)]
struct Order {
    by: Vec<PhysicalSortExpr>,
    /// The calls, and which of all each is.
    calls: Vec<(usize, Arc<dyn WindowExpr>)>,
}

impl Calls {
    /// Compiles calls over rows that begin with the columns of `schema`; `fields` are those of the answers.
    pub(super) fn new(
        calls: &[&Call],
        schema: &DFSchema,
        fields: Fields,
        planner: &Planner,
    ) -> Result<Self> {
        let mut orders: Vec<Order> = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let props = planner.state().execution_props();
            let context = PhysicalPlanningContext::default();
            let call = create_window_expr(&call.expr, schema, props, &context)?;
            match orders.iter_mut().find(|order| order.by == call.order_by()) {
                Some(order) => order.calls.push((at, call)),
                None => {
                    let by = call.order_by().to_vec();
                    orders.push(Order { by, calls: vec![(at, call)] });
                }
            }
        }
        let reach = if orders.len() == 1 { reach(calls, schema) } else { None };
        let behind = match (reach, orders.as_slice()) {
            (Some(_), [order]) => From::new(calls, &order.calls, schema)?,
            _ => None,
        };
        Ok(Self { orders, fields, reach, behind })
    }

    fn answers(&self, rows: &RecordBatch, partitions: &[Range<usize>]) -> Result<Vec<ArrayRef>> {
        let mut answers: Vec<(usize, ArrayRef)> = Vec::with_capacity(self.fields.len());
        for order in &self.orders {
            let sorted = order.sorted(rows, partitions)?;
            let mut places = vec![0u32; sorted.len()];
            for (place, &row) in (0u32..).zip(&sorted) {
                places[row as usize] = place;
            }
            let places = UInt32Array::from(places);
            let rows = take_record_batch(rows, &UInt32Array::from(sorted))?;
            for (at, call) in &order.calls {
                let parts = partitions
                    .iter()
                    .map(|partition| call.evaluate(&rows.slice(partition.start, partition.len())))
                    .collect::<Result<Vec<ArrayRef>>>()?;
                let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
                answers.push((*at, take(&concat(&parts)?, &places, None)?));
            }
        }
        answers.sort_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

impl From {
    /// `None` when some call has to be evaluated from the first row on.
    fn new(
        calls: &[&Call],
        compiled: &[(usize, Arc<dyn WindowExpr>)],
        schema: &DFSchema,
    ) -> Result<Option<Self>> {
        let (mut known, mut preceding) = (Vec::with_capacity(calls.len()), 0);
        for (call, (_, compiled)) in calls.iter().zip(compiled) {
            let Expr::WindowFunction(function) = &call.expr else { return Ok(None) };
            let Some(reach) = of_call(function, schema) else { return Ok(None) };
            let Some(knows) = Knows::of(function, reach, &**compiled) else { return Ok(None) };
            preceding = preceding.max(reach.preceding.unwrap_or(0));
            known.push((knows, Arc::clone(compiled)));
        }
        let schema = state_schema(&known)?;
        Ok(Some(Self { calls: known, known: Known { schema, preceding } }))
    }
}

impl Order {
    /// What rows are ordered by, as bytes of that order.
    fn encoded(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns = self.by.iter().map(|by| by.evaluate_to_sort_column(rows));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let fields = columns.iter().map(|column| {
            let options = column.options.unwrap_or_default();
            SortField::new_with_options(column.values.data_type().clone(), options)
        });
        let values: Vec<ArrayRef> = columns.iter().map(|c| Arc::clone(&c.values)).collect();
        Ok(RowConverter::new(fields.collect())?.convert_columns(&values)?)
    }

    /// The rows of each partition in order, by position.
    fn sorted(&self, rows: &RecordBatch, partitions: &[Range<usize>]) -> Result<Vec<u32>> {
        let count = u32::try_from(rows.num_rows()).map_err(|_| too_many())?;
        let mut sorted: Vec<u32> = (0..count).collect();
        if self.by.is_empty() {
            return Ok(sorted);
        }
        let encoded = self.encoded(rows)?;
        for partition in partitions {
            let of_partition = &mut sorted[partition.clone()];
            of_partition.sort_by(|a, b| encoded.row(*a as usize).cmp(&encoded.row(*b as usize)));
        }
        Ok(sorted)
    }

    /// Of rows in order whether each ties with the one before it in its partition.
    fn ties(&self, rows: &RecordBatch, partitions: &[Range<usize>]) -> Result<Vec<bool>> {
        let mut ties = vec![true; rows.num_rows()];
        partitions.iter().for_each(|partition| ties[partition.start] = false);
        if self.by.is_empty() {
            return Ok(ties);
        }
        let encoded = self.encoded(rows)?;
        for at in partitions.iter().flat_map(|partition| partition.start + 1..partition.end) {
            ties[at] = encoded.row(at - 1) == encoded.row(at);
        }
        Ok(ties)
    }
}

fn too_many() -> DataFusionError {
    ArrowError::ComputeError("more than 2^32 rows in one batch".into()).into()
}

impl PartitionFunction for Calls {
    fn fields(&self) -> &Fields {
        &self.fields
    }

    fn evaluate(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
    ) -> Result<Vec<ArrayRef>, ExprError> {
        guarded(|| self.answers(rows, partitions))
    }

    fn reach(&self) -> Option<Reach> {
        self.reach
    }

    fn order(&self, rows: &RecordBatch) -> Result<Option<BinaryArray>, ExprError> {
        let [order] = self.orders.as_slice() else { return Ok(None) };
        if order.by.is_empty() {
            let none = std::iter::repeat_n([0u8; 0], rows.num_rows());
            return Ok(Some(BinaryArray::from_iter_values(none)));
        }
        guarded(|| Ok(Some(order.encoded(rows)?.try_into_binary()?)))
    }

    fn known(&self) -> Option<&Known> {
        self.behind.as_ref().map(|behind| &behind.known)
    }

    fn evaluate_behind(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
        behind: &Behind<'_>,
    ) -> Result<(Vec<ArrayRef>, RecordBatch), ExprError> {
        let (Some(from), [order]) = (&self.behind, self.orders.as_slice()) else {
            return Err(ExprError { message: "an evaluation begins with the first row".into() });
        };
        guarded(|| {
            let ties = order.ties(rows, partitions)?;
            let placed = Placed { rows, partitions, ties: &ties, behind };
            placed.evaluate(&from.calls, &from.known.schema)
        })
    }
}
