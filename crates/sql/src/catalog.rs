//! What planning has to know about the things a statement names.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::TableReference;
use datafusion::logical_expr::{ScalarUDF, TableSource};

use crate::function::SqlFunction;

/// The kinds of relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelationKind {
    /// Append-only rows with an event time.
    Stream,
    /// Rows with a primary key.
    Table,
    /// A materialized view.
    View,
    /// What sends changes elsewhere. It has a name among the others, and no rows to read.
    Sink,
    /// One of ours to look at: `yeoul.*`, `pg_catalog.*`, `information_schema.*`.
    System,
}

impl fmt::Display for RelationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::View => "view",
            Self::Sink => "sink",
            Self::System => "system table",
        })
    }
}

/// A stream, table or view as planning sees it.
#[derive(Clone, Debug)]
pub struct Relation {
    /// What it is.
    pub kind: RelationKind,
    /// Its columns, with the types of [`crate::datatype`].
    pub schema: SchemaRef,
    /// The columns of its primary key, by position; empty where there is none.
    pub primary_key: Vec<usize>,
    /// The column that holds the event time, by position.
    pub event_time: Option<usize>,
    /// Columns by which rows are known to be complete: the position, and how far the watermark must be past a value
    /// until no row with that value comes any more, in microseconds.
    pub lags: Vec<(usize, i64)>,
    /// Of a view: a table whose changes change its rows, whatever the watermark says.
    pub of_table: Option<String>,
    /// Whether rows only come and never go: true of streams, and of views that filter or
    /// project streams.
    pub append_only: bool,
}

/// What there is. The engine implements it over its own catalog.
pub trait Catalog {
    /// The stream, table or view of this name (already folded as PostgreSQL folds names).
    fn relation(&self, name: &str) -> Option<Relation>;

    /// The names of all streams, tables and views, for messages.
    fn names(&self) -> Vec<String>;

    /// Where a batch query reads the relation from. `None` lets planning use the bare schema of
    /// [`Catalog::relation`], which can be planned and lowered but not run.
    ///
    /// Called with the name as it was written, so that `pg_catalog.pg_class` can be answered too.
    fn source(&self, name: &TableReference) -> Option<Arc<dyn TableSource>>;

    /// A function that only queries have, since its answer is not of the rows: `current_user`.
    fn function(&self, _name: &str) -> Option<Arc<ScalarUDF>> {
        None
    }

    /// The functions of this name that people wrote, which differ in how many arguments they take.
    fn sql_functions(&self, _name: &str) -> Vec<Arc<SqlFunction>> {
        Vec::new()
    }
}

/// The schemas in which plain relations are found, so that `public.orders` is `orders`.
pub const PUBLIC_SCHEMAS: [&str; 1] = ["public"];
