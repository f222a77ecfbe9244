//! The catalogs that are the same in every database: types, functions, operators, and the columns of all.
//!
//! `catalogs.txt` lists the tables and views of `pg_catalog` and `information_schema` of PostgreSQL 16, one a
//! line: name, object number, kind, and the columns with their types. The rows of those that no
//! database changes come with `datafusion-pg-catalog`.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};
use parking_lot::Mutex;

use super::kind::{Family, Kind};
use super::table::{Column, Table, columns};
use super::value::{Row, Value, parse};

const LIST: &str = include_str!("catalogs.txt");

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
    exported: OnceLock<Option<PgCatalogStaticTables>>,
    made: Mutex<HashMap<&'static str, Arc<Table>>>,
    functions: OnceLock<HashMap<String, i64>>,
}

impl Fixed {
    /// The table of an entry; without rows when it is none of those.
    pub(super) fn table(&self, entry: &'static Entry) -> Arc<Table> {
        if let Some(made) = self.made.lock().get(entry.full) {
            return Arc::clone(made);
        }
        let exported = self.exported(entry.name).filter(|_| entry.schema == "pg_catalog");
        let mut rows = exported.map(|table| self.rows(&table, &entry.columns)).unwrap_or_default();
        if entry.name == "pg_type" {
            keep_real_types(&mut rows, &entry.columns);
        }
        let table = Arc::new(Table::new(Arc::clone(&entry.columns), rows));
        self.made.lock().insert(entry.full, Arc::clone(&table));
        table
    }

    pub(super) fn keywords(&self) -> Vec<Value> {
        let all = columns("word:text catcode:char barelabel:bool catdesc:text baredesc:text");
        let table = self.exported("pg_get_keywords");
        let rows = table.map(|table| self.rows(&table, &all)).unwrap_or_default();
        rows.into_iter().map(Value::list).collect()
    }

    fn exported(&self, name: &str) -> Option<Arc<ArrowTable>> {
        let tables = self.exported.get_or_init(|| PgCatalogStaticTables::try_new().ok());
        let t = tables.as_ref()?;
        Some(Arc::clone(match name {
            "pg_aggregate" => &t.pg_aggregate,
            "pg_am" => &t.pg_am,
            "pg_amop" => &t.pg_amop,
            "pg_amproc" => &t.pg_amproc,
            "pg_cast" => &t.pg_cast,
            "pg_collation" => &t.pg_collation,
            "pg_conversion" => &t.pg_conversion,
            "pg_get_keywords" => &t.pg_get_keywords,
            "pg_language" => &t.pg_language,
            "pg_opclass" => &t.pg_opclass,
            "pg_operator" => &t.pg_operator,
            "pg_opfamily" => &t.pg_opfamily,
            "pg_proc" => &t.pg_proc,
            "pg_range" => &t.pg_range,
            "pg_tablespace" => &t.pg_tablespace,
            "pg_ts_config" => &t.pg_ts_config,
            "pg_ts_dict" => &t.pg_ts_dict,
            "pg_ts_parser" => &t.pg_ts_parser,
            "pg_ts_template" => &t.pg_ts_template,
            "pg_type" => &t.pg_type,
            _ => return None,
        }))
    }

    /// The numbers of functions by their names: some columns are exported as names.
    fn function(&self, name: &str) -> i64 {
        let functions = self.functions.get_or_init(|| {
            let mut numbers = HashMap::new();
            let own = columns("oid:oid proname:name");
            let table = self.exported("pg_proc");
            for row in table.map(|table| self.rows(&table, &own)).unwrap_or_default() {
                let number = row[0].int().unwrap_or(0);
                numbers.entry(row[1].shown()).or_insert(number);
            }
            numbers
        });
        let name = name.trim_start_matches("pg_catalog.");
        functions.get(name).copied().unwrap_or(0)
    }

    fn rows(&self, table: &ArrowTable, columns: &[Column]) -> Vec<Row> {
        let mut rows = Vec::new();
        for batch in table.data() {
            let first = rows.len();
            rows.resize(first + batch.num_rows(), Vec::with_capacity(columns.len()));
            for column in columns {
                let array = batch.column_by_name(&column.name);
                for (at, row) in rows[first..].iter_mut().enumerate() {
                    let value = array.and_then(|array| self.value(array.as_ref(), at, column.kind));
                    row.push(value.unwrap_or(Value::Null));
                }
            }
        }
        rows
    }

    fn value(&self, array: &dyn Array, at: usize, kind: Kind) -> Option<Value> {
        // Rights name roles that are not here.
        if array.is_null(at) || kind.item() == Some(Kind::ACLITEM) {
            return None;
        }
        Some(match array.data_type() {
            DataType::Boolean => Value::Bool(array.as_boolean().value(at)),
            DataType::Utf8 => {
                let text = array.as_string::<i32>().value(at);
                match kind.family() {
                    Family::Named => Value::Int(self.function(text)),
                    Family::Array => parse(text, kind).ok()?,
                    Family::Int => Value::Int(text.parse().ok()?),
                    _ => Value::text(text),
                }
            }
            DataType::Float32 | DataType::Float64 => {
                let one = cast(&array.slice(at, 1), &DataType::Float64).ok()?;
                Value::Float(one.as_primitive::<Float64Type>().value(0))
            }
            _ => {
                let one = cast(&array.slice(at, 1), &DataType::Int64).ok()?;
                Value::Int(one.as_primitive::<Int64Type>().value(0))
            }
        })
    }
}

/// Types of rows of tables are left out: their tables may not be here.
fn keep_real_types(rows: &mut Vec<Row>, columns: &[Column]) {
    let place = |name: &str| columns.iter().position(|column| &*column.name == name);
    let (Some(relation), Some(item), Some(oid)) =
        (place("typrelid"), place("typelem"), place("oid"))
    else {
        return;
    };
    let of_rows = |row: &Row| row[relation] != Value::Int(0);
    let gone: Vec<Value> =
        rows.iter().filter(|row| of_rows(row)).map(|row| row[oid].clone()).collect();
    rows.retain(|row| !of_rows(row) && !gone.contains(&row[item]));
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
    fn types_and_functions_are_read() {
        let fixed = Fixed::default();
        let types = fixed.table(entry("pg_catalog", "pg_type").unwrap());
        let input = types.find("typname", &Value::text("int8"), "typinput").unwrap();
        assert_eq!(input, Value::Int(fixed.function("int8in")));
        let procs = fixed.table(entry("pg_catalog", "pg_proc").unwrap());
        let taken = procs.find("proname", &Value::text("int8in"), "proargtypes").unwrap();
        assert_eq!(taken.shown(), "{2275}");
    }
}
