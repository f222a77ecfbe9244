//! `CREATE MATERIALIZED VIEW` answers when the view can be asked.

use std::sync::Arc;
use std::time::Duration;

use yeoul_sql::Name;

use super::Session;
use crate::commit::Build;
use crate::error::{EngineError, ErrorKind};
use crate::shared::Shared;

/// The setting under which a view is built while its creator goes on.
pub(super) const BACKGROUND_DDL: &str = "background_ddl";

/// How often a view that is being built is looked at: soon at first, since most are small.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

impl Session {
    /// From now on `CREATE MATERIALIZED VIEW` does not wait.
    pub(crate) fn in_background(&self) -> Result<(), EngineError> {
        self.settings.put(BACKGROUND_DDL, "on")
    }

    /// Waits until a new view has all rows that are stored. Cancelled, it goes on being built.
    pub(super) async fn built(&self, name: &Name) -> Result<(), EngineError> {
        let background = self.settings.get(BACKGROUND_DDL).unwrap_or_default();
        if ["on", "true", "yes", "1"].contains(&background.to_lowercase().as_str()) {
            return Ok(());
        }
        let mut cancelled = self.cancel.subscribe();
        // On a thread of the engine, where there are timers.
        let waiting = wait(Arc::clone(&self.shared), name.value.clone());
        let mut waiting = self.shared.handle.spawn(waiting);
        tokio::select! {
            outcome = &mut waiting => outcome.unwrap_or_else(|_| Err(EngineError::stopped())),
            _ = cancelled.changed() => {
                waiting.abort();
                let message = format!("view \"{}\" goes on being built", name.value);
                Err(EngineError::new(ErrorKind::Cancelled, message))
            }
        }
    }
}

async fn wait(shared: Arc<Shared>, name: String) -> Result<(), EngineError> {
    let mut pause = PAUSE_MIN;
    loop {
        // The world is let go of before the pause: it pins what could be freed.
        {
            let world = shared.world.load();
            let Some(view) = world.catalog.get(&name) else { return Ok(()) };
            match world.unready.get(&view.id) {
                None | Some(Build::Ready) => return Ok(()),
                Some(Build::Failed(_)) => return world.readable(view),
                Some(Build::Running(_) | Build::Waiting(_)) => {}
            }
        }
        // After a failed write nothing is built any more.
        shared.check_writable()?;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
