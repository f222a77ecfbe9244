//! The keys that a lookup is for, and where rows of them are.
//!
//! ```text
//!   keys ─▶ sorted, distinct ─┬─ memory batches: by hash
//!                             └─ parts: key range ─▶ sparse index ─▶ Bloom filter ─▶ pages ─▶ by order ─▶ by hash
//! ```
//!
//! What must hold: order and hashes only choose candidates; every candidate's key is compared in full.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{
    DataType, Date32Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::row::Rows;
use hashbrown::HashTable;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter, RowSelection};
use parquet::bloom_filter::Sbbf;
use yeoul_batch::{KeyCodec, hash64};

use super::memory::MemoryBatch;
use super::ordered::Firsts;
use super::part::Part;
use super::stored::{PartRows, interval_bytes};
use crate::{Rule, StoreError, TreeSpec};

/// The keys that are looked for.
pub(super) struct Wanted {
    spec: Arc<TreeSpec>,
    /// The columns of the tree's key by which is looked.
    key: Vec<usize>,
    columns: Vec<ArrayRef>,
    codec: KeyCodec,
    encoded: Rows,
    hashes: Vec<u64>,
    /// The distinct keys, in order, as positions in `columns`.
    order: Vec<u32>,
    /// Numbers of distinct keys (positions in `order`) by hash.
    table: HashTable<u32>,
    /// By what rows in order are walked.
    firsts: Option<Firsts>,
}

impl Wanted {
    /// The keys `columns` of a tree, or all keys that begin so when they are fewer than its key has.
    /// `None` when the tree has no columns in its key, so that all its rows are of the one key.
    pub(super) fn new(
        spec: &Arc<TreeSpec>,
        columns: &[ArrayRef],
    ) -> Result<Option<Arc<Self>>, StoreError> {
        let fits = columns.len() <= spec.key.len() && columns.is_empty() == spec.key.is_empty();
        if !fits || spec.key.is_empty() && matches!(spec.rule, Rule::Keep) {
            return Err(StoreError::Definition(format!(
                "tree {} \"{}\" cannot be looked up by {} columns",
                spec.id,
                spec.name,
                columns.len()
            )));
        }
        let Some(first) = columns.first() else { return Ok(None) };
        let len = first.len();
        let key = spec.key[..columns.len()].to_vec();
        let codec = KeyCodec::new(&spec.schema, &key)?;
        let encoded = codec.encode_columns(columns)?;
        let hashes = hash64(columns, len)?;
        let mut order: Vec<u32> = (0..u32::try_from(len).expect("fewer than 2^32 keys")).collect();
        order.sort_unstable_by(|&a, &b| encoded.row(a as usize).cmp(&encoded.row(b as usize)));
        order.dedup_by(|a, b| encoded.row(*a as usize) == encoded.row(*b as usize));
        let mut table = HashTable::with_capacity(order.len());
        for (number, &position) in (0u32..).zip(&order) {
            let hash = hashes[position as usize];
            table.insert_unique(hash, number, |&n| hashes[order[n as usize] as usize]);
        }
        let firsts = Firsts::new(first, &order);
        let spec = Arc::clone(spec);
        let columns = columns.to_vec();
        Ok(Some(Arc::new(Self {
            spec,
            key,
            columns,
            codec,
            encoded,
            hashes,
            order,
            table,
            firsts,
        })))
    }

    fn bytes(&self, number: u32) -> &[u8] {
        // A row borrows from the rows, so its bytes live as long as they do.
        self.encoded.row(self.order[number as usize] as usize).data()
    }

    /// The rows of `batch` that are of one of the keys; rows of one key in order of arrival.
    pub(super) fn in_memory(&self, batch: &MemoryBatch) -> Result<Vec<u32>, StoreError> {
        let rows = batch.rows().num_rows();
        let hashed = batch.hashed(&self.spec, self.key.len())?;
        let hashes = &hashed.hashes;
        let mut candidates: Vec<u32> = Vec::new();
        if rows > 4 * self.order.len() {
            let chains = hashed.chains();
            for &position in &self.order {
                let hash = self.hashes[position as usize];
                chains.visit(hash, |row| {
                    if hashes[row as usize] == hash {
                        candidates.push(row);
                    }
                });
            }
        } else {
            candidates = self.candidates(hashes);
        }
        let columns: Vec<ArrayRef> =
            self.key.iter().map(|&column| Arc::clone(batch.rows().column(column))).collect();
        Ok(self.confirm(candidates, |rows| {
            Ok((
                taken(&columns, rows)?,
                rows.values().iter().map(|&r| hashes[r as usize]).collect(),
            ))
        })?)
    }

    fn candidates(&self, hashes: &[u64]) -> Vec<u32> {
        let may_hold = |hash: u64| {
            let same = |&n: &u32| self.hashes[self.order[n as usize] as usize] == hash;
            self.table.find(hash, same).is_some()
        };
        (0u32..).zip(hashes).filter(|&(_, &hash)| may_hold(hash)).map(|(row, _)| row).collect()
    }

    /// Keeps the candidates whose key is really one of those wanted. `keys` gives their keys and the hashes of
    /// these.
    fn confirm(
        &self,
        candidates: Vec<u32>,
        keys: impl FnOnce(&UInt32Array) -> Result<(Vec<ArrayRef>, Vec<u64>), ArrowError>,
    ) -> Result<Vec<u32>, ArrowError> {
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let at = UInt32Array::from(candidates);
        let (columns, hashes) = keys(&at)?;
        let encoded = self.codec.encode_columns(&columns)?;
        let mut rows = Vec::with_capacity(at.len());
        for ((key, &hash), &row) in encoded.iter().zip(&hashes).zip(at.values()) {
            let same = |&n: &u32| self.bytes(n) == key.data();
            if self.table.find(hash, same).is_some() {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Which of some rows of a part, of which `columns` are the keys, are wanted.
    fn mask(&self, columns: &[ArrayRef], rows: usize) -> Result<BooleanArray, ArrowError> {
        let by_order = self.firsts.as_ref().and_then(|firsts| firsts.candidates(&columns[0]));
        let confirmed = match by_order {
            // Where most rows are candidates, hashes tell more of them apart.
            Some(candidates) if candidates.len() <= rows / 2 => {
                self.confirm(candidates, |rows| {
                    let keys = taken(columns, rows)?;
                    let hashes = hash64(&keys, rows.len())?;
                    Ok((keys, hashes))
                })?
            }
            _ => {
                let hashes = hash64(columns, rows)?;
                self.confirm(self.candidates(&hashes), |rows| {
                    let of = |&row: &u32| hashes[row as usize];
                    Ok((taken(columns, rows)?, rows.values().iter().map(of).collect()))
                })?
            }
        };
        let mut mask = vec![false; rows];
        for row in confirmed {
            mask[row as usize] = true;
        }
        Ok(BooleanArray::from(mask))
    }

    /// The rows of `part` that are of one of the keys, in batches of at most `batch_rows`; `None` when
    /// its index says that there are none.
    pub(super) fn in_part(
        self: &Arc<Self>,
        part: &Part,
        batch_rows: usize,
    ) -> Result<Option<PartRows>, StoreError> {
        let groups = self.rows_in_part(part)?;
        if groups.is_empty() {
            return Ok(None);
        }
        let metadata = part.metadata()?;
        let mut selectors: Vec<Range<usize>> = Vec::new();
        let mut base = 0;
        for (&group, ranges) in &groups {
            selectors.extend(ranges.iter().map(|r| base + r.start..base + r.end));
            base += group_rows(&metadata, group);
        }
        let reader = part.reader()?;
        // The columns of a projection come in the file's order, the hash folds them in the key's.
        let mut sorted_key = self.key.clone();
        sorted_key.sort_unstable();
        let places: Vec<usize> =
            self.key.iter().map(|c| sorted_key.partition_point(|s| s < c)).collect();
        let (from, read) = part.columns(&self.spec.schema, Some(&sorted_key))?;
        let keys = ProjectionMask::roots(reader.parquet_schema(), read);
        let wanted = Arc::clone(self);
        let predicate = ArrowPredicateFn::new(keys, move |rows: RecordBatch| {
            let rows = from.batch(rows)?;
            let columns: Vec<ArrayRef> =
                places.iter().map(|&p| Arc::clone(rows.column(p))).collect();
            wanted.mask(&columns, rows.num_rows())
        });
        let (all, read) = part.columns(&self.spec.schema, None)?;
        let mask = ProjectionMask::roots(reader.parquet_schema(), read);
        let reader = reader
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .with_row_groups(groups.keys().copied().collect())
            .with_row_selection(RowSelection::from_consecutive_ranges(selectors.into_iter(), base))
            .with_row_filter(RowFilter::new(vec![Box::new(predicate)]))
            .build()?;
        Ok(Some(PartRows::new(reader, all)))
    }

    /// The rows of each row group that can hold a wanted key, as ranges within the group.
    fn rows_in_part(&self, part: &Part) -> Result<BTreeMap<usize, Vec<Range<usize>>>, StoreError> {
        let mut groups: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        let (first, last) = (&part.meta().first_key, &part.meta().last_key);
        let count = u32::try_from(self.order.len()).expect("fewer than 2^32 keys");
        // A key that is asked for in part may begin the first one.
        let before = |n| self.bytes(n) < first.as_slice() && !first.starts_with(self.bytes(n));
        let from = partition_point(count, before);
        let to = partition_point(count, |n| self.bytes(n) <= last.as_slice());
        if from >= to {
            return Ok(groups);
        }
        let sparse = part.sparse_keys()?;
        let metadata = part.metadata()?;
        let mut starts = Vec::with_capacity(metadata.num_row_groups() + 1);
        starts.push(0);
        for group in 0..metadata.num_row_groups() {
            starts.push(starts[group] + group_rows(&metadata, group));
        }
        let total = starts[starts.len() - 1];
        // The filters are over the last column of the key.
        let whole = self.key.len() == self.spec.key.len();
        let blooms = if whole { part.blooms()? } else { &[] };
        let mut block = 0;
        for number in from..to {
            let (from_block, rows) = sparse.rows_for(self.bytes(number), block);
            block = from_block;
            let rows = rows.start.min(total)..rows.end.min(total);
            let mut group = starts.partition_point(|&start| start <= rows.start) - 1;
            while group + 1 < starts.len() && starts[group] < rows.end {
                let start = rows.start.max(starts[group]) - starts[group];
                let end = rows.end.min(starts[group + 1]) - starts[group];
                if start < end && self.bloom_allows(number, blooms.get(group)) {
                    add(groups.entry(group).or_default(), start..end);
                }
                group += 1;
            }
        }
        Ok(groups)
    }

    fn bloom_allows(&self, number: u32, bloom: Option<&Option<Sbbf>>) -> bool {
        let (Some(Some(bloom)), Some(column)) = (bloom, self.columns.last()) else { return true };
        let row = self.order[number as usize] as usize;
        if column.is_null(row) {
            return true;
        }
        match column.data_type() {
            DataType::Int64 => bloom.check(&column.as_primitive::<Int64Type>().value(row)),
            DataType::Timestamp(_, _) => {
                bloom.check(&column.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            DataType::Int32 => bloom.check(&column.as_primitive::<Int32Type>().value(row)),
            DataType::Int16 => {
                bloom.check(&i32::from(column.as_primitive::<Int16Type>().value(row)))
            }
            DataType::Date32 => bloom.check(&column.as_primitive::<Date32Type>().value(row)),
            DataType::Utf8View => bloom.check(column.as_string_view().value(row)),
            DataType::FixedSizeBinary(_) => bloom.check(column.as_fixed_size_binary().value(row)),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
                bloom.check(interval_bytes(value).as_slice())
            }
            _ => true,
        }
    }
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>, ArrowError> {
    columns.iter().map(|column| arrow::compute::take(column, rows, None)).collect()
}

pub(super) fn group_rows(
    metadata: &parquet::file::metadata::ParquetMetaData,
    group: usize,
) -> usize {
    usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0)
}

/// Adds a range that starts at or behind the start of the last one.
pub(super) fn add(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

fn partition_point(count: u32, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
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
