//! The catalogs as of one commit: tables by name, and the names of objects.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use yeoul_sql::{RelationKind, Statement};

use super::fixed::{self, Entry, Fixed};
use super::kind::Kind;
use super::table::Table;
use super::value::Value;
use super::{Client, information, rows, views};
use crate::catalog::{Body, Relation};
use crate::shared::Shared;
use crate::system;
use crate::world::World;

/// The numbers of our schemas; the others are PostgreSQL's own.
pub(super) const PUBLIC: i64 = 2200;
pub(super) const YEOUL: i64 = 16_390;
pub(super) const PG_CATALOG: i64 = 11;
pub(super) const INFORMATION_SCHEMA: i64 = 13_283;

/// The number of the one database, and of its owner.
pub(super) const DATABASE: i64 = 16_384;
pub(super) const OWNER: i64 = 10;

/// Where the numbers of system tables and of all other relations begin. A relation takes four: its own, its
/// index, its constraint, and one in reserve.
const SYSTEM_FROM: i64 = 17_000;
const RELATIONS_FROM: i64 = 20_000;

/// A stream, table, view or system table as the catalogs show it.
pub(super) struct Shown {
    pub(super) oid: i64,
    pub(super) schema: &'static str,
    pub(super) name: String,
    /// `r`, `m` or `v`.
    pub(super) relkind: &'static str,
    pub(super) kind: RelationKind,
    pub(super) fields: arrow::datatypes::SchemaRef,
    /// The columns of its primary key.
    pub(super) key: Vec<usize>,
    /// The statement that created it.
    pub(super) sql: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// What it is, in words.
    pub(super) comment: String,
}

impl Shown {
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
pub(super) struct Catalog {
    shared: Arc<Shared>,
    fixed: Arc<Fixed>,
    pub(super) client: Arc<dyn Client>,
    pub(super) relations: Vec<Shown>,
    pub(super) now_us: i64,
    made: Mutex<HashMap<&'static str, Arc<Table>>>,
}

impl Catalog {
    pub(super) fn new(shared: &Arc<Shared>, world: &Arc<World>, client: Arc<dyn Client>) -> Self {
        let fixed = shared.fixed_catalogs.get_or_init(Arc::default);
        Self {
            shared: Arc::clone(shared),
            fixed: Arc::clone(fixed),
            client,
            relations: shown(shared, world),
            now_us: shared.clock.now_us(),
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

    pub(super) fn pg(&self, name: &str) -> Option<Arc<Table>> {
        self.table(None, name)
    }

    pub(super) fn keywords(&self) -> Vec<Value> {
        self.fixed.keywords()
    }

    /// Our relation of this number, or the one whose index or constraint it is.
    pub(super) fn shown(&self, oid: i64) -> Option<&Shown> {
        self.relations.iter().find(|r| (r.oid..r.oid + 4).contains(&oid))
    }

    /// The query of a view.
    pub(super) fn definition(&self, relation: &Shown) -> Option<String> {
        match self.shared.planning.statement(&relation.sql).ok()? {
            Statement::CreateView(view) => Some(view.query.sql().trim().to_owned()),
            _ => None,
        }
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

fn shown(shared: &Arc<Shared>, world: &Arc<World>) -> Vec<Shown> {
    let mut all = Vec::new();
    let mut system = SYSTEM_FROM;
    for name in system::NAMES {
        system += 4;
        let Some(table) = system::table(name, world, shared) else { continue };
        all.push(Shown {
            oid: system,
            schema: "yeoul",
            name: name.trim_start_matches("yeoul.").to_owned(),
            relkind: "v",
            kind: RelationKind::System,
            fields: table.schema(),
            key: Vec::new(),
            sql: String::new(),
            rows: 0,
            bytes: 0,
            comment: "system table".to_owned(),
        });
    }
    all.extend(world.catalog.relations().map(|relation| one(relation, world)));
    all
}

fn one(relation: &Relation, world: &World) -> Shown {
    let tree = world.snapshot.tree(relation.tree());
    let (key, comment) = match &relation.body {
        Body::Stream(stream) => {
            let time = stream.event_time.map(|at| relation.schema.field(at).name());
            let time = time.map(|name| format!(", event time {name}")).unwrap_or_default();
            (Vec::new(), format!("stream{time}"))
        }
        Body::Table(table) => (table.primary_key.clone(), "table".to_owned()),
        Body::View(_) => (Vec::new(), "materialized view".to_owned()),
    };
    let system = relation.kind == RelationKind::System;
    Shown {
        oid: if system { SYSTEM_FROM + 500 } else { RELATIONS_FROM } + 4 * i64::from(relation.id.0),
        schema: if system { "yeoul" } else { "public" },
        name: relation.name.trim_start_matches("yeoul.").to_owned(),
        relkind: match relation.kind {
            RelationKind::View => "m",
            RelationKind::System => "v",
            _ => "r",
        },
        kind: relation.kind,
        fields: Arc::clone(&relation.schema),
        key: if system { Vec::new() } else { key },
        sql: relation.sql.clone(),
        rows: tree.map_or(0, |tree| tree.rows()),
        bytes: tree.map_or(0, |tree| tree.part_bytes() + tree.memory_bytes() as u64),
        comment: if system { "system table".to_owned() } else { comment },
    }
}
