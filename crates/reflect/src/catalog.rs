//! The catalogs as of one commit: tables by name, and the names of objects.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use yeoul_sql::RelationKind;

use super::fixed::{self, Entry, Fixed};
use super::kind::Kind;
use super::table::Table;
use super::value::Value;
use super::{Client, Question, information, rows, views};

/// The numbers of our schemas; the others are PostgreSQL's own.
pub(super) const PUBLIC: i64 = 2200;
pub(super) const YEOUL: i64 = 16_390;
pub(super) const PG_CATALOG: i64 = 11;
pub(super) const INFORMATION_SCHEMA: i64 = 13_283;

/// The number of the one database, and of its owner.
pub(super) const DATABASE: i64 = 16_384;
pub(super) const OWNER: i64 = 10;

/// Finds the query in a statement.
type ViewQuery = dyn Fn(&str) -> Option<String> + Send + Sync;

/// What there is, as of one commit.
pub struct Facts {
    /// Our relations.
    pub relations: Vec<Shown>,
    /// The functions that people wrote.
    pub functions: Vec<ShownFunction>,
    /// Now, in microseconds since 1970.
    pub now_us: i64,
    /// The query in the statement that created a view.
    pub view_query: Box<ViewQuery>,
}

/// A stream, table, view or system table as the catalogs show it.
#[derive(Debug)]
pub struct Shown {
    /// Its number. The three behind it are its index, its constraint, and one in reserve.
    pub oid: i64,
    /// `public` or `yeoul`.
    pub schema: &'static str,
    /// Its name in the schema.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns.
    pub fields: arrow::datatypes::SchemaRef,
    /// The columns of its primary key.
    pub key: Vec<usize>,
    /// The statement that created it.
    pub sql: String,
    /// How many rows are stored.
    pub rows: u64,
    /// How large they are.
    pub bytes: u64,
    /// What it is, in words.
    pub comment: String,
}

/// A function that somebody wrote.
#[derive(Debug)]
pub struct ShownFunction {
    /// Its number.
    pub oid: i64,
    /// Its name.
    pub name: String,
    /// The names of its parameters, empty where they have none, and their types.
    pub parameters: Vec<(String, String)>,
    /// The type of its value.
    pub returns: String,
    /// The statement that created it.
    pub sql: String,
}

impl Shown {
    pub(super) fn relkind(&self) -> &'static str {
        match self.kind {
            RelationKind::View => "m",
            // Sinks are not shown.
            RelationKind::System | RelationKind::Sink => "v",
            RelationKind::Stream | RelationKind::Table => "r",
        }
    }

    pub(super) fn namespace(&self) -> i64 {
        if self.schema == "public" { PUBLIC } else { YEOUL }
    }

    pub(super) fn index(&self) -> i64 {
        self.oid + 1
    }

    pub(super) fn constraint(&self) -> i64 {
        self.oid + 2
    }

    pub(super) fn index_name(&self) -> String {
        format!("{}_pkey", self.name)
    }
}

/// See the module.
pub(super) struct Catalog<'a> {
    facts: &'a Facts,
    fixed: &'a Fixed,
    pub(super) client: Arc<dyn Client>,
    pub(super) relations: &'a [Shown],
    pub(super) functions: &'a [ShownFunction],
    pub(super) now_us: i64,
    made: Mutex<HashMap<&'static str, Arc<Table>>>,
}

impl<'a> Catalog<'a> {
    pub(super) fn new(question: &'a Question) -> Self {
        Self {
            facts: &question.facts,
            fixed: &question.fixed,
            client: Arc::clone(&question.client),
            relations: &question.facts.relations,
            functions: &question.facts.functions,
            now_us: question.facts.now_us,
            made: Mutex::default(),
        }
    }

    /// The table of this name; without a schema one of `pg_catalog`.
    pub(super) fn table(&self, schema: Option<&str>, name: &str) -> Option<Arc<Table>> {
        let entry = fixed::entry(schema.unwrap_or("pg_catalog"), name)?;
        if let Some(made) = self.made.lock().get(entry.full) {
            return Some(Arc::clone(made));
        }
        let table = self.make(entry);
        self.made.lock().insert(entry.full, Arc::clone(&table));
        Some(table)
    }

    fn make(&self, entry: &'static Entry) -> Arc<Table> {
        let made = match entry.schema {
            "information_schema" => information::rows(self, entry.name, &entry.columns),
            _ => rows::rows(self, entry.name, &entry.columns)
                .or_else(|| views::rows(self, entry.name, &entry.columns)),
        };
        match made {
            Some(rows) => Arc::new(Table::new(Arc::clone(&entry.columns), rows)),
            None => self.fixed.table(entry),
        }
    }

    /// The function of this number that somebody wrote.
    pub(super) fn function(&self, oid: i64) -> Option<&ShownFunction> {
        self.functions.iter().find(|function| function.oid == oid)
    }

    /// The rows of PostgreSQL's own functions.
    pub(super) fn own_functions(&self) -> Option<Arc<Table>> {
        fixed::entry("pg_catalog", "pg_proc").map(|entry| self.fixed.table(entry))
    }

    pub(super) fn pg(&self, name: &str) -> Option<Arc<Table>> {
        self.table(None, name)
    }

    /// Our relation of this number, or the one whose index or constraint it is.
    pub(super) fn shown(&self, oid: i64) -> Option<&Shown> {
        self.relations.iter().find(|r| (r.oid..r.oid + 4).contains(&oid))
    }

    /// The query of a view.
    pub(super) fn definition(&self, relation: &Shown) -> Option<String> {
        (relation.kind == RelationKind::View).then(|| (self.facts.view_query)(&relation.sql))?
    }

    /// The number of the relation that a name with or without a schema means.
    pub(super) fn relation_number(&self, parts: &[String]) -> Option<i64> {
        let (name, schema) = match parts {
            [name] => (name, None),
            [.., schema, name] => (name, Some(schema.as_str())),
            [] => return None,
        };
        let mut ours = self.relations.iter();
        let wanted = schema.unwrap_or("public");
        if let Some(found) = ours.find(|r| r.schema == wanted && r.name == *name) {
            return Some(found.oid);
        }
        let mut indexed = self.relations.iter().filter(|r| !r.key.is_empty());
        if let Some(found) = indexed.find(|r| r.schema == wanted && r.index_name() == *name) {
            return Some(found.index());
        }
        fixed::entry(schema.unwrap_or("pg_catalog"), name).map(|entry| entry.oid)
    }

    /// The name of a relation, with its schema where that is not searched.
    pub(super) fn relation_name(&self, oid: i64) -> Option<String> {
        use super::cast::quoted;
        if let Some(shown) = self.shown(oid) {
            let own = if shown.index() == oid { shown.index_name() } else { shown.name.clone() };
            return Some(match shown.schema {
                "public" => quoted(&own),
                schema => format!("{schema}.{}", quoted(&own)),
            });
        }
        let entry = fixed::entries().iter().find(|entry| entry.oid == oid)?;
        Some(if entry.schema == "pg_catalog" { entry.name } else { entry.full }.to_owned())
    }

    /// How a type is shown, with its modifier.
    pub(super) fn type_name(&self, oid: i64, modifier: Option<i64>) -> Option<String> {
        let modifier = modifier.filter(|modifier| *modifier >= 4).map(|modifier| modifier - 4);
        let known = u32::try_from(oid).ok().and_then(|oid| Kind(oid).shown());
        if let Some(known) = known {
            return Some(match (oid, modifier) {
                (1042 | 1043, Some(length)) => format!("{known}({length})"),
                (1700, Some(both)) => format!("{known}({},{})", both >> 16, both & 0xffff),
                _ => known,
            });
        }
        let types = self.pg("pg_type")?;
        let key = Value::Int(oid);
        let item = types.find("oid", &key, "typelem")?.int().unwrap_or(0);
        let array = types.find("oid", &key, "typlen")? == Value::Int(-1) && item != 0;
        if array {
            return Some(format!("{}[]", self.type_name(item, None)?));
        }
        types.find("oid", &key, "typname").map(|name| name.shown())
    }

    /// The number of the type that a text names.
    pub(super) fn type_number(&self, text: &str) -> Option<i64> {
        let name = text.trim().trim_start_matches("pg_catalog.");
        if let Some(kind) = Kind::by_name(name) {
            return Some(i64::from(kind.0));
        }
        let types = self.pg("pg_type")?;
        let name = super::cast::parts(name).pop()?;
        let plain = name.split('(').next().unwrap_or_default();
        let (plain, column) = match plain.strip_suffix("[]") {
            Some(item) => (item, "typarray"),
            None => (plain, "oid"),
        };
        types.find("typname", &Value::text(plain), column)?.int()
    }
}
