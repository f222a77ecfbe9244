//! One client's session: what it may say when, simple queries, and transactions.
//!
//! There are no transactions in the engine: every statement is a commit of its own. `BEGIN`,
//! `COMMIT` and `ROLLBACK` are accepted because drivers send them, the status is kept as PostgreSQL
//! keeps it, and a `ROLLBACK` that would have to undo something warns that it does not.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use yeoul_engine::{Answer, EngineError, ErrorKind, Session};

use super::column::PgColumn;
use super::extended::{Portal, Statement};
use super::lex::statements;
use super::local::Local;
use super::message::Frontend;
use super::reply::{self, Severity, Transaction};
use super::rows::Rows;
use super::settings::Settings;
use super::startup::Shared;
use super::wire::{Wire, WireError};

/// Why a statement did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The statement failed; the connection goes on.
    Statement(EngineError),
    /// The connection ends.
    Wire(WireError),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Statement(error)
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// A session with its client.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Wire,
    pub(crate) session: Session,
    pub(crate) settings: Settings,
    pub(crate) transaction: Transaction,
    /// Whether something was changed since `BEGIN`.
    changed: bool,
    pub(crate) statements: HashMap<String, Arc<Statement>>,
    pub(crate) portals: HashMap<String, Portal>,
    /// After an error in the extended protocol everything up to `Sync` is passed over.
    pub(crate) skipping: bool,
}

impl Connection {
    pub(crate) fn new(
        shared: Arc<Shared>,
        wire: Wire,
        session: Session,
        settings: Settings,
    ) -> Self {
        Self {
            shared,
            wire,
            session,
            settings,
            transaction: Transaction::Idle,
            changed: false,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
        }
    }

    /// Serves the client until it says goodbye or the server ends.
    pub(crate) async fn run(&mut self) -> Result<(), WireError> {
        let shutdown = self.shared.shutdown.clone();
        loop {
            let message = tokio::select! {
                biased;
                message = self.wire.message() => message?,
                () = shutdown.begun() => {
                    self.say_shutdown();
                    return Ok(());
                }
            };
            match message {
                Frontend::Terminate => return Ok(()),
                Frontend::Query(sql) if !self.skipping => self.simple(&sql).await?,
                Frontend::Sync => self.sync().await?,
                Frontend::Flush => self.wire.flush().await?,
                // What is left of a COPY that failed.
                Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {}
                // Nobody asked for one.
                Frontend::Password => {}
                message if !self.skipping => {
                    if let Err(failure) = self.extended(message).await {
                        self.failed(failure)?;
                        self.skipping = true;
                    }
                }
                _ => {}
            }
        }
    }

    fn say_shutdown(&mut self) {
        let error = EngineError::new(
            ErrorKind::Unavailable,
            "terminating connection because the server is shutting down",
        )
        .with_sqlstate("57P01");
        reply::error(&mut self.wire.out, Severity::Fatal, &error);
    }

    /// Tells the client that its statement failed.
    fn failed(&mut self, failure: Failure) -> Result<(), WireError> {
        match failure {
            Failure::Wire(error) => Err(error),
            Failure::Statement(error) => {
                reply::error(&mut self.wire.out, Severity::Error, &error);
                if self.transaction == Transaction::Open {
                    self.transaction = Transaction::Failed;
                }
                Ok(())
            }
        }
    }

    async fn sync(&mut self) -> Result<(), WireError> {
        self.skipping = false;
        if self.transaction == Transaction::Idle {
            self.close_portals();
        }
        reply::ready(&mut self.wire.out, self.transaction);
        self.wire.flush().await
    }

    /// A text of statements, each run when the one before has been answered.
    async fn simple(&mut self, sql: &str) -> Result<(), WireError> {
        // A simple query ends the unnamed statement and portal, as the protocol says.
        self.statements.remove("");
        self.portals.remove("");
        let statements = statements(sql);
        if statements.is_empty() {
            reply::empty_query(&mut self.wire.out);
        }
        for (start, statement) in statements {
            if let Err(mut failure) = self.statement(statement).await {
                if let Failure::Statement(error) = &mut failure
                    && let Some(position) = &mut error.position
                {
                    *position += sql[..start].chars().count();
                }
                self.failed(failure)?;
                break;
            }
        }
        reply::ready(&mut self.wire.out, self.transaction);
        self.wire.flush().await
    }

    async fn statement(&mut self, sql: &str) -> Result<(), Failure> {
        if let Some(local) = Local::of(sql) {
            self.check_transaction(Some(&local))?;
            return self.local(&local, true).await;
        }
        self.check_transaction(None)?;
        let session = self.session.clone();
        let answers = self.wire.during(session.execute(sql)).await?;
        for answer in answers {
            match answer? {
                Answer::Rows { schema, rows, .. } => {
                    let columns: Arc<[PgColumn]> = PgColumn::of(&schema).into();
                    reply::row_description(&mut self.wire.out, &columns);
                    let mut rows = Rows::new(rows, columns);
                    rows.send(&mut self.wire, 0).await?;
                    reply::command_complete(&mut self.wire.out, &rows_tag(sql, rows.sent));
                }
                answer => self.done(answer).await?,
            }
        }
        Ok(())
    }

    /// Answers that are not rows.
    pub(crate) async fn done(&mut self, answer: Answer) -> Result<(), Failure> {
        match answer {
            Answer::Rows { .. } => {}
            Answer::Done { tag, commit } => {
                self.changed |= commit.is_some();
                reply::command_complete(&mut self.wire.out, &tag);
            }
            Answer::CopyOut { schema, format, rows } => {
                super::copy::copy_out(&mut self.wire, &schema, format, rows).await?;
            }
            Answer::CopyIn(copy) => {
                self.changed = true;
                let shared = Arc::clone(&self.shared);
                super::copy::copy_in(&mut self.wire, &shared, copy).await?;
            }
        }
        Ok(())
    }

    /// In a failed transaction only its end is heard.
    pub(crate) fn check_transaction(&self, local: Option<&Local>) -> Result<(), EngineError> {
        let ends = matches!(local, Some(Local::Commit | Local::Rollback | Local::RollbackTo));
        if self.transaction != Transaction::Failed || ends {
            return Ok(());
        }
        Err(EngineError::new(
            ErrorKind::Conflict,
            "current transaction is aborted, commands ignored until end of transaction block",
        )
        .with_sqlstate("25P02"))
    }

    /// Answers a statement of the connection's own. `describe` says whether the columns of an answer
    /// are still to be told.
    pub(crate) async fn local(&mut self, local: &Local, describe: bool) -> Result<(), Failure> {
        let tag = match local {
            Local::Begin => {
                self.begin();
                "BEGIN"
            }
            Local::Commit if self.transaction == Transaction::Failed => self.end(true),
            Local::Commit => {
                self.end(false);
                "COMMIT"
            }
            Local::Rollback => self.end(true),
            Local::Point(tag) | Local::Nothing(tag) => tag,
            Local::RollbackTo => {
                if self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Open;
                }
                "ROLLBACK"
            }
            Local::Set(name, value) => {
                self.set(name, value)?;
                "SET"
            }
            Local::Reset(name) => {
                self.reset(*name)?;
                "RESET"
            }
            Local::Show(_) | Local::ShowAll => return self.show(local, describe),
            Local::Declare { name, hold, query } => {
                let query = Arc::new(Box::pin(self.prepare(query, &[])).await?);
                return self.declare(name, *hold, query, Vec::new()).await;
            }
            Local::Fetch { name, rows } => {
                let columns = self.cursor_columns(name)?;
                if let Some(columns) = &columns {
                    reply::row_description(&mut self.wire.out, columns);
                }
                return self.fetch(name, *rows, columns.as_ref()).await;
            }
            Local::Close(name) => self.close_cursor(name.as_deref())?,
            Local::Deallocate(Some(name)) => {
                if self.statements.remove(name).is_none() {
                    return Err(no_statement(name).into());
                }
                "DEALLOCATE"
            }
            Local::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Local::DiscardAll => {
                self.statements.clear();
                self.portals.clear();
                self.reset(None)?;
                "DISCARD ALL"
            }
        };
        reply::command_complete(&mut self.wire.out, tag);
        Ok(())
    }

    fn warn(&mut self, sqlstate: &str, message: &str, hint: Option<&str>) {
        let mut warning = EngineError::new(ErrorKind::Conflict, message).with_sqlstate(sqlstate);
        warning.hint = hint.map(str::to_owned);
        reply::error(&mut self.wire.out, Severity::Warning, &warning);
    }

    fn begin(&mut self) {
        if self.transaction == Transaction::Idle {
            self.transaction = Transaction::Open;
            self.changed = false;
        } else {
            self.warn("25001", "there is already a transaction in progress", None);
        }
    }

    fn end(&mut self, undo: bool) -> &'static str {
        if self.transaction == Transaction::Idle {
            self.warn("25P01", "there is no transaction in progress", None);
        } else if undo && self.changed {
            self.warn(
                "0A000",
                "what this transaction changed stays: every statement is a commit of its own",
                Some("delete or correct the rows with statements of their own"),
            );
        }
        self.transaction = Transaction::Idle;
        self.changed = false;
        self.close_portals();
        "ROLLBACK"
    }

    fn set(&mut self, name: &'static str, value: &str) -> Result<(), EngineError> {
        if name == "TimeZone" && self.settings.set(name, value).is_err() {
            // Instants go out with their offset, so a client in another zone still reads them right.
            self.warn("0A000", "times are shown in UTC whatever the time zone", None);
            return Ok(());
        }
        if self.settings.set(name, value)? {
            reply::parameter_status(&mut self.wire.out, name, &self.settings.get(name));
        }
        Ok(())
    }

    fn reset(&mut self, name: Option<&'static str>) -> Result<(), EngineError> {
        if let Some(name) = name {
            return self.set(name, "default");
        }
        self.settings.reset();
        for (name, value) in self.settings.reported() {
            reply::parameter_status(&mut self.wire.out, name, &value);
        }
        Ok(())
    }

    fn show(&mut self, local: &Local, describe: bool) -> Result<(), Failure> {
        let Some(schema) = local_schema(local) else { return Ok(()) };
        let out = &mut self.wire.out;
        if describe {
            reply::row_description(out, &PgColumn::of(&schema));
        }
        let mut row = |values: &[&str]| {
            reply::put(out, b'D', |out| {
                use bytes::BufMut;
                out.put_u16(u16::try_from(values.len()).unwrap_or(0));
                for value in values {
                    out.put_u32(u32::try_from(value.len()).unwrap_or(0));
                    out.put_slice(value.as_bytes());
                }
            });
        };
        match local {
            Local::Show(name) => row(&[&self.settings.get(name)]),
            _ => self.settings.all().for_each(|(name, value)| row(&[name, &value, ""])),
        }
        reply::command_complete(out, "SHOW");
        Ok(())
    }
}

/// The columns that a statement of the connection's own answers with, if any.
pub(crate) fn local_schema(local: &Local) -> Option<Schema> {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    match local {
        Local::Show(name) => Some(Schema::new(vec![text(name)])),
        Local::ShowAll => {
            Some(Schema::new(vec![text("name"), text("setting"), text("description")]))
        }
        _ => None,
    }
}

pub(crate) fn no_statement(name: &str) -> EngineError {
    EngineError::new(ErrorKind::NotFound, format!("prepared statement \"{name}\" does not exist"))
        .with_sqlstate("26000")
}

/// The command tag of an answer of rows.
pub(crate) fn rows_tag(sql: &str, rows: u64) -> String {
    use super::lex::{Lexer, Token};
    match Lexer::new(sql).next() {
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("show") => "SHOW".to_owned(),
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("explain") => "EXPLAIN".to_owned(),
        _ => format!("SELECT {rows}"),
    }
}
