//! SQL: text to statements, statements to plans, views to the algebra they are kept in.
//!
//! ```text
//!   text ──parse──▶ Statement ──Planner──▶ QueryPlan (DataFusion runs it)
//!                                      └─▶ ViewPlan  (`flow` keeps it)
//! ```
//!
//! The dialect is PostgreSQL's with the streaming words of RisingWave and Flink. What the words
//! mean is written in `docs/guide/sql.md`.
//!
//! What must hold: a view's plan and the batch plan of the same text have the same columns, of
//! the same types; every error says what is wrong, where, and what would be right.
//!
//! Not here: anything that runs. No catalog of its own, no rows, no disk, no clock.

mod alter;
mod assign;
mod ast;
mod catalog;
mod change;
mod coerce;
pub mod datatype;
mod dialect;
mod error;
mod exact;
mod explain;
mod frames;
mod function;
mod functions;
mod interval;
mod keys;
mod lateral;
mod lower;
mod micros;
mod nearest;
mod number;
pub mod options;
mod parse;
mod planner;
mod released;
mod rewrite;
mod sets;
mod text;
mod translate;
mod view;

pub use alter::{Altered, ColumnHistory, altered};
pub use assign::assign;
pub use ast::{
    Alter, AlterAction, Column, CopyFormat, CopyFrom, CopyTo, CreateFunction, CreateSink,
    CreateStream, CreateTable, CreateView, Delete, Discard, Drop, DropFunction, Envelope, Explain,
    ExplainTarget, Insert, Micros, Name, ObjectKind, Query, SetSetting, Show, SinkFormat,
    SinkOptions, SinkOrigin, Spanned, Statement, StreamOptions, Transaction, Update, Watermark,
    WrittenOption,
};
pub use catalog::{Catalog, PUBLIC_SCHEMAS, Relation, RelationKind};
pub use change::ChangePlan;
pub use dialect::OurDialect;
pub use error::{ErrorKind, Span, SqlError};
pub use function::{FunctionKey, SqlFunction};
pub use functions::{register, scalars};
pub use nearest::{did_you_mean, nearest};
pub use options::{
    Connector, ConnectorOptions, ConnectorSpec, Connectors, Contradiction, OnError, OptionSpec,
    OptionType, PartitionBy, PartitionUnit, Target,
};
pub use parse::{Surroundings, parse, parse_query, parse_stored, parse_with};
pub use planner::{Planner, QueryPlan, unknown_relation};
pub use released::{Grows, Unreleased};
pub use text::{TEXT_BYTES_MAX, Text, quoted};
pub use translate::execution as execution_error;
pub use view::{
    AggregateCall, AggregateFunction, ClockCondition, GroupTime, JoinKind, JoinTimes, Nearest,
    OrderBy, RankFunction, ViewNode, ViewPlan, WindowKind,
};
pub use yeoul_batch::{DecodeOptions, Format, TimestampUnit};
