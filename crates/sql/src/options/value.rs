//! What stands in `WITH (…)`, checked against [`OPTIONS`].

use std::collections::BTreeMap;

use super::{
    Compression, FileFormat, FileOptions, OPTIONS, OnError, OptionSpec, OptionType, PartitionUnit,
    Speed, Target, spec,
};
use crate::ast::Micros;
use crate::error::{ErrorKind, Span, SqlError};
use crate::interval;
use crate::nearest::{did_you_mean, list};

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Names(Vec<String>),
    Duration(Micros),
    Partition(PartitionUnit, String),
    Bool(bool),
    Byte(u8),
    Speed(Speed),
    Mapping(Vec<(String, String)>),
}

/// An option as it stands in the text.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) value: String,
    pub(crate) value_span: Span,
}

/// The options of one statement, checked.
#[derive(Debug, Default)]
pub(crate) struct Values {
    values: BTreeMap<&'static str, (Value, Span)>,
}

impl Values {
    /// Checks the `given` options against [`OPTIONS`].
    pub(crate) fn check(target: Target, given: &[Given]) -> Result<Self, SqlError> {
        let mut values = BTreeMap::new();
        for g in given {
            let Some(spec) = spec(&g.name, target) else { return Err(unknown(target, g)) };
            let value = parse_value(spec, g)?;
            if values.insert(spec.name, (value, g.value_span)).is_some() {
                return Err(
                    invalid(format!("option \"{}\" is given twice", g.name)).at(g.name_span)
                );
            }
        }
        let connector = match values.get("connector") {
            Some((Value::Text(c), _)) => c.clone(),
            _ => "http".to_owned(),
        };
        for g in given {
            let owner = spec(&g.name, target).and_then(|s| s.connector);
            if let Some(owner) = owner.filter(|o| *o != connector) {
                return Err(invalid(format!(
                    "option \"{}\" does not belong to connector '{connector}'",
                    g.name
                ))
                .hint(format!("add connector = '{owner}'"))
                .at(g.name_span));
            }
        }
        Ok(Self { values })
    }

    pub(crate) fn span(&self, name: &str) -> Option<Span> {
        self.values.get(name).map(|v| v.1)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some((Value::Text(t), _)) => Some(t),
            _ => None,
        }
    }

    pub(crate) fn names(&self, name: &str) -> Option<&[String]> {
        match self.values.get(name) {
            Some((Value::Names(n), _)) => Some(n),
            _ => None,
        }
    }

    pub(crate) fn duration(&self, name: &str) -> Option<Micros> {
        match self.values.get(name) {
            Some((Value::Duration(d), _)) => Some(*d),
            _ => None,
        }
    }

    pub(crate) fn partition(&self, name: &str) -> Option<(PartitionUnit, &str)> {
        match self.values.get(name) {
            Some((Value::Partition(u, c), _)) => Some((*u, c)),
            _ => None,
        }
    }

    fn bool(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some((Value::Bool(b), _)) => Some(*b),
            _ => None,
        }
    }

    /// What `on_error` says.
    pub(crate) fn on_error(&self) -> OnError {
        if self.text("on_error") == Some("fail") { OnError::Fail } else { OnError::DeadLetter }
    }

    /// The options of the file connector. `whole` is where an error about something missing is
    /// shown.
    pub(crate) fn file(&self, whole: Span) -> Result<FileOptions, SqlError> {
        let Some(path) = self.text("path") else {
            return Err(invalid("connector 'file' needs the option \"path\"")
                .hint("path = 'data/*.csv'")
                .at(self.span("connector").unwrap_or(whole)));
        };
        let format = match self.text("format") {
            Some("csv") => FileFormat::Csv,
            Some(_) => FileFormat::Json,
            None if path.contains(".csv") || path.contains(".tsv") => FileFormat::Csv,
            None => FileFormat::Json,
        };
        let columns = self.names("columns").map(<[String]>::to_vec);
        let compression = match self.text("compression") {
            Some("none") => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            _ => Compression::Auto,
        };
        let delimiter = match self.values.get("delimiter") {
            Some((Value::Byte(b), _)) => *b,
            _ if path.contains(".tsv") => b'\t',
            _ => b',',
        };
        let speed = match self.values.get("speed") {
            Some((Value::Speed(s), _)) => *s,
            _ => Speed::Max,
        };
        let mapping = match self.values.get("mapping") {
            Some((Value::Mapping(m), _)) => m.clone(),
            _ => Vec::new(),
        };
        Ok(FileOptions {
            path: path.to_owned(),
            format,
            header: self.bool("header").unwrap_or(columns.is_none()),
            columns,
            delimiter,
            compression,
            speed,
            follow: self.bool("follow").unwrap_or(false),
            mapping,
        })
    }
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(ErrorKind::InvalidOption, message)
}

fn unknown(target: Target, given: &Given) -> SqlError {
    let noun = target.noun();
    let names = || OPTIONS.iter().filter(|o| o.targets.contains(&target)).map(|o| o.name);
    let known = match names().next() {
        Some(_) => format!("the options are {}", list(names())),
        None => format!("a {noun} has no options"),
    };
    let e = invalid(format!("option \"{}\" does not exist for a {noun}", given.name))
        .detail(known)
        .at(given.name_span);
    let meant = did_you_mean(&given.name, names());
    let elsewhere = OPTIONS.iter().find(|o| o.name == given.name);
    match (meant, elsewhere) {
        (Some(hint), _) => e.hint(hint),
        (None, Some(o)) => {
            let nouns: Vec<&str> = o.targets.iter().map(|t| t.noun()).collect();
            e.hint(format!("it is an option of a {}", nouns.join(" or a ")))
        }
        _ => e,
    }
}

fn parse_value(spec: &OptionSpec, given: &Given) -> Result<Value, SqlError> {
    let text = given.value.trim();
    let wrong = || {
        invalid(format!("'{}' is not a value of option \"{}\"", given.value, spec.name))
            .detail(format!("it must be {}", spec.kind.describe()))
            .at(given.value_span)
    };
    match spec.kind {
        OptionType::Text if text.is_empty() => Err(wrong()),
        OptionType::Text => Ok(Value::Text(text.to_owned())),
        OptionType::Columns | OptionType::Names => names(text).map(Value::Names).ok_or_else(wrong),
        OptionType::Duration => match interval::duration(text) {
            Ok(d) => Ok(Value::Duration(d)),
            Err(why) => Err(wrong().hint(why)),
        },
        OptionType::Partition => partition(text).ok_or_else(wrong),
        OptionType::Bool => match text.to_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(Value::Bool(true)),
            "false" | "off" | "no" | "0" => Ok(Value::Bool(false)),
            _ => Err(wrong()),
        },
        OptionType::Choice(words) => {
            let lower = text.to_lowercase();
            match words.iter().find(|w| **w == lower) {
                Some(w) => Ok(Value::Text((*w).to_owned())),
                None => Err(match did_you_mean(&lower, words.iter().copied()) {
                    Some(hint) => wrong().hint(hint),
                    None => wrong(),
                }),
            }
        }
        OptionType::Byte => match given.value.as_bytes() {
            b"\\t" => Ok(Value::Byte(b'\t')),
            [b] if b.is_ascii() => Ok(Value::Byte(*b)),
            _ => Err(wrong()),
        },
        OptionType::Speed => speed(text).map(Value::Speed).ok_or_else(wrong),
        OptionType::Mapping => mapping(text).map(Value::Mapping).ok_or_else(wrong),
    }
}

/// Splits at commas; a name may be quoted as in SQL, otherwise it is folded to lower case.
fn names(text: &str) -> Option<Vec<String>> {
    text.split(',').map(name).collect()
}

fn name(text: &str) -> Option<String> {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) if !inner.is_empty() => Some(inner.replace("\"\"", "\"")),
        Some(_) => None,
        None if text.is_empty() => None,
        None => Some(text.to_lowercase()),
    }
}

fn partition(text: &str) -> Option<Value> {
    let (unit, rest) = text.split_once('(')?;
    let column = name(rest.trim_end().strip_suffix(')')?)?;
    let unit = match unit.trim().to_lowercase().as_str() {
        "hour" => PartitionUnit::Hour,
        "day" => PartitionUnit::Day,
        _ => return None,
    };
    Some(Value::Partition(unit, column))
}

fn speed(text: &str) -> Option<Speed> {
    if text.eq_ignore_ascii_case("max") {
        return Some(Speed::Max);
    }
    let times: f64 = text.strip_suffix(['x', 'X'])?.trim().parse().ok()?;
    (times.is_finite() && times > 0.0).then_some(Speed::Times(times))
}

fn mapping(text: &str) -> Option<Vec<(String, String)>> {
    text.split(',')
        .map(|pair| {
            let (column, source) = pair.split_once('=')?;
            let source = source.trim().trim_matches('"');
            (!source.is_empty()).then(|| name(column).map(|c| (c, source.to_owned())))?
        })
        .collect()
}
