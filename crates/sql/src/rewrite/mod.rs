//! Our words made plain SQL, on the parser's tree.
//!
//! | written | becomes |
//! |---|---|
//! | `TUMBLE(t, ts, i)`, `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), i))` | a subquery with `window_start`, `window_end` |
//! | `HOP(…)`, `CUMULATE(…)` | a subquery that unnests its windows |
//! | `SESSION(t PARTITION BY k, ts, i)` | a subquery with functions `OVER (PARTITION BY k ORDER BY ts)` |
//! | `a AS x, x + 1` | `a AS x, (a) + 1`, unless `x` is a column of the input |
//! | `count(*)` | `count(*) AS count`, as PostgreSQL names it |
//! | columns of the answer with the same name | each with a mark behind it, which [`shown`] takes off |
//! | a function that people wrote | its expression |
//! | `approx_percentile(x, p)` | `approx_percentile_cont(p) WITHIN GROUP (ORDER BY x)` |
//! | `CAST(2.5 AS INTEGER)` | `CAST(3 AS INTEGER)` |
//! | `OVER (w ROWS …)`, `w` being `(PARTITION BY a)` | `OVER (PARTITION BY a ROWS …)` |
//! | `INTERVAL '1 day 02:03:04'`, `INTERVAL 'P1DT2H'` | months, days and nanoseconds |
//! | `make_interval(days => 2)` | `make_interval(0, 0, 0, 2)` |
//! | `TABLE t` | `SELECT * FROM t` |
//! | `mod(a, b)` | `(a % b)` |
//! | `first_value(a IGNORE NULLS)` | `first_value(a) IGNORE NULLS` |
//! | `to_char(t, 'YYYY')` | `to_char(t, '%Y')` |
//! | `t AT TIME ZONE z`, `date_trunc('day', t, z)` | calls of `timezone` |
//! | `x SIMILAR TO 'a%'` | `(x ~ '(?s)^(?:a.*)$')` |
//! | `generate_series(t.a, t.b)` after FROM; in a select list | `UNNEST` of a list |
//! | `t JOIN q FOR SYSTEM_TIME AS OF t.ts ON …` | `t ASOF JOIN q ON … AND t.ts >= q.valid_from` |
//! | `t ASOF JOIN q ON …` | a lateral subquery with `LIMIT 1` |
//! | `a FULL JOIN b USING (x)` | `a FULL JOIN b ON a.x = b.x`, and `x` `coalesce(a.x, b.x)` |
//! | `(a, b) IN (SELECT …)`; `IN` and `EXISTS` in a select list | `EXISTS`; a scalar subquery |
//! | `x = ANY (SELECT …)`, `x <> ALL (SELECT …)` | `x IN (SELECT …)`, `x NOT IN (SELECT …)` |
//!
//! What must hold: DataFusion runs the result as it is, so a view and its batch twin are the
//! same text.

mod alias;
mod applied;
mod asof;
mod call;
mod compared;
mod merged;
mod name;
mod named;
mod outside;
mod pattern;
mod pieces;
mod rows;
mod session;
mod similar;
mod unnested;
mod versions;
mod window;
mod within;
mod zone;

pub(crate) use name::{UNNAMED, shown};
pub(crate) use rows::series_as_lists;
pub(crate) use unnested::not_a_list;

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, Spanned, VisitMut, VisitorMut};

use crate::catalog::Catalog;
use crate::error::{Span, SqlError};
use crate::planner::Context;
use crate::text::Text;
use crate::{interval, number};

/// Rewrites a query in place.
pub(crate) fn query(
    query: &mut sql::Query,
    context: &Context<'_>,
    text: &Text,
    within: Span,
) -> Result<(), SqlError> {
    let mut words = Words {
        functions: &context.planner.function_names,
        catalog: context.catalog,
        text,
        within,
        depth: 0,
        put_in: 0,
    };
    if let ControlFlow::Break(e) = query.visit(&mut words) {
        return Err(*e);
    }
    if let ControlFlow::Break(e) = query.visit(&mut named::NamedWindows { text, within }) {
        return Err(*e);
    }
    let mut aliases = alias::Aliases::new(context, text, within);
    if let ControlFlow::Break(e) = query.visit(&mut aliases) {
        return Err(*e);
    }
    let _ = query.visit(&mut name::Names);
    name::tell_apart(&mut query.body);
    Ok(())
}

/// The first pass: everything that needs no schema.
struct Words<'a> {
    functions: &'a HashSet<String>,
    catalog: &'a dyn Catalog,
    text: &'a Text,
    within: Span,
    /// How deep the expression is that is being visited.
    depth: usize,
    /// How many functions that people wrote were put in.
    put_in: usize,
}

impl Words<'_> {
    /// Rewrites the joins behind a relation.
    fn joins(&self, joins: &mut [sql::Join]) -> Result<(), SqlError> {
        versions::rewrite(joins, self.catalog, self.text, self.within)?;
        asof::rewrite(joins, self.text, self.within)
    }

    fn span(&self, span: datafusion::sql::sqlparser::tokenizer::Span) -> Span {
        self.text.span(span).unwrap_or(self.within)
    }
}

/// A parameter that says how many rows is a bigint.
fn count_parameter(expr: &mut sql::Expr) {
    let is_parameter = matches!(expr, sql::Expr::Value(v)
        if matches!(v.value, sql::Value::Placeholder(_)));
    if is_parameter {
        *expr = sql::Expr::Cast {
            kind: sql::CastKind::Cast,
            expr: Box::new(expr.clone()),
            data_type: sql::DataType::BigInt(None),
            array: false,
            format: None,
        };
    }
}

impl VisitorMut for Words<'_> {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &mut sql::Query) -> ControlFlow<Self::Break> {
        if let sql::SetExpr::Table(table) = query.body.as_ref() {
            let name = table.table_name.clone().unwrap_or_default();
            let target = match &table.schema_name {
                Some(schema) => format!("{schema}.{name}"),
                None => name,
            };
            if let Ok(select) = crate::parse::parse_query(&format!("SELECT * FROM {target}")) {
                query.body = select.ast.body;
            }
        }
        if let sql::SetExpr::Select(select) = query.body.as_mut()
            && let Err(e) = merged::rewrite(select, query.order_by.as_mut(), self.text)
        {
            return ControlFlow::Break(Box::new(e.or_at(Some(self.within))));
        }
        if let Some(sql::LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
            let bounds = limit.iter_mut().chain(offset.iter_mut().map(|o| &mut o.value));
            bounds.for_each(count_parameter);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(
        &mut self,
        factor: &mut sql::TableFactor,
    ) -> ControlFlow<Self::Break> {
        rows::rewrite(factor, false);
        let joins = match factor {
            sql::TableFactor::NestedJoin { table_with_joins, .. } => {
                self.joins(&mut table_with_joins.joins)
            }
            _ => versions::refuse(factor).map_err(|e| e.at(self.span(factor.span()))),
        };
        match joins.and_then(|()| window::rewrite(factor, self.text, self.within)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(Box::new(e)),
        }
    }

    fn pre_visit_select(&mut self, select: &mut sql::Select) -> ControlFlow<Self::Break> {
        within::select(select);
        rows::in_select_list(select);
        self.name_calls(select);
        for from in &mut select.from {
            if let Err(e) = self.joins(&mut from.joins) {
                return ControlFlow::Break(Box::new(e));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut sql::Expr) -> ControlFlow<Self::Break> {
        self.depth += 1;
        if let Err(e) = self.put_in(expr) {
            return ControlFlow::Break(Box::new(e));
        }
        number::exact_cast(expr);
        interval::read_forms(expr);
        call::operator(expr);
        compared::subquery(expr);
        zone::at(expr);
        if let Err(e) = similar::to(expr) {
            return ControlFlow::Break(Box::new(e.or_at(Some(self.within))));
        }
        let sql::Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        match self.call(function) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(Box::new(e)),
        }
    }

    fn post_visit_expr(&mut self, _expr: &mut sql::Expr) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}
