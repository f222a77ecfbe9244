//! `OVER (w ROWS …)`: what the window `w` says is written into the call, where the planner would pass over it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self as sql, NamedWindowDefinition, NamedWindowExpr, VisitMut, VisitorMut, WindowSpec,
    WindowType, visit_expressions_mut,
};

use crate::error::{ErrorKind, Span, SqlError};
use crate::nearest::list;
use crate::text::{Text, fold};

/// Completes the windows that begin with the name of another.
pub(super) struct NamedWindows<'a> {
    pub(super) text: &'a Text,
    pub(super) within: Span,
}

impl VisitorMut for NamedWindows<'_> {
    type Break = Box<SqlError>;

    fn post_visit_select(&mut self, select: &mut sql::Select) -> ControlFlow<Self::Break> {
        for at in 0..select.named_window.len() {
            let (known, rest) = select.named_window.split_at_mut(at);
            if let NamedWindowDefinition(_, NamedWindowExpr::WindowSpec(spec)) = &mut rest[0] {
                self.complete(spec, known)?;
            }
        }
        self.calls(&mut select.projection, &select.named_window)
    }

    fn post_visit_query(&mut self, query: &mut sql::Query) -> ControlFlow<Self::Break> {
        let sql::SetExpr::Select(select) = query.body.as_ref() else {
            return ControlFlow::Continue(());
        };
        self.calls(&mut query.order_by, &select.named_window)
    }
}

impl NamedWindows<'_> {
    /// Completes the windows of the calls in `of`.
    fn calls(
        &self,
        of: &mut impl VisitMut,
        known: &[NamedWindowDefinition],
    ) -> ControlFlow<Box<SqlError>> {
        visit_expressions_mut(of, |expr| match expr {
            sql::Expr::Function(sql::Function {
                over: Some(WindowType::WindowSpec(spec)), ..
            }) => self.complete(spec, known),
            _ => ControlFlow::Continue(()),
        })
    }

    fn complete(
        &self,
        spec: &mut WindowSpec,
        known: &[NamedWindowDefinition],
    ) -> ControlFlow<Box<SqlError>> {
        let Some(name) = spec.window_name.take() else { return ControlFlow::Continue(()) };
        let at = self.text.span(name.span).unwrap_or(self.within);
        let name = fold(&name);
        let specs = known.iter().filter_map(|NamedWindowDefinition(name, expr)| match expr {
            NamedWindowExpr::WindowSpec(spec) => Some((fold(name), spec)),
            NamedWindowExpr::NamedWindow(_) => None,
        });
        let specs: Vec<(String, &WindowSpec)> = specs.collect();
        let refuse = |e: SqlError| ControlFlow::Break(Box::new(e.at(at)));
        let Some((_, base)) = specs.iter().find(|(known, _)| *known == name) else {
            let e = SqlError::new(
                ErrorKind::UndefinedObject,
                format!("window \"{name}\" does not exist"),
            );
            let names = list(specs.iter().map(|(name, _)| name.as_str()));
            return refuse(if specs.is_empty() {
                e.hint(format!("define it: WINDOW {name} AS (PARTITION BY … ORDER BY …)"))
            } else {
                e.detail(format!("there are {names}"))
            });
        };
        let twice = if !spec.partition_by.is_empty() {
            Some("PARTITION BY")
        } else if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            Some("ORDER BY")
        } else {
            base.window_frame.as_ref().map(|_| "a frame")
        };
        if let Some(what) = twice {
            let message = format!("{what} cannot be another than that of window \"{name}\"");
            let hint = "a window that begins with the name of another adds an order and a frame";
            return refuse(SqlError::new(ErrorKind::InvalidDefinition, message).hint(hint));
        }
        spec.partition_by.clone_from(&base.partition_by);
        if spec.order_by.is_empty() {
            spec.order_by.clone_from(&base.order_by);
        }
        ControlFlow::Continue(())
    }
}
