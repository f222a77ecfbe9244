//! The place of an engine that may still be opening: the listeners answer while the log is replayed.
//!
//! ```text
//!   EngineSlot::opening ─▶ listeners ─ progress ─ progress ─▶ ready(engine): requests are served
//!                              └ until then: /healthz 200, /readyz 503, the rest is told to come back
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use yeoul_engine::{Engine, EngineError, ErrorKind, Recovery};

/// See the module. Cloning gives another handle to the same place.
#[derive(Clone, Default)]
pub struct EngineSlot(Arc<Inner>);

#[derive(Default)]
struct Inner {
    engine: OnceLock<Engine>,
    commits: AtomicU64,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl EngineSlot {
    /// For an engine that is not there yet.
    #[must_use]
    pub fn opening() -> Self {
        Self::default()
    }

    /// How far its recovery is.
    pub fn progress(&self, recovery: Recovery) {
        self.0.commits.store(recovery.commits, Ordering::Relaxed);
        self.0.done_bytes.store(recovery.done_bytes, Ordering::Relaxed);
        self.0.total_bytes.store(recovery.total_bytes, Ordering::Relaxed);
    }

    /// From now on `engine` is served. The first one stays.
    pub fn ready(&self, engine: Engine) {
        let _ = self.0.engine.set(engine);
    }

    /// The engine; until it is there, an error that says how far it is.
    pub(crate) fn engine(&self) -> Result<&Engine, EngineError> {
        self.0.engine.get().ok_or_else(|| {
            let at = self.recovery();
            EngineError::new(ErrorKind::Unavailable, "the database system is starting up")
                .with_sqlstate("57P03")
                .with_detail(format!(
                    "{} commits, {} of {} bytes of the log are replayed",
                    at.commits, at.done_bytes, at.total_bytes
                ))
                .with_hint("try again; GET /readyz says when it is ready")
        })
    }

    /// How far the recovery is, or was.
    pub(crate) fn recovery(&self) -> Recovery {
        Recovery {
            commits: self.0.commits.load(Ordering::Relaxed),
            done_bytes: self.0.done_bytes.load(Ordering::Relaxed),
            total_bytes: self.0.total_bytes.load(Ordering::Relaxed),
        }
    }
}

impl From<Engine> for EngineSlot {
    fn from(engine: Engine) -> Self {
        let slot = Self::opening();
        slot.ready(engine);
        slot
    }
}
