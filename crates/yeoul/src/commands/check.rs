//! `yeoul check`: what is wrong with a project, without starting it.
//!
//! The SQL is applied to an engine over a temporary folder that nobody else sees: what is accepted
//! there is accepted by `run`.

use std::path::Path;
use std::sync::Arc;

use yeoul_engine::{Engine, EngineOptions, SyncPolicy};

use crate::clock::SystemClock;
use crate::config::engine_options;
use crate::failure::{Exit, Failure};
use crate::instance;
use crate::project::Project;
use crate::say::say;

/// Runs the command.
pub(crate) fn run(dir: &Path) -> Result<Exit, Failure> {
    let project = Project::read(dir)?;
    let folder = tempfile::tempdir()?;
    let options = EngineOptions { sync: SyncPolicy::Os, ..engine_options() };
    let engine = Engine::open(folder.path(), Arc::new(SystemClock), options, &mut |_| {})?;
    let outcome = instance::apply(&engine, &project.files)
        .and_then(|()| instance::check_sources(&engine, &project.dir));
    let (idle, unreleased) = (engine.idle_definitions(), engine.unreleased_state());
    engine.shutdown()?;
    outcome?;
    for note in idle {
        say!("note: {note}");
    }
    for [what, step, end] in unreleased {
        say!("note: {what}\n      {step}\n      {end}");
    }
    let count = project.files.len();
    say!(
        "{}: {count} file{} checked, nothing wrong",
        dir.display(),
        if count == 1 { "" } else { "s" }
    );
    Ok(Exit::Success)
}
