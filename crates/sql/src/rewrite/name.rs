//! The names PostgreSQL gives to columns that were given none.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, VisitorMut};

use super::pieces::said_name;
use crate::text::fold;

/// What an expression without a name is called when nothing in it has one.
pub(crate) const UNNAMED: &str = "?column?";

/// Gives every unnamed item of a select list its name, with a mark behind it where it was there
/// before: the planner tells columns apart by name.
pub(super) struct Names;

impl VisitorMut for Names {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut sql::Select) -> ControlFlow<()> {
        let mut taken: HashSet<String> = select.projection.iter().filter_map(said_name).collect();
        for (place, item) in select.projection.iter_mut().enumerate() {
            let sql::SelectItem::UnnamedExpr(expr) = item else { continue };
            let Some(mut name) = derived(expr) else { continue };
            if !taken.insert(name.clone()) {
                name = format!("{name}{APART}{place}");
            }
            let alias = sql::Ident::with_quote('"', name);
            *item = sql::SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
        ControlFlow::Continue(())
    }
}

/// Stands between the name of a column of an answer and what tells it from others of that name.
const APART: char = '\u{1}';

/// Tells the columns of the answer apart where they have the same name: the planner wants that, and
/// PostgreSQL does not. [`shown`] gives their names back.
pub(super) fn tell_apart(body: &mut sql::SetExpr) {
    match body {
        sql::SetExpr::Select(select) => apart(select),
        sql::SetExpr::Query(query) => tell_apart(&mut query.body),
        sql::SetExpr::SetOperation { left, right, .. } => {
            tell_apart(left);
            tell_apart(right);
        }
        _ => {}
    }
}

fn apart(select: &mut sql::Select) {
    use sql::SelectItem::{ExprWithAlias, UnnamedExpr};
    // What a star stands for is not known here, so no column beside it may have its own name.
    let star = |item: &sql::SelectItem| !matches!(item, UnnamedExpr(_) | ExprWithAlias { .. });
    let star = select.projection.iter().any(star);
    let mut taken = HashSet::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let (expr, name, column) = match item {
            UnnamedExpr(expr) => {
                let column =
                    matches!(expr, sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_));
                match if column { inner(expr) } else { derived(expr) } {
                    Some(name) => (expr, name, column),
                    None => continue,
                }
            }
            ExprWithAlias { expr, alias } => (expr, fold(alias), false),
            _ => continue,
        };
        if !taken.insert(name.clone()) || (star && column) {
            let name = shown(&name);
            let alias = sql::Ident::with_quote('"', format!("{name}{APART}{place}"));
            *item = ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The name of a column of an answer, as it is shown.
pub(crate) fn shown(name: &str) -> &str {
    name.split(APART).next().unwrap_or(name)
}

/// The name of an expression; `None` for columns, which keep theirs, and for what makes several.
fn derived(expr: &sql::Expr) -> Option<String> {
    match expr {
        sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_) => None,
        sql::Expr::Function(f) => {
            let name = f.name.0.last()?.as_ident().map(fold)?;
            match name.as_str() {
                "unnest" => None,
                "approx_percentile_cont" => Some("approx_percentile".to_owned()),
                _ => Some(name),
            }
        }
        other => Some(inner(other).unwrap_or_else(|| UNNAMED.to_owned())),
    }
}

fn inner(expr: &sql::Expr) -> Option<String> {
    let word = |w: &str| Some(w.to_owned());
    match expr {
        sql::Expr::Identifier(ident) => Some(fold(ident)),
        sql::Expr::CompoundIdentifier(parts) => parts.last().map(fold),
        sql::Expr::Function(_) => derived(expr),
        sql::Expr::Cast { expr, data_type, .. } => {
            inner(expr).or_else(|| Some(data_type.to_string().to_lowercase()))
        }
        sql::Expr::Nested(expr) => inner(expr),
        sql::Expr::Case { else_result, .. } => {
            let column = |e: &sql::Expr| match e {
                sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_) => inner(e),
                _ => None,
            };
            else_result.as_deref().and_then(column).or_else(|| word("case"))
        }
        sql::Expr::Extract { .. } => word("extract"),
        sql::Expr::Ceil { .. } => word("ceil"),
        sql::Expr::Floor { .. } => word("floor"),
        sql::Expr::Position { .. } => word("position"),
        sql::Expr::Substring { .. } => word("substring"),
        sql::Expr::Trim { .. } => word("btrim"),
        sql::Expr::Overlay { .. } => word("overlay"),
        sql::Expr::Interval(_) => word("interval"),
        sql::Expr::Exists { .. } => word("exists"),
        sql::Expr::Array(_) => word("array"),
        _ => None,
    }
}
