//! Intervals as they are compared: a month is 30 days, a day is 24 hours (PostgreSQL, "Date/Time Types", interval
//! input: `justify_interval`).
//!
//! What must hold: of two intervals the shorter one has the lesser form, field by field; the form of a constant without
//! months has none either, so that it is seen to be a length of time.

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::{
    Between, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use crate::functions;

const DAY_NS: i128 = 86_400_000_000_000;
const MONTH_DAYS: i128 = 30;

/// What an interval is compared as.
pub(crate) fn stands_for(expr: &Expr) -> Option<&Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    call.func.inner().downcast_ref::<Length>().and(call.args.first())
}

/// A comparison of intervals, by how long they are.
pub(crate) fn compared(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let is_interval = |expr: &Expr| {
        // What a comparison gives is none. Asking would walk the whole tree, at every comparison in it.
        if is_candidate(expr) {
            return false;
        }
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        expr.get_type(schema).is_ok_and(|data_type| data_type == interval)
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if compares(op) && is_interval(&left) && is_interval(&right) =>
        {
            let (left, right) = (Box::new(length(*left)), Box::new(length(*right)));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::Between(Between { expr, negated, low, high })
            if [&expr, &low, &high].into_iter().all(|e| is_interval(e)) =>
        {
            let [expr, low, high] = [expr, low, high].map(|e| Box::new(length(*e)));
            Transformed::yes(Expr::Between(Between { expr, negated, low, high }))
        }
        Expr::InList(InList { expr, list, negated })
            if is_interval(&expr) && list.iter().all(is_interval) =>
        {
            let expr = Box::new(length(*expr));
            let list = list.into_iter().map(length).collect();
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        other => Transformed::no(other),
    }
}

/// Whether an expression may be a comparison of intervals, from its form.
pub(crate) fn is_candidate(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => compares(*op),
        Expr::Between(_) | Expr::InList(_) => true,
        _ => false,
    }
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn length(expr: Expr) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(Length(signature)).call(vec![expr])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length(Signature);

/// The same length in days and less than a day; months only where days do not reach.
fn form(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    let days = i128::from(interval.months) * MONTH_DAYS + i128::from(interval.days);
    let all = days * DAY_NS + i128::from(interval.nanoseconds);
    let (days, rest) = (all.div_euclid(DAY_NS), all.rem_euclid(DAY_NS));
    let nanoseconds = i64::try_from(rest).unwrap_or(i64::MAX);
    match i32::try_from(days) {
        Ok(days) => IntervalMonthDayNano::new(0, days, nanoseconds),
        Err(_) => {
            let bound = if days < 0 { i32::MIN } else { i32::MAX };
            let months = i32::try_from(days.div_euclid(MONTH_DAYS)).unwrap_or(bound);
            let days = i32::try_from(days.rem_euclid(MONTH_DAYS)).unwrap_or_default();
            IntervalMonthDayNano::new(months, days, nanoseconds)
        }
    }
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &'static str {
        "interval_length"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.first().map_or_else(String::new, |arg| arg.schema_name().to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        functions::each(&args, |array| match array.data_type() {
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
                Ok(Arc::new(intervals.unary::<_, IntervalMonthDayNanoType>(form)))
            }
            other => exec_err!("{} takes an interval, not {other}", self.name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_in_the_order_of_lengths() {
        let values = [
            (-1, 29, 0),
            (-1, 30, -2),
            (0, 0, -1),
            (0, 0, 0),
            (0, 0, 1),
            (0, 1, -1),
            (0, 0, 86_400_000_000_001),
            (0, 7, 0),
            (0, 0, 21 * 86_400_000_000_000),
            (0, 29, 86_399_999_999_999),
            (0, 31, -3),
            (i32::MAX, 0, 0),
            (i32::MAX, i32::MAX, 0),
        ];
        let new = |(m, d, n)| IntervalMonthDayNano::new(m, d, n);
        let forms: Vec<_> = values.into_iter().map(|v| form(new(v))).collect();
        assert!(forms.is_sorted() && forms.windows(2).all(|two| two[0] != two[1]), "{forms:?}");
        let same = [(0, 1, 0), (0, 0, 86_400_000_000_000)].map(|v| form(new(v)));
        assert_eq!(same[0], same[1]);
        assert_eq!(form(new((1, 0, 0))), form(new((0, 30, 0))));
        assert_eq!(form(new((i32::MIN, i32::MIN, i64::MIN))).months, i32::MIN);
    }
}
