//! Queries about the catalogs of PostgreSQL: told from others, and handed to who answers them.
//!
//! Those that ask of catalogs only are answered by [`yeoul_reflect`]. Those that read relations of ours too
//! (`SELECT * FROM orders WHERE buyer = current_user`) are rewritten by the rules of
//! `datafusion-pg-catalog` and run on the batch engine in one context that all sessions share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{ParamValues, Result as DfResult, ScalarValue};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::setup_pg_catalog;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use yeoul_reflect::{Client, Failure, Question, Reflection, Refusal, reflect};
use yeoul_sql::RelationKind;

use super::facts;
use super::show::Settings;
use super::{Answer, Prepared, Session};
use crate::error::{EngineError, ErrorKind};
use crate::planning::provider;
use crate::shared::Shared;
use crate::system;

/// The database that there is.
const DATABASE: &str = "yeoul";

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

/// Who asks: the client of the wire, and the settings that the engine keeps of it.
struct Asker {
    client: Option<Arc<dyn Client>>,
    settings: Arc<Settings>,
}

impl Client for Asker {
    fn user(&self) -> String {
        self.client.as_ref().map_or_else(|| "yeoul".to_owned(), |client| client.user())
    }

    fn pid(&self) -> i32 {
        self.client.as_ref().map_or(0, |client| client.pid())
    }

    fn setting(&self, name: &str) -> Option<String> {
        let told = self.client.as_ref().and_then(|client| client.setting(name));
        told.or_else(|| self.settings.get(name))
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut all: BTreeMap<_, _> = self.settings.all().into_iter().collect();
        if let Some(client) = &self.client {
            for (name, value) in client.settings() {
                all.retain(|known, _| !known.eq_ignore_ascii_case(&name));
                all.insert(name, value);
            }
        }
        all.into_iter().collect()
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Refusal> {
        match &self.client {
            Some(client) if client.setting(name).is_some() => client.set(name, value),
            _ => Ok(self.settings.put(name, value)?),
        }
    }
}

impl Session {
    fn catalog_context(&self) -> Result<&SessionContext, EngineError> {
        if let Some(context) = self.shared.catalog_context.get() {
            return Ok(context);
        }
        let made = context(&self.shared)?;
        Ok(self.shared.catalog_context.get_or_init(|| made))
    }

    async fn catalog_plan(
        &self,
        sql: &str,
    ) -> Result<datafusion::logical_expr::LogicalPlan, EngineError> {
        let statements = PostgresCompatibilityParser::new().parse(sql).map_err(|e| {
            EngineError::new(ErrorKind::Input, e.to_string()).with_sqlstate("42601")
        })?;
        let [statement] = <[_; 1]>::try_from(statements).map_err(|_| {
            EngineError::new(ErrorKind::Input, "send catalog queries one by one")
                .with_sqlstate("0A000")
        })?;
        let state = self.catalog_context()?.state();
        Ok(state.statement_to_plan(DfStatement::Statement(Box::new(statement))).await?)
    }

    /// Asks [`yeoul_reflect`], away from the threads that serve connections.
    async fn reflection(
        &self,
        sql: &str,
        claims: &[Option<DataType>],
        values: Option<Vec<ScalarValue>>,
    ) -> Result<Result<Reflection, Failure>, EngineError> {
        let client = Asker { client: self.client.clone(), settings: Arc::clone(&self.settings) };
        let stop = Arc::new(AtomicBool::new(false));
        let question = Question {
            facts: facts::of(&self.shared),
            fixed: Arc::clone(self.shared.fixed_catalogs.get_or_init(Arc::default)),
            client: Arc::new(client),
            sql: sql.to_owned(),
            claims: claims.to_vec(),
            values,
            stop: Arc::clone(&stop),
        };
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

    pub(super) async fn catalog_query(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        let commit = self.shared.world.load().commit();
        let failure = match self.reflection(sql, &[], Some(parameters.clone())).await? {
            Ok(Reflection { schema, batch, .. }) => {
                let rows = Box::pin(futures::stream::iter(batch.map(Ok)));
                return Ok(Answer::Rows { schema, commit, rows });
            }
            Err(failure) if !failure.elsewhere => return Err(failure.into()),
            Err(failure) => failure,
        };
        let mut plan = self.catalog_plan(sql).await.map_err(|error| instead_of(failure, error))?;
        if !parameters.is_empty() {
            plan = plan.with_param_values(ParamValues::from(parameters))?;
        }
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        let context = self.catalog_context()?.clone();
        Ok(Answer::Rows { schema, commit, rows: self.run_in(context, plan) })
    }

    pub(super) async fn prepare_catalog_query(
        &self,
        sql: &str,
        claims: &[Option<DataType>],
    ) -> Result<Prepared, EngineError> {
        let failure = match self.reflection(sql, claims, None).await? {
            Ok(Reflection { schema, parameters, .. }) => {
                let (schema, catalog_text) = (Some(schema), Some(sql.into()));
                return Ok(Prepared { parameters, schema, statement: None, catalog_text });
            }
            Err(failure) if !failure.elsewhere => return Err(failure.into()),
            Err(failure) => failure,
        };
        let plan = self.catalog_plan(sql).await.map_err(|error| instead_of(failure, error))?;
        let mut parameters: Vec<(usize, DataType)> = plan
            .get_parameter_types()?
            .into_iter()
            .filter_map(|(name, data_type)| {
                let number = name.trim_start_matches('$').parse().ok()?;
                Some((number, data_type.unwrap_or(DataType::Utf8)))
            })
            .collect();
        parameters.sort_by_key(|(number, _)| *number);
        Ok(Prepared {
            parameters: parameters.into_iter().map(|(_, data_type)| data_type).collect(),
            schema: Some(Arc::new(plan.schema().as_arrow().clone())),
            statement: None,
            catalog_text: Some(sql.into()),
        })
    }
}

/// The error to show when the batch engine could not answer either: its own where relations are read
/// that are none of the catalogs.
fn instead_of(failure: Failure, error: EngineError) -> EngineError {
    if failure.sqlstate == "42P01" { error } else { failure.into() }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        match failure.refusal.map(|refusal| refusal.downcast::<Self>()) {
            Some(Ok(error)) => *error,
            _ => Self::new(ErrorKind::Input, failure.message).with_sqlstate(failure.sqlstate),
        }
    }
}

fn context(shared: &Arc<Shared>) -> Result<SessionContext, EngineError> {
    let config = shared.session.config().clone().with_information_schema(true);
    let state =
        SessionStateBuilder::new_from_existing(shared.session.clone()).with_config(config).build();
    let context = SessionContext::new_with_state(state);
    let database = Arc::new(MemoryCatalogProvider::new());
    for schema in ["public", "yeoul"] {
        let provider = Arc::new(Relations { shared: Arc::downgrade(shared), schema });
        database.register_schema(schema, provider)?;
    }
    context.register_catalog(DATABASE, database);
    setup_pg_catalog(&context, DATABASE, EmptyContextProvider)
        .map_err(|e| EngineError::from(*e))?;
    Ok(context)
}

/// The relations of the newest world as a schema of DataFusion.
#[derive(Debug)]
struct Relations {
    shared: std::sync::Weak<Shared>,
    schema: &'static str,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Relations {
    /// The relation's name in our catalog.
    fn full(&self, name: &str) -> String {
        if self.schema == "public" { name.to_owned() } else { format!("{}.{name}", self.schema) }
    }
}

#[async_trait]
impl SchemaProvider for Relations {
    fn table_names(&self) -> Vec<String> {
        let Some(shared) = self.shared.upgrade() else { return Vec::new() };
        let world = shared.world.load();
        if self.schema == "public" {
            let public = world.catalog.relations().filter(|r| r.kind != RelationKind::System);
            return public.map(|r| r.name.clone()).collect();
        }
        let system = world.catalog.relations().filter(|r| r.kind == RelationKind::System);
        let stored = system.filter_map(|r| r.name.strip_prefix("yeoul.").map(str::to_owned));
        let made = system::NAMES.iter().filter_map(|name| name.strip_prefix("yeoul."));
        stored.chain(made.map(str::to_owned)).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let Some(shared) = self.shared.upgrade() else { return Ok(None) };
        let world = shared.world.load_full();
        let full = self.full(name);
        Ok(match world.catalog.get(&full) {
            Some(relation) => provider(&world, relation).map(|p| Arc::new(p) as _),
            None => system::table(&full, &world, &shared),
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
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
