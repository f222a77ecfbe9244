//! Reading the rows of given keys, or of keys that begin so, of a keyed tree.
//!
//! ```text
//!   keys ─▶ sorted, distinct ─┬─ memory batches: by hash
//!                             └─ parts: key range ─▶ sparse index ─▶ Bloom filter ─▶ pages ─▶ by hash
//!                                              found rows, oldest first ─▶ rule ─▶ answer
//! ```
//!
//! What must hold: the answer is that of a scan filtered by the keys. Hashes only choose candidates;
//! every candidate's key is compared in full.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{
    DataType, Date32Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    TimestampMicrosecondType,
};
use arrow::row::Rows;
use hashbrown::HashTable;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter, RowSelection};
use parquet::bloom_filter::Sbbf;
use yeoul_batch::{KeyCodec, hash64};

use super::gather::gather;
use super::memory::MemoryBatch;
use super::merge::Marks;
use super::part::Part;
use super::scan::{ScanOptions, scan};
use super::snapshot::TreeSnapshot;
use super::stored::{FromStored, PartRows, interval_bytes};
use crate::{Rule, StoreError, TreeSpec};

/// The merged rows of those of `keys` that the tree holds, one per key, in no particular order.
/// `keys` are the key columns, or only the leading ones: then all keys that begin so are meant. They are
/// all of one length; a key may be asked for twice.
///
/// # Errors
/// When a part cannot be read, or the tree has no keys ([`Rule::Keep`]) or fewer columns in its key.
pub fn get_many(tree: &TreeSnapshot, keys: &[ArrayRef]) -> Result<RecordBatch, StoreError> {
    let spec = &tree.spec;
    let fits = keys.len() <= spec.key.len() && keys.is_empty() == spec.key.is_empty();
    if matches!(spec.rule, Rule::Keep) || !fits {
        return Err(StoreError::Definition(format!(
            "tree {} \"{}\" cannot be looked up by {} columns",
            spec.id,
            spec.name,
            keys.len()
        )));
    }
    let Some(first) = keys.first() else {
        // A tree without key columns has one row at most.
        let batches = scan(tree, ScanOptions::default())?.collect::<Result<Vec<_>, _>>()?;
        return Ok(arrow::compute::concat_batches(&spec.schema, &batches)?);
    };
    let wanted = Wanted::new(spec, keys, first.len())?;
    let mut found = Found::default();
    for part in &tree.parts {
        wanted.find_in_part(part, &mut found)?;
    }
    for batch in &tree.memory {
        wanted.find_in_memory(batch, &mut found)?;
    }
    if keys.len() < spec.key.len() && matches!(spec.rule, Rule::Latest) {
        found.by_whole_keys(spec)?;
    }
    found.answer(spec)
}

/// Rows found, with the key that each is of; oldest first.
#[derive(Default)]
struct Found {
    batches: Vec<RecordBatch>,
    rows: Vec<(usize, usize)>,
    keys: Vec<u32>,
}

impl Found {
    /// Numbers the rows by their whole keys instead of those that were asked for.
    fn by_whole_keys(&mut self, spec: &TreeSpec) -> Result<(), StoreError> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let rows = gather(&spec.schema, &batches, &self.rows)?;
        let encoded = KeyCodec::new(&spec.schema, &spec.key)?.encode(&rows)?;
        let mut numbers: HashMap<&[u8], u32> = HashMap::new();
        for (at, number) in self.keys.iter_mut().enumerate() {
            let next = u32::try_from(numbers.len()).expect("fewer than 2^32 keys");
            *number = *numbers.entry(encoded.row(at).data()).or_insert(next);
        }
        Ok(())
    }

    fn push_batch(&mut self, rows: &RecordBatch) -> usize {
        self.batches.push(rows.clone());
        self.batches.len() - 1
    }

    fn answer(self, spec: &TreeSpec) -> Result<RecordBatch, StoreError> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        match &spec.rule {
            Rule::Combine(combine) if !self.rows.is_empty() => {
                let rows = gather(&spec.schema, &batches, &self.rows)?;
                Ok(combine.combine(&[rows], true)?)
            }
            Rule::Latest => {
                let marks: Vec<Marks<'_>> = batches.iter().map(|b| Marks::of(b)).collect();
                let keys = self.keys.iter().max().map_or(0, |&last| last as usize + 1);
                let mut best: Vec<Option<(usize, usize)>> = vec![None; keys];
                for (&row, &key) in self.rows.iter().zip(&self.keys) {
                    let version = |r: (usize, usize)| marks[r.0].versions[r.1];
                    let best = &mut best[key as usize];
                    if best.is_none_or(|b| version(row) >= version(b)) {
                        *best = Some(row);
                    }
                }
                let rows: Vec<(usize, usize)> = best
                    .into_iter()
                    .flatten()
                    .filter(|&(batch, row)| !marks[batch].deleted.value(row))
                    .collect();
                gather(&spec.schema, &batches, &rows)
            }
            Rule::Keep | Rule::Combine(_) => Ok(RecordBatch::new_empty(Arc::clone(&spec.schema))),
        }
    }
}

/// The keys that are looked for.
struct Wanted<'a> {
    spec: &'a TreeSpec,
    /// The columns of the tree's key by which is looked.
    key: &'a [usize],
    columns: &'a [ArrayRef],
    codec: KeyCodec,
    encoded: Arc<Rows>,
    hashes: Arc<Vec<u64>>,
    /// The distinct keys, in order, as positions in `columns`.
    order: Vec<u32>,
    /// Numbers of distinct keys (positions in `order`) by hash.
    table: Arc<HashTable<u32>>,
}

impl<'a> Wanted<'a> {
    fn new(spec: &'a TreeSpec, columns: &'a [ArrayRef], len: usize) -> Result<Self, StoreError> {
        let key = &spec.key[..columns.len()];
        let codec = KeyCodec::new(&spec.schema, key)?;
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
        Ok(Self {
            spec,
            key,
            columns,
            codec,
            encoded: Arc::new(encoded),
            hashes: Arc::new(hashes),
            order,
            table: Arc::new(table),
        })
    }

    fn bytes(&self, number: u32) -> &[u8] {
        // A row borrows from the rows, so its bytes live as long as they do.
        self.encoded.row(self.order[number as usize] as usize).data()
    }

    fn find_in_memory(&self, batch: &MemoryBatch, found: &mut Found) -> Result<(), StoreError> {
        let rows = batch.rows().num_rows();
        let hashed = batch.hashed(self.spec, self.key.len())?;
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
            for (row, &hash) in (0u32..).zip(hashes.iter()) {
                if self.may_hold(hash) {
                    candidates.push(row);
                }
            }
        }
        self.confirm(batch.rows(), candidates, found)
    }

    fn may_hold(&self, hash: u64) -> bool {
        let same = |&n: &u32| self.hashes[self.order[n as usize] as usize] == hash;
        self.table.find(hash, same).is_some()
    }

    /// Keeps the candidates whose key is really one of those wanted.
    fn confirm(
        &self,
        rows: &RecordBatch,
        candidates: Vec<u32>,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let at = UInt32Array::from(candidates);
        let mut columns = Vec::with_capacity(self.key.len());
        for &column in self.key {
            columns.push(arrow::compute::take(rows.column(column), &at, None)?);
        }
        let encoded = self.codec.encode_columns(&columns)?;
        let hashes = hash64(&columns, at.len())?;
        let batch = found.push_batch(rows);
        for (i, &row) in at.values().iter().enumerate() {
            let key = encoded.row(i);
            let same = |&n: &u32| self.bytes(n) == key.data();
            if let Some(&number) = self.table.find(hashes[i], same) {
                found.rows.push((batch, row as usize));
                found.keys.push(number);
            }
        }
        Ok(())
    }

    fn find_in_part(&self, part: &Part, found: &mut Found) -> Result<(), StoreError> {
        let groups = self.rows_in_part(part)?;
        if groups.is_empty() {
            return Ok(());
        }
        let metadata = part.metadata()?;
        let mut selectors: Vec<Range<usize>> = Vec::new();
        let mut base = 0;
        for (&group, ranges) in &groups {
            selectors.extend(ranges.iter().map(|r| base + r.start..base + r.end));
            base += group_rows(&metadata, group);
        }
        let reader = part.reader()?;
        let keys = ProjectionMask::roots(reader.parquet_schema(), self.key.iter().copied());
        let (table, hashes) = (Arc::clone(&self.table), Arc::clone(&self.hashes));
        let order = self.order.clone();
        // The columns of a projection come in the file's order, the hash folds them in the key's.
        let mut sorted_key = self.key.to_vec();
        sorted_key.sort_unstable();
        let places: Vec<usize> =
            self.key.iter().map(|c| sorted_key.iter().position(|s| s == c).unwrap_or(0)).collect();
        let from = FromStored::new(&self.spec.schema, Some(&sorted_key))?;
        let predicate = ArrowPredicateFn::new(keys, move |rows: RecordBatch| {
            let rows = from.batch(rows)?;
            let columns: Vec<ArrayRef> =
                places.iter().map(|&p| Arc::clone(rows.column(p))).collect();
            let found = hash64(&columns, rows.num_rows())?;
            let hit = |&hash: &u64| {
                table.find(hash, |&n| hashes[order[n as usize] as usize] == hash).is_some()
            };
            Ok(BooleanArray::from_iter(found.iter().map(|hash| Some(hit(hash)))))
        });
        let reader = reader
            .with_batch_size(8192)
            .with_row_groups(groups.keys().copied().collect())
            .with_row_selection(RowSelection::from_consecutive_ranges(selectors.into_iter(), base))
            .with_row_filter(RowFilter::new(vec![Box::new(predicate)]))
            .build()?;
        let from = FromStored::new(&self.spec.schema, None)?;
        for batch in PartRows::new(reader, from) {
            let batch = batch?;
            let rows = u32::try_from(batch.num_rows()).expect("fewer than 2^32 rows in a batch");
            self.confirm(&batch, (0..rows).collect(), found)?;
        }
        Ok(())
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
        let blooms = part.blooms()?;
        let mut block = 0;
        for number in from..to {
            let (from_block, rows) = sparse.rows_for(self.bytes(number), block);
            block = from_block;
            let rows = rows.start.min(total)..rows.end.min(total);
            let mut group = starts.partition_point(|&start| start <= rows.start) - 1;
            while group + 1 < starts.len() && starts[group] < rows.end {
                let start = rows.start.max(starts[group]) - starts[group];
                let end = rows.end.min(starts[group + 1]) - starts[group];
                if start < end && self.bloom_allows(number, blooms[group].as_ref()) {
                    add(groups.entry(group).or_default(), start..end);
                }
                group += 1;
            }
        }
        Ok(groups)
    }

    fn bloom_allows(&self, number: u32, bloom: Option<&Sbbf>) -> bool {
        // The filters are over the last column of the key.
        let last = self.columns.last().filter(|_| self.key.len() == self.spec.key.len());
        let (Some(bloom), Some(column)) = (bloom, last) else { return true };
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
