//! `ASOF JOIN`: each row on the left with the nearest row on the right.
//!
//! ```text
//!   t ASOF JOIN q ON t.k = q.k AND t.at >= q.at
//!     ─▶  t CROSS JOIN LATERAL (SELECT * FROM q WHERE t.k = q.k AND t.at >= q.at
//!                               ORDER BY q.at DESC LIMIT 1) AS q
//! ```
//!
//! What must hold: rows on the right that are equally near are told apart by their columns, so that the
//! answer is one.

use datafusion::sql::sqlparser::ast as sql;
use datafusion::sql::sqlparser::ast::Spanned;
use std::ops::ControlFlow;

use crate::error::{ErrorKind, Span, SqlError};
use crate::text::{Text, fold};

/// Rewrites the joins behind a relation.
pub(super) fn rewrite(joins: &mut [sql::Join], text: &Text, within: Span) -> Result<(), SqlError> {
    for join in joins.iter_mut().filter(|join| join.global) {
        let at = text.span(join.relation.span()).unwrap_or(within);
        one(join).map_err(|e| e.at(at))?;
        join.global = false;
    }
    Ok(())
}

fn wrong(message: &str) -> SqlError {
    SqlError::new(ErrorKind::Syntax, message)
        .detail(
            "the nearest row on the right is joined, of those that are equal in the other columns",
        )
        .hint("t ASOF JOIN q ON t.key = q.key AND t.ts >= q.ts")
}

fn one(join: &mut sql::Join) -> Result<(), SqlError> {
    use sql::JoinOperator::{CrossJoin, Inner, Join, Left, LeftOuter};
    let (constraint, outer) = match &join.join_operator {
        Join(constraint) | Inner(constraint) => (constraint, false),
        Left(constraint) | LeftOuter(constraint) => (constraint, true),
        _ => return Err(wrong("an ASOF join is an inner or a left one")),
    };
    let sql::JoinConstraint::On(condition) = constraint else {
        return Err(wrong("an ASOF join has a condition after ON"));
    };
    let name = name_of(&join.relation)
        .ok_or_else(|| wrong("the right side of an ASOF join has a name"))?;
    let (time, descending) = nearest(condition, &name)?;
    let text = "SELECT * FROM x WHERE true ORDER BY y DESC LIMIT 1";
    let mut query = crate::parse::parse_query(text).expect("the text is a query, and ours").ast;
    if let sql::SetExpr::Select(select) = query.body.as_mut() {
        select.selection = Some(condition.clone());
        for from in &mut select.from {
            from.relation = join.relation.clone();
        }
    }
    if let Some(sql::OrderBy { kind: sql::OrderByKind::Expressions(items), .. }) =
        &mut query.order_by
    {
        for item in items {
            item.expr = time.clone();
            item.options.asc = Some(!descending);
        }
    }
    let alias = sql::TableAlias { explicit: true, name, columns: Vec::new(), at: None };
    join.relation = sql::TableFactor::Derived {
        lateral: true,
        subquery: query,
        alias: Some(alias),
        sample: None,
    };
    let always = sql::Expr::value(sql::Value::Boolean(true));
    join.join_operator = match outer {
        true => LeftOuter(sql::JoinConstraint::On(always)),
        false => CrossJoin(sql::JoinConstraint::None),
    };
    Ok(())
}

fn name_of(relation: &sql::TableFactor) -> Option<sql::Ident> {
    match relation {
        sql::TableFactor::Table { alias: Some(alias), .. }
        | sql::TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.clone()),
        sql::TableFactor::Table { name, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// What of the right side is nearest, and whether the greatest of it is.
fn nearest(condition: &sql::Expr, right: &sql::Ident) -> Result<(sql::Expr, bool), SqlError> {
    let mut terms = Vec::new();
    terms_of(condition, &mut terms);
    let mut found = None;
    for term in terms {
        let sql::Expr::BinaryOp { left, op, right: other } = term else {
            return Err(wrong("the terms of an ASOF join are comparisons"));
        };
        let up = match op {
            sql::BinaryOperator::Eq => continue,
            sql::BinaryOperator::GtEq | sql::BinaryOperator::Gt => true,
            sql::BinaryOperator::LtEq | sql::BinaryOperator::Lt => false,
            _ => return Err(wrong("the terms of an ASOF join are =, and one of >=, >, <=, <")),
        };
        let next = match (side(left, right), side(other, right)) {
            (Some(false), Some(true)) => (other.as_ref().clone(), up),
            (Some(true), Some(false)) => (left.as_ref().clone(), !up),
            _ => {
                return Err(wrong(
                    "each side of an ASOF comparison is of one relation, and says of which",
                ));
            }
        };
        if found.replace(next).is_some() {
            return Err(wrong("an ASOF join has one of >=, >, <=, <"));
        }
    }
    found.ok_or_else(|| wrong("an ASOF join has one of >=, >, <=, <"))
}

pub(super) fn terms_of<'e>(expr: &'e sql::Expr, terms: &mut Vec<&'e sql::Expr>) {
    match expr {
        sql::Expr::BinaryOp { left, op: sql::BinaryOperator::And, right } => {
            terms_of(left, terms);
            terms_of(right, terms);
        }
        sql::Expr::Nested(inner) => terms_of(inner, terms),
        other => terms.push(other),
    }
}

/// Whether an expression is of the relation `right` (true) or of others (false); `None`: of both, of none,
/// or it does not say.
fn side(expr: &sql::Expr, right: &sql::Ident) -> Option<bool> {
    let mut of: Option<bool> = None;
    let walked = sql::visit_expressions(expr, |e| {
        let is = match e {
            sql::Expr::CompoundIdentifier(parts) => {
                let relation = parts.len().checked_sub(2).map(|at| fold(&parts[at]));
                relation == Some(fold(right))
            }
            sql::Expr::Identifier(_) | sql::Expr::Subquery(_) => return ControlFlow::Break(()),
            _ => return ControlFlow::Continue(()),
        };
        match of.replace(is) {
            Some(before) if before != is => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    of.filter(|_| walked.is_continue())
}
