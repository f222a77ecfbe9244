//! What the threads of an engine share.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use datafusion::execution::SessionState;
use parking_lot::Mutex;
use yeoul_batch::Clock;
use yeoul_reflect::Fixed;
use yeoul_store::{Store, StoreError};

use crate::build::Task;
use crate::commit::{Job, Queue, Reply};
use crate::error::{EngineError, ErrorKind};
use crate::metrics::Metrics;
use crate::options::EngineOptions;
use crate::planning::Planning;
use crate::reports::Reports;
use crate::sinks::{Commits, SinkReports};
use crate::world::World;

/// See the module.
pub(crate) struct Shared {
    pub clock: Arc<dyn Clock>,
    pub options: EngineOptions,
    pub store: Arc<Store>,
    pub planning: Planning,
    /// What queries are run in: functions, limits, memory pool.
    pub session: SessionState,
    /// Where queries run; `None` once the engine has been shut down.
    pub runtime: Mutex<Option<tokio::runtime::Runtime>>,
    pub handle: tokio::runtime::Handle,
    pub queue: Queue,
    /// `None` once the engine is stopping.
    pub builds: Mutex<Option<Sender<Task>>>,
    pub world: ArcSwap<World>,
    pub metrics: Metrics,
    /// What sources say of themselves.
    pub reports: Reports,
    /// What sinks say of themselves.
    pub sink_reports: SinkReports,
    /// Who waits for commits.
    pub commits: Commits,
    /// Catalogs of PostgreSQL that never change, read when they are first asked for.
    pub fixed_catalogs: OnceLock<Arc<Fixed>>,
    /// Opened for reading only: nothing is taken.
    pub read_only: bool,
}

impl Shared {
    /// Whether the engine has begun to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.builds.lock().is_none()
    }

    /// Hands a view to the thread that builds.
    pub(crate) fn start_build(&self, task: Task) -> Result<(), EngineError> {
        let builds = self.builds.lock();
        let sender = builds.as_ref().ok_or_else(EngineError::stopped)?;
        sender.send(task).map_err(|_| EngineError::stopped())
    }
}

impl Shared {
    /// Refuses when nothing may be written.
    pub(crate) fn check_writable(&self) -> Result<(), EngineError> {
        if self.read_only {
            return Err(EngineError::new(
                ErrorKind::Unavailable,
                "the data folder is open for reading only",
            )
            .with_sqlstate("25006")
            .with_hint("start it with \"yeoul run\" to write to it"));
        }
        match self.store.poisoned() {
            // An UPDATE that finds no rows writes none, and must not succeed over a state that a failed
            // write has left behind.
            Some(why) => Err(StoreError::Poisoned(why.to_owned()).into()),
            None => Ok(()),
        }
    }

    /// Gives the commit thread a job and waits for its answer.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<T, EngineError> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        let reply = Box::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        self.queue.send(job(reply))?;
        answer.recv().unwrap_or_else(|_| Err(EngineError::stopped()))
    }

    /// The same without blocking a thread.
    pub(crate) async fn ask_async<T: Send + 'static>(
        &self,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<T, EngineError> {
        let (sender, answer) = tokio::sync::oneshot::channel();
        let reply = Box::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        self.queue.send(job(reply))?;
        answer.await.unwrap_or_else(|_| Err(EngineError::stopped()))
    }
}

impl Drop for Shared {
    /// A runtime must not be dropped where async code runs; this way it may go anywhere.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}
