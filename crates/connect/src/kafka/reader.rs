//! Messages from librdkafka into blocks, one partition beside the other.
//!
//! ```text
//!   queue ─▶ a block per partition ──full, or old enough──▶ decode workers ──▶ flights, in order
//!     ▲                                                                           │
//!     └── paused when the flights are not taken ◀─────────────────────────────────┘
//! ```
//!
//! What must hold: librdkafka is polled again within seconds, whatever the engine does, or the group takes the
//! partitions away; a message before the one that is next is passed over; nothing is dropped once it was polled, but
//! messages of partitions that were taken away, which are not stored and not committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use yeoul_engine::{SourceState, StreamHandle};
use yeoul_format::FormatError;

use super::KafkaSource;
use super::beside::{Gathered, Wanted};
use super::block::{Block, Partition};
use super::client::{self, ANSWER, Listener, Place};
use super::options::KafkaOptions;
use super::queue::{Message, Queue};
use super::registry::Registry;
use super::submit::{Flight, Shared};
use crate::decode::{self, Input, SharedDecoder};
use crate::error::ConnectError;
use crate::source::Context;

/// How long messages wait for others before they are decoded, while others are being decoded.
const LINGER: Duration = Duration::from_millis(5);
/// How long librdkafka waits for a message before we look at the rest.
pub(super) const WAIT: Duration = Duration::from_millis(20);
/// Messages taken before we look at the rest.
const TAKEN_MAX: usize = 4096;
/// How long it is listened for events, each [`WAIT`].
const HEAR: Duration = Duration::from_millis(1);
/// How long the flights may be full until partitions are paused, so that polling can go on without messages.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often positions are committed to the group.
pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How soon a registry is asked again that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Bytes of messages on their way to the engine, at most; one message may be longer.
const BYTES_MAX: usize = 16 << 20;

/// Why reading ended early.
pub(super) enum Failure {
    /// Brokers may take us back.
    Broker(KafkaError),
    /// It is for people to decide.
    Fatal(ConnectError),
    /// The submitter has ended, and says why.
    Ended,
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::Broker(error)
    }
}

/// A partition that is read.
pub(super) struct Reading {
    pub(super) partition: Arc<Partition>,
    /// The message that is next.
    pub(super) next: u64,
    block: Option<Block>,
    /// How many messages the block before had, and how many bytes.
    room: (usize, usize),
    /// Up to where its position was committed to the group.
    pub(super) committed: u64,
}

/// Which blocks are sent on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those that are due, as long as there is room.
    Due,
    /// All, waiting for room and for their schemas.
    All,
    /// All whose schemas can be had: the others are read again by whoever goes on.
    Decodable,
}

/// Which of the partitions messages come from: those of one come together.
#[derive(Clone, Copy)]
struct Last {
    topic: *const std::ffi::c_void,
    number: i32,
    at: Option<usize>,
}

/// See the module.
pub(super) struct Reader<'a> {
    pub(super) stream: &'a StreamHandle,
    pub(super) options: &'a KafkaOptions,
    pub(super) context: &'a Context,
    pub(super) consumer: &'a BaseConsumer<Listener>,
    pub(super) queue: Queue<'a>,
    /// What was taken and not looked at.
    taken: Vec<Message>,
    /// When it was listened for events last.
    heard: Instant,
    decoder: SharedDecoder,
    /// What messages bring beside their values.
    wanted: Arc<Wanted>,
    /// Where schemas are asked for that messages name.
    registry: Option<&'a Registry>,
    /// When a registry is asked again that did not answer.
    ask_at: Option<Instant>,
    pub(super) shared: &'a Shared,
    flights: Sender<Flight>,
    pub(super) readings: Vec<Reading>,
    pub(super) places: HashMap<Place, usize>,
    last: Option<Last>,
    /// Nothing more was there when it was polled last.
    dry: bool,
    /// Since when no flight was taken.
    stalled: Option<Instant>,
    paused: bool,
    pub(super) commit_at: Instant,
    /// The group has not answered the last commit yet: one at a time is on its way.
    pub(super) commit_asked: bool,
    /// When topics are looked at again, where no group says what there is.
    pub(super) look_at: Instant,
    /// Something was wrong with one of them.
    pub(super) wrong: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        source: &'a KafkaSource,
        context: &'a Context,
        consumer: &'a BaseConsumer<Listener>,
        shared: &'a Shared,
        flights: Sender<Flight>,
    ) -> Self {
        Self {
            stream: &source.stream,
            options: &source.options,
            context,
            consumer,
            queue: Queue::new(consumer),
            taken: Vec::new(),
            heard: Instant::now(),
            decoder: source.decoder.clone(),
            wanted: Arc::clone(&source.wanted),
            registry: source.registry.as_ref(),
            ask_at: None,
            shared,
            flights,
            readings: Vec::new(),
            places: HashMap::new(),
            last: None,
            dry: false,
            stalled: None,
            paused: false,
            commit_at: Instant::now() + COMMIT_EVERY,
            commit_asked: false,
            look_at: Instant::now(),
            wrong: false,
        }
    }

    /// Reads until asked to stop. What was polled is on its way when it returns.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.subscribe()?;
        while !self.context.stopped() && !self.shared.ended.load(Ordering::Relaxed) {
            self.follow()?;
            if Instant::now() >= self.commit_at {
                self.commit();
            }
            self.cut(Which::Due)?;
            if self.is_full() {
                self.stall()?;
            } else {
                self.resume();
                self.read()?;
            }
        }
        self.cut(Which::Decodable)?;
        self.settle()?;
        self.commit_all()
    }

    /// The partition becomes one of those that are read, from `next` on. It is assigned after that.
    pub(super) fn add(&mut self, partition: Arc<Partition>, next: u64) -> Result<(), Failure> {
        self.queue.join(&partition.topic, partition.number);
        self.context.report().partition(&partition.name, None);
        self.send(Flight::Begin { partition: Arc::clone(&partition), to: next })?;
        let place = (partition.topic.clone(), partition.number);
        self.places.insert(place, self.readings.len());
        self.readings.push(Reading { partition, next, block: None, room: (0, 0), committed: 0 });
        self.last = None;
        Ok(())
    }

    /// The partitions are not read any more, and all that was polled of them is stored.
    pub(super) fn remove(&mut self, places: &[Place]) -> Result<(), Failure> {
        self.cut(Which::Decodable)?;
        for place in places {
            if let Some(at) = self.places.get(place) {
                let partition = Arc::clone(&self.readings[*at].partition);
                self.send(Flight::Left { partition })?;
            }
        }
        self.settle()?;
        self.commit_all()?;
        let gone = |reading: &mut Reading| {
            let partition = &reading.partition;
            places.iter().any(|(topic, n)| *topic == partition.topic && *n == partition.number)
        };
        for reading in self.readings.extract_if(.., gone) {
            let report = self.context.report();
            report.partition(&reading.partition.name, Some(SourceState::Elsewhere));
        }
        self.last = None;
        let place = |reading: &Reading| (reading.partition.topic.clone(), reading.partition.number);
        self.places = self.readings.iter().map(place).zip(0..).collect();
        Ok(())
    }

    /// Whether the place is among those that are read.
    pub(super) fn has(&self, place: &Place) -> bool {
        self.places.contains_key(place)
    }

    /// Notes how far partitions go that brokers have told of.
    pub(super) fn note_ends(&self) {
        for (place, end) in self.consumer.context().ends() {
            if let Some(at) = self.places.get(&place) {
                self.context.report().end(&self.readings[*at].partition.name, end);
            }
        }
    }

    /// Polls messages into blocks.
    fn read(&mut self) -> Result<(), Failure> {
        let since = self.readings.iter().filter_map(|r| Some(r.block.as_ref()?.since)).min();
        // In whole milliseconds: the client waits for what is less by looking again and again.
        let whole =
            |wait: Duration| Duration::from_millis(wait.subsec_micros().div_ceil(1000).into());
        let mut wait =
            since.map_or(WAIT, |since| whole(LINGER.saturating_sub(since.elapsed())).min(WAIT));
        self.hear()?;
        let (mut taken, mut count) = (std::mem::take(&mut self.taken), 0);
        let (mut is_full, mut wrong) = (false, Vec::new());
        self.dry = false;
        while !self.dry && !is_full && count < TAKEN_MAX {
            self.dry = !self.queue.take(wait, &mut taken);
            wait = Duration::ZERO;
            count += taken.len();
            for message in taken.drain(..) {
                match message.error() {
                    None => is_full |= self.take(&message),
                    Some(error) => wrong.push(error),
                }
            }
        }
        self.taken = taken;
        // When all messages before and behind them are in their blocks.
        wrong.into_iter().try_for_each(|error| self.failed(KafkaError::MessageConsumption(error)))
    }

    /// Hears of rebalances, errors and statistics.
    fn hear(&mut self) -> Result<(), Failure> {
        // Without a wait the client hands out one event, which may be none of ours.
        let wait = if self.heard.elapsed() >= WAIT { HEAR } else { Duration::ZERO };
        if !wait.is_zero() {
            self.heard = Instant::now();
        }
        self.poll(wait)
    }

    /// Hears of one of them, or waits for it.
    pub(super) fn poll(&mut self, wait: Duration) -> Result<(), Failure> {
        let consumer = self.consumer;
        match consumer.poll(wait) {
            None => Ok(()),
            // Messages come by the other queue. This one would not come again, so all is begun again from what is stored.
            Some(Ok(_)) => {
                let error = KafkaError::MessageConsumption(RDKafkaErrorCode::Inconsistent);
                Err(Failure::Broker(error))
            }
            Some(Err(error)) => self.failed(error),
        }
    }

    /// Puts a message into the block of its partition; whether that is full now.
    fn take(&mut self, message: &Message) -> bool {
        let (topic, number) = (message.topic_ptr(), message.partition());
        let last = self.last.filter(|last| last.topic == topic && last.number == number);
        let at = match last {
            Some(last) => last.at,
            None => {
                let at = self.places.get(&(message.topic(), number)).copied();
                self.last = Some(Last { topic, number, at });
                at
            }
        };
        // Of a partition that was taken away.
        let Some(at) = at else { return false };
        let reading = &mut self.readings[at];
        let Ok(offset) = u64::try_from(message.offset()) else { return false };
        if offset < reading.next {
            return false;
        }
        reading.next = offset + 1;
        let (wanted, room) = (&self.wanted, reading.room);
        let block = reading.block.get_or_insert_with(|| Block::new(offset, wanted, room));
        block.push(offset, message);
        block.is_full()
    }

    fn failed(&mut self, error: KafkaError) -> Result<(), Failure> {
        match error {
            KafkaError::PartitionEOF(_)
            | KafkaError::MessageConsumption(RDKafkaErrorCode::PartitionEOF) => Ok(()),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => self.look_for_holes(),
            // The listener has noted it with its reason.
            KafkaError::MessageConsumption(_) => Ok(()),
            fatal => Err(Failure::Broker(fatal)),
        }
    }

    /// Sends blocks on.
    fn cut(&mut self, which: Which) -> Result<(), Failure> {
        for at in 0..self.readings.len() {
            if which == Which::Due && self.is_full() {
                break;
            }
            // What it would wait for is not there, and nobody is busy.
            let is_idle = self.dry && self.shared.bytes.load(Ordering::Relaxed) == 0;
            let due = |block: &mut Block| {
                let is_late = is_idle || block.since.elapsed() >= LINGER;
                which != Which::Due || block.is_full() || is_late
            };
            let Some(block) = self.readings[at].block.take_if(due) else { continue };
            if !self.knows_schemas(&block, which == Which::All) {
                self.readings[at].block = Some(block);
                break;
            }
            let reading = &mut self.readings[at];
            let (partition, to) = (Arc::clone(&reading.partition), reading.next);
            reading.room = (block.messages.len(), block.messages.bytes_len());
            let bytes = block.bytes_len();
            self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
            let Block { messages, keys, offsets, beside, .. } = block;
            let [limit, beside_limit] =
                self.wanted.limits(self.context.engine.time_limit(self.stream));
            let (wanted, of) = (Arc::clone(&self.wanted), Arc::clone(&partition));
            let gathered = Gathered { wanted, partition: of, beside, limit: beside_limit };
            let (stream, places) = (self.stream.clone(), offsets.clone());
            let work = move |decoded: Result<_, FormatError>, input: Input| {
                let Input::Messages(messages, keys) = &input else {
                    return Err(FormatError::NotText);
                };
                let complete = gathered.complete(decoded?, &places, messages, keys.as_ref());
                let complete = complete.map_err(|e| FormatError::Internal(e.to_string()))?;
                Ok(decode::Block::of(complete, &stream))
            };
            let (decoder, input) = (self.decoder.clone(), Input::Messages(messages, keys));
            let block = self.context.decoders.decode(decoder, input, limit, work);
            self.send(Flight::Messages { partition, offsets, to, bytes, block })?;
        }
        Ok(())
    }

    /// Whether the schemas of the messages are known, or could be asked for.
    fn knows_schemas(&mut self, block: &Block, wait: bool) -> bool {
        let Some(registry) = self.registry else { return true };
        loop {
            match self.decoder.learn(registry, &block.messages, block.keys.as_ref()) {
                Ok(()) => {
                    if self.ask_at.take().is_some() {
                        self.context.note_error(None);
                    }
                    return true;
                }
                Err(away) => {
                    self.context.note_error(Some(away));
                    self.ask_at = Some(Instant::now() + ASK_AGAIN);
                }
            }
            if !wait || self.context.stopped() {
                return false;
            }
            self.context.sleep(ASK_AGAIN);
        }
    }

    /// Reads a partition from `next` on: what comes before is missing at the broker.
    pub(super) fn skip(&mut self, at: usize, next: u64) -> Result<(), Failure> {
        self.cut(Which::All)?;
        let reading = &mut self.readings[at];
        reading.next = next;
        let partition = Arc::clone(&reading.partition);
        let (topic, number) = (partition.topic.clone(), partition.number);
        self.send(Flight::Begin { partition, to: next })?;
        let offset = i64::try_from(next).unwrap_or(i64::MAX);
        Ok(self.consumer.seek(&topic, number, Offset::Offset(offset), ANSWER)?)
    }

    /// Whether flights are to be taken before more messages are polled.
    fn is_full(&self) -> bool {
        self.flights.is_full()
            || self.shared.bytes.load(Ordering::Relaxed) >= BYTES_MAX
            || self.ask_at.is_some_and(|at| Instant::now() < at)
    }

    fn send(&self, flight: Flight) -> Result<(), Failure> {
        self.flights.send(flight).map_err(|_| Failure::Ended)
    }

    /// Waits until all that was sent on is stored.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        let (reply, settled) = bounded(1);
        self.send(Flight::Settle(reply))?;
        settled.recv().map_err(|_| Failure::Ended)
    }

    /// Waits a moment for flights to be taken; pauses the partitions when that takes long.
    fn stall(&mut self) -> Result<(), Failure> {
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if !self.paused {
            match since.elapsed() >= PATIENCE {
                true => self.pause(true),
                false => self.context.sleep(Duration::from_millis(1)),
            }
            return Ok(());
        }
        // Paused partitions give no messages; polling keeps us in the group.
        self.poll(WAIT)
    }

    fn resume(&mut self) {
        self.stalled = None;
        if self.paused {
            self.pause(false);
        }
    }

    fn pause(&mut self, pause: bool) {
        let all = client::list(self.places.keys().map(|place| (place.clone(), None)));
        let outcome = match pause {
            true => self.consumer.pause(&all),
            false => self.consumer.resume(&all),
        };
        if let Err(error) = outcome {
            tracing::debug!("kafka: {error}");
        }
        self.paused = pause;
        for reading in &self.readings {
            let state = pause.then_some(SourceState::Paused);
            self.context.report().partition(&reading.partition.name, state);
        }
    }
}
