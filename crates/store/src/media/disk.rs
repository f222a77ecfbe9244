//! A folder as a [`Media`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use super::{Media, MediaFile};
use crate::StoreError;

/// The file that tells other processes to stay away. It holds the owner's process id.
const LOCK_NAME: &str = "lock";

/// Zeros are written in pieces of this size.
const ZEROS_LEN: usize = 64 * 1024;
static ZEROS: [u8; ZEROS_LEN] = [0; ZEROS_LEN];

/// How many slices one `writev` takes (`IOV_MAX` of Linux).
const SLICES_MAX: usize = 1024;

/// A data folder on this machine.
#[derive(Debug)]
pub struct DiskMedia {
    dir: PathBuf,
    /// Held for its lock; `None` when the folder was opened for reading only.
    lock: Option<File>,
}

impl DiskMedia {
    /// Opens a data folder for this process alone, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = dir.as_ref().to_path_buf();
        let failed =
            |source| StoreError::io("cannot open data folder", dir.to_string_lossy(), source);
        fs::create_dir_all(&dir).map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(LOCK_NAME))
            .map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse(owner(&mut lock))),
            Err(errno) => return Err(failed(errno.into())),
        }
        let stamp = |lock: &mut File| {
            lock.set_len(0)?;
            lock.seek(SeekFrom::Start(0))?;
            writeln!(lock, "{}", std::process::id())
        };
        stamp(&mut lock).map_err(failed)?;
        Ok(Self { dir, lock: Some(lock) })
    }

    /// Opens a data folder for looking at it, also while another process writes. Every operation
    /// that would change it is refused.
    pub fn read_only(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = dir.as_ref().to_path_buf();
        fs::read_dir(&dir).map_err(|source| {
            StoreError::io("cannot open data folder", dir.to_string_lossy(), source)
        })?;
        Ok(Self { dir, lock: None })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.dir.clone() } else { self.dir.join(path) }
    }

    fn writable(&self, what: &'static str, path: &str) -> Result<(), StoreError> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(StoreError::io(
                what,
                path,
                io::Error::new(ErrorKind::ReadOnlyFilesystem, "the data folder is open read-only"),
            )),
        }
    }
}

fn owner(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(32).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

impl Media for DiskMedia {
    fn create(&self, path: &str) -> Result<Box<dyn MediaFile>, StoreError> {
        const WHAT: &str = "cannot create";
        self.writable(WHAT, path)?;
        let file = File::create(self.full(path)).map_err(|e| StoreError::io(WHAT, path, e))?;
        Ok(Box::new(DiskFile { file, path: path.to_owned(), position: 0, len: 0 }))
    }

    fn open_append(&self, path: &str, position: u64) -> Result<Box<dyn MediaFile>, StoreError> {
        const WHAT: &str = "cannot open for writing";
        self.writable(WHAT, path)?;
        let open = || {
            let mut file = OpenOptions::new().write(true).open(self.full(path))?;
            file.seek(SeekFrom::Start(position))?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        let (file, len) = open().map_err(|e| StoreError::io(WHAT, path, e))?;
        Ok(Box::new(DiskFile { file, path: path.to_owned(), position, len }))
    }

    fn read(&self, path: &str) -> Result<Bytes, StoreError> {
        match fs::read(self.full(path)) {
            Ok(bytes) => Ok(bytes.into()),
            Err(e) => Err(StoreError::io("cannot read", path, e)),
        }
    }

    fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let read = || {
            let mut buffer = vec![0; len];
            File::open(self.full(path))?.read_exact_at(&mut buffer, offset)?;
            Ok(buffer.into())
        };
        read().map_err(|e| StoreError::io("cannot read", path, e))
    }

    fn len(&self, path: &str) -> Result<u64, StoreError> {
        let found = fs::metadata(self.full(path));
        found.map(|m| m.len()).map_err(|e| StoreError::io("cannot read", path, e))
    }

    fn exists(&self, path: &str) -> Result<bool, StoreError> {
        self.full(path).try_exists().map_err(|e| StoreError::io("cannot look up", path, e))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        const WHAT: &str = "cannot rename";
        self.writable(WHAT, from)?;
        fs::rename(self.full(from), self.full(to)).map_err(|e| StoreError::io(WHAT, from, e))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        const WHAT: &str = "cannot remove";
        self.writable(WHAT, path)?;
        fs::remove_file(self.full(path)).map_err(|e| StoreError::io(WHAT, path, e))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        let failed = |e| StoreError::io("cannot list", dir, e);
        let entries = match fs::read_dir(self.full(dir)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> Result<(), StoreError> {
        const WHAT: &str = "cannot create folder";
        self.writable(WHAT, dir)?;
        fs::create_dir_all(self.full(dir)).map_err(|e| StoreError::io(WHAT, dir, e))
    }

    fn remove_dir_all(&self, dir: &str) -> Result<(), StoreError> {
        const WHAT: &str = "cannot remove folder";
        self.writable(WHAT, dir)?;
        match fs::remove_dir_all(self.full(dir)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(StoreError::io(WHAT, dir, e)),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &str) -> Result<(), StoreError> {
        const WHAT: &str = "cannot sync folder";
        self.writable(WHAT, dir)?;
        let synced = File::open(self.full(dir)).and_then(|file| file.sync_all());
        synced.map_err(|e| StoreError::io(WHAT, dir, e))
    }

    fn local_path(&self, path: &str) -> Option<PathBuf> {
        Some(self.full(path))
    }
}

/// A file of a [`DiskMedia`]. Its own cursor is at `position`.
#[derive(Debug)]
struct DiskFile {
    file: File,
    path: String,
    position: u64,
    /// The file's length, which preallocation puts ahead of the position.
    len: u64,
}

impl DiskFile {
    fn write(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices = Vec::with_capacity(parts.len().min(SLICES_MAX));
        for group in parts.chunks(SLICES_MAX) {
            slices.clear();
            slices.extend(group.iter().filter(|p| !p.is_empty()).map(|p| IoSlice::new(p)));
            let mut rest = slices.as_mut_slice();
            while !rest.is_empty() {
                match self.file.write_vectored(rest) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        self.position += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        self.len = self.len.max(self.position);
        Ok(())
    }

    fn zero_fill(&mut self, len: u64) -> io::Result<()> {
        while self.len < len {
            let piece = usize::try_from(len - self.len).unwrap_or(ZEROS_LEN).min(ZEROS_LEN);
            self.file.write_all_at(&ZEROS[..piece], self.len)?;
            self.len += piece as u64;
        }
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(SeekFrom::Start(len))?;
        (self.position, self.len) = (len, len);
        Ok(())
    }
}

impl MediaFile for DiskFile {
    fn append_vectored(&mut self, parts: &[&[u8]]) -> Result<(), StoreError> {
        self.write(parts).map_err(|e| StoreError::io("cannot write", &self.path, e))
    }

    fn preallocate(&mut self, len: u64) -> Result<(), StoreError> {
        self.zero_fill(len).map_err(|e| StoreError::io("cannot extend", &self.path, e))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|e| StoreError::io("cannot sync", &self.path, e))
    }

    fn truncate(&mut self, len: u64) -> Result<(), StoreError> {
        self.cut(len).map_err(|e| StoreError::io("cannot cut", &self.path, e))
    }

    fn position(&self) -> u64 {
        self.position
    }
}
