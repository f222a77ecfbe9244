//! What the store has done and holds, for system tables and metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use yeoul_batch::{CommitId, TreeId};

use super::{Shared, Store};
use crate::log::Log;
use crate::tree::TreeSnapshot;
use crate::{PartMeta, RuleKind};

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    checkpoints: AtomicU64,
    merges: AtomicU64,
    tier_merges: AtomicU64,
    part_bytes_written: AtomicU64,
    part_rows_written: AtomicU64,
    blocked_us: AtomicU64,
}

impl Counters {
    pub(super) fn checkpoint(&self) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn merge(&self) {
        self.merges.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tier_merge(&self) {
        self.tier_merges.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, part: &PartMeta) {
        self.part_bytes_written.fetch_add(part.bytes, Ordering::Relaxed);
        self.part_rows_written.fetch_add(part.rows, Ordering::Relaxed);
    }

    pub(super) fn blocked(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.blocked_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// What a store holds and has done since it was opened.
#[derive(Clone, Debug)]
pub struct StoreStats {
    /// The newest commit that readers see.
    pub commit: CommitId,
    /// The commit of the manifest: a restart replays the log from here.
    pub checkpoint_commit: CommitId,
    /// Bytes of rows in memory that no checkpoint has begun to write.
    pub live_bytes: usize,
    /// Bytes of rows in memory that a checkpoint is writing.
    pub frozen_bytes: usize,
    /// The length of the log.
    pub log_bytes: u64,
    /// How many files the log has.
    pub log_segments: usize,
    /// Checkpoints made.
    pub checkpoints: u64,
    /// Merges of parts made.
    pub merges: u64,
    /// Merges of memory batches made in the background.
    pub tier_merges: u64,
    /// Bytes written to parts, by checkpoints and merges.
    pub part_bytes_written: u64,
    /// Rows written to parts, by checkpoints and merges.
    pub part_rows_written: u64,
    /// Microseconds that commits waited for memory.
    pub blocked_us: u64,
    /// Why the store does not write any more.
    pub poisoned: Option<String>,
}

/// What a tree holds.
#[derive(Clone, Debug)]
pub struct TreeStats {
    /// Its number.
    pub id: TreeId,
    /// Its name.
    pub name: String,
    /// Its rule.
    pub rule: RuleKind,
    /// Rows in memory.
    pub memory_rows: u64,
    /// Bytes in memory.
    pub memory_bytes: usize,
    /// Batches in memory.
    pub memory_batches: usize,
    /// Files.
    pub parts: usize,
    /// Rows in files.
    pub part_rows: u64,
    /// Bytes in files.
    pub part_bytes: u64,
}

impl TreeStats {
    fn of(tree: &TreeSnapshot) -> Self {
        let part_rows: u64 = tree.parts().iter().map(|part| part.meta().rows).sum();
        Self {
            id: tree.spec().id,
            name: tree.spec().name.clone(),
            rule: tree.spec().rule.kind(),
            memory_rows: tree.rows() - part_rows,
            memory_bytes: tree.memory_bytes(),
            memory_batches: tree.memory().len(),
            parts: tree.parts().len(),
            part_rows,
            part_bytes: tree.part_bytes(),
        }
    }
}

impl Store {
    /// What the store holds and has done. Waits while a manifest is written.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let shared: &Shared = &self.shared;
        let checkpoint_commit = shared.durable.lock().manifest.commit;
        let (live_bytes, frozen_bytes) = {
            let writer = shared.writer.lock();
            (writer.live_bytes, writer.frozen_bytes)
        };
        let (log_bytes, log_segments) =
            shared.log.lock().as_ref().map_or((0, 0), |log: &Log| (log.bytes(), log.segments()));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            commit: shared.current.load().commit(),
            checkpoint_commit,
            live_bytes,
            frozen_bytes,
            log_bytes,
            log_segments,
            checkpoints: count(&shared.counters.checkpoints),
            merges: count(&shared.counters.merges),
            tier_merges: count(&shared.counters.tier_merges),
            part_bytes_written: count(&shared.counters.part_bytes_written),
            part_rows_written: count(&shared.counters.part_rows_written),
            blocked_us: count(&shared.counters.blocked_us),
            poisoned: shared.poison.get().cloned(),
        }
    }

    /// What every tree holds.
    #[must_use]
    pub fn tree_stats(&self) -> Vec<TreeStats> {
        self.snapshot().trees().iter().map(|tree| TreeStats::of(tree)).collect()
    }
}
