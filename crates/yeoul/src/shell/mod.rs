//! `yeoul sql`: statements from a person, an argument, a file or a pipe, against a running instance or
//! against the data folder of a stopped one.
//!
//! ```text
//!   text ─▶ script: statements and \commands ─▶ backend (wire or engine) ─▶ print (table, csv, json)
//! ```

mod backend;
mod complete;
mod interactive;
mod local;
mod meta;
mod print;
mod remote;
mod script;

pub(crate) use backend::Backend;
pub(crate) use interactive::interact;
pub(crate) use local::{ask, open_stopped};
pub(crate) use print::{Column, Kind, Printer, table};
pub(crate) use script::map_strings;

use std::time::Instant;

use crate::arguments::Format;
use crate::failure::Failure;
use crate::say::say;

/// The shell without its line editor.
pub(crate) struct Shell {
    backend: Backend,
    format: Format,
    timing: bool,
}

/// What to do after a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on.
    Continue,
    /// The person is done.
    Quit,
}

impl Shell {
    /// A shell that asks `backend`.
    pub(crate) fn new(backend: Backend, format: Format) -> Self {
        Self { backend, format, timing: false }
    }

    /// Runs the statements and `\commands` of `text`, stopping at the first error.
    pub(crate) async fn run_script(&mut self, text: &str) -> Result<Next, Failure> {
        for piece in script::split(text) {
            if self.run_piece(piece).await? == Next::Quit {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Continue)
    }

    async fn run_piece(&mut self, piece: script::Piece<'_>) -> Result<Next, Failure> {
        match piece {
            script::Piece::Meta(line) => self.run_meta(line).await,
            script::Piece::Statement(sql) => {
                let begun = Instant::now();
                let mut printer = Printer::to_stdout(self.format);
                let outcome = self.backend.run(sql, &mut printer).await;
                printer.flush()?;
                outcome?;
                if self.timing {
                    say!("time: {:.3} ms", begun.elapsed().as_secs_f64() * 1e3);
                }
                Ok(Next::Continue)
            }
        }
    }
}
