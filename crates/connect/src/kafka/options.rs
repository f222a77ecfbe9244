//! What `WITH (connector = 'kafka', …)` may say.

use std::ops::RangeInclusive;
use std::time::Duration;

use regex::Regex;
use yeoul_batch::Metadata;
use yeoul_engine::{
    ConnectorOptions, ConnectorSpec, Contradiction, Format, OptionSpec, OptionType, Target,
};

use yeoul_format::KeyFormat;

use super::forms::{Start, parse_properties, parse_ranges};
use super::names;
use super::security::{TokenSource, security};
use super::sink::options::SinkOptions;

/// How much librdkafka may hold that was fetched and not read, unless `queue_bytes_max` says it.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// The connector.
pub(crate) static SPEC: ConnectorSpec = ConnectorSpec {
    name: "kafka",
    options: &[
        OptionSpec::of_both(
            "brokers",
            OptionType::Text,
            "",
            "where brokers listen: host:port, several separated by commas",
        ),
        OptionSpec::of_both(
            "topic",
            OptionType::Text,
            "",
            "the topic; several separated by commas, or a regular expression that begins with ^",
        ),
        OptionSpec::of_source(
            "partitions",
            OptionType::Form("numbers such as '0, 2, 5-7'", |text| parse_ranges(text).is_some()),
            "all",
            "the partitions that are read, where no group divides them",
        ),
        OptionSpec::of_source(
            "group",
            OptionType::Text,
            "none: all partitions are read here",
            "the consumer group that divides the partitions among its members. Positions are committed to it for lag tools; without one to the group `yeoul-` and the stream's name",
        ),
        OptionSpec::of_source(
            "group_instance",
            OptionType::Text,
            "",
            "a name for this member of the group (static membership): when it is back within `session_timeout`, nothing is divided anew",
        ),
        OptionSpec::of_source(
            "session_timeout",
            OptionType::Duration,
            "45 seconds",
            "for how long nothing is heard of a member until the group gives its partitions to others",
        ),
        OptionSpec::of_source(
            "start",
            OptionType::Form(
                "'earliest', 'latest', 'group', a time such as '2026-11-01T00:00:00Z', or offsets such as '0:120, 1:7'",
                |text| Start::parse(text).is_some(),
            ),
            "earliest",
            "where a partition begins of which nothing is stored; group: where the group has committed; a partition that offsets do not name begins at its earliest message, and so does one that is added to a topic later",
        ),
        OptionSpec::of_source(
            "missing_offset",
            OptionType::Choice(&["stop", "earliest", "latest"]),
            "stop",
            "what is done when the broker has not kept the message that is next: stop and say how many are missing, or go on at the earliest or behind the latest there is",
        ),
        OptionSpec::of_source(
            "isolation",
            OptionType::Choice(&["read_committed", "read_uncommitted"]),
            "read_committed",
            "whether messages of transactions are read when these are committed, or before that too",
        ),
        OptionSpec::of_source(
            "queue_bytes_max",
            OptionType::Bytes,
            "16 MiB",
            "messages that are fetched ahead",
        ),
        OptionSpec::of_both(
            "retry_wait",
            OptionType::Duration,
            "100 milliseconds",
            "how long after a lost connection the next is tried; twice as long each time it fails",
        ),
        OptionSpec::of_both(
            "retry_wait_max",
            OptionType::Duration,
            "10 seconds",
            "how long at most",
        ),
        OptionSpec::of_both(
            "tls",
            OptionType::Bool,
            "false",
            "whether connections are encrypted (TLS)",
        ),
        OptionSpec::of_both(
            "tls_ca",
            OptionType::Text,
            "those of the system",
            "a PEM file of the authorities that brokers' certificates must be signed by",
        ),
        OptionSpec::of_both(
            "tls_certificate",
            OptionType::Text,
            "",
            "a PEM file of our certificate, where brokers ask for one",
        ),
        OptionSpec::of_both("tls_key", OptionType::Text, "", "a PEM file of its private key"),
        OptionSpec::of_both(
            "sasl_mechanism",
            OptionType::Choice(&["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"]),
            "none",
            "how we say who we are (SASL)",
        ),
        OptionSpec::of_both(
            "username",
            OptionType::Text,
            "",
            "the name for SASL; for oauthbearer the id of the client",
        ),
        OptionSpec::of_both(
            "password",
            OptionType::Text,
            "",
            "the password for SASL, for oauthbearer the client's secret; write '${NAME}', and it is taken from the environment and not stored",
        ),
        OptionSpec::of_both(
            "oauth_token_url",
            OptionType::Text,
            "",
            "where oauthbearer gets its tokens (OAuth 2.0, grant type client_credentials): https://login.example.com/token",
        ),
        OptionSpec::of_both("oauth_scope", OptionType::Text, "", "the scope of these tokens"),
        OptionSpec::of_source(
            "avro_schema",
            OptionType::Text,
            "",
            "the schema of messages of format 'avro', as JSON, when they do not name theirs",
        ),
        OptionSpec::of_both(
            "schema_registry",
            OptionType::Text,
            "",
            "where schemas are that messages of format 'avro' name by number (Confluent's form): http://host:8081; that of a sink is registered there, as <topic>-value and <topic>-key",
        ),
        OptionSpec::of_both(
            "schema_registry_username",
            OptionType::Text,
            "",
            "the name for the registry",
        ),
        OptionSpec::of_both(
            "schema_registry_password",
            OptionType::Text,
            "",
            "the password for the registry; write '${NAME}', and it is taken from the environment and not stored",
        ),
        OptionSpec::of_sink(
            "delivery",
            OptionType::Choice(&["exactly_once", "at_least_once"]),
            "exactly_once",
            "exactly_once: changes are sent in transactions, and who reads what is committed sees each once; at_least_once: without transactions, and after a failure some come again",
        ),
        OptionSpec::of_both(
            "key_format",
            OptionType::Choice(&["json", "text", "avro"]),
            "as values are",
            "how keys are written: as an object or a record of the key's columns, or as the text of its only column. A table takes from the key of a message without value which row is gone",
        ),
        OptionSpec::of_sink(
            "headers",
            OptionType::Columns,
            "",
            "columns whose values are headers of the message too, as text; NULL is no header",
        ),
        OptionSpec::of_sink(
            "tombstones",
            OptionType::Bool,
            "true",
            "whether a row that is gone is told in envelope 'debezium' by a message without value too, so that compaction drops the key",
        ),
        OptionSpec::of_sink(
            "compression",
            OptionType::Choice(&["none", "gzip", "snappy", "lz4", "zstd"]),
            "lz4",
            "how batches of messages are compressed",
        ),
        OptionSpec::of_both(
            "properties",
            OptionType::Form("'name=value, …'", |text| parse_properties(text).is_some()),
            "",
            "further settings of librdkafka, by its own names",
        ),
    ],
    called: names::CALLED,
    required: &[("brokers", "brokers = 'localhost:9092'"), ("topic", "topic = 'clicks'")],
    metadata: &[
        Metadata::Key,
        Metadata::Topic,
        Metadata::Partition,
        Metadata::Offset,
        Metadata::Timestamp,
        Metadata::Headers,
    ],
    formats: &["json", "csv", "tsv", "avro", "debezium-json"],
    format: Some(|_| Some(Format::Json)),
    sink_formats: &["json", "avro"],
    check: Some(|given, target| match target {
        Target::Sink => SinkOptions::of(given).map(drop),
        Target::Stream if given.text("key_format").is_some() => {
            let message = "\"key_format\" is for tables, and a stream looks at no keys".to_owned();
            Err(Contradiction(message, "leave it out; a column METADATA FROM 'key' has the key"))
        }
        _ => KafkaOptions::of(given).map(drop),
    }),
};

/// Settings of librdkafka on which the promise of exactly once stands, or that have an option of their own.
pub(super) const RESERVED: [&str; 10] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "session.timeout.ms",
];

/// What is done when the broker has not kept the message that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Stop,
    Earliest,
    Latest,
}

/// Where the schemas of Avro messages are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Schemas {
    /// All messages have this one.
    Given(String),
    /// Messages name them by number; the registry knows them.
    Registered { url: String, user: Option<(String, String)> },
}

/// The options of one stream or table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KafkaOptions {
    pub(super) brokers: String,
    /// Names, or one pattern.
    pub(super) topics: Vec<String>,
    /// `None`: all of them.
    pub(super) partitions: Option<Vec<RangeInclusive<i32>>>,
    pub(super) group: Option<String>,
    pub(super) start: Start,
    pub(super) missing: Missing,
    pub(super) schemas: Option<Schemas>,
    /// How keys are written that say which row is gone; `None`: as values.
    pub(super) key_format: Option<KeyFormat>,
    /// What librdkafka is told, by its own names, but for where brokers are and which group it is.
    pub(super) settings: Vec<(String, String)>,
    /// Where tokens for OAUTHBEARER are from.
    pub(super) tokens: Option<TokenSource>,
}

impl KafkaOptions {
    pub(super) fn of(given: &ConnectorOptions) -> Result<Self, Contradiction> {
        let text = |name| given.text(name).map(|text| text.trim().to_owned());
        let topic = text("topic").unwrap_or_default();
        let topics: Vec<String> = match topic.starts_with('^') {
            true => vec![topic],
            false => topic.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        if topics.iter().any(String::is_empty) {
            let message = "a name in \"topic\" is empty".to_owned();
            return Err(Contradiction(message, "topic = 'clicks', or topic = 'clicks, views'"));
        }
        let (settings, tokens) = settings(given)?;
        let options = Self {
            brokers: text("brokers").unwrap_or_default(),
            topics,
            partitions: given.text("partitions").and_then(parse_ranges),
            group: text("group").filter(|group| !group.is_empty()),
            start: given.text("start").and_then(Start::parse).unwrap_or(Start::Earliest),
            missing: match given.text("missing_offset") {
                Some("earliest") => Missing::Earliest,
                Some("latest") => Missing::Latest,
                _ => Missing::Stop,
            },
            schemas: schemas(given)?,
            key_format: given.text("key_format").map(|format| match format {
                "text" => KeyFormat::Text,
                "avro" => KeyFormat::Avro,
                _ => KeyFormat::Json,
            }),
            settings,
            tokens,
        };
        options.check(given)?;
        Ok(options)
    }

    fn check(&self, given: &ConnectorOptions) -> Result<(), Contradiction> {
        let refuse = |message: &str, hint| Err(Contradiction(message.to_owned(), hint));
        if let Some(pattern) = self.topics.first().filter(|_| self.is_pattern())
            && let Err(error) = Regex::new(pattern)
        {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("\"topic\" is no regular expression: {why}");
            return refuse(&message, "topic = '^clicks-.*' is all topics that begin with clicks-");
        }
        if self.group.is_some() && self.partitions.is_some() {
            let message = "\"partitions\" are fixed, and \"group\" divides all of them";
            return refuse(message, "leave one of the two out");
        }
        if self.group.is_none() {
            for name in ["group_instance", "session_timeout"] {
                if given.text(name).is_some() || given.duration(name).is_some() {
                    let message = format!("\"{name}\" means nothing without a group");
                    return Err(Contradiction(message, "add group = 'name', or leave it out"));
                }
            }
        }
        if self.key_format == Some(KeyFormat::Avro)
            && !matches!(self.schemas, Some(Schemas::Registered { .. }))
        {
            let message = "key_format = 'avro' needs the registry that has their schemas";
            return refuse(message, "add schema_registry = 'http://localhost:8081'");
        }
        if self.start == Start::Group && self.group.is_none() {
            return refuse("start = 'group' needs the group", "add group = 'name'");
        }
        if matches!(self.start, Start::Offsets(_)) && (self.topics.len() > 1 || self.is_pattern()) {
            let message = "offsets are those of one topic, and there may be several";
            return refuse(message, "make a stream for each topic, or start at a time");
        }
        Ok(())
    }

    /// Whether the topics are all those that match a pattern.
    pub(super) fn is_pattern(&self) -> bool {
        self.topics.iter().any(|topic| topic.starts_with('^'))
    }

    /// Whether a partition of this number is read.
    pub(super) fn reads(&self, partition: i32) -> bool {
        let ranges = self.partitions.as_ref();
        ranges.is_none_or(|ranges| ranges.iter().any(|range| range.contains(&partition)))
    }
}

/// Where schemas are from.
pub(super) fn schemas(given: &ConnectorOptions) -> Result<Option<Schemas>, Contradiction> {
    let text = |name| given.text(name).map(|text| text.trim().to_owned());
    let user = match (text("schema_registry_username"), text("schema_registry_password")) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        _ => {
            let message = "the registry needs a name and a password, or none of both".to_owned();
            let hint = "add schema_registry_username = '…', schema_registry_password = '${NAME}'";
            return Err(Contradiction(message, hint));
        }
    };
    match (text("avro_schema"), text("schema_registry")) {
        (Some(_), Some(_)) => {
            let message =
                "\"avro_schema\" and \"schema_registry\" contradict each other".to_owned();
            Err(Contradiction(message, "leave one of the two out"))
        }
        (None, Some(url)) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(Some(Schemas::Registered { url, user }))
        }
        (None, Some(url)) => {
            let message = format!("schema_registry = '{url}' is no address of a registry");
            Err(Contradiction(message, "write schema_registry = 'http://localhost:8081'"))
        }
        (_, None) if user.is_some() => {
            let message = "a name for the registry means nothing without one".to_owned();
            Err(Contradiction(message, "add schema_registry = 'http://localhost:8081'"))
        }
        (schema, None) => Ok(schema.map(Schemas::Given)),
    }
}

/// A length of time among the options, at least a millisecond.
pub(super) fn wait(given: &ConnectorOptions, name: &str, default: Duration) -> Duration {
    let given = given.duration(name).and_then(|wait| u64::try_from(wait.0).ok());
    given.map_or(default, Duration::from_micros).max(Duration::from_millis(1))
}

/// Names and values, and where tokens are from.
type Settings = (Vec<(String, String)>, Option<TokenSource>);

/// What librdkafka is told.
fn settings(given: &ConnectorOptions) -> Result<Settings, Contradiction> {
    let wait = |name, default| wait(given, name, default).as_millis();
    let (retry, retry_max) = (
        wait("retry_wait", Duration::from_millis(100)),
        wait("retry_wait_max", Duration::from_secs(10)),
    );
    let queue = given.bytes("queue_bytes_max").unwrap_or(QUEUE_BYTES_MAX);
    let mut all: Vec<(&str, String)> = vec![
        ("client.id", "yeoul".into()),
        ("enable.auto.commit", "false".into()),
        ("enable.auto.offset.store", "false".into()),
        ("auto.offset.reset", "error".into()),
        ("isolation.level", given.text("isolation").unwrap_or("read_committed").into()),
        ("partition.assignment.strategy", "cooperative-sticky".into()),
        ("allow.auto.create.topics", "false".into()),
        // New partitions and topics are seen this soon.
        ("topic.metadata.refresh.interval.ms", "10000".into()),
        ("statistics.interval.ms", "1000".into()),
        ("queued.max.messages.kbytes", (queue / 1024).clamp(1, 2_097_151).to_string()),
        ("queued.min.messages", "1000000".into()),
        // One answer of a broker, which comes on top of the queue, and is several times as much uncompressed.
        ("fetch.max.bytes", (4 << 20).to_string()),
        // How long a broker may hold an answer back that is empty; some hold it back when there is something.
        ("fetch.wait.max.ms", "100".into()),
        // How soon it is asked again when the queue was full.
        ("fetch.queue.backoff.ms", "20".into()),
        ("reconnect.backoff.ms", retry.to_string()),
        ("reconnect.backoff.max.ms", retry_max.max(retry).to_string()),
        ("socket.keepalive.enable", "true".into()),
        ("log.connection.close", "false".into()),
    ];
    if let Some(instance) = given.text("group_instance") {
        all.push(("group.instance.id", instance.into()));
    }
    if given.duration("session_timeout").is_some() {
        let timeout = wait("session_timeout", Duration::ZERO);
        all.push(("session.timeout.ms", timeout.to_string()));
        all.push(("heartbeat.interval.ms", (timeout / 10).max(1).to_string()));
    }
    let tokens = security(given, &mut all)?;
    let mut all: Vec<_> = all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (name, value) in given.text("properties").and_then(parse_properties).unwrap_or_default() {
        if RESERVED.contains(&name.as_str()) {
            let message = format!("\"properties\" cannot set {name}");
            let hint = "what it is for has an option of its own, or is what exactly once needs";
            return Err(Contradiction(message, hint));
        }
        all.push((name, value));
    }
    Ok((all, tokens))
}
