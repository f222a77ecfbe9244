//! `GROUP BY`: keys and calls.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction as LogicalCall, AggregateFunctionParams, NullTreatment,
};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, cast};

use super::listed::Listed;
use super::{Lowered, Lowering, renamed};
use crate::datatype;
use crate::error::SqlError;
use crate::functions::float;
use crate::lower::expr::Scope;
use crate::nearest::{list, nearest};
use crate::view::{AggregateCall, AggregateFunction, AggregateFunction as F, OrderBy, ViewNode};

/// The functions that can be kept, by the name DataFusion gives them.
const KEPT: [&str; 16] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "approx_distinct",
    "approx_percentile_cont",
    "first_value",
    "last_value",
    "array_agg",
    "bool_and",
    "bool_or",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
];

impl Lowering<'_> {
    pub(super) fn aggregate(&self, a: &Aggregate) -> Result<Lowered, SqlError> {
        if let Some(sessions) = self.sessions(a)? {
            return Ok(sessions);
        }
        let input = self.node(&a.input)?;
        let grouping = self.grouping(a)?;
        let mut exprs: Vec<Expr> = grouping
            .keys
            .iter()
            .chain(&a.aggr_expr)
            .map(|e| e.clone().unalias_nested().data)
            .collect();
        let input = self.windowed(input, &mut exprs)?;
        let (keys, calls) = exprs.split_at_mut(grouping.keys.len());
        let listed = self.listed(calls, &input.scope)?;
        // Also keys that a subquery got when it became a join, and of which a plan in SQL knew nothing.
        let key = |e: &Expr| match is_float(e, &input.scope) && float::stands_for(e).is_none() {
            true => self.stored(&float::one_form(e.clone()), &input.scope),
            false => self.stored(e, &input.scope),
        };
        let keys = keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let (input, keys) = self.expanded(input, &grouping, keys, calls)?;
        let fields: Vec<FieldRef> = a.schema.fields().iter().cloned().collect();
        let (key_fields, call_fields) = fields.split_at(keys.len());
        let calls = calls
            .iter()
            .zip(call_fields)
            .zip(&listed)
            .map(|((e, field), listed)| match listed {
                None => self.call(e, field, &input.scope),
                Some(_) => {
                    let list = e.get_type(input.scope.schema()).map_err(|e| self.fail(e))?;
                    let field = Arc::new(Field::new(field.name(), list, true));
                    self.call(e, &field, &input.scope)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let key = Some((0..keys.len()).collect());
        let kept: SchemaRef = Arc::new(Schema::new(
            key_fields
                .iter()
                .map(|f| stored_field(f))
                .chain(calls.iter().map(|c| c.output.as_ref().clone()))
                .collect::<Vec<Field>>(),
        ));
        let node = ViewNode::Aggregate {
            input: Box::new(input.node),
            keys,
            calls,
            released: None,
            schema: Arc::clone(&kept),
        };
        if kept.fields().iter().zip(&fields).all(|(k, f)| k.data_type() == f.data_type()) {
            return Ok(Lowered { node, scope: Scope::whole(&a.schema), key, windows: Vec::new() });
        }
        self.as_planned(node, &kept, &a.schema, key, &listed)
    }

    /// Groups are kept in stored types; the plan above was typed for those of DataFusion, so
    /// columns that differ are cast back. `listed`: what is made of calls that are kept as lists.
    fn as_planned(
        &self,
        node: ViewNode,
        kept: &SchemaRef,
        planned: &DFSchema,
        key: Option<Vec<usize>>,
        listed: &[Option<Listed>],
    ) -> Result<Lowered, SqlError> {
        let keys = kept.fields().len() - listed.len();
        let listed = |i: usize| listed.get(i.checked_sub(keys)?)?.as_ref();
        let fields = planned
            .iter()
            .zip(kept.fields())
            .map(|((q, f), k)| {
                let field = f.as_ref().clone().with_data_type(k.data_type().clone());
                (q.cloned(), Arc::new(field))
            })
            .collect();
        let schema =
            DFSchema::new_with_metadata(fields, Default::default()).map_err(|e| self.fail(e))?;
        let scope = Scope::whole(&schema);
        let exprs = (0..kept.fields().len())
            .map(|i| {
                let column = scope.named(i);
                let target = planned.field(i).data_type();
                if let Some(listed) = listed(i) {
                    return scope.expr(&listed.of(column), self.planner).map_err(|e| self.fail(e));
                }
                if target == kept.field(i).data_type() {
                    return Ok(scope.column(i));
                }
                scope.expr(&cast(column, target.clone()), self.planner).map_err(|e| self.fail(e))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let node = ViewNode::Project {
            input: Box::new(node),
            exprs,
            schema: Arc::new(planned.as_arrow().clone()),
        };
        Ok(Lowered { node, scope: Scope::whole(planned), key, windows: Vec::new() })
    }

    /// The expression in the type it is stored in.
    pub(super) fn stored(
        &self,
        expr: &Expr,
        scope: &Scope,
    ) -> Result<yeoul_batch::ExprRef, SqlError> {
        let data_type = expr.get_type(scope.schema()).map_err(|e| self.fail(e))?;
        let lowered = match datatype::stored(&data_type) {
            Some(stored) if stored == data_type => scope.expr(expr, self.planner),
            Some(stored) => scope.expr(&cast(expr.clone(), stored), self.planner),
            None => {
                return Err(SqlError::unsupported(format!(
                    "a {} cannot be grouped or aggregated in a view",
                    datatype::sql_type_name(&data_type)
                ))
                .at(self.query.span));
            }
        };
        lowered.map_err(|e| self.fail(e))
    }

    pub(super) fn call(
        &self,
        expr: &Expr,
        field: &FieldRef,
        scope: &Scope,
    ) -> Result<AggregateCall, SqlError> {
        let Expr::AggregateFunction(LogicalCall { func, params }) = expr else {
            return Err(SqlError::unsupported(format!("\"{expr}\" cannot be kept in a view"))
                .at(self.query.span));
        };
        let name = func.name();
        let function = function(name, params).ok_or_else(|| self.not_kept(name, params))?;
        let has_order = matches!(
            function,
            AggregateFunction::FirstValue
                | AggregateFunction::LastValue
                | AggregateFunction::ArrayAgg
        );
        if has_order && function != AggregateFunction::ArrayAgg && params.order_by.is_empty() {
            return Err(self.at_call(
                name,
                SqlError::unsupported(format!("\"{name}\" needs an order in a view"))
                    .detail("the rows have no event time to go by")
                    .hint(format!("{name}(x ORDER BY y)")),
            ));
        }
        let value = |e: &Expr| self.stored(e, scope);
        let args = match function {
            F::Count if params.args.iter().all(|e| never_null(e, scope)) && !params.distinct => {
                Vec::new()
            }
            F::ApproxPercentile(_) => vec![value(&params.args[0])?],
            // States compare bits.
            F::Min | F::Max if is_float(&params.args[0], scope) => {
                vec![value(&float::one_nan(params.args[0].clone()))?]
            }
            F::ApproxDistinct if is_float(&params.args[0], scope) => {
                vec![value(&float::one_form(params.args[0].clone()))?]
            }
            _ => params.args.iter().map(value).collect::<Result<Vec<_>, _>>()?,
        };
        let plain = |e: &Expr| scope.expr(e, self.planner).map_err(|e| self.fail(e));
        let order_by = if has_order {
            params
                .order_by
                .iter()
                .map(|s| {
                    let (descending, nulls_first) = (!s.asc, s.nulls_first);
                    // The same object, so that it is known as the same value.
                    let expr = match params.args.first() {
                        Some(arg) if *arg == s.expr => Arc::clone(&args[0]),
                        _ => value(&s.expr)?,
                    };
                    Ok(OrderBy { expr, descending, nulls_first })
                })
                .collect::<Result<Vec<_>, SqlError>>()?
        } else {
            Vec::new()
        };
        Ok(AggregateCall {
            function,
            args,
            filter: params.filter.as_deref().map(plain).transpose()?,
            distinct: params.distinct,
            order_by,
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            output: Arc::new(stored_field(field)),
        })
    }

    fn at_call(&self, name: &str, e: SqlError) -> SqlError {
        let place = self.query.text.find_name(&[name], self.query.span);
        e.at(place.unwrap_or(self.query.span))
    }

    fn not_kept(&self, name: &str, params: &AggregateFunctionParams) -> SqlError {
        if name == "approx_percentile_cont" {
            let e = SqlError::unsupported("the percentile must be a constant from 0 to 1")
                .hint("approx_percentile(price, 0.95)");
            return self.at_call("approx_percentile", e);
        }
        if name == "count" && params.args.len() > 1 {
            let e = SqlError::unsupported("count takes one value in a view")
                .hint("count(DISTINCT a) of one column, or of a text made of several");
            return self.at_call(name, e);
        }
        let e = SqlError::unsupported(format!("function \"{name}\" cannot be kept in a view yet"))
            .detail(format!(
                "the aggregates that can be kept are {}, and all others of one value and constants",
                list(KEPT)
            ));
        let e = match nearest(name, KEPT) {
            Some(near) => e.hint(format!("did you mean \"{near}\"?")),
            None => e,
        };
        self.at_call(name, e)
    }
}

pub(super) fn stored_field(field: &Field) -> Field {
    match datatype::stored(field.data_type()) {
        Some(stored) => renamed(field, field.name()).with_data_type(stored),
        None => field.clone(),
    }
}

pub(super) fn is_float(expr: &Expr, scope: &Scope) -> bool {
    expr.get_type(scope.schema()).is_ok_and(|t| t.is_floating())
}

fn never_null(expr: &Expr, scope: &Scope) -> bool {
    match expr {
        Expr::Literal(value, _) => !value.is_null(),
        other => other.nullable(scope.schema()).is_ok_and(|n| !n),
    }
}

fn function(name: &str, params: &AggregateFunctionParams) -> Option<AggregateFunction> {
    let one = params.args.len() == 1;
    Some(match name {
        "count" if one => F::Count,
        "sum" if one => F::Sum,
        "avg" if one => F::Avg,
        "min" if one => F::Min,
        "max" if one => F::Max,
        "approx_distinct" if one => F::ApproxDistinct,
        "approx_percentile_cont" => F::ApproxPercentile(percentile(params)?),
        "first_value" if one => F::FirstValue,
        "last_value" if one => F::LastValue,
        "array_agg" if one => F::ArrayAgg,
        "bool_and" if one => F::BoolAnd,
        "bool_or" if one => F::BoolOr,
        "stddev" if one => F::StddevSamp,
        "stddev_pop" if one => F::StddevPop,
        "var" if one => F::VarSamp,
        "var_pop" if one => F::VarPop,
        _ => return None,
    })
}

/// Whether the function has a state of its own, or is one of those that are told why not.
pub(super) fn is_kept(name: &str) -> bool {
    KEPT.contains(&name) || name == "grouping"
}

fn percentile(params: &AggregateFunctionParams) -> Option<f64> {
    let descending = params.order_by.first().is_some_and(|s| !s.asc);
    let p = match params.args.get(1)? {
        Expr::Literal(ScalarValue::Float64(p), _) => (*p)?,
        Expr::Literal(value, _) => {
            match value.cast_to(&datafusion::arrow::datatypes::DataType::Float64) {
                Ok(ScalarValue::Float64(p)) => p?,
                _ => return None,
            }
        }
        _ => return None,
    };
    (0.0..=1.0).contains(&p).then_some(if descending { 1.0 - p } else { p })
}
