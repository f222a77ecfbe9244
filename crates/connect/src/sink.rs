//! What every sink is, and how it is driven: whole changes, a group after the other.
//!
//! ```text
//!   open ─▶ what is there already ─┐
//!                                  ▼
//!      engine.changes(after) ─▶ send ─▶ engine.release_changes
//!            │     ▲               │
//!            └─────┘               │ it did not work: again from open
//!      the next, while one is sent
//! ```
//!
//! What must hold: what was sent is known where it was sent, together with the changes, or nothing of them is there; so
//! whatever stops between, `open` says where to go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use yeoul_engine::{ChangeId, Changes, Engine, EngineError, SinkReport, SinkSpec};

use crate::error::ConnectError;

/// About how many changed rows are sent together, and how much these take: while they are sent, the next wait.
const ROWS: usize = 65_536;
const BYTES: u64 = 16 << 20;
/// How long it is waited for a commit until it is looked whether the sink is to stop.
const PATIENCE: Duration = Duration::from_millis(50);
/// After how long with nothing to send what was seen is let go of.
const LET_GO: Duration = Duration::from_secs(1);
/// After how long with nothing to send it is said again how far it is: places forget what nobody says for days.
const SAY_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// How finely it is remembered when changes were sent that are kept.
const KEPT_STEP: Duration = Duration::from_secs(1);

/// Makes the sink.
pub(crate) type OpenSink = fn(&SinkSpec) -> Result<Box<dyn Sink>, ConnectError>;

/// A place that takes changes.
pub(crate) trait Sink: Send {
    /// Gets ready; the change up to which everything is there, where that is known. Called again after what did not
    /// work.
    fn open(&mut self, context: &SinkContext) -> Result<Option<ChangeId>, SinkError>;

    /// When it returns, the changes are there, and that they are up to `changes.through`; after an error all of it is
    /// or nothing, which `open` finds out.
    fn send(&mut self, changes: &Changes, context: &SinkContext) -> Result<(), SinkError>;

    /// How long it is waited after something did not work; twice as long each time, up to the second.
    fn retry(&self) -> (Duration, Duration);
}

/// Why changes were not taken.
pub(crate) enum SinkError {
    /// It is tried again.
    Again(String),
    /// It would never work.
    Fatal(ConnectError),
}

impl From<ConnectError> for SinkError {
    fn from(error: ConnectError) -> Self {
        Self::Fatal(error)
    }
}

/// What a running sink works with.
#[derive(Clone)]
pub(crate) struct SinkContext {
    pub(crate) engine: Engine,
    report: SinkReport,
    stop: Arc<AtomicBool>,
}

impl SinkContext {
    pub(crate) fn new(engine: Engine, report: SinkReport) -> Self {
        Self { engine, report, stop: Arc::default() }
    }

    /// Asks the sink to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to end.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Where it says how it is.
    pub(crate) fn report(&self) -> &SinkReport {
        &self.report
    }

    /// Sleeps, but not longer than until asked to stop.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
    }
}

/// What was sent and is kept for a while.
struct Kept {
    keep: Duration,
    sent: VecDeque<(ChangeId, Instant)>,
    released: ChangeId,
}

impl Kept {
    fn new(keep: Duration) -> Self {
        Self { keep, sent: VecDeque::new(), released: ChangeId(0) }
    }

    /// Everything up to `through` was sent; the commit up to which nothing needs to be kept, if it is another one.
    fn sent(&mut self, through: ChangeId) -> Option<ChangeId> {
        let now = Instant::now();
        let mut released = through;
        if !self.keep.is_zero() {
            match self.sent.back_mut() {
                Some((last, at)) if at.elapsed() < KEPT_STEP => *last = through,
                _ => self.sent.push_back((through, now)),
            }
            released = self.released;
            while let Some((commit, at)) = self.sent.front().copied()
                && now.duration_since(at) > self.keep
            {
                released = commit;
                self.sent.pop_front();
            }
        }
        (released > self.released).then(|| {
            self.released = released;
            released
        })
    }
}

/// Sends the changes of `spec` until it is asked to stop, or cannot go on.
pub(crate) fn run(
    spec: &SinkSpec,
    sink: &mut dyn Sink,
    context: &SinkContext,
) -> Result<(), ConnectError> {
    let (wait, wait_max) = sink.retry();
    let mut pause = wait;
    let mut kept = Kept::new(spec.keep());
    while !context.stopped() {
        let sent = std::cell::Cell::new(false);
        match go_on(spec, sink, context, &mut kept, &sent) {
            Ok(()) => {}
            Err(SinkError::Fatal(error)) => return Err(error),
            Err(SinkError::Again(error)) => {
                if context.stopped() {
                    break;
                }
                tracing::warn!("sink \"{}\": {error}", spec.name());
                context.report.error(Some(error));
                pause = if sent.get() { wait } else { (pause * 2).min(wait_max) };
                context.sleep(pause);
            }
        }
    }
    Ok(())
}

fn go_on(
    spec: &SinkSpec,
    sink: &mut dyn Sink,
    context: &SinkContext,
    kept: &mut Kept,
    sent: &std::cell::Cell<bool>,
) -> Result<(), SinkError> {
    let after = sink.open(context)?.unwrap_or_default().max(spec.after());
    context.report.error(None);
    std::thread::scope(|scope| {
        // One waits here while the one before is sent.
        let (ready, next) = bounded(0);
        let name = format!("changes-{}", spec.name());
        let fetching = std::thread::Builder::new()
            .name(name)
            .spawn_scoped(scope, || fetch(spec, context, after, ready));
        fetching.map_err(|e| SinkError::Again(format!("cannot start a thread: {e}")))?;
        // Dropped when it ends, whatever way: so the other ends, too.
        send_all(spec, sink, context, kept, sent, next)
    })
}

/// Gets changes ready until nobody takes them any more.
fn fetch(
    spec: &SinkSpec,
    context: &SinkContext,
    mut after: ChangeId,
    ready: Sender<Result<Changes, EngineError>>,
) {
    while !context.stopped() {
        let changes = context.engine.changes(spec, after, (ROWS, BYTES));
        let (through, is_last) = match &changes {
            Ok(changes) => (changes.through, changes.is_empty()),
            Err(_) => (after, true),
        };
        after = through;
        if ready.send(changes).is_err() {
            return;
        }
        if is_last {
            context.engine.wait_for_commit(after.commit(), PATIENCE);
        }
    }
}

fn send_all(
    spec: &SinkSpec,
    sink: &mut dyn Sink,
    context: &SinkContext,
    kept: &mut Kept,
    sent: &std::cell::Cell<bool>,
    next: Receiver<Result<Changes, EngineError>>,
) -> Result<(), SinkError> {
    let (mut looked, mut said) = (Instant::now(), Instant::now());
    while let Ok(changes) = next.recv() {
        let refused = |error| ConnectError::refused(spec.name(), &error).of_sink();
        let changes = changes.map_err(refused)?;
        let after = changes.through;
        if changes.is_empty() {
            if said.elapsed() >= SAY_AGAIN {
                sink.send(&changes, context)?;
                said = Instant::now();
            }
            context.report.sent(after, 0);
            if looked.elapsed() >= LET_GO {
                looked = Instant::now();
                release(spec, context, kept, after)?;
            }
            continue;
        }
        if context.stopped() {
            break;
        }
        context.report.behind(changes.times.value(0));
        sink.send(&changes, context)?;
        said = Instant::now();
        sent.set(true);
        context.report.sent(after, changes.len() as u64);
        context.report.error(None);
        release(spec, context, kept, after)?;
    }
    Ok(())
}

fn release(
    spec: &SinkSpec,
    context: &SinkContext,
    kept: &mut Kept,
    through: ChangeId,
) -> Result<(), SinkError> {
    let Some(released) = kept.sent(through) else { return Ok(()) };
    let asked = context.engine.release_changes(spec, released);
    asked.map_err(|error| SinkError::Fatal(ConnectError::refused(spec.name(), &error).of_sink()))
}
