//! Pieces of SQL that rewrites take apart and make.

use datafusion::sql::sqlparser::ast as sql;

use crate::text::fold;

/// A call of the function `name`.
pub(super) fn call(name: &str, args: Vec<sql::Expr>) -> sql::Expr {
    let argument = |expr| sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(expr));
    sql::Expr::Function(sql::Function {
        name: sql::ObjectName::from(vec![sql::Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: sql::FunctionArguments::None,
        args: sql::FunctionArguments::List(sql::FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(argument).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// An argument that is an expression and nothing else.
pub(super) fn plain(argument: &sql::FunctionArg) -> Option<&sql::Expr> {
    match argument {
        sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// `left op right`
pub(super) fn binary(left: sql::Expr, op: sql::BinaryOperator, right: sql::Expr) -> sql::Expr {
    sql::Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// `left AND right`
pub(super) fn and(left: sql::Expr, right: sql::Expr) -> sql::Expr {
    binary(left, sql::BinaryOperator::And, right)
}

/// `(expr)`
pub(super) fn nested(expr: sql::Expr) -> sql::Expr {
    sql::Expr::Nested(Box::new(expr))
}

/// The name that an item of a SELECT says itself: its alias, or of a column its own.
pub(super) fn said_name(item: &sql::SelectItem) -> Option<String> {
    match item {
        sql::SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
        sql::SelectItem::UnnamedExpr(sql::Expr::Identifier(ident)) => Some(fold(ident)),
        sql::SelectItem::UnnamedExpr(sql::Expr::CompoundIdentifier(parts)) => {
            parts.last().map(fold)
        }
        _ => None,
    }
}
