//! Errors of the engine, in the form every way out of it shows: message, detail, hint, position.

use std::fmt;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use yeoul_flow::FlowError;
use yeoul_sql::SqlError;
use yeoul_store::StoreError;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Correct the statement, the option or the rows.
    Input,
    /// The named object is not there.
    NotFound,
    /// The object is there already, or something else stands on it.
    Conflict,
    /// A limit was reached: use less, wait, or raise the limit.
    Limit,
    /// The query was cancelled or ran out of time.
    Cancelled,
    /// The disk failed or the engine is stopping: free space, mend, restart.
    Unavailable,
    /// A promise of ours is broken: report it.
    Internal,
}

/// An error with everything needed to show it.
#[derive(Clone, Debug)]
pub struct EngineError {
    /// What to do about it.
    pub kind: ErrorKind,
    /// The five characters that Postgres clients read.
    pub sqlstate: String,
    /// Lowercase, no full stop.
    pub message: String,
    /// More about the state of things.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The character of the SQL text it is about, from 1.
    pub position: Option<usize>,
    /// The whole as a text with the SQL line it is about, when there is one.
    pub report: Option<String>,
}

impl EngineError {
    /// An error with a message only.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let sqlstate = match kind {
            ErrorKind::Input => "22000",
            ErrorKind::NotFound => "42P01",
            ErrorKind::Conflict => "42P07",
            ErrorKind::Limit => "53000",
            ErrorKind::Cancelled => "57014",
            ErrorKind::Unavailable => "57P03",
            ErrorKind::Internal => "XX000",
        };
        Self {
            kind,
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            report: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with another SQLSTATE.
    #[must_use]
    pub fn with_sqlstate(mut self, sqlstate: &str) -> Self {
        self.sqlstate = sqlstate.into();
        self
    }

    /// The same, saying which file the statement is in.
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        self.report = Some(match &self.report {
            Some(report) => report.replacen("┌─ sql:", &format!("┌─ {file}:"), 1),
            None => format!("{file}: {self}"),
        });
        self
    }

    fn flow(error: &FlowError) -> Self {
        let state = match error {
            FlowError::Range { .. } => "22003",
            _ => "22000",
        };
        Self::new(ErrorKind::Input, error.to_string()).with_sqlstate(state)
    }

    pub(crate) fn stopped() -> Self {
        Self::new(ErrorKind::Unavailable, "the engine is stopping")
    }
}

impl EngineError {
    /// An error about the statement `text`.
    #[must_use]
    pub fn sql(error: &SqlError, text: &str) -> Self {
        use yeoul_sql::ErrorKind as Sql;
        let kind = match error.kind {
            Sql::UndefinedRelation | Sql::UndefinedObject => ErrorKind::NotFound,
            Sql::DuplicateRelation | Sql::DependentObjects => ErrorKind::Conflict,
            Sql::OutOfResources => ErrorKind::Limit,
            Sql::Internal => ErrorKind::Internal,
            _ => ErrorKind::Input,
        };
        Self {
            kind,
            sqlstate: error.sqlstate().to_owned(),
            message: error.message.clone(),
            detail: error.detail.clone(),
            hint: error.hint.clone(),
            position: error.position(text),
            report: error.span.map(|_| error.render("sql", text)),
        }
    }
}

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> Self {
        // Answers of views are made while a query runs.
        if let DataFusionError::External(root) = error.find_root()
            && let Some(error) = root.downcast_ref::<FlowError>()
        {
            return Self::flow(error);
        }
        Self::sql(&yeoul_sql::execution_error(error), "")
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Arrow(_) | StoreError::Parquet(_) => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        };
        let hint = match &error {
            StoreError::Corrupt { hint, .. } => Some(hint.clone()),
            StoreError::InUse(_) => {
                Some("stop that process, or give this one another data folder".to_owned())
            }
            StoreError::Io { .. } | StoreError::Poisoned(_) => {
                Some("free space or mend the disk, then start again".to_owned())
            }
            _ => None,
        };
        let code = match &error {
            StoreError::Corrupt { .. } | StoreError::Newer { .. } => "XX001",
            StoreError::InUse(_) => "55006",
            _ => "58030",
        };
        let base = Self::new(kind, error.to_string()).with_sqlstate(code);
        Self { hint, ..base }
    }
}

impl From<FlowError> for EngineError {
    fn from(error: FlowError) -> Self {
        Self::flow(&error)
    }
}

impl From<ArrowError> for EngineError {
    fn from(error: ArrowError) -> Self {
        Self::new(ErrorKind::Input, error.to_string())
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(report) = &self.report {
            return f.write_str(report);
        }
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, "\ndetail: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for EngineError {}
