//! Which connection a cancel request is about.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use yeoul_engine::CancelHandle;

/// The running connections by process id and secret.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    connections: Mutex<HashMap<(i32, [u8; 4]), CancelHandle>>,
    last: AtomicI32,
    /// Keyed by the system's randomness, so that secrets cannot be guessed.
    secrets: RandomState,
}

impl Registry {
    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<(i32, [u8; 4]), CancelHandle>> {
        // Nothing can fail while it is locked.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection for as long as the place lives.
    pub(crate) fn enter(self: &Arc<Self>, handle: CancelHandle) -> Registered {
        let pid = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
        let [a, b, c, d, ..] = self.secrets.hash_one(pid).to_be_bytes();
        let secret = [a, b, c, d];
        self.connections().insert((pid, secret), handle);
        Registered { registry: Arc::clone(self), pid, secret }
    }

    /// Cancels what that connection runs, if there is one.
    pub(crate) fn cancel(&self, pid: i32, secret: &[u8]) {
        let Ok(secret) = <[u8; 4]>::try_from(secret) else { return };
        let handle = self.connections().get(&(pid, secret)).cloned();
        if let Some(handle) = handle {
            handle.cancel();
        }
    }
}

/// A connection that can be cancelled.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    pub(crate) pid: i32,
    pub(crate) secret: [u8; 4],
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.connections().remove(&(self.pid, self.secret));
    }
}
