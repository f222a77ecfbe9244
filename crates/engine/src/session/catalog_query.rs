//! Queries about the catalogs of PostgreSQL, as psql, DBeaver and Grafana ask them.
//!
//! They are written in a dialect of their own (`::regclass`, `OPERATOR(pg_catalog.~)`, `ANY(array)`), so
//! they are rewritten by the rules of `datafusion-pg-catalog` and run in one context that all sessions
//! share: object numbers that one query gives have to mean the same in the next.

use std::sync::Arc;

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
use yeoul_sql::RelationKind;

use super::{Answer, Prepared, Session};
use crate::error::{EngineError, ErrorKind};
use crate::planning::provider;
use crate::shared::Shared;
use crate::system;

/// The database that there is.
const DATABASE: &str = "yeoul";

/// Whether the text asks about the catalogs of PostgreSQL.
pub(super) fn is_one(sql: &str) -> bool {
    let text = without_literals(sql).to_ascii_lowercase();
    let first = text.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next();
    if !matches!(first, Some("select" | "with" | "show" | "table")) {
        return false;
    }
    const WORDS: [&str; 9] = [
        "information_schema",
        "current_database",
        "current_schema",
        "current_schemas",
        "current_setting",
        "current_user",
        "session_user",
        "version",
        "obj_description",
    ];
    let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.any(|word| word.starts_with("pg_") || WORDS.contains(&word))
}

/// The text with its string literals and comments blanked.
fn without_literals(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut inside = false;
    for c in sql.chars() {
        if c == '\'' {
            inside = !inside;
        }
        out.push(if inside { ' ' } else { c });
    }
    out
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

    pub(super) async fn catalog_query(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        let mut plan = self.catalog_plan(sql).await?;
        if !parameters.is_empty() {
            plan = plan.with_param_values(ParamValues::from(parameters))?;
        }
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        let commit = self.shared.world.load().commit();
        let context = self.catalog_context()?.clone();
        Ok(Answer::Rows { schema, commit, rows: self.run_in(context, plan) })
    }

    pub(super) async fn prepare_catalog_query(&self, sql: &str) -> Result<Prepared, EngineError> {
        let plan = self.catalog_plan(sql).await?;
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
