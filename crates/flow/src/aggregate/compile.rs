//! From calls to states: which states each call needs, shared where they are the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use yeoul_batch::{ColumnExpr, ExprRef};
use yeoul_functions::{distinct, percentile};

use super::{Aggregate, AggregateCall, AggregateSpec, Function, NamedExpr, sum_answer};
use crate::error::FlowError;
use crate::linear::check_condition;
use crate::state::{self, Direction, Kind, SetKind, SetQuestion};

/// One state of a group: its kind, what it is built from, and where its columns are.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) kind: Kind,
    /// Indices into the aggregate's expressions.
    pub(crate) arguments: Vec<usize>,
    pub(crate) filter: Option<usize>,
    pub(crate) at: usize,
    pub(crate) width: usize,
}

impl Slot {
    fn columns<'a>(&self, states: &'a RecordBatch) -> &'a [ArrayRef] {
        &states.columns()[self.at..self.at + self.width]
    }
}

/// How a call's answer comes from states, which are given by their slots' numbers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The hidden row count, at this column.
    Rows(usize),
    Count(usize),
    Sum {
        count: usize,
        sum: usize,
        average: bool,
    },
    /// A state that is the answer.
    Value(usize),
    /// The value of a row that may not be there.
    Row(usize),
    Set {
        set: usize,
        question: SetQuestion,
    },
    Sketch(usize),
    Digest {
        digest: usize,
        fraction: f64,
    },
    Truths {
        truths: usize,
        all: bool,
    },
    Variance {
        count: usize,
        sum: usize,
        squares: usize,
        sample: bool,
        root: bool,
    },
}

/// One compiled call.
#[derive(Debug)]
pub(crate) struct Call {
    answer: Answer,
    data_type: DataType,
}

impl Call {
    /// The column of states that is the answer, where there is one.
    pub(crate) fn state_column(&self, slots: &[Slot]) -> Option<usize> {
        match self.answer {
            Answer::Rows(column) => Some(column),
            Answer::Count(slot) | Answer::Value(slot) => Some(slots[slot].at),
            _ => None,
        }
    }

    pub(crate) fn answer(
        &self,
        states: &RecordBatch,
        slots: &[Slot],
    ) -> Result<ArrayRef, FlowError> {
        let columns = |slot: usize| slots[slot].columns(states);
        let one = |slot: usize| &columns(slot)[0];
        Ok(match &self.answer {
            Answer::Rows(column) => Arc::clone(states.column(*column)),
            Answer::Count(count) | Answer::Value(count) => Arc::clone(one(*count)),
            Answer::Sum { count, sum, average } => {
                sum_answer(*average, one(*count), columns(*sum), &self.data_type)?
            }
            // Where no row is present, the value is null.
            Answer::Row(row) => Arc::clone(&columns(*row)[slots[*row].width - 2]),
            Answer::Set { set, question } => {
                let Kind::Set(kind) = &slots[*set].kind else {
                    unreachable!("a set's slot holds a set");
                };
                kind.answer(*question, state::binary(one(*set))?, &self.data_type)?
            }
            Answer::Sketch(sketch) => {
                let answer = distinct::finish(state::binary(one(*sketch))?);
                Arc::new(answer.map_err(ArrowError::from)?)
            }
            Answer::Digest { digest, fraction } => {
                let answer = percentile::finish(state::binary(one(*digest))?, *fraction);
                Arc::new(answer.map_err(ArrowError::from)?)
            }
            Answer::Truths { truths, all } => {
                let count = |i: usize| columns(*truths)[i].as_primitive::<Int64Type>().values();
                let answers = count(0).iter().zip(count(1)).map(|(&trues, &falses)| {
                    (trues + falses > 0).then_some(if *all { falses == 0 } else { trues > 0 })
                });
                Arc::new(answers.collect::<BooleanArray>())
            }
            Answer::Variance { count, sum, squares, sample, root } => {
                state::variance(one(*count), columns(*sum), columns(*squares), *sample, *root)
            }
        })
    }
}

const GLOBAL_KEY: &str = "_all";
const ROWS: &str = "_rows";
const MULTIPLICITY: &str = "_multiplicity";

pub(super) fn compile(spec: AggregateSpec) -> Result<Aggregate, FlowError> {
    let AggregateSpec { keys, calls, append_only } = spec;
    let global = keys.is_empty();
    let mut fields: Vec<Arc<Field>> = keys.iter().map(|k| Arc::clone(&k.field)).collect();
    let mut output = fields.clone();
    if global {
        fields.push(Arc::new(Field::new(GLOBAL_KEY, DataType::Boolean, false)));
    }
    let rows = fields.len();
    fields.push(Arc::new(Field::new(ROWS, DataType::Int64, false)));
    let mut compiler = Compiler { exprs: Vec::new(), slots: Vec::new(), append_only, rows };
    let mut compiled = Vec::with_capacity(calls.len());
    for call in &calls {
        let data_type = call.output_type()?;
        let answer = compiler.call(call)?;
        let counts = matches!(call.function, Function::Count | Function::ApproxCountDistinct);
        output.push(Arc::new(Field::new(&call.name, data_type.clone(), !counts)));
        compiled.push(Call { answer, data_type });
    }
    let Compiler { exprs, mut slots, .. } = compiler;
    for (number, slot) in slots.iter_mut().enumerate() {
        slot.at = fields.len();
        let columns = slot.kind.columns();
        slot.width = columns.len();
        for (name, data_type) in columns {
            fields.push(Arc::new(Field::new(format!("_{number}_{name}"), data_type, true)));
        }
    }
    Ok(Aggregate {
        keys: keys.into_iter().map(|k| k.expr).collect(),
        exprs,
        slots,
        calls: compiled,
        append_only,
        vanishing: !append_only,
        global,
        states: Arc::new(Schema::new(fields)),
        output: Arc::new(Schema::new(output)),
    })
}

pub(super) fn bag(schema: &SchemaRef) -> Result<Aggregate, FlowError> {
    let column = |(index, field): (usize, &Arc<Field>)| {
        let expr: ExprRef = Arc::new(ColumnExpr::new(index, field.data_type().clone()));
        NamedExpr::with_field(Arc::clone(field), expr)
    };
    let keys: Vec<NamedExpr> = schema.fields().iter().enumerate().map(column).collect();
    if keys.is_empty() {
        return Err(FlowError::Unsupported("a view has at least one column".into()));
    }
    let spec = AggregateSpec { keys, calls: Vec::new(), append_only: false };
    let mut bag = compile(spec)?;
    let mut fields: Vec<_> = bag.states.fields().iter().cloned().collect();
    if let Some(last) = fields.last_mut() {
        *last = Arc::new(Field::new(MULTIPLICITY, DataType::Int64, false));
    }
    bag.states = Arc::new(Schema::new(fields));
    Ok(bag)
}

struct Compiler {
    exprs: Vec<ExprRef>,
    slots: Vec<Slot>,
    append_only: bool,
    /// The column of the hidden row count.
    rows: usize,
}

impl Compiler {
    fn call(&mut self, call: &AggregateCall) -> Result<Answer, FlowError> {
        let filter = match &call.filter {
            Some(filter) => {
                check_condition(filter, "FILTER")?;
                Some(self.expr(filter))
            }
            None => None,
        };
        let Some(argument) = call.arguments.first() else {
            if call.distinct {
                return Err(call.refused("takes DISTINCT only with an argument"));
            }
            return Ok(match filter {
                None => Answer::Rows(self.rows),
                some => Answer::Count(self.slot(Kind::Count, vec![], some)),
            });
        };
        let value = self.expr(argument);
        match call.function {
            Function::Count | Function::Sum | Function::Avg if call.distinct => {
                self.distinct(call, argument.data_type(), value, filter)
            }
            Function::Count => Ok(Answer::Count(self.slot(Kind::Count, vec![value], filter))),
            Function::Sum | Function::Avg => {
                let average = call.function == Function::Avg;
                let count = self.slot(Kind::Count, vec![value], filter);
                let sum = self.slot(Kind::sum_of(argument.data_type()), vec![value], filter);
                Ok(Answer::Sum { count, sum, average })
            }
            Function::FirstValue | Function::LastValue | Function::ArrayAgg => {
                self.ordered(call, value, filter)
            }
            Function::BoolAnd | Function::BoolOr => {
                let truths = self.slot(Kind::Truths, vec![value], filter);
                Ok(Answer::Truths { truths, all: call.function == Function::BoolAnd })
            }
            Function::Stddev | Function::StddevPop | Function::Variance | Function::VariancePop => {
                self.variance(call, value, filter)
            }
            Function::Min
            | Function::Max
            | Function::ApproxCountDistinct
            | Function::ApproxPercentile(_) => {
                Ok(self.summary(call, argument.data_type(), value, filter))
            }
        }
    }

    /// Each value once.
    fn distinct(
        &mut self,
        call: &AggregateCall,
        data_type: &DataType,
        value: usize,
        filter: Option<usize>,
    ) -> Result<Answer, FlowError> {
        if !super::spec::orderable(data_type) {
            return Err(call.refused(&format!("DISTINCT does not take {data_type}")));
        }
        let question = match call.function {
            Function::Count => SetQuestion::Count,
            Function::Sum => SetQuestion::Sum,
            _ => SetQuestion::Avg,
        };
        let kind = Kind::Set(SetKind::of(data_type.clone(), !self.append_only));
        Ok(Answer::Set { set: self.slot(kind, vec![value], filter), question })
    }

    /// What cannot be undone: light states over append-only rows, counted sets over others.
    fn summary(
        &mut self,
        call: &AggregateCall,
        data_type: &DataType,
        value: usize,
        filter: Option<usize>,
    ) -> Answer {
        let counted = !self.append_only;
        let data_type = data_type.clone();
        let (kind, question) = match call.function {
            Function::ApproxCountDistinct if !counted => {
                return Answer::Sketch(self.slot(Kind::Sketch, vec![value], filter));
            }
            Function::ApproxPercentile(fraction) if !counted && !call.distinct => {
                let digest = self.slot(Kind::Digest, vec![value], filter);
                return Answer::Digest { digest, fraction };
            }
            Function::Min | Function::Max if !counted => {
                let kind = Kind::Extreme { data_type, greatest: call.function == Function::Max };
                return Answer::Value(self.slot(kind, vec![value], filter));
            }
            Function::ApproxCountDistinct => (SetKind::of_hashes(counted), SetQuestion::Count),
            Function::ApproxPercentile(fraction) => {
                let question = SetQuestion::Percentile { fraction, once: call.distinct };
                (SetKind::of(data_type, counted), question)
            }
            Function::Max => (SetKind::of(data_type, counted), SetQuestion::Last),
            _ => (SetKind::of(data_type, counted), SetQuestion::First),
        };
        Answer::Set { set: self.slot(Kind::Set(kind), vec![value], filter), question }
    }

    fn variance(
        &mut self,
        call: &AggregateCall,
        value: usize,
        filter: Option<usize>,
    ) -> Result<Answer, FlowError> {
        if call.distinct {
            return Err(call.refused("does not take DISTINCT"));
        }
        let count = self.slot(Kind::Count, vec![value], filter);
        let sum = self.slot(Kind::FloatSum, vec![value], filter);
        let squares = self.slot(Kind::Squares, vec![value], filter);
        let sample = matches!(call.function, Function::Stddev | Function::Variance);
        let root = matches!(call.function, Function::Stddev | Function::StddevPop);
        Ok(Answer::Variance { count, sum, squares, sample, root })
    }

    /// Calls with an order: over append-only rows the first and the last row do.
    fn ordered(
        &mut self,
        call: &AggregateCall,
        value: usize,
        filter: Option<usize>,
    ) -> Result<Answer, FlowError> {
        let mut columns = Vec::new();
        let mut arguments = Vec::new();
        for order in &call.order_by {
            let data_type = order.expr.data_type().clone();
            if !super::spec::orderable(&data_type) {
                return Err(call.refused(&format!("is not ordered by {data_type}")));
            }
            let direction =
                Direction { descending: order.descending, nulls_first: order.nulls_first };
            columns.push((data_type, direction));
            arguments.push(self.expr(&order.expr));
        }
        // With DISTINCT, SQL orders by the value itself or not at all.
        let by_value = match (arguments.as_slice(), columns.first()) {
            ([only], Some((_, direction))) if *only == value => Some(*direction),
            _ => None,
        };
        if call.distinct && by_value.is_none() && !arguments.is_empty() {
            return Err(call.refused("DISTINCT is ordered by its argument only"));
        }
        if by_value.is_some() {
            columns.clear();
            arguments.clear();
        }
        let data_type = call.arguments[0].data_type().clone();
        columns.push((data_type, by_value.unwrap_or(Direction::ASCENDING)));
        arguments.push(value);
        let last = call.function == Function::LastValue;
        if call.function != Function::ArrayAgg && self.append_only {
            let (data_types, directions) = columns.into_iter().unzip();
            let kind = Kind::Row { data_types, directions, last };
            return Ok(Answer::Row(self.slot(kind, arguments, filter)));
        }
        let question = match call.function {
            Function::FirstValue => SetQuestion::First,
            Function::LastValue => SetQuestion::Last,
            _ if call.distinct => SetQuestion::Distinct,
            _ => SetQuestion::All,
        };
        // Without counts every value is there once.
        let counted = !self.append_only || !call.distinct;
        let kind = Kind::Set(SetKind::ordered(columns, counted));
        Ok(Answer::Set { set: self.slot(kind, arguments, filter), question })
    }

    /// The number of an expression; the same column and the same object count as the same.
    fn expr(&mut self, expr: &ExprRef) -> usize {
        let same = |other: &ExprRef| {
            let column = other.as_column();
            Arc::ptr_eq(other, expr) || (column.is_some() && column == expr.as_column())
        };
        if let Some(found) = self.exprs.iter().position(same) {
            return found;
        }
        self.exprs.push(Arc::clone(expr));
        self.exprs.len() - 1
    }

    fn slot(&mut self, kind: Kind, arguments: Vec<usize>, filter: Option<usize>) -> usize {
        let same =
            |slot: &Slot| slot.kind == kind && slot.arguments == arguments && slot.filter == filter;
        if let Some(found) = self.slots.iter().position(same) {
            return found;
        }
        self.slots.push(Slot { kind, arguments, filter, at: 0, width: 0 });
        self.slots.len() - 1
    }
}
