//! Room in memory for requests: as they are sent, and what their batches are uncompressed to.
//!
//! ```text
//!   size ▶ `requests`: its length ▶ read ▶ `unpacked`: a guess, else the most ▶ decode ▶ queue ▶ both are free
//! ```
//!
//! What must hold: nothing is held while it waits for room of its own kind, so that somebody can always go on. A
//! connection that waits for room does not read on, so its client waits too.
//!
//! Limits: `KafkaOptions::requests_bytes_max` for each of the two.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room of one kind, in KiB.
#[derive(Debug)]
pub(super) struct Room {
    left: Arc<Semaphore>,
    most_kib: u32,
}

/// A share of the room, until it is dropped.
pub(super) type Share = OwnedSemaphorePermit;

impl Room {
    pub(super) fn new(bytes_max: usize) -> Self {
        let most_kib = kib(bytes_max);
        let left = Arc::new(Semaphore::new(usize::try_from(most_kib).unwrap_or(usize::MAX)));
        Self { left, most_kib }
    }

    /// Waits for room; `None` when there will never be any.
    pub(super) async fn take(&self, bytes: usize) -> Option<Share> {
        let share = kib(bytes).min(self.most_kib);
        Arc::clone(&self.left).acquire_many_owned(share).await.ok()
    }
}

/// Bytes as whole KiB, at least one.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10).max(1)).unwrap_or(u32::MAX)
}
