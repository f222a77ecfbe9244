//! Times in microseconds, in a plan whose types are final.
//!
//! | in the plan | becomes |
//! |---|---|
//! | nanoseconds compared or subtracted | microseconds |
//! | a cast of text to a time, an interval or `numeric` | the reading of PostgreSQL's forms |
//! | `CAST(a - b AS interval)` of two times | an interval that may be longer than 292 years |
//!
//! Nanoseconds hold the years 1677 to 2262. DataFusion takes them wherever a time meets a text, a date or `now()`,
//! and a row of another year would be an error then.
//!
//! What must hold: batch queries and views go through here alike.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, InList, TryCast};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use crate::{coerce, datatype, functions};

/// Takes nanoseconds out of the comparisons and differences of a plan.
pub(crate) fn only(plan: LogicalPlan) -> Result<LogicalPlan> {
    coerce::rewrite_some(plan, is_candidate, &mut |expr, schema| {
        let changed = read(expr, schema)?;
        Ok(match changed.transformed {
            true => changed,
            false => in_micros(changed.data, schema),
        })
    })
}

/// A cast of text as the reading of it.
fn read(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_text = |e: &Expr| e.get_type(schema).is_ok_and(|t| datatype::is_string(&t));
    match expr {
        // Where a text meets a time.
        Expr::Cast(Cast { expr, field })
            if matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _))
                && is_text(&expr) =>
        {
            let zone = match field.data_type() {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone);
            let micros = Arc::new(Field::clone(&field).with_data_type(micros));
            let time = Box::new(functions::cast_text(*expr, &micros, false)?);
            Ok(Transformed::yes(Expr::Cast(Cast::new_from_field(time, field))))
        }
        Expr::Cast(Cast { expr, field })
            if functions::is_read(field.data_type()) && is_text(&expr) =>
        {
            Ok(Transformed::yes(functions::cast_text(*expr, &field, false)?))
        }
        Expr::TryCast(TryCast { expr, field })
            if functions::is_read(field.data_type()) && is_text(&expr) =>
        {
            Ok(Transformed::yes(functions::cast_text(*expr, &field, true)?))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_candidate(expr: &Expr) -> bool {
    let field = match expr {
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) => field,
        _ => return false,
    };
    let nanoseconds = matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _));
    nanoseconds || functions::is_read(field.data_type())
}

fn in_micros(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if are_times(&[&left, &right], schema) => {
            let (left, right) = (micros(*left, schema), micros(*right, schema));
            let (left, right) = (Box::new(left), Box::new(right));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::Between(Between { expr, negated, low, high })
            if are_times(&[&expr, &low, &high], schema) =>
        {
            let [expr, low, high] = [expr, low, high].map(|e| Box::new(micros(*e, schema)));
            Transformed::yes(Expr::Between(Between { expr, negated, low, high }))
        }
        Expr::InList(InList { expr, list, negated })
            if are_times(&std::iter::once(&*expr).chain(&list).collect::<Vec<_>>(), schema) =>
        {
            let list = list.into_iter().map(|e| micros(e, schema)).collect();
            let expr = Box::new(micros(*expr, schema));
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        Expr::Cast(Cast { expr, field })
            if matches!(field.data_type(), DataType::Interval(_))
                && is_difference(&expr, schema) =>
        {
            Transformed::yes(functions::interval_between(*expr))
        }
        other => Transformed::no(other),
    }
}

/// Whether it is how far two times are apart, in microseconds.
pub(crate) fn is_difference(expr: &Expr, schema: &DFSchema) -> bool {
    let data_type = expr.get_type(schema);
    data_type.is_ok_and(|t| t == DataType::Duration(TimeUnit::Microsecond))
}

/// Whether all are times and some in nanoseconds.
fn are_times(exprs: &[&Expr], schema: &DFSchema) -> bool {
    let mut any = false;
    let all = exprs.iter().all(|expr| {
        // What another operator gives is none. Asking would walk the whole tree, at every operator in it.
        let no_time = matches!(expr, Expr::BinaryExpr(b) if b.op.is_logic_operator() || b.op.supports_propagation());
        let data_type = if no_time { None } else { expr.get_type(schema).ok() };
        match data_type {
            Some(DataType::Timestamp(unit, _)) => {
                any = any || unit == TimeUnit::Nanosecond;
                true
            }
            _ => false,
        }
    });
    all && any
}

/// A time in microseconds.
fn micros(expr: Expr, schema: &DFSchema) -> Expr {
    let zone = match expr.get_type(schema) {
        Ok(DataType::Timestamp(TimeUnit::Nanosecond, zone)) => zone,
        _ => return expr,
    };
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    match expr {
        Expr::Cast(Cast { expr, .. }) => match expr.get_type(schema) {
            Ok(found) if found == wanted => *expr,
            _ => Expr::Cast(Cast::new(expr, wanted)),
        },
        Expr::Literal(ScalarValue::TimestampNanosecond(time, _), metadata) => {
            let time = time.map(|ns| ns.div_euclid(1_000));
            Expr::Literal(ScalarValue::TimestampMicrosecond(time, zone), metadata)
        }
        other => Expr::Cast(Cast::new(Box::new(other), wanted)),
    }
}
