//! `SESSION(t PARTITION BY keys, ts, gap)` as a subquery.
//!
//! ```text
//!   SELECT *, window_session_start(ts, gap) OVER (PARTITION BY keys ORDER BY ts) AS window_start,
//!             window_session_end(ts, gap) OVER (…) AS window_end
//!   FROM t WHERE ts IS NOT NULL
//! ```

use datafusion::sql::sqlparser::ast as sql;

use super::window::{Fill, descriptor, expr_of, length, named, place_of, relation};
use crate::error::{ErrorKind, Span, SqlError};
use crate::parse::SESSION_KEYS;
use crate::text::Text;

const USAGE: &str = "SESSION(t PARTITION BY key, ts, INTERVAL '10 minutes')";

pub(super) fn subquery(
    args: &[sql::FunctionArg],
    alias: Option<sql::TableAlias>,
    text: &Text,
    place: Span,
) -> Result<sql::TableFactor, SqlError> {
    let wrong = |message: &str| SqlError::new(ErrorKind::Syntax, message).hint(USAGE).at(place);
    let begins = args.iter().position(begins_keys);
    let exprs: Vec<&sql::Expr> = args.iter().filter_map(expr_of).collect();
    let keys = match (exprs.as_slice(), begins) {
        ([_, _, _], None) => &[],
        ([_, keys @ .., _, _], Some(1)) if !keys.is_empty() => keys,
        _ => return Err(wrong("SESSION takes a relation, a time column and an interval")),
    };
    let [first, .., time, gap] = exprs.as_slice() else {
        return Err(wrong("SESSION takes a relation, a time column and an interval"));
    };
    let (input, input_name) =
        relation(first).ok_or_else(|| wrong("SESSION reads a relation or a subquery"))?;
    let time = descriptor(time).ok_or_else(|| wrong("SESSION runs over a column"))?;
    let mut partition = Vec::new();
    for key in keys {
        let columns = columns(key).ok_or_else(|| {
            let e = wrong("the rows of a SESSION are partitioned by columns");
            e.at(place_of(key, text).unwrap_or(place))
        })?;
        partition.extend(columns);
    }
    let gap_us = length(gap, text, place, USAGE)?;
    if gap_us == 0 {
        return Err(wrong("the gap of a SESSION has no length"));
    }
    let template = format!(
        "SELECT *, window_session_start(__time, {gap_us}) OVER (ORDER BY __time) AS window_start, \
         window_session_end(__time, {gap_us}) OVER (ORDER BY __time) AS window_end \
         FROM __input WHERE __time IS NOT NULL"
    );
    let query = crate::parse::parse_query(&template).map_err(|e| e.at(place))?.ast;
    let subquery = Fill { time, input, partition }.fill(query);
    let alias = alias.or_else(|| input_name.map(named));
    Ok(sql::TableFactor::Derived { lateral: false, subquery, alias, sample: None })
}

fn begins_keys(arg: &sql::FunctionArg) -> bool {
    match arg {
        sql::FunctionArg::Named { name, .. } => name.value == SESSION_KEYS,
        sql::FunctionArg::ExprNamed { name, .. } => name.to_string() == SESSION_KEYS,
        sql::FunctionArg::Unnamed(_) => false,
    }
}

/// `a`, or `(a, b)`.
fn columns(key: &sql::Expr) -> Option<Vec<sql::Expr>> {
    match key {
        sql::Expr::Identifier(_) | sql::Expr::CompoundIdentifier(_) => Some(vec![key.clone()]),
        sql::Expr::Nested(inner) => columns(inner),
        sql::Expr::Tuple(keys) => {
            let columns = keys.iter().map(columns).collect::<Option<Vec<_>>>()?;
            Some(columns.concat())
        }
        _ => None,
    }
}
