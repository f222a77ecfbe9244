//! Keys of one name told apart: `GROUP BY id, CAST(id AS VARCHAR)`; and keys of sets named.
//!
//! DataFusion gives a cast the name of what is cast. Its aggregation knows the two columns by their
//! relations, of which the cast has none, and its optimiser refuses the plan that it makes of it.
//!
//! When it changes an expression it keeps the name, and of `ROLLUP (a LIKE 'x')` that is the name of all sets, which
//! no column has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;

/// New names of columns that have no relation.
type Names = HashMap<String, String>;

/// Gives keys that would be called like another one a name of their own, below the projection that
/// names the columns of the answer.
pub(crate) fn told_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Projection(projection) = &node else { return Ok(Transformed::no(node)) };
        let mut names = Names::new();
        let Some(input) = below(&projection.input, &mut names)? else {
            return Ok(Transformed::no(node));
        };
        // The projection keeps the names of its columns.
        let saved = NamePreserver::new(&node);
        let exprs = projection.expr.iter().map(|expr| {
            let name = saved.save(expr);
            Ok(name.restore(renamed(expr.clone(), &names)?))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let projection = Projection::try_new(exprs, Arc::new(input))?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    })?;
    Ok(plan.data)
}

/// Gives every key of grouping sets the name that it has, before DataFusion changes it. What `grouping()` says is
/// found before: it looks for its arguments among the keys.
pub(crate) fn named(plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = found || matches!(node, LogicalPlan::Aggregate(aggregate) if has_sets(aggregate));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    if !found {
        return Ok(plan);
    }
    let resolve = Arc::new(ResolveGroupingFunction::new());
    let plan = Analyzer::with_rules(vec![resolve]).execute_and_check(plan, options, |_, _| {})?;
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) if has_sets(&aggregate) => {
            let name = |key: Expr| match key {
                Expr::Column(_) => Ok(Transformed::no(key)),
                key => {
                    let name = key.schema_name().to_string();
                    Ok(Transformed::yes(key.unalias().alias(name)))
                }
            };
            let sets =
                aggregate.group_expr.into_iter().map(|sets| Ok(sets.map_children(name)?.data));
            let sets = sets.collect::<Result<Vec<_>>>()?;
            let named = Aggregate::try_new(aggregate.input, sets, aggregate.aggr_expr)?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(named)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn has_sets(aggregate: &Aggregate) -> bool {
    matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
}

/// The plan beneath a projection down to its aggregation, with new `names`; `None` where there are
/// none to give.
fn below(plan: &LogicalPlan, names: &mut Names) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => keys(aggregate, names),
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) => {
            let inputs = plan.inputs();
            let [input] = inputs[..] else { return Ok(None) };
            let Some(input) = below(input, names)? else { return Ok(None) };
            let exprs = plan.expressions().into_iter().map(|expr| renamed(expr, names));
            let exprs = exprs.collect::<Result<Vec<_>>>()?;
            plan.with_new_exprs(exprs, vec![input]).map(Some)
        }
        _ => Ok(None),
    }
}

fn keys(aggregate: &Aggregate, names: &mut Names) -> Result<Option<LogicalPlan>> {
    let mut taken = HashSet::new();
    let mut keys = aggregate.group_expr.clone();
    // What is named as of a relation keeps its name, wherever it stands.
    let of_relation = |key: &Expr| key.qualified_name().0.is_some();
    for key in keys.iter().filter(|key| of_relation(key)) {
        taken.insert(key.schema_name().to_string());
    }
    for (at, key) in keys.iter_mut().enumerate() {
        if of_relation(key) || matches!(key, Expr::GroupingSet(_)) {
            continue;
        }
        let name = key.schema_name().to_string();
        if taken.insert(name.clone()) {
            continue;
        }
        let own = format!("{name} #{at}");
        *key = key.clone().unalias().alias(&own);
        names.insert(name, own);
    }
    if names.is_empty() {
        return Ok(None);
    }
    let input = Arc::clone(&aggregate.input);
    let aggregate = Aggregate::try_new(input, keys, aggregate.aggr_expr.clone())?;
    Ok(Some(LogicalPlan::Aggregate(aggregate)))
}

fn renamed(expr: Expr, names: &Names) -> Result<Expr> {
    let renamed = expr.transform_up(|expr| match &expr {
        Expr::Column(Column { relation: None, name, .. }) => match names.get(name) {
            Some(own) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(own)))),
            None => Ok(Transformed::no(expr)),
        },
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(renamed.data)
}
