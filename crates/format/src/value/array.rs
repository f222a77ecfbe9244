//! PostgreSQL's array text: `{a,"b,c",NULL,{…}}`.

use super::{Misfit, push_text};
use crate::column::{Column, Values};

/// Deepest nesting of braces. PostgreSQL has six dimensions.
const DEPTH_MAX: usize = 6;

/// Appends the elements of the array `text` to the column of elements.
pub(super) fn push_elements(item: &mut Column, text: &str) -> Result<(), Misfit> {
    let text = text.trim_ascii();
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or(Misfit::Invalid)?;
    if inner.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut rest = inner;
    let mut scratch = String::new();
    loop {
        rest = rest.trim_ascii_start();
        let after = if rest.starts_with('"') {
            let after = unquote(rest, &mut scratch)?;
            push_text(item, &scratch)?;
            after
        } else {
            let end = element_end(rest).ok_or(Misfit::Invalid)?;
            push_bare(item, rest[..end].trim_ascii_end(), &mut scratch)?;
            &rest[end..]
        };
        match after.trim_ascii_start().strip_prefix(',') {
            Some(next) => rest = next,
            None if after.trim_ascii().is_empty() => return Ok(()),
            None => return Err(Misfit::Invalid),
        }
    }
}

/// An element without quotes: `NULL`, a nested array, or a text in which a backslash escapes.
fn push_bare(item: &mut Column, text: &str, scratch: &mut String) -> Result<(), Misfit> {
    if text.eq_ignore_ascii_case("null") {
        if !item.nullable {
            return Err(Misfit::Null);
        }
        item.push_null();
        return Ok(());
    }
    let nested = matches!(item.values, Values::List { .. });
    if text.is_empty() || text.starts_with('{') != nested {
        return Err(Misfit::Invalid);
    }
    if nested || !text.contains('\\') {
        return push_text(item, text);
    }
    scratch.clear();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        scratch.push(if c == '\\' { chars.next().ok_or(Misfit::Invalid)? } else { c });
    }
    push_text(item, scratch)
}

/// Where the comma (or the end) behind an unquoted element is.
fn element_end(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0, false);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next()?;
            }
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b',' if depth == 0 => return Some(at),
            b'{' => depth += 1,
            b'}' if depth == 0 => return None,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return None;
        }
    }
    (depth == 0 && !quoted).then_some(text.len())
}

/// Reads a quoted element into `scratch`; gives what follows it.
fn unquote<'a>(text: &'a str, scratch: &mut String) -> Result<&'a str, Misfit> {
    scratch.clear();
    let mut chars = text.char_indices();
    chars.next();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(&text[at + 1..]),
            '\\' => scratch.push(chars.next().ok_or(Misfit::Invalid)?.1),
            _ => scratch.push(c),
        }
    }
    Err(Misfit::Invalid)
}
