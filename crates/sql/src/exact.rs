//! Numbers as PostgreSQL has them, in a plan whose types are final.
//!
//! `+`, `-`, `*` and the minus sign of integers become checked ones, casts of floats and `numeric` to
//! integers round. Where no value can wrap, as in `smallint + 1`, whose type is `bigint`, nothing is
//! changed. Floats that are keys, or each counted once, have one 0 and one NaN.
//!
//! What must hold: batch queries and views go through here alike.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, Cast, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Projection,
};

use crate::coerce;
use crate::functions::float::one_form;
use crate::functions::integer::{checked, checked_type, result_bits, type_bits, value_bits, whole};
use crate::functions::length;

/// Makes the integers of a plan exact.
pub(crate) fn integers(plan: LogicalPlan) -> Result<LogicalPlan> {
    coerce::rewrite_some(plan, is_candidate, &mut |expr, schema| Ok(integer(expr, schema)))
}

/// Compares the intervals of a plan by how long they are.
pub(crate) fn intervals(plan: LogicalPlan) -> Result<LogicalPlan> {
    coerce::rewrite_some(plan, length::is_candidate, &mut |expr, schema| {
        Ok(length::compared(expr, schema))
    })
}

/// Brings the floats by which a plan groups into one form.
pub(crate) fn floats(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => aggregated(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let is_float = |f: &FieldRef| f.data_type().is_floating();
            if !input.schema().fields().iter().any(is_float) {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            let exprs = input.schema().iter().map(|(qualifier, field)| {
                let column = Expr::Column(Column::from((qualifier, field)));
                match is_float(field) {
                    true => one_form(column).alias_qualified(qualifier.cloned(), field.name()),
                    false => column,
                }
            });
            let one = Projection::try_new(exprs.collect(), Arc::clone(&input))?;
            let one = Arc::new(LogicalPlan::Projection(one));
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(one))))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn aggregated(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(aggregate.input.schema());
    let is_float = |expr: &Expr| expr.get_type(&schema).is_ok_and(|t| t.is_floating());
    let mut changed = false;
    let mut formed = |expr: Expr| match is_float(&expr) {
        true => {
            changed = true;
            one_form(expr)
        }
        false => expr,
    };
    let node = LogicalPlan::Aggregate(aggregate.clone());
    let names = NamePreserver::new(&node);
    let mut key = |key: Expr| Ok(Transformed::yes(names.save(&key).restore(formed(key))));
    let keys = aggregate.group_expr.iter().cloned().map(|expr| coerce::each_key(expr, &mut key));
    let keys = keys.map(|key| Ok(key?.data)).collect::<Result<Vec<Expr>>>()?;
    let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
    for call in &aggregate.aggr_expr {
        let name = names.save(call);
        let call = call.clone().transform_up(|expr| match expr {
            Expr::AggregateFunction(mut call) if call.params.distinct => {
                call.params.args = call.params.args.into_iter().map(&mut formed).collect();
                for sort in &mut call.params.order_by {
                    sort.expr = formed(sort.expr.clone());
                }
                Ok(Transformed::yes(Expr::AggregateFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        calls.push(name.restore(call.data));
    }
    if !changed {
        return Ok(Transformed::no(node));
    }
    let aggregate = Aggregate::try_new(aggregate.input, keys, calls)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

fn integer(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_arithmetic(op) => {
            let data_type = integer_type(&left, schema)
                .filter(|left| integer_type(&right, schema).as_ref() == Some(left));
            match data_type {
                Some(data_type) if may_wrap(op, &data_type, &left, &right, schema) => {
                    Transformed::yes(checked(op, data_type, *left, *right))
                }
                _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Negative(inner) => match integer_type(&inner, schema) {
            Some(data_type) if bits(&inner, &data_type, schema) >= max_bits(&data_type) => {
                match ScalarValue::new_zero(&data_type) {
                    Ok(zero) => {
                        let zero = Expr::Literal(zero, None);
                        Transformed::yes(checked(Operator::Minus, data_type, zero, *inner))
                    }
                    Err(_) => Transformed::no(Expr::Negative(inner)),
                }
            }
            _ => Transformed::no(Expr::Negative(inner)),
        },
        Expr::Cast(Cast { expr, field }) => match rounds(&expr, field.data_type(), schema) {
            true => Transformed::yes(whole(*expr, field.data_type().clone(), false)),
            false => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        Expr::TryCast(TryCast { expr, field }) => match rounds(&expr, field.data_type(), schema) {
            true => Transformed::yes(whole(*expr, field.data_type().clone(), true)),
            false => Transformed::no(Expr::TryCast(TryCast { expr, field })),
        },
        other => Transformed::no(other),
    }
}

/// Whether [`integer`] may change it, as far as it can be told without types.
fn is_candidate(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => is_arithmetic(*op),
        Expr::Negative(_) => true,
        Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) => {
            type_bits(field.data_type()).is_some()
        }
        _ => false,
    }
}

fn is_arithmetic(op: Operator) -> bool {
    matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply)
}

/// The type of an expression, where it is one of our integers.
fn integer_type(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let data_type = match expr {
        Expr::Literal(value, _) => value.data_type(),
        // Asking such a one would walk the whole tree, at every operator in it.
        other => match checked_type(other) {
            Some(data_type) => data_type.clone(),
            None => other.get_type(schema).ok()?,
        },
    };
    type_bits(&data_type).map(|_| data_type)
}

fn max_bits(data_type: &DataType) -> u32 {
    type_bits(data_type).unwrap_or(u32::MAX)
}

fn may_wrap(
    op: Operator,
    data_type: &DataType,
    left: &Expr,
    right: &Expr,
    schema: &DFSchema,
) -> bool {
    let bits = result_bits(op, bits(left, data_type, schema), bits(right, data_type, schema));
    bits > max_bits(data_type)
}

/// How many bits hold every value of an expression of the type `data_type`.
fn bits(expr: &Expr, data_type: &DataType, schema: &DFSchema) -> u32 {
    let known = match expr {
        Expr::Literal(ScalarValue::Int16(Some(value)), _) => Some(value_bits(i64::from(*value))),
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => Some(value_bits(i64::from(*value))),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(value_bits(*value)),
        Expr::Cast(Cast { expr, .. }) => {
            integer_type(expr, schema).map(|inner| bits(expr, &inner, schema))
        }
        // What is still an operator here has been found not to wrap.
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_arithmetic(*op) => {
            Some(result_bits(*op, bits(left, data_type, schema), bits(right, data_type, schema)))
        }
        _ => None,
    };
    known.unwrap_or(u32::MAX).min(max_bits(data_type))
}

/// Whether a cast to the type `to` rounds.
fn rounds(expr: &Expr, to: &DataType, schema: &DFSchema) -> bool {
    type_bits(to).is_some()
        && expr
            .get_type(schema)
            .is_ok_and(|from| from.is_floating() || matches!(from, DataType::Decimal128(..)))
}
