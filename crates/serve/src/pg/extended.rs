//! The extended protocol: prepared statements and portals.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use yeoul_engine::{Answer, EngineError, ErrorKind, Prepared, RowStream};

use super::bind::{claimed, decode, oid_of};
use super::column::PgColumn;
use super::connection::{Connection, Failure, local_schema, no_statement, rows_tag};
use super::lex::statements;
use super::local::Local;
use super::message::{Bind, Frontend, Target};
use super::reply;
use super::rows::Rows;

/// What a prepared statement runs.
pub(super) enum Body {
    Empty,
    Local(Local),
    Engine(Prepared),
    /// A cursor to be opened over another statement.
    Declare {
        name: String,
        hold: bool,
        query: Arc<Statement>,
    },
}

/// A prepared statement.
pub(crate) struct Statement {
    sql: String,
    pub(super) body: Body,
    /// The oids of its parameters, as the client was told or has claimed.
    types: Vec<u32>,
    /// Its columns as text; `None` when it answers without rows.
    pub(super) columns: Option<Arc<[PgColumn]>>,
}

/// A statement with its values, on its way through the rows.
pub(crate) struct Portal {
    pub(super) statement: Arc<Statement>,
    pub(super) parameters: Vec<ScalarValue>,
    pub(super) columns: Option<Arc<[PgColumn]>>,
    pub(super) state: State,
    /// Whether it outlives the transaction: a cursor `WITH HOLD`.
    pub(super) hold: bool,
}

pub(super) enum State {
    Ready,
    /// The rows of a cursor of which none were asked for yet.
    Open(RowStream),
    Running(Box<Rows>),
    Finished,
}

impl Statement {
    /// What takes the parameters.
    fn prepared(&self) -> Option<&Prepared> {
        match &self.body {
            Body::Engine(prepared) => Some(prepared),
            Body::Declare { query, .. } => query.prepared(),
            _ => None,
        }
    }
}

fn violation(message: impl Into<String>) -> EngineError {
    EngineError::new(ErrorKind::Input, message).with_sqlstate("08P01")
}

fn no_portal(name: &str) -> EngineError {
    EngineError::new(ErrorKind::NotFound, format!("portal \"{name}\" does not exist"))
        .with_sqlstate("34000")
}

pub(super) fn too_many(what: &str, limit: usize) -> EngineError {
    EngineError::new(ErrorKind::Limit, format!("too many {what} on this connection"))
        .with_detail(format!("the limit is {limit}"))
        .with_hint(format!("close {what} that are not needed any more"))
}

impl Connection {
    pub(crate) async fn extended(&mut self, message: Frontend) -> Result<(), Failure> {
        match message {
            Frontend::Parse { name, sql, types } => self.parse(name, &sql, &types).await,
            Frontend::Bind(bind) => Ok(self.bind(bind)?),
            Frontend::Describe(Target::Statement, name) => Ok(self.describe_statement(&name)?),
            Frontend::Describe(Target::Portal, name) => Ok(self.describe_portal(&name)?),
            Frontend::Execute { portal, rows_max } => self.execute(&portal, rows_max).await,
            Frontend::Close(target, name) => {
                match target {
                    Target::Statement => drop(self.statements.remove(&name)),
                    Target::Portal => drop(self.portals.remove(&name)),
                }
                reply::close_complete(&mut self.wire.out);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn parse(&mut self, name: String, sql: &str, types: &[u32]) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(EngineError::new(ErrorKind::Conflict, message)
                .with_sqlstate("42P05")
                .into());
        }
        let limit = self.shared.options.statements_max;
        if self.statements.len() >= limit && !self.statements.contains_key(&name) {
            return Err(too_many("prepared statements", limit).into());
        }
        let statement = self.prepare(sql, types).await?;
        self.statements.insert(name, Arc::new(statement));
        reply::parse_complete(&mut self.wire.out);
        Ok(())
    }

    pub(super) async fn prepare(&mut self, sql: &str, types: &[u32]) -> Result<Statement, Failure> {
        let statement =
            |body, types, columns| Statement { sql: sql.to_owned(), body, types, columns };
        let (start, text) = match statements(sql).as_slice() {
            [] => return Ok(statement(Body::Empty, Vec::new(), None)),
            [one] => *one,
            _ => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(EngineError::new(ErrorKind::Input, message)
                    .with_sqlstate("42601")
                    .into());
            }
        };
        if let Some(local) = Local::of(text) {
            self.check_transaction(Some(&local))?;
            if let Local::Declare { name, hold, query } = local {
                let query = Arc::new(Box::pin(self.prepare(&query, types)).await?);
                let types = query.types.clone();
                return Ok(statement(Body::Declare { name, hold, query }, types, None));
            }
            let columns = match &local {
                Local::Fetch { name, .. } => self.cursor_columns(name)?,
                local => local_schema(local).map(|schema| PgColumn::of(&schema).into()),
            };
            return Ok(statement(Body::Local(local), Vec::new(), columns));
        }
        self.check_transaction(None)?;
        let claims: Vec<_> = types.iter().map(|&oid| claimed(oid)).collect();
        let session = self.session.clone();
        let prepared = self.wire.during(session.prepare(text, &claims)).await?;
        let prepared = prepared.map_err(|mut error| {
            error.position = error.position.map(|p| p + sql[..start].chars().count());
            error
        })?;
        let told = |(i, data_type)| match types.get(i) {
            Some(&oid) if oid != 0 && oid != 705 => oid,
            _ => oid_of(data_type),
        };
        let types = prepared.parameters.iter().enumerate().map(told).collect();
        let columns = prepared.schema.as_ref().map(|schema| PgColumn::of(schema).into());
        Ok(statement(Body::Engine(prepared), types, columns))
    }

    fn bind(&mut self, bind: Bind) -> Result<(), EngineError> {
        let statement = self.statements.get(&bind.statement);
        let statement = Arc::clone(statement.ok_or_else(|| no_statement(&bind.statement))?);
        let limit = self.shared.options.portals_max;
        if self.portals.len() >= limit && !self.portals.contains_key(&bind.portal) {
            return Err(too_many("portals", limit));
        }
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            let message = format!("portal \"{}\" already exists", bind.portal);
            return Err(EngineError::new(ErrorKind::Conflict, message).with_sqlstate("42P03"));
        }
        if bind.parameters.len() != statement.types.len() {
            return Err(violation(format!(
                "bind message supplies {} parameters, but the prepared statement requires {}",
                bind.parameters.len(),
                statement.types.len()
            )));
        }
        let mut parameters = Vec::with_capacity(bind.parameters.len());
        if let Some(prepared) = statement.prepared() {
            let formats = Formats::new(&bind.parameter_formats, bind.parameters.len())?;
            for (i, (bytes, wanted)) in bind.parameters.iter().zip(&prepared.parameters).enumerate()
            {
                let (binary, oid) = (formats.binary(i), statement.types[i]);
                parameters.push(decode(i + 1, bytes.as_deref(), binary, oid, wanted)?);
            }
        }
        let columns = match &statement.columns {
            Some(columns) => Some(formatted(columns, &bind.result_formats)?),
            None => None,
        };
        let portal = Portal { statement, parameters, columns, state: State::Ready, hold: false };
        self.portals.insert(bind.portal, portal);
        reply::bind_complete(&mut self.wire.out);
        Ok(())
    }

    fn describe_statement(&mut self, name: &str) -> Result<(), EngineError> {
        let statement = self.statements.get(name).ok_or_else(|| no_statement(name))?;
        reply::parameter_description(&mut self.wire.out, &statement.types);
        match &statement.columns {
            Some(columns) => reply::row_description(&mut self.wire.out, columns),
            None => reply::no_data(&mut self.wire.out),
        }
        Ok(())
    }

    fn describe_portal(&mut self, name: &str) -> Result<(), EngineError> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        match &portal.columns {
            Some(columns) => reply::row_description(&mut self.wire.out, columns),
            None => reply::no_data(&mut self.wire.out),
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, rows_max: u32) -> Result<(), Failure> {
        // Taken out while it runs: a portal that fails is not put back.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let result = self.run_portal(&mut portal, rows_max).await;
        if result.is_ok() {
            self.portals.insert(name.to_owned(), portal);
        }
        result
    }

    async fn run_portal(&mut self, portal: &mut Portal, rows_max: u32) -> Result<(), Failure> {
        let statement = Arc::clone(&portal.statement);
        let mut rows = match std::mem::replace(&mut portal.state, State::Finished) {
            State::Running(rows) => rows,
            State::Open(stream) => {
                let columns = portal.columns.as_ref().map(Arc::clone).unwrap_or_default();
                Box::new(Rows::new(stream, columns))
            }
            State::Finished => {
                reply::command_complete(&mut self.wire.out, &rows_tag(&statement.sql, 0));
                return Ok(());
            }
            State::Ready => match &statement.body {
                Body::Empty => {
                    reply::empty_query(&mut self.wire.out);
                    return Ok(());
                }
                Body::Local(Local::Fetch { name, rows }) => {
                    self.check_transaction(None)?;
                    return self.fetch(name, *rows, portal.columns.as_ref()).await;
                }
                Body::Local(local) => {
                    self.check_transaction(Some(local))?;
                    return self.local(local, false).await;
                }
                Body::Declare { name, hold, query } => {
                    self.check_transaction(None)?;
                    let parameters = std::mem::take(&mut portal.parameters);
                    return self.declare(name, *hold, Arc::clone(query), parameters).await;
                }
                Body::Engine(prepared) => {
                    self.check_transaction(None)?;
                    let parameters = std::mem::take(&mut portal.parameters);
                    let session = self.session.clone();
                    let answer = self.wire.during(session.run(prepared, parameters)).await??;
                    match answer {
                        Answer::Rows { rows, schema, .. } => {
                            let columns = portal.columns.as_ref().map(Arc::clone);
                            let columns = columns.unwrap_or_else(|| PgColumn::of(&schema).into());
                            check_columns(&columns, schema.fields().len())?;
                            Box::new(Rows::new(rows, columns))
                        }
                        answer => return self.done(answer).await,
                    }
                }
            },
        };
        let before = rows.sent;
        if rows.send(&mut self.wire, rows_max).await? {
            let tag = rows_tag(&statement.sql, rows.sent - before);
            reply::command_complete(&mut self.wire.out, &tag);
        } else {
            reply::portal_suspended(&mut self.wire.out);
            portal.state = State::Running(rows);
        }
        Ok(())
    }
}

/// The client holds the description it was given: an answer of another width would be misread.
fn check_columns(columns: &[PgColumn], count: usize) -> Result<(), EngineError> {
    if columns.len() == count {
        return Ok(());
    }
    Err(EngineError::new(ErrorKind::Conflict, "cached plan must not change result type")
        .with_hint("prepare the statement again")
        .with_sqlstate("0A000"))
}

/// Format codes: none is text for all, one is for all, else one each.
struct Formats<'a>(&'a [i16]);

impl<'a> Formats<'a> {
    fn new(codes: &'a [i16], count: usize) -> Result<Self, EngineError> {
        if codes.len() > 1 && codes.len() != count {
            return Err(violation(format!(
                "bind message has {} formats for {count} values",
                codes.len()
            )));
        }
        if codes.iter().any(|code| !matches!(code, 0 | 1)) {
            return Err(violation("bind message has a format that is neither text nor binary"));
        }
        Ok(Self(codes))
    }

    fn binary(&self, index: usize) -> bool {
        let code = if self.0.len() == 1 { self.0.first() } else { self.0.get(index) };
        code == Some(&1)
    }
}

fn formatted(columns: &[PgColumn], codes: &[i16]) -> Result<Arc<[PgColumn]>, EngineError> {
    let formats = Formats::new(codes, columns.len())?;
    let formatted = columns.iter().enumerate();
    Ok(formatted.map(|(i, column)| column.clone().in_binary(formats.binary(i))).collect())
}
