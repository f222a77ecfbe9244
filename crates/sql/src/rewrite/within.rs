//! `IN` of several columns, and `IN` and `EXISTS` in a select list, in words that the planner has joins for.
//!
//! | written | becomes |
//! |---|---|
//! | `WHERE (a, b) IN (Q)` | `EXISTS (SELECT 1 FROM (Q) AS q (x, y) WHERE x = a AND y = b)` |
//! | `WHERE (a, b) NOT IN (Q)` | `NOT EXISTS (… WHERE (x = a) IS NOT FALSE AND (y = b) IS NOT FALSE)` |
//! | `SELECT EXISTS (Q)` | `SELECT (SELECT count(*) > 0 FROM (Q) AS q)` |
//! | `SELECT a IN (Q)` | true where one is equal, else null where one is unknown, else false |
//!
//! What must hold: unknown stays unknown. A row that is not equal for sure is not *not in*.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast as sql;

use super::outside;
use super::pieces::{and, binary, nested};

/// Rewrites what stands in a select list and after WHERE.
pub(super) fn select(select: &mut sql::Select) {
    if let Some(selection) = &mut select.selection {
        condition(selection);
    }
    for item in &mut select.projection {
        let (sql::SelectItem::UnnamedExpr(expr) | sql::SelectItem::ExprWithAlias { expr, .. }) =
            item
        else {
            continue;
        };
        outside::each(expr, value);
    }
}

/// The terms of a condition: what is unknown is as good as false there.
fn condition(expr: &mut sql::Expr) {
    match expr {
        sql::Expr::BinaryOp { left, op: sql::BinaryOperator::And, right } => {
            condition(left);
            condition(right);
        }
        sql::Expr::Nested(inner) => condition(inner),
        sql::Expr::InSubquery { expr: row, subquery, negated } => {
            let sql::Expr::Tuple(items) = row.as_ref() else { return };
            let matched = matching(items, subquery, *negated);
            *expr = sql::Expr::Exists { subquery: matched, negated: *negated };
        }
        _ => {}
    }
}

/// What stands for a subquery that is a value.
fn value(expr: &mut sql::Expr) -> ControlFlow<()> {
    match expr {
        sql::Expr::Exists { subquery, negated } => {
            *expr = negated_if(*negated, some(subquery.as_ref().clone()));
        }
        sql::Expr::InSubquery { expr: row, subquery, negated } => {
            let row = match row.as_ref() {
                sql::Expr::Tuple(items) => items.clone(),
                one => vec![one.clone()],
            };
            *expr = negated_if(*negated, contains(&row, subquery));
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

fn negated_if(negated: bool, expr: sql::Expr) -> sql::Expr {
    let nested = Box::new(sql::Expr::Nested(Box::new(expr)));
    match negated {
        true => sql::Expr::UnaryOp { op: sql::UnaryOperator::Not, expr: nested },
        false => *nested,
    }
}

/// `CASE WHEN (one is equal) THEN true WHEN (one may be) THEN NULL ELSE false END`.
fn contains(row: &[sql::Expr], subquery: &sql::Query) -> sql::Expr {
    let nothing = || sql::Expr::value(sql::Value::Null);
    let mut whens = vec![(some(*matching(row, subquery, false)), truth(true))];
    match row {
        [value] => {
            let unknown = sql::Expr::IsNull(Box::new(sql::Expr::Nested(Box::new(value.clone()))));
            whens.push((and(unknown, some(subquery.clone())), nothing()));
            let mut nulls = around(subquery, "__in", 1);
            let is_null = sql::Expr::IsNull(Box::new(column(0)));
            set_condition(&mut nulls, is_null);
            whens.push((some(*nulls), nothing()));
        }
        _ => whens.push((some(*matching(row, subquery, true)), nothing())),
    }
    let conditions =
        whens.into_iter().map(|(condition, result)| sql::CaseWhen { condition, result });
    sql::Expr::Case {
        case_token: sql::helpers::attached_token::AttachedToken::empty(),
        end_token: sql::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: Some(Box::new(truth(false))),
    }
}

fn truth(value: bool) -> sql::Expr {
    sql::Expr::value(sql::Value::Boolean(value))
}

/// A column of what [`around`] gives.
fn column(at: usize) -> sql::Expr {
    sql::Expr::Identifier(sql::Ident::new(format!("__in_{at}")))
}

/// `SELECT 1 FROM (query) AS name (__in_0, …)`
fn around(query: &sql::Query, name: &str, columns: usize) -> Box<sql::Query> {
    let mut outer = template(&format!("SELECT 1 AS one FROM (SELECT 1) AS {name}"));
    if let sql::SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let sql::TableFactor::Derived { subquery, alias, .. } = &mut from.relation
    {
        **subquery = query.clone();
        let names = (0..columns).map(|at| format!("__in_{at}"));
        let names = names.map(sql::TableAliasColumnDef::from_name);
        alias.iter_mut().for_each(|alias| alias.columns = names.clone().collect());
    }
    outer
}

fn set_condition(query: &mut sql::Query, condition: sql::Expr) {
    if let sql::SetExpr::Select(select) = query.body.as_mut() {
        select.selection = Some(condition);
    }
}

/// The rows of the subquery that are equal to `row`; `perhaps`: that may be.
fn matching(row: &[sql::Expr], subquery: &sql::Query, perhaps: bool) -> Box<sql::Query> {
    let mut query = around(subquery, "__in", row.len());
    let terms = row.iter().enumerate().map(|(at, value)| {
        let equal = nested(binary(column(at), sql::BinaryOperator::Eq, nested(value.clone())));
        if perhaps { sql::Expr::IsNotFalse(Box::new(equal)) } else { equal }
    });
    if let Some(condition) = terms.reduce(and) {
        set_condition(&mut query, condition);
    }
    query
}

/// Whether a query has rows, as a value.
fn some(query: sql::Query) -> sql::Expr {
    let plain = is_plain(&query);
    let mut counted = if plain { Box::new(query) } else { around(&query, "__some", 0) };
    if let sql::SetExpr::Select(select) = counted.body.as_mut()
        && let sql::SetExpr::Select(count) = template("SELECT count(*) > 0 AS some").body.as_ref()
    {
        select.projection.clone_from(&count.projection);
    }
    sql::Expr::Subquery(counted)
}

/// Whether a query has as many rows as are left of what it reads: its select list can be another one.
fn is_plain(query: &sql::Query) -> bool {
    let sql::SetExpr::Select(select) = query.body.as_ref() else { return false };
    let as_it_is = |item: &sql::SelectItem| match item {
        sql::SelectItem::UnnamedExpr(expr) | sql::SelectItem::ExprWithAlias { expr, .. } => {
            use sql::Expr::{CompoundIdentifier, Identifier, Value};
            matches!(expr, Identifier(_) | CompoundIdentifier(_) | Value(_))
        }
        _ => true,
    };
    let ungrouped =
        matches!(&select.group_by, sql::GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let whole = query.limit_clause.is_none() && query.fetch.is_none() && query.with.is_none();
    let all = select.distinct.is_none() && select.having.is_none() && query.order_by.is_none();
    whole && all && ungrouped && select.projection.iter().all(as_it_is)
}

fn template(text: &str) -> Box<sql::Query> {
    crate::parse::parse_query(text).expect("the text is a query, and ours").ast
}
