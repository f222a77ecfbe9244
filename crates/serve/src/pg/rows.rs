//! Rows of a running query on their way to a client.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::BufMut;
use futures::StreamExt;
use futures::stream::Fuse;
use yeoul_engine::{EngineError, RowStream};

use super::column::{Cells, PgColumn};
use super::connection::Failure;
use super::reply;
use super::wire::{FLUSH_BYTES, Wire};

/// A query's rows, sent so far to some row.
pub(crate) struct Rows {
    stream: Fuse<RowStream>,
    columns: Arc<[PgColumn]>,
    batch: Vec<Cells>,
    /// How many rows the batch has, and how many of them are sent.
    length: usize,
    at: usize,
    /// Rows sent of all batches.
    pub(crate) sent: u64,
}

impl Rows {
    pub(crate) fn new(stream: RowStream, columns: Arc<[PgColumn]>) -> Self {
        Self { stream: stream.fuse(), columns, batch: Vec::new(), length: 0, at: 0, sent: 0 }
    }

    /// Whether the rows go out in the forms of these columns.
    pub(crate) fn goes_out_as(&self, columns: &[PgColumn]) -> bool {
        self.columns.iter().map(|c| c.binary).eq(columns.iter().map(|c| c.binary))
    }

    /// Takes the next batch that has rows; false when there is none.
    pub(crate) async fn advance(&mut self, wire: &mut Wire) -> Result<bool, Failure> {
        while self.at == self.length {
            let Some(batch) = wire.during(self.stream.next()).await? else { return Ok(false) };
            let batch = batch?;
            self.batch = cells(&self.columns, &batch)?;
            (self.length, self.at) = (batch.num_rows(), 0);
        }
        Ok(true)
    }

    /// Puts the next row, which there is.
    fn put(&mut self, out: &mut Vec<u8>) {
        out.put_u8(b'D');
        let at = out.len();
        out.put_u32(0);
        out.put_u16(u16::try_from(self.columns.len()).unwrap_or(u16::MAX));
        for cells in &self.batch {
            if cells.is_null(self.at) {
                out.put_i32(-1);
                continue;
            }
            let at = out.len();
            out.put_u32(0);
            cells.put(self.at, out);
            let length = u32::try_from(out.len() - at - 4).expect("a value is far below 4 GiB");
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        reply::close(out, at);
        self.at += 1;
        self.sent += 1;
    }

    /// Sends up to `rows_max` rows (0 = all). Returns whether all are sent.
    pub(crate) async fn send(&mut self, wire: &mut Wire, rows_max: u32) -> Result<bool, Failure> {
        let mut left = if rows_max == 0 { u64::MAX } else { u64::from(rows_max) };
        while left > 0 {
            if !self.advance(wire).await? {
                return Ok(true);
            }
            while left > 0 && self.at < self.length && wire.out.len() < FLUSH_BYTES {
                self.put(&mut wire.out);
                left -= 1;
            }
            wire.flush_full().await?;
        }
        // Like PostgreSQL, a portal that is filled exactly is suspended, not finished.
        Ok(false)
    }

    /// The values of the next row, which is passed; `None` behind the last of the batch.
    pub(crate) fn next_row(&mut self) -> Option<(&[Cells], usize)> {
        if self.at == self.length {
            return None;
        }
        self.at += 1;
        self.sent += 1;
        Some((&self.batch, self.at - 1))
    }
}

fn cells(columns: &[PgColumn], batch: &RecordBatch) -> Result<Vec<Cells>, EngineError> {
    let schema = batch.schema_ref();
    let columns = columns.iter().zip(batch.columns()).zip(schema.fields());
    columns.map(|((column, array), field)| column.cells(array, field)).collect()
}
