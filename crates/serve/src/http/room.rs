//! Room in memory for the bodies of requests: as they are sent, and what they are uncompressed to.
//!
//! ```text
//!   head ▶ `body`: its length ▶ read ▶ `unpacking`: two deliveries of text ▶ decode ▶ shrunk to what waits ▶ answer
//! ```
//!
//! What must hold: nothing is held while it waits for room of its own kind, so that somebody can always go on.
//!
//! Limits: `HttpOptions::bodies_bytes_max` for each of the two.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::HttpOptions;
use super::error::ApiError;

/// What is left of the room, in KiB.
pub(crate) struct Room {
    bodies: Arc<Semaphore>,
    unpacked: Arc<Semaphore>,
    most_kib: u32,
    wait: Duration,
    body_bytes_max: usize,
}

/// A request's share, until it is dropped.
pub(crate) type Share = OwnedSemaphorePermit;

/// Bytes as whole KiB, at least one.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10).max(1)).unwrap_or(u32::MAX)
}

impl Room {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        let most_kib = kib(options.bodies_bytes_max);
        let all = || Arc::new(Semaphore::new(usize::try_from(most_kib).unwrap_or(usize::MAX)));
        Self {
            bodies: all(),
            unpacked: all(),
            most_kib,
            wait: options.queue_timeout,
            body_bytes_max: options.body_bytes_max,
        }
    }

    /// For a body as it is sent. Without a length the longest is reckoned with.
    pub(super) async fn body(&self, length: Option<usize>) -> Result<Share, ApiError> {
        let bytes = length.unwrap_or(usize::MAX).min(self.body_bytes_max);
        self.take(&self.bodies, bytes).await
    }

    /// For what a compressed body is uncompressed to.
    pub(super) async fn unpacking(&self, bytes: usize) -> Result<Share, ApiError> {
        self.take(&self.unpacked, bytes).await
    }

    async fn take(&self, of: &Arc<Semaphore>, bytes: usize) -> Result<Share, ApiError> {
        let wish = Arc::clone(of).acquire_many_owned(kib(bytes).min(self.most_kib));
        match tokio::time::timeout(self.wait, wish).await {
            Ok(Ok(share)) => Ok(share),
            _ => {
                let after = Duration::from_secs(1);
                Err(ApiError::busy("too many bytes of requests are in flight", after))
            }
        }
    }
}

/// Gives back what is not needed for `bytes`.
pub(super) fn shrink(share: &mut Share, bytes: usize) {
    let kept = usize::try_from(kib(bytes)).unwrap_or(usize::MAX);
    let given_back = share.split(share.num_permits().saturating_sub(kept));
    drop(given_back);
}
