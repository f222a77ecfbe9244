//! `CREATE SINK`.

use super::{Micros, Name, Query, WrittenOption};
use crate::options::Connector;

/// `CREATE SINK`.
#[derive(Clone, Debug)]
pub struct CreateSink {
    /// The name.
    pub name: Name,
    /// No error when it is there already.
    pub if_not_exists: bool,
    /// Whose changes it sends.
    pub origin: SinkOrigin,
    /// The query whose changes it sends; `SELECT *` of the relation where one is named.
    pub query: Query,
    /// The options as they are written.
    pub written: Vec<WrittenOption>,
    /// What stands in `WITH`.
    pub options: SinkOptions,
}

/// Whose changes a sink sends.
#[derive(Clone, Debug)]
pub enum SinkOrigin {
    /// `FROM` a stream, table or view.
    Relation(Name),
    /// `AS` a query.
    Query,
}

/// The options of a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkOptions {
    /// Where changes go.
    pub connector: Connector,
    /// How they are written.
    pub format: SinkFormat,
    /// What is told of a change; `None`: what fits.
    pub envelope: Option<Envelope>,
    /// The columns by which a row is known there; empty: the primary key, where there is one.
    pub key: Vec<String>,
    /// Whether what is there when it is created is sent first.
    pub snapshot: bool,
    /// Nothing is sent.
    pub paused: bool,
    /// For how long changes are kept that were sent.
    pub keep: Micros,
    /// How many changed rows are kept until it is given up.
    pub kept_rows_max: u64,
}

/// How the changes of a sink are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkFormat {
    /// An object a row.
    Json,
    /// Avro, with the schema registry's leading bytes where there is one.
    Avro,
}

/// What a sink tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The row. For rows that only come.
    Append,
    /// The row as it is now by its key, or nothing for one that is gone.
    Upsert,
    /// The row before and after, in the form of Debezium.
    Debezium,
}

impl Envelope {
    /// Its word in `envelope = '…'`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Upsert => "upsert",
            Self::Debezium => "debezium",
        }
    }
}
