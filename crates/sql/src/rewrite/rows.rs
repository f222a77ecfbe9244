//! `unnest` and `generate_series` after FROM: rows of the elements of lists.
//!
//! | written | becomes |
//! |---|---|
//! | `LATERAL unnest(t.xs) AS x` | `UNNEST(t.xs) AS x (x)` |
//! | `generate_series(t.a, t.b) AS g (n)` | `UNNEST(generate_series(t.a, t.b)) AS g (n)` |
//! | `SELECT generate_series(1, 3) + 1` | `SELECT unnest(generate_series(1, 3)) + 1` |
//! | `UNNEST(xs) WITH ORDINALITY AS t (x, n)` | `UNNEST(xs, generate_series(1, cardinality(xs))) AS t (x, n)` |
//!
//! A series of constants stays a relation of its own in a query: it may be as long as it likes.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, VisitMut, VisitorMut};

use super::pieces::{call, plain};
use crate::text::fold;

/// Makes series of constants lists, too: a view has no relation of them.
pub(crate) fn series_as_lists(query: &mut sql::Query) {
    struct All;
    impl VisitorMut for All {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &mut sql::TableFactor) -> ControlFlow<()> {
            rewrite(factor, true);
            ControlFlow::Continue(())
        }
    }
    // Nothing breaks off.
    let _ = query.visit(&mut All);
}

/// Makes rows of the series in a select list, in which they are not the arguments of other functions.
pub(super) fn in_select_list(select: &mut sql::Select) {
    for item in &mut select.projection {
        match item {
            sql::SelectItem::ExprWithAlias { expr, .. } => series_as_rows(expr),
            sql::SelectItem::UnnamedExpr(expr) if is_series(expr) => {
                series_as_rows(expr);
                let alias = sql::Ident::new("generate_series");
                *item = sql::SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            sql::SelectItem::UnnamedExpr(expr) => series_as_rows(expr),
            _ => {}
        }
    }
}

fn series_as_rows(expr: &mut sql::Expr) {
    match expr {
        sql::Expr::Nested(inner)
        | sql::Expr::Cast { expr: inner, .. }
        | sql::Expr::UnaryOp { expr: inner, .. } => series_as_rows(inner),
        sql::Expr::BinaryOp { left, right, .. } => {
            series_as_rows(left);
            series_as_rows(right);
        }
        series if is_series(series) => *series = call("unnest", vec![series.clone()]),
        _ => {}
    }
}

fn is_series(expr: &sql::Expr) -> bool {
    let sql::Expr::Function(function) = expr else { return false };
    matches!(function.name.0.as_slice(), [sql::ObjectNamePart::Identifier(name)]
        if fold(name) == "generate_series")
}

/// Makes `factor` an `UNNEST`, if it is a list or a series. `constants`: also a series of constants.
pub(super) fn rewrite(factor: &mut sql::TableFactor, constants: bool) {
    if let sql::TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } = factor {
        named(alias, "unnest", array_exprs.len(), *with_ordinality);
        if std::mem::take(with_ordinality) {
            let numbers = ordinality(array_exprs);
            array_exprs.push(numbers);
        }
        return;
    }
    let (name, args, alias, with_ordinality) = match factor {
        sql::TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            (&*name, &args.args, alias.clone(), *with_ordinality)
        }
        sql::TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            (&*name, &*args, alias.clone(), *with_ordinality)
        }
        _ => return,
    };
    let [sql::ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return };
    let exprs: Option<Vec<sql::Expr>> = args.iter().map(|arg| plain(arg).cloned()).collect();
    let Some(exprs) = exprs else { return };
    let (called, array_exprs) = match fold(ident).as_str() {
        "unnest" => ("unnest", exprs),
        "generate_series" if constants || with_ordinality || !exprs.iter().all(is_constant) => {
            ("generate_series", vec![call("generate_series", exprs)])
        }
        _ => return,
    };
    let mut list = sql::TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality,
    };
    if let sql::TableFactor::UNNEST { alias, array_exprs, .. } = &mut list {
        named(alias, called, array_exprs.len(), with_ordinality);
    }
    rewrite(&mut list, constants);
    *factor = list;
}

/// The names of the columns where none were given: one is called like the relation.
fn named(alias: &mut Option<sql::TableAlias>, called: &str, lists: usize, numbered: bool) {
    let alias = alias.get_or_insert_with(|| sql::TableAlias {
        explicit: true,
        name: sql::Ident::new(called),
        columns: Vec::new(),
        at: None,
    });
    if !alias.columns.is_empty() {
        return;
    }
    if lists == 1 {
        let name = alias.name.clone();
        alias.columns.push(sql::TableAliasColumnDef { name, data_type: None });
    } else {
        let name = |at: usize| sql::TableAliasColumnDef::from_name(format!("unnest_{at}"));
        alias.columns.extend((1..=lists).map(name));
    }
    if numbered {
        alias.columns.push(sql::TableAliasColumnDef::from_name("ordinality"));
    }
}

/// The numbers of elements, up to the longest list.
fn ordinality(lists: &[sql::Expr]) -> sql::Expr {
    let mut lengths: Vec<sql::Expr> =
        lists.iter().map(|list| call("cardinality", vec![list.clone()])).collect();
    let longest = match lengths.len() {
        1 => lengths.remove(0),
        _ => call("greatest", lengths),
    };
    // What cardinality gives is unsigned.
    let longest = sql::Expr::Cast {
        kind: sql::CastKind::Cast,
        expr: Box::new(longest),
        data_type: sql::DataType::BigInt(None),
        array: false,
        format: None,
    };
    let one = sql::Expr::value(sql::Value::Number("1".to_owned(), false));
    call("generate_series", vec![one, longest])
}

/// Functions of constants that give a time, which is what a series of times goes by.
const OF_TIMES: [&str; 7] = [
    "now",
    "current_timestamp",
    "current_date",
    "date_trunc",
    "to_timestamp",
    "make_timestamp",
    "make_timestamptz",
];

/// Whether an expression names no column, and is one that the planner makes a value of: of arithmetic with what
/// other functions give it does not, since the types of both sides may differ.
fn is_constant(expr: &sql::Expr) -> bool {
    let is_of_time = |function: &sql::Function| {
        matches!(function.name.0.as_slice(), [sql::ObjectNamePart::Identifier(name)]
            if OF_TIMES.contains(&fold(name).as_str()))
    };
    let walked = sql::visit_expressions(expr, |e| match e {
        sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_) | sql::Expr::Subquery(_) => {
            ControlFlow::Break(())
        }
        sql::Expr::Function(function) if !is_of_time(function) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    walked.is_continue()
}
