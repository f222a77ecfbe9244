//! Values of catalog queries: small, cloned freely, compared as PostgreSQL compares them.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Failure;
use super::kind::{Family, Kind};

/// A value. Its type is known to who asks: object numbers are whole numbers, names are texts.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    /// An array or a row.
    List(Arc<[Value]>),
}

/// The values of a row.
pub(super) type Row = Vec<Value>;

impl Value {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(text.as_ref().into())
    }

    pub(super) fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(items.into_iter().collect())
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(v) => Some(*v),
            Self::Bool(v) => Some(i64::from(*v)),
            #[expect(clippy::cast_possible_truncation, reason = "numbers of catalogs are small")]
            Self::Float(v) => Some(v.round() as i64),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "as PostgreSQL does")]
            Self::Int(v) => Some(*v as f64),
            Self::Float(v) => Some(*v),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The text of a value that is one, or is shown plainly.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(v) => (if *v { "t" } else { "f" }).to_owned(),
            Self::Int(v) => v.to_string(),
            Self::Float(v) => v.to_string(),
            Self::Text(text) => text.to_string(),
            Self::List(items) => braces(items),
        }
    }

    pub(super) fn items(&self) -> Option<&Arc<[Self]>> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The order of two values, `None` when one of them is null.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        if self.is_null() || other.is_null() {
            return None;
        }
        Some(self.order(other))
    }

    /// A total order with nulls last.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Greater,
            (_, Self::Null) => Ordering::Less,
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::List(a), Self::List(b)) => {
                let differs = a.iter().zip(b.iter()).map(|(a, b)| a.order(b)).find(|o| o.is_ne());
                differs.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (a, b) => match (a.float(), b.float()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => a.shown().cmp(&b.shown()),
            },
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => 0_u8.hash(state),
            Self::Bool(v) => v.hash(state),
            Self::Int(v) => v.hash(state),
            // Equal to a whole number, it must hash like one.
            Self::Float(v) => match self.int() {
                #[expect(clippy::cast_precision_loss, reason = "compared with what it came from")]
                Some(whole) if whole as f64 == *v => whole.hash(state),
                _ => v.to_bits().hash(state),
            },
            Self::Text(v) => v.hash(state),
            Self::List(v) => v.iter().for_each(|item| item.hash(state)),
        }
    }
}

/// `{a,b,NULL}` with quotes where they are needed.
fn braces(items: &[Value]) -> String {
    let mut out = String::from("{");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match item {
            Value::Null => out.push_str("NULL"),
            Value::List(items) => out.push_str(&braces(items)),
            item => {
                let text = item.shown();
                let plain = !text.is_empty()
                    && !text.eq_ignore_ascii_case("null")
                    && !text.contains(|c: char| c.is_whitespace() || "{}\",\\".contains(c));
                if plain {
                    out.push_str(&text);
                } else {
                    let _ = write!(out, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
                }
            }
        }
    }
    out.push('}');
    out
}

/// The items of `{a,"b c",NULL}`.
pub(super) fn items_of(text: &str, item: Kind) -> Result<Value, Failure> {
    let inner = text.trim();
    let inner = inner.strip_prefix('{').unwrap_or(inner);
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let mut items = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some() {
        let (mut piece, mut quoted) = (String::new(), false);
        while let Some(c) = chars.next() {
            match c {
                '"' if piece.trim().is_empty() && !quoted => {
                    quoted = true;
                    piece.clear();
                    while let Some(inside) = chars.next() {
                        match inside {
                            '\\' => piece.extend(chars.next()),
                            '"' => break,
                            other => piece.push(other),
                        }
                    }
                }
                ',' => break,
                c if quoted && c.is_whitespace() => {}
                c => piece.push(c),
            }
        }
        let piece = if quoted { piece.as_str() } else { piece.trim() };
        let null = !quoted && piece.eq_ignore_ascii_case("null");
        items.push(if null { Value::Null } else { parse(piece, item)? });
    }
    Ok(Value::list(items))
}

/// The value that a text writes, of a type that needs no catalog to be read.
pub(super) fn parse(text: &str, kind: Kind) -> Result<Value, Failure> {
    let wrong = || {
        let shown = kind.shown().unwrap_or_default();
        Failure::new("22P02", format!("invalid input syntax for type {shown}: \"{text}\""))
    };
    Ok(match kind.family() {
        Family::Bool => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "y" | "1" => Value::Bool(true),
            "f" | "false" | "off" | "no" | "n" | "0" => Value::Bool(false),
            _ => return Err(wrong()),
        },
        Family::Int | Family::Named => Value::Int(text.trim().parse().map_err(|_| wrong())?),
        Family::Float => Value::Float(text.trim().parse().map_err(|_| wrong())?),
        Family::Array if matches!(kind, Kind::INT2VECTOR | Kind::OIDVECTOR) => {
            let numbers = text.split_whitespace().map(|n| n.parse().map(Value::Int));
            Value::list(numbers.collect::<Result<Vec<_>, _>>().map_err(|_| wrong())?)
        }
        Family::Array => items_of(text, kind.item().unwrap_or(Kind::TEXT))?,
        _ => Value::text(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_and_read() {
        for text in ["{}", "{1,2}", "{a,\"b c\",NULL}", "{\"a\\\"b\",\"\"}"] {
            let value = items_of(text, Kind::TEXT).unwrap();
            assert_eq!(value.shown(), text);
        }
        assert_eq!(items_of("{ 1, 2 }", Kind::INT2).unwrap().shown(), "{1,2}");
        assert_eq!(parse("1 2", Kind::INT2VECTOR).unwrap().shown(), "{1,2}");
    }

    #[test]
    fn numbers_compare_across_types() {
        assert_eq!(Value::Int(2), Value::Float(2.0));
        assert_eq!(Value::Int(1).compare(&Value::Null), None);
        assert!(Value::Null.order(&Value::Int(1)).is_gt());
    }
}
