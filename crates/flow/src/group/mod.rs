//! Numbers the rows of a batch by group.
//!
//! ```text
//!   keys that pack into 64 or 128 bits ─▶ packed words ─▶ table ─▶ group ids 0, 1, 2 … as met
//!   other keys ─▶ 64-bit hashes ─▶ table ─▶ ids ─▶ every row compared with its group's first row
//!                                                  └─ a collision ─▶ table of encoded keys
//! ```
//!
//! What must hold: two rows have the same id exactly if all their keys are equal, nulls being equal
//! to each other and floats being compared by their bits.

mod packed;
mod table;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringViewArray,
    UInt32Array, downcast_primitive_array, make_comparator,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{SortOptions, take_arrays};
use arrow::datatypes::{ArrowPrimitiveType, DataType, ToByteSlice};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use yeoul_batch::hash64;

use std::sync::Arc;

pub(crate) use packed::integers;

/// Which group each row is in.
#[derive(Debug)]
pub(crate) struct Groups {
    ids: Vec<u32>,
    firsts: Vec<u32>,
}

impl Groups {
    /// Groups `rows` rows by the columns `keys`; without keys all are one group.
    pub(crate) fn of(keys: &[ArrayRef], rows: usize) -> Result<Self, ArrowError> {
        if u32::try_from(rows).is_err() {
            return Err(ArrowError::ComputeError("more than 2^32 rows in one batch".into()));
        }
        if keys.is_empty() {
            let firsts = if rows == 0 { Vec::new() } else { vec![0] };
            return Ok(Self { ids: vec![0; rows], firsts });
        }
        if let Some(groups) = packed::groups(keys, rows) {
            return Ok(groups);
        }
        Self::by_hash(keys, &hash64(keys, rows)?)
    }

    /// The general way, given the hashes of the rows.
    fn by_hash(keys: &[ArrayRef], hashes: &[u64]) -> Result<Self, ArrowError> {
        let groups = table::number(hashes);
        let first_of_row = groups.ids.iter().map(|&id| groups.firsts[id as usize]);
        let first_of_row = UInt32Array::from_iter_values(first_of_row);
        for key in keys {
            if !same_as(key, &first_of_row)? {
                return Self::by_encoding(keys);
            }
        }
        Ok(groups)
    }

    /// The slow and certain way.
    fn by_encoding(keys: &[ArrayRef]) -> Result<Self, ArrowError> {
        let fields = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(keys)?;
        let mut known: HashMap<&[u8], u32> = HashMap::new();
        let mut groups = Self { ids: Vec::with_capacity(rows.num_rows()), firsts: Vec::new() };
        for (row, number) in rows.iter().zip(0u32..) {
            let next = u32::try_from(known.len()).expect("no more groups than rows");
            let id = *known.entry(row.data()).or_insert(next);
            if id == next {
                groups.firsts.push(number);
            }
            groups.ids.push(id);
        }
        Ok(groups)
    }

    /// The group of each row.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The first row of each group.
    pub(crate) fn firsts(&self) -> &[u32] {
        &self.firsts
    }

    /// How many groups.
    pub(crate) fn count(&self) -> usize {
        self.firsts.len()
    }

    /// One row per group of columns that are equal within a group.
    pub(crate) fn take(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>, ArrowError> {
        let taken = take_arrays(columns, &UInt32Array::from(self.firsts.clone()), None)?;
        Ok(taken.into_iter().map(compact).collect())
    }
}

/// Whether each row of `column` equals its row `firsts[row]`.
fn same_as(column: &ArrayRef, firsts: &UInt32Array) -> Result<bool, ArrowError> {
    let rows = || firsts.values().iter().map(|&f| f as usize).enumerate();
    let nulls = column.nulls().filter(|n| n.null_count() > 0);
    // Null slots hold anything, so validity is compared first and decides.
    let same_null = |row: usize, first: usize| match nulls {
        None => Some(true),
        Some(nulls) => match (nulls.is_valid(row), nulls.is_valid(first)) {
            (true, true) => Some(true),
            (false, false) => None,
            _ => Some(false),
        },
    };
    let check = |equal: &dyn Fn(usize, usize) -> bool| {
        rows().all(|(row, first)| match same_null(row, first) {
            None => true,
            Some(comparable) => comparable && equal(row, first),
        })
    };
    Ok(match column.data_type() {
        DataType::Utf8View => {
            let values = column.as_string_view();
            rows().all(|(row, first)| match same_null(row, first) {
                None => true,
                Some(comparable) => comparable && same_view(values, row, first),
            })
        }
        DataType::Boolean => {
            let values: &BooleanArray = column.as_boolean();
            check(&|row, first| values.value(row) == values.value(first))
        }
        t if t.is_primitive() => {
            let array = column.as_ref();
            downcast_primitive_array!(
                array => same_primitive(array, firsts),
                _ => false
            )
        }
        _ => {
            let compare = make_comparator(column, column, SortOptions::default())?;
            rows().all(|(row, first)| compare(row, first).is_eq())
        }
    })
}

fn same_primitive<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, firsts: &UInt32Array) -> bool {
    let values = array.values();
    let mut rows = firsts.values().iter().map(|&f| f as usize).enumerate();
    match array.nulls().filter(|n| n.null_count() > 0) {
        None => rows.all(|(row, first)| same_bits(&values[row], &values[first])),
        Some(nulls) => rows.all(|(row, first)| {
            let (a, b) = (nulls.is_valid(row), nulls.is_valid(first));
            a == b && (!a || same_bits(&values[row], &values[first]))
        }),
    }
}

#[inline]
fn same_bits<T: ToByteSlice>(a: &T, b: &T) -> bool {
    a.to_byte_slice() == b.to_byte_slice()
}

/// Strings of up to twelve bytes are their views; of longer ones length and prefix are.
#[inline]
fn same_view(values: &StringViewArray, a: usize, b: usize) -> bool {
    const INLINE_MAX: u128 = 12;
    const LENGTH: u128 = 0xffff_ffff;
    const LENGTH_AND_PREFIX: u128 = u64::MAX as u128;
    let (x, y) = (values.views()[a], values.views()[b]);
    if x == y {
        return true;
    }
    x & LENGTH > INLINE_MAX
        && x & LENGTH_AND_PREFIX == y & LENGTH_AND_PREFIX
        && values.value(a) == values.value(b)
}

/// Row by row, whether the columns `a` equal the columns `b`.
pub(crate) fn same_keys(a: &[ArrayRef], b: &[ArrayRef]) -> Result<BooleanBuffer, ArrowError> {
    let rows = a.first().map_or(0, |column| column.len());
    let mut same = BooleanBuffer::new_set(rows);
    for (a, b) in a.iter().zip(b) {
        let compare = make_comparator(a, b, SortOptions::default())?;
        same = &same & &BooleanBuffer::collect_bool(rows, |row| compare(row, row).is_eq());
    }
    Ok(same)
}

/// A view of a few strings keeps all the bytes of the batch alive that they were taken from:
/// copies them where they are a small part of it.
pub(crate) fn compact(column: ArrayRef) -> ArrayRef {
    let Some(views) = column.as_string_view_opt() else { return column };
    let held: usize = views.data_buffers().iter().map(|b| b.capacity()).sum();
    if held > 0 && held > 2 * views.total_buffer_bytes_used() {
        Arc::new(views.gc())
    } else {
        column
    }
}

/// [`compact`] for all columns.
pub(crate) fn compact_batch(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().map(|c| compact(Arc::clone(c))).collect();
    RecordBatch::try_new(rows.schema(), columns)
}

/// Rows in order of their groups, by counting: `rows[offsets[g]..offsets[g + 1]]` are group `g`'s.
#[derive(Debug)]
pub(crate) struct ByGroup {
    offsets: Vec<u32>,
    rows: Vec<u32>,
}

impl ByGroup {
    pub(crate) fn new(ids: &[u32], count: usize) -> Self {
        let mut offsets = vec![0u32; count + 1];
        for &id in ids {
            offsets[id as usize + 1] += 1;
        }
        for group in 0..count {
            offsets[group + 1] += offsets[group];
        }
        let mut next = offsets.clone();
        let mut rows = vec![0u32; ids.len()];
        for (row, &id) in (0u32..).zip(ids) {
            let at = &mut next[id as usize];
            rows[*at as usize] = row;
            *at += 1;
        }
        Self { offsets, rows }
    }

    /// The rows of `group`.
    pub(crate) fn get(&self, group: u32) -> &[u32] {
        let group = group as usize;
        &self.rows[self.offsets[group] as usize..self.offsets[group + 1] as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|w| &self.rows[w[0] as usize..w[1] as usize])
    }
}

/// `valid` and `selected` together.
pub(crate) fn both(
    nulls: Option<&NullBuffer>,
    selected: Option<&BooleanBuffer>,
) -> Option<BooleanBuffer> {
    match (nulls.filter(|n| n.null_count() > 0), selected) {
        (None, None) => None,
        (Some(nulls), None) => Some(nulls.inner().clone()),
        (None, Some(selected)) => Some(selected.clone()),
        (Some(nulls), Some(selected)) => Some(nulls.inner() & selected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, Int16Array, Int64Array};

    /// Rows drawn from few values, so that there are duplicates; `spread` sets how many bits they
    /// take.
    fn columns(seed: u64, rows: usize, spread: i64) -> Vec<ArrayRef> {
        let mut state = seed;
        let mut draw = |bound: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            i64::try_from(state >> 33).unwrap() % bound
        };
        let mut many = |bound: i64, nulls: bool| -> Vec<Option<i64>> {
            (0..rows).map(|_| (!nulls || draw(5) > 0).then(|| draw(bound) - 2)).collect()
        };
        let narrow =
            |v: Vec<Option<i64>>| v.into_iter().map(|v| v.map(|v| i16::try_from(v).unwrap()));
        let text =
            |v: Option<i64>| v.map(|v| format!("{v}{}", ".".repeat(usize::from(v > 3) * 20)));
        vec![
            Arc::new(many(4, true).into_iter().map(|v| v.map(|v| v > 0)).collect::<BooleanArray>()),
            Arc::new(Int16Array::from_iter(narrow(many(9, false)))),
            Arc::new(Int64Array::from_iter(
                many(7, true).into_iter().map(|v| v.map(|v| v.wrapping_mul(spread))),
            )),
            Arc::new(Date32Array::from_iter(
                many(5, true).into_iter().map(|v| v.map(|v| i32::try_from(v).unwrap())),
            )),
            Arc::new(Int64Array::from_iter(
                many(3, false).into_iter().map(|v| v.map(|v| v * spread)),
            )),
            Arc::new(StringViewArray::from_iter(many(8, true).into_iter().map(text))),
            #[expect(clippy::cast_precision_loss, reason = "small")]
            Arc::new(Float64Array::from_iter(
                many(5, true).into_iter().map(|v| v.map(|v| v as f64)),
            )),
        ]
    }

    #[test]
    fn all_ways_agree() {
        for seed in 0..200u64 {
            let spread = [1, 60_000_000, i64::MAX / 9, 1 << 40][usize::try_from(seed % 4).unwrap()];
            let all = columns(seed, 1 + usize::try_from(seed * 7 % 500).unwrap(), spread);
            let keys: Vec<ArrayRef> = all
                .iter()
                .enumerate()
                .filter(|(i, _)| (seed >> i) & 1 == 1 || seed < 7 && *i as u64 == seed)
                .map(|(_, c)| Arc::clone(c))
                .collect();
            let rows = all[0].len();
            let groups = Groups::of(&keys, rows).unwrap();
            if keys.is_empty() {
                assert_eq!(groups.count(), 1);
                continue;
            }
            let certain = Groups::by_encoding(&keys).unwrap();
            assert_eq!(
                (groups.ids(), groups.firsts()),
                (certain.ids(), certain.firsts()),
                "{seed}"
            );
            // With one hash for all rows everything collides, and is found out.
            let collided = Groups::by_hash(&keys, &vec![7; rows]).unwrap();
            assert_eq!((collided.ids(), collided.firsts()), (certain.ids(), certain.firsts()));
            // Taken keys, put in the order of the rows again, are the keys.
            let taken = groups.take(&keys).unwrap();
            let back = take_arrays(&taken, &UInt32Array::from(groups.ids.clone()), None).unwrap();
            assert!(!same_keys(&back, &keys).unwrap().has_false());
        }
    }

    #[test]
    fn nothing_and_full_ranges() {
        let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
        assert_eq!(Groups::of(&[none], 0).unwrap().count(), 0);
        assert_eq!(Groups::of(&[], 0).unwrap().count(), 0);
        let ends = vec![Some(i64::MIN), Some(i64::MAX), None, Some(0), Some(i64::MIN), None];
        let wide: ArrayRef = Arc::new(Int64Array::from(ends));
        assert_eq!(Groups::of(&[Arc::clone(&wide)], 6).unwrap().ids(), [0, 1, 2, 3, 0, 2]);
        let two = Groups::of(&[Arc::clone(&wide), wide.slice(0, 6)], 6).unwrap();
        assert_eq!(two.ids(), [0, 1, 2, 3, 0, 2]);
        let part = wide.slice(2, 4);
        assert_eq!(Groups::of(&[part], 4).unwrap().ids(), [0, 1, 2, 0]);
    }
}
