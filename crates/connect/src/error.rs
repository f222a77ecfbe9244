//! Why a source or sink cannot be opened or cannot go on.

use std::fmt;

use yeoul_engine::EngineError;

/// A source's failure, for people. It stays failed until the program starts again or its stream is
/// made anew: correct what the message names.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// The stream it feeds, or the sink that it is.
    pub stream: String,
    /// Whether it is a sink.
    pub is_sink: bool,
    /// What is wrong, lowercase, no full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl ConnectError {
    pub(crate) fn new(stream: &str, message: impl Into<String>) -> Self {
        Self { stream: stream.to_owned(), is_sink: false, message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same of a sink.
    pub(crate) fn of_sink(mut self) -> Self {
        self.is_sink = true;
        self
    }

    /// A row that cannot be decoded, of a stream that refuses such rows.
    pub(crate) fn bad(stream: &str, place: &str, reason: &str) -> Self {
        Self::new(stream, format!("{place}: {reason}"))
            .with_hint("correct it, or set on_error = 'dead_letter' to keep such rows aside")
    }

    /// What the engine says to a delivery.
    pub(crate) fn refused(stream: &str, error: &EngineError) -> Self {
        let message = match &error.detail {
            Some(detail) => format!("{}: {detail}", error.message),
            None => error.message.clone(),
        };
        Self { stream: stream.to_owned(), is_sink: false, message, hint: error.hint.clone() }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_sink {
            true => write!(f, "sink \"{}\": {}", self.stream, self.message)?,
            false => write!(f, "source of \"{}\": {}", self.stream, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConnectError {}
