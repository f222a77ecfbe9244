//! All sinks of an engine: started, watched, stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use yeoul_engine::{Engine, SinkSpec};

use crate::error::ConnectError;
use crate::registry::ENTRIES;
use crate::sink::{Sink, SinkContext, run};

/// How often the catalog is looked at for sinks that came or went.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The sinks that send an engine's changes. Those that are created, dropped or changed meanwhile get, lose or change
/// theirs.
pub struct Sinks {
    engine: Engine,
    running: Arc<Mutex<Vec<Running>>>,
    stopping: Arc<AtomicBool>,
    watcher: Option<JoinHandle<()>>,
}

/// A sink and its thread.
struct Running {
    spec: SinkSpec,
    context: SinkContext,
    thread: Option<JoinHandle<()>>,
}

impl Sinks {
    /// Looks whether every sink can be opened, without sending anything.
    pub fn check(engine: &Engine) -> Result<(), ConnectError> {
        engine.sinks().iter().try_for_each(|spec| open(spec).map(drop))
    }

    /// Starts all sinks that are to send.
    pub fn start(engine: &Engine) -> Result<Self, ConnectError> {
        let io = |e: std::io::Error| ConnectError::new("", format!("cannot start a thread: {e}"));
        let (running, stopping) = (Arc::<Mutex<Vec<Running>>>::default(), Arc::default());
        let (watched, ending) = (Arc::clone(&running), Arc::clone(&stopping));
        let of = engine.clone();
        let watcher = std::thread::Builder::new().name("sinks".into()).spawn(move || {
            let ending: &AtomicBool = &ending;
            while !ending.load(Ordering::Relaxed) {
                look(&of, &watched);
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        let watcher = Some(watcher.map_err(io)?);
        Ok(Self { engine: engine.clone(), running, stopping, watcher })
    }

    /// Whether everything that is there was sent, by all that can send.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let commit = self.engine.commit();
        look(&self.engine, &self.running);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter().all(|running| running.context.report().is_done(commit))
    }

    /// Stops all sinks. What they have begun to send is there or is not; the next start finds out.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            watcher.thread().unpark();
            drop(watcher.join());
        }
        let mut running =
            std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        running.iter().for_each(|running| running.context.stop());
        running.iter_mut().for_each(Running::join);
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts what the catalog has and nobody sends, stops what it has no more.
fn look(engine: &Engine, running: &Mutex<Vec<Running>>) {
    let specs = engine.sinks();
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let mut gone: Vec<_> = running.extract_if(.., |r| !specs.contains(&r.spec)).collect();
    gone.iter().for_each(|running| running.context.stop());
    // One that was changed goes on where the one before has ended.
    gone.iter_mut().for_each(Running::join);
    for spec in specs {
        if !running.iter().any(|r| r.spec == spec) {
            running.push(begin(engine, spec));
        }
    }
}

fn begin(engine: &Engine, spec: SinkSpec) -> Running {
    let context = SinkContext::new(engine.clone(), engine.report_sink(&spec));
    let mut started = Running { spec, context, thread: None };
    let failed = |context: &SinkContext, error: ConnectError| {
        tracing::error!("{error}");
        context.report().failed(error.to_string());
    };
    let mut sink = match open(&started.spec) {
        Ok(sink) => sink,
        Err(error) => {
            failed(&started.context, error);
            return started;
        }
    };
    let (spec, context) = (started.spec.clone(), started.context.clone());
    let name = format!("sink-{}", spec.name());
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        if let Err(error) = run(&spec, &mut *sink, &context) {
            failed(&context, error);
        }
    });
    match thread {
        Ok(thread) => started.thread = Some(thread),
        Err(error) => {
            let message = format!("cannot start a thread: {error}");
            let error = ConnectError::new(started.spec.name(), message).of_sink();
            failed(&started.context, error);
        }
    }
    started
}

impl Running {
    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Makes the sink that `spec` asks for.
fn open(spec: &SinkSpec) -> Result<Box<dyn Sink>, ConnectError> {
    if let Some((option, name)) = spec.connector().options.unknown_secret() {
        let message = format!("option \"{option}\" needs {name}, which has no value");
        let error = ConnectError::new(spec.name(), message).of_sink();
        return Err(error.with_hint(format!("export {name}=… before starting")));
    }
    let entry = ENTRIES.iter().find(|entry| entry.spec.name == spec.connector().name);
    match entry.and_then(|entry| entry.open_sink) {
        Some(open) => open(spec),
        None => {
            let message = format!("connector '{}' takes no changes", spec.connector().name);
            Err(ConnectError::new(spec.name(), message).of_sink())
        }
    }
}
