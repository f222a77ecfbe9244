//! `sum`, `min` and `max` where DataFusion's own are not right: the same functions, run in another type.
//!
//! | call | runs in | because else |
//! |---|---|---|
//! | `sum(bigint)` | `numeric(38, 0)` | the sum wraps; a part of it may not fit although the whole does |
//! | `sum(numeric)` of 29 digits and more | as many digits as 256 bits have | the sum wraps |
//! | `min`, `max` of floats | integers in the order of the floats | the answer depends on where NaN stands |
//!
//! Every other call is DataFusion's alone. NaN is greater than all numbers and equal to itself, whatever its sign.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{
    DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type, Field, FieldRef,
    Float32Type, Float64Type, Int32Type, Int64Type, i256,
};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator,
    Operator, ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};

use super::integer::value_bits;
use crate::error::{ErrorKind, SqlError};

/// The digits that hold every sum of bigints.
const SUM_DIGITS: u8 = 38;

pub(super) fn all() -> [AggregateUDF; 3] {
    [(sum_udaf(), true), (min_udaf(), false), (max_udaf(), false)]
        .map(|(whole, is_sum)| AggregateUDF::new_from_impl(Detoured { whole, is_sum }))
}

/// `numeric` of so many digits is summed up as it is: its sum has ten digits more, and those fit.
const PLAIN_DIGITS: u8 = SUM_DIGITS - 10;

/// The first number that has more digits than a `numeric`.
const NUMERIC_END: u128 = 10_u128.pow(SUM_DIGITS as u32);

/// Which way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detour {
    Sum,
    /// Of `numeric` with so many digits behind the point.
    Numeric(i8),
    Real,
    Double,
}

impl Detour {
    /// The type inside.
    fn inside(self) -> DataType {
        match self {
            Self::Sum => DataType::Decimal128(SUM_DIGITS, 0),
            Self::Numeric(scale) => DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale),
            Self::Real => DataType::Int32,
            Self::Double => DataType::Int64,
        }
    }

    fn field(self) -> FieldRef {
        Arc::new(Field::new("inside", self.inside(), true))
    }

    fn enter(self, values: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::Sum => {
                let values = values.as_primitive::<Int64Type>();
                let wide = values.unary::<_, Decimal128Type>(i128::from);
                Arc::new(wide.with_precision_and_scale(SUM_DIGITS, 0)?)
            }
            Self::Numeric(scale) => {
                let values = values.as_primitive::<Decimal128Type>();
                let wide = values.unary::<_, Decimal256Type>(i256::from_i128);
                Arc::new(wide.with_precision_and_scale(DECIMAL256_MAX_PRECISION, scale)?)
            }
            Self::Real => {
                let values = values.as_primitive::<Float32Type>();
                Arc::new(values.unary::<_, Int32Type>(|value| {
                    let value = if value.is_nan() { f32::NAN } else { value };
                    rank32(value.to_bits().cast_signed())
                }))
            }
            Self::Double => {
                let values = values.as_primitive::<Float64Type>();
                Arc::new(values.unary::<_, Int64Type>(|value| {
                    let value = if value.is_nan() { f64::NAN } else { value };
                    rank64(value.to_bits().cast_signed())
                }))
            }
        })
    }

    fn leave(self, values: &ArrayRef) -> Result<ArrayRef> {
        Ok(match self {
            Self::Sum => {
                let values = values.as_primitive::<Decimal128Type>();
                let narrow = values.try_unary::<_, Int64Type, SqlError>(|sum| {
                    i64::try_from(sum).map_err(|_| {
                        let message = "sum() is out of range for bigint";
                        SqlError::new(ErrorKind::OutOfRange, message)
                    })
                });
                Arc::new(narrow.map_err(|e| DataFusionError::External(Box::new(e)))?)
            }
            Self::Numeric(scale) => {
                let values = values.as_primitive::<Decimal256Type>();
                let narrow = values.try_unary::<_, Decimal128Type, DataFusionError>(|sum| {
                    let sum = sum.to_i128().filter(|sum| sum.unsigned_abs() < NUMERIC_END);
                    sum.ok_or_else(|| {
                        let message = format!("sum() is out of range for numeric(38,{scale})");
                        let error = SqlError::new(ErrorKind::OutOfRange, message);
                        DataFusionError::External(Box::new(error))
                    })
                });
                Arc::new(narrow?.with_precision_and_scale(SUM_DIGITS, scale)?)
            }
            Self::Real => {
                let values = values.as_primitive::<Int32Type>();
                let float = |rank| f32::from_bits(rank32(rank).cast_unsigned());
                Arc::new(values.unary::<_, Float32Type>(float))
            }
            Self::Double => {
                let values = values.as_primitive::<Int64Type>();
                let float = |rank| f64::from_bits(rank64(rank).cast_unsigned());
                Arc::new(values.unary::<_, Float64Type>(float))
            }
        })
    }

    fn leave_value(self, value: &ScalarValue) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.leave(&value.to_array()?)?, 0)
    }

    /// States of sums stay inside, where they always fit. Those of `min` and `max` have the type of the
    /// answer, because DataFusion's plan for the first groups of an order reckons with it.
    fn keeps_states_inside(self) -> bool {
        matches!(self, Self::Sum | Self::Numeric(_))
    }
}

/// Bits of a float as a number in the order of the floats, and back.
fn rank64(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn rank32(bits: i32) -> i32 {
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Detoured {
    whole: Arc<AggregateUDF>,
    is_sum: bool,
}

impl Detoured {
    fn detour(&self, input: &[FieldRef]) -> Option<Detour> {
        match (self.is_sum, input.first()?.data_type()) {
            (true, DataType::Int64) => Some(Detour::Sum),
            (true, DataType::Decimal128(digits, scale)) if *digits > PLAIN_DIGITS => {
                Some(Detour::Numeric(*scale))
            }
            (false, DataType::Float32) => Some(Detour::Real),
            (false, DataType::Float64) => Some(Detour::Double),
            _ => None,
        }
    }
}

impl AggregateUDFImpl for Detoured {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn aliases(&self) -> &[String] {
        self.whole.aliases()
    }

    fn signature(&self) -> &Signature {
        self.whole.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.whole.inner().coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.whole.return_type(arg_types)
    }

    fn return_field(&self, arg_fields: &[FieldRef]) -> Result<FieldRef> {
        self.whole.return_field(arg_fields)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some(detour) = self.detour(args.expr_fields) else {
            return self.whole.accumulator(args);
        };
        let may_add = detour == Detour::Sum && !args.is_distinct;
        let (return_field, fields) = (detour.field(), [detour.field()]);
        let args = AccumulatorArgs { return_field, expr_fields: &fields, ..args };
        let inner = self.whole.accumulator(args)?;
        Ok(Box::new(OneGroup { detour, may_add, inner }))
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        // DataFusion has DISTINCT in sliding frames for bigints only.
        let detour = self.detour(args.expr_fields).filter(|_| !args.is_distinct);
        let Some(detour) = detour else { return self.whole.create_sliding_accumulator(args) };
        let (return_field, fields) = (detour.field(), [detour.field()]);
        let args = AccumulatorArgs { return_field, expr_fields: &fields, ..args };
        let inner = self.whole.create_sliding_accumulator(args)?;
        Ok(Box::new(OneGroup { detour, may_add: false, inner }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match self.detour(args.input_fields) {
            Some(detour) if detour.keeps_states_inside() => {
                let (return_field, fields) = (detour.field(), [detour.field()]);
                let args = StateFieldsArgs { return_field, input_fields: &fields, ..args };
                self.whole.state_fields(args)
            }
            _ => self.whole.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.whole.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let Some(detour) = self.detour(args.expr_fields) else {
            return self.whole.create_groups_accumulator(args);
        };
        let (return_field, fields) = (detour.field(), [detour.field()]);
        let args = AccumulatorArgs { return_field, expr_fields: &fields, ..args };
        Ok(Box::new(Groups { detour, inner: self.whole.create_groups_accumulator(args)? }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.whole.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.whole.simplify()
    }

    fn simplify_expr_op_literal(
        &self,
        call: &AggregateFunction,
        arg: &Expr,
        op: Operator,
        literal: &Expr,
        arg_is_left: bool,
    ) -> Result<Option<Expr>> {
        self.whole.simplify_expr_op_literal(call, arg, op, literal, arg_is_left)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.whole.reverse_udf()
    }

    fn is_descending(&self) -> Option<bool> {
        self.whole.is_descending()
    }

    /// The least and the greatest float of a file say nothing of NaN.
    fn value_from_stats(&self, args: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        match args.return_type {
            DataType::Float32 | DataType::Float64 => None,
            _ => self.whole.value_from_stats(args),
        }
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.whole.default_value(data_type)
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.whole.inner().set_monotonicity(data_type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.whole.documentation()
    }
}

/// For a query without groups, for `DISTINCT`, and for windows.
#[derive(Debug)]
struct OneGroup {
    detour: Detour,
    /// Whether the values of a batch may be added up before: not where each is taken back again, or
    /// counts once.
    may_add: bool,
    inner: Box<dyn Accumulator>,
}

impl OneGroup {
    /// The sum of values that are too small to wrap, which is several times faster outside.
    fn small_sum(&self, values: &ArrayRef) -> Result<Option<ArrayRef>> {
        if !self.may_add {
            return Ok(None);
        }
        let values = values.as_primitive::<Int64Type>();
        let all = values.values().iter().fold(0, |all, &v| all | (v ^ (v >> 63)));
        if value_bits(all) + usize::BITS - values.len().leading_zeros() >= i64::BITS {
            return Ok(None);
        }
        let sum = compute::sum(values).map(i128::from);
        let sum = Decimal128Array::from(vec![sum]).with_precision_and_scale(SUM_DIGITS, 0)?;
        Ok(Some(Arc::new(sum)))
    }
}

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let inside = match self.small_sum(&values[0])? {
            Some(sum) => sum,
            None => self.detour.enter(&values[0])?,
        };
        self.inner.update_batch(&[inside])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if self.detour.keeps_states_inside() {
            return self.inner.merge_batch(states);
        }
        self.inner.merge_batch(&[self.detour.enter(&states[0])?])
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let states = self.inner.state()?;
        if self.detour.keeps_states_inside() {
            return Ok(states);
        }
        states.iter().map(|state| self.detour.leave_value(state)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.detour.leave_value(&self.inner.evaluate()?)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.inner.size()
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&[self.detour.enter(&values[0])?])
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

struct Groups {
    detour: Detour,
    inner: Box<dyn GroupsAccumulator>,
}

impl Groups {
    fn outside(&self, states: Vec<ArrayRef>) -> Result<Vec<ArrayRef>> {
        if self.detour.keeps_states_inside() {
            return Ok(states);
        }
        states.iter().map(|state| self.detour.leave(state)).collect()
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let inside = self.detour.enter(&values[0])?;
        self.inner.update_batch(&[inside], group_indices, filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        if self.detour.keeps_states_inside() {
            return self.inner.merge_batch(states, group_indices, total_num_groups);
        }
        let inside = self.detour.enter(&states[0])?;
        self.inner.merge_batch(&[inside], group_indices, total_num_groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let states = self.inner.state(emit_to)?;
        self.outside(states)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.detour.leave(&self.inner.evaluate(emit_to)?)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let inside = self.detour.enter(&values[0])?;
        self.outside(self.inner.convert_to_state(&[inside], filter)?)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Float64Array;

    #[test]
    fn ranks_are_in_the_order_of_postgresql() {
        let rising = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -5e-324,
            0.0,
            5e-324,
            1.5,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        let values: ArrayRef = Arc::new(Float64Array::from(rising.to_vec()));
        let ranks = Detour::Double.enter(&values).expect("doubles");
        assert!(ranks.as_primitive::<Int64Type>().values().is_sorted());
        let back = Detour::Double.leave(&ranks).expect("ranks");
        assert_eq!(back.to_data(), values.to_data());
        let strange: ArrayRef = Arc::new(Float64Array::from(vec![-f64::NAN]));
        let rank = Detour::Double.enter(&strange).expect("doubles");
        assert_eq!(rank.to_data(), ranks.slice(9, 1).to_data());
    }
}
