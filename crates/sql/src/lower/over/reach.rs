//! How far a row sees: which rows around it decide what a window function says of it.
//!
//! What must hold: evaluated over the rows that are seen alone, the answer is the same to the last bit. A sum of
//! floats that slides is not: what was added and taken away again leaves its rounding. It sees all rows before.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use yeoul_batch::Reach;

use super::Call;

/// What one look at all rows of a frame gives, whatever came before.
const EXACT: [&str; 8] =
    ["count", "sum", "min", "max", "avg", "first_value", "last_value", "nth_value"];

/// How far a row sees for all of the calls, which have one order; `None`: it sees the whole partition.
pub(super) fn reach(calls: &[&Call], schema: &DFSchema) -> Option<Reach> {
    let none = Reach { preceding: Some(0), following: Some(0), peers: false };
    let farther = |a: Option<usize>, b: Option<usize>| a.zip(b).map(|(a, b)| a.max(b));
    let all = calls.iter().try_fold(none, |all, call| {
        let Expr::WindowFunction(call) = &call.expr else { return None };
        let one = of_call(call, schema)?;
        Some(Reach {
            preceding: farther(all.preceding, one.preceding),
            following: farther(all.following, one.following),
            peers: all.peers || one.peers,
        })
    })?;
    (all.preceding.is_some() || all.following.is_some()).then_some(all)
}

/// That of one call.
pub(super) fn of_call(call: &WindowFunction, schema: &DFSchema) -> Option<Reach> {
    let before = Reach { preceding: None, following: Some(0), peers: false };
    let behind = Reach { preceding: Some(0), following: None, peers: false };
    match &call.fun {
        WindowFunctionDefinition::AggregateUDF(_) => of_frame(call, is_exact(call, schema)),
        WindowFunctionDefinition::WindowUDF(function) => match function.name() {
            "row_number" | "rank" | "dense_rank" => Some(before),
            name @ ("lag" | "lead") => {
                let back = name == "lag";
                let nulls_count = call.params.null_treatment != Some(NullTreatment::IgnoreNulls);
                match offset(call)? {
                    n if n < 0 || !nulls_count => None,
                    n if back => Some(Reach { preceding: usize::try_from(n).ok(), ..before }),
                    n => Some(Reach { following: usize::try_from(n).ok(), ..behind }),
                }
            }
            "last_value" => of_frame(call, true).map(|reach| last_value(call, reach)),
            "first_value" | "nth_value" => of_frame(call, true),
            _ => None,
        },
    }
}

/// The last value of a frame that has the row itself is at its end, wherever it begins.
fn last_value(call: &WindowFunction, reach: Reach) -> Reach {
    let frame = &call.params.window_frame;
    let ends_here = !matches!(frame.end_bound, WindowFrameBound::Preceding(_));
    let nulls_count = call.params.null_treatment != Some(NullTreatment::IgnoreNulls);
    if frame.start_bound.is_unbounded() && ends_here && nulls_count {
        return Reach { preceding: Some(0), ..reach };
    }
    reach
}

/// How many rows `lag` and `lead` look away.
fn offset(call: &WindowFunction) -> Option<i64> {
    match call.params.args.get(1) {
        None => Some(1),
        Some(Expr::Literal(ScalarValue::Int64(offset), _)) => *offset,
        Some(_) => None,
    }
}

/// Whether the answer is the same to the last bit however the rows of the frame came together.
fn is_exact(call: &WindowFunction, schema: &DFSchema) -> bool {
    let whole = |expr: &Expr| expr.get_type(schema).is_ok_and(|t| !t.is_floating());
    if call.fun.name() == "avg" && call.params.args.iter().all(|arg| is_small(arg, schema)) {
        return true;
    }
    EXACT.contains(&call.fun.name())
        && call.params.args.iter().all(whole)
        && whole(&Expr::WindowFunction(Box::new(call.clone())))
}

/// Whether an argument of doubles is of integers so small that no sum of them in a partition rounds.
fn is_small(arg: &Expr, schema: &DFSchema) -> bool {
    let Expr::Cast(cast) = arg else { return false };
    let from = cast.expr.get_type(schema);
    from.is_ok_and(|t| matches!(t, DataType::Int8 | DataType::Int16 | DataType::Int32))
}

fn of_frame(call: &WindowFunction, exact: bool) -> Option<Reach> {
    let WindowFrame { units, start_bound, end_bound, .. } = &call.params.window_frame;
    let (preceding, following) = match units {
        WindowFrameUnits::Rows => (rows(start_bound, true), rows(end_bound, false)),
        // How many rows lie within a distance depends on the rows.
        WindowFrameUnits::Range => (peers(start_bound), peers(end_bound)),
        WindowFrameUnits::Groups => return None,
    };
    let preceding = if exact { preceding } else { None };
    let peers = *units == WindowFrameUnits::Range;
    let known = preceding.is_some() || following.is_some();
    known.then_some(Reach { preceding, following, peers })
}

/// How many rows a bound is away on one side; `None`: all.
fn rows(bound: &WindowFrameBound, back: bool) -> Option<usize> {
    let count = |value: &ScalarValue| match value {
        ScalarValue::UInt64(count) => count.and_then(|count| usize::try_from(count).ok()),
        _ => None,
    };
    match bound {
        WindowFrameBound::Preceding(value) if back => count(value),
        WindowFrameBound::Following(value) if !back => count(value),
        // Away on the other side, or not at all.
        _ => Some(0),
    }
}

fn peers(bound: &WindowFrameBound) -> Option<usize> {
    matches!(bound, WindowFrameBound::CurrentRow).then_some(0)
}
