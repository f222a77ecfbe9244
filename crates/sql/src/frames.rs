//! Frames of window functions, in a plan whose types are final: how far they reach is not below zero.
//!
//! DataFusion looks at the numbers of `ROWS` and `GROUPS` alone, and its sums run over their ends where a `RANGE`
//! ends before it begins.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFrame, WindowFrameBound};

use crate::error::{ErrorKind, SqlError};

/// Refuses frames that reach back by less than nothing.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let LogicalPlan::Window(window) = node else { return Ok(TreeNodeRecursion::Continue) };
        for expr in &window.window_expr {
            if let Expr::WindowFunction(call) = expr.clone().unalias_nested().data
                && has_negative(&call.params.window_frame)
            {
                let message = "a frame of a window function reaches by less than nothing";
                let error = SqlError::new(ErrorKind::InvalidOption, message);
                let error = error.hint("n PRECEDING is before a row and n FOLLOWING behind it");
                return Err(DataFusionError::External(Box::new(error)));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn has_negative(frame: &WindowFrame) -> bool {
    [&frame.start_bound, &frame.end_bound].into_iter().any(|bound| match bound {
        WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => is_negative(by),
        WindowFrameBound::CurrentRow => false,
    })
}

fn is_negative(value: &ScalarValue) -> bool {
    match value {
        // No bound.
        value if value.is_null() => false,
        // Months, days and nanoseconds are compared one by one, and so is a time with another.
        ScalarValue::IntervalMonthDayNano(Some(i)) => {
            i.months < 0 || i.days < 0 || i.nanoseconds < 0
        }
        ScalarValue::IntervalDayTime(Some(i)) => i.days < 0 || i.milliseconds < 0,
        ScalarValue::IntervalYearMonth(Some(months)) => *months < 0,
        ScalarValue::Float32(Some(x)) => x.is_nan() || *x < 0.0,
        ScalarValue::Float64(Some(x)) => x.is_nan() || *x < 0.0,
        // The text of a number or an interval that is not read yet.
        other => match (other.try_as_str().flatten(), ScalarValue::new_zero(&other.data_type())) {
            (Some(text), _) => text.trim_start().starts_with('-'),
            (None, Ok(zero)) => other.partial_cmp(&zero).is_some_and(|o| o.is_lt()),
            _ => false,
        },
    }
}
