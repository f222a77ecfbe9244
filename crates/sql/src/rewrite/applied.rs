//! Functions that people wrote, put in where they are called.

use datafusion::sql::sqlparser::ast as sql;

use super::Words;
use crate::error::{ErrorKind, SqlError};
use crate::function::{arguments, called};
use crate::parse::DEPTH_MAX;

/// How many calls of one statement are put in: each may bring calls of its own.
const CALLS_MAX: usize = 2_000;

impl Words<'_> {
    /// Puts the expression in, if `expr` calls a function that somebody wrote.
    pub(super) fn put_in(&mut self, expr: &mut sql::Expr) -> Result<(), SqlError> {
        let sql::Expr::Function(call) = &*expr else { return Ok(()) };
        let Some((name, count)) = called(call) else { return Ok(()) };
        if self.functions.contains(&name) {
            return Ok(());
        }
        let known = self.catalog.sql_functions(&name);
        if known.is_empty() {
            return Ok(());
        }
        let span = call.name.0.first().and_then(|p| p.as_ident()).map(|i| self.span(i.span));
        let fail = |e: SqlError| e.or_at(span.or(Some(self.within)));
        let Some(function) = known.iter().find(|f| f.parameters.len() == count) else {
            let counts: Vec<String> =
                known.iter().map(|f| format!("{name}({})", f.signature())).collect();
            let message = format!("no function \"{name}\" takes {count} arguments");
            let error = SqlError::new(ErrorKind::UndefinedFunction, message);
            return Err(fail(error.detail(format!("there is {}", counts.join(" and ")))));
        };
        let Some(arguments) = arguments(call) else {
            let message = format!("function \"{name}\" takes plain arguments and nothing else");
            return Err(fail(SqlError::new(ErrorKind::Syntax, message)));
        };
        self.put_in += 1;
        if self.put_in > CALLS_MAX || self.depth > DEPTH_MAX {
            let error = SqlError::new(ErrorKind::TooComplex, "the statement is nested too deeply");
            let detail = "its functions call functions, and each is put in where it is called";
            return Err(fail(error.detail(detail)));
        }
        *expr = sql::Expr::Nested(Box::new(function.applied(arguments)));
        Ok(())
    }

    /// Names the columns that are calls, whose names go with the calls.
    pub(super) fn name_calls(&self, select: &mut sql::Select) {
        for item in &mut select.projection {
            let sql::SelectItem::UnnamedExpr(expr) = item else { continue };
            let sql::Expr::Function(call) = &*expr else { continue };
            let Some((name, _)) = called(call) else { continue };
            if !self.functions.contains(&name) && !self.catalog.sql_functions(&name).is_empty() {
                let alias = sql::Ident::with_quote('"', name);
                *item = sql::SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
    }
}
