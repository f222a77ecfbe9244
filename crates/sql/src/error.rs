//! What is told to the person who wrote the statement: what is wrong, where, what would be right.
//!
//! ```text
//!   error: column "amout" does not exist in stream "orders"
//!     ┌─ shop.sql:12:8
//!   12 │ SELECT amout FROM orders
//!      │        ^^^^^
//!      = detail: "orders" has the columns order_id, placed_at, amount, currency
//!      = hint: did you mean "amount"?
//! ```
//!
//! What must hold: a message is lowercase, without a full stop, quotes the user's own word and
//! names the kind of object. Detail and hint stand apart, because the Postgres protocol sends
//! them apart.

use codespan_reporting::diagnostic::{Diagnostic, Label};
use codespan_reporting::files::SimpleFile;
use codespan_reporting::term::{self, Config};

/// A range of bytes in a SQL text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// The bytes `start .. end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The part of `text` that the span covers.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// From the start of this span to the end of the `other`.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end.max(self.end) }
    }
}

/// What sort of mistake it is, and with it the SQLSTATE that Postgres clients look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text is not SQL.
    Syntax,
    /// No such column.
    UndefinedColumn,
    /// No such stream, table or view.
    UndefinedRelation,
    /// No such function, or none for these argument types.
    UndefinedFunction,
    /// No such type, setting or other object.
    UndefinedObject,
    /// A parameter `$n` whose type or value is not known.
    UndefinedParameter,
    /// A name that is already taken.
    DuplicateRelation,
    /// Two columns of one name.
    DuplicateColumn,
    /// A column name that could mean two columns.
    AmbiguousColumn,
    /// Types that do not fit.
    DatatypeMismatch,
    /// A literal that is not a value of its type.
    InvalidText,
    /// A name of too many characters.
    NameTooLong,
    /// A text longer than its column takes.
    TooLong,
    /// A number that its type cannot hold.
    OutOfRange,
    /// A time beyond what its type can hold, or none at all.
    TimeOutOfRange,
    /// A division by zero.
    DivisionByZero,
    /// A column that is neither grouped nor aggregated, or an aggregate where none can be.
    Grouping,
    /// An option whose name or value is wrong.
    InvalidOption,
    /// A definition that contradicts itself.
    InvalidDefinition,
    /// The statement does not work on this kind of object.
    WrongKind,
    /// Something else is built on the object.
    DependentObjects,
    /// Right, but not something Yeoul does.
    NotSupported,
    /// A value missing where one must be.
    NotNull,
    /// The statement was right and failed while running.
    Execution,
    /// A bound was reached.
    OutOfResources,
    /// A statement that is nested too deeply.
    TooComplex,
    /// A bug of ours.
    Internal,
}

/// An error about a statement, made for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What is wrong: lowercase, no full stop.
    pub message: String,
    /// The facts: valid names, types found.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where, in the text that was given to [`crate::parse`].
    pub span: Option<Span>,
    /// What sort of mistake.
    pub kind: ErrorKind,
}

impl SqlError {
    /// An error without a place.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), detail: None, hint: None, span: None, kind }
    }

    /// A right statement that Yeoul does not carry out.
    #[must_use]
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotSupported, message)
    }

    /// The same with a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// The same with a place, unless it has one already or there is none.
    #[must_use]
    pub fn or_at(mut self, span: Option<Span>) -> Self {
        self.span = self.span.or(span);
        self
    }

    /// The five characters of the SQL standard that Postgres clients decide by.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self.kind {
            ErrorKind::Syntax => "42601",
            ErrorKind::UndefinedColumn => "42703",
            ErrorKind::UndefinedRelation => "42P01",
            ErrorKind::UndefinedFunction => "42883",
            ErrorKind::UndefinedObject => "42704",
            ErrorKind::UndefinedParameter => "42P02",
            ErrorKind::DuplicateRelation => "42P07",
            ErrorKind::DuplicateColumn => "42701",
            ErrorKind::AmbiguousColumn => "42702",
            ErrorKind::DatatypeMismatch => "42804",
            ErrorKind::InvalidText => "22P02",
            ErrorKind::NameTooLong => "42622",
            ErrorKind::TooLong => "22001",
            ErrorKind::OutOfRange => "22003",
            ErrorKind::TimeOutOfRange => "22008",
            ErrorKind::DivisionByZero => "22012",
            ErrorKind::Grouping => "42803",
            ErrorKind::InvalidOption => "22023",
            ErrorKind::InvalidDefinition => "42P16",
            ErrorKind::WrongKind => "42809",
            ErrorKind::DependentObjects => "2BP01",
            ErrorKind::NotSupported => "0A000",
            ErrorKind::NotNull => "23502",
            ErrorKind::Execution => "22000",
            ErrorKind::OutOfResources => "53000",
            ErrorKind::TooComplex => "54001",
            ErrorKind::Internal => "XX000",
        }
    }

    /// Where, as the Postgres protocol counts: characters of `text`, the first is 1.
    #[must_use]
    pub fn position(&self, text: &str) -> Option<usize> {
        let span = self.span?;
        text.get(..span.start).map(|before| before.chars().count() + 1)
    }

    /// The error as people read it, with the line of `text` it is about. `name` is the file's
    /// name, or what the text is called where there is no file.
    #[must_use]
    pub fn render(&self, name: &str, text: &str) -> String {
        let mut diagnostic = Diagnostic::<()>::error().with_message(&self.message);
        if let Some(span) = self.span {
            let end = text.len();
            let range = span.start.min(end)..span.end.min(end);
            diagnostic = diagnostic.with_labels(vec![Label::primary((), range)]);
        }
        let detail = self.detail.iter().map(|d| format!("detail: {d}"));
        let hint = self.hint.iter().map(|h| format!("hint: {h}"));
        diagnostic = diagnostic.with_notes(detail.chain(hint).collect());
        let file = SimpleFile::new(name, text);
        let mut out = String::new();
        match term::emit_to_string(&mut out, &Config::default(), &file, &diagnostic) {
            Ok(()) => out,
            // Only a span outside the text ends here; the message itself is never lost.
            Err(_) => format!("error: {}\n", self.message),
        }
    }
}
