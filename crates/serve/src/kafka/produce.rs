//! Batches of records to deliveries.
//!
//! ```text
//!   batch ─▶ header, checksum ─▶ sequence ─▶ worker: uncompress, decode, encode ─▶ the engine's queue ─▶ receipt
//!                                                                                   in order            awaited by the answer
//! ```
//!
//! A batch is one delivery, and so in one commit, whole or not at all. Values of records are events; their headers and
//! timestamps are not looked at, and their keys only where one says which row of a table is gone. The next batch of a connection is decoded while the ones before are
//! committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use yeoul_engine::{
    DeadLetter, Delivery, Engine, EngineError, ErrorKind, KeptValues, Pending, StreamHandle,
};
use yeoul_format::{
    BadRow, ChangeDecoder, DecodeOptions, Decoded, Decoder, FormatError, KeyFormat, Messages,
    RowChanges, TimeLimit,
};

use super::Shared;
use super::batch::{Batch, BatchError, Origin};
use super::refusal::{NO_TRANSACTIONS, Refusal};
use super::request::{ByTopic, Head, Produce};
use super::sequence::{self, Sequences};
use super::unpack::Compression;

/// The source's name in the books.
const SOURCE: &str = "kafka wire";

/// Batches up to this size that are not compressed are decoded where they arrive: handing them to a worker costs
/// more.
const INLINE_BYTES_MAX: usize = 8 << 10;

/// Decoders that a connection keeps, one for each topic it sends to.
const DECODERS_MAX: usize = 64;

/// How much is kept of what a client calls itself.
const CLIENT_CHARS_MAX: usize = 100;

/// How many times as long a compressed batch is taken to be at first: more than usual, so that it is seldom
/// uncompressed twice.
const UNPACKED_GUESS: usize = 64;
/// The least that is taken for a compressed batch.
const UNPACKED_BYTES_MIN: usize = 1 << 20;

/// What becomes of the partitions of a request.
pub(super) type Sent = ByTopic<Result<Pending, Refusal>>;
/// What became of them.
pub(super) type Outcomes = ByTopic<Result<(), Refusal>>;

/// What a connection knows of those who produce over it.
#[derive(Default)]
pub(super) struct Producing {
    decoders: HashMap<String, Kept>,
    sequences: Sequences,
}

/// A decoder of a stream's messages. It has learned the order of their keys.
struct Kept {
    stream: StreamHandle,
    options: DecodeOptions,
    decoder: RecordDecoder,
}

/// What makes rows of records.
enum RecordDecoder {
    /// Each is an event.
    Events(Box<Decoder>),
    /// They are changes of a table with a primary key.
    Changes(Box<ChangeDecoder>),
}

impl RecordDecoder {
    fn new(stream: &StreamHandle) -> Result<Self, FormatError> {
        let (schema, options) = (Arc::clone(stream.schema()), stream.decode_options());
        Ok(match stream.primary_key() {
            Some(key) => {
                let decoder = ChangeDecoder::new(schema, key, options, KeyFormat::Json)?;
                Self::Changes(Box::new(decoder))
            }
            None => Self::Events(Box::new(Decoder::for_messages(schema, options)?)),
        })
    }

    fn decode(
        &mut self,
        messages: &Messages,
        keys: Option<&Messages>,
        limit: Option<&TimeLimit>,
    ) -> Result<Decoded, FormatError> {
        match self {
            Self::Events(decoder) => decoder.decode_messages(messages, limit),
            Self::Changes(decoder) => decoder.decode_messages(messages, keys),
        }
    }

    fn record_format(&self) -> String {
        match self {
            Self::Events(decoder) => decoder.record_format(),
            Self::Changes(decoder) => decoder.record_format(),
        }
    }
}

/// A batch on its way to a worker.
struct Work {
    batch: Batch,
    stream: StreamHandle,
    /// Which times are believed.
    limit: Option<TimeLimit>,
    /// How the client is named in the places of dead letters.
    client: String,
    unpacked_bytes_max: usize,
}

impl Producing {
    /// Queues the batches of a request, in their order.
    pub(super) async fn send(&mut self, shared: &Shared, head: &Head, request: Produce) -> Sent {
        let wait = match request.acks {
            // Nobody waits for an answer: what cannot be queued yet must not be lost.
            0 => None,
            _ => Some(patience(request.timeout_ms, shared.options.queue_timeout)),
        };
        let client = head.client.as_deref().unwrap_or_default();
        let client: String = client.chars().take(CLIENT_CHARS_MAX).collect();
        let mut sent = Vec::with_capacity(request.topics.len());
        for (topic, partitions) in request.topics {
            let mut outcomes = Vec::with_capacity(partitions.len());
            for (index, records) in partitions {
                let outcome = if request.transactional_id.is_some() {
                    let code = ResponseError::TransactionalIdAuthorizationFailed;
                    Err(Refusal::new(code, NO_TRANSACTIONS))
                } else {
                    self.partition(shared, (&topic, index), records, wait, &client).await
                };
                outcomes.push((index, outcome));
            }
            sent.push((topic, outcomes));
        }
        sent
    }

    async fn partition(
        &mut self,
        shared: &Shared,
        (topic, index): (&str, i32),
        records: Option<Bytes>,
        wait: Option<Duration>,
        client: &str,
    ) -> Result<Pending, Refusal> {
        if index != 0 {
            let message = format!("topic \"{topic}\" has no partition {index}; it has one, 0");
            return Err(Refusal::new(ResponseError::UnknownTopicOrPartition, message));
        }
        let engine = shared.slot.engine().map_err(|error| opening(&error))?;
        let stream = engine.stream(topic)?;
        let batch = Batch::read(records.ok_or(BatchError::Empty)?)?;
        let (origin, count) = (batch.origin, batch.count);
        if let Some(origin) = origin
            && let Some(expected) = self.sequences.gap(topic, origin)
        {
            let message = format!(
                "producer {} comes with record {} of topic \"{topic}\", the next is {expected}",
                origin.producer, origin.sequence
            );
            return Err(Refusal::new(ResponseError::OutOfOrderSequenceNumber, message));
        }
        let work = Work {
            batch,
            limit: engine.time_limit(&stream),
            stream,
            client: client.to_owned(),
            unpacked_bytes_max: shared.options.request_bytes_max,
        };
        let queued = self.queue(shared, engine, work, wait).await;
        if let Some(origin) = origin {
            match &queued {
                Ok(_) => self.sequences.took(topic, origin, count),
                Err(_) => self.sequences.refused(topic, origin),
            }
        }
        queued
    }

    async fn queue(
        &mut self,
        shared: &Shared,
        engine: &Engine,
        mut work: Work,
        wait: Option<Duration>,
    ) -> Result<Pending, Refusal> {
        let most = work.unpacked_bytes_max;
        let packed = work.batch.bytes_len();
        let plain = work.batch.compression == Compression::None;
        if !plain {
            let guess = packed.saturating_mul(UNPACKED_GUESS).max(UNPACKED_BYTES_MIN);
            work.unpacked_bytes_max = guess.min(most);
        }
        loop {
            let mut decoder = self.decoder(&work.stream)?;
            let room = if plain { packed } else { work.unpacked_bytes_max };
            let gone = || EngineError::new(ErrorKind::Unavailable, "the listener is stopping");
            let share = shared.unpacked.take(room).await.ok_or_else(gone)?;
            let decode = move || {
                let delivery = work.decode(&mut decoder);
                (work, decoder, delivery)
            };
            let (back, decoder, delivery) = if plain && packed <= INLINE_BYTES_MAX {
                decode()
            } else {
                shared.decoding.run(decode).await?
            };
            work = back;
            self.keep(&work.stream, decoder);
            let delivery = match delivery {
                Ok(delivery) => delivery,
                Err(Unreadable::Batch(BatchError::TooLong(limit))) if limit < most => {
                    work.unpacked_bytes_max = most;
                    continue;
                }
                Err(Unreadable::Batch(error)) => return Err(error.into()),
                Err(Unreadable::Other(refusal)) => return Err(refusal),
            };
            let pending = engine.enqueue(delivery, wait).await?;
            drop(share);
            return Ok(pending);
        }
    }

    /// A decoder of the stream's messages, as it is written now.
    fn decoder(&mut self, stream: &StreamHandle) -> Result<RecordDecoder, Refusal> {
        if let Some(kept) = self.decoders.remove(stream.name())
            && Arc::ptr_eq(kept.stream.schema(), stream.schema())
            && kept.options == *stream.decode_options()
        {
            return Ok(kept.decoder);
        }
        Ok(RecordDecoder::new(stream)?)
    }

    fn keep(&mut self, stream: &StreamHandle, decoder: RecordDecoder) {
        if self.decoders.len() >= DECODERS_MAX {
            self.decoders.clear();
        }
        let options = stream.decode_options().clone();
        let kept = Kept { stream: stream.clone(), options, decoder };
        self.decoders.insert(stream.name().to_owned(), kept);
    }
}

/// How long a batch waits for room: the client gives up after `timeout_ms`, and must hear before.
fn patience(timeout_ms: i32, most: Duration) -> Duration {
    (Duration::from_millis(u64::from(timeout_ms.max(0).unsigned_abs())) / 2).min(most)
}

/// The engine is not open yet: clients ask again where the topic is, and send again.
pub(super) fn opening(error: &EngineError) -> Refusal {
    Refusal::new(ResponseError::LeaderNotAvailable, Refusal::from(error).message)
}

/// Why a worker has no delivery.
enum Unreadable {
    Batch(BatchError),
    Other(Refusal),
}

impl<E: Into<Refusal>> From<E> for Unreadable {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Work {
    fn decode(&self, decoder: &mut RecordDecoder) -> Result<Delivery, Unreadable> {
        let mut keys = self.stream.primary_key().map(|_| Messages::default());
        let messages = self.batch.messages(self.unpacked_bytes_max, keys.as_mut());
        let messages = messages.map_err(Unreadable::Batch)?;
        let decoded = decoder.decode(&messages, keys.as_ref(), self.limit.as_ref())?;
        if let Some(bad) = decoded.bad.first()
            && self.stream.refuses_bad_rows()
        {
            return Err(self.refused(bad).into());
        }
        let RowChanges { deleted, records, kept } = *decoded.changes.unwrap_or_default();
        let rows = self.stream.encode_changes(decoded.rows, deleted)?;
        let mut delivery = Delivery::new(self.stream.clone(), SOURCE, rows);
        let origin = self.batch.origin;
        delivery.idempotency_key =
            origin.map(|origin| sequence::key(origin, &messages, keys.as_ref()));
        let kept = kept.into_iter().map(|kept| KeptValues {
            row: kept.row,
            columns: kept.columns,
            letter: DeadLetter {
                position: self.place(records[kept.row]),
                raw: kept.raw,
                reason: String::new(),
            },
        });
        delivery.kept = kept.collect();
        if !decoded.bad.is_empty() || !delivery.kept.is_empty() {
            delivery.format = Some(decoder.record_format().into());
        }
        let letter = |bad: BadRow| DeadLetter {
            position: self.place(bad.row),
            raw: bad.raw,
            reason: bad.reason,
        };
        delivery.dead_letters = decoded.bad.into_iter().map(letter).collect();
        Ok(delivery)
    }

    /// Where a record is, for people who look for it.
    fn place(&self, record: u64) -> String {
        match self.batch.origin {
            Some(Origin { producer, epoch, sequence }) => {
                let sequence = (u64::from(sequence.unsigned_abs()) + record) % (1 << 31);
                format!("producer {producer}/{epoch}@{sequence}")
            }
            None => {
                let (number, count) = (record + 1, self.batch.count);
                format!("client \"{}\", record {number} of {count}", self.client)
            }
        }
    }

    /// The stream takes a batch whole or not at all.
    fn refused(&self, bad: &BadRow) -> Refusal {
        let message = format!(
            "{}: {}; the stream has on_error = 'fail': mend the record and send it again",
            self.place(bad.row),
            bad.reason
        );
        let record = i32::try_from(bad.row).ok();
        Refusal { record, ..Refusal::new(ResponseError::InvalidRecord, message) }
    }
}
