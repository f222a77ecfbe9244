//! Connectors as statements name them: what each takes in `WITH (…)`.
//!
//! This crate knows `http`, which nobody fetches anything for. It is given the others with the text that it reads.

use std::collections::BTreeMap;

use yeoul_batch::{Format, Metadata};

use super::value::Value;
use super::{OptionSpec, Target};
use crate::ast::Micros;

/// A connector and its options.
#[derive(Debug)]
pub struct ConnectorSpec {
    /// Its name in `connector = '…'`.
    pub name: &'static str,
    /// The options that are its own.
    pub options: &'static [OptionSpec],
    /// What others call an option that it has, and its name here: in small letters, with points between words and without
    /// a prefix such as `properties.`.
    pub called: &'static [(&'static str, &'static str)],
    /// Those that it cannot be without, and an example of each.
    pub required: &'static [(&'static str, &'static str)],
    /// What it tells beside an event.
    pub metadata: &'static [Metadata],
    /// The words that `format` may be.
    pub formats: &'static [&'static str],
    /// How its events are written when `format` does not say it, as far as its options do; without this function each
    /// delivery says so itself.
    pub format: Option<fn(&ConnectorOptions) -> Option<Format>>,
    /// The words that the `format` of a sink may be; none: it takes no changes.
    pub sink_formats: &'static [&'static str],
    /// Whether options that are right each by itself can stand together.
    pub check: Option<Check>,
}

/// Looks at all options of a connector together.
pub type Check = fn(&ConnectorOptions, Target) -> Result<(), Contradiction>;

/// Options that cannot stand together: what is wrong, and what to do.
#[derive(Clone, Debug)]
pub struct Contradiction(pub String, pub &'static str);

/// The connectors there are.
pub type Connectors = &'static [&'static ConnectorSpec];

/// `POST /v1/ingest/{stream}` and `INSERT`.
static HTTP: ConnectorSpec = ConnectorSpec {
    name: "http",
    options: &[],
    called: &[],
    required: &[],
    metadata: &[],
    formats: &["json", "csv", "tsv", "debezium-json"],
    format: None,
    sink_formats: &[],
    check: None,
};

/// `connectors`, and the one that is always there.
pub(super) fn all(connectors: Connectors) -> impl Iterator<Item = &'static ConnectorSpec> + Clone {
    std::iter::once(&HTTP).chain(connectors.iter().copied())
}

/// What others begin names of options with.
const PREFIXES: [&str; 6] = ["properties.", "kafka.", "connector.", "scan.", "source.", "sink."];

/// The option that others call `name`.
pub(super) fn called(name: &str, connectors: Connectors) -> Option<&'static str> {
    let lower = name.to_lowercase().replace(['_', '-'], ".");
    let mut bare = lower.as_str();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| bare.strip_prefix(prefix)) {
        bare = rest;
    }
    let mut all = all(connectors).flat_map(|connector| connector.called);
    all.find(|(theirs, _)| *theirs == bare).map(|(_, ours)| *ours)
}

/// The names of those that may stand on `target`.
pub(super) fn names(
    target: Target,
    connectors: Connectors,
) -> impl Iterator<Item = &'static str> + Clone {
    let fits = move |c: &&ConnectorSpec| target != Target::Sink || !c.sink_formats.is_empty();
    all(connectors).filter(fits).map(|connector| connector.name)
}

/// Their names in words.
pub(super) fn words(target: Target, connectors: Connectors) -> String {
    let names: Vec<String> = names(target, connectors).map(|name| format!("'{name}'")).collect();
    names.join(" or ")
}

/// Where the events of a stream or table come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Connector {
    /// The connector's name.
    pub name: String,
    /// What it was given.
    pub options: ConnectorOptions,
}

impl Connector {
    /// Events are sent, not fetched.
    #[must_use]
    pub fn http() -> Self {
        Self { name: HTTP.name.to_owned(), options: ConnectorOptions::default() }
    }

    /// Whether a source has to fetch events.
    #[must_use]
    pub fn is_fetched(&self) -> bool {
        self.name != HTTP.name
    }
}

/// Options that were checked, by their names; those that were not given are not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectorOptions(pub(super) BTreeMap<&'static str, Value>);

impl ConnectorOptions {
    /// The value of an option of text, a choice or a form.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The name in a `${NAME}` that has no value, and the option that it is in.
    #[must_use]
    pub fn unknown_secret(&self) -> Option<(&'static str, &str)> {
        self.0.iter().find_map(|(option, value)| match value {
            Value::Text(text) => Some((*option, text.split_once("${")?.1.split_once('}')?.0)),
            _ => None,
        })
    }

    /// The value of an option that is columns.
    #[must_use]
    pub fn columns(&self, name: &str) -> Option<&[String]> {
        match self.0.get(name) {
            Some(Value::Names(names)) => Some(names),
            _ => None,
        }
    }

    /// All columns that options name.
    pub fn all_columns(&self) -> impl Iterator<Item = &str> {
        let lists = self.0.values().filter_map(|value| match value {
            Value::Names(names) => Some(names),
            _ => None,
        });
        lists.flatten().map(String::as_str)
    }

    /// The value of an option that is `true` or `false`.
    #[must_use]
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// The value of an option that is a length of time.
    #[must_use]
    pub fn duration(&self, name: &str) -> Option<Micros> {
        match self.0.get(name) {
            Some(Value::Duration(value)) => Some(*value),
            _ => None,
        }
    }

    /// The value of an option that is a number of bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<usize> {
        match self.0.get(name) {
            Some(Value::Bytes(value)) => Some(*value),
            _ => None,
        }
    }
}
