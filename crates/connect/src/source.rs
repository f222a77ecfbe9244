//! What every source is, and what it is given.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use yeoul_engine::{Engine, Receipt, SourceReport, SourceSpec};

use crate::decode::DecodePool;
use crate::error::ConnectError;

/// How a source is made from what `CREATE STREAM` said. Relative paths begin at `base`. Finds every mistake that can be
/// found without reading rows.
pub(crate) type Open = fn(&SourceSpec, &Path) -> Result<Box<dyn Source>, ConnectError>;

/// One place that deliveries of one stream come from.
pub(crate) trait Source: Send {
    /// Reads and delivers until the end, until asked to stop, or until it cannot go on. Runs on a
    /// thread of its own. Ends well only when every delivery has its receipt.
    fn run(self: Box<Self>, context: &Context) -> Result<(), ConnectError>;

    /// Whether there is an end.
    fn ends(&self) -> bool;
}

/// How far a source is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// The stream it feeds.
    pub stream: String,
    /// The connector's name.
    pub connector: &'static str,
    /// Rows stored.
    pub rows: u64,
    /// Rows dropped as duplicates.
    pub duplicates: u64,
    /// Events kept as dead letters.
    pub dead_letters: u64,
    /// Bytes of the source whose rows are stored (decompressed; 0 for formats without).
    pub bytes: u64,
    /// The place of the newest stored delivery: partition and position.
    pub position: String,
    /// Why it ended early, or what it could not do and tries again.
    pub error: Option<String>,
    /// Whether it has ended: all is read and stored, or `error` says why not.
    pub done: bool,
}

/// What a running source works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) engine: Engine,
    pub(crate) decoders: Arc<DecodePool>,
    stop: Arc<AtomicBool>,
    status: Arc<Mutex<SourceStatus>>,
    /// What `yeoul.sources` shows of it.
    report: SourceReport,
}

impl Context {
    pub(crate) fn new(
        engine: Engine,
        decoders: Arc<DecodePool>,
        status: SourceStatus,
        report: SourceReport,
    ) -> Self {
        let status = Arc::new(Mutex::new(status));
        Self { engine, decoders, stop: Arc::default(), status, report }
    }

    /// Where it tells the engine how it is.
    pub(crate) fn report(&self) -> &SourceReport {
        &self.report
    }

    /// Notes what it could not do, or that it could since.
    pub(crate) fn note_error(&self, error: Option<String>) {
        self.report.error(error.clone());
        self.status().error = error;
    }

    /// Notes what went wrong and is over: it is only the last error.
    pub(crate) fn note_past(&self, error: String) {
        self.note_error(Some(error));
        self.note_error(None);
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, SourceStatus> {
        // A status is plain counters: one half written by a dying thread does no harm.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a delivery is stored, after which `partition` stands at `to`. `bytes` were read for it, where they
    /// are counted.
    pub(crate) fn settled(&self, partition: &Arc<str>, to: u64, receipt: Receipt, bytes: u64) {
        let Receipt { accepted, duplicates, dead_letters, .. } = receipt;
        let mut status = self.status();
        status.rows += accepted;
        status.duplicates += duplicates;
        status.dead_letters += dead_letters;
        status.bytes += bytes;
        status.position = format!("{partition}@{to}");
        drop(status);
        if bytes > 0 {
            self.report.read(partition, bytes);
        }
        self.report.rows(partition, accepted + duplicates + dead_letters);
    }

    /// Asks the source to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps, but not longer than until asked to stop.
    pub(crate) fn sleep(&self, time: Duration) {
        /// How soon a stop is noticed.
        const STEP: Duration = Duration::from_millis(20);
        let mut left = time;
        while !left.is_zero() && !self.stopped() {
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
    }
}
