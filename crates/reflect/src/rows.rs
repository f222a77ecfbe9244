//! The tables of `pg_catalog` that tell of what there is here.

use yeoul_sql::RelationKind;

use super::catalog::{
    Catalog, DATABASE, INFORMATION_SCHEMA, OWNER, PG_CATALOG, PUBLIC, Shown, YEOUL,
};
use super::fixed;
use super::function::count;
use super::kind::{Family, Kind};
use super::table::{Column, row};
use super::value::{Row, Value};

/// The access method of tables and that of indexes.
const HEAP: i64 = 2;
const BTREE: i64 = 403;

/// The rows of a table, `None` when it is none of these.
pub(super) fn rows(catalog: &Catalog<'_>, name: &str, columns: &[Column]) -> Option<Vec<Row>> {
    Some(match name {
        "pg_namespace" => namespaces(columns),
        "pg_class" => classes(catalog, columns),
        "pg_attribute" => attributes(catalog, columns),
        "pg_index" => indexes(catalog, columns),
        "pg_constraint" => constraints(catalog, columns),
        "pg_description" => descriptions(catalog, columns),
        "pg_database" => vec![database(columns)],
        "pg_authid" | "pg_roles" => roles(catalog, columns),
        "pg_user" | "pg_shadow" => users(catalog, columns),
        "pg_proc" if !catalog.functions.is_empty() => functions(catalog, columns),
        _ => return None,
    })
}

/// PostgreSQL's functions, and those that people wrote.
fn functions(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let mut all = catalog.own_functions().map_or_else(Vec::new, |own| own.rows.clone());
    // The language SQL.
    const LANGUAGE: i64 = 14;
    let number = |name: &str| Value::Int(catalog.type_number(name).unwrap_or(0));
    all.extend(catalog.functions.iter().map(|function| {
        let types = function.parameters.iter().map(|(_, data_type)| number(data_type));
        let names = function.parameters.iter().map(|(name, _)| Value::text(name));
        let unnamed = function.parameters.iter().all(|(name, _)| name.is_empty());
        let values = [
            ("oid", Value::Int(function.oid)),
            ("proname", Value::text(&function.name)),
            ("pronamespace", Value::Int(PUBLIC)),
            ("proowner", Value::Int(OWNER)),
            ("prolang", Value::Int(LANGUAGE)),
            ("procost", Value::Float(100.0)),
            ("prokind", Value::text("f")),
            ("provolatile", Value::text("i")),
            ("proparallel", Value::text("s")),
            ("pronargs", count(function.parameters.len())),
            ("prorettype", number(&function.returns)),
            ("proargtypes", Value::list(types)),
            ("proargnames", if unnamed { Value::Null } else { Value::list(names) }),
            ("prosrc", Value::text(&function.sql)),
        ];
        row(columns, values)
    }));
    all
}

fn namespaces(columns: &[Column]) -> Vec<Row> {
    let all = [
        (PG_CATALOG, "pg_catalog"),
        (PUBLIC, "public"),
        (INFORMATION_SCHEMA, "information_schema"),
        (YEOUL, "yeoul"),
    ];
    let one = |(oid, name)| {
        let values = [
            ("oid", Value::Int(oid)),
            ("nspname", Value::text(name)),
            ("nspowner", Value::Int(OWNER)),
        ];
        row(columns, values)
    };
    all.into_iter().map(one).collect()
}

/// What all rows of `pg_class` have.
fn class(
    columns: &[Column],
    oid: i64,
    name: &str,
    namespace: i64,
    relkind: &str,
    width: usize,
) -> Row {
    row(
        columns,
        [
            ("oid", Value::Int(oid)),
            ("relname", Value::text(name)),
            ("relnamespace", Value::Int(namespace)),
            ("relowner", Value::Int(OWNER)),
            ("relfilenode", Value::Int(if relkind == "v" { 0 } else { oid })),
            ("relpersistence", Value::text("p")),
            ("relkind", Value::text(relkind)),
            ("relnatts", count(width)),
            ("relispopulated", Value::Bool(true)),
            ("relreplident", Value::text(if relkind == "r" { "d" } else { "n" })),
        ],
    )
}

fn set(row: &mut Row, columns: &[Column], name: &str, value: Value) {
    if let Some(at) = columns.iter().position(|column| &*column.name == name) {
        row[at] = value;
    }
}

fn classes(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let mut rows = Vec::new();
    for entry in fixed::entries() {
        let schema = if entry.schema == "pg_catalog" { PG_CATALOG } else { INFORMATION_SCHEMA };
        let width = entry.columns.len();
        rows.push(class(columns, entry.oid, entry.name, schema, entry.relkind, width));
    }
    for shown in catalog.relations {
        let width = shown.fields.fields().len();
        let mut own =
            class(columns, shown.oid, &shown.name, shown.namespace(), shown.relkind(), width);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let tuples = shown.rows as f64;
        set(&mut own, columns, "reltuples", Value::Float(tuples));
        set(&mut own, columns, "relpages", Value::Int(pages(shown.bytes)));
        set(&mut own, columns, "relhasindex", Value::Bool(!shown.key.is_empty()));
        if shown.relkind() != "v" {
            set(&mut own, columns, "relam", Value::Int(HEAP));
        }
        rows.push(own);
        if !shown.key.is_empty() {
            let (oid, name) = (shown.index(), shown.index_name());
            let mut index = class(columns, oid, &name, shown.namespace(), "i", shown.key.len());
            set(&mut index, columns, "relam", Value::Int(BTREE));
            set(&mut index, columns, "reltuples", Value::Float(tuples));
            rows.push(index);
        }
    }
    rows
}

/// Bytes in pages as PostgreSQL counts them.
pub(super) fn pages(bytes: u64) -> i64 {
    i64::from(i32::try_from(bytes.div_ceil(8192)).unwrap_or(i32::MAX))
}

/// A column of a relation.
struct Attribute<'a> {
    relation: i64,
    name: &'a str,
    number: usize,
    kind: Kind,
    modifier: i32,
    not_null: bool,
}

fn attributes(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |attribute: &Attribute<'_>| rows.push(self::attribute(columns, attribute));
    for entry in fixed::entries() {
        for (at, column) in entry.columns.iter().enumerate() {
            let (name, kind) = (&*column.name, column.kind);
            let (relation, number) = (entry.oid, at + 1);
            add(&Attribute { relation, name, number, kind, modifier: -1, not_null: false });
        }
    }
    for shown in catalog.relations {
        for (at, field) in shown.fields.fields().iter().enumerate() {
            let (kind, modifier) = Kind::of_field(field);
            let not_null = !field.is_nullable() || shown.key.contains(&at);
            let (relation, name, number) = (shown.oid, field.name().as_str(), at + 1);
            add(&Attribute { relation, name, number, kind, modifier, not_null });
        }
        for (at, &key) in shown.key.iter().enumerate() {
            let field = shown.fields.field(key);
            let (kind, modifier) = Kind::of_field(field);
            let (relation, name, number) = (shown.index(), field.name().as_str(), at + 1);
            add(&Attribute { relation, name, number, kind, modifier, not_null: false });
        }
    }
    rows
}

fn attribute(columns: &[Column], a: &Attribute<'_>) -> Row {
    let length = length(a.kind);
    let collation = match a.kind.family() {
        Family::Text if matches!(a.kind.0, 25 | 1042 | 1043) => 100,
        Family::Text if a.kind == Kind::NAME => 950,
        _ => 0,
    };
    row(
        columns,
        [
            ("attrelid", Value::Int(a.relation)),
            ("attname", Value::text(a.name)),
            ("atttypid", Value::Int(i64::from(a.kind.0))),
            ("attlen", Value::Int(length)),
            ("attnum", count(a.number)),
            ("attcacheoff", Value::Int(-1)),
            ("atttypmod", Value::Int(i64::from(a.modifier))),
            ("attndims", Value::Int(i64::from(a.kind.item().is_some()))),
            ("attbyval", Value::Bool((1..=8).contains(&length))),
            ("attalign", Value::text(if length == 8 { "d" } else { "i" })),
            ("attstorage", Value::text(if length < 0 { "x" } else { "p" })),
            ("attnotnull", Value::Bool(a.not_null)),
            ("attislocal", Value::Bool(true)),
            ("attcollation", Value::Int(collation)),
            ("attstattarget", Value::Int(-1)),
        ],
    )
}

/// How many bytes a value takes in PostgreSQL, −1 when that varies.
fn length(kind: Kind) -> i64 {
    match kind.0 {
        16 | 18 => 1,
        21 => 2,
        23 | 24 | 26 | 28 | 700 | 1082 | 2202..=2206 => 4,
        20 | 701 | 1083 | 1114 | 1184 => 8,
        1186 | 2950 => 16,
        19 => 64,
        _ => -1,
    }
}

fn keyed<'a>(catalog: &Catalog<'a>) -> impl Iterator<Item = &'a Shown> {
    catalog.relations.iter().filter(|shown| !shown.key.is_empty())
}

fn numbers(shown: &Shown) -> Value {
    Value::list(shown.key.iter().map(|&at| count(at + 1)))
}

/// The operator class of an index column of a type.
fn operators(kind: Kind) -> i64 {
    match kind.0 {
        20 => 3124,
        21 => 1979,
        23 => 1978,
        701 => 3123,
        1082 => 3122,
        1114 => 3128,
        1184 => 3127,
        1700 => 3125,
        2950 => 2968,
        _ => 3126,
    }
}

fn indexes(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let one = |shown: &Shown| {
        let width = shown.key.len();
        let zeros = || Value::list((0..width).map(|_| Value::Int(0)));
        let classes =
            shown.key.iter().map(|&at| operators(Kind::of_field(shown.fields.field(at)).0));
        row(
            columns,
            [
                ("indexrelid", Value::Int(shown.index())),
                ("indrelid", Value::Int(shown.oid)),
                ("indnatts", count(width)),
                ("indnkeyatts", count(width)),
                ("indisunique", Value::Bool(true)),
                ("indisprimary", Value::Bool(true)),
                ("indimmediate", Value::Bool(true)),
                ("indisvalid", Value::Bool(true)),
                ("indisready", Value::Bool(true)),
                ("indislive", Value::Bool(true)),
                ("indkey", numbers(shown)),
                ("indcollation", zeros()),
                ("indclass", Value::list(classes.map(Value::Int))),
                ("indoption", zeros()),
            ],
        )
    };
    keyed(catalog).map(one).collect()
}

fn constraints(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let one = |shown: &Shown| {
        row(
            columns,
            [
                ("oid", Value::Int(shown.constraint())),
                ("conname", Value::text(shown.index_name())),
                ("connamespace", Value::Int(shown.namespace())),
                ("contype", Value::text("p")),
                ("convalidated", Value::Bool(true)),
                ("conrelid", Value::Int(shown.oid)),
                ("conindid", Value::Int(shown.index())),
                ("confupdtype", Value::text(" ")),
                ("confdeltype", Value::text(" ")),
                ("confmatchtype", Value::text(" ")),
                ("conislocal", Value::Bool(true)),
                ("connoinherit", Value::Bool(true)),
                ("conkey", numbers(shown)),
            ],
        )
    };
    keyed(catalog).map(one).collect()
}

/// What a relation is that PostgreSQL has no word for: streams above all.
fn descriptions(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let told = catalog.relations.iter().filter(|shown| shown.kind != RelationKind::Table);
    let one = |shown: &Shown| {
        let values = [
            ("objoid", Value::Int(shown.oid)),
            ("classoid", Value::Int(1259)),
            ("description", Value::text(&shown.comment)),
        ];
        row(columns, values)
    };
    told.map(one).collect()
}

fn database(columns: &[Column]) -> Row {
    row(
        columns,
        [
            ("oid", Value::Int(DATABASE)),
            ("datname", Value::text("yeoul")),
            ("datdba", Value::Int(OWNER)),
            ("encoding", Value::Int(6)),
            ("datlocprovider", Value::text("c")),
            ("datallowconn", Value::Bool(true)),
            ("datconnlimit", Value::Int(-1)),
            ("dattablespace", Value::Int(1663)),
            ("datcollate", Value::text("C")),
            ("datctype", Value::text("C")),
        ],
    )
}

/// The owner of everything, and who is connected under another name.
fn names(catalog: &Catalog<'_>) -> Vec<(i64, String)> {
    let user = catalog.client.user();
    let mut all = vec![(OWNER, "yeoul".to_owned())];
    if user != "yeoul" {
        all.push((DATABASE + 1, user));
    }
    all
}

fn roles(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let one = |(oid, name): (i64, String)| {
        row(
            columns,
            [
                ("oid", Value::Int(oid)),
                ("rolname", Value::text(name)),
                ("rolsuper", Value::Bool(true)),
                ("rolinherit", Value::Bool(true)),
                ("rolcreaterole", Value::Bool(true)),
                ("rolcreatedb", Value::Bool(true)),
                ("rolcanlogin", Value::Bool(true)),
                ("rolbypassrls", Value::Bool(true)),
                ("rolconnlimit", Value::Int(-1)),
            ],
        )
    };
    names(catalog).into_iter().map(one).collect()
}

fn users(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let one = |(oid, name): (i64, String)| {
        let values = [
            ("usesysid", Value::Int(oid)),
            ("usename", Value::text(name)),
            ("usecreatedb", Value::Bool(true)),
            ("usesuper", Value::Bool(true)),
            ("usebypassrls", Value::Bool(true)),
        ];
        row(columns, values)
    };
    names(catalog).into_iter().map(one).collect()
}
