//! `JOIN t FOR SYSTEM_TIME AS OF e.ts`: each row on the left with the version that held at its time.
//!
//! ```text
//!   e JOIN prices FOR SYSTEM_TIME AS OF e.ts p ON p.product = e.product
//!     ─▶  e ASOF JOIN prices p ON p.product = e.product AND e.ts >= p.valid_from
//! ```
//!
//! Versions are rows: those of a table whose primary key is what is compared and the time from which a version holds,
//! or those of a stream of changes, which hold from their event time.
//!
//! What must hold: of each time there is one version. So the rest of a table's primary key is compared.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast as sql;
use datafusion::sql::sqlparser::ast::Spanned;

use super::asof::terms_of;
use super::pieces::{and, binary, nested};
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::error::{ErrorKind, Span, SqlError};
use crate::parse::AS_OF_COLUMN;
use crate::text::{Text, fold};

/// A table under the mark, and as of which column.
struct Marked {
    name: String,
    column: Vec<String>,
}

/// Makes such joins of `joins` ASOF joins, as `asof` knows them.
pub(super) fn rewrite(
    joins: &mut [sql::Join],
    catalog: &dyn Catalog,
    text: &Text,
    within: Span,
) -> Result<(), SqlError> {
    for join in joins {
        let Some(marked) = marked(&join.relation) else { continue };
        let at = text.span(join.relation.span()).unwrap_or(within);
        one(join, &marked, catalog).map_err(|e| e.at(at))?;
    }
    Ok(())
}

/// Refuses a table that is under the mark and not joined.
pub(super) fn refuse(factor: &sql::TableFactor) -> Result<(), SqlError> {
    match marked(factor) {
        None => Ok(()),
        Some(_) => Err(wrong("a table AS OF a time stands on the right side of a JOIN")),
    }
}

fn marked(factor: &sql::TableFactor) -> Option<Marked> {
    let sql::TableFactor::Table { name, .. } = factor else { return None };
    let mut words = name.0.last()?.as_ident()?.value.split(AS_OF_COLUMN).map(str::to_owned);
    let name = words.next()?;
    let column: Vec<String> = words.collect();
    (!column.is_empty()).then_some(Marked { name, column })
}

fn wrong(message: &str) -> SqlError {
    SqlError::new(ErrorKind::NotSupported, message)
        .detail("each row on the left meets the version that held at its time")
        .hint("e JOIN t FOR SYSTEM_TIME AS OF e.ts ON t.key = e.key")
}

fn one(join: &mut sql::Join, marked: &Marked, catalog: &dyn Catalog) -> Result<(), SqlError> {
    use sql::JoinOperator::{Inner, Join, Left, LeftOuter};
    let sql::TableFactor::Table { name, alias: Some(alias), .. } = &mut join.relation else {
        return Err(wrong("the table of FOR SYSTEM_TIME AS OF has a name"));
    };
    let (Join(on) | Inner(on) | Left(on) | LeftOuter(on)) = &mut join.join_operator else {
        return Err(wrong("only JOIN and LEFT JOIN take the version of a time"));
    };
    let sql::JoinConstraint::On(condition) = on else {
        return Err(wrong("a join AS OF a time compares keys after ON"));
    };
    if marked.column.len() < 2 {
        return Err(wrong("the time says which relation it is of"));
    }
    let quoted = |word: &String| sql::Ident::with_quote('"', word);
    if let Some(sql::ObjectNamePart::Identifier(last)) = name.0.last_mut() {
        *last = quoted(&marked.name);
    }
    // That there is no such relation is said when it is planned.
    let Some(relation) = catalog.relation(&marked.name) else { return Ok(()) };
    let compared = compared(condition, &fold(&alias.name))?;
    let version = version(&relation, &marked.name, &compared)?;
    let time = sql::Expr::CompoundIdentifier(marked.column.iter().map(quoted).collect());
    let from = sql::Expr::CompoundIdentifier(vec![alias.name.clone(), quoted(&version)]);
    let holds = binary(time, sql::BinaryOperator::GtEq, from);
    let keys = std::mem::replace(condition, sql::Expr::value(sql::Value::Boolean(true)));
    *condition = and(nested(keys), holds);
    join.global = true;
    Ok(())
}

/// The columns of the right side that are compared with `=`.
fn compared(condition: &sql::Expr, right: &str) -> Result<BTreeSet<String>, SqlError> {
    let mut terms = Vec::new();
    terms_of(condition, &mut terms);
    let mut columns = BTreeSet::new();
    for term in terms {
        let sql::Expr::BinaryOp { left, op: sql::BinaryOperator::Eq, right: other } = term else {
            return Err(wrong("a join AS OF a time compares keys with =, and nothing else")
                .hint("put conditions on the version into WHERE or CASE"));
        };
        for side in [left, other] {
            if let sql::Expr::CompoundIdentifier(parts) = side.as_ref()
                && let [.., relation, column] = parts.as_slice()
                && fold(relation) == right
            {
                columns.insert(fold(column));
            }
        }
    }
    Ok(columns)
}

/// The column that says from when a version holds.
fn version(
    relation: &Relation,
    name: &str,
    compared: &BTreeSet<String>,
) -> Result<String, SqlError> {
    let named = |at: usize| relation.schema.field(at).name().clone();
    let refused = |why: String| {
        SqlError::unsupported(format!("\"{name}\" has no version of a time")).detail(why).hint(
            "keep versions in a table with PRIMARY KEY (key, valid_from), or changes in a stream with a WATERMARK; \
             FOR SYSTEM_TIME AS OF PROCTIME() takes the row as it is when the event comes, ASOF JOIN the nearest row",
        )
    };
    match relation.kind {
        RelationKind::Stream => relation.event_time.map(named).ok_or_else(|| {
            refused("the stream has no WATERMARK that says which time its rows are of".to_owned())
        }),
        RelationKind::Table => {
            let rest = relation.primary_key.iter().filter(|&&at| !compared.contains(&named(at)));
            let rest: Vec<usize> = rest.copied().collect();
            let is_time = |at: usize| {
                matches!(relation.schema.field(at).data_type(), DataType::Timestamp(..))
            };
            match rest.as_slice() {
                &[at] if is_time(at) => Ok(named(at)),
                _ => {
                    let key: Vec<String> =
                        relation.primary_key.iter().map(|&at| named(at)).collect();
                    Err(refused(match key.as_slice() {
                        [] => "the table has no primary key".to_owned(),
                        key => format!(
                            "its primary key is {}, and not what is compared and a time",
                            key.join(", ")
                        ),
                    }))
                }
            }
        }
        RelationKind::View | RelationKind::Sink | RelationKind::System => {
            Err(refused(format!("a {} does not say from when its rows hold", relation.kind)))
        }
    }
}
