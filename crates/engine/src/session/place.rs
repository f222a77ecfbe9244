//! Where in a statement an error is that was found behind the parser: at the name that it is about.

use yeoul_sql::{AlterAction, Name, Show, SinkOrigin, Spanned, SqlError, Statement};

use crate::error::EngineError;

/// What is said of a thing that a statement names: it is not there, or of another kind.
const OF_NAMES: [&str; 4] = ["42P01", "42883", "42809", "42725"];

/// The things that a statement names outside of queries.
fn names(statement: &Statement) -> Vec<&Name> {
    match statement {
        Statement::Drop(drop) => drop.names.iter().collect(),
        Statement::DropFunction(drop) => drop.functions.iter().map(|(name, _)| name).collect(),
        Statement::Alter(alter) => match &alter.action {
            AlterAction::Rename(to) => vec![&alter.name, to],
            _ => vec![&alter.name],
        },
        Statement::Insert(insert) => vec![&insert.table],
        Statement::Update(update) => vec![&update.table],
        Statement::Delete(delete) => vec![&delete.table],
        Statement::CopyFrom(copy) => vec![&copy.table],
        Statement::Describe(name) => vec![name],
        Statement::Show(Show::Create(name) | Show::Columns(name)) => vec![name],
        Statement::CreateView(view) => vec![&view.name],
        Statement::CreateSink(sink) => match &sink.origin {
            SinkOrigin::Relation(of) => vec![of, &sink.name],
            SinkOrigin::Query => vec![&sink.name],
        },
        _ => Vec::new(),
    }
}

/// `error` with its place in `statement`, where it has none and is about a name of it.
pub(super) fn placed(error: EngineError, statement: &Spanned<Statement>) -> EngineError {
    if error.position.is_some() || !OF_NAMES.contains(&error.sqlstate.as_str()) {
        return error;
    }
    let names = names(&statement.node).into_iter();
    let Some(name) = names.into_iter().find(|name| {
        let quoted = format!("\"{}\"", name.value);
        error.message.contains(&quoted)
    }) else {
        return error;
    };
    let EngineError { kind, sqlstate, message, detail, hint, .. } = error;
    // Only its place counts: the kind and the state stay what they are.
    let at = SqlError {
        message,
        detail,
        hint,
        span: Some(name.span),
        kind: yeoul_sql::ErrorKind::WrongKind,
    };
    EngineError { kind, sqlstate, ..EngineError::sql(&at, statement.text.as_str()) }
}
