//! Every option that can stand in `WITH (…)`, defined once: parsing, checking and the
//! documentation all read [`OPTIONS`].

use std::collections::BTreeMap;

use crate::ast::Micros;
use crate::error::{ErrorKind, Span, SqlError};
use crate::interval;
use crate::nearest::{did_you_mean, list};

/// On which statement an option may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `CREATE STREAM`
    Stream,
    /// `CREATE TABLE`
    Table,
    /// `CREATE MATERIALIZED VIEW`
    View,
}

impl Target {
    fn noun(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::View => "view",
        }
    }
}

/// What the text of an option must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionType {
    /// Any text.
    Text,
    /// Column names, separated by commas.
    Columns,
    /// Names, separated by commas, that need not be columns.
    Names,
    /// A length of time: `1 hour`, `90 days`.
    Duration,
    /// `day(c)`, `hour(c)` or `month(c)`.
    Partition,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One character of ASCII; `\t` is a tab.
    Byte,
    /// `max`, or a multiple of real time: `1x`, `60x`.
    Speed,
    /// `column = name, …`.
    Mapping,
}

impl OptionType {
    /// The type in words, for messages and documentation.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Columns => "columns, separated by commas".to_owned(),
            Self::Names => "names, separated by commas".to_owned(),
            Self::Duration => "a length of time, such as '1 hour' or '90 days'".to_owned(),
            Self::Partition => "'hour(c)', 'day(c)' or 'month(c)' of a time column c".to_owned(),
            Self::Bool => "'true' or 'false'".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
                words.join(" or ")
            }
            Self::Byte => "one ASCII character, '\\t' for a tab".to_owned(),
            Self::Speed => "'max', or a multiple of real time such as '1x' or '60x'".to_owned(),
            Self::Mapping => "'column = name in the file, …'".to_owned(),
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub targets: &'static [Target],
    /// The connector it belongs to, if to one.
    pub connector: Option<&'static str>,
    /// What it must be.
    pub kind: OptionType,
    /// What holds when it is not given, in words or as a value.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

const STREAM: &[Target] = &[Target::Stream];
const INPUT: &[Target] = &[Target::Stream, Target::Table];
const KEPT: &[Target] = &[Target::Stream, Target::View];

const fn option(
    name: &'static str,
    targets: &'static [Target],
    kind: OptionType,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, targets, connector: None, kind, default, help }
}

const fn file(
    name: &'static str,
    kind: OptionType,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, targets: INPUT, connector: Some("file"), kind, default, help }
}

/// All options.
pub const OPTIONS: &[OptionSpec] = &[
    option("unique_key", STREAM, OptionType::Columns, "", "the columns by which a duplicate event is known and dropped"),
    option("unique_within", STREAM, OptionType::Duration, "for ever", "for how long a key is remembered"),
    option("order_by", STREAM, OptionType::Columns, "the event time", "the columns by which stored rows are sorted"),
    option("partition_by", KEPT, OptionType::Partition, "day of the event time", "how stored rows are divided by time"),
    option("retention", KEPT, OptionType::Duration, "for ever", "partitions whose rows are all older than this are dropped"),
    option("lateness", STREAM, OptionType::Duration, "0 seconds", "rows later than this behind the watermark are listed as late"),
    option("on_error", INPUT, OptionType::Choice(&["dead_letter", "fail"]), "dead_letter", "what is done with an event that cannot be decoded: keep it aside, or refuse the delivery"),
    option("connector", INPUT, OptionType::Choice(&["http", "file"]), "http", "where events come from"),
    file("path", OptionType::Text, "", "the files, with * and ** as wildcards"),
    file("format", OptionType::Choice(&["csv", "json"]), "by the ending of the path, else json", "how a file is written; json is one object per line"),
    file("columns", OptionType::Names, "", "the columns of a CSV file, in its order; names that are not columns of ours are passed over"),
    file("header", OptionType::Bool, "true unless columns are given", "whether the first line of a CSV file names its columns"),
    file("delimiter", OptionType::Byte, ",", "what stands between the values of a CSV file"),
    file("compression", OptionType::Choice(&["auto", "none", "gzip", "zstd"]), "auto", "how a file is compressed; auto goes by its ending"),
    file("speed", OptionType::Speed, "max", "how fast files are replayed, by event time"),
    file("follow", OptionType::Bool, "false", "whether to wait for more at the end, instead of stopping"),
    file("mapping", OptionType::Mapping, "the same names", "which name in the file a column has"),
];

/// The spec of the option of this name on this target.
fn spec(name: &str, target: Target) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|o| o.name == name && o.targets.contains(&target))
}

/// How rows are divided by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionUnit {
    /// One partition an hour.
    Hour,
    /// One partition a day.
    Day,
    /// One partition a month.
    Month,
}

/// How a stream's rows are divided by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBy {
    /// How long a partition is.
    pub unit: PartitionUnit,
    /// Its time column, by position.
    pub column: usize,
}

/// What is done with an event that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is kept aside, counted and listed.
    #[default]
    DeadLetter,
    /// The delivery is refused.
    Fail,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma-separated values.
    Csv,
    /// One JSON object per line.
    Json,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As its ending says: `.gz`, `.zst`, else not at all.
    Auto,
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// How fast files are replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as they are taken.
    Max,
    /// By event time, this many times as fast as it happened.
    Times(f64),
}

/// The options of `connector = 'file'`.
#[derive(Clone, Debug, PartialEq)]
pub struct FileOptions {
    /// The files, with `*` and `**` as wildcards.
    pub path: String,
    /// How they are written.
    pub format: FileFormat,
    /// The columns of a CSV file in its order, where given.
    pub columns: Option<Vec<String>>,
    /// Whether the first line of a CSV file names its columns.
    pub header: bool,
    /// What stands between values of a CSV file.
    pub delimiter: u8,
    /// How they are compressed.
    pub compression: Compression,
    /// How fast they are replayed.
    pub speed: Speed,
    /// Whether to wait for more at the end.
    pub follow: bool,
    /// (our column, its name in the file).
    pub mapping: Vec<(String, String)>,
}

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
                return Err(invalid(format!("option \"{}\" is given twice", g.name))
                    .at(g.name_span));
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
    let e = invalid(format!("option \"{}\" does not exist for a {noun}", given.name))
        .detail(format!("the options are {}", list(names())))
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
        OptionType::Columns | OptionType::Names => {
            names(text).map(Value::Names).ok_or_else(wrong)
        }
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
        "month" => PartitionUnit::Month,
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

/// The options as a Markdown table, for the guide.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from("| option | on | value | default | what it does |\n|---|---|---|---|---|\n");
    for o in OPTIONS {
        let on: Vec<&str> = o.targets.iter().map(|t| t.noun()).collect();
        let owner = o.connector.map(|c| format!(" (connector '{c}')")).unwrap_or_default();
        out.push_str(&format!(
            "| `{}` | {}{owner} | {} | {} | {} |\n",
            o.name,
            on.join(", "),
            o.kind.describe(),
            o.default,
            o.help
        ));
    }
    out
}
