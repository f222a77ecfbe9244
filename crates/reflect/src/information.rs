//! `information_schema`: what the standard says of relations and columns.

use yeoul_sql::RelationKind;

use super::catalog::{Catalog, Shown};
use super::fixed;
use super::function::count;
use super::kind::{Family, Kind};
use super::table::{Column, row};
use super::value::{Row, Value};

/// The rows of a view, `None` when it is always empty.
pub(super) fn rows(catalog: &Catalog<'_>, name: &str, columns: &[Column]) -> Option<Vec<Row>> {
    Some(match name {
        "information_schema_catalog_name" => {
            vec![row(columns, [("catalog_name", Value::text("yeoul"))])]
        }
        "schemata" => schemata(columns),
        "tables" => tables(catalog, columns),
        "views" => views(catalog, columns),
        "columns" => all_columns(catalog, columns),
        "table_constraints" => constraints(catalog, columns),
        "key_column_usage" => keys(catalog, columns),
        "constraint_column_usage" => usage(catalog, columns),
        "table_privileges" | "role_table_grants" => privileges(catalog, columns),
        "enabled_roles" | "applicable_roles" => roles(columns),
        "character_sets" => vec![row(
            columns,
            [
                ("character_set_name", Value::text("UTF8")),
                ("character_repertoire", Value::text("UCS")),
                ("form_of_use", Value::text("UTF8")),
                ("default_collate_catalog", Value::text("yeoul")),
            ],
        )],
        _ => return None,
    })
}

fn schemata(columns: &[Column]) -> Vec<Row> {
    let one = |name: &str| {
        let values = [
            ("catalog_name", Value::text("yeoul")),
            ("schema_name", Value::text(name)),
            ("schema_owner", Value::text("yeoul")),
        ];
        row(columns, values)
    };
    ["information_schema", "pg_catalog", "public", "yeoul"].into_iter().map(one).collect()
}

/// Materialized views are told as views. PostgreSQL leaves them out, because the standard does not know them;
/// tools that ask only here, as Grafana does, would then not find what people come for.
fn table_type(relkind: &str) -> &'static str {
    if relkind == "r" { "BASE TABLE" } else { "VIEW" }
}

fn tables(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let one = |schema: &str, name: &str, relkind: &str, writable: bool| {
        let values = [
            ("table_catalog", Value::text("yeoul")),
            ("table_schema", Value::text(schema)),
            ("table_name", Value::text(name)),
            ("table_type", Value::text(table_type(relkind))),
            ("is_insertable_into", yes(writable)),
            ("is_typed", yes(false)),
        ];
        row(columns, values)
    };
    let ours = catalog.relations.iter().map(|shown| {
        let writable = matches!(shown.kind, RelationKind::Stream | RelationKind::Table);
        one(shown.schema, &shown.name, shown.relkind(), writable)
    });
    let system = fixed::entries().iter();
    let system = system.map(|entry| one(entry.schema, entry.name, entry.relkind, false));
    ours.chain(system).collect()
}

fn yes(flag: bool) -> Value {
    Value::text(if flag { "YES" } else { "NO" })
}

fn views(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let ours = catalog.relations.iter().filter(|shown| shown.kind == RelationKind::View);
    let one = |shown: &Shown| {
        let values = [
            ("table_catalog", Value::text("yeoul")),
            ("table_schema", Value::text(shown.schema)),
            ("table_name", Value::text(&shown.name)),
            ("view_definition", Value::text(catalog.definition(shown).unwrap_or_default())),
            ("check_option", Value::text("NONE")),
            ("is_updatable", yes(false)),
            ("is_insertable_into", yes(false)),
        ];
        row(columns, values)
    };
    ours.map(one).collect()
}

fn all_columns(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let mut rows = Vec::new();
    for shown in catalog.relations {
        for (at, field) in shown.fields.fields().iter().enumerate() {
            let (kind, modifier) = Kind::of_field(field);
            let nullable = field.is_nullable() && !shown.key.contains(&at);
            let updatable = shown.kind == RelationKind::Table && !shown.key.contains(&at);
            let place = (shown.schema, shown.name.as_str(), field.name().as_str(), at);
            rows.push(column(catalog, columns, place, kind, modifier, nullable, updatable));
        }
    }
    for entry in fixed::entries() {
        for (at, own) in entry.columns.iter().enumerate() {
            let place = (entry.schema, entry.name, &*own.name, at);
            rows.push(column(catalog, columns, place, own.kind, -1, true, false));
        }
    }
    rows
}

/// A column: of which schema and table, its name, and its place from 0.
type Place<'a> = (&'a str, &'a str, &'a str, usize);

fn column(
    catalog: &Catalog<'_>,
    columns: &[Column],
    (schema, table, name, at): Place<'_>,
    kind: Kind,
    modifier: i32,
    nullable: bool,
    updatable: bool,
) -> Row {
    let type_name = match kind.family() {
        Family::Array => "ARRAY".to_owned(),
        _ => catalog.type_name(i64::from(kind.0), None).unwrap_or_default(),
    };
    let length = (kind.0 == 1043 && modifier > 4).then(|| Value::Int(i64::from(modifier - 4)));
    let (precision, radix, scale) = numbers(kind, modifier);
    let time = matches!(kind.0, 1083 | 1114 | 1184 | 1186).then_some(Value::Int(6));
    let time = if kind.0 == 1082 { Some(Value::Int(0)) } else { time };
    let types = catalog.pg("pg_type");
    let key = Value::Int(i64::from(kind.0));
    let short = types.and_then(|types| types.find("oid", &key, "typname")).unwrap_or(Value::Null);
    let number = |value: Option<i32>| value.map_or(Value::Null, |v| Value::Int(i64::from(v)));
    row(
        columns,
        [
            ("table_catalog", Value::text("yeoul")),
            ("table_schema", Value::text(schema)),
            ("table_name", Value::text(table)),
            ("column_name", Value::text(name)),
            ("ordinal_position", count(at + 1)),
            ("is_nullable", yes(nullable)),
            ("data_type", Value::text(type_name)),
            ("character_maximum_length", length.unwrap_or(Value::Null)),
            ("character_octet_length", Value::Null),
            ("numeric_precision", number(precision)),
            ("numeric_precision_radix", number(radix)),
            ("numeric_scale", number(scale)),
            ("datetime_precision", time.unwrap_or(Value::Null)),
            ("interval_precision", Value::Null),
            ("udt_catalog", Value::text("yeoul")),
            ("udt_schema", Value::text("pg_catalog")),
            ("udt_name", short),
            ("maximum_cardinality", Value::Null),
            ("dtd_identifier", count(at + 1)),
            ("is_self_referencing", yes(false)),
            ("is_identity", yes(false)),
            ("identity_cycle", yes(false)),
            ("is_generated", Value::text("NEVER")),
            ("is_updatable", yes(updatable)),
        ],
    )
}

/// Precision, radix and scale of a number.
fn numbers(kind: Kind, modifier: i32) -> (Option<i32>, Option<i32>, Option<i32>) {
    match kind.0 {
        21 => (Some(16), Some(2), Some(0)),
        23 => (Some(32), Some(2), Some(0)),
        20 => (Some(64), Some(2), Some(0)),
        700 => (Some(24), Some(2), None),
        701 => (Some(53), Some(2), None),
        1700 if modifier >= 4 => {
            let both = modifier - 4;
            (Some(both >> 16), Some(10), Some(both & 0xffff))
        }
        1700 => (None, Some(10), None),
        _ => (None, None, None),
    }
}

fn keyed<'a>(catalog: &Catalog<'a>) -> impl Iterator<Item = &'a Shown> {
    catalog.relations.iter().filter(|shown| !shown.key.is_empty())
}

fn constraints(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let one = |shown: &Shown| {
        let values = [
            ("constraint_catalog", Value::text("yeoul")),
            ("constraint_schema", Value::text(shown.schema)),
            ("constraint_name", Value::text(shown.index_name())),
            ("table_catalog", Value::text("yeoul")),
            ("table_schema", Value::text(shown.schema)),
            ("table_name", Value::text(&shown.name)),
            ("constraint_type", Value::text("PRIMARY KEY")),
            ("is_deferrable", yes(false)),
            ("initially_deferred", yes(false)),
            ("enforced", yes(true)),
        ];
        row(columns, values)
    };
    keyed(catalog).map(one).collect()
}

fn keys(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let mut rows = Vec::new();
    for shown in keyed(catalog) {
        for (at, &key) in shown.key.iter().enumerate() {
            let values = [
                ("constraint_catalog", Value::text("yeoul")),
                ("constraint_schema", Value::text(shown.schema)),
                ("constraint_name", Value::text(shown.index_name())),
                ("table_catalog", Value::text("yeoul")),
                ("table_schema", Value::text(shown.schema)),
                ("table_name", Value::text(&shown.name)),
                ("column_name", Value::text(shown.fields.field(key).name())),
                ("ordinal_position", count(at + 1)),
                ("position_in_unique_constraint", Value::Null),
            ];
            rows.push(row(columns, values));
        }
    }
    rows
}

fn usage(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let mut rows = Vec::new();
    for shown in keyed(catalog) {
        for &key in &shown.key {
            let values = [
                ("table_catalog", Value::text("yeoul")),
                ("table_schema", Value::text(shown.schema)),
                ("table_name", Value::text(&shown.name)),
                ("column_name", Value::text(shown.fields.field(key).name())),
                ("constraint_catalog", Value::text("yeoul")),
                ("constraint_schema", Value::text(shown.schema)),
                ("constraint_name", Value::text(shown.index_name())),
            ];
            rows.push(row(columns, values));
        }
    }
    rows
}

fn privileges(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let mut rows = Vec::new();
    for shown in catalog.relations {
        let all: &[&str] = match shown.kind {
            RelationKind::Table => &["SELECT", "INSERT", "UPDATE", "DELETE"],
            RelationKind::Stream => &["SELECT", "INSERT"],
            _ => &["SELECT"],
        };
        for privilege in all {
            let values = [
                ("grantor", Value::text("yeoul")),
                ("grantee", Value::text("yeoul")),
                ("table_catalog", Value::text("yeoul")),
                ("table_schema", Value::text(shown.schema)),
                ("table_name", Value::text(&shown.name)),
                ("privilege_type", Value::text(privilege)),
                ("is_grantable", yes(false)),
                ("with_hierarchy", yes(*privilege == "SELECT")),
            ];
            rows.push(row(columns, values));
        }
    }
    rows
}

fn roles(columns: &[Column]) -> Vec<Row> {
    let mut row = row(columns, [("role_name", Value::text("yeoul"))]);
    for (at, column) in columns.iter().enumerate() {
        if &*column.name == "grantee" {
            row[at] = Value::text("yeoul");
        }
    }
    vec![row]
}
