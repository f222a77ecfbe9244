//! A bounded cache of group states, as columns.
//!
//! ```text
//!   index: hash of the key ─▶ (segment, row)
//!
//!   segments:  [ oldest ] [ … ] [ … ] [ newest ]     each the states put by one step
//!                 │ dropped when over budget
//! ```
//!
//! A step takes the states of the keys it touches and puts their new ones, so touched groups are
//! always in the newest segment and the oldest segment holds the groups untouched for longest:
//! dropping it is LRU. Segments that have become small are gathered into one.
//!
//! Limits: its share of the budget, plus the segment being put. Two keys with one 64-bit hash share an entry:
//! the later evicts the earlier.

use std::collections::VecDeque;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashTable;
use yeoul_batch::hash64;

use crate::error::FlowError;
use crate::graph::{CacheBudget, Share};
use crate::group::same_keys;

/// With more segments than this the older half is gathered into one.
const SEGMENTS_MAX: usize = 64;
/// What a row costs beside its columns: its hash, and its index entry at the usual load.
const ROW_BYTES: usize = 40;

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    segment: u64,
    row: u32,
}

#[derive(Debug)]
struct Segment {
    rows: RecordBatch,
    hashes: Vec<u64>,
    live: usize,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Cache {
    schema: SchemaRef,
    key_len: usize,
    share: Share,
    bytes: usize,
    segments: VecDeque<Segment>,
    /// The number of the oldest segment; they are numbered without gaps.
    oldest: u64,
    index: HashTable<Entry>,
}

impl Cache {
    pub(crate) fn new(schema: SchemaRef, key_len: usize, caches: &CacheBudget) -> Self {
        Self {
            schema,
            key_len,
            share: caches.share(),
            bytes: 0,
            segments: VecDeque::new(),
            oldest: 0,
            index: HashTable::new(),
        }
    }

    /// Takes the states of `keys` out: those found, and the positions of those not found. Keys are
    /// distinct.
    pub(crate) fn take(&mut self, keys: &[ArrayRef]) -> Result<(RecordBatch, Vec<u32>), FlowError> {
        let count = keys.first().map_or(0, |k| k.len());
        let hashes = hash64(keys, count)?;
        let mut missing = Vec::new();
        let mut wanted = Vec::new();
        let mut places = Vec::new();
        for (position, &hash) in (0u32..).zip(&hashes) {
            match self.index.find_entry(hash, |entry| entry.hash == hash) {
                Ok(found) => {
                    let (entry, _) = found.remove();
                    let segment = self.position(entry.segment);
                    self.segments[segment].live -= 1;
                    wanted.push(position);
                    places.push((segment, entry.row as usize));
                }
                Err(_) => missing.push(position),
            }
        }
        if places.is_empty() {
            return Ok((RecordBatch::new_empty(self.schema.clone()), missing));
        }
        let batches: Vec<&RecordBatch> = self.segments.iter().map(|s| &s.rows).collect();
        let mut rows = interleave_record_batch(&batches, &places)?;
        let asked = arrow::compute::take_arrays(keys, &UInt32Array::from(wanted.clone()), None)?;
        let same = same_keys(&asked, &rows.columns()[..self.key_len])?;
        if same.has_false() {
            let unequal = (0..same.len()).filter(|&i| !same.value(i));
            missing.extend(unequal.map(|i| wanted[i]));
            missing.sort_unstable();
            rows = arrow::compute::filter_record_batch(&rows, &same.into())?;
        }
        self.drop_dead();
        Ok((rows, missing))
    }

    /// Puts states in; their keys are not in the cache.
    pub(crate) fn put(&mut self, rows: &RecordBatch) -> Result<(), FlowError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let hashes = hash64(&rows.columns()[..self.key_len], rows.num_rows())?;
        self.push(rows.clone(), hashes);
        while self.bytes > self.share.bytes_max() && !self.segments.is_empty() {
            self.evict();
        }
        self.share.hold(self.bytes);
        if self.segments.len() > SEGMENTS_MAX {
            self.gather()?;
        }
        Ok(())
    }

    fn position(&self, segment: u64) -> usize {
        usize::try_from(segment - self.oldest).expect("a segment is in memory")
    }

    fn push(&mut self, rows: RecordBatch, hashes: Vec<u64>) {
        let segment = self.oldest + self.segments.len() as u64;
        let mut live = hashes.len();
        for (row, &hash) in (0u32..).zip(&hashes) {
            let entry = Entry { hash, segment, row };
            match self.index.find_mut(hash, |entry| entry.hash == hash) {
                Some(other) => {
                    let before = std::mem::replace(other, entry);
                    if before.segment == segment {
                        live -= 1;
                    } else {
                        let position = self.position(before.segment);
                        self.segments[position].live -= 1;
                    }
                }
                None => {
                    self.index.insert_unique(hash, entry, |entry| entry.hash);
                }
            }
        }
        let bytes = rows.get_array_memory_size() + hashes.len() * ROW_BYTES;
        self.bytes += bytes;
        self.segments.push_back(Segment { rows, hashes, live, bytes });
    }

    /// Drops the oldest segment.
    fn evict(&mut self) {
        let Some(segment) = self.segments.pop_front() else { return };
        for hash in segment.hashes {
            if let Ok(entry) = self.index.find_entry(hash, |entry| entry.hash == hash)
                && entry.get().segment == self.oldest
            {
                entry.remove();
            }
        }
        self.bytes -= segment.bytes;
        self.oldest += 1;
    }

    /// Frees the rows of segments in which nothing lives; their numbers stay until they are the
    /// oldest.
    fn drop_dead(&mut self) {
        for segment in &mut self.segments {
            if segment.live == 0 && segment.bytes > 0 {
                self.bytes -= segment.bytes;
                segment.bytes = 0;
                segment.hashes = Vec::new();
                segment.rows = RecordBatch::new_empty(self.schema.clone());
            }
        }
        while self.segments.front().is_some_and(|s| s.live == 0) {
            self.evict();
        }
    }

    /// Makes one segment of what lives in the older half.
    fn gather(&mut self) -> Result<(), FlowError> {
        let half = self.segments.len() / 2;
        let mut live_rows = Vec::new();
        let mut hashes = Vec::new();
        for (number, segment) in (self.oldest..).zip(self.segments.iter().take(half)) {
            let mut live = Vec::with_capacity(segment.live);
            for (row, &hash) in (0u32..).zip(&segment.hashes) {
                let entry = self.index.find(hash, |entry| entry.hash == hash);
                if entry.is_some_and(|e| e.segment == number && e.row == row) {
                    live.push(row);
                    hashes.push(hash);
                }
            }
            live_rows.push(take_record_batch(&segment.rows, &UInt32Array::from(live))?);
        }
        let rows = arrow::compute::concat_batches(&self.schema, &live_rows)?;
        let rows = crate::group::compact_batch(&rows)?;
        let number = self.oldest + half as u64 - 1;
        for (row, &hash) in (0u32..).zip(&hashes) {
            let entry = self.index.find_mut(hash, |entry| entry.hash == hash);
            *entry.expect("a live row is in the index") = Entry { hash, segment: number, row };
        }
        for old in self.segments.drain(..half) {
            self.bytes -= old.bytes;
        }
        let bytes = rows.get_array_memory_size() + hashes.len() * ROW_BYTES;
        self.bytes += bytes;
        self.segments.push_front(Segment { rows, live: hashes.len(), hashes, bytes });
        self.oldest = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use std::collections::HashMap;
    use std::sync::Arc;

    fn states(rows: &[(i64, i64)]) -> RecordBatch {
        let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let keys = column(rows.iter().map(|r| r.0).collect());
        let values = column(rows.iter().map(|r| r.1).collect());
        RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap()
    }

    #[test]
    fn the_cache_knows_nothing_but_the_last_state_and_stays_in_bounds() {
        for bytes_max in [0, 4_000, 40_000, 4_000_000] {
            let mut cache = Cache::new(states(&[]).schema(), 1, &CacheBudget::new(bytes_max));
            let mut truth: HashMap<i64, i64> = HashMap::new();
            let mut seed = 7u64;
            let mut next = move |bound: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                i64::try_from((seed >> 33) % bound).unwrap()
            };
            let mut hits = 0;
            for step in 0..600 {
                let mut keys: Vec<i64> = (0..20).map(|_| next(400)).collect();
                keys.sort_unstable();
                keys.dedup();
                let asked: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
                let (found, missing) = cache.take(&[asked]).unwrap();
                assert_eq!(found.num_rows() + missing.len(), keys.len());
                hits += found.num_rows();
                let (k, v) = (found.column(0), found.column(1));
                for (k, v) in k
                    .as_primitive::<Int64Type>()
                    .values()
                    .iter()
                    .zip(v.as_primitive::<Int64Type>().values())
                {
                    assert_eq!(truth.get(k), Some(v), "step {step}");
                }
                let mut new = Vec::new();
                for key in keys {
                    if next(4) == 0 {
                        truth.remove(&key);
                    } else {
                        truth.insert(key, step);
                        new.push((key, step));
                    }
                }
                cache.put(&states(&new)).unwrap();
                assert!(cache.bytes <= bytes_max && cache.segments.len() <= SEGMENTS_MAX);
                let live: usize = cache.segments.iter().map(|s| s.live).sum();
                assert_eq!(live, cache.index.len());
            }
            assert_eq!(hits > 0, bytes_max > 0);
        }
    }
}
