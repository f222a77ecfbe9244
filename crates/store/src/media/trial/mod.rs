//! A disk in memory that fails on purpose.
//!
//! ```text
//!   write ──▶ page (lost in a crash) ──sync──▶ disk
//!   name  ──▶ page (lost in a crash) ──sync_dir──▶ disk
//! ```
//!
//! Every operation that changes something has a number, counted from 1. A test runs once without a
//! fault, reads [`TrialMedia::operations`], and runs again with a fault at each of them. One seed
//! gives one outcome.
//!
//! What a crash leaves: of each file the synced bytes and a random prefix of the writes after
//! them, the last one of these perhaps in part, the missing bytes perhaps as zeros; of each folder
//! the synced names and a random prefix of the changes after them.

mod state;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use self::state::{
    Chance, Change, Disk, Inode, NameChange, Names, Verdict, crash, finish, surviving_bytes,
    surviving_names,
};
use super::{Media, MediaFile, file_name, parent};
use crate::StoreError;

/// How the chosen operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk refuses with `EIO`, and nothing is changed.
    Io,
    /// The disk is full; of a write nothing is done.
    NoSpace,
    /// A random part of a write is done, then `EIO`. Other operations fail as with [`Fault::Io`].
    ShortWrite,
    /// The machine stops before the operation.
    CrashBefore,
    /// The machine stops after the operation was carried out and before it was answered.
    CrashAfter,
}

/// A [`Media`] in memory with an optional fault. Clones share the same files.
#[derive(Clone, Debug)]
pub struct TrialMedia {
    disk: Arc<Mutex<Disk>>,
}

impl TrialMedia {
    /// An empty disk without a fault.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(Disk {
            chance: Chance(seed),
            operations: 0,
            fault: None,
            crashed: false,
            files: BTreeMap::new(),
            next_inode: 1,
            names: Names::default(),
            durable_names: Names::default(),
            name_changes: Vec::new(),
        })
    }

    fn of(disk: Disk) -> Self {
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    /// An empty disk whose operation number `at` (from 1) fails.
    #[must_use]
    pub fn with_fault(seed: u64, at: u64, fault: Fault) -> Self {
        let media = Self::new(seed);
        media.fail_at(at, fault);
        media
    }

    /// Lets operation number `at` fail; `operations() + 1` is the next one.
    pub fn fail_at(&self, at: u64, fault: Fault) {
        self.disk.lock().fault = Some((at, fault));
    }

    /// How many operations that change something there have been.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.disk.lock().crashed
    }

    /// What a machine finds after a crash now: a new disk without a fault, on which everything
    /// is durable. This one stays as it is and can be asked again.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        let mut disk = self.disk.lock();
        let mut chance = Chance(disk.chance.next());
        let names = surviving_names(&disk, &mut chance);
        let mut files = BTreeMap::new();
        for (&number, inode) in &disk.files {
            let bytes = surviving_bytes(inode, &mut chance);
            files.insert(number, Inode { durable: bytes.clone(), bytes, changes: Vec::new() });
        }
        Self::of(Disk {
            chance,
            operations: 0,
            fault: None,
            crashed: false,
            files,
            next_inode: disk.next_inode,
            durable_names: names.clone(),
            names,
            name_changes: Vec::new(),
        })
    }

    /// Puts a file there, durable at once and not counted: for tests that damage one.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let mut disk = self.disk.lock();
        let number = disk.next_inode;
        disk.next_inode += 1;
        let bytes = bytes.into();
        let durable = bytes.clone();
        disk.files.insert(number, Inode { bytes, durable, changes: Vec::new() });
        let mut dir = parent(path);
        while !dir.is_empty() {
            disk.names.dirs.insert(dir.to_owned());
            disk.durable_names.dirs.insert(dir.to_owned());
            dir = parent(dir);
        }
        disk.names.files.insert(path.to_owned(), number);
        disk.durable_names.files.insert(path.to_owned(), number);
    }

    fn changing(
        &self,
        what: &'static str,
        path: &str,
        act: impl FnOnce(&mut Disk) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        act(&mut self.disk.lock()).map_err(|e| StoreError::io(what, path, e))
    }

    fn reading<T>(
        &self,
        path: &str,
        look: impl FnOnce(&Disk) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let disk = self.disk.lock();
        let found = if disk.crashed { Err(crash()) } else { look(&disk) };
        found.map_err(|e| StoreError::io("cannot read", path, e))
    }

    fn file(&self, path: &str, inode: u64, position: usize) -> Box<dyn MediaFile> {
        Box::new(TrialFile { media: self.clone(), path: path.to_owned(), inode, position })
    }
}

impl Media for TrialMedia {
    fn create(&self, path: &str) -> Result<Box<dyn MediaFile>, StoreError> {
        let mut created = 0;
        self.changing("cannot create", path, |disk| {
            if !disk.names.has_dir(parent(path)) {
                return Err(ErrorKind::NotFound.into());
            }
            created = disk.next_inode;
            disk.next_inode += 1;
            disk.files.insert(created, Inode::default());
            disk.change_name(parent(path), NameChange::Create(path.to_owned(), created))
        })?;
        Ok(self.file(path, created, 0))
    }

    fn open_append(&self, path: &str, position: u64) -> Result<Box<dyn MediaFile>, StoreError> {
        let inode = self
            .reading(path, |disk| Ok(*disk.names.files.get(path).ok_or(ErrorKind::NotFound)?))?;
        Ok(self.file(path, inode, to_usize(position)))
    }

    fn read(&self, path: &str) -> Result<Bytes, StoreError> {
        self.reading(path, |disk| Ok(Bytes::copy_from_slice(&disk.find(path)?.bytes)))
    }

    fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        self.reading(path, |disk| {
            let bytes = &disk.find(path)?.bytes;
            let start = to_usize(offset);
            let end = start.checked_add(len).ok_or(ErrorKind::UnexpectedEof)?;
            let found = bytes.get(start..end).ok_or(ErrorKind::UnexpectedEof)?;
            Ok(Bytes::copy_from_slice(found))
        })
    }

    fn len(&self, path: &str) -> Result<u64, StoreError> {
        self.reading(path, |disk| Ok(disk.find(path)?.bytes.len() as u64))
    }

    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        self.reading(path, |disk| {
            Ok(disk.names.files.contains_key(path) || disk.names.has_dir(path))
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.changing("cannot rename", from, |disk| {
            disk.find(from)?;
            disk.change_name(parent(to), NameChange::Rename(from.to_owned(), to.to_owned()))
        })
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.changing("cannot remove", path, |disk| {
            disk.find(path)?;
            disk.change_name(parent(path), NameChange::Remove(path.to_owned()))
        })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        self.reading(dir, |disk| {
            let all = disk.names.files.keys().chain(&disk.names.dirs);
            let mut names: Vec<_> =
                all.filter(|p| parent(p) == dir).map(|p| file_name(p).to_owned()).collect();
            names.sort_unstable();
            Ok(names)
        })
    }

    fn create_dir(&self, dir: &str) -> Result<(), StoreError> {
        self.changing("cannot create folder", dir, |disk| {
            let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
            for part in ends.map(|end| &dir[..end]) {
                if !disk.names.has_dir(part) {
                    disk.change_name(parent(part), NameChange::CreateDir(part.to_owned()))?;
                }
            }
            Ok(())
        })
    }

    fn remove_dir_all(&self, dir: &str) -> Result<(), StoreError> {
        self.changing("cannot remove folder", dir, |disk| {
            if !disk.names.has_dir(dir) {
                return Ok(());
            }
            disk.change_name(parent(dir), NameChange::RemoveDirAll(dir.to_owned()))
        })
    }

    fn sync_dir(&self, dir: &str) -> Result<(), StoreError> {
        self.changing("cannot sync folder", dir, |disk| {
            let verdict = disk.decide()?;
            if let Verdict::DoPart(e) = verdict {
                return Err(e);
            }
            let changes = std::mem::take(&mut disk.name_changes);
            for (of, change) in changes {
                if of == dir {
                    disk.durable_names.apply(&change);
                } else {
                    disk.name_changes.push((of, change));
                }
            }
            finish(&verdict)
        })
    }

    fn local_path(&self, _path: &str) -> Option<PathBuf> {
        None
    }
}

fn to_usize(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

/// A file of a [`TrialMedia`].
#[derive(Debug)]
struct TrialFile {
    media: TrialMedia,
    path: String,
    inode: u64,
    position: usize,
}

impl MediaFile for TrialFile {
    fn append_vectored(&mut self, parts: &[&[u8]]) -> Result<(), StoreError> {
        let change = Change::Write { at: self.position, bytes: parts.concat() };
        let written: usize = parts.iter().map(|p| p.len()).sum();
        let inode = self.inode;
        self.media.changing("cannot write", &self.path, |d| d.change_file(inode, change))?;
        self.position += written;
        Ok(())
    }

    fn preallocate(&mut self, len: u64) -> Result<(), StoreError> {
        let (inode, len) = (self.inode, to_usize(len));
        self.media.changing("cannot extend", &self.path, |disk| {
            let at = disk.inode(inode).bytes.len();
            if at >= len {
                return Ok(());
            }
            disk.change_file(inode, Change::Write { at, bytes: vec![0; len - at] })
        })
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let inode = self.inode;
        self.media.changing("cannot sync", &self.path, |disk| {
            let verdict = disk.decide()?;
            if let Verdict::DoPart(e) = verdict {
                return Err(e);
            }
            let inode = disk.inode(inode);
            inode.changes.clear();
            inode.durable = inode.bytes.clone();
            finish(&verdict)
        })
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        let (inode, len) = (self.inode, to_usize(len));
        let change = Change::Truncate(len);
        self.media.changing("cannot cut", &self.path, |d| d.change_file(inode, change))?;
        self.position = len;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position as u64
    }
}
