//! Kafka as a place for changes: exactly once by transactions, or at least once without.
//!
//! ```text
//!   begin ─▶ messages ─▶ offset of the group = the commit they are up to ─▶ commit        one transaction
//!
//!   open: init_transactions ends what another has begun under the same name, then the group says how far we are
//! ```
//!
//! The group (`yeoul-<sink>-<when it was created>`) has no members; its offset of partition 0 of the topic is the number
//! of the commit up to which everything is in the topic. As it is written in the transaction of the messages, a reader of
//! committed messages sees both or neither.
//!
//! After anything that does not work the producer is thrown away, and the group says with the next one whether the
//! transaction had ended.

mod messages;
pub(super) mod options;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use yeoul_engine::{ChangeId, Changes, Engine, SinkFormat, SinkSpec};
use yeoul_format::FormatError;

use super::client;
use super::options::Schemas;
use super::registry::{RegisterError, Registry};
use super::security::TokenSource;
use crate::error::ConnectError;
use crate::sink::{Sink, SinkContext, SinkError};
use messages::{Message, Outgoing, Writing, messages, schema_of};
use options::{Delivery, KeyFormat, SinkOptions};

/// How long an answer of brokers is waited for until it is looked whether the sink is to stop.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a transaction may take before it is begun anew.
const TRANSACTION_MAX: Duration = Duration::from_secs(60);
/// How long it is waited for the end of a producer.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// The changes of one sink on their way to a topic.
struct KafkaSink {
    spec: SinkSpec,
    options: SinkOptions,
    config: ClientConfig,
    registry: Option<Registry>,
    writing: Writing,
    open: Option<Open>,
}

/// A producer, and who knows of the group.
struct Open {
    producer: BaseProducer<Told>,
    group: BaseConsumer<Told>,
    told: Told,
}

/// What librdkafka said, and where it gets tokens.
#[derive(Clone)]
struct Told {
    heard: Arc<Mutex<Heard>>,
    tokens: Option<TokenSource>,
    engine: Engine,
}

#[derive(Default)]
struct Heard {
    /// Why a message was not taken.
    refused: Option<String>,
    /// What is wrong with connections.
    error: Option<String>,
}

impl Told {
    fn heard<T>(&self, what: impl FnOnce(&mut Heard) -> T) -> T {
        what(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Told {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        client::token(self.tokens.as_ref(), &self.engine)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("kafka: {level:?}: {facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka: {error}: {reason}");
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.heard(|heard| heard.error = Some(reason.to_owned()));
        }
    }
}

impl rdkafka::consumer::ConsumerContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let at = message.timestamp().to_millis().unwrap_or_default();
            tracing::debug!("kafka: a message of {at} was not taken: {error}");
            self.heard(|heard| heard.refused = Some(error.to_string()));
        }
    }
}

/// Makes the sink.
pub(crate) fn open_sink(spec: &SinkSpec) -> Result<Box<dyn Sink>, ConnectError> {
    let options = SinkOptions::of(&spec.connector().options)
        .map_err(|wrong| ConnectError::new(spec.name(), wrong.0).of_sink().with_hint(wrong.1))?;
    let key_format = options.key_format.unwrap_or(match spec.format() {
        SinkFormat::Json => KeyFormat::Json,
        SinkFormat::Avro => KeyFormat::Avro,
    });
    let avro = spec.format() == SinkFormat::Avro || key_format == KeyFormat::Avro;
    let registry = match &options.schemas {
        Some(_) if !avro => {
            let message = "\"schema_registry\" is for format 'avro'";
            return Err(ConnectError::new(spec.name(), message)
                .of_sink()
                .with_hint("add format = 'avro'"));
        }
        Some(Schemas::Registered { url, user }) => {
            let user = user.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
            Some(Registry::new(url, user))
        }
        _ => None,
    };
    // What cannot be written is found before anything is sent.
    let wrong = |error: FormatError| ConnectError::new(spec.name(), error.to_string()).of_sink();
    if avro {
        schema_of(spec, &options.topic, false).map_err(wrong)?;
    }
    if key_format == KeyFormat::Text && spec.key().len() != 1 {
        let message = "key_format = 'text' is for a key of one column";
        return Err(ConnectError::new(spec.name(), message)
            .of_sink()
            .with_hint("name one column in key, or leave key_format out"));
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.brokers);
    config.set_log_level(RDKafkaLogLevel::Debug);
    for (name, value) in &options.settings {
        config.set(name, value);
    }
    client::check(&config, spec.name()).map_err(ConnectError::of_sink)?;
    let writing = Writing { key_format, ids: (None, None), tombstones: options.tombstones };
    let spec = spec.clone();
    Ok(Box::new(KafkaSink { spec, options, config, registry, writing, open: None }))
}

impl Sink for KafkaSink {
    fn open(&mut self, context: &SinkContext) -> Result<Option<ChangeId>, SinkError> {
        self.close();
        self.register()?;
        let (tokens, engine) = (self.options.tokens.clone(), context.engine.clone());
        let told = Told { heard: Arc::default(), tokens, engine };
        let identity = self.spec.identity();
        let mut config = self.config.clone();
        config.set("group.id", &identity).set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false").set("allow.auto.create.topics", "false");
        let group: BaseConsumer<Told> =
            config.create_with_context(told.clone()).map_err(|error| again(&error, &told))?;
        let mut config = self.config.clone();
        config.set("enable.idempotence", "true").set("acks", "all");
        // What was taken is counted; only what was not is heard of.
        config.set("delivery.report.only.error", "true");
        if self.options.delivery == Delivery::ExactlyOnce {
            config.set("transactional.id", &identity);
            config.set("transaction.timeout.ms", TRANSACTION_MAX.as_millis().to_string());
        }
        let producer: BaseProducer<Told> =
            config.create_with_context(told.clone()).map_err(|error| again(&error, &told))?;
        let open = self.open.insert(Open { producer, group, told });
        open.poll(Duration::ZERO);
        let topic = &self.options.topic;
        // Asked by the consumer, for which no broker makes a topic that is not there.
        let known =
            open.patiently(context, |open| open.group.fetch_metadata(Some(topic), ANSWER))?;
        let error = known.topics().first().and_then(|topic| topic.error());
        if let Some(error) = error {
            let code = RDKafkaErrorCode::from(error);
            let message = match code {
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                    format!("topic \"{topic}\" is not there: make it, or name another one")
                }
                code => format!("topic \"{topic}\": {code}"),
            };
            return Err(SinkError::Again(message));
        }
        if self.options.delivery == Delivery::ExactlyOnce {
            open.patiently(context, |open| open.producer.init_transactions(ANSWER))?;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let offsets =
            open.patiently(context, |open| open.group.committed_offsets(list.clone(), ANSWER))?;
        Ok(client::offsets(&offsets).first().map(|(_, offset)| ChangeId(*offset)))
    }

    fn send(&mut self, changes: &Changes, context: &SinkContext) -> Result<(), SinkError> {
        let outgoing = messages(&self.spec, changes, self.writing, &self.options.headers)?;
        let Some(open) = &self.open else {
            return Err(SinkError::Again("it was not opened".to_owned()));
        };
        open.poll(Duration::ZERO);
        let sent = match self.options.delivery {
            Delivery::ExactlyOnce => self.send_once(open, &outgoing, changes.through, context),
            Delivery::AtLeastOnce => {
                self.send_at_least_once(open, &outgoing, changes.through, context)
            }
        };
        if sent.is_err() {
            self.close();
        }
        sent
    }

    fn retry(&self) -> (Duration, Duration) {
        self.options.retry
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        self.close();
    }
}

impl KafkaSink {
    /// Has the registry number the schemas, if it has not yet.
    fn register(&mut self) -> Result<(), SinkError> {
        let Some(registry) = &self.registry else { return Ok(()) };
        let topic = &self.options.topic;
        let number = |is_key: bool| {
            let wrong = |error: String| ConnectError::new(self.spec.name(), error).of_sink();
            let schema = schema_of(&self.spec, topic, is_key).map_err(|e| wrong(e.to_string()))?;
            let subject = format!("{topic}-{}", if is_key { "key" } else { "value" });
            registry.register(&subject, &schema).map_err(|error| match error {
                RegisterError::Refused(error) => SinkError::Fatal(wrong(error)),
                RegisterError::Away(error) => SinkError::Again(error),
            })
        };
        let keyed = self.writing.key_format == KeyFormat::Avro && !self.spec.key().is_empty();
        let (mut key, mut value) = self.writing.ids;
        if keyed && key.is_none() {
            key = Some(number(true)?);
        }
        if self.spec.format() == SinkFormat::Avro && value.is_none() {
            value = Some(number(false)?);
        }
        self.writing.ids = (key, value);
        Ok(())
    }

    fn send_once(
        &self,
        open: &Open,
        outgoing: &Outgoing,
        through: ChangeId,
        context: &SinkContext,
    ) -> Result<(), SinkError> {
        open.producer.begin_transaction().map_err(|error| again(&error, &open.told))?;
        self.produce(open, outgoing, context)?;
        let offsets = self.offsets(through);
        let group = open.group.group_metadata();
        let group = group.ok_or_else(|| SinkError::Again("the group is not known".to_owned()))?;
        open.patiently(context, |open| {
            open.producer.send_offsets_to_transaction(&offsets, &group, ANSWER)
        })?;
        open.patiently(context, |open| open.producer.commit_transaction(ANSWER))
    }

    fn send_at_least_once(
        &self,
        open: &Open,
        outgoing: &Outgoing,
        through: ChangeId,
        context: &SinkContext,
    ) -> Result<(), SinkError> {
        self.produce(open, outgoing, context)?;
        let commit = open.group.commit(&self.offsets(through), CommitMode::Sync);
        commit.map_err(|error| again(&error, &open.told))
    }

    /// How far everything is in the topic once `through` is.
    fn offsets(&self, through: ChangeId) -> TopicPartitionList {
        let offset = Offset::Offset(i64::try_from(through.0).unwrap_or(i64::MAX));
        let mut list = TopicPartitionList::new();
        // Offsets that are none are the only ones that are refused.
        drop(list.add_partition_offset(&self.options.topic, 0, offset));
        list
    }

    /// Sends messages, and waits until they were taken.
    fn produce(
        &self,
        open: &Open,
        outgoing: &Outgoing,
        context: &SinkContext,
    ) -> Result<(), SinkError> {
        let begun = Instant::now();
        let waited = || {
            let why = || open.told.why("brokers do not take messages");
            if begun.elapsed() >= TRANSACTION_MAX || context.stopped() {
                return Err(SinkError::Again(why()));
            }
            if begun.elapsed() >= ANSWER {
                context.report().error(Some(why()));
            }
            Ok(())
        };
        for message in &outgoing.messages {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.options.topic);
            record.key = message.key.clone().map(|key| &outgoing.bytes[key]);
            record.payload = message.value.clone().map(|value| &outgoing.bytes[value]);
            record.timestamp = Some(message.at_ms);
            if !message.headers.is_empty() {
                let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
                for (key, value) in &outgoing.headers[message.headers.clone()] {
                    let value = Some(&outgoing.bytes[value.clone()]);
                    headers = headers.insert(Header { key, value });
                }
                record.headers = Some(headers);
            }
            loop {
                let Err((error, back)) = open.producer.send(record) else { break };
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(self.refused(message, &error, &open.told));
                }
                record = back;
                open.hear();
                waited()?;
            }
        }
        while open.producer.in_flight_count() > 0 {
            open.hear();
            waited()?;
        }
        match open.told.heard(|heard| heard.refused.take()) {
            Some(why) => Err(SinkError::Again(why)),
            None => Ok(()),
        }
    }

    fn refused(&self, message: &Message, error: &KafkaError, told: &Told) -> SinkError {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            return again(error, told);
        }
        let bytes = message.value.as_ref().map_or(0, ExactSizeIterator::len);
        let text =
            format!("a message of commit {} has {bytes} bytes, which is too long", message.commit);
        let error = ConnectError::new(self.spec.name(), text).of_sink();
        SinkError::Fatal(error.with_hint(
            "ALTER SINK … SET (properties = 'message.max.bytes=…'), and allow the topic as much",
        ))
    }

    /// Lets go of the producer. Where brokers do not answer, librdkafka tries for longer than anybody wants to wait.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (sender, closed) = crossbeam_channel::bounded::<()>(1);
        let closing = std::thread::Builder::new().name("yeoul-kafka-close".to_owned());
        let spawned = closing.spawn(move || {
            open.producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
            drop(open);
            drop(sender);
        });
        if spawned.is_ok() {
            // It is told by the sender's end.
            let _ = closed.recv_timeout(CLOSE_MAX);
        }
    }
}

impl Open {
    /// Asks until there is an answer that does not say to ask again, or the sink is to stop.
    fn patiently<T>(
        &self,
        context: &SinkContext,
        ask: impl Fn(&Self) -> Result<T, KafkaError>,
    ) -> Result<T, SinkError> {
        let begun = Instant::now();
        loop {
            let error = match ask(self) {
                Ok(answer) => {
                    self.told.heard(|heard| heard.error = None);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let later = match &error {
                KafkaError::Transaction(error) => error.is_retriable(),
                error => matches!(
                    error.rdkafka_error_code(),
                    Some(
                        RDKafkaErrorCode::OperationTimedOut
                            | RDKafkaErrorCode::BrokerTransportFailure
                            | RDKafkaErrorCode::AllBrokersDown
                    )
                ),
            };
            let said = if later { "brokers do not answer".to_owned() } else { reason(&error) };
            let why = self.told.why(&said);
            if !later || context.stopped() || begun.elapsed() >= TRANSACTION_MAX {
                return Err(SinkError::Again(why));
            }
            context.report().error(Some(why));
            self.poll(Duration::from_millis(10));
        }
    }

    /// Hears what librdkafka has to say, and gives tokens that it asks for.
    fn poll(&self, wait: Duration) {
        // Nothing is read with it.
        drop(self.group.poll(Duration::ZERO));
        std::thread::sleep(wait);
        // What is heard without waiting is one thing; in a millisecond it is all that there is.
        self.producer.poll(wait.min(Duration::from_millis(1)));
    }

    /// Hears which messages were taken, or waits a moment. The client would not sleep in the last millisecond of a wait,
    /// nor return before all of it is over.
    fn hear(&self) {
        let before = self.producer.in_flight_count();
        self.producer.poll(Duration::ZERO);
        if self.producer.in_flight_count() == before {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

impl Told {
    /// Why connections fail, where that is known; else `error`.
    fn why(&self, error: &str) -> String {
        match self.heard(|heard| heard.error.clone()) {
            Some(reason) => format!("{error}: {reason}"),
            None => error.to_owned(),
        }
    }
}

fn reason(error: &KafkaError) -> String {
    match error {
        KafkaError::Transaction(error) => error.string(),
        error => super::assign::reason(error),
    }
}

fn again(error: &KafkaError, told: &Told) -> SinkError {
    SinkError::Again(told.why(&reason(error)))
}
