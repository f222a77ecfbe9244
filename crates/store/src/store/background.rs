//! The threads that keep house: one for checkpoints, one for merges of parts, one for merges of large
//! memory batches, which also drops released rows from them.

use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::Shared;
use crate::StoreError;

/// What is asked of the threads.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) flush: bool,
    pub(super) merge: bool,
    pub(super) tier: bool,
    stop: bool,
}

/// Where the threads wait for wishes.
#[derive(Debug, Default)]
pub(super) struct Signal {
    wishes: Mutex<Wishes>,
    bell: Condvar,
}

impl Signal {
    pub(super) fn wish(&self, set: impl FnOnce(&mut Wishes)) {
        set(&mut self.wishes.lock());
        self.bell.notify_all();
    }

    /// Waits for the wish that `take` looks for and takes it; `false` when it is time to stop.
    fn wait(&self, take: impl Fn(&mut Wishes) -> bool) -> bool {
        let mut wishes = self.wishes.lock();
        loop {
            if wishes.stop {
                return false;
            }
            if take(&mut wishes) {
                return true;
            }
            self.bell.wait(&mut wishes);
        }
    }

    fn stopping(&self) -> bool {
        self.wishes.lock().stop
    }
}

/// What a thread does until it is stopped.
type Work = fn(&Shared);

/// The running threads.
pub(super) struct Background {
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let mut background = Self { threads: Vec::new() };
        let works: [(&str, Work); 3] =
            [("yeoul-flush", flush), ("yeoul-merge", merge), ("yeoul-tier", tier)];
        for (name, work) in works {
            let own = Arc::clone(shared);
            let thread = std::thread::Builder::new().name(name.to_owned());
            match thread.spawn(move || work(&own)) {
                Ok(handle) => background.threads.push(handle),
                Err(source) => {
                    background.stop(shared);
                    return Err(StoreError::io("cannot start thread", name, source));
                }
            }
        }
        Ok(background)
    }

    /// Ends the threads; what they are at is finished first.
    pub(super) fn stop(self, shared: &Shared) {
        shared.signal.wish(|wishes| wishes.stop = true);
        for thread in self.threads {
            // A panic there was printed by the thread itself.
            let _ = thread.join();
        }
    }
}

fn flush(shared: &Shared) {
    while shared.signal.wait(|wishes| std::mem::take(&mut wishes.flush)) {
        // The error has poisoned the store, which is how everybody hears of it.
        if shared.write_frozen().is_err() {
            return;
        }
    }
}

fn merge(shared: &Shared) {
    while shared.signal.wait(|wishes| std::mem::take(&mut wishes.merge)) {
        loop {
            match shared.merge_once() {
                Ok(true) if !shared.signal.stopping() => {}
                Ok(_) => break,
                Err(_) => return,
            }
        }
    }
}

fn tier(shared: &Shared) {
    while shared.signal.wait(|wishes| std::mem::take(&mut wishes.tier)) {
        loop {
            match shared.thin().and_then(|()| shared.merge_large()) {
                Ok(true) if !shared.signal.stopping() => {}
                Ok(_) => break,
                Err(error) => {
                    shared.poison(&error);
                    return;
                }
            }
        }
    }
}
