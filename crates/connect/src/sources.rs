//! All sources of an engine: started, watched, stopped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use yeoul_engine::{Engine, SourceSpec, SourceState};

use crate::decode::DecodePool;
use crate::error::ConnectError;
use crate::registry::ENTRIES;
use crate::source::{Context, Source, SourceStatus};

/// How often the catalog is looked at for streams that came or went.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often, while streams wait for tables.
const LOOK_SOON: Duration = Duration::from_millis(5);

/// The sources that feed an engine's streams and tables. Streams that are created or dropped
/// meanwhile get and lose theirs.
pub struct Sources {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

struct Shared {
    engine: Engine,
    base: PathBuf,
    decoders: Arc<DecodePool>,
    running: Mutex<Vec<Running>>,
    stopping: AtomicBool,
}

/// A source and its thread.
struct Running {
    spec: SourceSpec,
    context: Context,
    ends: bool,
    failure: Arc<Mutex<Option<ConnectError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sources {
    /// Looks whether every source can be opened, without reading rows. Relative paths begin at `base`.
    pub fn check(engine: &Engine, base: &Path) -> Result<(), ConnectError> {
        engine.sources().iter().try_for_each(|spec| open(spec, base).1.map(drop))
    }

    /// Starts the sources of all streams and tables that have one. Fails, and starts none, when one of
    /// them cannot be opened.
    pub fn start(engine: &Engine, base: &Path) -> Result<Self, ConnectError> {
        Self::check(engine, base)?;
        let io = |e: std::io::Error| ConnectError::new("", format!("cannot start a thread: {e}"));
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let shared = Arc::new(Shared {
            engine: engine.clone(),
            base: base.to_owned(),
            decoders: Arc::new(DecodePool::start(cores).map_err(io)?),
            running: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        shared.look();
        let watched = Arc::clone(&shared);
        let watcher = std::thread::Builder::new().name("sources".into()).spawn(move || {
            let mut wait = LOOK_SOON;
            while !watched.stopping.load(Ordering::Relaxed) {
                std::thread::park_timeout(wait);
                wait = if watched.look() { LOOK_EVERY } else { LOOK_SOON };
            }
        });
        Ok(Self { shared, watcher: Some(watcher.map_err(io)?) })
    }

    /// Whether every source that has an end is there: all its rows are stored, or it has failed (see
    /// [`Sources::outcome`]).
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.shared.look()
            && self.shared.running().iter().all(|running| !running.ends || running.is_done())
    }

    /// The first failure of a source, if one has failed.
    pub fn outcome(&self) -> Result<(), ConnectError> {
        let running = self.shared.running();
        match running.iter().find_map(Running::failure) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Waits until [`Sources::is_drained`], then says the [`Sources::outcome`].
    pub fn run_until_drained(&self) -> Result<(), ConnectError> {
        while !self.is_drained() {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.outcome()
    }

    /// How far each source is.
    #[must_use]
    pub fn statuses(&self) -> Vec<SourceStatus> {
        self.shared.running().iter().map(|running| running.context.status().clone()).collect()
    }

    /// Stops all sources. What they submitted before has its receipt when this returns.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            watcher.thread().unpark();
            drop(watcher.join());
        }
        let mut running = std::mem::take(&mut *self.shared.running());
        running.iter().for_each(|running| running.context.stop());
        running.iter_mut().for_each(Running::join);
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what the catalog has and nobody reads, stops what it has no more. Tables come first:
    /// events that are looked up in a table must find it loaded. False when streams still wait for
    /// tables whose sources have an end.
    fn look(&self) -> bool {
        let specs = self.engine.sources();
        let mut running = self.running();
        if self.stopping.load(Ordering::Relaxed) {
            return true;
        }
        // A stream that was dropped and made anew is another one.
        let same = |a: &SourceSpec, b: &SourceSpec| {
            a.stream.name() == b.stream.name()
                && Arc::ptr_eq(a.stream.schema(), b.stream.schema())
                && a.connector == b.connector
        };
        let mut gone: Vec<_> =
            running.extract_if(.., |r| !specs.iter().any(|spec| same(&r.spec, spec))).collect();
        gone.iter().for_each(|running| running.context.stop());
        let mut all = true;
        let (tables, streams): (Vec<_>, Vec<_>) =
            specs.into_iter().partition(|spec| spec.stream.is_table());
        for spec in tables.into_iter().chain(streams) {
            if running.iter().any(|r| same(&r.spec, &spec)) {
                continue;
            }
            let loading = |r: &Running| r.spec.stream.is_table() && r.ends && !r.is_done();
            if !spec.stream.is_table() && running.iter().any(loading) {
                all = false;
            } else {
                running.push(self.begin(spec));
            }
        }
        drop(running);
        gone.iter_mut().for_each(Running::join);
        all
    }

    fn begin(&self, spec: SourceSpec) -> Running {
        let stream = spec.stream.name().to_owned();
        let (connector, opened) = open(&spec, &self.base);
        let report = self.engine.report_source(&spec.stream, connector);
        let status = SourceStatus { stream, connector, ..SourceStatus::default() };
        let context = Context::new(self.engine.clone(), Arc::clone(&self.decoders), status, report);
        let failure = Arc::new(Mutex::new(None));
        let mut running =
            Running { spec, context, ends: true, failure: Arc::clone(&failure), thread: None };
        let source = match opened {
            Ok(source) => source,
            Err(error) => {
                conclude(&running.context, &failure, Err(error));
                return running;
            }
        };
        running.ends = source.ends();
        let context = running.context.clone();
        let name = format!("source-{}", running.spec.stream.name());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let outcome = source.run(&context);
            conclude(&context, &failure, outcome);
        });
        match thread {
            Ok(thread) => running.thread = Some(thread),
            Err(e) => {
                let stream = running.spec.stream.name();
                let error = ConnectError::new(stream, format!("cannot start a thread: {e}"));
                conclude(&running.context, &running.failure, Err(error));
            }
        }
        running
    }
}

/// Notes how a source ended.
fn conclude(
    context: &Context,
    failure: &Mutex<Option<ConnectError>>,
    outcome: Result<(), ConnectError>,
) {
    let state = match &outcome {
        Err(_) => SourceState::Failed,
        Ok(()) if context.stopped() => SourceState::Stopped,
        Ok(()) => SourceState::Finished,
    };
    if let Err(error) = outcome {
        tracing::error!("{error}");
        context.note_error(Some(error.to_string()));
        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
    context.report().state(state);
    context.status().done = true;
}

impl Running {
    fn is_done(&self) -> bool {
        self.context.status().done || self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    fn failure(&self) -> Option<ConnectError> {
        if self.is_done() && !self.context.status().done {
            let message = "its thread ended abnormally; this is a bug";
            return Some(ConnectError::new(self.spec.stream.name(), message));
        }
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Makes the source that `spec` asks for; also the name of its connector.
fn open(spec: &SourceSpec, base: &Path) -> (&'static str, Result<Box<dyn Source>, ConnectError>) {
    if let Some((option, name)) = spec.connector.options.unknown_secret() {
        let message = format!("option \"{option}\" needs {name}, which has no value");
        let error = ConnectError::new(spec.stream.name(), message);
        return ("", Err(error.with_hint(format!("export {name}=… before starting"))));
    }
    if let Some(entry) = ENTRIES.iter().find(|entry| entry.spec.name == spec.connector.name) {
        return (entry.spec.name, (entry.open)(spec, base));
    }
    let names: Vec<_> = ENTRIES.iter().map(|entry| entry.spec.name).collect();
    let message = "nobody here reads its connector";
    let error = ConnectError::new(spec.stream.name(), message)
        .with_hint(format!("the connectors are {}", names.join(", ")));
    ("", Err(error))
}
