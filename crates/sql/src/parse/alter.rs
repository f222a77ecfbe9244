//! `ALTER`.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast as sql;

use super::ddl::type_of;
use super::drop::object_kind;
use super::metadata;
use super::reader::Reader;
use crate::ast::{Alter, AlterAction, Column, ObjectKind, WrittenOption};
use crate::error::{ErrorKind, SqlError};

pub(super) fn alter(r: &mut Reader<'_>) -> Result<Alter, SqlError> {
    r.advance();
    let kind = object_kind(r, "ALTER")?;
    let if_exists = r.words(&["IF", "EXISTS"]);
    let name = r.name()?;
    let action = match r.peek_word().as_str() {
        "RENAME" if kind != ObjectKind::Sink => rename(r, kind)?,
        "SET" => {
            r.advance();
            let given = r.option_list()?;
            AlterAction::Set(given.iter().map(|given| r.written(given)).collect())
        }
        "PAUSE" if kind == ObjectKind::Sink => r.then(paused(true)),
        "RESUME" if kind == ObjectKind::Sink => r.then(paused(false)),
        "REWIND" if kind == ObjectKind::Sink => rewind(r)?,
        _ if kind == ObjectKind::Sink => {
            return Err(r.expected("PAUSE, RESUME, REWIND or SET"));
        }
        "CANCEL" if kind == ObjectKind::View => {
            r.advance();
            r.expect("REPLACE")?;
            AlterAction::CancelReplace
        }
        "ADD" if kind != ObjectKind::View => add(r)?,
        "DROP" if kind != ObjectKind::View => {
            r.advance();
            r.word("COLUMN");
            let if_exists = r.words(&["IF", "EXISTS"]);
            let name = r.ident()?;
            r.word("RESTRICT");
            AlterAction::DropColumn { name, if_exists }
        }
        "ALTER" if kind != ObjectKind::View => {
            r.advance();
            r.word("COLUMN");
            let name = r.ident()?;
            r.words(&["SET", "DATA"]);
            r.expect("TYPE")?;
            let field = Arc::new(type_of(r)?);
            AlterAction::ColumnType { name, field }
        }
        _ if kind == ObjectKind::View => {
            return Err(r.expected("RENAME TO, SET or CANCEL REPLACE"));
        }
        _ => return Err(r.expected("ADD, DROP, ALTER, RENAME or SET")),
    };
    Ok(Alter { kind, name, if_exists, action })
}

fn paused(paused: bool) -> AlterAction {
    let (name, value) = ("paused".to_owned(), format!("'{paused}'"));
    AlterAction::Set(vec![WrittenOption { name, value }])
}

fn rewind(r: &mut Reader<'_>) -> Result<AlterAction, SqlError> {
    r.advance();
    if !r.word("TO") {
        return Err(r.expected("TO EARLIEST, or TO COMMIT and its number"));
    }
    if r.word("EARLIEST") {
        return Ok(AlterAction::Rewind(0));
    }
    if !r.word("COMMIT") {
        return Err(r.expected("EARLIEST, or COMMIT and its number"));
    }
    let at = r.here();
    match r.expr()? {
        sql::Expr::Value(value) => match value.value {
            sql::Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        _ => None,
    }
    .map(AlterAction::Rewind)
    .ok_or_else(|| SqlError::new(ErrorKind::Syntax, "the number of a commit is expected").at(at))
}

fn rename(r: &mut Reader<'_>, kind: ObjectKind) -> Result<AlterAction, SqlError> {
    r.advance();
    if r.word("TO") {
        return Ok(AlterAction::Rename(r.name()?));
    }
    if kind == ObjectKind::View {
        return Err(SqlError::unsupported("the columns of a view are named by its query")
            .hint("CREATE OR REPLACE MATERIALIZED VIEW changes the query")
            .at(r.here()));
    }
    r.word("COLUMN");
    let from = r.ident()?;
    r.expect("TO")?;
    Ok(AlterAction::RenameColumn { from, to: r.ident()? })
}

fn add(r: &mut Reader<'_>) -> Result<AlterAction, SqlError> {
    r.advance();
    r.word("COLUMN");
    let if_not_exists = r.words(&["IF", "NOT", "EXISTS"]);
    let name = r.ident()?;
    let field = type_of(r)?;
    let (mut nullable, mut default, mut metadata) = (true, None, None);
    loop {
        let start = r.here();
        if r.words(&["NOT", "NULL"]) {
            nullable = false;
        } else if r.word("METADATA") {
            metadata = Some(metadata::of_column(r, &name, &field, start)?);
        } else if r.word("DEFAULT") {
            let value_start = r.here();
            let value = r.expr()?;
            default = constant(&value).ok_or_else(|| {
                SqlError::unsupported("a default must be a constant")
                    .detail("it is what the rows that are there have in the new column")
                    .at(value_start.to(r.last()))
            })?;
        } else if r.word("NULL") {
        } else if matches!(
            r.peek_word().as_str(),
            "PRIMARY" | "UNIQUE" | "CHECK" | "REFERENCES" | "GENERATED" | "COLLATE"
        ) {
            let word = r.peek_word();
            let message = format!("{word} is not supported on a column that is added");
            return Err(SqlError::unsupported(message).at(start));
        } else {
            break;
        }
    }
    let field = Arc::new(field.with_name(name.value.clone()).with_nullable(nullable));
    Ok(AlterAction::AddColumn { column: Column { name, field, metadata }, default, if_not_exists })
}

/// The text of a constant; `Some(None)` for NULL, `None` for what is no constant.
#[expect(clippy::option_option, reason = "a constant may be NULL, and an expression no constant")]
fn constant(expr: &sql::Expr) -> Option<Option<String>> {
    match expr {
        sql::Expr::Value(value) => match &value.value {
            sql::Value::Null => Some(None),
            sql::Value::Number(number, _) => Some(Some(number.clone())),
            sql::Value::Boolean(value) => Some(Some(value.to_string())),
            other => other.clone().into_string().map(Some),
        },
        sql::Expr::UnaryOp { op: sql::UnaryOperator::Minus, expr } => match constant(expr)? {
            Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(Some(format!("-{number}")))
            }
            _ => None,
        },
        sql::Expr::Nested(inner) => constant(inner),
        sql::Expr::TypedString(typed) => typed.value.value.clone().into_string().map(Some),
        _ => None,
    }
}
