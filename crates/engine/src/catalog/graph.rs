//! From the plan of a view to the operators that keep it: where `sql` and `flow` meet.

use std::collections::HashMap;
use std::sync::Arc;

use yeoul_batch::ExprRef;
use yeoul_flow::{
    AggregateCall, AggregateSpec, Function, Graph, GraphBuilder, LookupSpec, NamedExpr, NodeId,
    Order, Window,
};
use yeoul_sql::{AggregateFunction, ViewNode, ViewPlan, WindowKind};

use crate::error::{EngineError, ErrorKind};

/// The sources of a plan as the graph numbers them: relation name and columns.
pub(crate) type Sources = Vec<(String, Vec<usize>)>;

/// The operators of `plan`, and what its sources read.
pub(crate) fn build(plan: &ViewPlan) -> Result<(Graph, Sources), EngineError> {
    let mut builder = GraphBuilder::new();
    let mut sources = Vec::new();
    let root = node(&mut builder, &mut sources, &plan.root)?;
    let graph = builder.output(root, false).map_err(|e| refused(&e))?;
    Ok((graph, sources))
}

fn refused(error: &yeoul_flow::FlowError) -> EngineError {
    EngineError::new(ErrorKind::Input, error.to_string()).with_sqlstate("0A000")
}

fn node(
    builder: &mut GraphBuilder,
    sources: &mut Sources,
    plan: &ViewNode,
) -> Result<NodeId, EngineError> {
    Ok(match plan {
        ViewNode::Source { relation, columns, schema, append_only } => {
            sources.push((relation.clone(), columns.clone()));
            builder.source(Arc::clone(schema), *append_only)
        }
        ViewNode::Filter { input, predicate } => {
            let input = node(builder, sources, input)?;
            builder.filter(input, Arc::clone(predicate)).map_err(|e| refused(&e))?
        }
        ViewNode::Project { input, exprs, schema } => {
            let input = node(builder, sources, input)?;
            let named = exprs
                .iter()
                .zip(schema.fields())
                .map(|(expr, field)| NamedExpr::with_field(Arc::clone(field), Arc::clone(expr)))
                .collect();
            builder.project(input, named).map_err(|e| refused(&e))?
        }
        ViewNode::Window { input, time, kind, .. } => {
            let input = node(builder, sources, input)?;
            let window = window(time, *kind);
            builder.window(input, window).map_err(|e| refused(&e))?
        }
        ViewNode::Lookup {
            input,
            relation,
            columns,
            table,
            primary_key,
            keys,
            condition,
            outer,
            ..
        } => {
            let input = node(builder, sources, input)?;
            sources.push((relation.clone(), columns.clone()));
            let spec = LookupSpec {
                table: Arc::clone(table),
                primary_key: primary_key.clone(),
                keys: keys.clone(),
                condition: condition.clone(),
                outer: *outer,
            };
            builder.lookup(input, spec).map_err(|e| refused(&e))?
        }
        ViewNode::Union { inputs, .. } => {
            let inputs = inputs
                .iter()
                .map(|input| node(builder, sources, input))
                .collect::<Result<Vec<_>, _>>()?;
            builder.union(&inputs).map_err(|e| refused(&e))?
        }
        ViewNode::Aggregate { input, keys, calls, schema } => {
            let append_only = input.append_only();
            let input = node(builder, sources, input)?;
            let keys = keys
                .iter()
                .zip(schema.fields())
                .map(|(expr, field)| NamedExpr::with_field(Arc::clone(field), Arc::clone(expr)))
                .collect();
            let calls = calls.iter().map(call).collect();
            let spec = AggregateSpec { keys, calls, append_only };
            builder.aggregate(input, spec).map_err(|e| refused(&e))?
        }
    })
}

fn window(time: &ExprRef, kind: WindowKind) -> Window {
    let time = Arc::clone(time);
    match kind {
        WindowKind::Tumble { size_us, offset_us } => {
            Window::tumble(time, size_us).with_offset(offset_us)
        }
        WindowKind::Hop { slide_us, size_us, offset_us } => {
            Window::hop(time, slide_us, size_us).with_offset(offset_us)
        }
        WindowKind::Cumulate { step_us, size_us, offset_us } => {
            Window::cumulate(time, step_us, size_us).with_offset(offset_us)
        }
    }
}

fn call(call: &yeoul_sql::AggregateCall) -> AggregateCall {
    let function = match call.function {
        AggregateFunction::Count => Function::Count,
        AggregateFunction::Sum => Function::Sum,
        AggregateFunction::Avg => Function::Avg,
        AggregateFunction::Min => Function::Min,
        AggregateFunction::Max => Function::Max,
        AggregateFunction::ApproxDistinct => Function::ApproxCountDistinct,
        AggregateFunction::ApproxPercentile(p) => Function::ApproxPercentile(p),
        AggregateFunction::FirstValue => Function::FirstValue,
        AggregateFunction::LastValue => Function::LastValue,
        AggregateFunction::ArrayAgg => Function::ArrayAgg,
        AggregateFunction::BoolAnd => Function::BoolAnd,
        AggregateFunction::BoolOr => Function::BoolOr,
        AggregateFunction::StddevSamp => Function::Stddev,
        AggregateFunction::StddevPop => Function::StddevPop,
        AggregateFunction::VarSamp => Function::Variance,
        AggregateFunction::VarPop => Function::VariancePop,
    };
    AggregateCall {
        name: call.output.name().clone(),
        function,
        arguments: call.args.clone(),
        filter: call.filter.clone(),
        distinct: call.distinct,
        order_by: call
            .order_by
            .iter()
            .map(|order| Order {
                expr: Arc::clone(&order.expr),
                descending: order.descending,
                nulls_first: order.nulls_first,
            })
            .collect(),
    }
}

/// The columns of a view's rows that are nothing but a key of its (last) aggregate: output column
/// name → position of the key.
pub(crate) fn plain_keys(plan: &ViewPlan) -> HashMap<String, usize> {
    let columns = positions(&plan.root);
    plan.schema
        .fields()
        .iter()
        .zip(columns)
        .filter_map(|(field, key)| Some((field.name().clone(), key?)))
        .collect()
}

/// For each output column of `plan`, the key of the aggregate below that it equals.
fn positions(plan: &ViewNode) -> Vec<Option<usize>> {
    match plan {
        ViewNode::Filter { input, .. } => positions(input),
        ViewNode::Project { input, exprs, .. } => {
            let below = positions(input);
            exprs
                .iter()
                .map(|expr| {
                    expr.as_column().and_then(|column| below.get(column).copied().flatten())
                })
                .collect()
        }
        ViewNode::Aggregate { keys, schema, .. } => {
            (0..schema.fields().len()).map(|i| (i < keys.len()).then_some(i)).collect()
        }
        ViewNode::Source { schema, .. }
        | ViewNode::Lookup { schema, .. }
        | ViewNode::Window { schema, .. }
        | ViewNode::Union { schema, .. } => vec![None; schema.fields().len()],
    }
}
