//! A plan asked for all rows beside it at once: outer columns put into what it reads, and handed up.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprFunctionExt, ExprSchemable, FetchType, Filter, Join,
    Limit, LogicalPlan, LogicalPlanBuilder, Operator, Projection, SkipType,
    WindowFunctionDefinition, lit, when,
};

use super::Outer;

/// The plan over `base`, whose columns are handed up behind its own. `None`: it cannot be done.
pub(super) fn pushed(
    plan: &LogicalPlan,
    base: &LogicalPlan,
    outer: &Outer,
) -> Result<Option<LogicalPlan>> {
    if plan.all_out_ref_exprs().is_empty() {
        return Ok(Some(match plan {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => base.clone(),
            other => LogicalPlanBuilder::from(other.clone()).cross_join(base.clone())?.build()?,
        }));
    }
    if let LogicalPlan::Filter(filter) = plan
        && let Some(compared) = compared(filter, outer)?
    {
        return Ok(Some(compared));
    }
    let under = |input: &LogicalPlan| pushed(input, base, outer);
    match plan {
        LogicalPlan::Projection(p) => match under(&p.input)? {
            Some(input) => projected(p, input, outer).map(Some),
            None => Ok(None),
        },
        LogicalPlan::Filter(f) => {
            let Some(input) = under(&f.input)? else { return Ok(None) };
            let predicate = outer.within(&f.predicate)?;
            LogicalPlanBuilder::from(input).filter(predicate)?.build().map(Some)
        }
        LogicalPlan::SubqueryAlias(a) => {
            let Some(input) = under(&a.input)? else { return Ok(None) };
            let columns = a.input.schema().columns().into_iter().zip(a.schema.columns());
            let exprs = columns.map(|(below, above)| {
                Expr::Column(below).alias_qualified(above.relation.clone(), above.name.clone())
            });
            let exprs: Vec<Expr> = exprs.chain(outer.named()).collect();
            LogicalPlanBuilder::from(input).project(exprs)?.build().map(Some)
        }
        // Only a limit makes use of an order, and looks for it itself.
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => under(&sort.input),
        LogicalPlan::Limit(limit) => match numbers(limit)? {
            Some(numbers) => first_of(&limit.input, numbers, base, outer),
            None => Ok(None),
        },
        LogicalPlan::Distinct(Distinct::All(input)) => match under(input)? {
            Some(input) => LogicalPlanBuilder::from(input).distinct()?.build().map(Some),
            None => Ok(None),
        },
        LogicalPlan::Aggregate(a) => aggregated(a, base, outer),
        LogicalPlan::Unnest(u) => {
            let Some(input) = under(&u.input)? else { return Ok(None) };
            LogicalPlanBuilder::from(input)
                .unnest_columns_with_options(u.exec_columns.clone(), u.options.clone())?
                .build()
                .map(Some)
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            inner_join(join, base, outer)
        }
        _ => Ok(None),
    }
}

/// An aggregation for each combination of outer columns. Without keys it has a row for each of them.
fn aggregated(a: &Aggregate, base: &LogicalPlan, outer: &Outer) -> Result<Option<LogicalPlan>> {
    let sets = a.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)));
    if sets || a.group_expr.iter().chain(&a.aggr_expr).any(Expr::contains_outer) {
        return Ok(None);
    }
    let Some(input) = pushed(&a.input, base, outer)? else { return Ok(None) };
    let keys: Vec<Expr> = a.group_expr.iter().cloned().chain(outer.named()).collect();
    let groups = LogicalPlanBuilder::from(input).aggregate(keys, a.aggr_expr.clone())?;
    if !a.group_expr.is_empty() {
        return groups.build().map(Some);
    }
    let grouped = |name: &Column| Column::new_unqualified(format!("{}_grouped", name.name));
    let columns = a.schema.columns();
    let renamed = outer.names.iter().map(|n| Expr::Column(n.clone()).alias(grouped(n).name));
    let values = columns.iter().cloned().map(Expr::Column);
    let groups = groups.project(values.chain(renamed).collect::<Vec<_>>())?.build()?;
    let keys = (outer.names.clone(), outer.names.iter().map(grouped).collect::<Vec<_>>());
    let joined = LogicalPlanBuilder::from(base.clone()).join_detailed(
        groups,
        JoinType::Left,
        keys,
        None,
        NullEquality::NullEqualsNull,
    )?;
    // What is counted is 0 where there is nothing to count.
    let values = a.aggr_expr.iter().zip(columns).map(|(call, column)| {
        let value = Expr::Column(column.clone());
        let over_nothing = match call.clone().unalias_nested().data {
            Expr::AggregateFunction(call) => {
                call.func.default_value(&value.get_type(a.schema.as_ref())?)?
            }
            _ => return Ok(value),
        };
        if over_nothing.is_null() {
            return Ok(value);
        }
        let value = when(value.clone().is_null(), lit(over_nothing)).otherwise(value)?;
        Ok(value.alias_qualified(column.relation, column.name))
    });
    let exprs = values.chain(outer.named().map(Ok)).collect::<Result<Vec<_>>>()?;
    joined.project(exprs)?.build().map(Some)
}

/// An inner join of which one side has outer columns.
fn inner_join(join: &Join, base: &LogicalPlan, outer: &Outer) -> Result<Option<LogicalPlan>> {
    if join.null_equality == NullEquality::NullEqualsNull {
        return Ok(None);
    }
    let (left, right) = (join.left.as_ref(), join.right.as_ref());
    let sees = |plan: &LogicalPlan| !plan.all_out_ref_exprs().is_empty();
    let (left, right) = match (sees(left), sees(right)) {
        (true, true) => return Ok(None),
        (false, true) => (Some(left.clone()), pushed(right, base, outer)?),
        _ => (pushed(left, base, outer)?, Some(right.clone())),
    };
    let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
    let on = join.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
    let condition = conjunction(on.chain(join.filter.clone()));
    let mut plan = LogicalPlanBuilder::from(left).cross_join(right)?;
    if let Some(condition) = condition {
        plan = plan.filter(outer.within(&condition)?)?;
    }
    plan.build().map(Some)
}

/// The same columns, and the outer ones.
fn projected(p: &Projection, input: LogicalPlan, outer: &Outer) -> Result<LogicalPlan> {
    let exprs = p.expr.iter().zip(p.schema.columns()).map(|(expr, column)| {
        let within = outer.within(expr)?;
        let (relation, name) = within.qualified_name();
        let same = relation == column.relation && name == column.name;
        Ok(if same { within } else { within.alias_qualified(column.relation, column.name) })
    });
    let exprs = exprs.chain(outer.named().map(Ok)).collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(input).project(exprs)?.build()
}

/// A filter that compares every outer column for equality with something of its input: that is as good as
/// the outer column, and no row of the left side is needed. More answers come of it than are asked for.
fn compared(filter: &Filter, outer: &Outer) -> Result<Option<LogicalPlan>> {
    let input = filter.input.as_ref();
    if !input.all_out_ref_exprs().is_empty() {
        return Ok(None);
    }
    let terms = split_conjunction(&filter.predicate);
    let mut stand_ins: Vec<Option<Expr>> = vec![None; outer.columns.len()];
    let mut rest = Vec::new();
    for term in terms {
        match equal_to_outer(term, filter, outer)? {
            Some((at, expr)) if stand_ins[at].is_none() => stand_ins[at] = Some(expr),
            _ => rest.push(outer.within(term)?),
        }
    }
    let Some(stand_ins) = stand_ins.into_iter().collect::<Option<Vec<Expr>>>() else {
        return Ok(None);
    };
    rest.extend(outer.named().map(Expr::is_not_null));
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let pairs = stand_ins.into_iter().zip(&outer.names);
    let columns = columns.chain(pairs.map(|(expr, name)| expr.alias(&name.name)));
    let plan = LogicalPlanBuilder::from(input.clone()).project(columns.collect::<Vec<_>>())?;
    let rest = conjunction(rest).unwrap_or_else(|| lit(true));
    plan.filter(rest)?.build().map(Some)
}

/// Which outer column the term says to be equal to what of the input, of the same type.
fn equal_to_outer(term: &Expr, filter: &Filter, outer: &Outer) -> Result<Option<(usize, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = term else {
        return Ok(None);
    };
    for (one, other) in [(left, right), (right, left)] {
        let Some(name) = outer.name_of(one) else { continue };
        let schema = filter.input.schema();
        if other.contains_outer() || one.get_type(schema)? != other.get_type(schema)? {
            continue;
        }
        let at = outer.names.iter().position(|n| n == name);
        return Ok(at.map(|at| (at, other.as_ref().clone())));
    }
    Ok(None)
}

/// The first and the last row that a limit lets through.
fn numbers(limit: &Limit) -> Result<Option<(u64, u64)>> {
    let SkipType::Literal(skip) = limit.get_skip_type()? else { return Ok(None) };
    let last = match limit.get_fetch_type()? {
        FetchType::Literal(Some(fetch)) => (skip as u64).saturating_add(fetch as u64),
        FetchType::Literal(None) => u64::MAX,
        FetchType::UnsupportedExpr => return Ok(None),
    };
    Ok(Some((skip as u64 + 1, last)))
}

/// The rows of some numbers of each combination of outer columns.
fn first_of(
    plan: &LogicalPlan,
    (first, last): (u64, u64),
    base: &LogicalPlan,
    outer: &Outer,
) -> Result<Option<LogicalPlan>> {
    if let LogicalPlan::Projection(p) = plan
        && plan.exists(|node| Ok(matches!(node, LogicalPlan::Sort(_))))?
    {
        let input = first_of(&p.input, (first, last), base, outer)?;
        return input.map(|input| projected(p, input, outer)).transpose();
    }
    let (input, mut order) = match plan {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), sort.expr.clone()),
        other => (other, Vec::new()),
    };
    let Some(within) = pushed(input, base, outer)? else { return Ok(None) };
    for sort in &mut order {
        sort.expr = outer.within(&sort.expr)?;
    }
    // Rows that tie are told apart by their columns, so that the answer is one.
    let given: Vec<Expr> = order.iter().map(|sort| sort.expr.clone()).collect();
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let more = columns.filter(|column| !given.contains(column));
    order.extend(more.map(|expr| Sort { expr, asc: true, nulls_first: false }));
    let function = WindowFunctionDefinition::WindowUDF(row_number_udwf());
    let number = Expr::from(WindowFunction::new(function, Vec::new()))
        .partition_by(outer.named().collect())
        .order_by(order)
        .build()?;
    let shown: Vec<Expr> = within.schema().columns().into_iter().map(Expr::Column).collect();
    let plan = LogicalPlanBuilder::from(within).window([number])?.build()?;
    let last_column = plan.schema().fields().len() - 1;
    let number = Expr::Column(Column::from(plan.schema().qualified_field(last_column)));
    let wanted = number.clone().gt_eq(lit(first)).and(number.lt_eq(lit(last)));
    LogicalPlanBuilder::from(plan).filter(wanted)?.project(shown)?.build().map(Some)
}
