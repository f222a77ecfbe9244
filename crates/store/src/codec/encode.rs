//! A batch to bytes.

use std::cell::RefCell;

use arrow::array::{
    Array, ArrayRef, AsArray, ByteView, GenericListArray, OffsetSizeTrait, RecordBatch,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, ToByteSlice};
use arrow::error::ArrowError;
use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::kind::{Kind, kind};
use super::{ALIGN, BATCH_BYTES_MAX, BATCH_ROWS_MAX, FLAG_ALIGNED, HEAD_LEN, VERSION, coding};

/// Below this many bytes a buffer is not compressed: LZ4 would spend more on its table.
const COMPRESS_BYTES_MIN: usize = 256;
/// From this many bytes on, a sample decides first.
const SAMPLE_FROM: usize = 8 * 1024;
const SAMPLE_LEN: usize = 2 * 1024;
/// Below this many rows, buffers are packed without gaps and copied when read.
const ALIGNED_ROWS_MIN: usize = 64;
/// Below this many whole numbers, naming the least of them takes more than it saves.
const NARROW_ROWS_MIN: usize = 4;
/// The longest string that a view holds itself.
const INLINE_LEN: usize = 12;

/// What one thread keeps between batches.
struct Scratch {
    lz4: CompressTable,
    lengths: Vec<u32>,
    bytes: Vec<u8>,
    sample: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        lz4: CompressTable::large(),
        lengths: Vec::new(),
        bytes: Vec::new(),
        sample: Vec::new(),
    });
}

pub(super) fn encode(batch: &RecordBatch) -> Result<Bytes, ArrowError> {
    let rows = checked_rows(batch.num_rows())?;
    let columns = u32::try_from(batch.num_columns()).map_err(|_| too_large("columns"))?;
    SCRATCH.with_borrow_mut(|scratch| {
        let aligned = batch.num_rows() >= ALIGNED_ROWS_MIN;
        let mut out = Vec::with_capacity(HEAD_LEN + batch.num_rows() * batch.num_columns() * 8);
        out.resize(HEAD_LEN, 0);
        let mut encoder = Encoder { out, table: Vec::new(), aligned, scratch };
        for column in batch.columns() {
            encoder.array(column)?;
        }
        let Encoder { mut out, table, .. } = encoder;
        let table_at = u32::try_from(out.len()).map_err(|_| too_large("bytes"))?;
        out[0] = VERSION;
        out[1] = if aligned { FLAG_ALIGNED } else { 0 };
        out[4..8].copy_from_slice(&rows.to_le_bytes());
        out[8..12].copy_from_slice(&columns.to_le_bytes());
        out[12..16].copy_from_slice(&table_at.to_le_bytes());
        out.extend_from_slice(&table);
        Ok(out.into())
    })
}

struct Encoder<'a> {
    out: Vec<u8>,
    table: Vec<u8>,
    aligned: bool,
    scratch: &'a mut Scratch,
}

impl Encoder<'_> {
    fn array(&mut self, array: &ArrayRef) -> Result<(), ArrowError> {
        let data_type = array.data_type();
        let (kind, number) = kind(data_type).ok_or_else(|| {
            ArrowError::NotYetImplemented(format!("a column of type {data_type} cannot be stored"))
        })?;
        self.table.push(number);
        if kind == Kind::Null {
            return Ok(());
        }
        self.validity(array.nulls())?;
        match kind {
            Kind::Null => Ok(()),
            Kind::Boolean => {
                let bits = array.as_boolean().values().sliced();
                self.buffer(&bits[..array.len().div_ceil(8)])
            }
            Kind::Fixed(width) => {
                let data = array.to_data();
                let start = data.offset() * width;
                self.buffer(&data.buffers()[0][start..start + array.len() * width])
            }
            Kind::Whole => self.whole(array),
            Kind::Bytes => self.byte_array(array),
            Kind::List => self.list(array),
            Kind::FixedList(size) => {
                let list = array.as_fixed_size_list();
                let start = usize::try_from(list.value_offset(0)).unwrap_or(0);
                checked_rows(list.len() * size)?;
                self.array(&list.values().slice(start, list.len() * size))
            }
            Kind::Struct => {
                array.as_struct().columns().iter().try_for_each(|column| self.array(column))
            }
        }
    }

    fn validity(&mut self, nulls: Option<&NullBuffer>) -> Result<(), ArrowError> {
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => {
                self.table.push(coding::EMPTY);
                Ok(())
            }
            Some(nulls) => {
                let bits = nulls.inner().sliced();
                self.buffer(&bits[..nulls.len().div_ceil(8)])
            }
        }
    }

    /// Whole numbers; narrow when their range allows it, which is faster and shorter than LZ4.
    fn whole(&mut self, array: &ArrayRef) -> Result<(), ArrowError> {
        let data = array.to_data();
        let (start, end) = (data.offset(), data.offset() + data.len());
        let buffer = &data.buffers()[0];
        let values = &buffer.typed_data::<i64>()[start..end];
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        let Some((least, range)) = range(values, nulls).filter(|_| values.len() >= NARROW_ROWS_MIN)
        else {
            return self.buffer(&buffer[start * 8..end * 8]);
        };
        let width_log = match range {
            0..=0xFF => 0,
            0x100..=0xFFFF => 1,
            0x1_0000..=0xFFFF_FFFF => 2,
            _ => return self.buffer(&buffer[start * 8..end * 8]),
        };
        // What stands in a null row has no meaning, so it may wrap around.
        let above = values.iter().map(|value| value.wrapping_sub(least));
        self.table.push(coding::ABOVE | (width_log << coding::WIDTH_SHIFT));
        self.table.extend(least.to_le_bytes());
        match width_log {
            0 => self.buffer(&above.map(|above| above.to_le_bytes()[0]).collect::<Vec<_>>()),
            1 => self.raw(above.map(low16).collect::<Vec<_>>().to_byte_slice()),
            _ => self.raw(above.map(low32_of).collect::<Vec<_>>().to_byte_slice()),
        }
    }

    fn byte_array(&mut self, array: &ArrayRef) -> Result<(), ArrowError> {
        match array.data_type() {
            DataType::Utf8 => {
                let array = array.as_string::<i32>();
                self.offset_bytes(array.offsets(), array.values())
            }
            DataType::LargeUtf8 => {
                let array = array.as_string::<i64>();
                self.offset_bytes(array.offsets(), array.values())
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                self.offset_bytes(array.offsets(), array.values())
            }
            DataType::LargeBinary => {
                let array = array.as_binary::<i64>();
                self.offset_bytes(array.offsets(), array.values())
            }
            DataType::BinaryView => {
                let array = array.as_binary_view();
                self.views(array.views(), array.data_buffers(), array.nulls())
            }
            _ => {
                let array = array.as_string_view();
                self.views(array.views(), array.data_buffers(), array.nulls())
            }
        }
    }

    fn offset_bytes<O: OffsetSizeTrait>(
        &mut self,
        offsets: &OffsetBuffer<O>,
        values: &Buffer,
    ) -> Result<(), ArrowError> {
        let (start, end) = self.lengths_of(offsets)?;
        self.buffer(&values[start..end])
    }

    fn list(&mut self, array: &ArrayRef) -> Result<(), ArrowError> {
        if let DataType::Map(_, _) = array.data_type() {
            let map = array.as_map();
            let (start, end) = self.lengths_of(map.offsets())?;
            let entries: ArrayRef = std::sync::Arc::new(map.entries().slice(start, end - start));
            checked_rows(end - start)?;
            return self.array(&entries);
        }
        match array.as_list_opt::<i32>() {
            Some(list) => self.list_items(list),
            None => self.list_items(array.as_list::<i64>()),
        }
    }

    fn list_items<O: OffsetSizeTrait>(
        &mut self,
        list: &GenericListArray<O>,
    ) -> Result<(), ArrowError> {
        let (start, end) = self.lengths_of(list.offsets())?;
        checked_rows(end - start)?;
        self.array(&list.values().slice(start, end - start))
    }

    /// Writes the lengths between offsets; gives the first and the last offset.
    fn lengths_of<O: OffsetSizeTrait>(
        &mut self,
        offsets: &OffsetBuffer<O>,
    ) -> Result<(usize, usize), ArrowError> {
        let start = offsets.first().map_or(0, |o| o.as_usize());
        let end = offsets.last().map_or(0, |o| o.as_usize());
        check_bytes(end - start)?;
        let mut lengths = std::mem::take(&mut self.scratch.lengths);
        lengths.clear();
        lengths
            .extend(offsets.windows(2).map(|pair| low32(pair[1].as_usize() - pair[0].as_usize())));
        self.lengths(&lengths)?;
        self.scratch.lengths = lengths;
        Ok((start, end))
    }

    fn views(
        &mut self,
        views: &ScalarBuffer<u128>,
        buffers: &[Buffer],
        nulls: Option<&NullBuffer>,
    ) -> Result<(), ArrowError> {
        let mut lengths = std::mem::take(&mut self.scratch.lengths);
        lengths.clear();
        match nulls {
            None => lengths.extend(views.iter().map(|view| low_half(*view))),
            Some(nulls) => lengths.extend(
                views.iter().zip(nulls).map(|(v, valid)| if valid { low_half(*v) } else { 0 }),
            ),
        }
        let total = lengths.iter().map(|len| *len as usize).sum();
        check_bytes(total)?;
        self.lengths(&lengths)?;
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        gather_views(views, &lengths, buffers, total, &mut bytes);
        let written = self.buffer(&bytes[..total]);
        self.scratch.lengths = lengths;
        self.scratch.bytes = bytes;
        written
    }

    /// Lengths, as narrow as the longest allows.
    fn lengths(&mut self, lengths: &[u32]) -> Result<(), ArrowError> {
        let Some(first) = lengths.first() else {
            self.table.push(coding::EMPTY);
            return Ok(());
        };
        let (least, most) =
            lengths.iter().fold((*first, *first), |(lo, hi), len| (lo.min(*len), hi.max(*len)));
        if least == most {
            self.table.push(coding::EQUAL);
            put_varint(&mut self.table, most as usize);
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        bytes.clear();
        let width_log = if most <= u32::from(u8::MAX) {
            bytes.extend(lengths.iter().map(|len| len.to_le_bytes()[0]));
            0
        } else if most <= u32::from(u16::MAX) {
            for len in lengths {
                bytes.extend_from_slice(&len.to_le_bytes()[..2]);
            }
            1
        } else {
            for len in lengths {
                bytes.extend_from_slice(&len.to_le_bytes());
            }
            2
        };
        let entry = self.table.len();
        let written = self.buffer(&bytes);
        self.table[entry] |= width_log << coding::WIDTH_SHIFT;
        self.scratch.bytes = bytes;
        written
    }

    fn buffer(&mut self, bytes: &[u8]) -> Result<(), ArrowError> {
        if bytes.is_empty() {
            self.table.push(coding::EMPTY);
            return Ok(());
        }
        check_bytes(bytes.len())?;
        let start = self.out.len();
        if !self.compressible(bytes) || !self.compress(bytes) {
            return self.raw(bytes);
        }
        self.entry(coding::LZ4, start);
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), ArrowError> {
        check_bytes(bytes.len())?;
        let start = self.out.len();
        self.out.extend_from_slice(bytes);
        self.entry(coding::RAW, start);
        Ok(())
    }

    /// Describes the buffer that was put behind `start`.
    fn entry(&mut self, coding: u8, start: usize) {
        self.table.push(coding);
        put_varint(&mut self.table, self.out.len() - start);
        if self.aligned {
            self.out.resize(self.out.len().next_multiple_of(ALIGN), 0);
        }
    }

    /// Whether a sample from the middle becomes at least an eighth shorter.
    fn compressible(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() < SAMPLE_FROM {
            return bytes.len() >= COMPRESS_BYTES_MIN;
        }
        let start = bytes.len() / 2 - SAMPLE_LEN / 2;
        let sample = &bytes[start..start + SAMPLE_LEN];
        let Scratch { sample: out, lz4, .. } = &mut *self.scratch;
        out.resize(get_maximum_output_size(SAMPLE_LEN), 0);
        let len = compress_into_with_table(sample, out, lz4);
        len.is_ok_and(|len| len <= SAMPLE_LEN - SAMPLE_LEN / 8)
    }

    /// Appends `bytes` compressed, unless that saves less than a sixteenth.
    fn compress(&mut self, bytes: &[u8]) -> bool {
        let start = self.out.len();
        self.out.resize(start + get_maximum_output_size(bytes.len()), 0);
        let len = compress_into_with_table(bytes, &mut self.out[start..], &mut self.scratch.lz4);
        match len {
            Ok(len) if len <= bytes.len() - bytes.len() / 16 => {
                self.out.truncate(start + len);
                true
            }
            _ => {
                self.out.truncate(start);
                false
            }
        }
    }
}

/// Puts the `total` bytes that the views stand for into `out[..total]`.
fn gather_views(
    views: &[u128],
    lengths: &[u32],
    buffers: &[Buffer],
    total: usize,
    out: &mut Vec<u8>,
) {
    // Twelve bytes are copied for every short string, whatever its length: room for the last.
    if out.len() < total + INLINE_LEN {
        out.resize(total + INLINE_LEN, 0);
    }
    let mut at = 0;
    // Neighbours in the same buffer are copied together.
    let mut run = Run { buffer: 0, start: 0, len: 0 };
    for (view, len) in views.iter().zip(lengths) {
        let len = *len as usize;
        if len > INLINE_LEN {
            let view = ByteView::from(*view);
            let (buffer, start) = (view.buffer_index as usize, view.offset as usize);
            if run.buffer == buffer && run.start + run.len == start {
                run.len += len;
            } else {
                at += run.copy(buffers, &mut out[at..]);
                run = Run { buffer, start, len };
            }
        } else if len > 0 {
            at += run.copy(buffers, &mut out[at..]);
            run.start += run.len;
            run.len = 0;
            out[at..at + INLINE_LEN].copy_from_slice(&view.to_le_bytes()[4..]);
            at += len;
        }
    }
    at += run.copy(buffers, &mut out[at..]);
    debug_assert_eq!(at, total, "codec: the views' lengths add up");
}

/// Bytes next to each other in a buffer that belong to views next to each other.
struct Run {
    buffer: usize,
    start: usize,
    len: usize,
}

impl Run {
    fn copy(&self, buffers: &[Buffer], out: &mut [u8]) -> usize {
        if self.len > 0 {
            out[..self.len]
                .copy_from_slice(&buffers[self.buffer][self.start..self.start + self.len]);
        }
        self.len
    }
}

/// The least of the values that are not null, and how far the greatest is above it.
fn range(values: &[i64], nulls: Option<&NullBuffer>) -> Option<(i64, u64)> {
    let wider = |(least, most): (i64, i64), value: i64| (least.min(value), most.max(value));
    let none = (i64::MAX, i64::MIN);
    let (least, most) = match nulls {
        None => values.iter().fold(none, |found, value| wider(found, *value)),
        Some(nulls) => {
            let valid = nulls.valid_indices().map(|row| values[row]);
            valid.fold(none, wider)
        }
    };
    (least <= most).then(|| (least, most.wrapping_sub(least).cast_unsigned()))
}

#[expect(clippy::cast_possible_truncation, reason = "the range was found to be that narrow")]
#[expect(clippy::cast_sign_loss, reason = "what is above the least is not negative")]
fn low16(above: i64) -> u16 {
    above as u16
}

#[expect(clippy::cast_possible_truncation, reason = "the range was found to be that narrow")]
#[expect(clippy::cast_sign_loss, reason = "what is above the least is not negative")]
fn low32_of(above: i64) -> u32 {
    above as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the length is the low half of a view")]
fn low_half(view: u128) -> u32 {
    view as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the sum of all was checked before")]
fn low32(len: usize) -> u32 {
    len as u32
}

fn checked_rows(rows: usize) -> Result<u32, ArrowError> {
    match u32::try_from(rows) {
        Ok(number) if rows <= BATCH_ROWS_MAX => Ok(number),
        _ => Err(too_large("rows")),
    }
}

fn check_bytes(len: usize) -> Result<(), ArrowError> {
    if len <= BATCH_BYTES_MAX { Ok(()) } else { Err(too_large("bytes in a column")) }
}

fn too_large(what: &str) -> ArrowError {
    ArrowError::InvalidArgumentError(format!("a batch has too many {what} to be stored"))
}

/// Seven bits a byte, the lowest first; the high bit says that more follow (LEB128).
fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
