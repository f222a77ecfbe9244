//! Calls of functions: whether there is such a function, and the names DataFusion has not.

use datafusion::sql::sqlparser::ast as sql;

use super::pieces::{binary, nested, plain};
use super::{Words, pattern};
use crate::error::{ErrorKind, SqlError};
use crate::functions::INTERVAL_PARTS;
use crate::nearest::did_you_mean;
use crate::text::fold;

/// Functions that the planner knows although they are registered nowhere.
const PLANNED: [&str; 5] = ["unnest", "grouping", "row", "struct", "array"];

/// PostgreSQL's names of functions that DataFusion calls otherwise.
const OTHER_NAMES: [(&str, &str); 4] = [
    ("every", "bool_and"),
    ("variance", "var_samp"),
    ("char_length", "character_length"),
    ("approx_count_distinct", "approx_distinct"),
];

/// Functions whose answer is not the same for all.
const OF_WHO_ASKS: [&str; 5] =
    ["current_user", "session_user", "current_role", "current_setting", "pg_backend_pid"];

impl Words<'_> {
    pub(super) fn call(&self, function: &mut sql::Function) -> Result<(), SqlError> {
        nulls_outside(function);
        let [sql::ObjectNamePart::Identifier(ident)] = function.name.0.as_mut_slice() else {
            return Ok(());
        };
        let name = fold(ident);
        if let Some((_, other)) = OTHER_NAMES.iter().find(|(ours, _)| *ours == name) {
            ident.value = (*other).to_owned();
            ident.quote_style = None;
            return Ok(());
        }
        let span = self.span(ident.span);
        if name == "approx_percentile" {
            ident.value = "approx_percentile_cont".to_owned();
            return percentile(function).map_err(|e| e.at(span));
        }
        if name == "make_interval" {
            return parts_in_order(function).map_err(|e| e.at(span));
        }
        if name == "to_char" {
            return pattern::to_char(function).map_err(|e| e.at(span));
        }
        if ["tumble", "hop", "cumulate", "session"].contains(&name.as_str()) {
            return Err(SqlError::new(
                ErrorKind::Syntax,
                format!("\"{name}\" makes a table of windows and stands after FROM"),
            )
            .hint("SELECT … FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_start")
            .at(span));
        }
        if self.functions.contains(&name) || PLANNED.contains(&name.as_str()) {
            return Ok(());
        }
        if self.catalog.function(&name).is_some() {
            return Ok(());
        }
        if OF_WHO_ASKS.contains(&name.as_str()) {
            let message = format!("a view cannot call \"{name}\"");
            return Err(SqlError::new(ErrorKind::NotSupported, message)
                .detail("its answer depends on who asks, and a view has one for all")
                .hint("call it in the query that reads the view")
                .at(span));
        }
        let known = self.functions.iter().map(String::as_str).chain(["approx_percentile"]);
        let mut e = SqlError::new(
            ErrorKind::UndefinedFunction,
            format!("function \"{name}\" does not exist"),
        )
        .at(span);
        e.hint = match name.as_str() {
            // A column may be called so, and the dialect takes the bare word for a call.
            "user" => {
                Some("write \"user\" in quotes for a column, current_user for who asks".into())
            }
            _ => did_you_mean(&name, known),
        };
        Err(e)
    }
}

/// `make_interval(days => 2)` with all parts up to the last one that is named.
fn parts_in_order(function: &mut sql::Function) -> Result<(), SqlError> {
    let sql::FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let is_named = |arg: &sql::FunctionArg| !matches!(arg, sql::FunctionArg::Unnamed(_));
    let Some(from) = list.args.iter().position(is_named) else { return Ok(()) };
    let mut parts: Vec<Option<sql::FunctionArgExpr>> = Vec::new();
    for arg in list.args.drain(..from) {
        if let sql::FunctionArg::Unnamed(value) = arg {
            parts.push(Some(value));
        }
    }
    for arg in list.args.drain(..) {
        let (name, arg) = match arg {
            sql::FunctionArg::Named { name, arg, .. } => (fold(&name), arg),
            sql::FunctionArg::ExprNamed { name: sql::Expr::Identifier(name), arg, .. } => {
                (fold(&name), arg)
            }
            _ => {
                let message = "an argument without a name stands behind one with a name";
                return Err(SqlError::new(ErrorKind::Syntax, message));
            }
        };
        let Some(at) = INTERVAL_PARTS.iter().position(|part| *part == name) else {
            let message = format!("function \"make_interval\" has no parameter \"{name}\"");
            return Err(SqlError::new(ErrorKind::UndefinedFunction, message)
                .detail(format!("its parameters are {}", INTERVAL_PARTS.join(", "))));
        };
        parts.resize(parts.len().max(at + 1), None);
        if parts[at].replace(arg).is_some() {
            let message = format!("function \"make_interval\" is given \"{name}\" twice");
            return Err(SqlError::new(ErrorKind::Syntax, message));
        }
    }
    let zero = || {
        let zero = sql::Value::Number("0".to_owned(), false);
        sql::FunctionArgExpr::Expr(sql::Expr::value(zero))
    };
    let given = parts.into_iter().map(|part| part.unwrap_or_else(zero));
    list.args.extend(given.map(sql::FunctionArg::Unnamed));
    Ok(())
}

/// `mod(a, b)` to `(a % b)`.
pub(super) fn operator(expr: &mut sql::Expr) {
    let sql::Expr::Function(function) = expr else { return };
    let [sql::ObjectNamePart::Identifier(ident)] = function.name.0.as_slice() else { return };
    let sql::FunctionArguments::List(list) = &function.args else { return };
    let [left, right] = list.args.as_slice() else { return };
    let (Some(left), Some(right)) = (plain(left), plain(right)) else { return };
    if fold(ident) != "mod" || function.over.is_some() || function.filter.is_some() {
        return;
    }
    let (left, right) = (nested(left.clone()), nested(right.clone()));
    *expr = nested(binary(left, sql::BinaryOperator::Modulo, right));
}

/// `(x, p)` to `(p) WITHIN GROUP (ORDER BY x)`.
fn percentile(function: &mut sql::Function) -> Result<(), SqlError> {
    if !function.within_group.is_empty() {
        return Ok(());
    }
    let wrong = || {
        SqlError::new(
            ErrorKind::UndefinedFunction,
            "function \"approx_percentile\" takes a value and a percentile",
        )
        .hint("approx_percentile(price, 0.95)")
    };
    let sql::FunctionArguments::List(list) = &mut function.args else { return Err(wrong()) };
    if list.args.len() != 2 {
        return Err(wrong());
    }
    let sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(value)) = list.args.remove(0) else {
        return Err(wrong());
    };
    function.within_group.push(sql::OrderByExpr {
        expr: value,
        options: sql::OrderByOptions { asc: None, nulls_first: None },
        with_fill: None,
    });
    Ok(())
}

/// `f(x IGNORE NULLS)` becomes `f(x) IGNORE NULLS`, which is what DataFusion reads. The parser takes the words for those of
/// `x` where that is a function; one that is not `OVER` rows has no use for them.
fn nulls_outside(function: &mut sql::Function) {
    let sql::FunctionArguments::List(list) = &mut function.args else { return };
    list.clauses.retain(|clause| match clause {
        sql::FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => {
            function.null_treatment = Some(*treatment);
            false
        }
        _ => true,
    });
    if function.over.is_none() {
        return;
    }
    if let Some(sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(sql::Expr::Function(inner)))) =
        list.args.last_mut()
        && inner.over.is_none()
        && let Some(treatment) = inner.null_treatment.take()
    {
        function.null_treatment = Some(treatment);
    }
}
