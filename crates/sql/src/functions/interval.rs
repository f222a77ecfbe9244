//! Lengths of time, computed as PostgreSQL computes them.
//!
//! | written | function |
//! |---|---|
//! | `i * n`, `n * i` | [`Scale`], months and days cut to whole ones and what is left carried down |
//! | `i / n` | the same |
//! | `extract(second FROM i)` | [`Microseconds`] |
//! | `age(a, b)` | [`Age`] |
//! | `make_interval(years, months, weeks, days, hours, mins, secs)` | [`Make`] |
//!
//! A month that is parted has 30 days and a day 24 hours, as `interval_mul` and `interval_div` of PostgreSQL
//! have it; [`Age`] is its `timestamp_age`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, IntervalMonthDayNanoArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, DurationMicrosecondType, Float64Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast as cast_to,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use yeoul_batch::{date_of, days_in_month};

use crate::datatype;
use crate::error::{ErrorKind, SqlError};

pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAY_US: i64 = 86_400_000_000;
const DAY_SECONDS: f64 = 86_400.0;
const MONTH_DAYS: f64 = 30.0;
const SECOND_US: f64 = 1_000_000.0;

fn error(kind: ErrorKind, message: &str) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(kind, message)))
}

fn out_of_range() -> DataFusionError {
    error(ErrorKind::OutOfRange, "interval out of range")
}

/// Plans `*` and `/` of an interval and a number.
#[derive(Debug, Default)]
pub(crate) struct IntervalOperators;

impl ExprPlanner for IntervalOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let divides = match expr.op {
            BinaryOperator::Multiply => false,
            BinaryOperator::Divide => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let is_length = |e: &Expr| {
            let data_type = e.get_type(schema).ok();
            matches!(data_type, Some(DataType::Interval(_) | DataType::Duration(_)))
        };
        // A parameter is what it has to be.
        let is_number = |e: &Expr| match e {
            Expr::Placeholder(parameter) if parameter.field.is_none() => true,
            e => e.get_type(schema).is_ok_and(|t| t.is_numeric()),
        };
        let (interval, number) = if is_length(&expr.left) && is_number(&expr.right) {
            (expr.left, expr.right)
        } else if !divides && is_length(&expr.right) && is_number(&expr.left) {
            (expr.right, expr.left)
        } else if is_length(&expr.left) && is_length(&expr.right) {
            let verb = if divides { "divided" } else { "multiplied" };
            let message = format!("an interval is {verb} by a number, not by an interval");
            return Err(error(ErrorKind::DatatypeMismatch, &message));
        } else {
            return Ok(PlannerResult::Original(expr));
        };
        let args = vec![cast_to(interval, INTERVAL), cast_to(number, DataType::Float64)];
        Ok(PlannerResult::Planned(scale(divides).call(args)))
    }
}

fn scale(divides: bool) -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![INTERVAL, DataType::Float64], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Scale { divides, signature }))
}

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let age = Age(Signature::user_defined(Volatility::Immutable));
    let make = Make(Signature::user_defined(Volatility::Immutable));
    let (age, make) = (ScalarUDF::new_from_impl(age), ScalarUDF::new_from_impl(make));
    vec![scale(false), scale(true), microseconds(), Arc::new(age), Arc::new(make)]
}

/// `interval_times(interval, double)` and `interval_divided(interval, double)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scale {
    divides: bool,
    signature: Signature,
}

/// The float as a whole number, cut towards zero.
fn whole(value: f64) -> Result<i32> {
    let fits = value > f64::from(i32::MIN) - 1.0 && value < f64::from(i32::MAX) + 1.0;
    if !fits {
        return Err(out_of_range());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is in the range of an i32")]
    Ok(value as i32)
}

/// Rounded to whole microseconds of a second, as PostgreSQL does between its steps.
fn to_us(value: f64) -> f64 {
    (value * SECOND_US).round_ties_even() / SECOND_US
}

fn nanoseconds(us: f64) -> Result<i64> {
    let us = us.round_ties_even();
    if us.is_nan() || us.abs() >= 9_223_372_036_854_775.0 {
        return Err(out_of_range());
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is within an i64 even times 1000")]
    Ok(us as i64 * 1_000)
}

/// An interval whose parts are each made `of` times as long.
fn scaled(interval: IntervalMonthDayNano, of: impl Fn(f64) -> f64) -> Result<IntervalMonthDayNano> {
    let IntervalMonthDayNano { months, days, nanoseconds: ns } = interval;
    let (all_months, all_days) = (of(f64::from(months)), of(f64::from(days)));
    let (months, days) = (whole(all_months)?, whole(all_days)?);
    let rest_days = to_us((all_months - f64::from(months)) * MONTH_DAYS);
    let more_days = whole(rest_days)?;
    let rest = all_days - f64::from(days) + rest_days - f64::from(more_days);
    let mut seconds = to_us(rest * DAY_SECONDS);
    let mut carried = 0;
    if seconds.abs() >= DAY_SECONDS {
        carried = whole(seconds / DAY_SECONDS)?;
        seconds -= f64::from(carried) * DAY_SECONDS;
    }
    let days = days.checked_add(carried).and_then(|days| days.checked_add(more_days));
    #[expect(clippy::cast_precision_loss, reason = "as PostgreSQL: the product is a double")]
    let time_us = (ns / 1_000) as f64;
    let nanoseconds = nanoseconds(of(time_us) + seconds * SECOND_US)?;
    Ok(IntervalMonthDayNano { months, days: days.ok_or_else(out_of_range)?, nanoseconds })
}

impl ScalarUDFImpl for Scale {
    fn name(&self) -> &str {
        if self.divides { "interval_divided" } else { "interval_times" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over(&args, |columns| {
            let intervals = columns[0].as_primitive::<IntervalMonthDayNanoType>();
            let factors = columns[1].as_primitive::<Float64Type>();
            let each = intervals.iter().zip(factors).map(|pair| match pair {
                (Some(interval), Some(factor)) => match self.divides {
                    true if factor == 0.0 => {
                        Err(error(ErrorKind::DivisionByZero, "division by zero"))
                    }
                    true => scaled(interval, |part| part / factor).map(Some),
                    false => scaled(interval, |part| part * factor).map(Some),
                },
                _ => Ok(None),
            });
            Ok(Arc::new(each.collect::<Result<IntervalMonthDayNanoArray>>()?))
        })
    }
}

/// `f` of the arguments as columns; one row where all are constant.
pub(super) fn over(
    args: &ScalarFunctionArgs,
    f: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    let columns = args.args.iter().map(|a| a.to_array(rows)).collect::<Result<Vec<_>>>()?;
    let out = f(&columns)?;
    match constant {
        true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&out, 0)?)),
        false => Ok(ColumnarValue::Array(out)),
    }
}

/// `interval_microseconds(interval)`: the seconds of an interval behind its minutes, in microseconds.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Microseconds(Signature);

/// See [`Microseconds`].
pub(crate) fn microseconds() -> Arc<ScalarUDF> {
    let signature = Signature::exact(vec![INTERVAL], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(Microseconds(signature)))
}

impl ScalarUDFImpl for Microseconds {
    fn name(&self) -> &str {
        "interval_microseconds"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over(&args, |columns| {
            let intervals = columns[0].as_primitive::<IntervalMonthDayNanoType>();
            let of = |i: IntervalMonthDayNano| i.nanoseconds / 1_000 % 60_000_000;
            Ok(Arc::new(intervals.unary::<_, Int64Type>(of)))
        })
    }
}

/// The time between two times as an interval: in hours, as far as nanoseconds count them, and beyond that, at 292
/// years, in days and hours.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Between(Signature);

/// Microseconds between two times as an interval.
pub(crate) fn between(difference: Expr) -> Expr {
    let duration = DataType::Duration(TimeUnit::Microsecond);
    let signature = Signature::exact(vec![duration], Volatility::Immutable);
    ScalarUDF::new_from_impl(Between(signature)).call(vec![difference])
}

/// The difference that is made an interval by [`between`].
pub(crate) fn difference(expr: &Expr) -> Option<&Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    call.func.inner().downcast_ref::<Between>().and(call.args.first())
}

impl ScalarUDFImpl for Between {
    fn name(&self) -> &str {
        "interval_between"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.first().map_or_else(String::new, |arg| arg.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over(&args, |columns| {
            let lengths = columns[0].as_primitive::<DurationMicrosecondType>();
            let each = lengths.try_unary::<_, IntervalMonthDayNanoType, DataFusionError>(|us| {
                if let Some(nanoseconds) = us.checked_mul(1_000) {
                    return Ok(IntervalMonthDayNano { months: 0, days: 0, nanoseconds });
                }
                let days = i32::try_from(us / DAY_US).map_err(|_| out_of_range())?;
                let nanoseconds = us % DAY_US * 1_000;
                Ok(IntervalMonthDayNano { months: 0, days, nanoseconds })
            })?;
            Ok(Arc::new(each))
        })
    }
}

/// `age(timestamp, timestamp)`: years, months, days and time of day between two times.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Age(Signature);

/// How long `one` is after `other`, both in microseconds since 1970.
fn age(one: i64, other: i64) -> Result<IntervalMonthDayNano> {
    let back = one < other;
    let (late, early) = if back { (other, one) } else { (one, other) };
    let (year, month, day) = date_of(late.div_euclid(DAY_US));
    let (from_year, from_month, from_day) = date_of(early.div_euclid(DAY_US));
    let mut months = (year - from_year) * 12 + month - from_month;
    let mut days = day - from_day;
    let mut us = late.rem_euclid(DAY_US) - early.rem_euclid(DAY_US);
    if us < 0 {
        us += DAY_US;
        days -= 1;
    }
    // A month that is begun is as long as that of the earlier time.
    while days < 0 {
        days += days_in_month(from_year, from_month);
        months -= 1;
    }
    let sign = if back { -1 } else { 1 };
    let small = |value: i64| i32::try_from(value * sign).map_err(|_| out_of_range());
    Ok(IntervalMonthDayNano {
        months: small(months)?,
        days: small(days)?,
        nanoseconds: us * 1_000 * sign,
    })
}

impl ScalarUDFImpl for Age {
    fn name(&self) -> &str {
        "age"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let is_time = |t: &DataType| {
            matches!(t, DataType::Timestamp(..) | DataType::Date32 | DataType::Null)
                || datatype::is_string(t)
        };
        if arg_types.len() != 2 || !arg_types.iter().all(is_time) {
            return plan_err!("function \"age\" takes two times: age(later, earlier)");
        }
        let zoned = arg_types.iter().any(|t| matches!(t, DataType::Timestamp(_, Some(_))));
        let time = if zoned { datatype::timestamptz() } else { datatype::timestamp() };
        Ok(vec![time.clone(), time])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over(&args, |columns| {
            let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
            let (ones, others) = (cast(&columns[0], &plain)?, cast(&columns[1], &plain)?);
            let ones = ones.as_primitive::<TimestampMicrosecondType>().iter();
            let each = ones.zip(others.as_primitive::<TimestampMicrosecondType>());
            let each = each.map(|(one, other)| one.zip(other).map(|(o, p)| age(o, p)).transpose());
            Ok(Arc::new(each.collect::<Result<IntervalMonthDayNanoArray>>()?))
        })
    }
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`, the last of which may be left out.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Make(Signature);

/// The names of its parameters. All but the last are whole numbers.
pub(crate) const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

fn made(parts: &[i64; 6], seconds: f64) -> Result<IntervalMonthDayNano> {
    let [years, months, weeks, days, hours, minutes] = *parts;
    let sum = |many: i64, of: i64, more: i64| {
        let all = many.checked_mul(of).and_then(|all| all.checked_add(more));
        all.ok_or_else(out_of_range)
    };
    let small = |value: i64| i32::try_from(value).map_err(|_| out_of_range());
    #[expect(clippy::cast_precision_loss, reason = "minutes of an i32 are exact")]
    let clock_us = sum(hours, 60, minutes)? as f64 * 60.0 * SECOND_US;
    Ok(IntervalMonthDayNano {
        months: small(sum(years, 12, months)?)?,
        days: small(sum(weeks, 7, days)?)?,
        nanoseconds: nanoseconds(clock_us + (seconds * SECOND_US).round_ties_even())?,
    })
}

impl ScalarUDFImpl for Make {
    fn name(&self) -> &str {
        "make_interval"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let fits = |(at, t): (usize, &DataType)| {
            t.is_integer() || *t == DataType::Null || (at == 6 && t.is_numeric())
        };
        if arg_types.len() > PARTS.len() || !arg_types.iter().enumerate().all(fits) {
            return plan_err!(
                "function \"make_interval\" takes whole numbers of {}, and a number of secs",
                PARTS[..6].join(", ")
            );
        }
        let of = |at: usize| if at == 6 { DataType::Float64 } else { DataType::Int64 };
        Ok((0..arg_types.len()).map(of).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over(&args, |columns| {
            let rows = columns.first().map_or(1, |column| column.len());
            let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; rows]));
            let part = |at: usize| columns.get(at).unwrap_or(&zeros).as_primitive::<Int64Type>();
            let wholes: [_; 6] = std::array::from_fn(part);
            let no_seconds: ArrayRef = Arc::new(Float64Array::from(vec![0.0; rows]));
            let seconds = columns.get(6).unwrap_or(&no_seconds).as_primitive::<Float64Type>();
            let each = (0..rows).map(|row| {
                if columns.iter().any(|column| column.is_null(row)) {
                    return Ok(None);
                }
                made(&wholes.map(|part| part.value(row)), seconds.value(row)).map(Some)
            });
            Ok(Arc::new(each.collect::<Result<IntervalMonthDayNanoArray>>()?))
        })
    }
}
