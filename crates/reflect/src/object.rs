//! The functions about objects of the catalog, the session, sizes and rights.

use super::catalog::{Shown, YEOUL};
use super::function::{Known, count};
use super::kind::Kind;
use super::node::Eval;
use super::run::Run;
use super::value::Value;
use super::{Failure, cast};

const NONE: &[Kind] = &[];
const OID: &[Kind] = &[Kind::OID, Kind::BOOL];
const OID_INT: &[Kind] = &[Kind::OID, Kind::INT4];
const TEXT: &[Kind] = &[Kind::TEXT];
const NAMED: &[Kind] = &[Kind::REGCLASS, Kind::UNKNOWN];

fn int(values: &[Value], at: usize) -> i64 {
    values.get(at).and_then(Value::int).unwrap_or(0)
}

fn text(values: &[Value], at: usize) -> String {
    values.get(at).map(Value::shown).unwrap_or_default()
}

fn optional(text: Option<String>) -> Result<Value, Failure> {
    Ok(text.map_or(Value::Null, Value::text))
}

fn nothing(_: &Run<'_>, _: &[Value]) -> Result<Value, Failure> {
    Ok(Value::Null)
}

fn zero(_: &Run<'_>, _: &[Value]) -> Result<Value, Failure> {
    Ok(Value::Int(0))
}

fn always(_: &Run<'_>, _: &[Value]) -> Result<Value, Failure> {
    Ok(Value::Bool(true))
}

fn never(_: &Run<'_>, _: &[Value]) -> Result<Value, Failure> {
    Ok(Value::Bool(false))
}

/// Whether a function of this name is here, and asks about more than its values.
pub(super) fn is_function(name: &str) -> bool {
    let all = [session, definitions, sizes, rights];
    all.into_iter().any(|known| known(name).is_some())
}

/// The time.
pub(super) fn times(name: &str) -> Option<Known> {
    Some(match name {
        "now" | "clock_timestamp" | "statement_timestamp" | "transaction_timestamp" => {
            Known::new(NONE, Kind::TIMESTAMPTZ, |run, _| Ok(Value::Int(run.catalog.now_us)))
        }
        _ => return None,
    })
}

/// The session, its user and its settings.
pub(super) fn session(name: &str) -> Option<Known> {
    Some(match name {
        "current_database" | "current_catalog" => {
            Known::new(NONE, Kind::NAME, |_, _| Ok(Value::text("yeoul")))
        }
        "current_schema" => Known::new(NONE, Kind::NAME, |_, _| Ok(Value::text("public"))),
        "current_schemas" => Known::new(&[Kind::BOOL], Kind::NAME_ARRAY, |_, v| {
            let all: &[&str] = if v[0].is_true() { &["pg_catalog", "public"] } else { &["public"] };
            Ok(Value::list(all.iter().map(Value::text)))
        }),
        "user" | "current_user" | "session_user" | "current_role" | "system_user" => {
            Known::new(NONE, Kind::NAME, |run, _| Ok(Value::text(run.client.user())))
        }
        "version" => Known::new(NONE, Kind::TEXT, |run, _| {
            let version = run.client.setting("server_version").unwrap_or_default();
            Ok(Value::text(format!("PostgreSQL {version}")))
        }),
        "current_setting" => Known::lenient(&[Kind::TEXT, Kind::BOOL], Kind::TEXT, |run, v| {
            let name = text(v, 0);
            match run.client.setting(&name) {
                Some(value) => Ok(Value::text(value)),
                None if v.get(1).is_some_and(Value::is_true) => Ok(Value::Null),
                None => {
                    let message = format!("unrecognized configuration parameter \"{name}\"");
                    Err(Failure::new("42704", message))
                }
            }
        }),
        "set_config" => {
            Known::lenient(&[Kind::TEXT, Kind::TEXT, Kind::BOOL], Kind::TEXT, |run, v| {
                run.client.set(&text(v, 0), &text(v, 1))?;
                Ok(v[1].clone())
            })
        }
        "pg_backend_pid" => {
            Known::new(NONE, Kind::INT4, |run, _| Ok(Value::Int(i64::from(run.client.pid()))))
        }
        "inet_server_addr" | "inet_client_addr" => Known::lenient(NONE, Kind::TEXT, nothing),
        "inet_server_port" | "inet_client_port" => Known::lenient(NONE, Kind::INT4, nothing),
        "pg_postmaster_start_time" | "pg_conf_load_time" => {
            Known::lenient(NONE, Kind::TIMESTAMPTZ, nothing)
        }
        "pg_my_temp_schema" => Known::new(NONE, Kind::OID, zero),
        "txid_current" | "pg_current_xact_id" => Known::new(NONE, Kind::INT8, zero),
        "pg_is_in_recovery" | "pg_is_wal_replay_paused" => Known::new(NONE, Kind::BOOL, never),
        // Sessions have no locks and cannot end each other by a query.
        "pg_cancel_backend" | "pg_terminate_backend" | "pg_is_other_temp_schema" => {
            Known::new(&[Kind::INT4], Kind::BOOL, never)
        }
        "pg_try_advisory_lock" => Known::new(&[Kind::INT8], Kind::BOOL, always),
        "pg_advisory_lock" | "pg_advisory_unlock" | "pg_advisory_unlock_all" => {
            Known::lenient(&[Kind::INT8], Kind::TEXT, |_, _| Ok(Value::text("")))
        }
        _ => return None,
    })
}

/// Definitions and names of objects.
pub(super) fn definitions(name: &str) -> Option<Known> {
    let given = |takes, eval: Eval| Known::new(takes, Kind::TEXT, eval);
    Some(match name {
        "format_type" => Known::lenient(OID_INT, Kind::TEXT, |run, v| {
            if v[0].is_null() {
                return Ok(Value::Null);
            }
            let shown = run.catalog.type_name(int(v, 0), v.get(1).and_then(Value::int));
            optional(shown.or(Some("???".to_owned())))
        }),
        "pg_get_userbyid" => given(OID, |run, v| {
            let name = cast::name(run, int(v, 0), Kind(4096));
            Ok(Value::text(name.trim_matches('"')))
        }),
        "pg_get_constraintdef" => given(OID, |run, v| {
            let shown = run.catalog.shown(int(v, 0));
            optional(shown.map(|shown| format!("PRIMARY KEY ({})", key_columns(shown))))
        }),
        "pg_get_indexdef" => given(&[Kind::OID, Kind::INT4, Kind::BOOL], |run, v| {
            let shown = run.catalog.shown(int(v, 0));
            let column = usize::try_from(int(v, 1)).unwrap_or(0);
            optional(shown.and_then(|shown| match column.checked_sub(1) {
                None => Some(index_definition(shown)),
                Some(at) => {
                    shown.key.get(at).map(|&at| cast::quoted(shown.fields.field(at).name()))
                }
            }))
        }),
        "pg_get_viewdef" => given(NAMED, |run, v| {
            let shown = run.catalog.shown(int(v, 0));
            optional(shown.and_then(|shown| run.catalog.definition(shown)))
        }),
        "pg_get_expr" => given(&[Kind::TEXT, Kind::OID, Kind::BOOL], |_, v| Ok(v[0].clone())),
        "pg_get_function_result" => given(OID, |run, v| {
            let procs = run.catalog.pg("pg_proc");
            let kind = procs.and_then(|t| t.find("oid", &v[0], "prorettype"));
            optional(kind.and_then(|kind| run.catalog.type_name(kind.int()?, None)))
        }),
        "pg_get_function_arguments" | "pg_get_function_identity_arguments" => {
            given(OID, |run, v| {
                let procs = run.catalog.pg("pg_proc");
                let kinds = procs.and_then(|t| t.find("oid", &v[0], "proargtypes"));
                let items = kinds.as_ref().and_then(Value::items).cloned().unwrap_or_default();
                let name = |kind: &Value| run.catalog.type_name(kind.int()?, None);
                let mut types: Vec<String> = items.iter().filter_map(name).collect();
                if let Some(function) = run.catalog.function(int(v, 0)) {
                    let named = function.parameters.iter().zip(&mut types);
                    for ((name, _), shown) in named.filter(|((name, _), _)| !name.is_empty()) {
                        *shown = format!("{} {shown}", cast::quoted(name));
                    }
                }
                Ok(Value::text(types.join(", ")))
            })
        }
        "pg_get_functiondef" => given(OID, |run, v| {
            if let Some(function) = run.catalog.function(int(v, 0)) {
                return Ok(Value::text(&function.sql));
            }
            let name = cast::name(run, int(v, 0), Kind::REGPROC);
            Err(Failure::new("42809", format!("function \"{name}\" is built in and has no source")))
        }),
        "obj_description" => given(&[Kind::OID, Kind::TEXT], |run, v| {
            let table = run.catalog.pg("pg_description");
            Ok(table.and_then(|t| t.find("objoid", &v[0], "description")).unwrap_or(Value::Null))
        }),
        "pg_describe_object" => given(&[Kind::OID, Kind::OID, Kind::INT4], |run, v| {
            optional(run.catalog.relation_name(int(v, 1)).or(Some(int(v, 1).to_string())))
        }),
        name => return encodings(name).or_else(|| named(name)),
    })
}

/// Encodings, of which there is one, and definitions of what there is not.
fn encodings(name: &str) -> Option<Known> {
    Some(match name {
        "pg_encoding_to_char" => Known::new(&[Kind::INT4], Kind::NAME, |_, v| {
            Ok(Value::text(if int(v, 0) == 6 { "UTF8" } else { "" }))
        }),
        "getdatabaseencoding" => Known::new(NONE, Kind::NAME, |_, _| Ok(Value::text("UTF8"))),
        "pg_char_to_encoding" => Known::new(TEXT, Kind::INT4, |_, v| {
            let utf8 = ["utf8", "utf-8", "unicode"].contains(&text(v, 0).to_lowercase().as_str());
            Ok(Value::Int(if utf8 { 6 } else { -1 }))
        }),
        "pg_get_partkeydef"
        | "pg_get_partition_constraintdef"
        | "pg_get_statisticsobjdef_columns"
        | "pg_get_statisticsobjdef"
        | "pg_get_serial_sequence"
        | "pg_get_triggerdef"
        | "pg_get_ruledef"
        | "pg_get_function_sqlbody"
        | "pg_get_function_arg_default"
        | "pg_tablespace_location"
        | "shobj_description"
        | "col_description" => Known::lenient(&[Kind::UNKNOWN], Kind::TEXT, nothing),
        _ => return None,
    })
}

/// `to_regclass` and the like: the number of a name, or null.
fn named(name: &str) -> Option<Known> {
    let find = |gives, eval: Eval| Some(Known::new(TEXT, gives, eval));
    match name {
        "to_regclass" => find(Kind::REGCLASS, |run, v| found(run, v, Kind::REGCLASS)),
        "to_regtype" => find(Kind::REGTYPE, |run, v| found(run, v, Kind::REGTYPE)),
        "to_regproc" => find(Kind::REGPROC, |run, v| found(run, v, Kind::REGPROC)),
        "to_regnamespace" => find(Kind(4089), |run, v| found(run, v, Kind(4089))),
        "to_regrole" => find(Kind(4096), |run, v| found(run, v, Kind(4096))),
        _ => None,
    }
}

fn found(run: &Run<'_>, values: &[Value], kind: Kind) -> Result<Value, Failure> {
    Ok(cast::found(run, &text(values, 0), kind).map_or(Value::Null, Value::Int))
}

fn key_columns(shown: &Shown) -> String {
    let names = shown.key.iter().map(|&at| cast::quoted(shown.fields.field(at).name()));
    names.collect::<Vec<_>>().join(", ")
}

/// The statement that would make the index of a primary key.
pub(super) fn index_definition(shown: &Shown) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        cast::quoted(&shown.index_name()),
        shown.schema,
        cast::quoted(&shown.name),
        key_columns(shown)
    )
}

/// Bytes of relations and of all.
pub(super) fn sizes(name: &str) -> Option<Known> {
    Some(match name {
        "pg_relation_size" | "pg_table_size" | "pg_total_relation_size" => {
            Known::new(NAMED, Kind::INT8, |run, v| {
                let oid = int(v, 0);
                let shown = run.catalog.relations.iter().find(|shown| shown.oid == oid);
                let bytes = shown.map_or(0, |shown| shown.bytes);
                Ok(count(usize::try_from(bytes).unwrap_or(usize::MAX)))
            })
        }
        "pg_database_size" => Known::new(&[Kind::UNKNOWN], Kind::INT8, |run, _| {
            let bytes: u64 = run.catalog.relations.iter().map(|shown| shown.bytes).sum();
            Ok(count(usize::try_from(bytes).unwrap_or(usize::MAX)))
        }),
        "pg_indexes_size" | "pg_tablespace_size" => Known::new(&[Kind::UNKNOWN], Kind::INT8, zero),
        "pg_size_pretty" => {
            Known::new(&[Kind::INT8], Kind::TEXT, |_, v| Ok(Value::text(pretty(int(v, 0)))))
        }
        "pg_sequence_last_value" => Known::lenient(OID, Kind::INT8, nothing),
        name if name.starts_with("pg_stat_get_") => Known::new(OID, Kind::INT8, zero),
        _ => return None,
    })
}

/// Bytes as PostgreSQL shows them to people.
fn pretty(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (bytes, 0);
    while size.abs() >= 10_240 && unit + 1 < UNITS.len() {
        size = (size + 512) / 1024;
        unit += 1;
    }
    format!("{size} {}", UNITS[unit])
}

/// What may be seen and done: everything that is on the path, everything.
pub(super) fn rights(name: &str) -> Option<Known> {
    if name == "pg_table_is_visible" {
        return Some(Known::new(OID, Kind::BOOL, |run, v| {
            let table = run.catalog.pg("pg_class");
            let namespace = table.and_then(|table| table.find("oid", &v[0], "relnamespace"));
            Ok(match namespace.and_then(|namespace| namespace.int()) {
                None => Value::Null,
                Some(namespace) => {
                    let hidden = [YEOUL, super::catalog::INFORMATION_SCHEMA];
                    Value::Bool(!hidden.contains(&namespace))
                }
            })
        }));
    }
    if name.starts_with("pg_") && name.ends_with("_is_visible") {
        return Some(Known::new(OID, Kind::BOOL, always));
    }
    if (name.starts_with("has_") && name.ends_with("_privilege")) || name == "pg_has_role" {
        return Some(Known::new(&[Kind::UNKNOWN], Kind::BOOL, always));
    }
    match name {
        "pg_relation_is_publishable" | "row_security_active" => {
            Some(Known::new(&[Kind::UNKNOWN], Kind::BOOL, never))
        }
        "pg_relation_is_updatable" => Some(Known::new(NAMED, Kind::INT4, |run, v| {
            let shown = run.catalog.shown(int(v, 0));
            let bits = shown.map_or(0, |shown| if shown.key.is_empty() { 8 } else { 28 });
            Ok(Value::Int(bits))
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::pretty;

    #[test]
    fn sizes_for_people() {
        assert_eq!(pretty(0), "0 bytes");
        assert_eq!(pretty(10_239), "10239 bytes");
        assert_eq!(pretty(10_240), "10 kB");
        assert_eq!(pretty(25 << 20), "25 MB");
    }
}
