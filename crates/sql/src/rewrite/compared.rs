//! `x = ANY (SELECT …)` and `x <> ALL (SELECT …)` as `IN` and `NOT IN`, which they are, and which every
//! rule of the planner knows.

use datafusion::sql::sqlparser::ast as sql;

pub(super) fn subquery(expr: &mut sql::Expr) {
    let (left, right, negated) = match expr {
        sql::Expr::AnyOp { left, compare_op: sql::BinaryOperator::Eq, right, .. } => {
            (left, right, false)
        }
        sql::Expr::AllOp { left, compare_op: sql::BinaryOperator::NotEq, right } => {
            (left, right, true)
        }
        _ => return,
    };
    let sql::Expr::Subquery(query) = right.as_ref() else { return };
    let (expr_left, subquery) = (left.clone(), query.clone());
    *expr = sql::Expr::InSubquery { expr: expr_left, subquery, negated };
}
