//! What `CREATE SINK … WITH (connector = 'kafka', …)` may say beside what a source may.

use std::time::Duration;

use yeoul_engine::{ConnectorOptions, Contradiction};

use super::super::options::{RESERVED, Schemas, schemas, wait};
use crate::kafka::forms::parse_properties;
use crate::kafka::security::{TokenSource, security};

/// What is promised of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It is there once, for who reads what is committed.
    ExactlyOnce,
    /// It is there, after a failure perhaps again.
    AtLeastOnce,
}

/// How keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFormat {
    /// An object.
    Json,
    /// The value of the one column as text.
    Text,
    /// A record.
    Avro,
}

/// Settings of librdkafka on which the promise of exactly once stands, or that have an option of their own.
const RESERVED_OF_SINK: [&str; 6] = [
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "acks",
    "compression.type",
    "delivery.report.only.error",
];

/// The options of one sink.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::kafka) struct SinkOptions {
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) delivery: Delivery,
    /// `None`: as values.
    pub(super) key_format: Option<KeyFormat>,
    /// Where schemas are registered.
    pub(super) schemas: Option<Schemas>,
    pub(super) tombstones: bool,
    /// Columns that are headers too.
    pub(super) headers: Vec<String>,
    /// The first pause after a failure, and the longest.
    pub(super) retry: (Duration, Duration),
    /// What librdkafka is told, by its own names.
    pub(super) settings: Vec<(String, String)>,
    /// Where tokens for OAUTHBEARER are from.
    pub(super) tokens: Option<TokenSource>,
}

impl SinkOptions {
    pub(in crate::kafka) fn of(given: &ConnectorOptions) -> Result<Self, Contradiction> {
        let text = |name| given.text(name).map(|text| text.trim().to_owned());
        let topic = text("topic").unwrap_or_default();
        if topic.starts_with('^') || topic.contains(',') {
            let message = "the \"topic\" of a sink is one topic".to_owned();
            return Err(Contradiction(message, "make a sink for each topic"));
        }
        let retry = wait(given, "retry_wait", Duration::from_millis(100));
        let retry_max = wait(given, "retry_wait_max", Duration::from_secs(10)).max(retry);
        let mut settings: Vec<(&str, String)> = vec![
            ("client.id", "yeoul".into()),
            ("compression.type", given.text("compression").unwrap_or("lz4").into()),
            // As the clients of Java divide keys, so that one key is in one partition whoever sends it.
            ("partitioner", "murmur2_random".into()),
            ("linger.ms", "1".into()),
            ("batch.num.messages", "100000".into()),
            ("batch.size", "262144".into()),
            ("queue.buffering.max.messages", "100000".into()),
            ("queue.buffering.max.kbytes", "32768".into()),
            ("reconnect.backoff.ms", retry.as_millis().to_string()),
            ("reconnect.backoff.max.ms", retry_max.as_millis().to_string()),
            ("socket.keepalive.enable", "true".into()),
            ("log.connection.close", "false".into()),
        ];
        let tokens = security(given, &mut settings)?;
        let mut settings: Vec<_> =
            settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let properties = given.text("properties").and_then(parse_properties).unwrap_or_default();
        for (name, value) in properties {
            if RESERVED.contains(&name.as_str()) || RESERVED_OF_SINK.contains(&name.as_str()) {
                let message = format!("\"properties\" cannot set {name}");
                let hint = "what it is for has an option of its own, or is what exactly once needs";
                return Err(Contradiction(message, hint));
            }
            settings.push((name, value));
        }
        Ok(Self {
            brokers: text("brokers").unwrap_or_default(),
            topic,
            delivery: match given.text("delivery") {
                Some("at_least_once") => Delivery::AtLeastOnce,
                _ => Delivery::ExactlyOnce,
            },
            key_format: given.text("key_format").map(|format| match format {
                "text" => KeyFormat::Text,
                "avro" => KeyFormat::Avro,
                _ => KeyFormat::Json,
            }),
            schemas: schemas(given)?,
            tombstones: given.bool("tombstones").unwrap_or(true),
            headers: given.columns("headers").unwrap_or_default().to_vec(),
            retry: (retry, retry_max),
            settings,
            tokens,
        })
    }
}
