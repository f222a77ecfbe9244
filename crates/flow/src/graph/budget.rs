//! One budget of memory for what all operators know of their trees.
//!
//! ```text
//!   budget ─┬─ share: a side of a join       there is room: a share may grow into it
//!           ├─ share: a tracked aggregate    there is none: each may hold an equal part
//!           └─ share: …
//! ```
//!
//! What must hold: what a share holds is told to the budget, and taken back when the share is dropped. A share
//! that is not asked any more keeps what it has, so together they may hold up to twice the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget that operators share.
#[derive(Clone, Debug)]
pub struct CacheBudget(Arc<Held>);

#[derive(Debug)]
struct Held {
    bytes_max: usize,
    bytes: AtomicUsize,
    shares: AtomicUsize,
}

impl CacheBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let (bytes, shares) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Held { bytes_max, bytes, shares }))
    }

    /// How much is held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// A share for one more.
    pub(crate) fn share(&self) -> Share {
        self.0.shares.fetch_add(1, Ordering::Relaxed);
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// What one holds.
#[derive(Debug)]
pub(crate) struct Share {
    budget: CacheBudget,
    bytes: usize,
}

impl Share {
    /// It holds `bytes` now.
    pub(crate) fn hold(&mut self, bytes: usize) {
        let held = &self.budget.0.bytes;
        if bytes >= self.bytes {
            held.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            held.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// How much it may hold: an equal part, and whatever is free.
    pub(crate) fn bytes_max(&self) -> usize {
        let Held { bytes_max, bytes, shares } = &*self.budget.0;
        let equal = bytes_max / shares.load(Ordering::Relaxed).max(1);
        let free = bytes_max.saturating_sub(bytes.load(Ordering::Relaxed));
        equal.max(if free > 0 { self.bytes.saturating_add(free) } else { 0 })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
        self.budget.0.shares.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_for_whoever_comes() {
        let budget = CacheBudget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert_eq!(one.bytes_max(), 100);
        one.hold(90);
        assert_eq!((one.bytes_max(), two.bytes_max()), (100, 50));
        two.hold(50);
        assert_eq!((one.bytes_max(), two.bytes_max()), (50, 50));
        one.hold(50);
        assert_eq!(budget.bytes(), 100);
        drop(one);
        assert_eq!((budget.bytes(), two.bytes_max()), (50, 100));
    }
}
