//! The decode workers all sources share.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use yeoul_engine::{EncodedRows, EngineError, StreamHandle};
use yeoul_format::{
    AvroDecoder, BadRow, ChangeDecoder, Decoded, Decoder, FormatError, KeptValues, Messages,
    RowChanges, TimeLimit,
};

/// Decoders a worker keeps with what they learned. One per file being read; a source reads few at a
/// time.
const DECODERS_KEPT: usize = 16;

/// What a worker does with what it has decoded.
type Then = Box<dyn FnOnce(Result<Decoded, FormatError>, Input) + Send>;

/// A decoder of any kind, as its source has it; workers clone it.
#[derive(Clone)]
pub(crate) enum SharedDecoder {
    /// Of texts, or of messages that are texts.
    Text(Arc<Decoder>),
    /// Of Avro messages.
    Avro(Arc<AvroDecoder>),
    /// Of messages that tell of changes.
    Changes(Arc<ChangeDecoder>),
}

impl SharedDecoder {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => Arc::ptr_eq(one, other),
            (Self::Avro(one), Self::Avro(other)) => Arc::ptr_eq(one, other),
            (Self::Changes(one), Self::Changes(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn to_own(&self) -> OwnDecoder {
        match self {
            Self::Text(decoder) => OwnDecoder::Text(Decoder::clone(decoder)),
            Self::Avro(decoder) => OwnDecoder::Avro(AvroDecoder::clone(decoder)),
            Self::Changes(decoder) => OwnDecoder::Changes(Box::new(ChangeDecoder::clone(decoder))),
        }
    }
}

/// The decoder of one worker, with what it learned.
enum OwnDecoder {
    Text(Decoder),
    Avro(AvroDecoder),
    Changes(Box<ChangeDecoder>),
}

impl OwnDecoder {
    fn decode(&mut self, input: &Input, limit: Option<&TimeLimit>) -> Result<Decoded, FormatError> {
        match (self, input) {
            (Self::Text(decoder), Input::Text(bytes)) => decoder.decode_until(bytes, limit),
            (Self::Text(decoder), Input::Messages(messages, _)) => {
                decoder.decode_messages(messages, limit)
            }
            (Self::Avro(decoder), Input::Messages(messages, _)) => {
                decoder.decode_messages(messages, limit)
            }
            (Self::Changes(decoder), Input::Messages(messages, keys)) => {
                decoder.decode_messages(messages, keys.as_ref())
            }
            (Self::Avro(_) | Self::Changes(_), Input::Text(_)) => Err(FormatError::NotText),
        }
    }
}

/// What is decoded.
pub(crate) enum Input {
    /// Whole records, one behind the other.
    Text(Vec<u8>),
    /// One record each, and their keys where these are wanted.
    Messages(Messages, Option<Messages>),
}

/// What a block of a stream was decoded to: rows with their bytes for the log.
pub(crate) struct Block {
    pub(crate) rows: Result<EncodedRows, EngineError>,
    pub(crate) bad: Vec<BadRow>,
    /// Values that stay as they are, with the records of their rows.
    pub(crate) kept: Vec<(u64, KeptValues)>,
    /// How many line ends were passed.
    pub(crate) lines: u64,
}

impl Block {
    pub(crate) fn of(decoded: Decoded, stream: &StreamHandle) -> Self {
        let Decoded { rows, bad, lines, changes, .. } = decoded;
        let Some(changes) = changes else {
            return Self { rows: stream.encode(rows), bad, kept: Vec::new(), lines };
        };
        let RowChanges { deleted, records, kept } = *changes;
        let rows = stream.encode_changes(rows, deleted);
        let kept = kept.into_iter().map(|kept| (records[kept.row], kept)).collect();
        Self { rows, bad, kept, lines }
    }
}

/// What a worker is asked.
struct Job {
    /// As it was after the header.
    decoder: SharedDecoder,
    input: Input,
    /// Which times are believed.
    limit: Option<TimeLimit>,
    then: Then,
}

/// Threads that decode blocks. They end when the pool is dropped.
pub(crate) struct DecodePool {
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
}

impl DecodePool {
    /// A pool of `count` workers.
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        // One block waits for each worker; a source that is faster waits itself.
        let (jobs, queue) = bounded::<Job>(count);
        let workers = (0..count).map(|number| {
            let queue = queue.clone();
            let name = format!("decode-{number}");
            std::thread::Builder::new().name(name).spawn(move || work(&queue))
        });
        let workers = workers.collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), workers })
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Decodes `input` and does `work` with the rows and what they were, on a worker. Waits for a free place, and gives
    /// where the result will come.
    pub(crate) fn decode<T: Send + 'static>(
        &self,
        decoder: SharedDecoder,
        input: Input,
        limit: Option<TimeLimit>,
        work: impl FnOnce(Result<Decoded, FormatError>, Input) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (reply, result) = bounded(1);
        // A source that has gone does not wait for its rows.
        let then: Then = Box::new(move |decoded, input| drop(reply.send(work(decoded, input))));
        if let Some(jobs) = &self.jobs {
            // When all workers are gone the receiver says so.
            drop(jobs.send(Job { decoder, input, limit, then }));
        }
        result
    }
}

impl Drop for DecodePool {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            drop(worker.join());
        }
    }
}

fn work(queue: &Receiver<Job>) {
    let mut kept: Vec<(SharedDecoder, OwnDecoder)> = Vec::new();
    for job in queue {
        let place = kept.iter().position(|(of, _)| of.is(&job.decoder));
        let place = place.unwrap_or_else(|| {
            if kept.len() == DECODERS_KEPT {
                kept.remove(0);
            }
            kept.push((job.decoder.clone(), job.decoder.to_own()));
            kept.len() - 1
        });
        let decoded = kept[place].1.decode(&job.input, job.limit.as_ref());
        (job.then)(decoded, job.input);
    }
}
