//! The order of a tree's rows, as keys that are quick to compare.
//!
//! ```text
//!   (product_id, ts) ──range-compressed──▶ one u64 or u128 per row     integers, times, booleans
//!   (category, …)    ──KeyCodec──────────▶ ordered bytes per row       everything else
//! ```
//!
//! What must hold: two keys compare like their columns, ascending with nulls last, whichever of the
//! two forms is used; keys of different batches compare with each other only when they come from
//! the same [`KeyOrder`], because the packed form depends on the ranges it was made for.
//!
//! Not here: what happens to rows of one key (`rule`), where rows come from (`source`).

use std::borrow::Cow;
use std::cmp::Ordering;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::row::Rows;
use yeoul_batch::KeyCodec;

use crate::{StoreError, TreeSpec};

/// The values of one key column that occur, as ordered integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneRange {
    min: i64,
    max: i64,
    nulls: bool,
}

impl LaneRange {
    const EMPTY: Self = Self { min: i64::MAX, max: i64::MIN, nulls: false };
    const FULL: Self = Self { min: i64::MIN, max: i64::MAX, nulls: true };

    fn include(&mut self, other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.nulls |= other.nulls;
    }

    /// The bits of a code: values from 0 to `max - min`, and one more for null.
    fn bits(&self) -> u32 {
        if self.min > self.max {
            return 0;
        }
        let span = u128::from(self.max.abs_diff(self.min)) + u128::from(self.nulls);
        128 - span.leading_zeros()
    }
}

/// The least and the greatest value of a column, and whether it has nulls.
pub(crate) type Known = (i64, i64, bool);

/// What is known of the key columns before their rows are looked at.
#[derive(Clone, Debug)]
pub(crate) struct KeyRanges {
    lanes: Option<Vec<LaneRange>>,
}

impl KeyRanges {
    /// Of no row. Without lanes when a column's type cannot be packed.
    pub(crate) fn new(spec: &TreeSpec) -> Self {
        let packs = spec.key.iter().all(|&c| packs(spec.schema.field(c).data_type()));
        Self { lanes: packs.then(|| vec![LaneRange::EMPTY; spec.key.len()]) }
    }

    /// Takes in the rows of a batch.
    pub(crate) fn include_batch(&mut self, batch: &RecordBatch, key: &[usize]) {
        let Some(lanes) = &mut self.lanes else { return };
        for (lane, &column) in lanes.iter_mut().zip(key) {
            lane.include(range_of(batch.column(column).as_ref()));
        }
    }

    /// Takes in rows of which only the encoded first and last values per column are known.
    /// `None` for a column of which nothing is known.
    pub(crate) fn include_values(&mut self, known: &[Option<Known>]) {
        let Some(lanes) = &mut self.lanes else { return };
        for (lane, known) in lanes.iter_mut().zip(known) {
            lane.include(known.map_or(LaneRange::FULL, |(min, max, nulls)| LaneRange {
                min,
                max,
                nulls,
            }));
        }
    }
}

/// Whether a column of this type has ordered integers for values.
pub(crate) fn packs(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Date32
            | DataType::Time64(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}

/// The values of a column that [`packs`], as integers of the same order.
fn lane_values(column: &dyn Array) -> Cow<'_, [i64]> {
    macro_rules! widened {
        ($t:ty) => {
            Cow::Owned(column.as_primitive::<$t>().values().iter().map(|&v| i64::from(v)).collect())
        };
    }
    match column.data_type() {
        DataType::Int64 => Cow::Borrowed(column.as_primitive::<Int64Type>().values()),
        DataType::Timestamp(_, _) => {
            Cow::Borrowed(column.as_primitive::<TimestampMicrosecondType>().values())
        }
        DataType::Time64(_) => {
            Cow::Borrowed(column.as_primitive::<Time64MicrosecondType>().values())
        }
        DataType::UInt64 => {
            let values = column.as_primitive::<UInt64Type>().values();
            Cow::Owned(values.iter().map(|&v| ordered(v)).collect())
        }
        DataType::Int8 => widened!(Int8Type),
        DataType::Int16 => widened!(Int16Type),
        DataType::Int32 => widened!(Int32Type),
        DataType::UInt8 => widened!(UInt8Type),
        DataType::UInt16 => widened!(UInt16Type),
        DataType::UInt32 => widened!(UInt32Type),
        DataType::Date32 => widened!(Date32Type),
        DataType::Boolean => {
            Cow::Owned(column.as_boolean().values().iter().map(i64::from).collect())
        }
        other => unreachable!("a key column of type {other} was taken for an integer"),
    }
}

/// An unsigned value as a signed one of the same order.
pub(crate) fn ordered(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

fn range_of(column: &dyn Array) -> LaneRange {
    let values = lane_values(column);
    let nulls = column.null_count() > 0;
    let mut range = LaneRange { nulls, ..LaneRange::EMPTY };
    if nulls {
        for (i, &v) in values.iter().enumerate() {
            if column.is_valid(i) {
                range.min = range.min.min(v);
                range.max = range.max.max(v);
            }
        }
        if range.min > range.max {
            // Only nulls: one value, so that the null has a code behind it.
            (range.min, range.max) = (0, 0);
        }
    } else {
        for &v in values.iter() {
            range.min = range.min.min(v);
            range.max = range.max.max(v);
        }
    }
    range
}

/// One packed key column.
#[derive(Clone, Copy, Debug)]
struct Lane {
    column: usize,
    min: i64,
    null_code: u64,
    bits: u32,
}

/// How the rows of some batches are compared.
#[derive(Debug)]
pub(crate) struct KeyOrder {
    codec: KeyCodec,
    lanes: Option<Vec<Lane>>,
    bits: u32,
}

impl KeyOrder {
    /// The order of rows whose key columns stay within `ranges`.
    pub(crate) fn new(spec: &TreeSpec, ranges: &KeyRanges) -> Result<Self, StoreError> {
        let codec = KeyCodec::new(&spec.schema, &spec.key)?;
        let mut lanes = Vec::new();
        let mut bits = 0;
        for (range, &column) in ranges.lanes.iter().flatten().zip(&spec.key) {
            let lane_bits = range.bits();
            bits += lane_bits;
            let null_code = range.max.abs_diff(range.min).wrapping_add(1);
            lanes.push(Lane { column, min: range.min, null_code, bits: lane_bits.min(64) });
            if lane_bits > 64 {
                bits = u32::MAX / 2;
            }
        }
        let packed = ranges.lanes.is_some() && bits <= 128;
        Ok(Self { codec, lanes: packed.then_some(lanes), bits })
    }

    /// The bits of a packed key, `None` when keys are bytes.
    pub(crate) fn packed_bits(&self) -> Option<u32> {
        self.lanes.as_ref().map(|_| self.bits)
    }

    /// The keys of the rows of `batch`.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Keys, StoreError> {
        let Some(lanes) = &self.lanes else {
            return Ok(Keys::Bytes(self.codec.encode(batch)?));
        };
        if self.bits <= 64 {
            let mut codes = vec![0u64; batch.num_rows()];
            for lane in lanes.iter().filter(|lane| lane.bits > 0) {
                let column = batch.column(lane.column);
                fold(column.as_ref(), lane, |i, code| {
                    // The first lane may fill all 64 bits, and a shift by 64 is not defined.
                    let shifted = if lane.bits == 64 { 0 } else { codes[i] << lane.bits };
                    codes[i] = shifted | code;
                });
            }
            return Ok(Keys::Narrow(codes));
        }
        let mut codes = vec![0u128; batch.num_rows()];
        for lane in lanes {
            let column = batch.column(lane.column);
            fold(column.as_ref(), lane, |i, code| {
                codes[i] = codes[i] << lane.bits | u128::from(code);
            });
        }
        Ok(Keys::Wide(codes))
    }
}

/// Gives the code of every value of a lane's column.
#[inline]
fn fold(column: &dyn Array, lane: &Lane, mut put: impl FnMut(usize, u64)) {
    let values = lane_values(column);
    if column.null_count() == 0 {
        for (i, &v) in values.iter().enumerate() {
            put(i, v.wrapping_sub(lane.min).cast_unsigned());
        }
    } else {
        for (i, &v) in values.iter().enumerate() {
            let code = v.wrapping_sub(lane.min).cast_unsigned();
            put(i, if column.is_null(i) { lane.null_code } else { code });
        }
    }
}

/// The keys of a batch's rows.
#[derive(Debug)]
pub(crate) enum Keys {
    /// Packed into 64 bits.
    Narrow(Vec<u64>),
    /// Packed into 128 bits.
    Wide(Vec<u128>),
    /// As ordered bytes.
    Bytes(Rows),
}

impl Keys {
    /// Compares row `i` of these keys with row `j` of others of the same order.
    #[inline]
    pub(crate) fn compare(&self, i: usize, other: &Self, j: usize) -> Ordering {
        match (self, other) {
            (Self::Narrow(a), Self::Narrow(b)) => a[i].cmp(&b[j]),
            (Self::Wide(a), Self::Wide(b)) => a[i].cmp(&b[j]),
            (Self::Bytes(a), Self::Bytes(b)) => a.row(i).cmp(&b.row(j)),
            _ => unreachable!("keys of two orders were compared"),
        }
    }

    /// Whether the two rows have one key.
    #[inline]
    pub(crate) fn same(&self, i: usize, other: &Self, j: usize) -> bool {
        self.compare(i, other, j) == Ordering::Equal
    }

    /// The first row from `from` on whose key is greater than row `j` of `other` (or, with
    /// `or_equal`, not smaller). Gallops, because runs are either short or very long.
    pub(crate) fn end_of_run(
        &self,
        from: usize,
        len: usize,
        other: &Self,
        j: usize,
        or_equal: bool,
    ) -> usize {
        let before = |i: usize| match self.compare(i, other, j) {
            Ordering::Less => true,
            Ordering::Equal => !or_equal,
            Ordering::Greater => false,
        };
        let mut step = 1;
        let mut low = from;
        while low + step <= len && before(low + step - 1) {
            low += step;
            step *= 2;
        }
        let mut high = (low + step - 1).min(len);
        while low < high {
            let middle = low.midpoint(high);
            if before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Where a row stands among several batches: which batch, and which row of it.
pub(crate) type Address = (u32, u32);

/// Puts `rows` (addresses into the batches whose keys are `keys`) into the order of their keys;
/// rows of one key stay as they were.
pub(crate) fn sort_rows(order: &KeyOrder, keys: &[Keys], rows: &mut Vec<Address>) {
    let position_bits = u64::BITS - (rows.len() as u64).leading_zeros();
    match order.packed_bits() {
        Some(0) => {}
        Some(bits) if bits + position_bits <= 64 => sort_narrow(keys, rows, position_bits),
        Some(bits) if bits + position_bits <= 128 => sort_wide(keys, rows, position_bits),
        Some(_) => rows.sort_by(|&a, &b| compare(keys, a, b)),
        None => sort_bytes(keys, rows),
    }
}

fn compare(keys: &[Keys], a: Address, b: Address) -> Ordering {
    keys[a.0 as usize].compare(a.1 as usize, &keys[b.0 as usize], b.1 as usize)
}

/// Key and position in one word: the position makes the order stable and leads back to the row.
fn sort_narrow(keys: &[Keys], rows: &mut Vec<Address>, position_bits: u32) {
    let mut words: Vec<u64> = Vec::with_capacity(rows.len());
    for (position, &(batch, row)) in rows.iter().enumerate() {
        let Keys::Narrow(codes) = &keys[batch as usize] else {
            unreachable!("64 bits were enough for the key and its position")
        };
        words.push(codes[row as usize] << position_bits | position as u64);
    }
    if words.is_sorted() {
        return;
    }
    words.sort_unstable();
    let mask = (1u64 << position_bits) - 1;
    *rows = words.iter().map(|word| rows[position_in(word & mask)]).collect();
}

fn sort_wide(keys: &[Keys], rows: &mut Vec<Address>, position_bits: u32) {
    let mut words: Vec<u128> = Vec::with_capacity(rows.len());
    for (position, &(batch, row)) in rows.iter().enumerate() {
        let code = match &keys[batch as usize] {
            Keys::Narrow(codes) => u128::from(codes[row as usize]),
            Keys::Wide(codes) => codes[row as usize],
            Keys::Bytes(_) => unreachable!("a packed order has packed keys"),
        };
        words.push(code << position_bits | position as u128);
    }
    if words.is_sorted() {
        return;
    }
    words.sort_unstable();
    let mask = (1u128 << position_bits) - 1;
    *rows = words
        .iter()
        .map(|word| rows[position_in(u64::try_from(word & mask).expect("a position is 64 bits"))])
        .collect();
}

fn position_in(masked: u64) -> usize {
    usize::try_from(masked).expect("a position in memory")
}

/// The first 16 bytes decide nearly always; the rest is looked at when they do not.
fn sort_bytes(keys: &[Keys], rows: &mut Vec<Address>) {
    let mut words: Vec<(u128, u32, Address)> = Vec::with_capacity(rows.len());
    for (position, &(batch, row)) in rows.iter().enumerate() {
        let Keys::Bytes(encoded) = &keys[batch as usize] else {
            unreachable!("an order of bytes has keys of bytes")
        };
        let bytes = encoded.row(row as usize);
        let bytes: &[u8] = bytes.as_ref();
        let mut prefix = [0u8; 16];
        let len = bytes.len().min(16);
        prefix[..len].copy_from_slice(&bytes[..len]);
        let position = u32::try_from(position).expect("fewer than 2^32 rows in memory");
        words.push((u128::from_be_bytes(prefix), position, (batch, row)));
    }
    words.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| compare(keys, a.2, b.2)).then(a.1.cmp(&b.1))
    });
    rows.clear();
    rows.extend(words.iter().map(|word| word.2));
}
