//! What `unnest` was given that is no list. DataFusion does not say it, so each argument is asked for its type
//! when planning has failed for that reason.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{self as sql, Spanned, VisitMut, VisitorMut};

use super::pieces::call;
use crate::error::{ErrorKind, SqlError};
use crate::functions;
use crate::planner::Context;
use crate::text::{Text, fold};

/// Puts a function around the argument of one `unnest`.
struct Ask {
    /// Which one: so many are passed over.
    left: usize,
    /// Where it stands.
    found: Option<datafusion::sql::sqlparser::tokenizer::Span>,
}

impl Ask {
    fn argument(&mut self, expr: &mut sql::Expr) {
        if self.left == 0 && self.found.is_none() {
            self.found = Some(expr.span());
            *expr = call(functions::LIST_ARGUMENT, vec![expr.clone()]);
        }
        self.left = self.left.saturating_sub(1);
    }
}

impl VisitorMut for Ask {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut sql::TableFactor) -> ControlFlow<()> {
        if let sql::TableFactor::UNNEST { array_exprs, .. } = factor {
            array_exprs.iter_mut().for_each(|expr| self.argument(expr));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
        if let sql::Expr::Function(call) = expr
            && let [sql::ObjectNamePart::Identifier(name)] = call.name.0.as_slice()
            && fold(name) == "unnest"
            && let sql::FunctionArguments::List(list) = &mut call.args
            && let [sql::FunctionArg::Unnamed(sql::FunctionArgExpr::Expr(argument))] =
                list.args.as_mut_slice()
        {
            self.argument(argument);
        }
        ControlFlow::Continue(())
    }
}

/// The error about the first `unnest` of what is no list, when `error` is about one.
pub(crate) fn not_a_list(
    error: &DataFusionError,
    ast: &sql::Query,
    context: &Context<'_>,
    text: &Text,
) -> Option<SqlError> {
    if !error.to_string().contains("unnest() can only be applied to") {
        return None;
    }
    for number in 0.. {
        let mut asked = ast.clone();
        let mut ask = Ask { left: number, found: None };
        // Nothing breaks off.
        let _ = asked.visit(&mut ask);
        let place = ask.found?;
        let Err(error) = context.plan(asked, Vec::new()) else { continue };
        let said = error.to_string();
        let Some((_, given)) = said.split_once(functions::NOT_A_LIST) else { continue };
        let given = given.lines().next().unwrap_or_default();
        let mut e = SqlError::new(
            ErrorKind::DatatypeMismatch,
            format!("unnest takes a list, and this is {given}"),
        )
        .hint("integer[] and its like are lists: array_agg(x), make_array(a, b), string_to_array(s, ',')");
        e.span = text.span(place);
        return Some(e);
    }
    None
}
