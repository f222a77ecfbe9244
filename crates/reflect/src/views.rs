//! The views of `pg_catalog` that people and tools ask instead of its tables.

use std::sync::Arc;

use yeoul_sql::RelationKind;

use super::catalog::{Catalog, DATABASE, OWNER, Shown};
use super::function::count;
use super::object::index_definition;
use super::table::{Column, row};
use super::value::{Row, Value};

/// The rows of a view, `None` when it is none of these.
pub(super) fn rows(catalog: &Catalog<'_>, name: &str, columns: &[Column]) -> Option<Vec<Row>> {
    Some(match name {
        "pg_tables" => tables(catalog, columns),
        "pg_views" => system_views(catalog, columns),
        "pg_matviews" => views(catalog, columns),
        "pg_indexes" => indexes(catalog, columns),
        "pg_settings" => settings(catalog, columns),
        "pg_stat_activity" => vec![activity(catalog, columns)],
        "pg_stat_user_tables" | "pg_stat_all_tables" => statistics(catalog, columns),
        "pg_timezone_names" | "pg_timezone_abbrevs" => vec![zone(columns)],
        _ => return None,
    })
}

fn tables(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let ours = catalog.relations.iter().filter(|shown| shown.relkind() == "r");
    let one = |schema: &str, name: &str, indexed: bool| {
        let values = [
            ("schemaname", Value::text(schema)),
            ("tablename", Value::text(name)),
            ("tableowner", Value::text("yeoul")),
            ("hasindexes", Value::Bool(indexed)),
        ];
        row(columns, values)
    };
    let system = super::fixed::entries().iter().filter(|entry| entry.relkind == "r");
    let system = system.map(|entry| one(entry.schema, entry.name, false));
    ours.map(|shown| one(shown.schema, &shown.name, !shown.key.is_empty())).chain(system).collect()
}

fn system_views(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let ours = catalog.relations.iter().filter(|shown| shown.relkind() == "v");
    let ours = ours.map(|shown| (shown.schema, shown.name.as_str()));
    let system = super::fixed::entries().iter().filter(|entry| entry.relkind == "v");
    let one = |(schema, name): (&str, &str)| {
        let values = [
            ("schemaname", Value::text(schema)),
            ("viewname", Value::text(name)),
            ("viewowner", Value::text("yeoul")),
        ];
        row(columns, values)
    };
    ours.chain(system.map(|entry| (entry.schema, entry.name))).map(one).collect()
}

fn views(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let ours = catalog.relations.iter().filter(|shown| shown.kind == RelationKind::View);
    let one = |shown: &Shown| {
        let values = [
            ("schemaname", Value::text(shown.schema)),
            ("matviewname", Value::text(&shown.name)),
            ("matviewowner", Value::text("yeoul")),
            ("ispopulated", Value::Bool(true)),
            ("definition", Value::text(catalog.definition(shown).unwrap_or_default())),
        ];
        row(columns, values)
    };
    ours.map(one).collect()
}

fn indexes(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let keyed = catalog.relations.iter().filter(|shown| !shown.key.is_empty());
    let one = |shown: &Shown| {
        let values = [
            ("schemaname", Value::text(shown.schema)),
            ("tablename", Value::text(&shown.name)),
            ("indexname", Value::text(shown.index_name())),
            ("indexdef", Value::text(index_definition(shown))),
        ];
        row(columns, values)
    };
    keyed.map(one).collect()
}

fn settings(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let one = |(name, value): (String, String)| {
        let value = Value::text(value);
        let values = [
            ("name", Value::text(name)),
            ("setting", value.clone()),
            ("category", Value::text("Yeoul")),
            ("short_desc", Value::text("")),
            ("context", Value::text("user")),
            ("vartype", Value::text("string")),
            ("source", Value::text("default")),
            ("boot_val", value.clone()),
            ("reset_val", value),
        ];
        row(columns, values)
    };
    catalog.client.settings().into_iter().map(one).collect()
}

/// Only the session that asks: sessions do not know of each other.
fn activity(catalog: &Catalog<'_>, columns: &[Column]) -> Row {
    let client = Arc::clone(&catalog.client);
    row(
        columns,
        [
            ("datid", Value::Int(DATABASE)),
            ("datname", Value::text("yeoul")),
            ("pid", Value::Int(i64::from(client.pid()))),
            ("leader_pid", Value::Null),
            ("usesysid", Value::Int(OWNER)),
            ("usename", Value::text(client.user())),
            (
                "application_name",
                Value::text(client.setting("application_name").unwrap_or_default()),
            ),
            ("query_start", Value::Int(catalog.now_us)),
            ("state_change", Value::Int(catalog.now_us)),
            ("state", Value::text("active")),
            ("backend_xid", Value::Null),
            ("backend_xmin", Value::Null),
            ("query_id", Value::Null),
            ("backend_type", Value::text("client backend")),
        ],
    )
}

fn statistics(catalog: &Catalog<'_>, columns: &[Column]) -> Vec<Row> {
    let stored = catalog.relations.iter().filter(|shown| shown.relkind() != "v");
    let one = |shown: &Shown| {
        let rows = usize::try_from(shown.rows).unwrap_or(usize::MAX);
        let values = [
            ("relid", Value::Int(shown.oid)),
            ("schemaname", Value::text(shown.schema)),
            ("relname", Value::text(&shown.name)),
            ("n_live_tup", count(rows)),
        ];
        row(columns, values)
    };
    stored.map(one).collect()
}

fn zone(columns: &[Column]) -> Row {
    let mut row =
        row(columns, [("abbrev", Value::text("UTC")), ("utc_offset", Value::text("00:00:00"))]);
    if let Some(at) = columns.iter().position(|column| &*column.name == "name") {
        row[at] = Value::text("UTC");
    }
    row
}
