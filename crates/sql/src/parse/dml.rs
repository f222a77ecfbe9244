//! `INSERT`, `UPDATE` and `DELETE`.

use datafusion::sql::sqlparser::ast as sql;

use super::reader::Reader;
use crate::ast::{Delete, Insert, Name, Update};
use crate::error::SqlError;

pub(super) fn insert(r: &mut Reader<'_>) -> Result<Insert, SqlError> {
    r.advance();
    r.expect("INTO")?;
    let table = r.name()?;
    let columns =
        if r.peek_word() == "(" && !is_query(&r.peek_second()) { r.names()? } else { Vec::new() };
    if r.peek_word() == "DEFAULT" {
        return Err(SqlError::unsupported("DEFAULT VALUES is not supported").at(r.here()));
    }
    let source = r.query()?;
    let mut keep_existing = false;
    if r.words(&["ON", "CONFLICT"]) {
        keep_existing = conflict(r)?;
    }
    no_returning(r)?;
    Ok(Insert { table, columns, source, keep_existing })
}

fn is_query(word: &str) -> bool {
    matches!(word, "SELECT" | "WITH" | "VALUES" | "(")
}

/// `DO NOTHING` keeps what is there. `DO UPDATE SET` is what a table does anyway, as long as
/// every column is set to what was to be inserted.
fn conflict(r: &mut Reader<'_>) -> Result<bool, SqlError> {
    if r.peek_word() == "(" {
        r.names()?;
    }
    r.expect("DO")?;
    if r.word("NOTHING") {
        return Ok(true);
    }
    r.expect("UPDATE")?;
    r.expect("SET")?;
    loop {
        let column = r.ident()?;
        r.expect("=")?;
        let value_at = r.here();
        let excluded = r.word("EXCLUDED") && r.word(".");
        let same = excluded && r.ident()?.value == column.value;
        if !same {
            return Err(SqlError::unsupported(
                "ON CONFLICT DO UPDATE can only set a column to its new value",
            )
            .detail("a table keeps the last row of each key, so a plain INSERT replaces it")
            .hint(format!("{0} = excluded.{0}", column.value))
            .at(value_at));
        }
        if !r.word(",") {
            return Ok(false);
        }
    }
}

fn no_returning(r: &Reader<'_>) -> Result<(), SqlError> {
    if r.peek_word() == "RETURNING" {
        return Err(SqlError::unsupported("RETURNING is not supported").at(r.here()));
    }
    Ok(())
}

/// `[AS] alias`, unless one of `stops` comes next.
fn alias(r: &mut Reader<'_>, stops: &[&str]) -> Result<Option<Name>, SqlError> {
    if r.word("AS") || !(r.peek_word().is_empty() || stops.contains(&r.peek_word().as_str())) {
        return r.ident().map(Some);
    }
    Ok(None)
}

fn selection(r: &mut Reader<'_>) -> Result<Option<sql::Expr>, SqlError> {
    if r.word("WHERE") { r.expr().map(Some) } else { Ok(None) }
}

pub(super) fn update(r: &mut Reader<'_>) -> Result<Update, SqlError> {
    r.advance();
    let table = r.name()?;
    let alias = alias(r, &["SET"])?;
    r.expect("SET")?;
    let mut assignments = Vec::new();
    loop {
        let column = r.ident()?;
        r.expect("=")?;
        assignments.push((column, r.expr()?));
        if !r.word(",") {
            break;
        }
    }
    if r.peek_word() == "FROM" {
        return Err(SqlError::unsupported("UPDATE … FROM is not supported")
            .hint("use a subquery in SET or WHERE")
            .at(r.here()));
    }
    let selection = selection(r)?;
    no_returning(r)?;
    Ok(Update { table, alias, assignments, selection, text: r.text() })
}

pub(super) fn delete(r: &mut Reader<'_>) -> Result<Delete, SqlError> {
    r.advance();
    r.expect("FROM")?;
    let table = r.name()?;
    let alias = alias(r, &["WHERE", "USING", "RETURNING"])?;
    if r.peek_word() == "USING" {
        return Err(SqlError::unsupported("DELETE … USING is not supported")
            .hint("use a subquery in WHERE")
            .at(r.here()));
    }
    let selection = selection(r)?;
    no_returning(r)?;
    Ok(Delete { table, alias, selection, text: r.text() })
}
