//! Grouping: rows into states, states into fewer states, states into answers.
//!
//! ```text
//!   rows ──partial──▶ states ──combine──▶ states ──finish──▶ rows of answers
//!          group within a batch    in any grouping, any order
//!
//!   states:  key columns │ _rows │ _0_sum, _0_carry │ _1_max │ …
//! ```
//!
//! What must hold: `partial(a ++ b)` is `combine(partial(a), partial(b))`; a group whose rows have
//! all been taken back (`_rows` 0) is gone; the order of rows, batches and workers does not show.
//!
//! Calls over the same argument and filter share their states: `count(x)`, `sum(x)` and `avg(x)` keep
//! one count and one sum.
//!
//! A global aggregate (no keys) has the hidden key column `_all`, always false, so that its tree is a
//! tree like any other.

mod compile;
mod panes;
mod spec;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch, take_arrays};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use yeoul_batch::{Combine, ExprRef, Updates};

use compile::{Call, Slot};
pub(crate) use panes::Panes;
pub use spec::{AggregateCall, AggregateSpec, Function, NamedExpr, Order};

use crate::error::FlowError;
use crate::group::Groups;
use crate::linear::truth;
use crate::state::{self, Rows};

/// The most rows that are grouped as one batch; larger inputs are cut.
const ROWS_MAX: usize = 1 << 24;

/// A compiled [`AggregateSpec`]: the merge rule of its tree, and the way in and out.
#[derive(Debug)]
pub struct Aggregate {
    keys: Vec<ExprRef>,
    /// Arguments, orders and filters, each once.
    exprs: Vec<ExprRef>,
    slots: Vec<Slot>,
    calls: Vec<Call>,
    append_only: bool,
    /// A group without rows is gone.
    vanishing: bool,
    /// No keys: one group, with the hidden key column.
    global: bool,
    states: SchemaRef,
    output: SchemaRef,
}

impl Aggregate {
    /// Compiles `spec`; an error says what cannot be kept.
    pub fn new(spec: AggregateSpec) -> Result<Self, FlowError> {
        compile::compile(spec)
    }

    /// The states of a view that is a bag of rows: all columns are the key, and the row count,
    /// called `_multiplicity`, is the state.
    pub fn bag(schema: &SchemaRef) -> Result<Self, FlowError> {
        compile::bag(schema)
    }

    /// The columns of [`Aggregate::finish`]: keys, then answers.
    #[must_use]
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Whether there are no keys, so that there is one row of answers even over nothing.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.global
    }

    /// Whether rows are never taken back.
    #[must_use]
    pub fn append_only(&self) -> bool {
        self.append_only
    }

    /// The same, of which groups also go when rows only come: see [`Aggregate::taken_out`].
    #[must_use]
    pub(crate) fn vanishing(self) -> Self {
        Self { vanishing: true, ..self }
    }

    /// The column of states that is the answer of the call at `position`, where there is one.
    pub(crate) fn state_column(&self, position: usize) -> Option<usize> {
        self.calls[position].state_column(&self.slots)
    }

    /// The states of the groups of `updates`, each group once.
    ///
    /// # Panics
    /// When there are diffs although the spec is append-only: a caller's mistake.
    pub fn partial(&self, updates: &Updates) -> Result<RecordBatch, FlowError> {
        assert!(
            !self.append_only || updates.diffs().is_none(),
            "append-only: an aggregate over append-only rows got rows with diffs"
        );
        if updates.len() <= ROWS_MAX {
            return self.partial_of(updates);
        }
        let mut parts = Vec::new();
        for offset in (0..updates.len()).step_by(ROWS_MAX) {
            let rows = ROWS_MAX.min(updates.len() - offset);
            parts.push(self.partial_of(&updates.slice(offset, rows))?);
        }
        Ok(self.combine(&parts, false)?)
    }

    fn partial_of(&self, updates: &Updates) -> Result<RecordBatch, FlowError> {
        let input = updates.rows();
        let keys = evaluate(&self.keys, input)?;
        let groups = Groups::of(&keys, input.num_rows())?;
        let mut columns = self.key_columns(&groups, &keys)?;
        let all = Rows {
            ids: groups.ids(),
            count: groups.count(),
            selected: None,
            diffs: updates.diffs(),
        };
        columns.push(state::row_counts(&all));
        let mut values: Vec<Option<ArrayRef>> = vec![None; self.exprs.len()];
        let mut masks: Vec<Option<BooleanBuffer>> = vec![None; self.exprs.len()];
        for slot in &self.slots {
            for &argument in &slot.arguments {
                if values[argument].is_none() {
                    values[argument] = Some(self.exprs[argument].evaluate(input)?);
                }
            }
            if let Some(filter) = slot.filter
                && masks[filter].is_none()
            {
                masks[filter] = Some(truth(&self.exprs[filter], input)?.values().clone());
            }
            let arguments: Vec<ArrayRef> =
                slot.arguments.iter().filter_map(|&a| values[a].clone()).collect();
            let selected = slot.filter.and_then(|f| masks[f].as_ref());
            columns.extend(slot.kind.build(&arguments, &Rows { selected, ..all })?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.states), columns)?)
    }

    fn key_columns(&self, groups: &Groups, keys: &[ArrayRef]) -> Result<Vec<ArrayRef>, FlowError> {
        if self.global {
            let all = BooleanBuffer::new_unset(groups.count());
            return Ok(vec![Arc::new(BooleanArray::new(all, None))]);
        }
        Ok(groups.take(keys)?)
    }

    /// Keys and answers of states that are combined (each key once), in their order.
    ///
    /// Of a global aggregate the whole state comes in one call; no row of states is the state of no
    /// rows, and gives one row of answers.
    pub fn finish(&self, states: &RecordBatch) -> Result<RecordBatch, FlowError> {
        if self.global && states.num_rows() == 0 {
            return self.finish_rows(&self.nothing()?);
        }
        self.finish_rows(states)
    }

    fn finish_rows(&self, states: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let keys = if self.global { 0 } else { self.keys.len() };
        let mut columns = states.columns()[..keys].to_vec();
        for call in &self.calls {
            columns.push(call.answer(states, &self.slots)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(states.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?)
    }

    /// The state of a global aggregate over no rows.
    fn nothing(&self) -> Result<RecordBatch, FlowError> {
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(BooleanArray::from(vec![false])), Arc::new(Int64Array::from(vec![0]))];
        columns.extend(self.neutral()?);
        Ok(RecordBatch::try_new(Arc::clone(&self.states), columns)?)
    }

    /// The slots' states of no rows: columns of one row.
    fn neutral(&self) -> Result<Vec<ArrayRef>, FlowError> {
        let mut columns = Vec::new();
        for slot in &self.slots {
            let types: Vec<DataType> =
                slot.arguments.iter().map(|&a| self.exprs[a].data_type().clone()).collect();
            columns.extend(slot.kind.empty(&types)?);
        }
        Ok(columns)
    }

    /// What makes the groups of `states` go: it takes their rows back and says nothing else, so a group
    /// that goes in this way does not come again.
    pub(crate) fn taken_out(&self, states: &RecordBatch) -> Result<RecordBatch, FlowError> {
        debug_assert!(self.vanishing, "a group without rows is gone");
        let key_len = self.key_len();
        let mut columns = states.columns()[..key_len].to_vec();
        let rows: &Int64Array = states.column(key_len).as_primitive::<Int64Type>();
        columns.push(Arc::new(rows.unary::<_, Int64Type>(|count| -count)));
        let first = UInt32Array::from(vec![0; states.num_rows()]);
        columns.extend(take_arrays(&self.neutral()?, &first, None)?);
        Ok(RecordBatch::try_new(Arc::clone(&self.states), columns)?)
    }

    fn merge(&self, states: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let key_len = self.key_len();
        let groups = Groups::of(&states.columns()[..key_len], states.num_rows())?;
        if groups.count() == states.num_rows() {
            // Every key once: the groups are the rows in their order.
            return Ok(crate::group::compact_batch(states)?);
        }
        let (ids, count) = (groups.ids(), groups.count());
        let mut columns = groups.take(&states.columns()[..key_len])?;
        let rows = Rows { ids, count, selected: None, diffs: None };
        columns.push(state::added(states.column(key_len), &rows));
        for slot in &self.slots {
            let parts = &states.columns()[slot.at..slot.at + slot.width];
            columns.extend(slot.kind.merge(parts, ids, count)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.states), columns)?)
    }
}

impl Combine for Aggregate {
    fn schema(&self) -> &SchemaRef {
        &self.states
    }

    fn key_len(&self) -> usize {
        if self.global { 1 } else { self.keys.len() }
    }

    fn combine(&self, batches: &[RecordBatch], complete: bool) -> Result<RecordBatch, ArrowError> {
        let merged = match batches {
            [] => return Ok(RecordBatch::new_empty(Arc::clone(&self.states))),
            [batch] => self.merge(batch)?,
            several => self.merge(&concat_batches(&self.states, several)?)?,
        };
        // Of a row that is only counted, zero says nothing of what is in other batches.
        let only_counted = self.states.fields().len() == self.key_len() + 1;
        if !self.vanishing || !(complete || only_counted) {
            return Ok(merged);
        }
        let rows = merged.column(self.key_len()).as_primitive::<Int64Type>().values();
        if !rows.contains(&0) {
            return Ok(merged);
        }
        let present: BooleanArray = rows.iter().map(|&rows| Some(rows != 0)).collect();
        filter_record_batch(&merged, &present)
    }
}

fn evaluate(exprs: &[ExprRef], rows: &RecordBatch) -> Result<Vec<ArrayRef>, FlowError> {
    exprs.iter().map(|expr| Ok(expr.evaluate(rows)?)).collect()
}

/// `sum` or `avg` from counts and sums, as `data_type`.
pub(crate) fn sum_answer(
    average: bool,
    counts: &ArrayRef,
    sums: &[ArrayRef],
    data_type: &DataType,
) -> Result<ArrayRef, FlowError> {
    match (average, data_type) {
        (false, DataType::Int64) => state::integer_sum(counts, sums),
        (false, _) => state::wide_values(counts, sums, data_type),
        (true, DataType::Decimal128(..)) => state::decimal_average(counts, &sums[0], data_type),
        // The sum of integers is two columns, of floats three.
        (true, _) if sums.len() == 2 => Ok(state::integer_average(counts, sums)),
        (true, _) => state::float_average(counts, sums),
    }
}
