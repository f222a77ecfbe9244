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
mod block;
mod client;
mod options;
mod reader;
mod submit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use yeoul_engine::{SourceSpec, StreamHandle};
use yeoul_format::Decoder;

use crate::error::ConnectError;
use crate::source::{Context, Source};
use options::KafkaOptions;
pub(crate) use options::SPEC;
use reader::{Failure, Reader};
use submit::Shared;

/// How long after brokers refused us for good it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The topics of one stream or table.
struct KafkaSource {
    stream: StreamHandle,
    options: KafkaOptions,
    config: ClientConfig,
    decoder: Arc<Decoder>,
}

/// Makes the source.
pub(crate) fn open(spec: &SourceSpec, _: &Path) -> Result<Box<dyn Source>, ConnectError> {
    let stream = spec.stream.name();
    let options = KafkaOptions::of(&spec.connector)
        .map_err(|wrong| ConnectError::new(stream, wrong.0).with_hint(wrong.1))?;
    let wrong = |e: yeoul_format::FormatError| ConnectError::new(stream, e.to_string());
    let decoder =
        Decoder::for_messages(Arc::clone(spec.stream.schema()), spec.stream.decode_options())
            .map_err(wrong)?;
    let config = client::config(&options, stream);
    client::check(&config, stream)?;
    let (stream, decoder) = (spec.stream.clone(), Arc::new(decoder));
    Ok(Box::new(KafkaSource { stream, options, config, decoder }))
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
        let consumer = client::consumer(&self.config, context)?;
        let shared = Shared::default();
        let format = self.decoder.record_format();
        // Blocks in flight: one decoding and one waiting on every worker, and one being submitted. With
        // their rows that is about 3 MiB each.
        let (sender, flights) = bounded(2 * context.decoders.workers() + 1);
        let outcome = std::thread::scope(|scope| {
            let of = (&self.stream, &self.options, context);
            let (shared, format) = (&shared, format.as_str());
            let submitting =
                scope.spawn(move || submit::run(&self.stream, context, format, shared, &flights));
            let reading = Reader::new(of, &consumer, &self.decoder, shared, sender).run();
            let submitted = submitting.join().unwrap_or_else(|_| {
                let message = "its thread ended abnormally; this is a bug";
                Err(ConnectError::new(self.stream.name(), message))
            });
            submitted.map_err(Failure::Fatal).and(reading)
        });
        consumer.context().close();
        outcome
    }
}
