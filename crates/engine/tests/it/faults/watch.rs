//! A disk that remembers which operation failed first, so that a test can say what must follow from it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use yeoul_store::{Media, MediaFile, StoreError, TrialMedia};

/// The first operation that failed: what and where.
type First = Arc<Mutex<Option<(&'static str, String)>>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watched {
    disk: TrialMedia,
    first: First,
}

impl Watched {
    pub(crate) fn new(disk: TrialMedia) -> Self {
        Self { disk, first: First::default() }
    }

    /// What failed first, for people.
    pub(crate) fn failed(&self) -> String {
        match &*self.first.lock() {
            Some((what, path)) => format!("{what} {path}"),
            None => "nothing failed".to_owned(),
        }
    }

    pub(crate) fn failed_at_all(&self) -> bool {
        self.first.lock().is_some()
    }

    /// Whether all that failed was the removal of a part that nothing needs any more: it is said in the log and tried
    /// again at the next start.
    pub(crate) fn failed_tidying(&self) -> bool {
        let first = self.first.lock();
        matches!(&*first, Some(("remove", path)) if path.starts_with("parts/"))
            && !self.disk.has_crashed()
    }
}

fn note<T>(
    first: &First,
    what: &'static str,
    path: &str,
    outcome: Result<T, StoreError>,
) -> Result<T, StoreError> {
    if outcome.is_err() {
        first.lock().get_or_insert_with(|| (what, path.to_owned()));
    }
    outcome
}

impl Watched {
    fn file(&self, path: &str, file: Box<dyn MediaFile>) -> Box<dyn MediaFile> {
        Box::new(WatchedFile { file, path: path.to_owned(), first: Arc::clone(&self.first) })
    }
}

impl Media for Watched {
    fn create(&self, path: &str) -> Result<Box<dyn MediaFile>, StoreError> {
        note(&self.first, "create", path, self.disk.create(path)).map(|file| self.file(path, file))
    }

    fn open_append(&self, path: &str, position: u64) -> Result<Box<dyn MediaFile>, StoreError> {
        self.disk.open_append(path, position).map(|file| self.file(path, file))
    }

    fn read(&self, path: &str) -> Result<Bytes, StoreError> {
        self.disk.read(path)
    }

    fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        self.disk.read_at(path, offset, len)
    }

    fn len(&self, path: &str) -> Result<u64, StoreError> {
        self.disk.len(path)
    }

    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        self.disk.exists(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        note(&self.first, "rename", from, self.disk.rename(from, to))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        note(&self.first, "remove", path, self.disk.remove(path))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> Result<(), StoreError> {
        note(&self.first, "create folder", dir, self.disk.create_dir(dir))
    }

    fn remove_dir_all(&self, dir: &str) -> Result<(), StoreError> {
        note(&self.first, "remove folder", dir, self.disk.remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &str) -> Result<(), StoreError> {
        note(&self.first, "sync folder", dir, self.disk.sync_dir(dir))
    }

    fn local_path(&self, _path: &str) -> Option<PathBuf> {
        None
    }
}

/// A file of a [`Watched`] disk.
#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn MediaFile>,
    path: String,
    first: First,
}

impl MediaFile for WatchedFile {
    fn append_vectored(&mut self, parts: &[&[u8]]) -> Result<(), StoreError> {
        note(&self.first, "write", &self.path, self.file.append_vectored(parts))
    }

    fn preallocate(&mut self, len: u64) -> Result<(), StoreError> {
        note(&self.first, "extend", &self.path, self.file.preallocate(len))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        note(&self.first, "sync", &self.path, self.file.sync())
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        note(&self.first, "cut", &self.path, self.file.truncate(len))
    }

    fn position(&self) -> u64 {
        self.file.position()
    }
}
