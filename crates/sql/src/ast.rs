//! Statements. Ours where the language is ours; the expressions and queries inside are those of
//! the SQL parser.

mod sink;

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast as sql;

use crate::error::Span;
use crate::function::SqlFunction;
use crate::options::{Connector, OnError, PartitionBy};
use crate::text::Text;
use yeoul_batch::{DecodeOptions, Metadata};

pub use sink::{CreateSink, Envelope, SinkFormat, SinkOptions, SinkOrigin};

/// Something with its place in the text.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The thing.
    pub node: T,
    /// Where it stands, without the semicolon.
    pub span: Span,
    /// The text it stands in.
    pub text: Arc<Text>,
}

impl<T> Spanned<T> {
    /// The SQL of this one thing.
    #[must_use]
    pub fn sql(&self) -> &str {
        self.span.of(self.text.as_str())
    }
}

/// A duration in microseconds, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

/// A name with its place. Unquoted names are folded to lower case, as PostgreSQL does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The folded name; `public.` has been taken off.
    pub value: String,
    /// Where it stands.
    pub span: Span,
}

/// A query inside a statement.
#[derive(Clone, Debug)]
pub struct Query {
    /// The parser's tree.
    pub ast: Box<sql::Query>,
    /// Where it stands.
    pub span: Span,
    /// The text it stands in.
    pub text: Arc<Text>,
}

impl Query {
    /// The SQL of the query.
    #[must_use]
    pub fn sql(&self) -> &str {
        self.span.of(self.text.as_str())
    }
}

/// One statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `CREATE STREAM`, or `CREATE TABLE … APPEND ONLY`.
    CreateStream(CreateStream),
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `CREATE MATERIALIZED VIEW`.
    CreateView(CreateView),
    /// `CREATE SINK`.
    CreateSink(CreateSink),
    /// `CREATE OR REPLACE MATERIALIZED VIEWS $$ … $$`: several views and functions, which are replaced at
    /// once. Each is a [`Statement::CreateView`] or a [`Statement::CreateFunction`].
    ReplaceViews(Vec<Spanned<Statement>>),
    /// `CREATE FUNCTION`.
    CreateFunction(Box<CreateFunction>),
    /// `DROP FUNCTION`.
    DropFunction(DropFunction),
    /// `DROP STREAM | TABLE | [MATERIALIZED] VIEW | SINK`.
    Drop(Drop),
    /// `ALTER STREAM | TABLE | [MATERIALIZED] VIEW | SINK`.
    Alter(Alter),
    /// `SHOW …` of our objects and of settings.
    Show(Show),
    /// `DESCRIBE x`, `\d`-like: the columns of a relation.
    Describe(Name),
    /// `EXPLAIN [ANALYZE] [VERBOSE] …`.
    Explain(Explain),
    /// `SELECT`, `VALUES`, `TABLE x`, `WITH … SELECT`.
    Query(Query),
    /// `INSERT INTO … VALUES | SELECT`.
    Insert(Insert),
    /// `UPDATE`.
    Update(Update),
    /// `DELETE`.
    Delete(Delete),
    /// `COPY … FROM STDIN`.
    CopyFrom(CopyFrom),
    /// `COPY … TO STDOUT`.
    CopyTo(CopyTo),
    /// `FLUSH`: wait until what was accepted before is visible and durable.
    Flush,
    /// `SET name = value`; `RESET name` has no value, `RESET ALL` no name either.
    Set(SetSetting),
    /// `BEGIN`, `COMMIT`, `ROLLBACK` and their other spellings: accepted, every statement is its
    /// own commit.
    Transaction(Transaction),
    /// `DISCARD …`: forget what the connection has set or prepared.
    Discard(Discard),
    /// `DEALLOCATE name`, or all when there is none.
    Deallocate(Option<Name>),
}

/// A column of a stream or table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: Name,
    /// Name, type, nullability and our metadata as Arrow says it.
    pub field: FieldRef,
    /// What it is of, when it is not in the event but told beside it.
    pub metadata: Option<Metadata>,
}

/// `CREATE STREAM`.
#[derive(Clone, Debug)]
pub struct CreateStream {
    /// The name.
    pub name: Name,
    /// No error when it is there already.
    pub if_not_exists: bool,
    /// The columns.
    pub columns: Vec<Column>,
    /// The options as they are written.
    pub written: Vec<WrittenOption>,
    /// `WATERMARK FOR column AS column - INTERVAL …`.
    pub watermark: Option<Watermark>,
    /// What stands in `WITH`.
    pub options: StreamOptions,
}

/// The event time of a stream and how far behind it the watermark runs.
#[derive(Clone, Debug)]
pub struct Watermark {
    /// The column, by position.
    pub column: usize,
    /// The watermark is the greatest event time seen, minus this.
    pub delay: Micros,
}

/// The options of a stream.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// The columns by which duplicates are known; empty: duplicates are kept.
    pub unique_key: Vec<usize>,
    /// For how long keys are remembered; `None`: for ever.
    pub unique_within: Option<Micros>,
    /// The columns rows are sorted by in parts.
    pub order_by: Vec<usize>,
    /// How parts are divided by time.
    pub partition_by: Option<PartitionBy>,
    /// Partitions older than this are dropped; zero: rows are carried into views and not kept.
    pub retention: Option<Micros>,
    /// Rows later than this behind the watermark are listed.
    pub lateness: Micros,
    /// A stream to which nothing has come for so long holds no watermark back.
    pub watermark_idle: Option<Micros>,
    /// How far ahead of now an event time may be; `None`: any time.
    pub future_skew: Option<Micros>,
    /// What is done with an event that cannot be decoded.
    pub on_error: OnError,
    /// How events are written.
    pub decode: DecodeOptions,
    /// Where events come from.
    pub connector: Connector,
}

/// `CREATE TABLE`.
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// The name.
    pub name: Name,
    /// No error when it is there already.
    pub if_not_exists: bool,
    /// The columns.
    pub columns: Vec<Column>,
    /// The options as they are written.
    pub written: Vec<WrittenOption>,
    /// The columns of the primary key, by position, in the order they were named. Without any the
    /// table keeps every row: each has a hidden number of its own.
    pub primary_key: Vec<usize>,
    /// What is done with an event that cannot be decoded.
    pub on_error: OnError,
    /// How events are written.
    pub decode: DecodeOptions,
    /// Where changes come from.
    pub connector: Connector,
}

/// `CREATE MATERIALIZED VIEW`.
#[derive(Clone, Debug)]
pub struct CreateView {
    /// The name.
    pub name: Name,
    /// No error when it is there already.
    pub if_not_exists: bool,
    /// It takes the place of the view of this name, if there is one.
    pub or_replace: bool,
    /// Column names given after the view's name; empty: those of the query.
    pub columns: Vec<Name>,
    /// The query.
    pub query: Query,
    /// Where `EMIT ON WINDOW CLOSE` stands: each row is told once, when its window is closed.
    pub on_close: Option<Span>,
}

/// `ALTER`.
#[derive(Clone, Debug)]
pub struct Alter {
    /// The word after `ALTER`.
    pub kind: ObjectKind,
    /// What is changed.
    pub name: Name,
    /// No error when it is not there.
    pub if_exists: bool,
    /// How.
    pub action: AlterAction,
}

/// What an `ALTER` does.
#[derive(Clone, Debug)]
pub enum AlterAction {
    /// `CANCEL REPLACE`: the version that is being built is given up.
    CancelReplace,
    /// `ADD COLUMN [IF NOT EXISTS] column type [NOT NULL] [DEFAULT constant]`.
    AddColumn {
        /// The column.
        column: Column,
        /// What the rows that are there have in it.
        default: Option<String>,
        /// No error when it is there already.
        if_not_exists: bool,
    },
    /// `DROP COLUMN [IF EXISTS] column`.
    DropColumn {
        /// The column.
        name: Name,
        /// No error when it is not there.
        if_exists: bool,
    },
    /// `RENAME COLUMN from TO to`.
    RenameColumn {
        /// What it is called.
        from: Name,
        /// What it will be called.
        to: Name,
    },
    /// `ALTER COLUMN column TYPE type`.
    ColumnType {
        /// The column.
        name: Name,
        /// Its new type.
        field: FieldRef,
    },
    /// `SET (name = 'value', …)`.
    Set(Vec<WrittenOption>),
    /// `RENAME TO name`.
    Rename(Name),
    /// `REWIND TO EARLIEST`, or `REWIND TO COMMIT number`: a sink sends again what came after this commit.
    Rewind(u64),
}

/// An option as it is written: a `${NAME}` in it is kept as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenOption {
    /// Its name.
    pub name: String,
    /// Its value with its quotes.
    pub value: String,
}

/// What a `DROP` or an `ALTER` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// `STREAM`
    Stream,
    /// `TABLE`; a stream made by `CREATE TABLE … APPEND ONLY` is meant as well.
    Table,
    /// `[MATERIALIZED] VIEW`
    View,
    /// `SINK`
    Sink,
}

/// `DROP`.
#[derive(Clone, Debug)]
pub struct Drop {
    /// The word after `DROP`.
    pub kind: ObjectKind,
    /// What to drop.
    pub names: Vec<Name>,
    /// No error when it is not there.
    pub if_exists: bool,
    /// Also what is built on it.
    pub cascade: bool,
}

/// `CREATE FUNCTION`.
#[derive(Clone, Debug)]
pub struct CreateFunction {
    /// The name.
    pub name: Name,
    /// One that is there already becomes this one.
    pub or_replace: bool,
    /// The function.
    pub function: SqlFunction,
    /// Where the statement stands.
    pub span: Span,
    /// The text it stands in.
    pub text: Arc<Text>,
}

/// `DROP FUNCTION`.
#[derive(Clone, Debug)]
pub struct DropFunction {
    /// Which, and how many arguments they take, where that is said.
    pub functions: Vec<(Name, Option<usize>)>,
    /// No error when it is not there.
    pub if_exists: bool,
}

/// `SHOW`.
#[derive(Clone, Debug)]
pub enum Show {
    /// `SHOW STREAMS`
    Streams,
    /// `SHOW TABLES`
    Tables,
    /// `SHOW [MATERIALIZED] VIEWS`
    Views,
    /// `SHOW SINKS`
    Sinks,
    /// `SHOW FUNCTIONS`: those that people wrote.
    Functions,
    /// `SHOW ALL`: every setting.
    AllSettings,
    /// `SHOW name`: one setting.
    Setting(Name),
    /// `SHOW CREATE [STREAM | TABLE | MATERIALIZED VIEW] name`
    Create(Name),
    /// `SHOW COLUMNS FROM name`
    Columns(Name),
}

/// `EXPLAIN`.
#[derive(Clone, Debug)]
pub struct Explain {
    /// Run it and say what it cost.
    pub analyze: bool,
    /// Say more.
    pub verbose: bool,
    /// Of what.
    pub target: ExplainTarget,
}

/// What is explained.
#[derive(Clone, Debug)]
pub enum ExplainTarget {
    /// How a query would be answered.
    Query(Query),
    /// How a view would be kept.
    View(CreateView),
}

/// `INSERT`.
#[derive(Clone, Debug)]
pub struct Insert {
    /// Into what.
    pub table: Name,
    /// The columns named, or empty.
    pub columns: Vec<Name>,
    /// The rows.
    pub source: Query,
    /// `ON CONFLICT DO NOTHING`; a row whose key exists is otherwise replaced.
    pub keep_existing: bool,
}

/// `UPDATE table SET column = expr, … [WHERE …]`.
#[derive(Clone, Debug)]
pub struct Update {
    /// The table.
    pub table: Name,
    /// The name it goes by inside the statement, where it was given one.
    pub alias: Option<Name>,
    /// What is set to what.
    pub assignments: Vec<(Name, sql::Expr)>,
    /// Which rows; `None`: all.
    pub selection: Option<sql::Expr>,
    /// The text it stands in.
    pub text: Arc<Text>,
}

/// `DELETE FROM table [WHERE …]`.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The table.
    pub table: Name,
    /// The name it goes by inside the statement, where it was given one.
    pub alias: Option<Name>,
    /// Which rows; `None`: all.
    pub selection: Option<sql::Expr>,
    /// The text it stands in.
    pub text: Arc<Text>,
}

/// The text formats of `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFormat {
    /// Comma-separated values; else Postgres's text format.
    pub csv: bool,
    /// The first line names the columns.
    pub header: bool,
    /// What stands between values: one byte.
    pub delimiter: u8,
    /// How a null is written.
    pub null: String,
    /// The quote of CSV.
    pub quote: u8,
    /// What escapes a quote in CSV.
    pub escape: u8,
}

/// `COPY table [(columns)] FROM STDIN`.
#[derive(Clone, Debug)]
pub struct CopyFrom {
    /// Into what.
    pub table: Name,
    /// The columns named, or empty.
    pub columns: Vec<Name>,
    /// How the data is written.
    pub format: CopyFormat,
}

/// `COPY … TO STDOUT`.
#[derive(Clone, Debug)]
pub struct CopyTo {
    /// The rows; `COPY t (a, b) TO STDOUT` has been made a query.
    pub query: Query,
    /// How the data is written.
    pub format: CopyFormat,
}

/// `SET` and `RESET`.
#[derive(Clone, Debug)]
pub struct SetSetting {
    /// Which; `None`: all of them (`RESET ALL`).
    pub name: Option<Name>,
    /// To what; `None`: the default.
    pub value: Option<String>,
}

/// Transaction control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// `BEGIN`, `START TRANSACTION`
    Begin,
    /// `COMMIT`, `END`
    Commit,
    /// `ROLLBACK`, `ABORT`
    Rollback,
}

/// `DISCARD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Everything.
    All,
    /// Prepared statements.
    Plans,
    /// Temporary things and sequences: there are none.
    Other,
}
