//! What stands in `WITH (…)`, checked against the options there are.

use std::collections::BTreeMap;

use yeoul_batch::{FieldPath, Metadata};

use super::connector::{
    self, Connector, ConnectorOptions, ConnectorSpec, Connectors, Contradiction,
};
use super::{FUTURE_SKEW, OPTIONS, OnError, OptionSpec, OptionType, PartitionUnit, Target, known};
use crate::ast::Micros;
use crate::error::{ErrorKind, Span, SqlError};
use crate::interval;
use crate::nearest::{did_you_mean, list};

/// The most that `row_bytes_max` can be: what a decoder may hold of one event.
const ROW_BYTES_LIMIT: usize = 256 << 20;

/// The value of an option.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Names(Vec<String>),
    Duration(Micros),
    /// `None` is unlimited.
    Skew(Option<Micros>),
    Partition(PartitionUnit, String),
    Bool(bool),
    Byte(u8),
    /// `None` is none.
    Quote(Option<u8>),
    Bytes(usize),
    Mapping(Vec<(String, FieldPath)>),
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
    /// The connector that they choose.
    connector: Option<&'static ConnectorSpec>,
    /// What they stand on.
    target: Target,
}

impl Values {
    /// Checks the `given` options. The error is that of the first that is wrong, and names the others.
    pub(crate) fn check(
        target: Target,
        given: &[Given],
        connectors: Connectors,
    ) -> Result<Self, SqlError> {
        let (mut values, mut wrong) = (BTreeMap::new(), Vec::new());
        let owner = |name: &str| known(target, connectors).find(|(spec, _)| spec.name == name);
        let of = given.iter().find(|g| g.name == "connector").map(|g| g.value.as_str());
        for g in given {
            let Some((spec, _)) = owner(&g.name) else {
                wrong.push(unknown((target, of), g, connectors));
                continue;
            };
            match parse_value(spec, g, connectors) {
                Err(error) => wrong.push(error),
                Ok(value) => {
                    if values.insert(spec.name, (value, g.value_span)).is_some() {
                        let twice = invalid(format!("option \"{}\" is given twice", g.name));
                        wrong.push(twice.at(g.name_span));
                    }
                }
            }
        }
        if let Some(error) = together(wrong) {
            return Err(error);
        }
        let chosen = match values.get("connector") {
            Some((Value::Text(name), _)) => name.as_str(),
            _ => "http",
        };
        let connector = connector::all(connectors).find(|connector| connector.name == chosen);
        for g in given {
            let owner = owner(&g.name).and_then(|(_, owner)| owner);
            if let Some(owner) = owner.filter(|owner| *owner != chosen) {
                return Err(invalid(format!(
                    "option \"{}\" does not belong to connector '{chosen}'",
                    g.name
                ))
                .hint(format!("add connector = '{owner}'"))
                .at(g.name_span));
            }
        }
        Ok(Self { values, connector, target })
    }

    /// The connector with its options. `whole` is where an error about something missing is shown. What was `accepted`
    /// before stands, whatever is known of it now.
    pub(crate) fn connector(&self, whole: Span, accepted: bool) -> Result<Connector, SqlError> {
        let Some(spec) = self.connector else { return Ok(Connector::http()) };
        for (name, example) in spec.required {
            if !self.values.contains_key(name) {
                let message = format!("connector '{}' needs the option \"{name}\"", spec.name);
                let at = self.span("connector").unwrap_or(whole);
                return Err(invalid(message).hint(*example).at(at));
            }
        }
        let own = spec.options.iter().filter_map(|option| {
            let (value, _) = self.values.get(option.name)?;
            Some((option.name, value.clone()))
        });
        let options = ConnectorOptions(own.collect());
        if let Some(check) = spec.check.filter(|_| !accepted) {
            check(&options, self.target).map_err(|Contradiction(message, hint)| {
                let named =
                    self.values.iter().find(|(name, _)| message.contains(&format!("\"{name}\"")));
                let at = named.map(|(_, (_, span))| *span).or(self.span("connector"));
                invalid(message).hint(hint).at(at.unwrap_or(whole))
            })?;
        }
        Ok(Connector { name: spec.name.to_owned(), options })
    }

    /// Refuses a connector that takes no changes, or not in this format.
    pub(crate) fn check_sink(&self) -> Result<(), SqlError> {
        let Some(spec) = self.connector else { return Ok(()) };
        if spec.sink_formats.is_empty() {
            let message = format!("connector '{}' takes no changes", spec.name);
            return Err(invalid(message)
                .hint("a sink is of connector 'kafka'")
                .or_at(self.span("connector")));
        }
        match self.text("format") {
            Some(word) if !spec.sink_formats.contains(&word) => {
                let message = format!("connector '{}' writes no format '{word}'", spec.name);
                let detail = format!("it writes {}", list(spec.sink_formats.iter().copied()));
                Err(invalid(message).detail(detail).or_at(self.span("format")))
            }
            _ => Ok(()),
        }
    }

    /// Whether the connector tells this beside an event.
    pub(crate) fn tells(&self, metadata: Metadata) -> bool {
        self.connector.is_some_and(|spec| spec.metadata.contains(&metadata))
    }

    /// What the connector is that they choose.
    pub(super) fn spec(&self) -> Option<&'static ConnectorSpec> {
        self.connector
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

    /// How far ahead of now an event time may be; `None`: any time.
    pub(crate) fn future_skew(&self) -> Option<Micros> {
        match self.values.get("future_skew") {
            Some((Value::Skew(skew), _)) => *skew,
            _ => Some(FUTURE_SKEW),
        }
    }

    /// Sets an option, for values that stand in no statement.
    pub(super) fn set(&mut self, name: &'static str, value: Value) {
        self.values.insert(name, (value, Span::default()));
    }

    /// The value of an option.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|(value, _)| value)
    }

    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some((Value::Bool(b), _)) => Some(*b),
            _ => None,
        }
    }

    /// What `on_error` says.
    pub(crate) fn on_error(&self) -> OnError {
        if self.text("on_error") == Some("fail") { OnError::Fail } else { OnError::DeadLetter }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(ErrorKind::InvalidOption, message)
}

/// The first error, whose detail names the others.
fn together(wrong: Vec<SqlError>) -> Option<SqlError> {
    let mut wrong = wrong.into_iter();
    let mut first = wrong.next()?;
    let others = wrong.map(|error| match error.hint.or(error.detail) {
        Some(more) => format!("{} ({more})", error.message),
        None => error.message,
    });
    let others: Vec<String> = others.collect();
    if !others.is_empty() {
        let own = first.detail.take().map_or_else(String::new, |own| format!("{own}; "));
        first.detail = Some(format!("{own}also: {}", others.join("; ")));
    }
    Some(first)
}

fn unknown(
    (target, connector): (Target, Option<&str>),
    given: &Given,
    connectors: Connectors,
) -> SqlError {
    let noun = target.noun();
    let names = || known(target, connectors).map(|(option, _)| option.name);
    // First those that only this connector has, and none of others.
    let (own, common): (Vec<_>, Vec<_>) = known(target, connectors)
        .filter(|(_, owner)| owner.is_none() || connector.is_none() || *owner == connector)
        .partition(|(_, owner)| owner.is_some() && connector.is_some());
    let known = match names().next() {
        Some(_) => format!(
            "the options are {}",
            list(own.into_iter().chain(common).map(|(option, _)| option.name))
        ),
        None => format!("a {noun} has no options"),
    };
    let e = invalid(format!("option \"{}\" does not exist for a {noun}", given.name))
        .detail(known)
        .at(given.name_span);
    let called = connector::called(&given.name, connectors);
    let meant = match called.filter(|called| names().any(|name| name == *called)) {
        Some(name) => Some(format!("did you mean \"{name}\"?")),
        None => did_you_mean(&given.name, names()),
    };
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

pub(super) fn parse_value(
    spec: &OptionSpec,
    given: &Given,
    connectors: Connectors,
) -> Result<Value, SqlError> {
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
        OptionType::Choice(words) => chosen(text, words.iter().copied(), wrong),
        OptionType::Connector => {
            let detail = format!("it must be {}", connector::words(spec.targets[0], connectors));
            let names = connector::all(connectors).map(|connector| connector.name);
            chosen(text, names, || SqlError { detail: Some(detail), ..wrong() })
        }
        OptionType::Skew if text.eq_ignore_ascii_case("unlimited") => Ok(Value::Skew(None)),
        OptionType::Skew => match interval::duration(text) {
            Ok(d) => Ok(Value::Skew(Some(d))),
            Err(why) => Err(wrong().hint(why)),
        },
        OptionType::Byte => byte(&given.value).map(Value::Byte).ok_or_else(wrong),
        OptionType::Quote if matches!(text, "" | "none") => Ok(Value::Quote(None)),
        OptionType::Quote => byte(&given.value).map(|b| Value::Quote(Some(b))).ok_or_else(wrong),
        OptionType::Texts => {
            Ok(Value::Names(text.split(',').map(|part| part.trim().to_owned()).collect()))
        }
        OptionType::Bytes => bytes(text).map(Value::Bytes).ok_or_else(wrong),
        OptionType::Form(_, is_one) if is_one(text) => Ok(Value::Text(text.to_owned())),
        OptionType::Form(..) => Err(wrong()),
        OptionType::Mapping => match mapping(text) {
            Ok(pairs) => Ok(Value::Mapping(pairs)),
            Err(hint) => Err(wrong().hint(hint)),
        },
    }
}

/// One of `words`.
fn chosen(
    text: &str,
    words: impl Iterator<Item = &'static str> + Clone,
    wrong: impl FnOnce() -> SqlError,
) -> Result<Value, SqlError> {
    let lower = text.to_lowercase();
    if words.clone().any(|word| word == lower) {
        return Ok(Value::Text(lower));
    }
    Err(match did_you_mean(&lower, words) {
        Some(hint) => wrong().hint(hint),
        None => wrong(),
    })
}

/// Splits at commas; a name may be quoted as in SQL, otherwise it is folded to lower case.
fn names(text: &str) -> Option<Vec<String>> {
    unquoted_split(text).map(name).collect()
}

fn name(text: &str) -> Option<String> {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) if !inner.is_empty() => Some(inner.replace("\"\"", "\"")),
        Some(_) => None,
        None if text.is_empty() => None,
        None => Some(text.to_ascii_lowercase()),
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

/// One ASCII character that ends no line; `\t` is a tab.
fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        b"\\t" => Some(b'\t'),
        [b] if b.is_ascii() && !matches!(b, b'\n' | b'\r') => Some(*b),
        _ => None,
    }
}

/// A number of bytes with or without a unit.
fn bytes(text: &str) -> Option<usize> {
    const UNITS: [(&str, usize); 3] = [("KIB", 1 << 10), ("MIB", 1 << 20), ("B", 1)];
    let upper = text.to_uppercase();
    let (number, unit) = UNITS
        .into_iter()
        .find_map(|(name, unit)| Some((upper.strip_suffix(name)?, unit)))
        .unwrap_or((&upper, 1));
    let count = number.trim().parse::<usize>().ok()?.checked_mul(unit)?;
    (1..=ROW_BYTES_LIMIT).contains(&count).then_some(count)
}

/// Pairs of a column and its field; an error is a hint.
fn mapping(text: &str) -> Result<Vec<(String, FieldPath)>, String> {
    let mut pairs: Vec<(String, FieldPath)> = Vec::new();
    for pair in unquoted_split(text) {
        let pair = pair.trim();
        let mut divided = unquoted_parts(pair, &[':', '=']);
        let column = divided.next().unwrap_or_default();
        let Some(field) = pair.get(column.len() + 1..) else {
            return Err(format!("'{pair}' has no colon; write 'column: field'"));
        };
        let Some(column) = name(column) else {
            return Err(format!("'{pair}' names no column before its colon"));
        };
        let Some(path) = FieldPath::parse(field) else {
            return Err(format!(
                "'{}' is not a path: write names with dots between them, and names that hold a dot or \
                 a comma in double quotes",
                field.trim()
            ));
        };
        if pairs.iter().any(|(known, _)| *known == column) {
            return Err(format!("column \"{column}\" is mapped twice"));
        }
        pairs.push((column, path));
    }
    Ok(pairs)
}

/// Splits at commas that do not stand in double quotes.
fn unquoted_split(text: &str) -> impl Iterator<Item = &str> {
    unquoted_parts(text, &[','])
}

/// Splits at characters that do not stand in double quotes.
fn unquoted_parts<'a>(text: &'a str, at: &'a [char]) -> impl Iterator<Item = &'a str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        at.contains(&c) && !quoted
    })
}
