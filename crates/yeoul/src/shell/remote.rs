//! A running instance over the Postgres wire.

use std::pin::pin;

use futures::{StreamExt, TryStreamExt};
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use crate::failure::Failure;

use super::print::{Column, Kind, Printer};
use super::script::first_word;

/// A connection.
pub(crate) struct Remote {
    client: Client,
    place: String,
}

impl Remote {
    /// Connects. The connection ends with the process.
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let config: tokio_postgres::Config = url.parse().map_err(|e| {
            Failure::usage(format!(
                "address \"{url}\" cannot be read: {e}\nhint: write postgres://user@host:port/yeoul"
            ))
        })?;
        let (client, connection) = config.connect(NoTls).await.map_err(|e| {
            Failure::new(format!(
                "cannot connect to \"{}\": {}\nhint: is it running? `yeoul run DIR` starts one, `--data PATH` reads a stopped one",
                without_password(url),
                describe("", &e)
            ))
        })?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("connection ended: {e}");
            }
        });
        let place = config.get_ports().first().map_or_else(String::new, |port| format!(":{port}"));
        Ok(Self { client, place })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) async fn run(&mut self, sql: &str, printer: &mut Printer) -> Result<(), Failure> {
        let cancel = self.client.cancel_token();
        let mut work = pin!(self.print(sql, printer));
        tokio::select! {
            outcome = &mut work => outcome,
            _ = tokio::signal::ctrl_c() => {
                // The statement ends with the server's own message.
                let _ = cancel.cancel_query(NoTls).await;
                work.await
            }
        }
    }

    async fn print(&self, sql: &str, printer: &mut Printer) -> Result<(), Failure> {
        let fail = |e: Error| Failure::new(describe(sql, &e));
        if first_word(sql) == "COPY" {
            // The library has other calls for it, and cannot go on when it is answered here.
            return Err(Failure::new(
                "COPY is not possible here\nhint: psql does it over the wire; --format csv prints a query as CSV",
            ));
        }
        let kinds = self.kinds(sql).await;
        let mut rows_of_answer = false;
        let mut messages = pin!(self.client.simple_query_raw(sql).await.map_err(fail)?);
        while let Some(message) = messages.next().await {
            match message.map_err(fail)? {
                SimpleQueryMessage::RowDescription(columns) => {
                    rows_of_answer = true;
                    let kind = |at: usize| kinds.get(at).copied().unwrap_or(Kind::Text);
                    let columns = columns.iter().enumerate();
                    let columns =
                        columns.map(|(at, c)| Column { name: c.name().into(), kind: kind(at) });
                    printer.begin(columns.collect())?;
                }
                SimpleQueryMessage::Row(row) => {
                    let values: Vec<Option<&str>> = (0..row.len()).map(|at| row.get(at)).collect();
                    printer.row(&values)?;
                }
                SimpleQueryMessage::CommandComplete(_) if rows_of_answer => {
                    rows_of_answer = false;
                    printer.end()?;
                }
                SimpleQueryMessage::CommandComplete(rows) => printer.done(&tag(sql, rows))?,
                _ => {}
            }
        }
        Ok(())
    }

    /// What the columns of a query's answer are. The simple protocol does not tell, so it is prepared first.
    async fn kinds(&self, sql: &str) -> Vec<Kind> {
        if !matches!(first_word(sql).as_str(), "SELECT" | "WITH" | "VALUES" | "TABLE") {
            return Vec::new();
        }
        match self.client.prepare(sql).await {
            Ok(prepared) => prepared.columns().iter().map(|c| kind(c.type_())).collect(),
            // The statement is wrong; running it says why.
            Err(_) => Vec::new(),
        }
    }

    pub(super) async fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        let fail = |e: Error| Failure::new(describe(sql, &e));
        let messages = self.client.simple_query_raw(sql).await.map_err(fail)?;
        let rows = messages.try_filter_map(|message| async move {
            let SimpleQueryMessage::Row(row) = message else { return Ok(None) };
            let values = (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned());
            Ok(Some(values.collect()))
        });
        rows.try_collect().await.map_err(fail)
    }
}

fn kind(t: &Type) -> Kind {
    match *t {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => {
            Kind::Number
        }
        Type::BOOL => Kind::Boolean,
        Type::JSON | Type::JSONB => Kind::Json,
        _ => Kind::Text,
    }
}

/// The wire's library keeps only the number of a command tag; its words are those of the statement.
fn tag(sql: &str, rows: u64) -> String {
    let words: Vec<String> = sql
        .split_whitespace()
        .take_while(|word| word.chars().all(char::is_alphabetic))
        .map(str::to_ascii_uppercase)
        .collect();
    let after = |kept: usize| words.iter().take(kept).cloned().collect::<Vec<_>>().join(" ");
    match words.first().map(String::as_str) {
        Some("INSERT") => format!("INSERT 0 {rows}"),
        Some(word @ ("UPDATE" | "DELETE" | "COPY")) => format!("{word} {rows}"),
        Some("CREATE" | "DROP" | "ALTER") => {
            let nouns = ["STREAM", "TABLE", "VIEW", "SOURCE", "SINK", "ENDPOINT", "ALERT"];
            let noun = words.iter().position(|word| nouns.contains(&word.as_str()));
            after(noun.map_or(1, |at| at + 1))
        }
        Some(_) => after(1),
        None => "done".into(),
    }
}

/// What went wrong, with the line of SQL that the server points at.
fn describe(sql: &str, error: &Error) -> String {
    let Some(db) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
        return format!("{error}{cause}");
    };
    let mut text = db.message().to_owned();
    if let Some(ErrorPosition::Original(position)) = db.position() {
        text.push_str(&pointer(sql, *position as usize));
    }
    for (title, more) in [("detail", db.detail()), ("hint", db.hint())] {
        if let Some(more) = more {
            text.push_str(&format!("\n{title}: {more}"));
        }
    }
    text
}

/// The line that holds the character at `position` (from 1), and a caret under it.
fn pointer(sql: &str, position: usize) -> String {
    let before: String = sql.chars().take(position.saturating_sub(1)).collect();
    let number = before.matches('\n').count();
    let column = before.chars().rev().take_while(|c| *c != '\n').count();
    let Some(line) = sql.lines().nth(number) else { return String::new() };
    let title = format!("{} │ ", number + 1);
    format!("\n{title}{line}\n{}^", " ".repeat(title.chars().count() + column))
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.split_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_the_words_of_the_statement() {
        assert_eq!(tag("insert into t values (1)", 1), "INSERT 0 1");
        assert_eq!(tag("CREATE MATERIALIZED VIEW v AS SELECT 1", 0), "CREATE MATERIALIZED VIEW");
        assert_eq!(tag("drop stream s", 0), "DROP STREAM");
        assert_eq!(tag("ALTER STREAM s DROP COLUMN a", 0), "ALTER STREAM");
        assert_eq!(tag("SET x = 1", 0), "SET");
        assert_eq!(tag("DELETE FROM t", 3), "DELETE 3");
    }

    #[test]
    fn errors_point_at_their_line() {
        let text = pointer("SELECT a,\n  b FROM t", 13);
        assert_eq!(text, "\n2 │   b FROM t\n      ^");
        assert_eq!(pointer("", 9), "");
    }

    #[test]
    fn passwords_are_not_printed() {
        assert_eq!(without_password("postgres://me:secret@h:1/y"), "postgres://me@h:1/y");
        assert_eq!(without_password("postgres://h:1/y"), "postgres://h:1/y");
    }
}
