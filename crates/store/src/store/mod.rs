//! The store: trees, log and manifest as one thing that commits, recovers and keeps house.
//!
//! ```text
//!   append_log ──▶ publish ──▶ snapshot n              readers: load, never wait
//!                     └─ memory full, log long ──▶ checkpoint ──▶ parts, manifest, log cut
//!                                                     └──▶ merge ──▶ fewer parts, manifest
//! ```
//!
//! What must hold
//! - a snapshot shows all trees at one commit, and every row once: parts come in and the memory they
//!   were written from goes out in one swap;
//! - the manifest is replaced before any file that it no longer names is removed;
//! - locks are taken in the order `checkpointing`/`merging`, `durable`, `writer`, and no file is written
//!   under `writer`;
//! - after a failed write nothing is written any more.
//!
//! Limits: `memory_bytes_max` for live and frozen rows together, then `publish` waits; beside it a
//! checkpoint needs about 24 bytes per row for sorting and one row group, a merge one chunk per
//! part.

mod background;
mod checkpoint;
mod merging;
mod open;
mod publish;
mod release;
mod stats;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use parking_lot::{Condvar, Mutex};
use yeoul_batch::{CommitId, TreeId};

use self::background::{Background, Signal};
use self::stats::Counters;
use crate::log::Log;
use crate::manifest::SeenRunMeta;
use crate::tree::{Part, PartCompression, Snapshot};
use crate::{LogOptions, LogRecord, Manifest, Media, StoreError, TreeSpec};

pub use open::Opening;
pub use stats::{StoreStats, TreeStats};

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How the log is kept.
    pub log: LogOptions,
    /// Bytes of rows in memory, those being written to parts included. At half of it a checkpoint
    /// begins, at all of it `publish` waits.
    pub memory_bytes_max: usize,
    /// A checkpoint begins when the log has grown by this much since the last one: it bounds the
    /// time that a restart takes.
    pub log_bytes_max: u64,
    /// Parts of `keep` trees are merged up to this size; those of keyed trees up to four times it,
    /// because every lookup visits every part.
    pub part_bytes_max: u64,
    /// How pages are compressed.
    pub compression: PartCompression,
    /// Nothing is written: the log is replayed into memory, however much there is of it.
    pub read_only: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            log: LogOptions::default(),
            memory_bytes_max: 256 << 20,
            log_bytes_max: 512 << 20,
            part_bytes_max: 256 << 20,
            compression: PartCompression::Zstd,
            read_only: false,
        }
    }
}

/// The engine's state as of a commit; the store keeps it beside the trees of that commit.
pub trait Meta: Send + Sync {
    /// Its bytes for the manifest. Called by a checkpoint, in the background.
    fn encode(&self) -> Vec<u8>;

    /// A checkpoint begins with the commit of this state: what has files of its own is to be held
    /// as it is now. Called on the committing thread, by the `publish` of that commit or by
    /// [`Store::checkpoint`], before the next commit.
    fn frozen(&self) {}

    /// Makes durable what of this state has files of its own, and names them: the runs of the
    /// duplicate index as of this commit. Called in the background before the manifest is replaced;
    /// `carried` are the runs of the last manifest, `number` gives unused file numbers. It must not
    /// wait for the committing thread, which may be waiting for this checkpoint.
    fn seen_runs(
        &self,
        carried: &[SeenRunMeta],
        number: &mut dyn FnMut() -> u64,
    ) -> Result<Vec<SeenRunMeta>, StoreError> {
        let _ = number;
        Ok(carried.to_vec())
    }

    /// The manifest that holds this state is durable: files that only the one before it named may
    /// be removed.
    fn checkpointed(&self) {}
}

/// What one commit changes.
pub struct Publication {
    /// Its number, one more than the last.
    pub commit: CommitId,
    /// New rows, by tree. Columns are the tree's.
    pub batches: Vec<(TreeId, RecordBatch)>,
    /// The engine's state after it.
    pub meta: Arc<dyn Meta>,
}

/// Durable trees behind one log.
pub struct Store {
    shared: Arc<Shared>,
    background: Mutex<Option<Background>>,
}

/// What the threads of a store share.
pub(crate) struct Shared {
    media: Arc<dyn Media>,
    options: StoreOptions,
    current: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    /// Rung when memory was freed or the store was poisoned.
    room: Condvar,
    durable: Mutex<Durable>,
    /// `None` when nothing may be written.
    log: Mutex<Option<Log>>,
    /// The length of the log after the last checkpoint.
    log_bytes_kept: AtomicU64,
    checkpointing: Mutex<()>,
    merging: Mutex<()>,
    flushing: AtomicBool,
    next_tree: AtomicU32,
    next_part: AtomicU64,
    poison: OnceLock<String>,
    counters: Counters,
    signal: Signal,
}

/// What only the holder of the lock may change, besides the current snapshot.
#[derive(Debug, Default)]
struct Writer {
    /// Bytes of rows that no checkpoint has begun to write.
    live_bytes: usize,
    /// Bytes of rows that a checkpoint is writing.
    frozen_bytes: usize,
    /// The commit up to which memory is frozen; batches do not grow across it.
    frozen_through: CommitId,
    /// What a checkpoint is to write, until it takes it.
    frozen: Option<Frozen>,
    /// Whether a checkpoint was begun and is not done.
    in_checkpoint: bool,
    /// Trees that are filled from the past while new rows arrive: nothing of them covers a
    /// prefix of history.
    building: HashSet<TreeId>,
    /// Trees with released rows that may still be in memory.
    released: BTreeSet<TreeId>,
    started: bool,
}

/// All trees at the commit that a checkpoint writes.
#[derive(Debug)]
struct Frozen {
    snapshot: Arc<Snapshot>,
    building: HashSet<TreeId>,
}

/// The manifest as it is on disk, and the parts that it names.
struct Durable {
    manifest: Manifest,
    parts: BTreeMap<TreeId, Vec<Arc<Part>>>,
}

impl Store {
    /// The newest snapshot. Never waits.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.current.load_full()
    }

    /// Appends a commit to the log; when it returns, the commit is durable under the policy.
    ///
    /// # Errors
    /// The log's; any but a record that is too long poisons the store.
    pub fn append_log(&self, record: &LogRecord) -> Result<(), StoreError> {
        record.check_len()?;
        self.shared.with_log(|log| log.append(record))
    }

    /// Makes the whole log durable.
    pub fn sync_log(&self) -> Result<(), StoreError> {
        self.shared.with_log(Log::sync)
    }

    /// Under [`crate::SyncPolicy::Interval`], makes the log durable when it is time, and says
    /// whether it was.
    pub fn sync_log_if_due(&self, now_us: i64) -> Result<bool, StoreError> {
        self.shared.with_log(|log| log.sync_if_due(now_us))
    }

    /// The last commit that survives a crash of the machine.
    #[must_use]
    pub fn durable_commit(&self) -> CommitId {
        let log = self.shared.log.lock();
        log.as_ref().map_or_else(|| self.snapshot().commit(), Log::durable_commit)
    }

    /// Makes a commit visible: one new snapshot in which every tree carries it. Waits while memory
    /// is full.
    ///
    /// # Panics
    /// When the commit is not the next one: a caller's mistake.
    pub fn publish(&self, publication: Publication) -> Result<(), StoreError> {
        self.shared.publish(publication)
    }

    /// Writes everything up to the newest commit to parts and shortens the log. Returns when that
    /// is durable; gives the commit. Call it where you commit, so that no commit is half made.
    pub fn checkpoint(&self) -> Result<CommitId, StoreError> {
        self.shared.checkpoint()
    }

    /// Begins a checkpoint of the newest commit, to be written in the background, unless one is under way.
    /// Call it where you commit; [`StoreStats::checkpoint_commit`] says when it is durable.
    pub fn begin_checkpoint(&self) -> Result<(), StoreError> {
        self.shared.begin_checkpoint()
    }

    /// Merges parts until the policy finds nothing to merge; gives the number of merges.
    pub fn merge_parts(&self) -> Result<usize, StoreError> {
        let mut merges = 0;
        while self.shared.merge_once()? {
            merges += 1;
        }
        Ok(merges)
    }

    /// The number for the next tree.
    #[must_use]
    pub fn next_tree_id(&self) -> TreeId {
        TreeId(self.shared.next_tree.load(Ordering::Acquire))
    }

    /// Adds an empty tree. It is durable with the next checkpoint; until then the log must hold
    /// what makes the engine create it again.
    pub fn create_tree(&self, spec: TreeSpec) -> Result<(), StoreError> {
        self.shared.create_tree(spec)
    }

    /// Changes the definition of a tree: columns that come at the end or before those of its rule, go, or have
    /// another name or a wider type, as `yeoul_batch::WAS_KEY` says, and the retention. It is durable with
    /// the next checkpoint; until then the log must hold what makes the engine do it again.
    pub fn alter_tree(&self, spec: TreeSpec) -> Result<(), StoreError> {
        self.shared.alter_tree(spec)
    }

    /// Removes a tree; its files go when the checkpoint after it is durable and no snapshot holds
    /// them.
    pub fn drop_tree(&self, id: TreeId) -> Result<(), StoreError> {
        self.shared.drop_tree(id)
    }

    /// Releases the rows of a tree whose partition ends by `before_us`: nobody reads them any more, and nobody may
    /// depend on whether they are still there. Files of such rows alone go from the snapshot at once and from the
    /// disk with the next checkpoint; rows in memory go in the background. Not stored: say it again after a
    /// restart.
    pub fn release(&self, id: TreeId, before_us: i64) -> Result<(), StoreError> {
        self.shared.release(id, before_us)
    }

    /// Says that nobody needs the rows of a `keep` tree any more whose key begins with an `Int64` below `number`; nor
    /// any that commits up to `through` have brought. Not stored: say it again after a restart.
    ///
    /// # Errors
    /// When there is no such tree, or its key begins otherwise.
    pub fn release_below(
        &self,
        id: TreeId,
        number: i64,
        through: CommitId,
    ) -> Result<(), StoreError> {
        self.shared.release_below(id, number, through)
    }

    /// Says that a tree is being filled with rows of the past while new ones arrive. Until it is
    /// told otherwise, merges keep zero states and tombstones, because what cancels them
    /// may still come. Not stored: say it again after a restart.
    pub fn set_building(&self, id: TreeId, building: bool) {
        let mut writer = self.shared.writer.lock();
        if building {
            writer.building.insert(id);
        } else {
            writer.building.remove(&id);
        }
    }

    /// Stops all writing, as a failed write does: for a caller that holds something in memory which is
    /// not on its way to the disk.
    pub fn poison(&self, reason: &str) {
        self.shared.stop_writing(reason);
    }

    /// Why the store does not write any more.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.shared.poison.get().map(String::as_str)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(background) = self.background.lock().take() {
            background.stop(&self.shared);
        }
    }
}

impl Shared {
    fn with_log<T>(
        &self,
        act: impl FnOnce(&mut Log) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.check_writable()?;
        let mut log = self.log.lock();
        let Some(log) = log.as_mut() else { return Err(read_only()) };
        act(log).inspect_err(|error| self.poison(error))
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            Some(reason) => Err(StoreError::Poisoned(reason.clone())),
            None => Ok(()),
        }
    }

    /// Nothing is written after this; whoever waits is told.
    fn poison(&self, error: &StoreError) {
        // An error of that kind tells of the first one, which did this.
        if !matches!(error, StoreError::Poisoned(_)) {
            self.stop_writing(&error.to_string());
        }
    }

    fn stop_writing(&self, reason: &str) {
        if self.poison.set(reason.to_owned()).is_ok() {
            tracing::error!(error = reason, "the store stops writing");
        }
        let _writer = self.writer.lock();
        self.room.notify_all();
    }

    fn number(&self) -> u64 {
        self.next_part.fetch_add(1, Ordering::AcqRel)
    }
}

fn read_only() -> StoreError {
    StoreError::Definition("the store is open for reading only".to_owned())
}
