//! `now()` in a view: where a row is there by the clock.
//!
//! ```text
//!   WHERE ts > now() - INTERVAL '1 hour'    is true until ts + 1 hour
//!   WHERE ts <= now()                       is true from ts on
//! ```
//!
//! A comparison of `now()`, with or without lengths of time added, with a time of the row changes once, and when
//! follows from the row. Anywhere else the answer would change with every moment, and `now()` is refused.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Filter, Operator, cast};

use super::expr::Scope;
use super::{Lowered, Lowering};
use crate::ast::Query;
use crate::error::SqlError;
use crate::functions::{self, length};
use crate::view::{ClockCondition, ViewNode};

const DAY_US: i64 = 86_400_000_000;

/// A comparison with the clock, its row's time not lowered yet.
struct Comparison {
    time: Expr,
    shift_us: i64,
    comes: bool,
}

/// Whether the expression is `now()`.
pub(super) fn is_clock(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "now")
}

/// Whether `now()` is anywhere in the expression.
pub(super) fn mentions(expr: &Expr) -> bool {
    expr.exists(|e| Ok(is_clock(e))).unwrap_or(true)
}

/// `now()` where it cannot be kept.
pub(super) fn refused() -> SqlError {
    SqlError::unsupported("now() is only compared with a time of the row in a view")
        .detail(
            "its answer changes although no row does; a comparison changes once, and when follows from the \
             row",
        )
        .hint(
            "WHERE ts > now() - INTERVAL '1 hour', joined to other conditions by AND; days have 24 hours, and \
             months no length",
        )
}

/// The same, with its place.
pub(super) fn misplaced(query: &Query) -> SqlError {
    let words = ["NOW", "CURRENT_TIMESTAMP"];
    let place = words.iter().find_map(|word| query.text.find_keyword(word, query.span));
    refused().at(place.unwrap_or(query.span))
}

impl Lowering<'_> {
    /// A filter of which some conditions go by the clock; `None` when none does.
    pub(super) fn expiring(&self, filter: &Filter) -> Result<Option<Lowered>, SqlError> {
        let (clock, plain): (Vec<&Expr>, Vec<&Expr>) =
            split_conjunction(&filter.predicate).into_iter().partition(|e| mentions(e));
        if clock.is_empty() {
            return Ok(None);
        }
        let mut comparisons = Vec::new();
        for condition in clock {
            let found = comparisons_of(condition);
            let found = found.ok_or_else(|| misplaced(self.query))?;
            comparisons.extend(found);
        }
        let mut exprs: Vec<Expr> = comparisons.iter().map(|c| c.time.clone()).collect();
        exprs.extend(conjunction(plain.into_iter().cloned()));
        let input = self.node(&filter.input)?;
        let seen = input.scope.columns.len();
        let mut input = self.windowed(input, &mut exprs)?;
        let plain = exprs.split_off(comparisons.len());
        let conditions = comparisons
            .iter()
            .zip(&exprs)
            .map(|(c, time)| {
                let time = self.time(time, &input.scope)?;
                Ok(ClockCondition { time, shift_us: c.shift_us, comes: c.comes })
            })
            .collect::<Result<_, SqlError>>()?;
        if let Some(predicate) = plain.first() {
            let predicate = input.scope.expr(predicate, self.planner).map_err(|e| self.fail(e))?;
            input.node = ViewNode::Filter { input: Box::new(input.node), predicate };
        }
        let scope = input.scope.truncated(seen);
        let node = ViewNode::Expiring { input: Box::new(input.node), conditions };
        Ok(Some(Lowered { node, scope, key: input.key, windows: input.windows }))
    }

    /// A row's time in microseconds.
    fn time(&self, expr: &Expr, scope: &Scope) -> Result<yeoul_batch::ExprRef, SqlError> {
        let fail = |e: DataFusionError| self.fail(e);
        let mut expr = expr;
        // The comparison was made in nanoseconds, with the zone of the clock; the instant is the same.
        while let Expr::Cast(cast) = expr
            && matches!(
                cast.expr.get_type(scope.schema()).map_err(fail)?,
                DataType::Timestamp(TimeUnit::Microsecond, _)
            )
        {
            expr = &cast.expr;
        }
        match expr.get_type(scope.schema()).map_err(fail)? {
            DataType::Timestamp(TimeUnit::Microsecond, _) => scope.expr(expr, self.planner),
            DataType::Timestamp(_, zone) => {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, zone);
                scope.expr(&cast(expr.clone(), micros), self.planner)
            }
            _ => return Err(misplaced(self.query)),
        }
        .map_err(fail)
    }
}

/// The comparisons that a condition is made of; `None` when it is something else.
fn comparisons_of(condition: &Expr) -> Option<Vec<Comparison>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (time, op, shift_us) = match (clock_plus(left), clock_plus(right)) {
                (None, Some(shift_us)) => (left, *op, shift_us),
                (Some(shift_us), None) => (right, op.swap()?, shift_us),
                _ => return elapsed(left, *op, right).or_else(|| elapsed(right, op.swap()?, left)),
            };
            compared(time, op, shift_us)
        }
        Expr::Between(between) if !between.negated => {
            let compare = |op, bound: &Expr| {
                let (left, right) = (between.expr.clone(), Box::new(bound.clone()));
                comparisons_of(&Expr::BinaryExpr(BinaryExpr { left, op, right }))
            };
            let mut both = compare(Operator::GtEq, &between.low)?;
            both.extend(compare(Operator::LtEq, &between.high)?);
            Some(both)
        }
        _ => None,
    }
}

/// `now() - time op length`, or `time - now() op length`.
fn elapsed(difference: &Expr, op: Operator, length: &Expr) -> Option<Vec<Comparison>> {
    let difference = length::stands_for(difference).unwrap_or(difference);
    let mut difference = functions::difference(difference).unwrap_or(difference);
    while let Expr::Cast(cast) = difference
        && matches!(cast.field.data_type(), DataType::Interval(_) | DataType::Duration(_))
    {
        difference = &cast.expr;
    }
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) = difference else {
        return None;
    };
    let length = length_us(length)?;
    match (clock_plus(left), clock_plus(right)) {
        (Some(shift), None) => compared(right, op.swap()?, shift.checked_sub(length)?),
        (None, Some(shift)) => compared(left, op, shift.checked_add(length)?),
        _ => None,
    }
}

/// `time op now() + shift_us`.
fn compared(time: &Expr, op: Operator, shift_us: i64) -> Option<Vec<Comparison>> {
    if mentions(time) {
        return None;
    }
    let back = shift_us.checked_neg()?;
    let comparison = |shift_us, comes| Comparison { time: time.clone(), shift_us, comes };
    Some(match op {
        Operator::Gt => vec![comparison(back, false)],
        Operator::GtEq => vec![comparison(back.checked_add(1)?, false)],
        Operator::Lt => vec![comparison(back.checked_add(1)?, true)],
        Operator::LtEq => vec![comparison(back, true)],
        Operator::Eq => vec![comparison(back, true), comparison(back.checked_add(1)?, false)],
        _ => return None,
    })
}

/// What is added to `now()`, in microseconds; `None` when the expression is anything else.
fn clock_plus(expr: &Expr) -> Option<i64> {
    match expr {
        e if is_clock(e) => Some(0),
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(..)) => {
            clock_plus(&cast.expr)
        }
        Expr::Alias(alias) => clock_plus(&alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
            match (clock_plus(left), clock_plus(right)) {
                (Some(clock), None) => clock.checked_add(length_us(right)?),
                (None, Some(clock)) => clock.checked_add(length_us(left)?),
                _ => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            clock_plus(left)?.checked_sub(length_us(right)?)
        }
        _ => None,
    }
}

/// A length of time that is the same whenever it is.
pub(super) fn length_us(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::IntervalMonthDayNano(Some(v))
            if v.months == 0 && v.nanoseconds % 1000 == 0 =>
        {
            i64::from(v.days).checked_mul(DAY_US)?.checked_add(v.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(v)) => {
            let days = i64::from(v.days).checked_mul(DAY_US)?;
            days.checked_add(i64::from(v.milliseconds).checked_mul(1000)?)
        }
        ScalarValue::DurationMicrosecond(Some(us)) => Some(*us),
        _ => None,
    }
}
