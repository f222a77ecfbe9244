//! One immutable file of a tree, open for reading.
//!
//! ```text
//!   snapshot ─┐
//!   snapshot ─┼─▶ Arc<Part> ─▶ parts/<tree>/<number>.parquet
//!   manifest ─┘        └ dropped by the last of them and no longer wanted: the file goes
//! ```
//!
//! What must hold: a file is removed only after no manifest names it and no snapshot holds it.
//! Metadata is read at most once and kept: about 1 KiB per column and row group.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};

use yeoul_batch::TreeId;

use super::fit::{Fit, may_differ, place_of};
use super::order::{Known, ordered, packs};
use super::sparse::SparseKeys;
use super::stored::{FromStored, stored_schema};
use super::weight::Weights;
use crate::media::Media;
use crate::{PartMeta, StoreError, TreeSpec};

/// The folder of all parts; each tree has one in it.
pub(crate) const PARTS_DIR: &str = "parts";

/// Where a part's file is, relative to the data folder.
pub(crate) fn part_path(tree: TreeId, number: u64) -> String {
    format!("{PARTS_DIR}/{tree}/{number}.parquet")
}

/// One immutable Parquet file of a tree. See `docs/format/parts.md`.
pub struct Part {
    meta: PartMeta,
    path: String,
    spec: Arc<TreeSpec>,
    media: Arc<dyn Media>,
    loaded: OnceLock<ArrowReaderMetadata>,
    sparse: OnceLock<Arc<SparseKeys>>,
    blooms: OnceLock<Vec<Option<Sbbf>>>,
    weights: OnceLock<Weights>,
    unwanted: AtomicBool,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("path", &self.path).field("rows", &self.meta.rows).finish()
    }
}

impl Part {
    pub(crate) fn new(meta: PartMeta, spec: Arc<TreeSpec>, media: Arc<dyn Media>) -> Self {
        let path = part_path(spec.id, meta.number);
        Self {
            meta,
            path,
            spec,
            media,
            loaded: OnceLock::new(),
            sparse: OnceLock::new(),
            blooms: OnceLock::new(),
            weights: OnceLock::new(),
            unwanted: AtomicBool::new(false),
        }
    }

    /// What the manifest says of it.
    #[must_use]
    pub fn meta(&self) -> &PartMeta {
        &self.meta
    }

    /// Its file, relative to the data folder.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its file on this machine, when it is one.
    #[must_use]
    pub fn local_path(&self) -> Option<PathBuf> {
        self.media.local_path(&self.path)
    }

    /// The file's footer with its page indexes, read once.
    pub fn metadata(&self) -> Result<Arc<ParquetMetaData>, StoreError> {
        Ok(Arc::clone(self.reader_metadata()?.metadata()))
    }

    /// The bytes at `offset .. offset + len` of the file.
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        self.media.read_at(&self.path, offset, len)
    }

    /// The footer with the Arrow schema that the file carries.
    pub(crate) fn reader_metadata(&self) -> Result<&ArrowReaderMetadata, StoreError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let loaded = ArrowReaderMetadata::load(&self.input(), options)?;
        self.check(&loaded)?;
        Ok(self.loaded.get_or_init(|| loaded))
    }

    fn check(&self, loaded: &ArrowReaderMetadata) -> Result<(), StoreError> {
        let rows = loaded.metadata().file_metadata().num_rows();
        if u64::try_from(rows).ok() != Some(self.meta.rows) {
            return Err(self.corrupt(format!(
                "the manifest says {} rows, the file says {rows}",
                self.meta.rows
            )));
        }
        super::format::check_version(loaded.metadata(), &self.path)?;
        if may_differ(&self.spec.schema) {
            // Its columns are found by name, and what is missing was added later.
            let fits = Fit::new(loaded.schema(), &self.spec.schema);
            return fits.map(drop).map_err(|error| self.corrupt(error.to_string()));
        }
        let stored = stored_schema(&self.spec.schema);
        let wanted = stored.as_ref().unwrap_or(&self.spec.schema).fields();
        let found = loaded.schema().fields();
        let same = found.len() == wanted.len()
            && found
                .iter()
                .zip(wanted.iter())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !same {
            return Err(self.corrupt(format!("its columns are not those of tree {}", self.spec.id)));
        }
        Ok(())
    }

    pub(crate) fn corrupt(&self, reason: String) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            offset: 0,
            reason,
            hint: "restore the data folder from a backup".to_owned(),
        }
    }

    /// A reader of the file, to be narrowed and built. Its columns are as in the file, see `stored`.
    pub(crate) fn reader(&self) -> Result<ParquetRecordBatchReaderBuilder<PartInput>, StoreError> {
        let metadata = self.reader_metadata()?.clone();
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(self.input(), metadata))
    }

    /// The first key of every block of rows.
    pub(crate) fn sparse_keys(&self) -> Result<Arc<SparseKeys>, StoreError> {
        if let Some(sparse) = self.sparse.get() {
            return Ok(Arc::clone(sparse));
        }
        let metadata = self.metadata()?;
        let sparse = Arc::new(
            SparseKeys::read(&metadata)
                .ok_or_else(|| self.corrupt("its sparse key index cannot be read".to_owned()))?,
        );
        Ok(Arc::clone(self.sparse.get_or_init(|| sparse)))
    }

    /// The Bloom filters of the last key column, one per row group, where the file has them.
    pub(crate) fn blooms(&self) -> Result<&[Option<Sbbf>], StoreError> {
        if let Some(blooms) = self.blooms.get() {
            return Ok(blooms);
        }
        let groups = self.metadata()?.num_row_groups();
        let mut blooms = Vec::with_capacity(groups);
        let column = self.spec.key.last().and_then(|&c| self.leaf_of(c));
        let reader = self.reader()?;
        for group in 0..groups {
            blooms.push(match column {
                Some(column) => reader.get_row_group_column_bloom_filter(group, column)?,
                None => None,
            });
        }
        Ok(self.blooms.get_or_init(|| blooms))
    }

    /// The Parquet column of a column that is not nested.
    fn leaf_of(&self, column: usize) -> Option<usize> {
        let loaded = self.loaded.get()?;
        let root = place_of(loaded.schema(), self.spec.schema.field(column))?;
        let schema = loaded.parquet_schema();
        (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == root)
    }

    /// About how much its rows take in memory.
    pub(super) fn weights(&self) -> Result<&Weights, StoreError> {
        if let Some(weights) = self.weights.get() {
            return Ok(weights);
        }
        let metadata = self.metadata()?;
        Ok(self.weights.get_or_init(|| Weights::read(&metadata, |_| true)))
    }

    /// How many rows a reader of the tree's columns at `columns`, or of all, can read at once so that they take about
    /// `bytes_max` at most; at least one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rows_at_once(
        &self,
        columns: Option<&[usize]>,
        rows_max: usize,
        bytes_max: u64,
    ) -> Result<usize, StoreError> {
        let of_all = self.weights()?.rows_at_once(rows_max, bytes_max);
        let Some(columns) = columns.filter(|_| of_all < rows_max) else { return Ok(of_all) };
        let metadata = self.metadata()?;
        let loaded = self.reader_metadata()?;
        let fields = columns.iter().map(|&column| self.spec.schema.field(column));
        let roots: Vec<usize> =
            fields.filter_map(|field| place_of(loaded.schema(), field)).collect();
        let schema = loaded.parquet_schema();
        let weights =
            Weights::read(&metadata, |leaf| roots.contains(&schema.get_column_root_idx(leaf)));
        Ok(weights.rows_at_once(rows_max, bytes_max))
    }

    /// What is read of the file for the columns of `schema` at `columns` (ascending), or for all: how it is
    /// converted, and the columns of the file.
    pub(crate) fn columns(
        &self,
        schema: &SchemaRef,
        columns: Option<&[usize]>,
    ) -> Result<(FromStored, Vec<usize>), StoreError> {
        let loaded = self.reader_metadata()?;
        Ok(FromStored::new(loaded.schema(), schema, columns)?)
    }

    /// The least and greatest value of each key column as ordered integers, and whether there are
    /// nulls, from the file's statistics; `None` for a column that has none.
    pub(crate) fn key_values(&self) -> Result<Vec<Option<Known>>, StoreError> {
        let metadata = self.metadata()?;
        Ok(self
            .spec
            .key
            .iter()
            .map(|&column| {
                if !packs(self.spec.schema.field(column).data_type()) {
                    return None;
                }
                let leaf = self.leaf_of(column)?;
                let unsigned = self.spec.schema.field(column).data_type().is_unsigned_integer();
                let mut all: Option<Known> = None;
                for group in metadata.row_groups() {
                    let found = super::format::integer_range(group.column(leaf), unsigned)?;
                    let range = all.get_or_insert(found);
                    *range = (range.0.min(found.0), range.1.max(found.1), range.2 || found.2);
                }
                all
            })
            .collect())
    }

    /// The least `_version` in the part, for trees that have it.
    pub(crate) fn version_min(&self) -> Result<u64, StoreError> {
        let Some(column) = self.spec.schema.fields().len().checked_sub(2) else { return Ok(0) };
        let metadata = self.metadata()?;
        let Some(leaf) = self.leaf_of(column) else { return Ok(0) };
        let mut min = u64::MAX;
        for group in metadata.row_groups() {
            let Some((low, _, _)) = super::format::integer_range(group.column(leaf), true) else {
                return Ok(0);
            };
            // Undo the mapping to ordered integers.
            min = min.min(low.cast_unsigned() ^ (1 << 63));
        }
        debug_assert_eq!(ordered(0), i64::MIN, "the mapping is its own inverse");
        Ok(min)
    }

    fn input(&self) -> PartInput {
        PartInput {
            media: Arc::clone(&self.media),
            path: self.path.as_str().into(),
            len: self.meta.bytes,
        }
    }

    /// No manifest names it any more: the file goes with the last holder.
    pub(crate) fn give_up(&self) {
        self.unwanted.store(true, Ordering::Release);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.unwanted.load(Ordering::Acquire)
            && let Err(error) = self.media.remove(&self.path)
        {
            // It stays as an orphan, and the next start removes it.
            tracing::warn!(path = %self.path, %error, "cannot remove a part that is not needed");
        }
    }
}

/// A part's bytes, for the Parquet reader.
#[derive(Clone, Debug)]
pub(crate) struct PartInput {
    media: Arc<dyn Media>,
    path: Arc<str>,
    len: u64,
}

impl Length for PartInput {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for PartInput {
    type T = PartRead;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(PartRead { input: self.clone(), at: start, buffer: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.media
            .read_at(&self.path, start, length)
            .map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads on from a position, 64 KiB at a time.
#[derive(Debug)]
pub(crate) struct PartRead {
    input: PartInput,
    at: u64,
    buffer: Bytes,
}

impl Read for PartRead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            let left = self.input.len.saturating_sub(self.at);
            let len = usize::try_from(left.min(64 * 1024)).unwrap_or(64 * 1024);
            if len == 0 {
                return Ok(0);
            }
            self.buffer = self
                .input
                .media
                .read_at(&self.input.path, self.at, len)
                .map_err(io::Error::other)?;
            self.at += len as u64;
        }
        let len = into.len().min(self.buffer.len());
        into[..len].copy_from_slice(&self.buffer.split_to(len));
        Ok(len)
    }
}
