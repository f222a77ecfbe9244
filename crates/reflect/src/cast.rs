//! Casts, and object numbers that are shown as names.

use super::Failure;
use super::kind::{Family, Kind};
use super::run::Run;
use super::value::{Value, parse};

/// A value of one type as another.
pub(super) fn cast(run: &Run<'_>, value: Value, from: Kind, to: Kind) -> Result<Value, Failure> {
    if value.is_null() || from == to {
        return Ok(value);
    }
    match (from.family(), to.family()) {
        (Family::Array, Family::Array) => {
            let (Some(a), Some(b)) = (from.item(), to.item()) else { return Ok(value) };
            let Some(items) = value.items() else { return Ok(value) };
            let cast = items.iter().map(|item| cast(run, item.clone(), a, b));
            Ok(Value::list(cast.collect::<Result<Vec<_>, _>>()?))
        }
        (_, Family::Text) => Ok(Value::text(shortened(shown(run, &value, from), to))),
        (Family::Text, Family::Named) => number(run, &value.shown(), to),
        (Family::Text, _) => parse(&value.shown(), to),
        (_, Family::Int | Family::Named) => match value.int() {
            Some(v) => Ok(Value::Int(v)),
            None => Err(Failure::new("42846", "the value cannot be cast to a whole number")),
        },
        (_, Family::Float) => Ok(value.float().map_or(Value::Null, Value::Float)),
        (Family::Int, Family::Bool) => Ok(Value::Bool(value != Value::Int(0))),
        _ => Ok(value),
    }
}

fn shortened(text: String, to: Kind) -> String {
    match to {
        Kind::CHAR => text.chars().take(1).collect(),
        _ => text,
    }
}

/// The text of a value of a type.
pub(super) fn shown(run: &Run<'_>, value: &Value, kind: Kind) -> String {
    match (kind.family(), value) {
        (Family::Bool, Value::Bool(v)) => v.to_string(),
        (Family::Named, Value::Int(number)) => name(run, *number, kind),
        (Family::Array, Value::List(items)) => {
            let item = kind.item().unwrap_or(Kind::TEXT);
            if matches!(kind, Kind::INT2VECTOR | Kind::OIDVECTOR) {
                return items.iter().map(Value::shown).collect::<Vec<_>>().join(" ");
            }
            let texts = items.iter().map(|value| match value {
                Value::Null => Value::Null,
                Value::Bool(_) => value.clone(),
                value => Value::text(shown(run, value, item)),
            });
            Value::list(texts).shown()
        }
        (Family::Record, Value::List(items)) => {
            let texts = items.iter().map(Value::shown).collect::<Vec<_>>();
            format!("({})", texts.join(","))
        }
        (Family::Time, Value::Int(us)) => instant(*us),
        _ => value.shown(),
    }
}

/// Microseconds since 1970 as PostgreSQL shows an instant.
fn instant(us: i64) -> String {
    let array = arrow::array::TimestampMicrosecondArray::from(vec![us]);
    let shown = arrow::util::display::array_value_to_string(&array, 0).unwrap_or_default();
    format!("{}+00", shown.replace('T', " "))
}

/// The tables that names of objects are found in: the name's column.
fn place(kind: Kind) -> Option<(&'static str, &'static str)> {
    Some(match kind.0 {
        2205 => ("pg_class", "relname"),
        2206 => ("pg_type", "typname"),
        4089 => ("pg_namespace", "nspname"),
        4096 => ("pg_roles", "rolname"),
        24 | 2202 => ("pg_proc", "proname"),
        2203 | 2204 => ("pg_operator", "oprname"),
        _ => return None,
    })
}

/// The name of an object; its number when it has none.
pub(super) fn name(run: &Run<'_>, number: i64, kind: Kind) -> String {
    if number == 0 {
        return "-".to_owned();
    }
    let key = Value::Int(number);
    if kind == Kind::REGTYPE {
        return run.catalog.type_name(number, None).unwrap_or_else(|| number.to_string());
    }
    if kind == Kind::REGCLASS {
        return run.catalog.relation_name(number).unwrap_or_else(|| number.to_string());
    }
    let found = place(kind).and_then(|(table, column)| {
        run.catalog.pg(table).and_then(|table| table.find("oid", &key, column))
    });
    match found {
        Some(name) if matches!(kind.0, 4089 | 4096) => quoted(&name.shown()),
        Some(name) => name.shown(),
        None => number.to_string(),
    }
}

/// A name with quotes where it needs them.
pub(super) fn quoted(name: &str) -> String {
    let first = name.chars().next();
    let plain = first.is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The parts of a name: `public."My table"` has two.
pub(super) fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut part, mut inside) = (Vec::new(), String::new(), false);
    let mut chars = name.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => part.extend(chars.next()),
            '"' => inside = !inside,
            '.' if !inside => parts.push(std::mem::take(&mut part)),
            c if inside => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

/// The number of the object that a text names, `None` when there is none.
pub(super) fn found(run: &Run<'_>, text: &str, kind: Kind) -> Option<i64> {
    if let Ok(number) = text.trim().parse() {
        return Some(number);
    }
    if text == "-" {
        return Some(0);
    }
    match kind {
        Kind::REGCLASS => run.catalog.relation_number(&parts(text)),
        Kind::REGTYPE => run.catalog.type_number(text),
        _ => {
            let (table, column) = place(kind)?;
            let text = text.split('(').next().unwrap_or_default();
            let name = parts(text).pop()?;
            run.catalog.pg(table)?.find(column, &Value::text(name), "oid")?.int()
        }
    }
}

/// The same, or the error that PostgreSQL gives.
pub(super) fn number(run: &Run<'_>, text: &str, kind: Kind) -> Result<Value, Failure> {
    let (state, what) = match kind.0 {
        2205 => ("42P01", "relation"),
        2206 => ("42704", "type"),
        4089 => ("3F000", "schema"),
        4096 => ("42704", "role"),
        2203 | 2204 => ("42883", "operator"),
        _ => ("42883", "function"),
    };
    match found(run, text, kind) {
        Some(number) => Ok(Value::Int(number)),
        None => Err(Failure::new(state, format!("{what} \"{text}\" does not exist"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{parts, quoted};

    #[test]
    fn names_with_quotes() {
        assert_eq!(parts("Public.\"My \"\"T\""), ["public", "My \"T"]);
        assert_eq!(quoted("a_1"), "a_1");
        assert_eq!(quoted("A"), "\"A\"");
    }
}
