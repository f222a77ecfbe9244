//! What cannot be kept, said before anything is built: the reason, the place, and what can be
//! kept instead.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Volatility};

use super::{clock, over, ranked};
use crate::ast::Query;
use crate::error::{ErrorKind, SqlError};
use crate::lateral::NearestJoin;

/// Refuses a plan that cannot be kept.
pub(super) fn plan(plan: &LogicalPlan, query: &Query) -> Result<(), SqlError> {
    let mut found: Option<SqlError> = None;
    let walked: DfResult<TreeNodeRecursion> = plan.apply_with_subqueries(|node| {
        if let Some(e) = node_error(node, query) {
            found = Some(e);
            return Ok(TreeNodeRecursion::Stop);
        }
        if matches!(node, LogicalPlan::Window(window) if ranked::counts_equal_rows(window)) {
            return Ok(TreeNodeRecursion::Continue);
        }
        // Conditions are looked at when they are lowered: they may be comparisons with a time.
        let may_compare = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        node.apply_expressions(|expr| {
            if !may_compare && clock::mentions(expr) {
                found = Some(clock::misplaced(query));
                return Ok(TreeNodeRecursion::Stop);
            }
            expr.apply(|e| match expr_error(e, query) {
                Some(e) => {
                    found = Some(e);
                    Ok(TreeNodeRecursion::Stop)
                }
                None => Ok(TreeNodeRecursion::Continue),
            })
        })
    });
    match (found, walked) {
        (Some(e), _) => Err(e),
        (None, Ok(_)) => Ok(()),
        (None, Err(e)) => Err(failed(e, query)),
    }
}

/// Refuses subqueries that could not be made joins.
pub(super) fn subqueries(plan: &LogicalPlan, query: &Query) -> Result<(), SqlError> {
    let is_subquery = |e: &Expr| {
        Ok(matches!(
            e,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    };
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            found = found || expr.exists(is_subquery)?;
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .map_err(|e| failed(e, query))?;
    if !found {
        return Ok(());
    }
    Err(SqlError::unsupported("this subquery cannot be kept in a view")
        .detail("it cannot be written as a join with the rows around it")
        .hint("join with the subquery in FROM, grouped by what it is compared with")
        .at(query.text.find_subquery(query.span).unwrap_or(query.span)))
}

fn failed(e: DataFusionError, query: &Query) -> SqlError {
    crate::translate::planning(e, &query.text, query.span)
}

fn node_error(node: &LogicalPlan, query: &Query) -> Option<SqlError> {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => None,
        LogicalPlan::Join(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(Distinct::On(_))
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::EmptyRelation(_) => None,
        other if NearestJoin::of(other).is_some() => None,
        other => Some(refused(other, query)),
    }
}

/// What cannot be kept, why, what can, and the words at which it stands.
struct Refusal<'a> {
    what: &'a str,
    why: &'a str,
    hint: &'a str,
    words: &'a [&'a str],
}

impl Refusal<'_> {
    fn error(&self, query: &Query) -> SqlError {
        let place = self.words.iter().find_map(|w| query.text.find_keyword(w, query.span));
        SqlError::unsupported(format!("{} cannot be kept in a view yet", self.what))
            .detail(self.why)
            .hint(self.hint)
            .at(place.unwrap_or(query.span))
    }
}

/// Why a node cannot be kept.
pub(super) fn refused(node: &LogicalPlan, query: &Query) -> SqlError {
    let refusal = match node {
        LogicalPlan::Limit(_) => Refusal {
            what: "LIMIT without an order",
            why: "any rows would do, and others with every change",
            hint: "say which rows come first: ORDER BY … LIMIT n, with constant numbers",
            words: &["LIMIT", "FETCH", "OFFSET"],
        },
        LogicalPlan::Unnest(_) => Refusal {
            what: "unnest of structs, or of lists within lists,",
            why: "a list is unnested, or several side by side",
            hint: "unnest what is in it in the query that reads the view",
            words: &["UNNEST"],
        },
        LogicalPlan::RecursiveQuery(_) => Refusal {
            what: "WITH RECURSIVE",
            why: "a view is computed in one pass",
            hint: "run the query when its answer is needed",
            words: &["RECURSIVE"],
        },
        other => {
            let why = format!("it needs the step {}", other.display());
            let hint = "a view filters, projects, windows and aggregates one relation";
            return Refusal { what: "this query", why: &why, hint, words: &[] }.error(query);
        }
    };
    refusal.error(query)
}

/// A table as of now that is not looked up.
pub(super) fn misplaced_lookup(query: &Query) -> SqlError {
    let place = query.text.find_keyword("FOR", query.span).unwrap_or(query.span);
    SqlError::unsupported("FOR SYSTEM_TIME AS OF PROCTIME() stands behind the table of a JOIN")
        .detail("the rows of a stream on the left are looked up in the table on the right")
        .hint("stream JOIN table FOR SYSTEM_TIME AS OF PROCTIME() ON table.key = stream.key")
        .at(place)
}

fn expr_error(expr: &Expr, query: &Query) -> Option<SqlError> {
    let place = |words: &[&str]| words.iter().find_map(|w| query.text.find_keyword(w, query.span));
    match expr {
        now if clock::is_clock(now) => None,
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            let name = call.func.name();
            let e = SqlError::unsupported(format!("function \"{name}\" cannot be kept in a view"));
            let e = match call.func.signature().volatility {
                Volatility::Stable => e.detail("its answer changes although no row does").hint(
                    "put the condition into the query that reads the view: \
                           WHERE window_start > now() - INTERVAL '1 hour'",
                ),
                _ => e
                    .detail("its answer is another one every time")
                    .hint("compute the value where the event is made"),
            };
            let upper = name.to_uppercase();
            let words = [upper.as_str(), "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"];
            Some(e.at(place(&words).unwrap_or(query.span)))
        }
        Expr::ScalarSubquery(subquery)
            if subquery.outer_ref_columns.is_empty() && subquery.subquery.max_rows() != Some(1) =>
        {
            let e = SqlError::unsupported("this subquery may have more than one row");
            let e = e.detail("a view could not say so when a second row comes");
            let place = query.text.find_subquery(query.span).unwrap_or(query.span);
            Some(e.hint("aggregate it: (SELECT max(x) FROM …)").at(place))
        }
        Expr::WindowFunction(call) if over::needs_order(call) => {
            let name = call.fun.name();
            let e = SqlError::unsupported(format!("\"{name}\" needs an order in a view"));
            let e =
                e.detail("its answer would depend on the order in which rows happen to be read");
            let upper = name.to_uppercase();
            Some(
                e.hint(format!("{name}(…) OVER (… ORDER BY y)")).at(place(&[
                    upper.as_str(),
                    "OVER",
                ])
                .unwrap_or(query.span)),
            )
        }
        Expr::Placeholder(p) => Some(
            SqlError::new(ErrorKind::UndefinedParameter, "a view has no parameters")
                .detail(format!("\"{}\" has no value", p.id))
                .at(query.span),
        ),
        _ => None,
    }
}
