//! Where sorted rows come from: memory batches put into order, or a part read from front to back.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;

use super::gather::{bytes_of, gather};
use super::order::{Address, KeyOrder, Keys, sort_rows};
use super::part::Part;
use super::stored::PartRows;
use crate::StoreError;

/// Rows of a chunk: small enough that a merge of many parts holds few of each.
pub(crate) const CHUNK_ROWS: usize = 16_384;

/// What the chunks of all sources of a merge take.
const CHUNKS_BYTES: u64 = 64 << 20;

/// Some rows in order, with their keys.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) rows: RecordBatch,
    pub(crate) keys: Keys,
    /// What a row takes, about; 0 of those in memory, which are there anyway.
    pub(crate) row_bytes: usize,
}

/// Rows of several batches in the order of their keys, gathered a slice at a time.
pub(crate) struct SortedRows {
    schema: SchemaRef,
    batches: Arc<Vec<RecordBatch>>,
    rows: Vec<Address>,
    at: usize,
    chunk_rows: usize,
}

impl SortedRows {
    /// Sorts `rows`, addresses into `batches` whose keys are `keys`.
    pub(crate) fn new(
        order: &KeyOrder,
        schema: &SchemaRef,
        batches: &Arc<Vec<RecordBatch>>,
        keys: &[Keys],
        mut rows: Vec<Address>,
        chunk_rows: usize,
    ) -> Self {
        sort_rows(order, keys, &mut rows);
        Self { schema: Arc::clone(schema), batches: Arc::clone(batches), rows, at: 0, chunk_rows }
    }

    /// The next slice of rows.
    pub(crate) fn next_rows(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        let len = self.chunk_rows.min(self.rows.len() - self.at);
        if len == 0 {
            return Ok(None);
        }
        let rows: Vec<(usize, usize)> = self.rows[self.at..self.at + len]
            .iter()
            .map(|&(batch, row)| (batch as usize, row as usize))
            .collect();
        self.at += len;
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        Ok(Some(gather(&self.schema, &batches, &rows)?))
    }
}

/// The keys of every batch.
pub(crate) fn keys_of(order: &KeyOrder, batches: &[RecordBatch]) -> Result<Vec<Keys>, StoreError> {
    batches.iter().map(|batch| order.encode(batch)).collect()
}

/// A sequence of sorted rows.
pub(crate) enum Source {
    /// From memory.
    Memory(SortedRows),
    /// From a file.
    Part(PartRows),
}

impl Source {
    /// All rows of a part of a tree with the columns `schema`; `of` are merged.
    pub(crate) fn part(part: &Part, schema: &SchemaRef, of: usize) -> Result<Self, StoreError> {
        let (from, read) = part.columns(schema, None)?;
        let rows = part.rows_at_once(None, CHUNK_ROWS, CHUNKS_BYTES / of.max(1) as u64)?;
        let reader = part.reader()?.with_batch_size(rows);
        let mask = ProjectionMask::roots(reader.parquet_schema(), read);
        Ok(Self::Part(PartRows::new(reader.with_projection(mask).build()?, from)))
    }

    /// The next rows with their keys.
    pub(crate) fn next_chunk(&mut self, order: &KeyOrder) -> Result<Option<Chunk>, StoreError> {
        loop {
            let (rows, is_read) = match self {
                Self::Memory(rows) => (rows.next_rows()?, false),
                Self::Part(reader) => (reader.next().transpose()?, true),
            };
            match rows {
                None => return Ok(None),
                Some(rows) if rows.num_rows() == 0 => {}
                Some(rows) => {
                    let keys = order.encode(&rows)?;
                    let row_bytes = if is_read { bytes_of(&rows) / rows.num_rows() } else { 0 };
                    return Ok(Some(Chunk { rows, keys, row_bytes }));
                }
            }
        }
    }
}
