//! The engine object and what it says of itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use crossbeam_channel::unbounded;
use parking_lot::Mutex;
use yeoul_batch::{Clock, CommitId, DecodeOptions, TimeLimit};
use yeoul_flow::STACK_BYTES;
use yeoul_sql::Connector;
use yeoul_store::{Media, Store};

use crate::catalog::{Body, Relation};
use crate::commit::{Build, Committer, Job, Queue, SourceKey, State, encode};
use crate::delivery::EncodedRows;
use crate::error::{EngineError, ErrorKind};
use crate::metrics::Metrics;
use crate::open;
use crate::options::{EngineOptions, Reading};
use crate::planning::Planning;
use crate::runtime;
use crate::session::Session;
use crate::shared::Shared;
use crate::system;

/// A stream or table that takes rows, resolved once.
#[derive(Clone, Debug)]
pub struct StreamHandle(pub(crate) Arc<Relation>);

impl StreamHandle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is a table.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(self.0.body, Body::Table(_))
    }

    /// The columns its deliveries must have.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    /// The column of the event time, for a stream that has one.
    #[must_use]
    pub fn event_time(&self) -> Option<usize> {
        match &self.0.body {
            Body::Stream(stream) => stream.event_time,
            _ => None,
        }
    }

    /// Does, on the caller's thread, what can be done with rows before they are submitted.
    pub fn encode(&self, rows: RecordBatch) -> Result<EncodedRows, EngineError> {
        encode(rows, None, &self.0)
    }

    /// The same with rows of a table of which some may only say, with `deleted`, that their key is gone. The last of a key
    /// counts. When none is gone they are rows as all others.
    pub fn encode_changes(
        &self,
        rows: RecordBatch,
        deleted: Vec<bool>,
    ) -> Result<EncodedRows, EngineError> {
        let deleted = deleted.contains(&true).then(|| deleted.into());
        encode(rows, deleted, &self.0)
    }

    /// The columns of the primary key, where rows are known by one.
    #[must_use]
    pub fn primary_key(&self) -> Option<&[usize]> {
        match &self.0.body {
            Body::Table(table) if table.with_row_id.is_none() => Some(&table.key),
            _ => None,
        }
    }

    /// How its events are written: what every way in tells its decoders.
    #[must_use]
    pub fn decode_options(&self) -> &DecodeOptions {
        match &self.0.body {
            Body::Stream(stream) => &stream.decode,
            Body::Table(table) => &table.decode,
            // Nobody gets a handle of what takes no rows.
            Body::View(_) => unreachable!("a view takes no rows"),
        }
    }

    /// Whether a delivery with an event that cannot be decoded is refused as a whole.
    #[must_use]
    pub fn refuses_bad_rows(&self) -> bool {
        self.0.refuses_bad_rows()
    }
}

/// `base` with what one request says of its own events: names and values of options, such as
/// `("header", "false")`.
pub fn decode_options_with(
    base: &DecodeOptions,
    given: &[(String, String)],
) -> Result<DecodeOptions, EngineError> {
    yeoul_sql::options::with_request(base, given).map_err(|e| EngineError::sql(&e, ""))
}

/// A stream or table that is fed by a connector.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Where the rows go.
    pub stream: StreamHandle,
    /// Where they come from.
    pub connector: Connector,
}

/// How far recovery is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recovery {
    /// Commits of the log replayed. How many there are is not known before: `total_bytes` is.
    pub commits: u64,
    /// Bytes of log replayed.
    pub done_bytes: u64,
    /// Bytes of log to replay.
    pub total_bytes: u64,
}

/// Whether the engine works.
#[derive(Clone, Debug)]
pub struct Health {
    /// The newest commit.
    pub commit: CommitId,
    /// Why it does not take rows any more, if so.
    pub poisoned: Option<String>,
    /// Views that are still being built.
    pub building: Vec<String>,
    /// Views that could not go on; `yeoul.views` says why.
    pub stopped: Vec<String>,
}

/// The engine. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Engine {
    /// Opens the data folder `dir`, creating it if missing, and recovers what it holds.
    pub fn open(
        dir: &Path,
        clock: Arc<dyn Clock>,
        options: EngineOptions,
        progress: &mut dyn FnMut(Recovery),
    ) -> Result<Self, EngineError> {
        Self::open_media(open::media(dir, false)?, clock, options, progress)
    }

    /// What its clock says.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.shared.clock.now_us()
    }

    /// Opens an engine over any place for bytes: how tests let the disk fail.
    pub fn open_media(
        media: Arc<dyn Media>,
        clock: Arc<dyn Clock>,
        options: EngineOptions,
        progress: &mut dyn FnMut(Recovery),
    ) -> Result<Self, EngineError> {
        Self::start(media, clock, options, false, progress)
    }

    /// Opens a stopped engine's folder for reading: no lock is taken and nothing is written.
    pub fn open_read_only(
        dir: &Path,
        clock: Arc<dyn Clock>,
        options: EngineOptions,
    ) -> Result<Self, EngineError> {
        if !dir.is_dir() {
            let message = format!("data folder \"{}\" does not exist", dir.display());
            return Err(EngineError::new(ErrorKind::NotFound, message));
        }
        Self::start(open::media(dir, true)?, clock, options, true, &mut |_| {})
    }

    fn start(
        media: Arc<dyn Media>,
        clock: Arc<dyn Clock>,
        options: EngineOptions,
        read_only: bool,
        progress: &mut dyn FnMut(Recovery),
    ) -> Result<Self, EngineError> {
        let session = runtime::session_state(&options)?;
        let planning = Planning::new(session, Reading::new(&options))?;
        let session = planning.planner.state().clone();
        let state = open::open(media, &options, &planning, read_only, progress)?;
        let (queue, receiver) = Queue::new(options.queue_bytes_max);
        let (builds, tasks) = unbounded();
        let runtime = runtime::query_runtime(options.query_threads)?;
        let world = state.world(state.store.snapshot());
        let shared = Arc::new(Shared {
            clock,
            options,
            store: Arc::clone(&state.store),
            planning,
            session,
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            queue,
            builds: Mutex::new(Some(builds)),
            world: ArcSwap::from_pointee(world),
            metrics: Metrics::default(),
            reports: Default::default(),
            sink_reports: Default::default(),
            commits: Default::default(),
            fixed_catalogs: std::sync::OnceLock::new(),
            read_only,
        });
        let mut threads = Vec::new();
        if !read_only {
            let builder = Arc::clone(&shared);
            let store = Arc::clone(&shared.store);
            threads.push(spawn("build", store, move || crate::build::run(&builder, &tasks))?);
            threads.push(start_committer(&shared, state, receiver)?);
        }
        Ok(Self { shared, threads: Arc::new(Mutex::new(threads)) })
    }

    /// The stream (or table) named `name`; the error lists the ones there are.
    pub fn stream(&self, name: &str) -> Result<StreamHandle, EngineError> {
        let world = self.shared.world.load();
        world.catalog.writable(name).map(|relation| StreamHandle(Arc::clone(relation)))
    }

    /// The streams and tables that a connector feeds.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceSpec> {
        let world = self.shared.world.load();
        let spec = |relation: &Arc<Relation>| {
            let connector = match &relation.body {
                Body::Stream(stream) => &stream.connector,
                Body::Table(table) => &table.connector,
                Body::View(_) => return None,
            };
            connector.is_fetched().then(|| SourceSpec {
                stream: StreamHandle(Arc::clone(relation)),
                connector: connector.clone(),
            })
        };
        world.catalog.in_order().iter().filter_map(spec).collect()
    }

    /// The names of the streams and tables that take rows, in their order.
    #[must_use]
    pub fn stream_names(&self) -> Vec<String> {
        self.shared.world.load().catalog.writable_names().map(str::to_owned).collect()
    }

    /// Which times of `stream` are believed now, when it matters. Decoders ask it, so that a row that
    /// is refused for its time keeps its bytes; what comes past them is checked before it is queued.
    #[must_use]
    pub fn time_limit(&self, stream: &StreamHandle) -> Option<TimeLimit> {
        stream.0.time_limit(self.shared.clock.now_us())
    }

    /// Where a partition of a source stands (0 when it never delivered).
    #[must_use]
    pub fn position(&self, stream: &str, source: &str, partition: &str) -> u64 {
        let world = self.shared.world.load();
        let Some(relation) = world.catalog.get(stream) else { return 0 };
        let key =
            SourceKey { relation: relation.id, source: source.into(), partition: partition.into() };
        world.sources.get(&key).position
    }

    /// Where each partition of a source stands that has delivered with a position.
    #[must_use]
    pub fn positions(&self, stream: &StreamHandle, source: &str) -> BTreeMap<Arc<str>, u64> {
        let world = self.shared.world.load();
        let stored = world.sources.iter().filter(|(key, state)| {
            key.relation == stream.0.id && *key.source == *source && state.chain.is_some()
        });
        stored.map(|(key, state)| (Arc::clone(&key.partition), state.position)).collect()
    }

    /// Where SQL is spoken. One per connection.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.shared))
    }

    /// The statement that created the relation `name`.
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<String> {
        self.shared.world.load().catalog.get(name).map(|relation| relation.sql.clone())
    }

    /// The statement that created a function.
    pub(crate) fn function_definition(&self, key: &yeoul_sql::FunctionKey) -> Option<String> {
        let world = self.shared.world.load();
        world.catalog.functions().get(key).map(|function| function.sql.clone())
    }

    /// Whether it works.
    #[must_use]
    pub fn health(&self) -> Health {
        let world = self.shared.world.load();
        let (mut building, mut stopped) = (Vec::new(), Vec::new());
        for (id, build) in &world.unready {
            let Some(relation) = world.catalog.by_id(*id) else { continue };
            if world.catalog.version(*id).is_some() {
                // The version before answers.
                continue;
            }
            match build {
                Build::Failed(_) => stopped.push(relation.name.clone()),
                _ => building.push(relation.name.clone()),
            }
        }
        building.sort_unstable();
        stopped.sort_unstable();
        Health {
            commit: world.commit(),
            poisoned: self.shared.store.poisoned().map(str::to_owned),
            building,
            stopped,
        }
    }

    /// Counters and gauges in the Prometheus text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let stats = self.shared.store.stats();
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let gauges = [
            ("yeoul_commit", "The newest commit.", stats.commit.0 as f64),
            (
                "yeoul_checkpoint_commit",
                "The commit of the manifest.",
                stats.checkpoint_commit.0 as f64,
            ),
            (
                "yeoul_memory_layer_bytes",
                "Rows and states not yet in parts.",
                (stats.live_bytes + stats.frozen_bytes) as f64,
            ),
            ("yeoul_log_bytes", "Length of the log.", stats.log_bytes as f64),
            (
                "yeoul_part_bytes_written",
                "Bytes written to parts.",
                stats.part_bytes_written as f64,
            ),
            (
                "yeoul_publish_blocked_us",
                "Time that commits waited for memory.",
                stats.blocked_us as f64,
            ),
            (
                "yeoul_queue_fullness",
                "How full the ingest queue is, 0 to 1.",
                self.shared.queue.fullness(),
            ),
        ];
        let mut text = self.shared.metrics.text(&gauges);
        if let Err(error) = system::expose(&self.shared.world.load(), &self.shared, &mut text) {
            tracing::error!("sources and sinks cannot be told of: {error}");
        }
        text
    }

    /// Writes everything in memory to parts. Returns when it is durable.
    pub fn checkpoint(&self) -> Result<(), EngineError> {
        self.shared.check_writable()?;
        self.shared.ask(|reply| Job::Checkpoint { reply })
    }

    /// Stops taking deliveries, commits what was taken, writes a checkpoint, ends the threads.
    pub fn shutdown(&self) -> Result<(), EngineError> {
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return Ok(());
        }
        self.shared.queue.close();
        self.shared.builds.lock().take();
        let done = self.shared.ask(|reply| Job::Checkpoint { reply });
        let stopped = self.shared.ask(|reply| Job::Stop { reply });
        if let Some(runtime) = self.shared.runtime.lock().take() {
            runtime.shutdown_background();
        }
        for thread in threads {
            // A thread that panicked has said so; the rest still has to stop.
            let _ = thread.join();
        }
        done.and(stopped)
    }
}

fn start_committer(
    shared: &Arc<Shared>,
    state: State,
    receiver: crossbeam_channel::Receiver<crate::commit::Queued>,
) -> Result<JoinHandle<()>, EngineError> {
    let shared = Arc::clone(shared);
    let store = Arc::clone(&shared.store);
    spawn("commit", store, move || {
        let mut committer = Committer::new(shared, state, receiver);
        committer.give_up_failed();
        committer.start_waiting();
        if let Err(error) = committer.ripen() {
            tracing::error!("a new version of a view cannot be swapped in: {error}");
        }
        committer.run();
    })
}

/// Says why nothing is written any more when the thread that holds it panics: without that thread the engine would
/// take questions and never answer them.
struct Ending {
    thread: String,
    store: Arc<Store>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { thread, store } = self;
            store.poison(&format!(
                "the thread \"{thread}\" has panicked, which is a defect of Yeoul"
            ));
        }
    }
}

fn spawn(
    name: &str,
    store: Arc<Store>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, EngineError> {
    let ending = Ending { thread: name.to_owned(), store };
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    let work = move || {
        let _ending = ending;
        work();
    };
    thread.spawn(work).map_err(|error| {
        EngineError::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use yeoul_store::{DiskMedia, StoreOptions};

    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_writing() {
        let dir = tempfile::tempdir().expect("a folder");
        let media = Arc::new(DiskMedia::open(dir.path()).expect("opens"));
        let (store, _) = Store::open(media, StoreOptions::default()).expect("opens");
        let store = Arc::new(store);
        let ended = spawn("calm", Arc::clone(&store), || ()).expect("starts").join();
        assert!(ended.is_ok() && store.poisoned().is_none());
        let ended = spawn("commit", Arc::clone(&store), || panic!("on purpose")).expect("starts");
        assert!(ended.join().is_err());
        let why = "the thread \"commit\" has panicked, which is a defect of Yeoul";
        assert_eq!(store.poisoned(), Some(why));
    }
}
