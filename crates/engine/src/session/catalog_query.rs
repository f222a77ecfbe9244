//! Queries about the catalogs of PostgreSQL: told from others, and answered by [`yeoul_reflect`].
//!
//! It hands back those that read relations of ours too; the batch engine has them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use yeoul_reflect::{Failure, Reflection, reflect};

use super::asker::Asker;
use super::{Answer, Prepared, Session};
use crate::error::{EngineError, ErrorKind};

/// Words that only queries about catalogs, or about the session, have.
const WORDS: [&str; 24] = [
    "information_schema",
    "current_database",
    "current_catalog",
    "current_role",
    "current_schema",
    "current_schemas",
    "current_setting",
    "current_user",
    "session_user",
    "version",
    "obj_description",
    "col_description",
    "shobj_description",
    "format_type",
    "set_config",
    "inet_server_addr",
    "regclass",
    "regtype",
    "regproc",
    "regnamespace",
    "to_regclass",
    "to_regtype",
    "to_regproc",
    "has_table_privilege",
];

/// Whether the text asks about the catalogs of PostgreSQL.
pub(super) fn is_one(sql: &str) -> bool {
    let text = without_literals(sql).to_ascii_lowercase();
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let first = text.split(|c: char| !c.is_ascii_alphabetic()).next();
    if !matches!(first, Some("select" | "with" | "show" | "table" | "values")) {
        return false;
    }
    let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.any(|word| word.starts_with("pg_") || WORDS.contains(&word))
}

/// The text with its string literals and comments blanked.
fn without_literals(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let passed = if c == '\'' {
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[passed..];
    }
    out
}

impl Session {
    /// Who asks by this session.
    pub(super) fn asker(&self) -> Asker {
        Asker {
            shared: Arc::clone(&self.shared),
            client: self.client.clone(),
            settings: Arc::clone(&self.settings),
        }
    }

    /// Asks [`yeoul_reflect`], away from the threads that serve connections.
    async fn reflection(
        &self,
        sql: &str,
        claims: &[Option<DataType>],
        values: Option<Vec<ScalarValue>>,
    ) -> Result<Result<Reflection, Failure>, EngineError> {
        let mut question = self.asker().question(sql.to_owned(), claims.to_vec());
        question.values = values;
        let stop = Arc::clone(&question.stop);
        let mut cancelled = self.cancel.subscribe();
        let work = self.shared.handle.spawn_blocking(move || reflect(&question));
        let timeout = self.settings.timeout(self.shared.options.query_timeout);
        // On the engine's own runtime: the caller's may have no clock.
        let timer = self.shared.handle.spawn(tokio::time::sleep(timeout));
        let clock = timer.abort_handle();
        let message = tokio::select! {
            answer = work => {
                clock.abort();
                return answer.map_err(|gone| {
                let message = format!("the query ended unexpectedly: {gone}");
                EngineError::new(ErrorKind::Internal, message)
            });
            }
            _ = cancelled.changed() => "the query was cancelled".to_owned(),
            _ = timer => format!("the query ran longer than {timeout:?}"),
        };
        clock.abort();
        stop.store(true, Ordering::Relaxed);
        Err(EngineError::new(ErrorKind::Cancelled, message))
    }

    /// The answer to a query about catalogs; the failure when the batch engine may know more.
    pub(super) async fn catalog_query(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Result<Answer, Failure>, EngineError> {
        let commit = self.shared.world.load().commit();
        Ok(match self.reflection(sql, &[], Some(parameters)).await? {
            Ok(Reflection { schema, batch, .. }) => {
                let rows = Box::pin(futures::stream::iter(batch.map(Ok)));
                Ok(Answer::Rows { schema, commit, rows })
            }
            Err(failure) if failure.elsewhere => Err(failure),
            Err(failure) => return Err(failure.into()),
        })
    }

    /// Describes a query about catalogs; the failure when the batch engine may know more.
    pub(super) async fn prepare_catalog_query(
        &self,
        sql: &str,
        claims: &[Option<DataType>],
    ) -> Result<Result<Prepared, Failure>, EngineError> {
        Ok(match self.reflection(sql, claims, None).await? {
            Ok(Reflection { schema, parameters, .. }) => {
                let (schema, catalog_text) = (Some(schema), Some(sql.into()));
                Ok(Prepared { parameters, schema, statement: None, catalog_text })
            }
            Err(failure) if failure.elsewhere => Err(failure),
            Err(failure) => return Err(failure.into()),
        })
    }
}

/// The error to show when the batch engine could not answer either: its own where relations are read
/// that are none of the catalogs, and where the text is not one query in the dialect of catalogs, since
/// it knows the place of a mistake and which of several statements has it.
pub(super) fn instead_of(failure: Failure, error: EngineError) -> EngineError {
    if matches!(failure.sqlstate, "42P01" | "42601") { error } else { failure.into() }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        match failure.refusal.map(|refusal| refusal.downcast::<Self>()) {
            Some(Ok(error)) => *error,
            _ => Self::new(ErrorKind::Input, failure.message).with_sqlstate(failure.sqlstate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn catalog_queries_are_told_from_others() {
        for yes in [
            "SELECT c.relname FROM pg_catalog.pg_class c",
            "select * from pg_tables",
            "select version()",
            "SELECT table_name FROM information_schema.tables",
        ] {
            assert!(is_one(yes), "{yes}");
        }
        for no in [
            "SELECT 'pg_class'",
            "INSERT INTO t VALUES ('pg_catalog')",
            "SELECT my_pg_column FROM t",
            "CREATE STREAM pg_x (a int)",
        ] {
            assert!(!is_one(no), "{no}");
        }
    }
}
