//! Evaluations that begin behind rows of which only a state is known.
//!
//! ```text
//!   rows, groups of ties │ the first value │ states of accumulators        a state is of all rows up to one
//!
//!   row_number, rank:  + rows        sum, count, …:  the accumulator goes on from its state
//!   dense_rank:        + groups      first_value:    that value
//! ```
//!
//! The accumulators are the batch engine's, and take rows as its window functions give them: those that come into
//! the frame together, together. So also sums of floats are the same to the last bit wherever an evaluation begins.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, UInt64Array, new_empty_array,
};
use datafusion::arrow::compute::{concat, kernels::numeric, take};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, WindowExpr};
use yeoul_batch::{Behind, Reach};

/// Aggregates whose accumulators go on from their states to the last bit.
const RUNNING: [&str; 5] = ["count", "sum", "avg", "min", "max"];

/// What a call has to know of the rows before those that are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knows {
    /// Nothing: those that it sees are evaluated too.
    Nothing,
    /// How many there are.
    Rows,
    /// How many groups of ties there are.
    Groups,
    /// The first value.
    First,
    /// The state of an accumulator that takes each row, or each group of ties, as it comes into the frame.
    Accumulated { by_rows: bool },
}

impl Knows {
    /// Of a call that sees so far; `None`: it has to be evaluated from the first row on.
    pub(super) fn of(
        call: &WindowFunction,
        reach: Reach,
        compiled: &dyn WindowExpr,
    ) -> Option<Self> {
        if reach.preceding.is_some() {
            return Some(Self::Nothing);
        }
        let params = &call.params;
        let name = call.fun.name();
        match name {
            "row_number" | "rank" => return Some(Self::Rows),
            "dense_rank" => return Some(Self::Groups),
            _ => {}
        }
        let frame = &params.window_frame;
        let plain = params.filter.is_none()
            && !params.distinct
            && params.null_treatment != Some(NullTreatment::IgnoreNulls);
        if !plain || !frame.start_bound.is_unbounded() {
            return None;
        }
        let by_rows = frame.units == WindowFrameUnits::Rows;
        let to_row = frame.end_bound == WindowFrameBound::CurrentRow;
        let accumulates = compiled.as_any().is::<PlainAggregateWindowExpr>();
        match name {
            "first_value" if to_row => Some(Self::First),
            name if accumulates && to_row && RUNNING.contains(&name) => {
                Some(Self::Accumulated { by_rows })
            }
            _ => None,
        }
    }

    /// The columns of its state.
    fn columns(self, compiled: &dyn WindowExpr) -> Result<Vec<DataType>> {
        Ok(match self {
            Self::Nothing | Self::Rows | Self::Groups => Vec::new(),
            Self::First => vec![compiled.field()?.data_type().clone()],
            Self::Accumulated { .. } => {
                let fields = accumulated(compiled)?.state_fields()?;
                fields.iter().map(|field| field.data_type().clone()).collect()
            }
        })
    }
}

fn accumulated(compiled: &dyn WindowExpr) -> Result<&AggregateFunctionExpr> {
    let plain = compiled.as_any().downcast_ref::<PlainAggregateWindowExpr>();
    let missing = || DataFusionError::Internal("a running aggregate has no accumulator".into());
    Ok(plain.ok_or_else(missing)?.get_aggregate_expr())
}

/// The columns of the state of calls: the numbers of rows and groups, then what each knows.
pub(super) fn state_schema(calls: &[(Knows, Arc<dyn WindowExpr>)]) -> Result<SchemaRef> {
    let mut fields = vec![
        Field::new("_rows", DataType::Int64, false),
        Field::new("_groups", DataType::Int64, false),
    ];
    for (at, (knows, compiled)) in calls.iter().enumerate() {
        for (number, data_type) in knows.columns(&**compiled)?.into_iter().enumerate() {
            fields.push(Field::new(format!("_known_{at}_{number}"), data_type, true));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Rows in order, and where they stand.
pub(super) struct Placed<'a> {
    pub(super) rows: &'a RecordBatch,
    pub(super) partitions: &'a [Range<usize>],
    /// Whether each row ties with the one before it in its partition.
    pub(super) ties: &'a [bool],
    pub(super) behind: &'a Behind<'a>,
}

impl Placed<'_> {
    /// The number of `column` of the states that each partition begins behind.
    fn before(&self, column: usize) -> Vec<i64> {
        let numbers = self.behind.states.column(column).as_primitive::<Int64Type>();
        self.behind.of.iter().map(|of| of.map_or(0, |row| numbers.value(row as usize))).collect()
    }

    /// A number of each partition for each of its rows.
    fn spread(&self, numbers: &[i64]) -> Vec<i64> {
        let each = self.partitions.iter().zip(numbers);
        each.flat_map(|(rows, &number)| std::iter::repeat_n(number, rows.len())).collect()
    }

    /// How many rows, and how many groups of ties, there are up to each row, from the first of the partition on.
    fn counted(&self) -> (Vec<i64>, Vec<i64>) {
        let mut rows = self.spread(&self.before(0));
        let mut groups = self.spread(&self.before(1));
        for partition in self.partitions {
            let (mut row, mut group) = (0, 0);
            for at in partition.clone() {
                row += 1;
                group += i64::from(!self.ties[at]);
                rows[at] += row;
                groups[at] += group;
            }
        }
        (rows, groups)
    }

    /// The answers of all calls, and the states of the wanted rows.
    pub(super) fn evaluate(
        &self,
        calls: &[(Knows, Arc<dyn WindowExpr>)],
        schema: &SchemaRef,
    ) -> Result<(Vec<ArrayRef>, RecordBatch)> {
        let wanted = UInt32Array::from(self.behind.wanted.to_vec());
        let (rows, groups) = self.counted();
        let (rows, groups) = (Int64Array::from(rows), Int64Array::from(groups));
        let mut states = vec![take(&rows, &wanted, None)?, take(&groups, &wanted, None)?];
        let mut answers = Vec::with_capacity(calls.len());
        for (knows, call) in calls {
            let first = states.len();
            answers.push(match knows {
                Knows::Nothing => self.plain(&**call)?,
                Knows::Rows => added(&self.plain(&**call)?, self.spread(&self.before(0)))?,
                Knows::Groups => added(&self.plain(&**call)?, self.spread(&self.before(1)))?,
                Knows::First => {
                    let answer = self.first(&**call, first)?;
                    states.push(take(&answer, &wanted, None)?);
                    answer
                }
                Knows::Accumulated { by_rows } => {
                    let types = knows.columns(&**call)?;
                    let (answer, mut known) = self.accumulated(&**call, *by_rows, first, &types)?;
                    states.append(&mut known);
                    answer
                }
            });
        }
        Ok((answers, RecordBatch::try_new(Arc::clone(schema), states)?))
    }

    /// Each partition as if nothing were before it.
    fn plain(&self, call: &dyn WindowExpr) -> Result<ArrayRef> {
        let parts = self.partitions.iter();
        let parts = parts.map(|rows| call.evaluate(&self.rows.slice(rows.start, rows.len())));
        let parts = parts.collect::<Result<Vec<ArrayRef>>>()?;
        Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }

    fn first(&self, call: &dyn WindowExpr, column: usize) -> Result<ArrayRef> {
        let known = self.behind.states.column(column);
        let mut parts = Vec::with_capacity(self.partitions.len());
        for (rows, of) in self.partitions.iter().zip(self.behind.of) {
            parts.push(match of {
                Some(row) => take(known, &UInt32Array::from(vec![*row; rows.len()]), None)?,
                None => call.evaluate(&self.rows.slice(rows.start, rows.len()))?,
            });
        }
        Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }

    /// The answers of a running aggregate, and its states: columns, of which the first is at `first` of those that
    /// are known.
    fn accumulated(
        &self,
        call: &dyn WindowExpr,
        by_rows: bool,
        first: usize,
        types: &[DataType],
    ) -> Result<(ArrayRef, Vec<ArrayRef>)> {
        let aggregate = accumulated(call)?;
        let known = &self.behind.states.columns()[first..first + types.len()];
        let arguments = aggregate.expressions();
        let arguments = arguments
            .iter()
            .map(|argument| argument.evaluate(self.rows)?.into_array(self.rows.num_rows()));
        let arguments = arguments.collect::<Result<Vec<ArrayRef>>>()?;
        let mut answers = Vec::with_capacity(self.rows.num_rows());
        let mut states: Vec<Vec<ScalarValue>> = vec![Vec::new(); types.len()];
        let mut wanted = self.behind.wanted.iter().map(|&row| row as usize).peekable();
        for (partition, of) in self.partitions.iter().zip(self.behind.of) {
            let mut accumulator = aggregate.create_accumulator()?;
            if let Some(row) = of {
                let state: Vec<ArrayRef> =
                    known.iter().map(|k| k.slice(*row as usize, 1)).collect();
                accumulator.merge_batch(&state)?;
            }
            let mut at = partition.start;
            while at < partition.end {
                let tied = |next: &usize| *next < partition.end && self.ties[*next] && !by_rows;
                let count = 1 + (at + 1..).take_while(tied).count();
                let taken: Vec<ArrayRef> = arguments.iter().map(|a| a.slice(at, count)).collect();
                accumulator.update_batch(&taken)?;
                answers.extend(std::iter::repeat_n(accumulator.evaluate()?, count));
                at += count;
                if wanted.next_if(|&row| row + 1 == at).is_some() {
                    let state = accumulator.state()?;
                    // An accumulator that has given its state away need not be one any more.
                    accumulator = aggregate.create_accumulator()?;
                    let again: Vec<ArrayRef> =
                        state.iter().map(ScalarValue::to_array).collect::<Result<_>>()?;
                    accumulator.merge_batch(&again)?;
                    states.iter_mut().zip(state).for_each(|(all, one)| all.push(one));
                }
            }
        }
        let column = |(values, data_type): (Vec<ScalarValue>, &DataType)| match values.is_empty() {
            true => Ok(new_empty_array(data_type)),
            false => ScalarValue::iter_to_array(values),
        };
        let answers = column((answers, call.field()?.data_type()))?;
        Ok((answers, states.into_iter().zip(types).map(column).collect::<Result<_>>()?))
    }
}

/// Numbers from 1 on, and what each is behind.
fn added(answers: &ArrayRef, before: Vec<i64>) -> Result<ArrayRef> {
    let before = before.into_iter().map(i64::cast_unsigned).collect::<UInt64Array>();
    Ok(numeric::add(answers, &before)?)
}
