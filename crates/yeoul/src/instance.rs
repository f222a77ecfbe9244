//! A running instance: the engine, its sources, its listeners, and an orderly end.
//!
//! ```text
//!   listen ─▶ open ─▶ apply SQL ─▶ serve ─▶ start_sources ─▶ … ─▶ stop sources ─▶ stop listeners ─▶ checkpoint
//! ```
//!
//! What must hold: what was acknowledged is durable before the process ends; on SIGTERM or Ctrl-C the
//! producers are stopped first and the engine last.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use yeoul_connect::{Sinks, Sources};
use yeoul_engine::{Engine, Health, STACK_BYTES};

use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::listeners::Listeners;
use crate::progress::Progress;
use crate::project::Project;

/// How often it is looked whether a source has ended or a view is built.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every source that ends has been read to its end.
    Drained,
    /// Somebody asked to stop.
    Asked,
}

/// The threads that serve: statements are planned on them.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_stack_size(STACK_BYTES).build()
}

/// See the module.
pub(crate) struct Instance {
    engine: Engine,
    dir: PathBuf,
    sources: Option<Sources>,
    sinks: Option<Sinks>,
    listeners: Option<Listeners>,
    stop: Option<watch::Receiver<bool>>,
}

impl Instance {
    /// Opens the data folder and applies the project's SQL to it; nobody is served.
    pub(crate) fn open(project: &Project, data: &Path) -> Result<Self, Failure> {
        Self::open_behind(project, data, None)
    }

    /// Listens, then opens the data folder and applies the project's SQL to it. Until it serves, the
    /// listeners say how far it is.
    pub(crate) fn listen(
        project: &Project,
        data: &Path,
        runtime: &Runtime,
    ) -> Result<Self, Failure> {
        let listeners = runtime.block_on(Listeners::start(&project.settings))?;
        Self::open_behind(project, data, Some(listeners))
    }

    fn open_behind(
        project: &Project,
        data: &Path,
        listeners: Option<Listeners>,
    ) -> Result<Self, Failure> {
        let mut progress = Progress::new("recovering");
        let engine = Engine::open(
            data,
            Arc::new(SystemClock),
            project.settings.engine.clone(),
            &mut |recovery| {
                progress.recovery(recovery);
                if let Some(listeners) = &listeners {
                    listeners.progress(recovery);
                }
            },
        )?;
        progress.finish();
        let dir = project.dir.clone();
        let instance = Self { engine, dir, sources: None, sinks: None, listeners, stop: None };
        if let Err(failure) = apply(&instance.engine, &project.files) {
            // The first mistake is what the person must see, whatever closing says.
            let _ = instance.engine.shutdown();
            return Err(failure);
        }
        Ok(instance)
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Serves requests, and watches for the signals that ask to stop.
    pub(crate) async fn serve(&mut self) -> Result<(), Failure> {
        self.stop = Some(watch_signals()?);
        if let Some(listeners) = &self.listeners {
            listeners.ready(&self.engine);
        }
        Ok(())
    }

    /// Starts to read the sources, and to send what sinks send.
    pub(crate) fn start_sources(&mut self) -> Result<(), Failure> {
        self.sources = Some(Sources::start(&self.engine, &self.dir)?);
        self.sinks = Some(Sinks::start(&self.engine)?);
        Ok(())
    }

    /// Ends when somebody asked to stop.
    pub(crate) async fn asked_to_stop(&mut self) {
        match &mut self.stop {
            Some(stop) => {
                // The sender lives as long as the process.
                let _ = stop.wait_for(|asked| *asked).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Ends when every source that ends has been read, every view is built and all is sent, or somebody asked.
    pub(crate) async fn drained_or_asked(&mut self) -> Result<Ending, Failure> {
        loop {
            let sources = self.sources.as_ref();
            if sources.is_none_or(Sources::is_drained)
                && self.healthy()?.building.is_empty()
                && self.sinks.as_ref().is_none_or(Sinks::is_drained)
            {
                if let Some(sources) = sources {
                    sources.outcome()?;
                }
                let stopped = self.healthy()?.stopped;
                if let Some(name) = stopped.first() {
                    return Err(Failure::new(format!(
                        "view \"{name}\" has stopped\nhint: SELECT name, error FROM yeoul.views WHERE status = 'failed' says why"
                    )));
                }
                return Ok(Ending::Drained);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.asked_to_stop() => return Ok(Ending::Asked),
            }
        }
    }

    /// Ends when somebody asked to stop, or the engine cannot go on.
    pub(crate) async fn until_asked(&mut self) -> Result<(), Failure> {
        loop {
            self.healthy()?;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = self.asked_to_stop() => return Ok(()),
            }
        }
    }

    /// The engine's health, unless it is poisoned.
    fn healthy(&self) -> Result<Health, Failure> {
        let health = self.engine.health();
        match &health.poisoned {
            Some(why) => Err(Failure::new(format!(
                "the engine stopped taking rows: {why}\nhint: free space or mend the disk, or report the defect, then start again"
            ))),
            None => Ok(health),
        }
    }

    /// Ends everything in order.
    pub(crate) fn shutdown(mut self, runtime: &Runtime) -> Result<(), Failure> {
        if let Some(sources) = self.sources.take() {
            sources.stop();
        }
        if let Some(listeners) = self.listeners.take() {
            runtime.block_on(listeners.stop());
        }
        if let Some(sinks) = self.sinks.take() {
            sinks.stop();
        }
        self.engine.shutdown()?;
        Ok(())
    }
}

/// Applies SQL files to an engine. What exists identically stays as it is.
pub(crate) fn apply(engine: &Engine, files: &[(String, String)]) -> Result<(), Failure> {
    engine.apply_project(files)?;
    Ok(())
}

/// Whether the sources that the project names are there.
pub(crate) fn check_sources(engine: &Engine, dir: &Path) -> Result<(), Failure> {
    Sources::check(engine, dir)?;
    Sinks::check(engine)?;
    Ok(())
}

/// Becomes true at the first SIGTERM or SIGINT. The second one ends the process at once.
fn watch_signals() -> Result<watch::Receiver<bool>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            };
            if *sender.borrow() {
                std::process::exit(code);
            }
            tracing::info!("stopping; once more to stop at once");
            let _ = sender.send(true);
        }
    });
    Ok(receiver)
}
