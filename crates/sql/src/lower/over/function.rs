//! Window functions, evaluated by the batch engine's own, so that there is one meaning.
//!
//! ```text
//!   rows ─ sorted by partition and order ─▶ WindowExpr, partition by partition ─▶ back in the rows' order
//! ```
//!
//! Rows that tie in an order are put into one by all of their columns.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{
    LexicographicalComparator, SortColumn, concat, take, take_record_batch,
};
use datafusion::arrow::datatypes::Fields;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_planner::create_window_expr;
use yeoul_batch::{ExprError, PartitionFunction, PartitionOrder, Reach};

use super::super::expr::guarded;
use super::Call;
use super::reach::reach;
use crate::planner::Planner;

/// Calls of window functions.
#[derive(Debug)]
pub(super) struct Calls {
    orders: Vec<Order>,
    fields: Fields,
    reach: Option<Reach>,
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
        Ok(Self { orders, fields, reach })
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

impl Order {
    fn columns(&self, rows: &RecordBatch) -> Result<Vec<SortColumn>> {
        self.by.iter().map(|by| by.evaluate_to_sort_column(rows)).collect()
    }

    /// The rows of each partition in order, by position.
    fn sorted(&self, rows: &RecordBatch, partitions: &[Range<usize>]) -> Result<Vec<u32>> {
        let mut columns = self.columns(rows)?;
        let all = rows.columns().iter().cloned();
        columns.extend(all.map(|values| SortColumn { values, options: None }));
        let compared = LexicographicalComparator::try_new(&columns)?;
        let count = u32::try_from(rows.num_rows()).map_err(|_| too_many())?;
        let mut sorted: Vec<u32> = (0..count).collect();
        for partition in partitions {
            let of_partition = &mut sorted[partition.clone()];
            of_partition.sort_unstable_by(|a, b| compared.compare(*a as usize, *b as usize));
        }
        Ok(sorted)
    }

    /// Of rows in order whether each ties with the one before it.
    fn ties(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
        sorted: &[u32],
    ) -> Result<Vec<bool>> {
        let compared = LexicographicalComparator::try_new(&self.columns(rows)?)?;
        let mut ties = vec![false; sorted.len()];
        for at in partitions.iter().flat_map(|partition| partition.start + 1..partition.end) {
            let (before, row) = (sorted[at - 1] as usize, sorted[at] as usize);
            ties[at] = compared.compare(before, row).is_eq();
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

    fn order(
        &self,
        rows: &RecordBatch,
        partitions: &[Range<usize>],
    ) -> Result<PartitionOrder, ExprError> {
        let order = &self.orders[0];
        guarded(|| {
            let sorted = order.sorted(rows, partitions)?;
            let ties = order.ties(rows, partitions, &sorted)?;
            Ok(PartitionOrder { rows: sorted, ties })
        })
    }
}
