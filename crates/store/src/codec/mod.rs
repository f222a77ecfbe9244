//! Batches as bytes, for the log. `docs/format/batch.md` has every byte.
//!
//! ```text
//!   head (16) │ buffer │ buffer │ … │ table: type of each array, kind and length of each buffer
//! ```
//!
//! The buffers are those of Arrow's columnar format, in the order of Arrow IPC, with four
//! differences that pay: variable-length values are stored as lengths and bytes (so a slice of a
//! large batch, or views into a request's body, carry only their own bytes); whole numbers of a
//! narrow range are stored narrow; each buffer is compressed only where a sample says that it
//! helps; and the description of a one-row batch takes tens of bytes, not hundreds. The schema
//! is not stored: the catalog has it.
//!
//! What must hold: decoding any bytes gives a valid batch or an error, never a panic and never
//! memory out of proportion.
//!
//! Limits: [`BATCH_ROWS_MAX`], [`BATCH_BYTES_MAX`]. Dictionaries, unions, run-end and list views
//! are refused: no column of a stream has them.

mod decode;
mod encode;
mod kind;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bytes::Bytes;

use crate::StoreError;

/// The most rows of a batch, and the most items in the lists of one column: 64 Mi. A few bytes
/// can describe many equal rows, so this is what bounds the memory that decoding takes.
pub const BATCH_ROWS_MAX: usize = 1 << 26;
/// The most bytes of one buffer of a batch, 1 GiB.
pub const BATCH_BYTES_MAX: usize = 1 << 30;

/// The format version that is written, and the newest that is read.
const VERSION: u8 = 1;
/// In the head's flags: every buffer starts at a multiple of [`ALIGN`].
const FLAG_ALIGNED: u8 = 1;
/// The length of the head.
const HEAD_LEN: usize = 16;
/// What Arrow's widest values need.
const ALIGN: usize = 16;

/// How a buffer is stored; the low two bits of its byte in the table.
mod coding {
    /// Nothing is stored.
    pub(super) const EMPTY: u8 = 0;
    /// As it is.
    pub(super) const RAW: u8 = 1;
    /// As an LZ4 block.
    pub(super) const LZ4: u8 = 2;
    /// Lengths that are all the same: the value is in the table.
    pub(super) const EQUAL: u8 = 3;
    /// Whole numbers, as what each is above the least of them: the least is in the table, and
    /// an entry for the buffer of the differences follows.
    pub(super) const ABOVE: u8 = 3;
    /// All of the above.
    pub(super) const MASK: u8 = 3;
    /// Where the logarithm of the width of lengths or differences stands.
    pub(super) const WIDTH_SHIFT: u8 = 2;
}

/// The rows as bytes. Slices and shared buffers are written without what is not theirs.
///
/// # Errors
/// When a column's type cannot be stored, or a limit is exceeded.
pub fn encode_batch(batch: &RecordBatch) -> Result<Bytes, StoreError> {
    Ok(encode::encode(batch)?)
}

/// The rows that `bytes` hold, which were encoded with columns of the same types. Buffers that
/// are stored uncompressed and aligned are not copied: the batch then keeps `bytes` alive.
///
/// # Errors
/// When the bytes are not such a batch.
pub fn decode_batch(schema: &SchemaRef, bytes: Bytes) -> Result<RecordBatch, StoreError> {
    Ok(decode::decode(schema, &bytes)?)
}

fn bad(what: impl Into<String>) -> ArrowError {
    ArrowError::IpcError(what.into())
}

#[cfg(test)]
mod tests;
