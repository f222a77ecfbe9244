//! Cursors: portals that are opened and asked by statements, for clients that do not use the extended protocol for
//! it (psql with `FETCH_COUNT`, the named cursors of psycopg).
//!
//! What must hold: a cursor shows what there was when it was declared; without `WITH HOLD` it ends with
//! its transaction.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use yeoul_engine::{Answer, EngineError, ErrorKind};

use super::column::PgColumn;
use super::connection::{Connection, Failure};
use super::extended::{Body, Portal, State, Statement, too_many};
use super::reply::{self, Transaction};
use super::rows::Rows;

fn no_cursor(name: &str) -> EngineError {
    EngineError::new(ErrorKind::NotFound, format!("cursor \"{name}\" does not exist"))
        .with_sqlstate("34000")
}

impl Connection {
    /// The columns that `FETCH` from a cursor gives.
    pub(super) fn cursor_columns(
        &self,
        name: &str,
    ) -> Result<Option<Arc<[PgColumn]>>, EngineError> {
        let portal = self.portals.get(name).ok_or_else(|| no_cursor(name))?;
        Ok(portal.columns.as_ref().map(Arc::clone))
    }

    /// Opens a cursor over a prepared query.
    pub(super) async fn declare(
        &mut self,
        name: &str,
        hold: bool,
        statement: Arc<Statement>,
        parameters: Vec<ScalarValue>,
    ) -> Result<(), Failure> {
        if !hold && self.transaction == Transaction::Idle {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            let error = EngineError::new(ErrorKind::Input, message)
                .with_sqlstate("25P01")
                .with_hint("begin a transaction, or declare the cursor WITH HOLD");
            return Err(error.into());
        }
        if self.portals.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(EngineError::new(ErrorKind::Conflict, message)
                .with_sqlstate("42P03")
                .into());
        }
        let limit = self.shared.options.portals_max;
        if self.portals.len() >= limit {
            return Err(too_many("cursors", limit).into());
        }
        let not_a_query = || {
            EngineError::new(ErrorKind::Input, "a cursor is declared for a query")
                .with_sqlstate("42601")
        };
        let Body::Engine(prepared) = &statement.body else { return Err(not_a_query().into()) };
        if statement.columns.is_none() {
            return Err(not_a_query().into());
        }
        let session = self.session.clone();
        let answer = self.wire.during(session.run(prepared, parameters)).await??;
        let Answer::Rows { rows, .. } = answer else { return Err(not_a_query().into()) };
        let columns = statement.columns.as_ref().map(Arc::clone);
        let state = State::Open(rows);
        let portal = Portal { statement, parameters: Vec::new(), columns, state, hold };
        self.portals.insert(name.to_owned(), portal);
        reply::command_complete(&mut self.wire.out, "DECLARE CURSOR");
        Ok(())
    }

    /// Sends the next rows of a cursor, as `columns` has them.
    pub(super) async fn fetch(
        &mut self,
        name: &str,
        rows_max: Option<u32>,
        columns: Option<&Arc<[PgColumn]>>,
    ) -> Result<(), Failure> {
        // Taken out while it runs: a cursor that fails is not put back.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
        let mut sent = 0;
        let state = std::mem::replace(&mut portal.state, State::Finished);
        let rows = match state {
            State::Open(stream) => {
                let columns = columns.or(portal.columns.as_ref()).map(Arc::clone);
                Some(Box::new(Rows::new(stream, columns.unwrap_or_default())))
            }
            State::Running(rows) => {
                if columns.is_some_and(|columns| !rows.goes_out_as(columns)) {
                    let message = "a cursor gives all its rows in the form of its first ones";
                    let error = EngineError::new(ErrorKind::Input, message).with_sqlstate("0A000");
                    return Err(error.into());
                }
                Some(rows)
            }
            State::Ready | State::Finished => None,
        };
        if let Some(mut rows) = rows {
            let before = rows.sent;
            let ended =
                rows_max != Some(0) && rows.send(&mut self.wire, rows_max.unwrap_or(0)).await?;
            sent = rows.sent - before;
            if !ended {
                portal.state = State::Running(rows);
            }
        }
        self.portals.insert(name.to_owned(), portal);
        reply::command_complete(&mut self.wire.out, &format!("FETCH {sent}"));
        Ok(())
    }

    /// Closes one cursor, or all.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<&'static str, EngineError> {
        let Some(name) = name else {
            self.portals.clear();
            return Ok("CLOSE CURSOR ALL");
        };
        self.portals.remove(name).map(|_| "CLOSE CURSOR").ok_or_else(|| no_cursor(name))
    }

    /// What the end of a transaction leaves of portals.
    pub(super) fn close_portals(&mut self) {
        self.portals.retain(|_, portal| portal.hold);
    }
}
