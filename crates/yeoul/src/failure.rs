//! How the program ends: exit codes and the errors that lead to them.
//!
//! What must hold: a code keeps its meaning for ever, because scripts and service managers act on it.

use std::fmt;
use std::process::ExitCode;

use yeoul_engine::{EngineError, ErrorKind};

/// Exit codes. `docs/guide/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Success = 0,
    /// It failed: the message says why.
    Failure = 1,
    /// The command line or `yeoul.toml` is wrong.
    Usage = 2,
    /// Everything was read, and some rows were refused (`run --until-drained`).
    RefusedRows = 3,
    /// Another process has the data folder open.
    InUse = 4,
    /// The data folder holds a file that is not what was written.
    Damaged = 5,
    /// The books do not balance (`audit`).
    Unbalanced = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program ends, and with which code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// The message, with detail and hint on lines of their own.
    pub(crate) message: String,
}

impl Failure {
    /// It failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, message: message.into() }
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// It ends with a code of its own.
    pub(crate) fn with(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Something could not be done to a file.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(format!("cannot {what} \"{}\": {error}", path.display()))
    }
}

impl Failure {
    /// Says it on stderr. A report about SQL has its own title.
    pub(crate) fn say(&self) {
        let message = self.message.trim_end();
        let title = if message.starts_with("error") { "" } else { "error: " };
        if !message.is_empty() {
            eprintln!("{title}{message}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// SQLSTATE `object_in_use`.
const IN_USE: &str = "55006";
/// SQLSTATE `data_corrupted`.
const CORRUPTED: &str = "XX001";

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let exit = match error.sqlstate.as_str() {
            IN_USE => Exit::InUse,
            CORRUPTED => Exit::Damaged,
            _ => Exit::Failure,
        };
        let mut message = error.to_string();
        if error.kind == ErrorKind::Internal && exit == Exit::Failure {
            message.push_str("\nhint: this is a mistake in Yeoul; please report it");
        }
        Self { exit, message }
    }
}

impl From<yeoul_connect::ConnectError> for Failure {
    fn from(error: yeoul_connect::ConnectError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // Who read the answer has read enough: `yeoul sql … | head -1`.
            return Self::with(Exit::Success, "");
        }
        Self::new(error.to_string())
    }
}
