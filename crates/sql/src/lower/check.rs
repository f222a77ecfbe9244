//! What cannot be kept, said before anything is built: the reason, the place, and what can be
//! kept instead.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Volatility};

use crate::ast::Query;
use crate::error::{ErrorKind, SqlError};

/// Refuses a plan that cannot be kept.
pub(super) fn plan(plan: &LogicalPlan, query: &Query) -> Result<(), SqlError> {
    let mut found: Option<SqlError> = None;
    let walked: DfResult<TreeNodeRecursion> = plan.apply_with_subqueries(|node| {
        if let Some(e) = node_error(node, query) {
            found = Some(e);
            return Ok(TreeNodeRecursion::Stop);
        }
        node.apply_expressions(|expr| {
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
        // Only what HOP and CUMULATE make can be lowered; others are refused there.
        LogicalPlan::Unnest(_) => None,
        other => Some(refused(other, query)),
    }
}

/// Why a node cannot be kept.
pub(super) fn refused(node: &LogicalPlan, query: &Query) -> SqlError {
    let refuse = |what: &str, why: &str, hint: &str, words: &[&str]| {
        let place = words.iter().find_map(|w| query.text.find_keyword(w, query.span));
        SqlError::unsupported(format!("{what} cannot be kept in a view yet"))
            .detail(why)
            .hint(hint)
            .at(place.unwrap_or(query.span))
    };
    match node {
        LogicalPlan::Join(_) => {
            for word in ["INTERSECT", "EXCEPT"] {
                if query.text.find_keyword(word, query.span).is_some() {
                    return refuse(
                        word,
                        "a view reads one relation, or a UNION of several",
                        "keep a view of each side, and compare them in the query that reads them",
                        &[word],
                    );
                }
            }
            refuse(
                "a join",
                "a view reads one relation, or a UNION of several",
                "keep a view of the side that is large, and join it in the query that reads it",
                &["JOIN", "FROM"],
            )
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            let limited = query.text.find_keyword("LIMIT", query.span).is_some()
                || query.text.find_keyword("FETCH", query.span).is_some();
            let (what, words): (&str, &[&str]) = if limited {
                ("the first rows of an order", &["ORDER", "LIMIT", "FETCH"])
            } else {
                ("an order", &["ORDER"])
            };
            refuse(
                what,
                "the rows of a view have no order",
                "leave ORDER BY and LIMIT out here, and put them into the query that reads the view",
                words,
            )
        }
        LogicalPlan::Window(_) => refuse(
            "OVER (…)",
            "a new row would change the answer of rows that are already there",
            "keep the rows or the GROUP BY beneath it, and use OVER in the query that reads the view",
            &["OVER"],
        ),
        LogicalPlan::Distinct(Distinct::On(_)) => refuse(
            "DISTINCT ON",
            "it depends on the order of rows",
            "group by the same columns and take last_value(x) of the others",
            &["ON"],
        ),
        LogicalPlan::Unnest(_) => refuse(
            "unnest",
            "only TUMBLE, HOP and CUMULATE make several rows of one",
            "unnest in the query that reads the view",
            &["UNNEST"],
        ),
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => refuse(
            "a query without a relation",
            "there is nothing whose rows could change",
            "name a stream, table or view after FROM",
            &["VALUES", "SELECT"],
        ),
        LogicalPlan::RecursiveQuery(_) => refuse(
            "WITH RECURSIVE",
            "a view is computed in one pass",
            "run the query when its answer is needed",
            &["RECURSIVE"],
        ),
        other => refuse(
            "this query",
            &format!("it needs the step {}", other.display()),
            "a view filters, projects, windows and aggregates one relation",
            &[],
        ),
    }
}

fn expr_error(expr: &Expr, query: &Query) -> Option<SqlError> {
    let place =
        |words: &[&str]| words.iter().find_map(|w| query.text.find_keyword(w, query.span));
    match expr {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            let name = call.func.name();
            let e = SqlError::unsupported(format!("function \"{name}\" cannot be kept in a view"));
            let e = match call.func.signature().volatility {
                Volatility::Stable => e
                    .detail("its answer changes although no row does")
                    .hint("put the condition into the query that reads the view: \
                           WHERE window_start > now() - INTERVAL '1 hour'"),
                _ => e
                    .detail("its answer is another one every time")
                    .hint("compute the value where the event is made"),
            };
            let upper = name.to_uppercase();
            let words = [upper.as_str(), "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME"];
            Some(e.at(place(&words).unwrap_or(query.span)))
        }
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_)
        | Expr::SetComparison(_) => Some(
            SqlError::unsupported("a subquery in an expression cannot be kept in a view yet")
                .detail("it reads a second relation")
                .hint("keep a view without it, and use the subquery when you read the view")
                .at(query.text.find_subquery(query.span).unwrap_or(query.span)),
        ),
        Expr::GroupingSet(_) => Some(
            SqlError::unsupported("grouping sets cannot be kept in a view yet")
                .detail("each set is an aggregation of its own")
                .hint("create one view for each grouping")
                .at(place(&["ROLLUP", "CUBE", "GROUPING", "GROUP"]).unwrap_or(query.span)),
        ),
        Expr::Placeholder(p) => Some(
            SqlError::new(ErrorKind::UndefinedParameter, "a view has no parameters")
                .detail(format!("\"{}\" has no value", p.id))
                .at(query.span),
        ),
        _ => None,
    }
}
