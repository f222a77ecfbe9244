//! Writing sorted rows to parts: Parquet files that other engines read as they are.
//!
//! What must hold: rows arrive sorted, of one partition; for keyed trees a key does not come twice;
//! a part that is returned is durable, its name included.
//!
//! Limits: one row group is buffered, encoded: at most 1 Mi rows (about 25 MB of events), 128 Ki rows
//! for keyed trees, and 64 MiB. Pages have about 1 MiB, of which a reader needs one at once.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use yeoul_batch::KeyCodec;

use super::format::{
    KEYS_ENTRY, PART_VERSION, PARTITION_ENTRY, RULE_ENTRY, TREE_ENTRY, VERSION_ENTRY,
};
use super::gather::bytes_of;
use super::layout::{WRITE_BATCH_ROWS, properties};
use super::part::{PARTS_DIR, Part, part_path};
use super::sparse::{BLOCK_ROWS, SparseKeys};
use super::stored::{batch_to_stored, stored_schema};
use super::weight::RowBytes;
use crate::media::{Media, MediaFile};
use crate::{PartMeta, RuleKind, StoreError, TreeSpec};

/// How the pages of parts are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartCompression {
    /// Zstandard level 1: the smaller files.
    #[default]
    Zstd,
    /// LZ4: about a tenth faster to write, a tenth larger.
    Lz4,
}

/// What a part is besides its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartLabel {
    pub(crate) partition: i64,
    pub(crate) level: u8,
}

/// About how long a page becomes.
const PAGE_BYTES: u64 = 1 << 20;

/// Bytes gathered before they are handed to the file.
const SINK_BYTES: usize = 1 << 20;

/// A file as `Write`, in large pieces.
struct Sink {
    file: Box<dyn MediaFile>,
    buffer: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > SINK_BYTES {
            self.file.append_vectored(&[&self.buffer, bytes]).map_err(io::Error::other)?;
            self.buffer.clear();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.append(&self.buffer).map_err(io::Error::other)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// The rows of a batch as they are to be written: together where they are narrow. Whether a page is full is only looked
/// at after every so many rows and at the end of each piece, so a piece of wide ones is about a page.
fn pieces(batch: &RecordBatch) -> Vec<Range<usize>> {
    let rows = batch.num_rows();
    let bytes = RowBytes::of(batch);
    let fits = bytes.row_max().saturating_mul(WRITE_BATCH_ROWS as u64) <= PAGE_BYTES;
    if fits || bytes_of(batch) as u64 <= PAGE_BYTES {
        return std::iter::once(0..rows).collect();
    }
    let (mut pieces, mut from) = (Vec::new(), 0);
    for start in (0..rows).step_by(WRITE_BATCH_ROWS) {
        let end = rows.min(start + WRITE_BATCH_ROWS);
        if (start..end).map(|row| bytes.row(row)).sum::<u64>() <= PAGE_BYTES {
            continue;
        }
        let mut piece = 0;
        for row in start..end {
            piece += bytes.row(row);
            if piece > PAGE_BYTES {
                pieces.push(from..row + 1);
                (from, piece) = (row + 1, 0);
            }
        }
    }
    if from < rows {
        pieces.push(from..rows);
    }
    pieces
}

/// One part being written.
pub(crate) struct PartWriter {
    spec: Arc<TreeSpec>,
    media: Arc<dyn Media>,
    label: PartLabel,
    number: u64,
    writer: ArrowWriter<Sink>,
    /// The columns of the file, when they are others than those of the tree.
    stored: Option<SchemaRef>,
    codec: KeyCodec,
    keys: SparseKeys,
    rows: usize,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

impl PartWriter {
    /// A part whose first rows will be those of `sample`, by which the encodings are chosen.
    pub(crate) fn create(
        spec: &Arc<TreeSpec>,
        media: &Arc<dyn Media>,
        label: PartLabel,
        number: u64,
        compression: PartCompression,
        sample: &RecordBatch,
    ) -> Result<Self, StoreError> {
        let path = part_path(spec.id, number);
        let dir = format!("{PARTS_DIR}/{}", spec.id);
        if !media.exists(&dir)? {
            media.create_dir(&dir)?;
            media.sync_dir(PARTS_DIR)?;
            media.sync_dir("")?;
        }
        let file = media.create(&path)?;
        let sink = Sink { file, buffer: Vec::with_capacity(SINK_BYTES) };
        let properties = properties(spec, compression, sample)?;
        let stored = stored_schema(&spec.schema);
        let schema = Arc::clone(stored.as_ref().unwrap_or(&spec.schema));
        let writer = ArrowWriter::try_new(sink, schema, Some(properties))?;
        Ok(Self {
            codec: KeyCodec::new(&spec.schema, &spec.key)?,
            spec: Arc::clone(spec),
            media: Arc::clone(media),
            label,
            number,
            writer,
            stored,
            keys: SparseKeys::new(),
            rows: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
        })
    }

    /// Adds rows behind those written before.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if !self.spec.key.is_empty() {
            // The first row, those that start a block, and the last.
            let mut at: Vec<u32> = Vec::new();
            let mut row = self.rows.next_multiple_of(BLOCK_ROWS) - self.rows;
            while row < rows {
                at.push(u32::try_from(row).expect("fewer than 2^32 rows in a batch"));
                row += BLOCK_ROWS;
            }
            at.push(u32::try_from(rows - 1).expect("fewer than 2^32 rows in a batch"));
            let picked =
                arrow::compute::take_record_batch(batch, &arrow::array::UInt32Array::from(at))?;
            let keys = self.codec.encode(&picked)?;
            let last = keys.num_rows() - 1;
            for i in 0..last {
                self.keys.push(keys.row(i).as_ref());
            }
            if self.rows == 0 {
                self.first_key = keys.row(0).as_ref().to_vec();
            }
            let last = keys.row(last);
            debug_assert!(self.last_key.as_slice() <= last.as_ref(), "rows come sorted");
            self.last_key = last.as_ref().to_vec();
        }
        self.rows += rows;
        let stored =
            self.stored.as_ref().map(|stored| batch_to_stored(batch, stored)).transpose()?;
        let batch = stored.as_ref().unwrap_or(batch);
        for piece in pieces(batch) {
            self.writer.write(&batch.slice(piece.start, piece.len()))?;
        }
        Ok(())
    }

    /// About how long the file would be if it ended here.
    pub(crate) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Makes the part durable.
    pub(crate) fn finish(mut self) -> Result<Part, StoreError> {
        let rule = match self.spec.rule.kind() {
            RuleKind::Keep => "keep",
            RuleKind::Latest => "latest",
            RuleKind::Combine => "combine",
        };
        let entries = [
            (VERSION_ENTRY, PART_VERSION.to_string()),
            (TREE_ENTRY, self.spec.id.to_string()),
            (RULE_ENTRY, rule.to_owned()),
            (PARTITION_ENTRY, self.label.partition.to_string()),
            (KEYS_ENTRY, self.keys.write()),
        ];
        for (key, value) in entries {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let mut sink = self.writer.into_inner()?;
        let path = part_path(self.spec.id, self.number);
        sink.flush().map_err(|source| StoreError::io("cannot write", path, source))?;
        sink.file.sync()?;
        let bytes = sink.file.position();
        self.media.sync_dir(&format!("{PARTS_DIR}/{}", self.spec.id))?;
        let meta = PartMeta {
            number: self.number,
            partition: self.label.partition,
            rows: self.rows as u64,
            bytes,
            level: self.label.level,
            first_key: self.first_key,
            last_key: self.last_key,
        };
        Ok(Part::new(meta, self.spec, self.media))
    }
}
