//! The catalogs that are the same in every database: types, functions, operators, and the columns of all.
//!
//! `catalogs.txt` lists the tables and views of `pg_catalog` and `information_schema` of PostgreSQL 16, one a
//! line: name, object number, kind, and the columns with their types. `catalog_rows.txt` has the rows
//! of those that no database changes, as its `COPY` writes them (`catalog_rows.sql` says how).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::table::{Column, Table, columns};
use super::value::{Row, Value, parse};

const LIST: &str = include_str!("catalogs.txt");
const ROWS: &str = include_str!("catalog_rows.txt");

/// A line of the list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) full: &'static str,
    pub(super) schema: &'static str,
    pub(super) name: &'static str,
    pub(super) oid: i64,
    pub(super) relkind: &'static str,
    pub(super) columns: Arc<[Column]>,
}

/// All lines of the list.
pub(super) fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| LIST.lines().filter_map(entry_of).collect())
}

fn entry_of(line: &'static str) -> Option<Entry> {
    let mut parts = line.splitn(4, ' ');
    let full = parts.next()?;
    let (schema, name) = full.split_once('.')?;
    let oid = parts.next()?.parse().ok()?;
    let relkind = parts.next()?;
    Some(Entry { full, schema, name, oid, relkind, columns: columns(parts.next()?) })
}

/// The table of this name.
pub(super) fn entry(schema: &str, name: &str) -> Option<&'static Entry> {
    static NAMES: OnceLock<HashMap<(&str, &str), usize>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let all = entries().iter().enumerate();
        all.map(|(at, entry)| ((entry.schema, entry.name), at)).collect()
    });
    names.get(&(schema, name)).map(|&at| &entries()[at])
}

/// The rows that never change, read when they are first asked for.
#[derive(Debug, Default)]
pub struct Fixed {
    made: Mutex<HashMap<&'static str, Arc<Table>>>,
}

impl Fixed {
    /// The table of an entry; without rows when it is none of those.
    pub(super) fn table(&self, entry: &'static Entry) -> Arc<Table> {
        if let Some(made) = self.made.lock().get(entry.full) {
            return Arc::clone(made);
        }
        let known = entry.schema == "pg_catalog";
        let rows = if known { rows(entry.name, &entry.columns) } else { Vec::new() };
        let table = Arc::new(Table::new(Arc::clone(&entry.columns), rows));
        self.made.lock().insert(entry.full, Arc::clone(&table));
        table
    }
}

/// What `pg_get_keywords()` gives.
pub(super) fn keywords() -> Vec<Value> {
    let columns = columns("word:text catcode:char barelabel:bool catdesc:text baredesc:text");
    rows("pg_get_keywords", &columns).into_iter().map(Value::list).collect()
}

/// The rows of a table of `catalog_rows.txt`.
fn rows(name: &str, columns: &[Column]) -> Vec<Row> {
    let mut lines = ROWS.lines();
    let start = lines.find(|line| line.strip_prefix("# ") == Some(name));
    let own = lines.take_while(|line| start.is_some() && !line.starts_with("# "));
    let row = |line: &str| -> Row {
        let fields = line.split('\t').zip(columns);
        fields.map(|(field, column)| value(field, column)).collect()
    };
    own.map(row).collect()
}

fn value(field: &str, column: &Column) -> Value {
    if field == "\\N" {
        return Value::Null;
    }
    let value = if field.contains('\\') {
        parse(&field.replace("\\n", "\n").replace("\\\\", "\\"), column.kind)
    } else {
        parse(field, column.kind)
    };
    // A test reads every field of the file.
    value.unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole() {
        assert_eq!(entries().len(), LIST.lines().count());
        let class = entry("pg_catalog", "pg_class").unwrap();
        assert_eq!((class.oid, class.relkind), (1259, "r"));
    }

    #[test]
    fn every_field_of_the_rows_is_read() {
        let mut table = None;
        let mut count = 0;
        for line in ROWS.lines() {
            if let Some(name) = line.strip_prefix("# ") {
                table = entry("pg_catalog", name).map(|entry| Arc::clone(&entry.columns));
                assert!(table.is_some() || name == "pg_get_keywords", "{name}");
                continue;
            }
            let Some(columns) = &table else { continue };
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), columns.len(), "{line}");
            for (field, column) in fields.iter().zip(columns.iter()) {
                assert_eq!(value(field, column).is_null(), *field == "\\N", "{field}: {column:?}");
                let escapes = field.replace("\\\\", "").replace("\\N", "").replace("\\n", "");
                assert!(!escapes.contains('\\'), "{field}");
            }
            count += 1;
        }
        assert_eq!(count, 7408);
        assert_eq!(keywords().len(), 471);
    }

    #[test]
    fn types_and_functions_are_read() {
        let fixed = Fixed::default();
        let types = fixed.table(entry("pg_catalog", "pg_type").unwrap());
        let input = types.find("typname", &Value::text("int8"), "typinput").unwrap();
        let procs = fixed.table(entry("pg_catalog", "pg_proc").unwrap());
        assert_eq!(procs.find("proname", &Value::text("int8in"), "oid").unwrap(), input);
        let taken = procs.find("proname", &Value::text("int8in"), "proargtypes").unwrap();
        assert_eq!(taken.shown(), "{2275}");
    }
}
