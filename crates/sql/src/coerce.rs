//! What is done to a logical plan before it is run or lowered, so that our types mean the same
//! everywhere.
//!
//! 1. [`event_order`]: `first_value` and `last_value` without an order get the event time's.
//! 2. [`prepare`]: `uuid`, `bytea` and `jsonb` meet text; numbers are rounded to digits that are told.
//! 3. [`typed`]: DataFusion's own analysis; afterwards every expression has its final type. Numbers
//!    are made exact ([`crate::exact`]) and keys told apart ([`crate::keys`]).
//! 4. [`output`]: the result has only types of [`crate::datatype`].
//!
//! What must hold: no step changes the name of a column.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringViewArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, BinaryExpr, Cast, InList, NullTreatment, Placeholder,
    ScalarFunction, Sort,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, cast, lit};
use datafusion::optimizer::Analyzer;

use crate::assign::{self, assign};
use crate::error::{ErrorKind, SqlError};
use crate::planner::Context;
use crate::{datatype, exact, frames, functions, keys, micros};

/// The columns a node's expressions may name: those of its inputs, or of the table it scans.
fn input_schema(plan: &LogicalPlan) -> Result<DFSchema> {
    if let LogicalPlan::TableScan(scan) = plan {
        let schema = scan.source.schema();
        return DFSchema::try_from_qualified_schema(scan.table_name.clone(), &schema);
    }
    let mut merged = DFSchema::empty();
    for input in plan.inputs() {
        merged.merge(input.schema());
    }
    Ok(merged)
}

/// As [`rewrite`], of a plan with an expression that is a candidate. Most queries have none, and looking is cheaper than
/// rewriting.
pub(crate) fn rewrite_some(
    plan: LogicalPlan,
    is_candidate: fn(&Expr) -> bool,
    f: &mut dyn FnMut(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found = found || expr.exists(|expr| Ok(is_candidate(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if found { rewrite(plan, f) } else { Ok(plan) }
}

/// Rewrites every expression of a plan, subqueries included, and keeps the names of columns.
pub(crate) fn rewrite(
    plan: LogicalPlan,
    f: &mut dyn FnMut(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let schema = input_schema(&node)?;
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            each_key(expr, &mut |expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|e| f(e, &schema))?;
                Ok(changed.update_data(|e| name.restore(e)))
            })
        })?;
        // The schema of a node holds the types of its expressions, which may have changed below it.
        node.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(plan.data)
}

/// Changes an expression, of grouping sets each key: the sets are no column and have no name to keep.
pub(crate) fn each_key(
    expr: Expr,
    f: &mut dyn FnMut(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<Expr>> {
    match expr {
        Expr::GroupingSet(_) => expr.map_children(f),
        other => f(other),
    }
}

/// Puts `uuid` and text, `bytea`, `jsonb` and literals together.
pub(crate) fn prepare(plan: LogicalPlan) -> Result<LogicalPlan> {
    rewrite(plan, &mut |expr, schema| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (is_left, is_right) = (is_uuid(&left, schema), is_uuid(&right, schema));
            if is_bytea(&left, schema) {
                let right = Box::new(to_bytea(*right)?);
                return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            if is_bytea(&right, schema) {
                let left = Box::new(to_bytea(*left)?);
                return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            if is_left == is_right {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })));
            }
            let left = if is_right { Box::new(to_uuid(*left, schema)?) } else { left };
            let right = if is_left { Box::new(to_uuid(*right, schema)?) } else { right };
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right })))
        }
        Expr::InList(InList { expr, list, negated }) if is_uuid(&expr, schema) => {
            let list = list.into_iter().map(|e| to_uuid(e, schema)).collect::<Result<_>>()?;
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_uuid(&expr, schema) => {
            let low = Box::new(to_uuid(*low, schema)?);
            let high = Box::new(to_uuid(*high, schema)?);
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::Cast(cast) => convert(cast, schema),
        Expr::ScalarFunction(call) if call.name() == "date_part" => Ok(with_fraction(call, schema)),
        Expr::ScalarFunction(call) => Ok(rounded(call)),
        other => Ok(Transformed::no(other)),
    })
}

/// `round(x, 2)` and `trunc(x, 2)` with the 2 as the type that they take: what is cast to it later is not
/// seen to be constant, and then the type of the answer is not known to have two digits.
fn rounded(mut call: ScalarFunction) -> Transformed<Expr> {
    if matches!(call.name(), "round" | "trunc")
        && let [_, Expr::Literal(digits, _)] = call.args.as_mut_slice()
        && let ScalarValue::Int64(Some(value)) = digits
        && let Ok(value) = i32::try_from(*value)
    {
        *digits = ScalarValue::Int32(Some(value));
        return Transformed::yes(Expr::ScalarFunction(call));
    }
    Transformed::no(Expr::ScalarFunction(call))
}

/// `extract(second FROM t)` and `extract(milliseconds FROM t)` with the fraction, which DataFusion cuts off. Of
/// intervals it does not know it at all.
fn with_fraction(mut call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let unit = match call.args.first() {
        Some(Expr::Literal(unit, _)) => unit.try_as_str().flatten().map(str::to_lowercase),
        _ => None,
    };
    let parts = match unit.as_deref() {
        Some("second" | "seconds" | "sec" | "secs" | "s") => 1_000_000.0,
        Some("millisecond" | "milliseconds" | "msec" | "msecs" | "ms") => 1_000.0,
        Some("microsecond" | "microseconds" | "usec" | "usecs" | "us") => 1.0,
        _ => return Transformed::no(Expr::ScalarFunction(call)),
    };
    let of_interval = call.args.get(1).and_then(|of| field_of(of, schema));
    let of_interval = of_interval.is_some_and(|f| matches!(f.data_type(), DataType::Interval(_)));
    let us = match (of_interval, call.args.pop()) {
        (true, Some(interval)) => functions::interval_microseconds().call(vec![interval]),
        (_, time) => {
            call.args = std::iter::once(lit("microsecond")).chain(time).collect();
            Expr::ScalarFunction(call)
        }
    };
    Transformed::yes(match parts {
        1.0 => us,
        parts => cast(us, DataType::Float64) / lit(parts),
    })
}

/// A text in the statement as `jsonb`, which it must be.
fn to_jsonb(text: &str, field: &FieldRef) -> Result<Expr> {
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values([text]));
    let json = assign(&texts, field).map_err(|e| DataFusionError::External(Box::new(e)))?;
    let value = ScalarValue::try_from_array(&json, 0)?;
    Ok(Expr::Literal(value, Some(field.metadata().clone().into())))
}

fn field_of(expr: &Expr, schema: &DFSchema) -> Option<FieldRef> {
    expr.to_field(schema).ok().map(|(_, field)| field)
}

fn is_uuid(expr: &Expr, schema: &DFSchema) -> bool {
    // What an operator gives is none. Asking would walk the whole tree, at every operator in it.
    if matches!(expr, Expr::BinaryExpr(_) | Expr::Not(_) | Expr::Like(_)) {
        return false;
    }
    field_of(expr, schema).is_some_and(|f| datatype::is_uuid(&f))
}

/// Whether it is a column of `bytea`.
fn is_bytea(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr, Expr::Column(_))
        && field_of(expr, schema).is_some_and(|f| *f.data_type() == DataType::Binary)
}

/// A text in the statement as the bytes that it writes; anything else stays as it is.
fn to_bytea(expr: Expr) -> Result<Expr> {
    let Expr::Literal(value, _) = &expr else { return Ok(expr) };
    let Some(Some(text)) = value.try_as_str() else { return Ok(expr) };
    match assign::bytes(text) {
        Some(bytes) => Ok(Expr::Literal(ScalarValue::Binary(Some(bytes)), None)),
        None => {
            let message = format!("'{text}' is not a bytea");
            let error = SqlError::new(ErrorKind::InvalidText, message)
                .detail("after \\x stand two hexadecimal digits for each byte: \\x00ff");
            Err(DataFusionError::External(Box::new(error)))
        }
    }
}

/// `expr` as a `uuid`, where it is text; anything else stays as it is.
fn to_uuid(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match &expr {
        Expr::Literal(value, _) => match value.try_as_str() {
            Some(Some(text)) => match functions::parse_uuid(text) {
                Some(bytes) => {
                    let value = ScalarValue::FixedSizeBinary(16, Some(bytes.to_vec()));
                    Ok(Expr::Literal(value, None))
                }
                None => Err(DataFusionError::External(Box::new(functions::invalid_uuid(text)))),
            },
            Some(None) => Ok(Expr::Literal(ScalarValue::FixedSizeBinary(16, None), None)),
            None => Ok(expr),
        },
        Expr::Placeholder(Placeholder { id, field: None }) => Ok(Expr::Placeholder(
            Placeholder::new_with_field(id.clone(), Some(Arc::new(datatype::uuid()))),
        )),
        _ => match field_of(&expr, schema) {
            Some(f) if datatype::is_string(f.data_type()) => {
                Ok(functions::uuid_from_text().call(vec![expr]))
            }
            _ => Ok(expr),
        },
    }
}

/// `x::uuid` and `u::text`.
fn convert(cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let target = cast.field.data_type();
    if let Expr::Placeholder(Placeholder { id, field: None }) = cast.expr.as_ref() {
        let parameter = Placeholder::new_with_field(id.clone(), Some(Arc::clone(&cast.field)));
        return Ok(Transformed::yes(Expr::Placeholder(parameter)));
    }
    if datatype::is_jsonb(&cast.field)
        && let Expr::Literal(value, _) = cast.expr.as_ref()
        && let Some(Some(text)) = value.try_as_str()
    {
        return to_jsonb(text, &cast.field).map(Transformed::yes);
    }
    if datatype::is_uuid(&cast.field) {
        return match to_uuid(*cast.expr, schema)? {
            same if is_uuid(&same, schema) => Ok(Transformed::yes(same)),
            Expr::Literal(value @ ScalarValue::FixedSizeBinary(16, _), _) => {
                let metadata = datatype::uuid().metadata().clone().into();
                Ok(Transformed::yes(Expr::Literal(value, Some(metadata))))
            }
            other => {
                let field = Arc::clone(&cast.field);
                Ok(Transformed::no(Expr::Cast(Cast::new_from_field(Box::new(other), field))))
            }
        };
    }
    if *target == DataType::Binary {
        return match to_bytea(*cast.expr)? {
            bytes @ Expr::Literal(ScalarValue::Binary(_), _) => Ok(Transformed::yes(bytes)),
            other => {
                let field = Arc::clone(&cast.field);
                Ok(Transformed::no(Expr::Cast(Cast::new_from_field(Box::new(other), field))))
            }
        };
    }
    if datatype::is_string(target) && is_uuid(&cast.expr, schema) {
        return Ok(Transformed::yes(functions::uuid_to_text().call(vec![*cast.expr])));
    }
    Ok(Transformed::no(Expr::Cast(cast)))
}

/// Gives `first_value` and `last_value` the order of the event time, with the value itself to
/// decide between rows of the same time. Without it the answer would depend on the order in which
/// rows happen to be read, and no view could keep it.
pub(crate) fn event_order(plan: LogicalPlan, context: &Context<'_>) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        let Some(time) = event_time(&aggregate.input, context) else {
            return Ok(Transformed::no(node));
        };
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|e| Ok(ordered(e, &time)))?;
            Ok(changed.update_data(|e| name.restore(e)))
        })
    })?;
    Ok(plan.data)
}

fn ordered(expr: Expr, time: &Column) -> Transformed<Expr> {
    let Expr::AggregateFunction(AggregateFunction { func, mut params }) = expr else {
        return Transformed::no(expr);
    };
    let last = func.name() == "last_value";
    if !(last || func.name() == "first_value") || !params.order_by.is_empty() {
        return Transformed::no(Expr::AggregateFunction(AggregateFunction { func, params }));
    }
    // A row without a time is neither the first nor the last.
    let sort = |expr: Expr| Sort { expr, asc: true, nulls_first: last };
    let time = Expr::Column(time.clone());
    // DataFusion counts an order's columns without repetitions in one place and with them in another.
    let value = params.args.first().filter(|value| **value != time).cloned();
    params.order_by.push(sort(time));
    params.order_by.extend(value.map(sort));
    params.null_treatment = params.null_treatment.or(Some(NullTreatment::RespectNulls));
    Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params }))
}

/// The column of `plan` that is the event time of the one stream below it, unchanged.
fn event_time(plan: &LogicalPlan, context: &Context<'_>) -> Option<Column> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let relation = context.relation(&scan.table_name)?;
            let name = relation.schema.field(relation.event_time?).name().clone();
            Some(Column::new(Some(scan.table_name.clone()), name))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let inner = event_time(&alias.input, context)?;
            let position = alias.input.schema().maybe_index_of_column(&inner)?;
            Some(Column::from(alias.schema.qualified_field(position)))
        }
        LogicalPlan::Projection(projection) => {
            let inner = event_time(&projection.input, context)?;
            let is_time = |e: &Expr| matches!(e.clone().unalias(), Expr::Column(c) if c == inner);
            let position = projection.expr.iter().position(is_time)?;
            Some(Column::from(projection.schema.qualified_field(position)))
        }
        LogicalPlan::Filter(filter) => event_time(&filter.input, context),
        LogicalPlan::Unnest(unnest) => {
            let inner = event_time(&unnest.input, context)?;
            unnest.schema.has_column(&inner).then_some(inner)
        }
        _ => None,
    }
}

/// DataFusion's own analysis: every expression gets its final type, and means what PostgreSQL means.
pub(crate) fn typed(plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
    let plan = keys::named(plan, options)?;
    let plan = Analyzer::new().execute_and_check(plan, options, |_, _| {})?;
    frames::check(&plan)?;
    let plan = micros::only(plan)?;
    keys::told_apart(exact::floats(exact::intervals(exact::integers(plan)?)?)?)
}

/// Casts the columns of the result to the types of [`crate::datatype`].
pub(crate) fn output(plan: LogicalPlan) -> Result<LogicalPlan> {
    let target = |t: &DataType| datatype::stored(t).filter(|stored| stored != t);
    if plan.schema().fields().iter().all(|f| target(f.data_type()).is_none()) {
        return Ok(plan);
    }
    let exprs = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            match target(field.data_type()) {
                None => column,
                Some(stored) => {
                    let name = field.name().clone();
                    let as_interval = matches!(stored, DataType::Interval(_))
                        && micros::is_difference(&column, plan.schema());
                    let field = Arc::new(field.as_ref().clone().with_data_type(stored));
                    let converted = match as_interval {
                        true => functions::interval_between(column),
                        false => Expr::Cast(Cast::new_from_field(Box::new(column), field)),
                    };
                    converted.alias_qualified(qualifier.cloned(), name)
                }
            }
        })
        .collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}
