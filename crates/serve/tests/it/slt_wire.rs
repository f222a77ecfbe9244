//! A connection of `.slt` files: simple queries, whose texts come back as they are.

use std::sync::{Arc, Mutex};

use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::SimpleQueryMessage;

use crate::slt::Pass;

/// The views of a file that is asked: name and `name [(columns)] AS (query)`, in the order they
/// were made.
pub(crate) type Views = Arc<Mutex<Vec<(String, String)>>>;

pub(crate) struct Wire {
    client: tokio_postgres::Client,
    pass: Pass,
    views: Views,
}

/// What a server says to a statement that it does not do.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    text: String,
    sqlstate: Option<String>,
}

impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            return Self { text: error.to_string(), sqlstate: None };
        };
        let mut text = format!("{}: {}", told.severity(), told.message());
        for (name, value) in [("DETAIL", told.detail()), ("HINT", told.hint())] {
            if let Some(value) = value {
                text.push_str(&format!("\n{name}: {value}"));
            }
        }
        Self { text, sqlstate: Some(told.code().code().to_owned()) }
    }
}

pub(crate) async fn connect(address: &str, pass: Pass, views: Views) -> Result<Wire, Refusal> {
    let (client, connection) =
        tokio_postgres::connect(address, tokio_postgres::NoTls).await.map_err(Refusal::from)?;
    tokio::spawn(connection);
    Ok(Wire { client, pass, views })
}

#[async_trait::async_trait]
impl AsyncDB for Wire {
    type Error = Refusal;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refusal> {
        let sent = match self.pass {
            Pass::Kept => Some(sql.to_owned()),
            Pass::Asked => asked(sql, &self.views),
            Pass::Postgres => as_postgres(sql),
        };
        let Some(sent) = sent else { return Ok(DBOutput::StatementComplete(0)) };
        let (mut types, mut rows, mut count, mut has_rows) = (Vec::new(), Vec::new(), 0, false);
        for message in self.client.simple_query(&sent).await? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    types = vec![DefaultColumnType::Any; columns.len()];
                    has_rows = true;
                }
                SimpleQueryMessage::Row(row) => {
                    let text = |i| match row.get(i) {
                        None => "NULL".to_owned(),
                        Some("") => "(empty)".to_owned(),
                        Some(text) => text.to_owned(),
                    };
                    rows.push((0..row.len()).map(text).collect());
                }
                SimpleQueryMessage::CommandComplete(n) => count = n,
                _ => {}
            }
        }
        Ok(if has_rows {
            DBOutput::Rows { types, rows }
        } else {
            DBOutput::StatementComplete(count)
        })
    }

    async fn shutdown(&mut self) {}

    async fn sleep(duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Refusal) -> Option<String> {
        error.sqlstate.clone()
    }
}

/// What follows `words`, where `sql` begins with them, whatever the case and the space between.
fn after<'a>(sql: &'a str, words: &[&str]) -> Option<&'a str> {
    let mut rest = sql.trim_start();
    for word in words {
        let head = rest.get(..word.len())?;
        let tail = &rest[word.len()..];
        if !head.eq_ignore_ascii_case(word)
            || tail.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            return None;
        }
        rest = tail.trim_start();
    }
    Some(rest)
}

/// Where the word `word` first stands in `sql`, whatever its case.
fn place(sql: &str, word: &str) -> Option<usize> {
    let lower = sql.to_ascii_lowercase();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    lower
        .match_indices(word)
        .map(|(i, _)| i)
        .find(|&i| !lower[..i].ends_with(is_part) && !lower[i + word.len()..].starts_with(is_part))
}

/// The name at the start of `text`.
fn name(text: &str) -> String {
    let end =
        text.find(|c: char| c.is_whitespace() || matches!(c, '(' | ';')).unwrap_or(text.len());
    text[..end].to_owned()
}

/// `sql` where views are not kept: a view is remembered, and a query that reads one brings all of them
/// along. `None`: there is nothing to send.
fn asked(sql: &str, views: &Views) -> Option<String> {
    let mut views = views.lock().unwrap();
    let sql = sql.trim().trim_end_matches(';');
    if let Some(rest) = after(sql, &["CREATE", "MATERIALIZED", "VIEW"]) {
        let once = after(rest, &["IF", "NOT", "EXISTS"]);
        let rest = once.unwrap_or(rest);
        let view = name(rest);
        if once.is_none() || views.iter().all(|(known, _)| *known != view) {
            let at = place(rest, "as").expect("a view has a query");
            views.push((view, format!("{}AS ({})", &rest[..at], &rest[at + 2..])));
        }
        return None;
    }
    if let Some(rest) = after(sql, &["DROP", "MATERIALIZED", "VIEW"]) {
        let gone = name(after(rest, &["IF", "EXISTS"]).unwrap_or(rest));
        views.retain(|(view, _)| *view != gone);
        return None;
    }
    let reads = views.iter().any(|(view, _)| place(sql, view).is_some());
    if !reads || !["SELECT", "WITH", "("].iter().any(|word| after(sql, &[word]).is_some()) {
        return Some(sql.to_owned());
    }
    let all = views.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", ");
    Some(match after(sql, &["WITH"]) {
        Some(rest) => format!("WITH {all}, {rest}"),
        None => format!("WITH {all} {sql}"),
    })
}

/// `sql` without the words that PostgreSQL does not have. `None`: nothing of it is left.
fn as_postgres(sql: &str) -> Option<String> {
    if after(sql, &["FLUSH"]).is_some() {
        return None;
    }
    for (ours, theirs) in [
        (["CREATE", "MATERIALIZED", "VIEW"].as_slice(), "CREATE VIEW"),
        (&["DROP", "MATERIALIZED", "VIEW"], "DROP VIEW"),
        (&["DROP", "STREAM"], "DROP TABLE"),
    ] {
        if let Some(rest) = after(sql, ours) {
            return Some(format!("{theirs} {rest}"));
        }
    }
    let Some(rest) = after(sql, &["CREATE", "STREAM"]).or_else(|| after(sql, &["CREATE", "TABLE"]))
    else {
        return Some(sql.to_owned());
    };
    let mut text = format!("CREATE TABLE {rest}");
    if let Some(at) = place(&text, "append") {
        text.truncate(at);
    }
    if let Some(at) = place(&text, "watermark") {
        let comma = text[..at].rfind(',').expect("columns come first");
        let end = text.rfind(')').expect("columns stand in parentheses");
        text.replace_range(comma..end, "");
    }
    Some(text)
}
