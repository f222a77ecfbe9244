//! `INTERSECT ALL` and `EXCEPT ALL`, in which it counts how often a row is on each side.
//!
//! DataFusion plans them as joins in which every row of the left looks for a partner, so that three rows
//! find one on the right. Here rows that are equal are numbered on both sides, and numbers are compared
//! too: the third of the left needs a third on the right.
//!
//! ```text
//!   left: x x x   right: x        left: x1 x2 x3   right: x1
//!   INTERSECT ALL: x x x          INTERSECT ALL: x1
//! ```
//!
//! What must hold: it runs on what the SQL planner gives, where only sets join by keys in which null
//! equals null. Without `ALL` the left side is `DISTINCT`; where somebody wrote that himself, each number
//! is 1 and the plain join is right.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition,
};

/// Makes the joins of `INTERSECT ALL` and `EXCEPT ALL` count.
pub(crate) fn counted(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_all(&join) => numbered(join).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn is_all(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(_))
}

fn numbered(join: Join) -> Result<LogicalPlan> {
    let columns = join.left.schema().columns();
    let (mut left_keys, mut right_keys): (Vec<Column>, Vec<Column>) = join
        .on
        .iter()
        .filter_map(|(left, right)| Some((left.try_as_col()?.clone(), right.try_as_col()?.clone())))
        .unzip();
    let (left_number, right_number) = ("number on the left", "number on the right");
    let left = with_number(Arc::unwrap_or_clone(join.left), left_number)?;
    let right = with_number(Arc::unwrap_or_clone(join.right), right_number)?;
    left_keys.push(Column::new_unqualified(left_number));
    right_keys.push(Column::new_unqualified(right_number));
    LogicalPlanBuilder::from(left)
        .join_detailed(
            right,
            join.join_type,
            (left_keys, right_keys),
            None,
            NullEquality::NullEqualsNull,
        )?
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// `plan` with one more column, by which equal rows are told apart.
fn with_number(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let rows = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let function = WindowFunctionDefinition::WindowUDF(row_number_udwf());
    let number =
        Expr::from(WindowFunction::new(function, Vec::new())).partition_by(rows).build()?;
    LogicalPlanBuilder::from(plan).window([number.alias(name)])?.build()
}
