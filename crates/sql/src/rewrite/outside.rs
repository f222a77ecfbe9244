//! The expressions of a part of a query, not those of the subqueries in it: their names are their own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, VisitMut, VisitorMut};

/// Calls `f` with every expression of `part` that is in no subquery, inner ones first, until it breaks off.
pub(super) fn each(part: &mut impl VisitMut, f: impl FnMut(&mut sql::Expr) -> ControlFlow<()>) {
    let _ = part.visit(&mut Outside { depth: 0, f });
}

struct Outside<F> {
    /// Inside how many subqueries.
    depth: usize,
    f: F,
}

impl<F: FnMut(&mut sql::Expr) -> ControlFlow<()>> VisitorMut for Outside<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut sql::Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut sql::Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<()> {
        if self.depth > 0 { ControlFlow::Continue(()) } else { (self.f)(expr) }
    }
}
