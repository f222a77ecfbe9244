//! Tables of the catalog in memory, with an index of a column made when one is first asked for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::kind::{Family, Kind};
use super::value::{Row, Value};

/// The rows of each value of a column.
type Index = HashMap<Value, Vec<usize>>;

/// A name and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: Arc<str>,
    pub(super) kind: Kind,
}

/// Rows that do not change.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Arc<[Column]>,
    pub(super) rows: Vec<Row>,
    indexes: Mutex<HashMap<usize, Arc<Index>>>,
}

impl Table {
    pub(super) fn new(columns: Arc<[Column]>, rows: Vec<Row>) -> Self {
        Self { columns, rows, indexes: Mutex::default() }
    }

    /// The rows by the values of a column.
    pub(super) fn index(&self, column: usize) -> Arc<Index> {
        let mut indexes = self.indexes.lock();
        let made = indexes.entry(column).or_insert_with(|| {
            let mut index = Index::with_capacity(self.rows.len());
            for (at, row) in self.rows.iter().enumerate() {
                index.entry(row[column].clone()).or_default().push(at);
            }
            Arc::new(index)
        });
        Arc::clone(made)
    }

    /// Where a column stands.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }

    /// The value of `wanted` in the first row in which `column` is `key`.
    pub(super) fn find(&self, column: &str, key: &Value, wanted: &str) -> Option<Value> {
        let (column, wanted) = (self.place(column)?, self.place(wanted)?);
        let index = self.index(column);
        let row = *index.get(key)?.first()?;
        Some(self.rows[row][wanted].clone())
    }
}

/// Columns written as `name:type name:type …`.
pub(super) fn columns(text: &str) -> Arc<[Column]> {
    let column = |part: &str| {
        let (name, kind) = part.split_once(':').unwrap_or((part, "text"));
        let kind = match kind {
            "char" => Kind::CHAR,
            kind => Kind::by_name(kind).unwrap_or(Kind::TEXT),
        };
        Column { name: name.into(), kind }
    };
    text.split_whitespace().map(column).collect()
}

/// A row with these values. Other columns are 0, false or '' where the catalogs of PostgreSQL have no
/// nulls, and null elsewhere.
pub(super) fn row<const N: usize>(columns: &[Column], values: [(&str, Value); N]) -> Row {
    let mut row: Row = columns.iter().map(|column| default(column.kind)).collect();
    for (name, value) in values {
        let at = columns.iter().position(|column| &*column.name == name);
        // Two lists of this crate disagree otherwise.
        row[at.expect("the values of a catalog row are those of its columns")] = value;
    }
    row
}

fn default(kind: Kind) -> Value {
    match kind.family() {
        Family::Bool => Value::Bool(false),
        Family::Int => Value::Int(0),
        Family::Float => Value::Float(0.0),
        Family::Text if kind == Kind::CHAR => Value::text(""),
        _ => Value::Null,
    }
}
