//! Opening a store: manifest, trees, log, house-keeping, in this order.
//!
//! ```text
//!   Store::open ─▶ opening.meta() ─▶ attach_tree, each ─▶ opening.replay(), publish, each ─▶ start
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use yeoul_batch::CommitId;

use super::background::{Background, Signal};
use super::publish::check_spec;
use super::stats::Counters;
use super::{Durable, Shared, Store, StoreOptions, Writer};
use crate::log::{Log, LogProgress, LogReplay, TornTail};
use crate::manifest::SeenRunMeta;
use crate::tree::{PARTS_DIR, Part, Snapshot, TreeSnapshot};
use crate::{LogRecord, Manifest, Media, StoreError, TreeManifest, TreeSpec};

/// What was found when a store was opened.
pub struct Opening {
    commit: CommitId,
    meta: Bytes,
    trees: Vec<TreeManifest>,
    seen_runs: Vec<SeenRunMeta>,
    torn: Option<TornTail>,
    replay: LogReplay,
}

impl Opening {
    /// The commit of the manifest; 0 for a new store.
    #[must_use]
    pub fn commit(&self) -> CommitId {
        self.commit
    }

    /// The engine's state as of [`Opening::commit`], as it encoded it; empty for a new store.
    #[must_use]
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// The trees of the manifest, to be attached.
    #[must_use]
    pub fn trees(&self) -> &[TreeManifest] {
        &self.trees
    }

    /// The runs of the duplicate index as of [`Opening::commit`].
    #[must_use]
    pub fn seen_runs(&self) -> &[SeenRunMeta] {
        &self.seen_runs
    }

    /// The commit that was being written when the machine stopped, and was not acknowledged.
    #[must_use]
    pub fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// The commits behind the manifest, one at a time. Publish each without logging it.
    pub fn replay(&mut self) -> impl Iterator<Item = Result<LogRecord, StoreError>> + '_ {
        &mut self.replay
    }

    /// How far the replay is.
    #[must_use]
    pub fn progress(&self) -> LogProgress {
        self.replay.progress()
    }
}

impl Store {
    /// Opens the store in `media`, and makes it when there is none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] and [`StoreError::Newer`] for a manifest or log that cannot be read.
    pub fn open(
        media: Arc<dyn Media>,
        options: StoreOptions,
    ) -> Result<(Self, Opening), StoreError> {
        let manifest = Manifest::load(&*media)?.unwrap_or_default();
        let (log, replay) = if options.read_only {
            (None, LogReplay::read_only(Arc::clone(&media), manifest.commit)?)
        } else {
            let (log, replay) =
                Log::open(Arc::clone(&media), options.log.clone(), manifest.commit)?;
            (Some(log), replay)
        };
        let opening = Opening {
            commit: manifest.commit,
            meta: manifest.meta.clone(),
            trees: manifest.trees.clone(),
            seen_runs: manifest.seen_runs.clone(),
            torn: log.as_ref().and_then(|log| log.torn().cloned()),
            replay,
        };
        let snapshot = Snapshot { commit: manifest.commit, ..Snapshot::default() };
        let writer = Writer { frozen_through: manifest.commit, ..Writer::default() };
        let shared = Shared {
            media,
            options,
            current: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(writer),
            room: Condvar::new(),
            next_tree: AtomicU32::new(manifest.next_tree),
            next_part: AtomicU64::new(manifest.next_part),
            durable: Mutex::new(Durable { manifest, parts: BTreeMap::new() }),
            log_bytes_kept: AtomicU64::new(0),
            log: Mutex::new(log),
            checkpointing: Mutex::new(()),
            merging: Mutex::new(()),
            flushing: AtomicBool::new(false),
            poison: OnceLock::new(),
            counters: Counters::default(),
            signal: Signal::default(),
        };
        Ok((Self { shared: Arc::new(shared), background: Mutex::new(None) }, opening))
    }

    /// Declares a tree of the manifest again, before the replay.
    ///
    /// # Errors
    /// When the manifest does not have it, has it with another rule, or a part of it is missing or
    /// has another length.
    pub fn attach_tree(&self, spec: TreeSpec) -> Result<(), StoreError> {
        let shared = &self.shared;
        check_spec(&spec)?;
        let wrong = |what: &str| {
            Err(StoreError::Definition(format!("tree {} \"{}\" {what}", spec.id, spec.name)))
        };
        let mut durable = shared.durable.lock();
        let Some(known) = durable.manifest.trees.iter().find(|tree| tree.id == spec.id) else {
            return wrong("is not in the manifest");
        };
        if known.rule != spec.rule.kind() {
            return wrong("has another merge rule than its parts");
        }
        let metas = known.parts.clone();
        // Without a retention nothing can have been dropped.
        let expired_rows = known.expired_rows.or(spec.retention_us.is_none().then_some(0));
        let spec = Arc::new(spec);
        let mut parts = Vec::with_capacity(metas.len());
        for meta in metas {
            let part = Part::new(meta, Arc::clone(&spec), Arc::clone(&shared.media));
            let found = shared.media.len(part.path())?;
            if found != part.meta().bytes {
                return Err(part.corrupt(format!(
                    "the manifest says {} bytes, the file has {found}",
                    part.meta().bytes
                )));
            }
            parts.push(Arc::new(part));
        }
        durable.parts.insert(spec.id, parts.clone());
        drop(durable);
        shared.insert_tree(TreeSnapshot { expired_rows, ..TreeSnapshot::new(spec, parts) })
    }

    /// Ends the opening: removes what no tree needs and starts the threads that keep house. Call it
    /// once, after the replay. A store that is open for reading only has no threads.
    pub fn start(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.check_writable()?;
        if shared.options.read_only {
            return Ok(());
        }
        shared.forget_unattached().inspect_err(|error| shared.poison(error))?;
        shared.remove_orphans().inspect_err(|error| shared.poison(error))?;
        let mut background = self.background.lock();
        if background.is_none() {
            *background = Some(Background::start(shared)?);
        }
        shared.writer.lock().started = true;
        shared.signal.wish(|wishes| wishes.merge = true);
        Ok(())
    }
}

impl Shared {
    /// Takes the trees that were not attached out of the manifest, before their files go.
    fn forget_unattached(&self) -> Result<(), StoreError> {
        let mut durable = self.durable.lock();
        let known = |id| durable.parts.contains_key(&id);
        let trees: Vec<TreeManifest> =
            durable.manifest.trees.iter().filter(|tree| known(tree.id)).cloned().collect();
        if trees.len() == durable.manifest.trees.len() {
            return Ok(());
        }
        let manifest = Manifest { trees, ..durable.manifest.clone() };
        manifest.store(&*self.media)?;
        durable.manifest = manifest;
        Ok(())
    }

    /// Removes the files in `parts/` that neither the manifest names nor a snapshot holds.
    fn remove_orphans(&self) -> Result<(), StoreError> {
        let durable = self.durable.lock();
        let named: HashSet<&str> = durable.parts.values().flatten().map(|p| p.path()).collect();
        for tree in self.media.list(PARTS_DIR)? {
            let dir = format!("{PARTS_DIR}/{tree}");
            let files = self.media.list(&dir)?;
            let mut kept = 0;
            for file in &files {
                let path = format!("{dir}/{file}");
                if named.contains(path.as_str()) {
                    kept += 1;
                } else {
                    tracing::info!(path, "removing a file that nothing needs");
                    self.media.remove(&path)?;
                }
            }
            if kept == 0 {
                self.media.remove_dir_all(&dir)?;
            }
        }
        Ok(())
    }
}
