//! Rows picked from several batches, and strings that let go of buffers they hardly use.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, FixedSizeBinaryArray, RecordBatch,
    RecordBatchOptions, StringViewArray,
};
use arrow::buffer::{Buffer, MutableBuffer, NullBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, SchemaRef};

use crate::StoreError;

/// A view array with more buffers than this is copied into one when batches are put together.
const VIEW_BUFFERS_MAX: usize = 4;

/// Bytes that a batch may pin beyond what its rows use.
const PINNED_BYTES_MIN: usize = 64 * 1024;

/// The rows at `rows` (batch, row) of `batches`, in that order.
pub(crate) fn gather(
    schema: &SchemaRef,
    batches: &[&RecordBatch],
    rows: &[(usize, usize)],
) -> Result<RecordBatch, StoreError> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for column in 0..schema.fields().len() {
        let arrays: Vec<&dyn Array> =
            batches.iter().map(|batch| batch.column(column).as_ref()).collect();
        let gathered = match arrays.first().map(|a| a.data_type()) {
            Some(DataType::FixedSizeBinary(width)) => gather_fixed(&arrays, rows, *width)?,
            Some(_) => interleave(&arrays, rows)?,
            None => arrow::array::new_empty_array(schema.field(column).data_type()),
        };
        columns.push(gathered);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Arrow has no fast path for fixed binaries (uuids), which are in nearly every event.
fn gather_fixed(
    arrays: &[&dyn Array],
    rows: &[(usize, usize)],
    width: i32,
) -> Result<ArrayRef, StoreError> {
    let size = usize::try_from(width).unwrap_or(0);
    let arrays: Vec<&FixedSizeBinaryArray> =
        arrays.iter().map(|a| a.as_fixed_size_binary()).collect();
    let data: Vec<&[u8]> = arrays.iter().map(|a| a.value_data()).collect();
    let mut values = MutableBuffer::with_capacity(rows.len() * size);
    if size == 16 {
        // A constant width makes each copy one instruction.
        for &(batch, row) in rows {
            values.extend_from_slice(&data[batch][row * 16..row * 16 + 16]);
        }
    } else {
        for &(batch, row) in rows {
            values.extend_from_slice(&data[batch][row * size..(row + 1) * size]);
        }
    }
    let nulls = arrays
        .iter()
        .any(|a| a.null_count() > 0)
        .then(|| rows.iter().map(|&(batch, row)| arrays[batch].is_valid(row)).collect::<Vec<_>>())
        .map(NullBuffer::from);
    let values = Buffer::from(values);
    Ok(Arc::new(FixedSizeBinaryArray::try_new(width, values, nulls)?))
}

/// All of `batches` as one, in that order.
pub(crate) fn concat(
    schema: &SchemaRef,
    batches: &[&RecordBatch],
) -> Result<RecordBatch, StoreError> {
    let all = arrow::compute::concat_batches(schema, batches.iter().copied())?;
    compact_views(all)
}

/// The same rows, with string buffers copied where the rows use less than half of what they pin
/// or are scattered over many.
pub(crate) fn compact_views(batch: RecordBatch) -> Result<RecordBatch, StoreError> {
    let mut columns = Vec::new();
    for (i, column) in batch.columns().iter().enumerate() {
        let compacted: Option<ArrayRef> = match column.data_type() {
            DataType::Utf8View => {
                let array: &StringViewArray = column.as_string_view();
                sparse(array.data_buffers(), || array.total_buffer_bytes_used())
                    .then(|| Arc::new(array.gc()) as ArrayRef)
            }
            DataType::BinaryView => {
                let array: &BinaryViewArray = column.as_binary_view();
                sparse(array.data_buffers(), || array.total_buffer_bytes_used())
                    .then(|| Arc::new(array.gc()) as ArrayRef)
            }
            _ => None,
        };
        if let Some(compacted) = compacted {
            columns.push((i, compacted));
        }
    }
    if columns.is_empty() {
        return Ok(batch);
    }
    let (schema, mut arrays, _) = batch.into_parts();
    for (i, compacted) in columns {
        arrays[i] = compacted;
    }
    Ok(RecordBatch::try_new(schema, arrays)?)
}

fn sparse(buffers: &[Buffer], used: impl FnOnce() -> usize) -> bool {
    if buffers.is_empty() {
        return false;
    }
    if buffers.len() > VIEW_BUFFERS_MAX {
        return true;
    }
    let pinned: usize = buffers.iter().map(Buffer::capacity).sum();
    pinned > PINNED_BYTES_MIN && pinned > 2 * used()
}

/// The bytes that the rows of a batch take in memory.
pub(crate) fn bytes_of(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

pub(super) fn column_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8View => view_bytes(column.len(), column.as_string_view().data_buffers()),
        DataType::BinaryView => view_bytes(column.len(), column.as_binary_view().data_buffers()),
        _ => {
            let data = column.to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
        }
    }
}

fn view_bytes(rows: usize, buffers: &[Buffer]) -> usize {
    rows * 16 + buffers.iter().map(Buffer::len).sum::<usize>()
}
