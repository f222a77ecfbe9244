//! Every option that can stand in `WITH (…)`, defined once: parsing, checking and the documentation all read the table
//! here and those of the connectors ([`ConnectorSpec`]).

mod connector;
mod decode;
mod edit;
mod value;

use crate::ast::Micros;

pub use connector::{Check, Connector, ConnectorOptions, ConnectorSpec, Connectors, Contradiction};
pub use decode::with_request;
pub(crate) use edit::{check_name, remap, rename_in_call, rename_in_list};
pub(crate) use value::{Given, Values};

/// On which statement an option may stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// `CREATE STREAM`
    #[default]
    Stream,
    /// `CREATE TABLE`
    Table,
    /// `CREATE MATERIALIZED VIEW`
    View,
    /// `CREATE SINK`
    Sink,
}

impl Target {
    fn noun(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::View => "view",
            Self::Sink => "sink",
        }
    }
}

/// What the text of an option must be.
#[derive(Clone, Copy, Debug)]
pub enum OptionType {
    /// Any text.
    Text,
    /// Column names, separated by commas.
    Columns,
    /// Names, separated by commas, that need not be columns.
    Names,
    /// A length of time: `1 hour`, `90 days`.
    Duration,
    /// `hour(c)` or `day(c)`.
    Partition,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A length of time, or `unlimited`.
    Skew,
    /// One character of ASCII; `\t` is a tab.
    Byte,
    /// One character of ASCII, or `none`.
    Quote,
    /// Texts, separated by commas; a text may be empty.
    Texts,
    /// A number of bytes: `65536`, `4 MiB`.
    Bytes,
    /// A text of a form that only its connector knows: what it is in words, and whether a text is one.
    Form(&'static str, fn(&str) -> bool),
    /// The name of a connector.
    Connector,
    /// `column: field, …`.
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
            Self::Partition => "'hour(c)' or 'day(c)' of a time column c".to_owned(),
            Self::Bool => "'true' or 'false'".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
                words.join(" or ")
            }
            Self::Skew => "a length of time, such as '1 hour', or 'unlimited'".to_owned(),
            Self::Byte => "one ASCII character, '\\t' for a tab".to_owned(),
            Self::Quote => "one ASCII character, or 'none'".to_owned(),
            Self::Texts => "texts, separated by commas".to_owned(),
            Self::Bytes => {
                "a number of bytes, such as '65536' or '4 MiB', at most 256 MiB".to_owned()
            }
            Self::Form(what, _) => what.to_owned(),
            Self::Connector => "the name of a connector".to_owned(),
            Self::Mapping => {
                "'column: field, …'; in JSON a field may be a path: item.id".to_owned()
            }
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
    /// What it must be.
    pub kind: OptionType,
    /// What holds when it is not given, in words or as a value.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

const STREAM: &[Target] = &[Target::Stream];
const INPUT: &[Target] = &[Target::Stream, Target::Table];
const SINK: &[Target] = &[Target::Sink];
const BOTH: &[Target] = &[Target::Stream, Target::Table, Target::Sink];

const fn option(
    name: &'static str,
    targets: &'static [Target],
    kind: OptionType,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec { name, targets, kind, default, help }
}

impl OptionSpec {
    /// An option of a connector that feeds streams and tables.
    #[must_use]
    pub const fn of_source(
        name: &'static str,
        kind: OptionType,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        option(name, INPUT, kind, default, help)
    }

    /// An option of a connector that takes changes.
    #[must_use]
    pub const fn of_sink(
        name: &'static str,
        kind: OptionType,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        option(name, SINK, kind, default, help)
    }

    /// The same for both.
    #[must_use]
    pub const fn of_both(
        name: &'static str,
        kind: OptionType,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        option(name, BOTH, kind, default, help)
    }
}

/// The options that are of no connector.
const OPTIONS: &[OptionSpec] = &[
    option(
        "unique_key",
        STREAM,
        OptionType::Columns,
        "",
        "the columns by which a duplicate event is known and dropped",
    ),
    option(
        "unique_within",
        STREAM,
        OptionType::Duration,
        "for ever",
        "for how long a key is remembered",
    ),
    option(
        "order_by",
        STREAM,
        OptionType::Columns,
        "the event time",
        "the columns by which stored rows are sorted",
    ),
    option(
        "partition_by",
        STREAM,
        OptionType::Partition,
        "day of the event time",
        "how stored rows are divided by time",
    ),
    option(
        "retention",
        STREAM,
        OptionType::Duration,
        "for ever",
        "partitions whose rows are all older than this are dropped; with '0 seconds' events are not stored: they are carried into the views that are there, and are gone",
    ),
    option(
        "lateness",
        STREAM,
        OptionType::Duration,
        "0 seconds",
        "how far behind the watermark a row may come; later ones are stored and correct the views too, but for windows that are closed and joins that are bounded in time, and are listed in `yeoul.late_rows`",
    ),
    option(
        "watermark_idle",
        STREAM,
        OptionType::Duration,
        "never",
        "for how long nothing comes until the stream is idle: then it holds back no window of a view that reads other streams too. A partition of a source whose partitions are read side by side is idle after that, or after 10 seconds, and holds back its stream no longer",
    ),
    option(
        "future_skew",
        STREAM,
        OptionType::Skew,
        "1 day",
        "how far ahead of now an event time may be; events beyond it are not stored, since one would move the watermark there",
    ),
    option(
        "on_error",
        INPUT,
        OptionType::Choice(&["dead_letter", "fail"]),
        "dead_letter",
        "what is done with an event that cannot be decoded: keep it aside, or refuse the delivery",
    ),
    option("connector", INPUT, OptionType::Connector, "http", "where events come from"),
    option("connector", SINK, OptionType::Connector, "", "where changes go"),
    option(
        "format",
        SINK,
        OptionType::Choice(&["json", "avro"]),
        "json",
        "how changes are written",
    ),
    option(
        "envelope",
        SINK,
        OptionType::Choice(&["append", "upsert", "debezium"]),
        "append where rows only come; else upsert",
        "what is told of a change: append: the row; upsert: the row by its key as it is now, and nothing (a tombstone) for one that is gone; debezium: the row before and after, in the form of Debezium",
    ),
    option(
        "key",
        SINK,
        OptionType::Columns,
        "the primary key of a table, the groups of a view",
        "the columns by which a row is known where it is sent; it is the key of the message",
    ),
    option(
        "snapshot",
        SINK,
        OptionType::Bool,
        "true",
        "whether the rows that are there when the sink is created are sent first",
    ),
    option(
        "paused",
        SINK,
        OptionType::Bool,
        "false",
        "whether nothing is sent; changes are kept meanwhile",
    ),
    option(
        "keep",
        SINK,
        OptionType::Duration,
        "0 seconds",
        "for how long changes are kept that were sent, so that ALTER SINK … REWIND can send them again",
    ),
    option(
        "kept_rows_max",
        SINK,
        OptionType::Form("a number of rows", |text| text.parse::<u64>().is_ok()),
        "100000000",
        "how many changed rows are kept: those that cannot be sent yet, and those that `keep` keeps; with more, besides the rows that were there when it was created, the sink is given up",
    ),
    option(
        "format",
        INPUT,
        OptionType::Choice(&["json", "csv", "tsv", "avro", "debezium-json", "parquet"]),
        "by Content-Type, or by the ending of the path; else json",
        "how events are written; json is one object per line, an array, or one object; avro is for messages, parquet for files; debezium-json, for tables with a primary key, is messages of Debezium's connectors: the row before and after",
    ),
    option(
        "mapping",
        INPUT,
        OptionType::Mapping,
        "the same names",
        "where in an event the value of a column stands",
    ),
    option(
        "timestamp_unit",
        INPUT,
        OptionType::Choice(&["auto", "s", "ms", "us", "ns"]),
        "auto",
        "what a number in a timestamp column counts since 1970; auto goes by its size",
    ),
    option(
        "decimal_format",
        INPUT,
        OptionType::Choice(&["numeric", "base64"]),
        "numeric",
        "how json says the value of a numeric column: as a number or its text; base64: as the base64 of the unscaled value, which is what Kafka Connect and Debezium (decimal.handling.mode = precise) write; the scale is that of the column",
    ),
    option(
        "columns",
        INPUT,
        OptionType::Names,
        "",
        "the columns of csv and tsv, in their order; names that are not columns of ours are passed over",
    ),
    option(
        "header",
        INPUT,
        OptionType::Bool,
        "true unless columns are given",
        "whether the first line of csv and tsv names the columns",
    ),
    option(
        "delimiter",
        INPUT,
        OptionType::Byte,
        "a comma; a tab for tsv",
        "what stands between the values of csv and tsv",
    ),
    option(
        "quote",
        INPUT,
        OptionType::Quote,
        "\"; none for tsv",
        "what values of csv and tsv are quoted with",
    ),
    option(
        "null",
        INPUT,
        OptionType::Texts,
        "the empty text",
        "which values of csv and tsv, when they are not quoted, are NULL",
    ),
    option(
        "row_bytes_max",
        INPUT,
        OptionType::Bytes,
        "1 MiB",
        "the longest event; a longer one cannot be decoded",
    ),
];

/// The options that may stand on `target`, and the connector that each belongs to, if to one.
fn known(
    target: Target,
    connectors: Connectors,
) -> impl Iterator<Item = (&'static OptionSpec, Option<&'static str>)> {
    let own = connector::all(connectors)
        .flat_map(|connector| connector.options.iter().map(move |o| (o, Some(connector.name))));
    let all = OPTIONS.iter().map(|option| (option, None)).chain(own);
    all.filter(move |(option, _)| option.targets.contains(&target))
}

/// How far ahead of now an event time may be, unless a stream says otherwise: clocks are off by
/// minutes and zones by hours, and a watermark a day ahead still comes round within a day.
pub(crate) const FUTURE_SKEW: Micros = Micros(86_400_000_000);

/// How rows are divided by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionUnit {
    /// One partition an hour.
    Hour,
    /// One partition a day.
    Day,
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

/// All options, those of `connectors` too, as a Markdown table for the guide.
#[must_use]
pub fn markdown(connectors: Connectors) -> String {
    let mut out =
        String::from("| option | on | value | default | what it does |\n|---|---|---|---|---|\n");
    let own = connector::all(connectors)
        .flat_map(|connector| connector.options.iter().map(move |o| (o, Some(connector.name))));
    for (o, owner) in OPTIONS.iter().map(|option| (option, None)).chain(own) {
        let on: Vec<&str> = o.targets.iter().map(|t| t.noun()).collect();
        let owner = owner.map(|c| format!(" (connector '{c}')")).unwrap_or_default();
        let value = match o.kind {
            OptionType::Connector => connector::words(o.targets[0], connectors),
            kind => kind.describe(),
        };
        out.push_str(&format!(
            "| `{}` | {}{owner} | {value} | {} | {} |\n",
            o.name,
            on.join(", "),
            o.default,
            o.help
        ));
    }
    out
}
