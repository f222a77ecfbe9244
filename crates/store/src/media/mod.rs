//! Where bytes are kept: every durable operation of the store goes through [`Media`], so that the
//! same code runs over a folder and over a disk that fails on purpose.
//!
//! ```text
//!   log, manifest, parts ──▶ dyn Media ──▶ DiskMedia   a folder, locked
//!                                    └───▶ TrialMedia  memory; fails at the nth operation
//! ```
//!
//! Paths are relative to the data folder and use `/`, as in `log/00000000000000000001.log`.
//!
//! What must hold: bytes are durable after [`MediaFile::sync`], names (created, renamed, removed)
//! after [`Media::sync_dir`] of their folder; `rename` replaces in one step.
//!
//! Not here: formats, retries (a failed write is never tried again), object stores.

mod disk;
mod trial;

use std::fmt::Debug;
use std::path::PathBuf;

use bytes::Bytes;

use crate::StoreError;

pub use disk::DiskMedia;
pub use trial::{Fault, TrialMedia};

/// A place for files.
pub trait Media: Send + Sync + Debug {
    /// A new file, empty even if one of that name was there.
    fn create(&self, path: &str) -> Result<Box<dyn MediaFile>, StoreError>;

    /// An existing file, to be written from byte `position` on. What stands behind it is
    /// overwritten; [`MediaFile::truncate`] removes it.
    fn open_append(&self, path: &str, position: u64) -> Result<Box<dyn MediaFile>, StoreError>;

    /// The whole file.
    fn read(&self, path: &str) -> Result<Bytes, StoreError>;

    /// Exactly `len` bytes from `offset`; an error when the file ends before.
    fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes, StoreError>;

    /// The length of a file in bytes, preallocated zeros included.
    fn len(&self, path: &str) -> Result<u64, StoreError>;

    /// Whether there is a file or folder of that name.
    fn exists(&self, path: &str) -> Result<bool, StoreError>;

    /// Gives a file another name; a file that has it is replaced in the same step.
    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError>;

    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), StoreError>;

    /// The names of the files and folders in a folder, in order; none when there is no such folder.
    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError>;

    /// Makes a folder, and those above it, unless it is there.
    fn create_dir(&self, dir: &str) -> Result<(), StoreError>;

    /// Removes a folder with all that is in it; nothing when there is none.
    fn remove_dir_all(&self, dir: &str) -> Result<(), StoreError>;

    /// Makes the names in a folder durable. `""` is the data folder itself.
    fn sync_dir(&self, dir: &str) -> Result<(), StoreError>;

    /// The file's place on this machine, for readers that want a real file.
    fn local_path(&self, path: &str) -> Option<PathBuf>;
}

/// A file open for writing at its end.
pub trait MediaFile: Send + Debug {
    /// Writes all of `bytes` at the position and moves it.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.append_vectored(&[bytes])
    }

    /// Writes all of `parts`, one after the other, without gathering them first.
    fn append_vectored(&mut self, parts: &[&[u8]]) -> Result<(), StoreError>;

    /// Fills the file with zeros from its end up to byte `len`, so that later appends within it
    /// change no metadata. The position stays. Durable with the next [`MediaFile::sync`].
    fn preallocate(&mut self, len: u64) -> Result<(), StoreError>;

    /// Makes what was written durable (`fdatasync`).
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Cuts the file to `len` bytes and puts the position there. Durable with the next
    /// [`MediaFile::sync`].
    fn truncate(&mut self, len: u64) -> Result<(), StoreError>;

    /// Where the next byte goes.
    fn position(&self) -> u64;
}

/// The folder of a path: `log` for `log/1.log`, `""` for `manifest`.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// The last name of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests;
