//! Kafka: messages of topics, exactly once, through librdkafka.
//!
//! ```text
//!   brokers ──librdkafka──▶ Reader: blocks per partition ──decode workers──▶ submit, in order ──▶ Engine
//!      ▲                                                                          │ receipts
//!      └──────────────── positions committed to the group, for lag tools ─────────┘
//! ```
//!
//! A partition is `topic/number`, and its position is the offset of the message that is next. What is stored says where
//! reading begins; what the group has committed only where another member may have read on since.
//!
//! Limits: a member of a group that dies may have stored messages of its last second without having committed them; the
//! member that gets its partitions reads these again, into its own stream. An offset that brokers do not have stops the
//! source, unless `missing_offset` says otherwise.
//!
//! Not here: how messages are decoded (`format`).

mod assign;
mod begin;
mod beside;
mod block;
mod client;
mod forms;
mod names;
mod offsets;
mod options;
mod queue;
mod reader;
mod registry;
mod security;
mod sink;
mod submit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use yeoul_batch::Format;
use yeoul_engine::{SourceSpec, StreamHandle};
use yeoul_format::{AvroDecoder, ChangeDecoder, Decoder, FormatError, KeyFormat};

use crate::decode::SharedDecoder;
use crate::error::ConnectError;
use crate::source::{Context, Source};
use beside::Wanted;
use client::Listener;
pub(crate) use options::SPEC;
use options::{KafkaOptions, Schemas};
use reader::{Failure, Reader};
use registry::Registry;
pub(crate) use sink::open_sink;
use submit::Shared;

/// How long after brokers refused us for good it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// How long it is waited for the group to let us go.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// How dead letters of Avro messages are written; their schemas are not with them.
const AVRO: &str = "{\"format\":\"avro\"}";

/// The topics of one stream or table.
struct KafkaSource {
    stream: StreamHandle,
    options: KafkaOptions,
    config: ClientConfig,
    decoder: SharedDecoder,
    /// How the bytes of dead letters are written.
    format: String,
    wanted: Arc<Wanted>,
    registry: Option<Registry>,
}

/// Makes the source.
pub(crate) fn open(spec: &SourceSpec, _: &Path) -> Result<Box<dyn Source>, ConnectError> {
    let stream = spec.stream.name();
    let options = KafkaOptions::of(&spec.connector.options)
        .map_err(|wrong| ConnectError::new(stream, wrong.0).with_hint(wrong.1))?;
    let wrong = |e: FormatError| ConnectError::new(stream, e.to_string());
    let decode = spec.stream.decode_options();
    let wanted = Arc::new(Wanted::of(&spec.stream, decode));
    let inside = Arc::clone(&wanted.inside);
    if inside.fields().is_empty() {
        let message = "all its columns are beside the events, and none is in them";
        return Err(ConnectError::new(stream, message).with_hint("add a column of the events"));
    }
    let (decoder, registry, format) = match (decode.format, &options.schemas) {
        (Some(Format::Avro), Some(Schemas::Given(schema))) => {
            let decoder = AvroDecoder::plain(Arc::clone(&inside), decode, schema).map_err(wrong)?;
            (SharedDecoder::Avro(Arc::new(decoder)), None, AVRO.to_owned())
        }
        (Some(Format::Avro), Some(Schemas::Registered { url, user })) => {
            let decoder = AvroDecoder::registered(Arc::clone(&inside), decode).map_err(wrong)?;
            let user = user.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
            let registry = Registry::new(url, user);
            (SharedDecoder::Avro(Arc::new(decoder)), Some(registry), AVRO.to_owned())
        }
        (Some(Format::Avro), None) => {
            return Err(ConnectError::new(
                stream,
                "format 'avro' needs the schema of its messages",
            )
            .with_hint("add schema_registry = 'http://localhost:8081', or avro_schema = '{…}'"));
        }
        (_, Some(_)) => {
            let message = "\"avro_schema\" and \"schema_registry\" are for format 'avro'";
            return Err(ConnectError::new(stream, message).with_hint("add format = 'avro'"));
        }
        (_, None) if spec.stream.primary_key().is_some() => {
            let decoder = changes(&spec.stream, &wanted, &options, None).map_err(wrong)?;
            let format = decoder.record_format();
            (SharedDecoder::Changes(Arc::new(decoder)), None, format)
        }
        (_, None) => {
            let decoder = Decoder::for_messages(inside, decode).map_err(wrong)?;
            let format = decoder.record_format();
            (SharedDecoder::Text(Arc::new(decoder)), None, format)
        }
    };
    let decoder = match decoder {
        SharedDecoder::Avro(avro) if spec.stream.primary_key().is_some() => {
            let avro = AvroDecoder::clone(&avro);
            let decoder = changes(&spec.stream, &wanted, &options, Some(avro)).map_err(wrong)?;
            SharedDecoder::Changes(Arc::new(decoder))
        }
        other => other,
    };
    let config = client::config(&options, stream);
    client::check(&config, stream)?;
    let stream = spec.stream.clone();
    Ok(Box::new(KafkaSource { stream, options, config, decoder, format, wanted, registry }))
}

/// The decoder of changes of a table with a primary key; `avro` decodes values, where these are Avro.
fn changes(
    table: &StreamHandle,
    wanted: &Wanted,
    options: &KafkaOptions,
    avro: Option<AvroDecoder>,
) -> Result<ChangeDecoder, FormatError> {
    let key = wanted.inside_of(table.primary_key().unwrap_or_default());
    let decode = table.decode_options();
    let is_sheet = matches!(decode.format, Some(Format::Csv | Format::Tsv));
    let as_values = match &options.schemas {
        Some(Schemas::Registered { .. }) => KeyFormat::Avro,
        _ if is_sheet && key.len() == 1 => KeyFormat::Text,
        _ => KeyFormat::Json,
    };
    let (inside, keys) = (Arc::clone(&wanted.inside), options.key_format.unwrap_or(as_values));
    match avro {
        Some(values) => ChangeDecoder::avro(inside, &key, decode, keys, values),
        None => ChangeDecoder::new(inside, &key, decode, keys),
    }
}

impl Source for KafkaSource {
    fn run(self: Box<Self>, context: &Context) -> Result<(), ConnectError> {
        while !context.stopped() {
            let error = match self.read(context) {
                Ok(()) | Err(Failure::Ended) => return Ok(()),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Broker(error)) => error,
            };
            context.note_error(Some(assign::reason(&error)));
            context.sleep(AGAIN);
        }
        Ok(())
    }

    fn ends(&self) -> bool {
        false
    }
}

impl KafkaSource {
    /// Reads with one consumer, as long as brokers take it.
    fn read(&self, context: &Context) -> Result<(), Failure> {
        let consumer = client::consumer(&self.config, self.options.tokens.as_ref(), context)?;
        let shared = Shared::default();
        // Blocks in flight: one decoding and one waiting on every worker, and one being submitted. With
        // their rows that is about 3 MiB each.
        let (sender, flights) = bounded(2 * context.decoders.workers() + 1);
        let outcome = std::thread::scope(|scope| {
            let (shared, format) = (&shared, self.format.as_str());
            let submitting =
                scope.spawn(move || submit::run(&self.stream, context, format, shared, &flights));
            let reading = Reader::new(self, context, &consumer, shared, sender).run();
            let submitted = submitting.join().unwrap_or_else(|_| {
                let message = "its thread ended abnormally; this is a bug";
                Err(ConnectError::new(self.stream.name(), message))
            });
            submitted.map_err(Failure::Fatal).and(reading)
        });
        close(consumer);
        outcome
    }
}

/// Leaves the group. Where brokers do not answer, librdkafka tries for longer than anybody wants to wait for our end:
/// it is left to that.
fn close(consumer: BaseConsumer<Listener>) {
    consumer.context().close();
    let (sender, closed) = bounded::<()>(1);
    let closing = std::thread::Builder::new().name("yeoul-kafka-close".to_owned());
    let spawned = closing.spawn(move || {
        drop(consumer);
        drop(sender);
    });
    if spawned.is_ok() {
        // It is told by the sender's end.
        let _ = closed.recv_timeout(CLOSE_MAX);
    }
}
