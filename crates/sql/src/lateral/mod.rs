//! Subqueries that see the row beside them, made joins: `LATERAL`, `(SELECT … ORDER BY … LIMIT 1)`, and
//! `(SELECT count(*) … WHERE a < outer.b)`.
//!
//! ```text
//!   u, LATERAL (SELECT … p.k = u.k ORDER BY p.t LIMIT 2)
//!     ─▶  u ⋈ (the first 2 of each k of p), by k
//!   t, LATERAL unnest(t.xs)
//!     ─▶  unnest(t.xs) of t itself
//! ```
//!
//! The subquery is asked for all rows beside it at once: its columns of them (the *outer* columns) become
//! columns of what it reads, are handed up through it, and what comes out is joined by them. They are
//!
//! - the rows beside it themselves, where each row makes rows out of itself alone; there is no join then;
//! - what they are compared with for equality in the subquery, where that is all that is said of them;
//! - else the different combinations of them.
//!
//! A view keeps the nearest row of each, `ORDER BY q.at DESC LIMIT 1` of what is not after the row beside it, as a node of its
//! own ([`NearestJoin`]).
//!
//! What must hold: what is not known here stays as it is, for the rules of DataFusion (plain conditions,
//! aggregates of what is equal) or for their refusal. It runs before types are settled.

mod nearest;
mod pushed;

use std::cell::Cell;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result, TableReference};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Join, LogicalPlan, LogicalPlanBuilder, Operator, lit,
};

pub(crate) use nearest::{NearestJoin, PushIntoNearest};
use pushed::pushed;

/// Makes joins of the subqueries that see the row beside them.
/// `kept`: for a view.
pub(crate) fn joined(plan: LogicalPlan, kept: bool) -> Result<LogicalPlan> {
    let names = Names::default();
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => match lateral(&join, &names, kept)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => scalar(node, &names),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

/// Numbers for names that nobody else gives.
#[derive(Default)]
struct Names(Cell<usize>);

impl Names {
    fn next(&self) -> usize {
        self.0.replace(self.0.get() + 1)
    }
}

/// The outer columns of one subquery.
struct Outer {
    columns: Vec<Column>,
    /// What they are called within.
    names: Vec<Column>,
}

impl Outer {
    fn new(columns: Vec<Column>, names: &Names) -> Self {
        let number = names.next();
        let name = |at| Column::new_unqualified(format!("__outer_{number}_{at}"));
        Self { names: (0..columns.len()).map(name).collect(), columns }
    }

    /// `plan` with its columns of ours under the names within, and nothing else.
    fn of(&self, plan: LogicalPlan) -> Result<LogicalPlanBuilder> {
        let pairs = self.columns.iter().zip(&self.names);
        let exprs = pairs.map(|(c, name)| Expr::Column(c.clone()).alias(&name.name));
        LogicalPlanBuilder::from(plan).project(exprs.collect::<Vec<_>>())
    }

    fn named(&self) -> impl Iterator<Item = Expr> + '_ {
        self.names.iter().cloned().map(Expr::Column)
    }

    fn name_of(&self, expr: &Expr) -> Option<&Column> {
        let Expr::OuterReferenceColumn(_, column) = expr else { return None };
        self.columns.iter().position(|c| c == column).map(|at| &self.names[at])
    }

    /// The expression with outer columns under their names within.
    fn within(&self, expr: &Expr) -> Result<Expr> {
        let changed = expr.clone().transform_up(|e| match self.name_of(&e) {
            Some(name) => Ok(Transformed::yes(Expr::Column(name.clone()))),
            None => Ok(Transformed::no(e)),
        })?;
        Ok(changed.data)
    }
}

/// A join whose right side sees the rows of the left one.
fn lateral(join: &Join, names: &Names, kept: bool) -> Result<Option<LogicalPlan>> {
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return Ok(None);
    }
    let (subquery, alias) = match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => (subquery, None),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => (subquery, Some(&alias.alias)),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let alone = of_itself(&subquery.subquery);
    if !alone && !is_ours(&subquery.subquery)? {
        return Ok(None);
    }
    let inner = match alias {
        Some(alias) => {
            let inner = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
            inner.alias(alias.clone())?.build()?
        }
        None => subquery.subquery.as_ref().clone(),
    };
    let Some(used) = outer_columns(&inner, &join.left)? else { return Ok(None) };
    if kept && let Some(nearest) = nearest::nearest(join, &inner)? {
        return Ok(Some(nearest));
    }
    let on = join.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
    let condition = conjunction(on.chain(join.filter.clone()));
    let shown: Vec<Expr> = join.schema.columns().into_iter().map(Expr::Column).collect();
    if alone && join.join_type == JoinType::Inner {
        return of_left(&join.left, &inner, condition, shown, names);
    }
    let outer = Outer::new(used, names);
    let Some(asked) = asked(&join.left, &inner, &outer)? else { return Ok(None) };
    let keys = (outer.columns.clone(), outer.names.clone());
    let nulls = NullEquality::NullEqualsNull;
    LogicalPlanBuilder::from(join.left.as_ref().clone())
        .join_detailed(asked, join.join_type, keys, condition, nulls)?
        .project(shown)?
        .build()
        .map(Some)
}

/// The rows of the left side, each with what it makes of itself.
fn of_left(
    left: &LogicalPlan,
    inner: &LogicalPlan,
    condition: Option<Expr>,
    shown: Vec<Expr>,
    names: &Names,
) -> Result<Option<LogicalPlan>> {
    let outer = Outer::new(left.schema().columns(), names);
    let base = outer.of(left.clone())?.build()?;
    let Some(within) = pushed(inner, &base, &outer)? else { return Ok(None) };
    let left = outer.columns.iter().zip(&outer.names).map(|(column, name)| {
        let expr = Expr::Column(name.clone());
        expr.alias_qualified(column.relation.clone(), &column.name)
    });
    let made = inner.schema().columns().into_iter().map(Expr::Column);
    let mut plan =
        LogicalPlanBuilder::from(within).project(left.chain(made).collect::<Vec<_>>())?;
    if let Some(condition) = condition {
        plan = plan.filter(condition)?;
    }
    plan.project(shown)?.build().map(Some)
}

/// What the subquery answers, for all rows of the left side at once.
fn asked(left: &LogicalPlan, inner: &LogicalPlan, outer: &Outer) -> Result<Option<LogicalPlan>> {
    let base = outer.of(left.clone())?.distinct()?.build()?;
    pushed(inner, &base, outer)
}

/// The outer columns of a subquery; `None` when some are not of `left`, or there are none.
fn outer_columns(inner: &LogicalPlan, left: &LogicalPlan) -> Result<Option<Vec<Column>>> {
    let mut nested = false;
    inner.apply(|node| {
        node.apply_expressions(|expr| {
            nested = nested || expr.exists(is_subquery)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    let mut columns = Vec::new();
    for expr in inner.all_out_ref_exprs() {
        let Expr::OuterReferenceColumn(_, column) = expr else { return Ok(None) };
        if !left.schema().has_column(&column) {
            return Ok(None);
        }
        columns.push(column);
    }
    Ok((!nested && !columns.is_empty()).then_some(columns))
}

#[expect(clippy::unnecessary_wraps, reason = "walking a tree asks for a result")]
fn is_subquery(expr: &Expr) -> Result<bool> {
    Ok(matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
    ))
}

/// Whether a plan reads nothing but the row beside it.
fn of_itself(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_) => plan.inputs().into_iter().all(of_itself),
        _ => false,
    }
}

/// Whether the rules of DataFusion cannot make a join of it: it has a limit, or aggregates rows that are
/// compared with outer columns otherwise than for equality.
fn is_ours(plan: &LogicalPlan) -> Result<bool> {
    let aggregates = plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_))))?;
    plan.exists(|node| {
        Ok(match node {
            LogicalPlan::Limit(_) => true,
            LogicalPlan::Filter(filter) if aggregates => {
                split_conjunction(&filter.predicate).into_iter().any(is_unequal)
            }
            _ => false,
        })
    })
}

/// Whether a term says something of outer columns other than that one is equal to something within.
fn is_unequal(term: &Expr) -> bool {
    let equal = match term {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            left.contains_outer() != right.contains_outer()
        }
        _ => false,
    };
    term.contains_outer() && !equal
}

/// Subqueries with a limit within the expressions of a node become columns of its input.
fn scalar(node: LogicalPlan, names: &Names) -> Result<Transformed<LogicalPlan>> {
    let inputs = node.inputs();
    let [input] = inputs[..] else { return Ok(Transformed::no(node)) };
    let columns = input.schema().columns();
    let mut plan = input.clone();
    let mut changed = false;
    let mut exprs = Vec::new();
    for expr in node.expressions() {
        let replaced = expr.transform_up(|e| {
            let Expr::ScalarSubquery(subquery) = &e else { return Ok(Transformed::no(e)) };
            let inner = subquery.subquery.as_ref();
            if !is_ours(inner)? || inner.max_rows() != Some(1) {
                return Ok(Transformed::no(e));
            }
            let Some(used) = outer_columns(inner, input)? else { return Ok(Transformed::no(e)) };
            let relation = TableReference::bare(format!("__scalar_{}", names.next()));
            let inner = LogicalPlanBuilder::from(inner.clone()).alias(relation.clone())?.build()?;
            let outer = Outer::new(used, names);
            let Some(asked) = asked(input, &inner, &outer)? else { return Ok(Transformed::no(e)) };
            let keys = (outer.columns.clone(), outer.names.clone());
            plan = LogicalPlanBuilder::from(plan.clone())
                .join_detailed(asked, JoinType::Left, keys, None, NullEquality::NullEqualsNull)?
                .build()?;
            changed = true;
            Ok(Transformed::yes(Expr::Column(Column::from(inner.schema().qualified_field(0)))))
        })?;
        exprs.push(replaced.data);
    }
    if !changed {
        return Ok(Transformed::no(node));
    }
    let plan = LogicalPlanBuilder::from(plan);
    let plan = match &node {
        LogicalPlan::Projection(p) => {
            let named = exprs.into_iter().zip(p.schema.columns()).map(|(expr, column)| {
                let (relation, name) = expr.qualified_name();
                let same = relation == column.relation && name == column.name;
                if same { expr } else { expr.alias_qualified(column.relation, column.name) }
            });
            plan.project(named.collect::<Vec<_>>())?.build()?
        }
        _ => {
            let shown: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
            let predicate = conjunction(exprs).unwrap_or_else(|| lit(true));
            plan.filter(predicate)?.project(shown)?.build()?
        }
    };
    Ok(Transformed::yes(plan))
}
