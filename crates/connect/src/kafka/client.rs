//! The consumer of librdkafka, and what it tells us between messages.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use yeoul_engine::Engine;

use super::options::KafkaOptions;
use super::security::TokenSource;
use crate::error::ConnectError;
use crate::source::Context;

/// How long an answer of a broker is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long a group may divide its partitions until it is said why nothing comes.
const DIVIDED_WITHIN: Duration = Duration::from_secs(5);

/// A partition by its topic and number.
pub(super) type Place = (String, i32);

/// The group gives partitions, or takes them away.
pub(super) enum Rebalance {
    Assign(Vec<Place>),
    Revoke {
        places: Vec<Place>,
        /// Others may read them already: we were not heard of for too long.
        lost: bool,
    },
}

/// The offsets that the group has taken, or why it has not.
pub(super) type Answer = Result<Vec<(Place, u64)>, RDKafkaErrorCode>;

/// What is called back while the consumer is polled.
pub(super) struct Listener {
    context: Context,
    tokens: Option<TokenSource>,
    /// What the group has decided since it was asked last.
    rebalances: Mutex<Vec<Rebalance>>,
    /// What brokers said of partitions.
    ends: Mutex<Vec<(Place, u64)>>,
    /// What the group has said of offsets that were committed.
    answers: Mutex<Vec<Answer>>,
    /// Why there is no connection.
    down: Mutex<Option<String>>,
    /// Since when the group divides its partitions, and what was said of it.
    dividing: Mutex<Option<(Instant, Option<String>)>>,
    /// Nothing is read any more: what the group takes away is given at once.
    closing: AtomicBool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Lists: half a callback does no harm.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listener {
    /// What the group has decided since.
    pub(super) fn rebalances(&self) -> Vec<Rebalance> {
        std::mem::take(&mut lock(&self.rebalances))
    }

    /// What the group has said since of offsets that were committed: an answer to each commit, in their order.
    pub(super) fn answers(&self) -> Vec<Answer> {
        std::mem::take(&mut lock(&self.answers))
    }

    /// Why brokers do not answer, where connections have said more than that they do not.
    pub(super) fn why(&self, error: &KafkaError) -> String {
        lock(&self.down).clone().unwrap_or_else(|| super::assign::reason(error))
    }

    /// The member is in this state of joining. A group gives nobody anything before all its members are there, and a
    /// broker waits for one that has died; the client takes that for no error.
    fn joining(&self, state: &str) {
        let mut dividing = lock(&self.dividing);
        let is_ours =
            |said: &Option<String>| said.is_some() && self.context.status().error == *said;
        if !matches!(state, "wait-join" | "wait-sync") {
            if dividing.take().is_some_and(|(_, said)| is_ours(&said)) {
                self.context.note_error(None);
            }
            return;
        }
        let (since, said) = dividing.get_or_insert_with(|| (Instant::now(), None));
        let seconds = since.elapsed().as_secs();
        let free = is_ours(said) || self.context.status().error.is_none();
        if seconds >= DIVIDED_WITHIN.as_secs() && free {
            *said = Some(format!(
                "the group has been dividing its partitions for {seconds} s ({state}): it waits for a member that does \
                 not answer, until that member's session_timeout has passed"
            ));
            self.context.note_error(said.clone());
        }
    }

    /// Nothing is read any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Where partitions end, as far as brokers said it since.
    pub(super) fn ends(&self) -> Vec<(Place, u64)> {
        std::mem::take(&mut lock(&self.ends))
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token(self.tokens.as_ref(), &self.context.engine)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What fails is in the source's error too, once.
        tracing::debug!("kafka: {level:?}: {facility}: {message}");
    }

    fn stats(&self, statistics: Statistics) {
        let known: Vec<_> = statistics.brokers.values().filter(|b| b.nodeid >= 0).collect();
        let up = |state: &str| state == "UP" || state == "UPDATE";
        if known.iter().any(|broker| up(&broker.state))
            && known.iter().all(|broker| up(&broker.state) || broker.state == "INIT")
            && lock(&self.down).take().is_some()
        {
            self.context.note_error(None);
        }
        if let Some(group) = &statistics.cgrp {
            let times = u64::try_from(group.rebalance_cnt).unwrap_or(0);
            let why = Some(&group.rebalance_reason).filter(|why| !why.is_empty());
            self.context.report().rebalanced(times, why.cloned());
            self.joining(&group.join_state);
        }
        let mut ends = lock(&self.ends);
        ends.clear();
        for (name, topic) in &statistics.topics {
            for (number, partition) in topic.partitions.iter().filter(|(number, _)| **number >= 0) {
                if let Ok(end) = u64::try_from(partition.hi_offset) {
                    ends.push(((name.clone(), *number), end));
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka: {error}: {reason}");
        let is_down = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::Resolve
                    | RDKafkaErrorCode::OperationTimedOut
                    | RDKafkaErrorCode::SSL
                    | RDKafkaErrorCode::Authentication
            )
        );
        // That all are down says less than why the last of them is.
        let mut down = lock(&self.down);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) && down.is_some() {
            return;
        }
        *down = is_down.then(|| reason.to_owned());
        drop(down);
        self.context.note_error(Some(reason.to_owned()));
    }
}

impl ConsumerContext for Listener {
    /// Nothing is done here: the thread that polls does it next, with all it knows.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Relaxed) {
            let given = match consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
                _ => consumer.unassign(),
            };
            if let Err(error) = given {
                tracing::debug!("kafka: {error}");
            }
            return;
        }
        let elements = list.elements();
        let places = elements.iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        let rebalance = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assign(places),
            _ => Rebalance::Revoke { places, lost: consumer.assignment_lost() },
        };
        lock(&self.rebalances).push(rebalance);
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let code = |error: KafkaError| {
            tracing::debug!("kafka: offsets were not committed: {error}");
            error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
        };
        let answer = result.map(|()| self::offsets(offsets)).map_err(code);
        lock(&self.answers).push(answer);
    }
}

/// What librdkafka is told for a stream.
pub(super) fn config(options: &KafkaOptions, stream: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    let group = options.group.clone().unwrap_or_else(|| format!("yeoul-{stream}"));
    config.set("bootstrap.servers", &options.brokers).set("group.id", group);
    // Else it follows a crate that we do not use, and says nothing.
    config.set_log_level(RDKafkaLogLevel::Debug);
    for (name, value) in &options.settings {
        config.set(name, value);
    }
    config
}

/// Whether librdkafka takes the options; what it says is about names and values, not about brokers.
pub(super) fn check(config: &ClientConfig, stream: &str) -> Result<(), ConnectError> {
    let wrong = |what: String| {
        ConnectError::new(stream, what).with_hint("see the options of connector 'kafka'")
    };
    match config.create_native_config() {
        Ok(_) => {}
        Err(KafkaError::ClientConfig(_, what, name, _)) => {
            return Err(wrong(format!("setting {name}: {what}")));
        }
        Err(error) => return Err(wrong(error.to_string())),
    }
    for setting in ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"] {
        let Some(path) = config.get(setting) else { continue };
        if let Err(error) = std::fs::File::open(path) {
            return Err(ConnectError::new(stream, format!("cannot read {path}: {error}")));
        }
    }
    Ok(())
}

/// A token from where tokens are from.
pub(super) fn token(
    tokens: Option<&TokenSource>,
    engine: &Engine,
) -> Result<OAuthToken, Box<dyn Error>> {
    let tokens = tokens.ok_or("nobody has said where tokens are got")?;
    Ok(tokens.token(engine.now_us())?)
}

/// A consumer that reads nothing yet.
pub(super) fn consumer(
    config: &ClientConfig,
    tokens: Option<&TokenSource>,
    context: &Context,
) -> Result<BaseConsumer<Listener>, KafkaError> {
    let listener = Listener {
        context: context.clone(),
        tokens: tokens.cloned(),
        rebalances: Mutex::default(),
        ends: Mutex::default(),
        answers: Mutex::default(),
        down: Mutex::default(),
        dividing: Mutex::default(),
        closing: AtomicBool::new(false),
    };
    let consumer: BaseConsumer<Listener> = config.create_with_context(listener)?;
    if tokens.is_some() {
        // It asks for a token when it is polled, and can ask brokers nothing before.
        drop(consumer.poll(Duration::ZERO));
    }
    Ok(consumer)
}

/// A list of partitions, each with an offset.
pub(super) fn list(places: impl IntoIterator<Item = (Place, Option<u64>)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in places {
        let offset = offset.and_then(|offset| i64::try_from(offset).ok());
        let offset = offset.map_or(Offset::Invalid, Offset::Offset);
        // Offsets that are none are the only ones that are refused.
        drop(list.add_partition_offset(&topic, partition, offset));
    }
    list
}

/// The partitions of a list whose offsets are offsets.
pub(super) fn offsets(list: &TopicPartitionList) -> Vec<(Place, u64)> {
    let offset = |offset| match offset {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    };
    let all = list.elements().into_iter().filter(|element| element.error().is_ok());
    let all = all.filter_map(|element| {
        let place = (element.topic().to_owned(), element.partition());
        Some((place, offset(element.offset())?))
    });
    all.collect()
}
