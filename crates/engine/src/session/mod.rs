//! SQL in, answers out.
//!
//! ```text
//!   text ─parse─▶ statements ─┬─ query ────▶ world pinned ─▶ plan ─▶ rows, on the query threads
//!                             ├─ change ───▶ rows computed ─▶ commit thread ─▶ done
//!                             └─ definition ─────────────────▶ commit thread ─▶ done
//! ```

mod asker;
mod built;
mod catalog_query;
mod change;
mod facts;
mod function;
mod place;
mod query;
mod show;

pub(crate) use asker::Asker;
pub(crate) use function::{COLUMNS as FUNCTION_COLUMNS, listed as function_columns};
pub use query::renamed;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use futures::Stream;
use tokio::sync::watch;
use yeoul_batch::{CommitId, TimeLimit};
use yeoul_reflect::Client;
use yeoul_sql::{
    Alter, AlterAction, CopyFormat, Name, ObjectKind, Spanned, Statement, Transaction,
};

use self::catalog_query::instead_of;
use crate::catalog::Relation;
use crate::commit::{Job, Wanted, WantedFunction, Wish};
use crate::error::{EngineError, ErrorKind};
use crate::shared::Shared;

/// Rows of an answer as they come. Ends with an error when the query is cancelled, times out or
/// runs out of memory.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, EngineError>> + Send>>;

/// What a statement gives.
pub enum Answer {
    /// Rows.
    Rows {
        /// Their columns.
        schema: SchemaRef,
        /// The commit they show.
        commit: CommitId,
        /// The rows.
        rows: RowStream,
    },
    /// Rows for `COPY … TO STDOUT`, to be written in `format`.
    CopyOut {
        /// Their columns.
        schema: SchemaRef,
        /// How they are written.
        format: CopyFormat,
        /// The rows.
        rows: RowStream,
    },
    /// It is done. `tag` is PostgreSQL's command tag: "INSERT 0 3", "CREATE MATERIALIZED VIEW", "SET".
    Done {
        /// The command tag.
        tag: String,
        /// The commit that holds it, when it changed something.
        commit: Option<CommitId>,
    },
    /// It waits for rows: `COPY … FROM STDIN`.
    CopyIn(CopyIn),
}

/// A statement that waits for rows.
pub struct CopyIn {
    session: Session,
    table: Name,
    columns: Vec<Name>,
    schema: SchemaRef,
    relation: Arc<Relation>,
    /// The relation's column of each column of the schema.
    targets: Vec<usize>,
    format: CopyFormat,
}

impl CopyIn {
    /// The columns that each row must bring, in this order.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Which times of the rows are believed now, when it matters.
    #[must_use]
    pub fn time_limit(&self) -> Option<TimeLimit> {
        let limit = self.relation.time_limit(self.session.shared.clock.now_us())?;
        let place = |column: &usize| self.targets.iter().position(|target| target == column);
        Some(TimeLimit { columns: limit.columns.iter().filter_map(place).collect(), ..limit })
    }

    /// How the rows are written.
    #[must_use]
    pub fn format(&self) -> &CopyFormat {
        &self.format
    }

    /// Inserts rows of [`CopyIn::schema`]; answers after they are durable. May be called repeatedly.
    pub async fn write(&mut self, rows: RecordBatch) -> Result<u64, EngineError> {
        let count = rows.num_rows() as u64;
        self.session.insert_rows(&self.table.value, &self.columns, vec![rows], false).await?;
        Ok(count)
    }
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
    /// The columns of its answer; `None` when it gives none.
    pub schema: Option<SchemaRef>,
    statement: Option<Arc<Spanned<Statement>>>,
    /// The text of a statement about the catalogs of PostgreSQL.
    catalog_text: Option<Arc<str>>,
}

/// Ends the running statement of a session from another thread.
#[derive(Clone, Debug)]
pub struct CancelHandle(Arc<watch::Sender<u64>>);

impl CancelHandle {
    /// Ends it, if one is running.
    pub fn cancel(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// A connection's state: settings and the running query.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    cancel: Arc<watch::Sender<u64>>,
    settings: Arc<show::Settings>,
    /// Who asks, when a wire has told.
    client: Option<Arc<dyn Client>>,
}

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            cancel: Arc::new(watch::Sender::new(0)),
            settings: Arc::new(show::Settings::default()),
            client: None,
        }
    }

    /// The same session, of a client that catalogs can tell of.
    #[must_use]
    pub fn of_client(self, client: Arc<dyn Client>) -> Self {
        Self { client: Some(client), ..self }
    }

    /// Runs every statement of `sql` in order and stops at the first error. Each statement sees the
    /// newest commit at its start.
    pub async fn execute(&self, sql: &str) -> Vec<Result<Answer, EngineError>> {
        let mut failure = None;
        if catalog_query::is_one(sql) {
            match self.catalog_query(sql, Vec::new()).await {
                Ok(Ok(answer)) => return vec![Ok(answer)],
                Ok(Err(elsewhere)) => failure = Some(elsewhere),
                Err(error) => return vec![Err(error)],
            }
        }
        let mut known = |error| match failure.take() {
            Some(failure) => instead_of(failure, error),
            None => error,
        };
        let statements = match self.parse(sql) {
            Ok(statements) => statements,
            Err(error) => return vec![Err(known(error))],
        };
        let mut answers = Vec::with_capacity(statements.len());
        for statement in &statements {
            let answer = self.statement(statement, Vec::new()).await.map_err(&mut known);
            let failed = answer.is_err();
            answers.push(answer);
            if failed {
                break;
            }
        }
        answers
    }

    pub(crate) fn parse(&self, sql: &str) -> Result<Vec<Spanned<Statement>>, EngineError> {
        self.shared.planning.reading.parse(sql).map_err(|e| EngineError::sql(&e, sql))
    }

    /// Plans one statement. `types` are the parameter types the client claims (`None` = infer).
    pub async fn prepare(
        &self,
        sql: &str,
        types: &[Option<DataType>],
    ) -> Result<Prepared, EngineError> {
        if catalog_query::is_one(sql) {
            return match self.prepare_catalog_query(sql, types).await? {
                Ok(prepared) => Ok(prepared),
                Err(failure) => {
                    self.prepare_statement(sql, types).map_err(|e| instead_of(failure, e))
                }
            };
        }
        self.prepare_statement(sql, types)
    }

    fn prepare_statement(
        &self,
        sql: &str,
        types: &[Option<DataType>],
    ) -> Result<Prepared, EngineError> {
        let mut statements = self.parse(sql)?;
        if statements.len() > 1 {
            return Err(EngineError::new(
                ErrorKind::Input,
                "a prepared statement holds one statement",
            )
            .with_sqlstate("42601")
            .with_hint("send the statements one by one"));
        }
        let Some(statement) = statements.pop() else {
            return Ok(Prepared {
                parameters: Vec::new(),
                schema: None,
                statement: None,
                catalog_text: None,
            });
        };
        let described = self.describe(&statement, types);
        let (parameters, schema) = described.map_err(|error| place::placed(error, &statement))?;
        Ok(Prepared {
            parameters,
            schema,
            statement: Some(Arc::new(statement)),
            catalog_text: None,
        })
    }

    /// Runs a prepared statement.
    pub async fn run(
        &self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        if let Some(text) = &prepared.catalog_text {
            return match self.catalog_query(text, parameters).await? {
                Ok(answer) => Ok(answer),
                Err(failure) => Err(failure.into()),
            };
        }
        match &prepared.statement {
            Some(statement) => self.statement(statement, parameters).await,
            None => Ok(done("")),
        }
    }

    /// The handle that cancels this session's running statement.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(Arc::clone(&self.cancel))
    }

    /// Runs one parsed statement.
    pub(crate) async fn run_statement(
        &self,
        statement: &Spanned<Statement>,
    ) -> Result<Answer, EngineError> {
        self.statement(statement, Vec::new()).await
    }

    async fn statement(
        &self,
        statement: &Spanned<Statement>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        let answer = self.answer(statement, parameters).await;
        answer.map_err(|error| place::placed(error, statement))
    }

    async fn answer(
        &self,
        statement: &Spanned<Statement>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Answer, EngineError> {
        match &statement.node {
            Statement::Query(query) => self.query(query, parameters).await,
            Statement::CopyTo(copy) => {
                let Answer::Rows { schema, rows, .. } = self.query(&copy.query, parameters).await?
                else {
                    return Ok(done("COPY 0"));
                };
                Ok(Answer::CopyOut { schema, format: copy.format.clone(), rows })
            }
            Statement::CreateStream(_) => self.create(statement, "CREATE STREAM").await,
            Statement::CreateTable(_) => self.create(statement, "CREATE TABLE").await,
            Statement::CreateView(view) => {
                let answer = self.create(statement, "CREATE MATERIALIZED VIEW").await?;
                // A new version is built while the old one answers: nobody needs to wait for it.
                if !view.or_replace {
                    self.built(&view.name).await?;
                }
                Ok(answer)
            }
            Statement::CreateSink(_) => self.create(statement, "CREATE SINK").await,
            Statement::ReplaceViews(views) => self.replace_views(views).await,
            Statement::CreateFunction(create) => self.create_function(create, statement).await,
            Statement::DropFunction(drop) => self.drop_function(drop).await,
            Statement::Drop(drop) => self.drop_relations(drop).await,
            Statement::Alter(alter) => self.alter(alter).await,
            Statement::Insert(insert) => self.insert(insert, parameters).await,
            Statement::Update(update) => self.update(update, parameters).await,
            Statement::Delete(delete) => self.delete(delete, parameters).await,
            Statement::CopyFrom(copy) => self.copy_in(copy),
            Statement::Flush => self.flush().await,
            Statement::Explain(explain) => self.explain(explain).await,
            Statement::Show(show) => self.show(show).await,
            Statement::Describe(name) => self.describe_relation(name),
            Statement::Set(set) => {
                self.settings.set(set)?;
                Ok(done(if set.value.is_some() { "SET" } else { "RESET" }))
            }
            Statement::Transaction(transaction) => Ok(done(match transaction {
                Transaction::Begin => "BEGIN",
                Transaction::Commit => "COMMIT",
                Transaction::Rollback => "ROLLBACK",
            })),
            Statement::Discard(_) => Ok(done("DISCARD ALL")),
            Statement::Deallocate(_) => Ok(done("DEALLOCATE")),
        }
    }

    async fn create(
        &self,
        statement: &Spanned<Statement>,
        tag: &str,
    ) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        if let Statement::CreateView(create) = &statement.node
            && create.or_replace
            && self.shared.world.load().catalog.get(&create.name.value).is_some()
        {
            return self.replace_views(std::slice::from_ref(statement)).await;
        }
        let (name, if_not_exists) = match &statement.node {
            Statement::CreateStream(c) => (&c.name, c.if_not_exists),
            Statement::CreateTable(c) => (&c.name, c.if_not_exists),
            Statement::CreateView(c) => (&c.name, c.if_not_exists),
            Statement::CreateSink(c) => (&c.name, c.if_not_exists),
            _ => return Ok(done(tag)),
        };
        let job = |reply| Job::Create {
            statement: Box::new(statement.node.clone()),
            sql: plain_sql(statement),
            name: name.value.clone(),
            if_not_exists,
            reply,
        };
        let commit = self.shared.ask_async(job).await?;
        Ok(Answer::Done { tag: tag.to_owned(), commit })
    }

    /// Every row that was accepted before is visible and durable when this answers.
    async fn flush(&self) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        self.shared.ask_async(|reply| Job::Flush { reply }).await?;
        Ok(done("FLUSH"))
    }

    /// Replaces views, all of which are there, and functions at once.
    async fn replace_views(&self, views: &[Spanned<Statement>]) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        let mut wish = Wish::default();
        for statement in views {
            let sql = plain_sql(statement);
            match &statement.node {
                Statement::CreateView(create) => {
                    wish.views.push(Wanted { create: create.clone(), sql });
                }
                Statement::CreateFunction(create) => {
                    wish.functions.push(WantedFunction::new(create.as_ref().clone(), sql));
                }
                _ => {}
            }
        }
        let commit = self.shared.ask_async(|reply| Job::Replace { wish, reply }).await?;
        Ok(Answer::Done { tag: "CREATE MATERIALIZED VIEW".to_owned(), commit })
    }

    async fn alter(&self, alter: &Alter) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        let name = alter.name.value.clone();
        if alter.if_exists && self.shared.world.load().catalog.get(&name).is_none() {
            return Ok(done(alter_tag(alter.kind)));
        }
        let commit = match &alter.action {
            AlterAction::CancelReplace => {
                Some(self.shared.ask_async(|reply| Job::CancelReplace { name, reply }).await?)
            }
            AlterAction::Rewind(after) => {
                let after = *after;
                Some(self.shared.ask_async(|reply| Job::Rewind { name, after, reply }).await?)
            }
            _ => {
                let alter = Box::new(alter.clone());
                self.shared.ask_async(|reply| Job::Alter { alter, reply }).await?
            }
        };
        Ok(Answer::Done { tag: alter_tag(alter.kind).to_owned(), commit })
    }

    async fn drop_relations(&self, drop: &yeoul_sql::Drop) -> Result<Answer, EngineError> {
        self.shared.check_writable()?;
        let job = |reply| Job::Drop {
            kind: drop.kind,
            names: drop.names.iter().map(|name| name.value.clone()).collect(),
            if_exists: drop.if_exists,
            cascade: drop.cascade,
            reply,
        };
        let commit = self.shared.ask_async(job).await?;
        let tag = match drop.kind {
            ObjectKind::Stream => "DROP STREAM",
            ObjectKind::Table => "DROP TABLE",
            ObjectKind::View => "DROP MATERIALIZED VIEW",
            ObjectKind::Sink => "DROP SINK",
        };
        Ok(Answer::Done { tag: tag.to_owned(), commit })
    }
}

fn done(tag: &str) -> Answer {
    Answer::Done { tag: tag.to_owned(), commit: None }
}

fn alter_tag(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Stream => "ALTER STREAM",
        ObjectKind::Table => "ALTER TABLE",
        ObjectKind::View => "ALTER MATERIALIZED VIEW",
        ObjectKind::Sink => "ALTER SINK",
    }
}

/// A definition as it is kept: that it takes the place of another is not part of it.
pub(crate) fn plain_sql(statement: &Spanned<Statement>) -> String {
    match &statement.node {
        Statement::CreateView(create) if create.or_replace => {
            let rest = create.name.span.to(statement.span);
            format!("CREATE MATERIALIZED VIEW {}", rest.of(statement.text.as_str()))
        }
        _ => statement.sql().to_owned(),
    }
}
