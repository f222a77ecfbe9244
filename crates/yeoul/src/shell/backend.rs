//! Where statements go: to a running instance over the Postgres wire, or to an engine in this process.

use std::path::Path;

use crate::failure::Failure;

use super::local::Local;
use super::print::Printer;
use super::remote::Remote;

/// Something that answers SQL.
pub(crate) enum Backend {
    /// A running instance.
    Remote(Remote),
    /// A stopped instance's folder, open for reading.
    Local(Local),
}

impl Backend {
    /// Connects to the instance at `url` (`postgres://…`).
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        Remote::connect(url).await.map(Self::Remote)
    }

    /// Opens the data folder of a stopped instance.
    pub(crate) fn open(data: &Path) -> Result<Self, Failure> {
        Local::open(data).map(Self::Local)
    }

    /// Runs one statement and prints its answer. Ctrl-C cancels the statement, not the program.
    pub(crate) async fn run(&mut self, sql: &str, printer: &mut Printer) -> Result<(), Failure> {
        match self {
            Self::Remote(remote) => remote.run(sql, printer).await,
            Self::Local(local) => local.run(sql, printer).await,
        }
    }

    /// Runs one query and gives its rows as text, null as nothing. For small answers.
    pub(crate) async fn ask(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        match self {
            Self::Remote(remote) => remote.ask(sql).await,
            Self::Local(local) => local.ask(sql).await,
        }
    }

    /// What the prompt says about where we are.
    pub(crate) fn place(&self) -> &str {
        match self {
            Self::Remote(remote) => remote.place(),
            Self::Local(_) => "read-only",
        }
    }
}
