//! Bytes to a batch. Nothing in the bytes is trusted.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, BinaryViewArray, BooleanArray, FixedSizeListArray,
    GenericBinaryArray, GenericListArray, GenericStringArray, MapArray, NullArray, RecordBatch,
    RecordBatchOptions, StringViewArray, StructArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;

use super::kind::{Kind, kind};
use super::{ALIGN, BATCH_BYTES_MAX, BATCH_ROWS_MAX, FLAG_ALIGNED, HEAD_LEN, VERSION, bad, coding};

/// The most bytes that one byte of an LZ4 block can stand for (its format's length code).
const LZ4_RATIO_MAX: usize = 255;

pub(super) fn decode(schema: &SchemaRef, bytes: &Bytes) -> Result<RecordBatch, ArrowError> {
    let head = bytes.get(..HEAD_LEN).ok_or_else(|| bad("the batch ends within its head"))?;
    if head[0] != VERSION {
        return Err(bad(format!("batch format {}; this program reads {VERSION}", head[0])));
    }
    if head[1] & !FLAG_ALIGNED != 0 || head[2] != 0 || head[3] != 0 {
        return Err(bad("the batch has unknown flags"));
    }
    let rows = word(head, 4);
    let (columns, table_at) = (word(head, 8), word(head, 12));
    if rows > BATCH_ROWS_MAX {
        return Err(bad(format!("a batch of {rows} rows; the most is {BATCH_ROWS_MAX}")));
    }
    if columns != schema.fields().len() {
        let expected = schema.fields().len();
        return Err(bad(format!("the batch has {columns} columns, the schema {expected}")));
    }
    if table_at < HEAD_LEN || table_at > bytes.len() {
        return Err(bad("the batch's table is outside it"));
    }
    let mut decoder = Decoder {
        body: bytes.slice(..table_at),
        at: HEAD_LEN,
        table: &bytes[table_at..],
        aligned: head[1] & FLAG_ALIGNED != 0,
    };
    let mut arrays = Vec::with_capacity(columns);
    for field in schema.fields() {
        arrays.push(decoder.array(field.data_type(), rows)?);
    }
    if !decoder.table.is_empty() || decoder.at != table_at {
        return Err(bad("bytes are left over behind the last column"));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
}

fn word(head: &[u8], at: usize) -> usize {
    let mut four = [0; 4];
    four.copy_from_slice(&head[at..at + 4]);
    u32::from_le_bytes(four) as usize
}

struct Decoder<'a> {
    body: Bytes,
    at: usize,
    table: &'a [u8],
    aligned: bool,
}

impl Decoder<'_> {
    fn array(&mut self, data_type: &DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
        let (kind, number) = kind(data_type)
            .ok_or_else(|| bad(format!("a column of type {data_type} cannot be stored")))?;
        let found = self.table_byte()?;
        if found != number {
            return Err(bad(format!(
                "a column of type {data_type} ({number}) was stored with type {found}"
            )));
        }
        if kind == Kind::Null {
            return Ok(Arc::new(NullArray::new(rows)));
        }
        let nulls = self.validity(rows)?;
        match kind {
            Kind::Null | Kind::Boolean => {
                let bits = self.buffer(rows.div_ceil(8))?;
                Ok(Arc::new(BooleanArray::new(BooleanBuffer::new(bits, 0, rows), nulls)))
            }
            Kind::Fixed(_) | Kind::Whole => {
                let values = match kind {
                    Kind::Fixed(width) => self.buffer(rows.saturating_mul(width))?,
                    _ => self.whole(rows)?,
                };
                let data = ArrayData::builder(data_type.clone()).len(rows).add_buffer(values);
                Ok(make_array(data.nulls(nulls).align_buffers(true).build()?))
            }
            Kind::Bytes => self.byte_array(data_type, rows, nulls),
            Kind::List => self.list(data_type, rows, nulls),
            Kind::FixedList(size) => self.fixed_list(data_type, rows, size, nulls),
            Kind::Struct => self.structure(data_type, rows, nulls),
        }
    }

    /// The values of whole numbers of eight bytes.
    fn whole(&mut self, rows: usize) -> Result<Buffer, ArrowError> {
        let tag = self.table_byte()?;
        if tag & coding::MASK != coding::ABOVE {
            return self.stored(tag, rows * 8);
        }
        let (least, rest) = self.table.split_first_chunk().ok_or_else(cut_short)?;
        self.table = rest;
        let least = i64::from_le_bytes(*least);
        let width_log = tag >> coding::WIDTH_SHIFT;
        if width_log > 2 {
            return Err(bad("differences wider than four bytes"));
        }
        let above = self.buffer(rows << width_log)?;
        let add = |above: u32| least.wrapping_add(i64::from(above));
        let values: Vec<i64> = match width_log {
            0 => above.iter().map(|one| add(u32::from(*one))).collect(),
            1 => {
                let pairs = above.chunks_exact(2);
                pairs.map(|two| add(u32::from(u16::from_le_bytes([two[0], two[1]])))).collect()
            }
            _ => {
                let fours = above.chunks_exact(4);
                fours.map(|f| add(u32::from_le_bytes([f[0], f[1], f[2], f[3]]))).collect()
            }
        };
        Ok(Buffer::from_vec(values))
    }

    fn byte_array(
        &mut self,
        data_type: &DataType,
        rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let offsets = self.offsets(rows, BATCH_BYTES_MAX)?;
        let values = self.buffer(last(&offsets))?;
        Ok(match data_type {
            DataType::Utf8 => Arc::new(GenericStringArray::try_new(offsets, values, nulls)?),
            DataType::Utf8View => {
                let strings = GenericStringArray::try_new(offsets, values, nulls)?;
                Arc::new(StringViewArray::from(&strings))
            }
            DataType::LargeUtf8 => {
                Arc::new(GenericStringArray::try_new(wide(&offsets), values, nulls)?)
            }
            DataType::Binary => Arc::new(GenericBinaryArray::try_new(offsets, values, nulls)?),
            DataType::LargeBinary => {
                Arc::new(GenericBinaryArray::try_new(wide(&offsets), values, nulls)?)
            }
            _ => {
                let strings = GenericBinaryArray::try_new(offsets, values, nulls)?;
                Arc::new(BinaryViewArray::from(&strings))
            }
        })
    }

    fn list(
        &mut self,
        data_type: &DataType,
        rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let offsets = self.offsets(rows, BATCH_ROWS_MAX)?;
        let items = last(&offsets);
        match data_type {
            DataType::List(field) => {
                let values = self.array(field.data_type(), items)?;
                let field = Arc::clone(field);
                Ok(Arc::new(GenericListArray::<i32>::try_new(field, offsets, values, nulls)?))
            }
            DataType::LargeList(field) => {
                let values = self.array(field.data_type(), items)?;
                let field = Arc::clone(field);
                let offsets = wide(&offsets);
                Ok(Arc::new(GenericListArray::<i64>::try_new(field, offsets, values, nulls)?))
            }
            DataType::Map(field, ordered) => {
                let values = self.array(field.data_type(), items)?;
                let entries = values
                    .as_any()
                    .downcast_ref::<StructArray>()
                    .ok_or_else(|| bad("the entries of a map are not structs"))?;
                let (field, entries) = (Arc::clone(field), entries.clone());
                Ok(Arc::new(MapArray::try_new(field, offsets, entries, nulls, *ordered)?))
            }
            other => Err(bad(format!("{other} is not a list"))),
        }
    }

    fn fixed_list(
        &mut self,
        data_type: &DataType,
        rows: usize,
        size: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let DataType::FixedSizeList(field, width) = data_type else {
            return Err(bad(format!("{data_type} is not a list")));
        };
        let items = rows.checked_mul(size).filter(|items| *items <= BATCH_ROWS_MAX);
        let items = items.ok_or_else(|| bad("the lists of a column have too many items"))?;
        let values = self.array(field.data_type(), items)?;
        let field = Arc::clone(field);
        Ok(Arc::new(FixedSizeListArray::try_new_with_length(field, *width, values, nulls, rows)?))
    }

    fn structure(
        &mut self,
        data_type: &DataType,
        rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let DataType::Struct(fields) = data_type else {
            return Err(bad(format!("{data_type} is not a struct")));
        };
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            columns.push(self.array(field.data_type(), rows)?);
        }
        Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, rows)?))
    }

    fn validity(&mut self, rows: usize) -> Result<Option<NullBuffer>, ArrowError> {
        if self.table.first() == Some(&coding::EMPTY) {
            self.table_byte()?;
            return Ok(None);
        }
        let bits = self.buffer(rows.div_ceil(8))?;
        let nulls = NullBuffer::new(BooleanBuffer::new(bits, 0, rows));
        Ok(Some(nulls).filter(|nulls| nulls.null_count() > 0))
    }

    /// The offsets that the stored lengths give; their sum is at most `most`.
    fn offsets(&mut self, rows: usize, most: usize) -> Result<OffsetBuffer<i32>, ArrowError> {
        let tag = *self.table.first().ok_or_else(cut_short)?;
        let mut offsets = Vec::with_capacity(rows + 1);
        let mut end = 0_usize;
        offsets.push(0);
        let mut push = |len: usize| {
            end += len;
            offsets.push(as_offset(end));
        };
        if tag == coding::EQUAL {
            self.table_byte()?;
            let len = self.varint()?;
            let sum = len.checked_mul(rows).filter(|sum| *sum <= most);
            sum.ok_or_else(|| bad("the lengths of a column add up to too much"))?;
            (0..rows).for_each(|_| push(len));
        } else {
            self.table_byte()?;
            let width_log = tag >> coding::WIDTH_SHIFT;
            if width_log > 2 {
                return Err(bad("lengths wider than four bytes"));
            }
            let lengths = self.stored(tag & coding::MASK, rows << width_log)?;
            match width_log {
                0 => lengths.iter().for_each(|len| push(usize::from(*len))),
                1 => lengths
                    .chunks_exact(2)
                    .for_each(|two| push(usize::from(u16::from_le_bytes([two[0], two[1]])))),
                _ => lengths.chunks_exact(4).for_each(|four| push(word(four, 0))),
            }
        }
        if end > most {
            return Err(bad("the lengths of a column add up to too much"));
        }
        Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
    }

    /// The next buffer, which must have exactly `len` bytes.
    fn buffer(&mut self, len: usize) -> Result<Buffer, ArrowError> {
        let coding = self.table_byte()?;
        self.stored(coding, len)
    }

    /// As [`Self::buffer`], when its byte in the table has been read.
    fn stored(&mut self, coding: u8, len: usize) -> Result<Buffer, ArrowError> {
        if coding == coding::EMPTY {
            return if len == 0 { Ok(Buffer::default()) } else { Err(cut_short()) };
        }
        let stored_len = self.varint()?;
        let end = self.at.checked_add(stored_len).filter(|end| *end <= self.body.len());
        let stored = self.body.slice(self.at..end.ok_or_else(cut_short)?);
        self.at += stored_len;
        if self.aligned {
            self.at = self.at.next_multiple_of(ALIGN).min(self.body.len());
        }
        match coding {
            coding::RAW if stored_len == len => Ok(Buffer::from(stored)),
            coding::RAW => {
                Err(bad(format!("a buffer has {stored_len} bytes where {len} were expected")))
            }
            coding::LZ4 => unpack(&stored, len),
            _ => Err(bad(format!("a buffer cannot be stored as {coding}"))),
        }
    }

    fn table_byte(&mut self) -> Result<u8, ArrowError> {
        let (first, rest) = self.table.split_first().ok_or_else(cut_short)?;
        self.table = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<usize, ArrowError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = usize::from(self.table_byte()?);
            value |= (byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a length in the batch's table is too long"))
    }
}

fn unpack(stored: &[u8], len: usize) -> Result<Buffer, ArrowError> {
    if len > BATCH_BYTES_MAX || len > stored.len().saturating_mul(LZ4_RATIO_MAX) {
        return Err(bad(format!("{} bytes cannot be unpacked to {len}", stored.len())));
    }
    let mut out = vec![0; len];
    match lz4_flex::block::decompress_into(stored, &mut out) {
        Ok(written) if written == len => Ok(Buffer::from_vec(out)),
        Ok(written) => Err(bad(format!("a buffer unpacks to {written} bytes, not {len}"))),
        Err(error) => Err(bad(format!("a buffer cannot be unpacked: {error}"))),
    }
}

fn cut_short() -> ArrowError {
    bad("the batch ends before its last column")
}

fn last(offsets: &OffsetBuffer<i32>) -> usize {
    offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
}

fn wide(offsets: &OffsetBuffer<i32>) -> OffsetBuffer<i64> {
    OffsetBuffer::new(offsets.iter().map(|end| i64::from(*end)).collect())
}

/// An offset, or the largest one: a sum that large is refused when all lengths are known. The
/// offsets stay in order, which [`OffsetBuffer::new`] insists on.
fn as_offset(end: usize) -> i32 {
    i32::try_from(end).unwrap_or(i32::MAX)
}
