//! What an aggregate is asked to keep: keys, functions, their arguments.

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, Field, FieldRef, IntervalUnit,
    TimeUnit,
};
use yeoul_batch::ExprRef;

use crate::error::FlowError;

/// An expression and the column it becomes.
#[derive(Debug, Clone)]
pub struct NamedExpr {
    /// Name, type, nullability and metadata of the column.
    pub field: FieldRef,
    /// What computes it.
    pub expr: ExprRef,
}

impl NamedExpr {
    /// `expr` as a nullable column called `name`.
    #[must_use]
    pub fn new(name: impl Into<String>, expr: ExprRef) -> Self {
        let field = Arc::new(Field::new(name, expr.data_type().clone(), true));
        Self { field, expr }
    }

    /// `expr` as the column `field` (to keep metadata such as `yeoul.type`).
    #[must_use]
    pub fn with_field(field: FieldRef, expr: ExprRef) -> Self {
        Self { field, expr }
    }
}

/// An aggregate function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// `count(*)` without an argument, `count(x)` with one. Int64.
    Count,
    /// Int64 for integers (an answer beyond it is an error), Decimal128(min(38, p + 10), s) for
    /// decimals, Float64 for floats.
    Sum,
    /// Float64 for integers and floats, Decimal128(p + 4, s + 4) truncated for decimals.
    Avg,
    /// The least value in SQL order; floats in total order, NaN greatest.
    Min,
    /// The greatest value in SQL order; floats in total order, NaN greatest.
    Max,
    /// The number of distinct values, approximately (exactly over updates). Int64.
    ApproxCountDistinct,
    /// The value below which this fraction (0 to 1) of the values lie, approximately (exactly
    /// over updates). Float64.
    ApproxPercentile(f64),
    /// The value of the first row in the order of `order_by`; among equals, the least value.
    FirstValue,
    /// The value of the last row in the order of `order_by`; among equals, the greatest value.
    LastValue,
    /// All values, nulls kept, in the order of `order_by`, equals by value (ascending, nulls
    /// last). NULL over no rows.
    ArrayAgg,
    /// Whether all values are true.
    BoolAnd,
    /// Whether any value is true.
    BoolOr,
    /// Sample standard deviation; NULL over fewer than two values. Float64.
    Stddev,
    /// Population standard deviation. Float64.
    StddevPop,
    /// Sample variance; NULL over fewer than two values. Float64.
    Variance,
    /// Population variance. Float64.
    VariancePop,
}

impl Function {
    /// The SQL name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::ApproxCountDistinct => "approx_count_distinct",
            Self::ApproxPercentile(_) => "approx_percentile",
            Self::FirstValue => "first_value",
            Self::LastValue => "last_value",
            Self::ArrayAgg => "array_agg",
            Self::BoolAnd => "bool_and",
            Self::BoolOr => "bool_or",
            Self::Stddev => "stddev",
            Self::StddevPop => "stddev_pop",
            Self::Variance => "variance",
            Self::VariancePop => "var_pop",
        }
    }

    fn argument_count(&self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Count => 0..=1,
            _ => 1..=1,
        }
    }
}

/// One term of an `ORDER BY` inside an aggregate call.
#[derive(Debug, Clone)]
pub struct Order {
    /// What is compared.
    pub expr: ExprRef,
    /// `DESC`.
    pub descending: bool,
    /// `NULLS FIRST`. SQL's default is `descending`.
    pub nulls_first: bool,
}

/// One call of an aggregate function.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// The name of the answer's column.
    pub name: String,
    /// The function.
    pub function: Function,
    /// Its arguments: one, or none for `count(*)`.
    pub arguments: Vec<ExprRef>,
    /// `FILTER (WHERE …)`, a boolean: only rows for which it is true count.
    pub filter: Option<ExprRef>,
    /// `DISTINCT`: equal values count once.
    pub distinct: bool,
    /// `ORDER BY` inside the call. Required by `first_value` and `last_value`; has no effect on
    /// others than these and `array_agg`.
    pub order_by: Vec<Order>,
}

impl AggregateCall {
    /// A plain call: no filter, not distinct, unordered.
    #[must_use]
    pub fn new(name: impl Into<String>, function: Function, arguments: Vec<ExprRef>) -> Self {
        let name = name.into();
        Self { name, function, arguments, filter: None, distinct: false, order_by: Vec::new() }
    }

    /// With `FILTER (WHERE filter)`.
    #[must_use]
    pub fn filter(mut self, filter: ExprRef) -> Self {
        self.filter = Some(filter);
        self
    }

    /// With `DISTINCT`.
    #[must_use]
    pub fn distinct(mut self) -> Self {
        self.distinct = true;
        self
    }

    /// With one more `ORDER BY` term, in SQL's default null order.
    #[must_use]
    pub fn order_by(mut self, expr: ExprRef, descending: bool) -> Self {
        self.order_by.push(Order { expr, descending, nulls_first: descending });
        self
    }

    /// The type of the answer; an error when the function does not take such arguments.
    pub fn output_type(&self) -> Result<DataType, FlowError> {
        let function = self.function;
        if !function.argument_count().contains(&self.arguments.len()) {
            return Err(self.refused("takes exactly one argument"));
        }
        let Some(argument) = self.arguments.first() else { return Ok(DataType::Int64) };
        let data_type = argument.data_type();
        let wrong = || self.refused(&format!("does not take {data_type}"));
        Ok(match function {
            Function::Count | Function::ApproxCountDistinct => DataType::Int64,
            Function::Sum => sum_type(data_type).ok_or_else(wrong)?,
            Function::Avg => avg_type(data_type).ok_or_else(wrong)?,
            Function::ApproxPercentile(fraction) => {
                if !(0.0..=1.0).contains(&fraction) {
                    return Err(self.refused("takes a fraction from 0 to 1"));
                }
                number(data_type).then_some(DataType::Float64).ok_or_else(wrong)?
            }
            Function::Stddev | Function::StddevPop | Function::Variance | Function::VariancePop => {
                number(data_type).then_some(DataType::Float64).ok_or_else(wrong)?
            }
            Function::BoolAnd | Function::BoolOr => {
                (*data_type == DataType::Boolean).then_some(DataType::Boolean).ok_or_else(wrong)?
            }
            Function::Min | Function::Max => {
                orderable(data_type).then(|| data_type.clone()).ok_or_else(wrong)?
            }
            Function::FirstValue | Function::LastValue => {
                if self.order_by.is_empty() {
                    return Err(self.refused("needs ORDER BY in its parentheses"));
                }
                orderable(data_type).then(|| data_type.clone()).ok_or_else(wrong)?
            }
            Function::ArrayAgg => {
                if !orderable(data_type) {
                    return Err(wrong());
                }
                DataType::List(Arc::new(Field::new_list_field(data_type.clone(), true)))
            }
        })
    }

    pub(crate) fn refused(&self, why: &str) -> FlowError {
        FlowError::Unsupported(format!("{}() {why}", self.function.name()))
    }
}

/// Whether values of the type can be compared, and so kept in ordered sets.
pub(crate) fn orderable(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Utf8View
            | DataType::Utf8
            | DataType::Binary
            | DataType::FixedSizeBinary(_)
            | DataType::Decimal128(..)
            | DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(TimeUnit::Microsecond)
            | DataType::Interval(IntervalUnit::MonthDayNano)
    ) || number(data_type)
}

fn number(data_type: &DataType) -> bool {
    integer(data_type)
        || matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Decimal128(..))
}

pub(crate) fn integer(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
    )
}

fn sum_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        t if integer(t) => Some(DataType::Int64),
        DataType::Float32 | DataType::Float64 => Some(DataType::Float64),
        DataType::Decimal128(p, s) => {
            Some(DataType::Decimal128((p + 10).min(DECIMAL128_MAX_PRECISION), *s))
        }
        _ => None,
    }
}

fn avg_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Decimal128(p, s) => Some(DataType::Decimal128(
            (p + 4).min(DECIMAL128_MAX_PRECISION),
            (s + 4).min(DECIMAL128_MAX_SCALE),
        )),
        t if number(t) => Some(DataType::Float64),
        _ => None,
    }
}

/// What to group by and what to keep per group.
#[derive(Debug, Clone)]
pub struct AggregateSpec {
    /// The key columns. None: one group over everything.
    pub keys: Vec<NamedExpr>,
    /// The functions.
    pub calls: Vec<AggregateCall>,
    /// The input never takes a row back, so that light states do.
    pub append_only: bool,
}
