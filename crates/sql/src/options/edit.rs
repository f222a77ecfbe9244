//! Options as they are written, with other names of columns in them.

use super::{Connectors, Target, known};
use crate::error::{ErrorKind, SqlError};
use crate::nearest::did_you_mean;
use crate::text::quoted;

/// Whether there is an option of this name.
pub(crate) fn check_name(
    name: &str,
    target: Target,
    connectors: Connectors,
) -> Result<(), SqlError> {
    let mut names = known(target, connectors).map(|(option, _)| option.name);
    if names.any(|known| known == name) {
        return Ok(());
    }
    let names = known(target, connectors).map(|(option, _)| option.name);
    let message = format!("there is no option \"{name}\" for a {}", target.noun());
    let mut error = SqlError::new(ErrorKind::InvalidOption, message);
    error.hint = did_you_mean(name, names);
    Err(error)
}

/// The text between the quotes of `value`; `None` for a value without them.
fn unquoted(value: &str) -> Option<String> {
    let inner = value.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(inner.replace("''", "'"))
}

fn requoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The column that `text` names.
fn folded(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.to_lowercase(),
    }
}

/// Renames a column in a list of columns.
pub(crate) fn rename_in_list(value: &mut String, from: &str, to: &str) {
    let text = unquoted(value).unwrap_or_else(|| value.clone());
    let renamed = |name: &str| match folded(name) == from {
        true => quoted(to),
        false => name.trim().to_owned(),
    };
    let names: Vec<String> = text.split(',').map(renamed).collect();
    *value = requoted(&names.join(", "));
}

/// Renames a column in `day(column)`.
pub(crate) fn rename_in_call(value: &mut String, from: &str, to: &str) {
    let text = unquoted(value).unwrap_or_else(|| value.clone());
    let Some((unit, column)) = text.split_once('(') else { return };
    let Some(column) = column.trim_end().strip_suffix(')') else { return };
    if folded(column) == from {
        *value = requoted(&format!("{unit}({})", quoted(to)));
    }
}

/// Renames a column on the left of a mapping, or takes it out.
pub(crate) fn remap(value: &mut String, from: &str, to: Option<&str>) {
    let Some(text) = unquoted(value) else { return };
    let mut entries = Vec::new();
    for entry in text.split(',') {
        let at = entry.find([':', '=']).unwrap_or(entry.len());
        let (column, path) = entry.split_at(at);
        if folded(column) != from {
            entries.push(entry.trim().to_owned());
        } else if let Some(to) = to {
            entries.push(format!("{}{path}", quoted(to)));
        }
    }
    *value = requoted(&entries.join(", "));
}
