//! The duplicate indexes of all streams, and how a checkpoint takes them along.
//!
//! What must hold: the runs that a manifest names hold no key of a commit that is not durable in the
//! log. So a checkpoint freezes the indexes between two commits ([`Duplicates::commit_guard`]) and makes
//! the log durable before it goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::unbounded;
use parking_lot::{Mutex, MutexGuard};
use yeoul_store::{
    Media, Seen, SeenFolder, SeenOptions, SeenRunMeta, Spawn, Store, StoreError, Urgency,
};

use crate::catalog::RelationId;
use crate::error::{EngineError, ErrorKind};

/// How long a client's key for a whole delivery is remembered.
const REQUESTS_WITHIN_US: i64 = 3_600_000_000;
/// The number of the index of those keys: no relation gets there.
const REQUESTS: RelationId = RelationId(u32::MAX);
/// How often a checkpoint looks whether its runs are written.
const POLL: Duration = Duration::from_millis(5);

/// A shared index.
pub(crate) type SharedSeen = Arc<Mutex<Seen>>;

/// See the module.
pub(crate) struct Duplicates {
    folder: SeenFolder,
    memory_bytes: usize,
    indexes: Mutex<BTreeMap<RelationId, SharedSeen>>,
    /// Held by the commit thread from the first probe of a commit until the log has it.
    commit: Mutex<()>,
    /// Those that the running checkpoint has begun with: others may be opened before it ends.
    in_checkpoint: Mutex<Vec<SharedSeen>>,
}

impl Duplicates {
    /// The indexes whose runs the manifest names.
    pub(crate) fn open(
        media: Arc<dyn Media>,
        named: &[SeenRunMeta],
        memory_bytes: usize,
    ) -> Result<Self, EngineError> {
        let folder = SeenFolder::open(media, spawner()?, named)?;
        Ok(Self {
            folder,
            memory_bytes,
            indexes: Mutex::default(),
            commit: Mutex::default(),
            in_checkpoint: Mutex::default(),
        })
    }

    /// The index of a stream, opened when it is asked for first.
    pub(crate) fn index(&self, id: RelationId, within_us: i64) -> Result<SharedSeen, EngineError> {
        let mut indexes = self.indexes.lock();
        if let Some(index) = indexes.get(&id) {
            return Ok(Arc::clone(index));
        }
        let memory_bytes = self.memory_bytes;
        let options = SeenOptions { memory_bytes, ..SeenOptions::new(id.0, within_us) };
        let index = Arc::new(Mutex::new(self.folder.index(options)?));
        indexes.insert(id, Arc::clone(&index));
        Ok(index)
    }

    /// The index of clients' keys for whole deliveries.
    pub(crate) fn requests(&self) -> Result<SharedSeen, EngineError> {
        self.index(REQUESTS, REQUESTS_WITHIN_US)
    }

    /// Forgets the index of a dropped stream. Its files go at the next start.
    pub(crate) fn forget(&self, id: RelationId) {
        self.indexes.lock().remove(&id);
    }

    /// See [`Duplicates`]: held while a commit is on its way into the log.
    pub(crate) fn commit_guard(&self) -> MutexGuard<'_, ()> {
        self.commit.lock()
    }

    fn all(&self) -> Vec<SharedSeen> {
        self.indexes.lock().values().cloned().collect()
    }

    /// Makes everything accepted so far durable; the runs for the manifest.
    pub(crate) fn checkpoint_runs(&self, store: &Store) -> Result<Vec<SeenRunMeta>, StoreError> {
        let indexes = {
            let _between_commits = self.commit.lock();
            let indexes = self.all();
            for index in &indexes {
                index.lock().begin_checkpoint()?;
            }
            self.in_checkpoint.lock().clone_from(&indexes);
            indexes
        };
        store.sync_log()?;
        let mut runs = Vec::new();
        for index in &indexes {
            loop {
                // The lock is not held while waiting: the commit thread needs it.
                if let Some(written) = index.lock().checkpoint_runs()? {
                    runs.extend(written);
                    break;
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(runs)
    }

    /// The manifest that names the runs is durable.
    pub(crate) fn checkpointed(&self) {
        for index in std::mem::take(&mut *self.in_checkpoint.lock()) {
            index.lock().end_checkpoint();
        }
    }
}

/// Two threads, one for writing runs and one for merging them, which takes long; they end with the
/// last index.
fn spawner() -> Result<Spawn, EngineError> {
    let worker = |name: &str| {
        let (sender, jobs) = unbounded::<Box<dyn FnOnce() + Send>>();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || jobs.iter().for_each(|job| job()))
            .map(|_| sender)
            .map_err(|error| {
                EngineError::new(ErrorKind::Unavailable, format!("cannot start a thread: {error}"))
            })
    };
    let (soon, later) = (worker("seen-write")?, worker("seen-merge")?);
    Ok(Arc::new(move |urgency, job| {
        // The thread lives as long as this sender; nothing is lost while both do.
        let _ = match urgency {
            Urgency::Soon => soon.send(job),
            Urgency::Later => later.send(job),
        };
    }))
}
