//! What is in memory of an arrangement: all rows of some keys.
//!
//! ```text
//!   key ─hash─▶ head ─▶ row number ─next─▶ row number ─▶ …        none: the key has no rows
//!                         │
//!   chunks: [ 0 … ] [ … ] [ … n ]      rows are numbered as they came
//! ```
//!
//! Keys that are asked for are in the *young* generation. When it is full it becomes the *old* one, and
//! what was old is forgotten; a key of the old one that is asked for moves to the young one.
//!
//! What must hold: of a key that is known, all rows are known. Keys are told apart by 128 bits of hash.
//!
//! Limits: its share of the budget, and what one step reads and writes.

use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_arrays, take_record_batch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use yeoul_batch::hash128;

use crate::error::FlowError;
use crate::graph::{CacheBudget, Share};
use crate::group::compact_batch;

const END: u32 = u32::MAX;
/// What a key costs beside its rows.
const KEY_BYTES: usize = 32;
/// What a row costs beside its columns.
const ROW_BYTES: usize = 4;

/// Takes the low bits of a hash for its hash.
#[derive(Debug, Default)]
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        let low = hash as u64;
        self.0 = low;
    }
}

#[derive(Debug, Default)]
struct Generation {
    chunks: Vec<RecordBatch>,
    /// The number of the first row of each chunk.
    starts: Vec<u32>,
    /// The row before, of the same key.
    next: Vec<u32>,
    heads: HashMap<u128, u32, BuildHasherDefault<Low>>,
    bytes: usize,
}

impl Generation {
    /// Appends rows, all of keys that it has.
    fn append(&mut self, rows: RecordBatch, hashes: &[u128]) -> Result<(), FlowError> {
        if hashes.is_empty() {
            return Ok(());
        }
        self.starts.push(u32::try_from(self.next.len()).expect("a generation is bounded"));
        for hash in hashes {
            let number = u32::try_from(self.next.len()).expect("a generation is bounded");
            let head = self.heads.get_mut(hash).expect("rows come for known keys");
            self.next.push(std::mem::replace(head, number));
        }
        self.bytes += rows.get_array_memory_size() + hashes.len() * ROW_BYTES;
        self.chunks.push(rows);
        self.fold()
    }

    /// Makes one chunk of neighbours of like size, so that there are few.
    fn fold(&mut self) -> Result<(), FlowError> {
        while let [.., before, last] = self.chunks.as_slice() {
            if before.num_rows() > 2 * last.num_rows() {
                break;
            }
            let bytes = before.get_array_memory_size() + last.get_array_memory_size();
            let both = compact_batch(&concat_batches(&last.schema(), [before, last])?)?;
            self.bytes = (self.bytes + both.get_array_memory_size()).saturating_sub(bytes);
            self.chunks.truncate(self.chunks.len() - 2);
            self.chunks.push(both);
            self.starts.pop();
        }
        Ok(())
    }

    /// The places of all rows of these keys; those that it has not are passed over.
    fn places(&self, hashes: &[u128]) -> Vec<(usize, usize)> {
        let mut places = Vec::new();
        for hash in hashes {
            let mut number = self.heads.get(hash).copied().unwrap_or(END);
            while number != END {
                let chunk = self.starts.partition_point(|&start| start <= number) - 1;
                places.push((chunk, (number - self.starts[chunk]) as usize));
                number = self.next[number as usize];
            }
        }
        places
    }

    fn gather(&self, schema: &SchemaRef, hashes: &[u128]) -> Result<RecordBatch, FlowError> {
        let places = self.places(hashes);
        if places.is_empty() {
            return Ok(RecordBatch::new_empty(schema.clone()));
        }
        let chunks: Vec<&RecordBatch> = self.chunks.iter().collect();
        Ok(interleave_record_batch(&chunks, &places)?)
    }
}

#[derive(Debug)]
pub(crate) struct Known {
    schema: SchemaRef,
    key_len: usize,
    share: Share,
    young: Generation,
    old: Generation,
}

impl Known {
    /// Of a tree whose rows have this schema, looked for by the first `key_len` columns.
    pub(crate) fn new(schema: SchemaRef, key_len: usize, caches: &CacheBudget) -> Self {
        let (young, old) = (Generation::default(), Generation::default());
        Self { schema, key_len, share: caches.share(), young, old }
    }

    /// Begins a step: forgets what is too much.
    pub(crate) fn begin(&mut self) {
        self.share.hold(self.young.bytes + self.old.bytes);
        let bytes_max = self.share.bytes_max();
        if self.young.bytes > bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.bytes + self.old.bytes > bytes_max {
            self.old = Generation::default();
        }
        self.share.hold(self.young.bytes + self.old.bytes);
    }

    /// All rows of the distinct `keys`; those of keys that are not known are read.
    pub(crate) fn rows(
        &mut self,
        keys: &[ArrayRef],
        read: impl Fn(&[ArrayRef]) -> Result<RecordBatch, FlowError>,
    ) -> Result<RecordBatch, FlowError> {
        if keys.first().is_none_or(|key| key.is_empty()) {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let hashes = hash128(keys)?;
        let mut missing = Vec::new();
        let mut moved = Vec::new();
        for (at, hash) in (0u32..).zip(&hashes) {
            if !self.young.heads.contains_key(hash) {
                if self.old.heads.contains_key(hash) {
                    moved.push(*hash);
                } else {
                    missing.push(at);
                }
            }
        }
        if !moved.is_empty() {
            let rows = self.old.gather(&self.schema, &moved)?;
            moved.iter().for_each(|hash| {
                self.old.heads.remove(hash);
            });
            self.learn(&moved, rows)?;
        }
        if !missing.is_empty() {
            let unknown: Vec<u128> = missing.iter().map(|&at| hashes[at as usize]).collect();
            let wanted = take_arrays(keys, &UInt32Array::from(missing), None)?;
            let rows = read(&wanted)?;
            self.learn(&unknown, rows)?;
        }
        self.young.gather(&self.schema, &hashes)
    }

    /// From now on `rows` are all rows of the keys of these hashes.
    fn learn(&mut self, hashes: &[u128], rows: RecordBatch) -> Result<(), FlowError> {
        for hash in hashes {
            self.young.heads.insert(*hash, END);
        }
        self.young.bytes += hashes.len() * KEY_BYTES;
        let own = self.hashes(&rows)?;
        self.young.append(rows, &own)
    }

    /// From now on `rows` are all rows of `keys`, which are known.
    pub(crate) fn replace(
        &mut self,
        keys: &[ArrayRef],
        rows: &RecordBatch,
    ) -> Result<(), FlowError> {
        let hashes = hash128(keys)?;
        self.learn(&hashes, rows.clone())
    }

    /// Forgets everything: what is asked for is read again.
    pub(crate) fn forget(&mut self) {
        (self.young, self.old) = (Generation::default(), Generation::default());
    }

    /// Adds rows: those whose key is known are from now on known too.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), FlowError> {
        if self.young.heads.is_empty() && self.old.heads.is_empty() {
            return Ok(());
        }
        let hashes = self.hashes(rows)?;
        for generation in [&mut self.young, &mut self.old] {
            let known = |(_, hash): &(u32, &u128)| generation.heads.contains_key(*hash);
            let (at, hashes): (Vec<u32>, Vec<u128>) =
                (0u32..).zip(&hashes).filter(known).map(|(at, hash)| (at, *hash)).unzip();
            if !at.is_empty() {
                let rows = take_record_batch(rows, &UInt32Array::from(at))?;
                generation.append(compact_batch(&rows)?, &hashes)?;
            }
        }
        Ok(())
    }

    fn hashes(&self, rows: &RecordBatch) -> Result<Vec<u128>, FlowError> {
        Ok(hash128(&rows.columns()[..self.key_len])?)
    }
}
