//! The folder of all run files, and which stream each belongs to.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::format::{Head, PAGE_LEN, path};
use super::{Seen, SeenOptions, Spawn};
use crate::manifest::SeenRunMeta;
use crate::{Media, StoreError};

/// The run files of a store. Indexes are opened from it.
pub struct SeenFolder {
    pub(super) media: Arc<dyn Media>,
    pub(super) spawn: Spawn,
    /// The number of the next file.
    pub(super) numbers: Arc<AtomicU64>,
    /// The runs that the manifest names, with their streams.
    named: Vec<(u32, SeenRunMeta)>,
}

impl std::fmt::Debug for SeenFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeenFolder").field("named", &self.named).finish_non_exhaustive()
    }
}

impl SeenFolder {
    /// Opens the folder with the runs that the manifest names, and removes all others: work that
    /// a crash cut off. Call it once, before any commit.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Newer`] when a named run cannot be read.
    pub fn open(
        media: Arc<dyn Media>,
        spawn: Spawn,
        named: &[SeenRunMeta],
    ) -> Result<Self, StoreError> {
        if !media.exists("seen")? {
            media.create_dir("seen")?;
            media.sync_dir("")?;
        }
        let files: Vec<String> = named.iter().map(|r| path(r.number)).collect();
        for name in media.list("seen")? {
            let file = format!("seen/{name}");
            if file.ends_with(".run") && !files.contains(&file) {
                media.remove(&file)?;
            }
        }
        let mut runs = Vec::with_capacity(named.len());
        for (meta, file) in named.iter().zip(&files) {
            let len = usize::try_from(meta.bytes).unwrap_or(PAGE_LEN).min(PAGE_LEN);
            let head = Head::decode(file, &media.read_at(file, 0, len)?)?;
            runs.push((head.stream, meta.clone()));
        }
        let next = named.iter().map(|r| r.number + 1).max().unwrap_or(1);
        Ok(Self { media, spawn, numbers: Arc::new(AtomicU64::new(next)), named: runs })
    }

    /// Opens the index of stream `options.stream` with the runs that are named for it. Keys of
    /// commits behind the manifest are put in by [`Seen::insert`] while the log is replayed.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Newer`] when a run is not what the manifest says.
    pub fn index(&self, options: SeenOptions) -> Result<Seen, StoreError> {
        let own = self.named.iter().filter(|(stream, _)| *stream == options.stream);
        let own: Vec<SeenRunMeta> = own.map(|(_, meta)| meta.clone()).collect();
        Seen::open(self, &own, options)
    }
}
