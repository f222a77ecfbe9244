//! Where foreign bytes become rows: a bounded number of worker threads, never the async ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use yeoul_engine::{EngineError, ErrorKind, StreamHandle};
use yeoul_format::{BadKind, DecodeOptions, Decoder, Format, FormatError};

/// How much of a text is looked at to tell its layout, or to find its header.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// Decoders kept for one stream: as many as can work at once.
const KEPT_PER_STREAM: usize = 16;

/// Streams whose decoders are kept.
const STREAMS_KEPT: usize = 1_000;

/// The workers and the decoders that are ready for them.
#[derive(Clone, Debug)]
pub(crate) struct Decoding {
    places: Arc<Semaphore>,
    kept: Arc<Mutex<HashMap<String, Kept>>>,
}

/// Decoders of one stream's JSON. They learn the order of keys, so they are used again.
#[derive(Debug)]
struct Kept {
    stream: StreamHandle,
    decoders: Vec<Decoder>,
}

impl Decoding {
    /// As many workers as there are cores.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { places: Arc::new(Semaphore::new(cores)), kept: Arc::default() }
    }

    /// Runs `work` on a worker when one is free.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let broken = |_| EngineError::new(ErrorKind::Internal, "a decode worker ended abnormally");
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| {
            EngineError::new(ErrorKind::Unavailable, "the decode workers have ended")
        })?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        })
        .await
        .map_err(broken)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<String, Kept>> {
        // Nothing can fail while it is locked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A decoder for a text that goes to `stream` and is written as `options` say. `own` says that they
    /// are the stream's and not those of one request.
    pub(crate) fn take(
        &self,
        stream: &StreamHandle,
        options: &DecodeOptions,
        own: bool,
    ) -> Result<Decoder, FormatError> {
        if own
            && options.format == Some(Format::Json)
            && let Some(kept) = self.kept().get_mut(stream.name())
            && Arc::ptr_eq(kept.stream.schema(), stream.schema())
            && let Some(decoder) = kept.decoders.pop()
        {
            return Ok(decoder);
        }
        Decoder::new(Arc::clone(stream.schema()), options)
    }

    /// Gives a decoder with the stream's own options back. Only those of JSON can begin another text.
    pub(crate) fn give(&self, stream: &StreamHandle, decoder: Decoder) {
        if !matches!(decoder, Decoder::Json(_)) {
            return;
        }
        let mut kept = self.kept();
        if let Some(kept) = kept.get_mut(stream.name()) {
            if !Arc::ptr_eq(kept.stream.schema(), stream.schema()) {
                // The stream was made anew with other columns.
                *kept = Kept { stream: stream.clone(), decoders: Vec::new() };
            }
            if kept.decoders.len() < KEPT_PER_STREAM {
                kept.decoders.push(decoder);
            }
        } else {
            if kept.len() >= STREAMS_KEPT {
                kept.clear();
            }
            let stream_kept = Kept { stream: stream.clone(), decoders: vec![decoder] };
            kept.insert(stream.name().to_owned(), stream_kept);
        }
    }
}

/// A decoder cannot be made, or a header does not fit: correct the request.
pub(crate) fn refused(error: &FormatError) -> EngineError {
    let kind = match error {
        FormatError::Internal(_) => ErrorKind::Internal,
        _ => ErrorKind::Input,
    };
    EngineError::new(kind, error.to_string())
}

/// What Postgres clients read of a row that cannot be taken.
pub(crate) fn sqlstate(kind: BadKind) -> &'static str {
    match kind {
        BadKind::Malformed => "22P04",
        BadKind::Invalid => "22P02",
        BadKind::OutOfRange => "22003",
        BadKind::TooLong => "22001",
        BadKind::Null => "23502",
        BadKind::Ahead => "22008",
    }
}
