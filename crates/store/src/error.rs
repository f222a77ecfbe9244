//! What can go wrong in the store, and what the caller can do about it.

use std::io;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused. The store is poisoned: restart after freeing space or mending the disk.
    #[error("{what} \"{path}\": {source}")]
    Io {
        /// What was being done, as in "cannot write".
        what: &'static str,
        /// The file, relative to the data folder.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A file does not hold what was written. Restore it from a backup, or cut it with the
    /// command that the hint names.
    #[error("file \"{path}\" is damaged at byte {offset}: {reason}")]
    Corrupt {
        /// The file, relative to the data folder.
        path: String,
        /// Where.
        offset: u64,
        /// What was expected and what was found.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// An earlier write failed; nothing is written after it.
    #[error("the store stopped writing after an earlier failure: {0}")]
    Poisoned(String),
    /// The file was written by a newer version of the program.
    #[error("file \"{path}\" has format version {found}; this program reads up to {known}")]
    Newer {
        /// The file, relative to the data folder.
        path: String,
        /// The version in the file.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// Another process has the data folder open.
    #[error("the data folder is in use by process {0}")]
    InUse(String),
    /// What was asked for does not fit what is there (an unknown tree, a key that cannot be sorted,
    /// a store that is open for reading only): a bug of the caller.
    #[error("{0}")]
    Definition(String),
    /// Columns could not be encoded, decoded or merged: a bug here or in the caller.
    #[error("columns: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// As [`StoreError::Arrow`], from the file format.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
}

impl StoreError {
    /// An IO error with what was being done to which file.
    pub fn io(what: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}
