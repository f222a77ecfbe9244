//! What is in memory of an arrangement: all rows of some keys.
//!
//! ```text
//!   key ─hash─▶ head ─▶ row number ─next─▶ row number ─▶ …        none: the key has no rows
//!                         │
//!   chunks: [ 0 … ] [ … ] [ … n ]      rows are numbered as they came; those that no key leads
//!                                      to any more stay until their generation is forgotten
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
/// So many chunks of like size are made one.
const FOLD_CHUNKS: usize = 8;
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

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
struct Head {
    /// The number of its first row, or [`END`].
    first: u32,
    /// What who linked its rows noted of them.
    noted: bool,
}

#[derive(Debug, Default)]
struct Generation {
    chunks: Vec<RecordBatch>,
    /// The number of the first row of each chunk.
    starts: Vec<u32>,
    /// The next row of the same key.
    next: Vec<u32>,
    heads: HashMap<u128, Head, BuildHasherDefault<Low>>,
    bytes: usize,
}

impl Generation {
    /// Adds rows, all of keys that it has, each before the others of its key.
    fn append(&mut self, rows: RecordBatch, hashes: &[u128]) -> Result<(), FlowError> {
        let numbers = self.next.len()..;
        for (hash, number) in hashes.iter().zip(numbers) {
            let number = u32::try_from(number).expect("a generation is bounded");
            let head = self.heads.get_mut(hash).expect("rows come for known keys");
            self.next.push(std::mem::replace(&mut head.first, number));
            head.noted = false;
        }
        self.push(rows)
    }

    /// Adds the chunk of the last rows.
    fn push(&mut self, rows: RecordBatch) -> Result<(), FlowError> {
        let count = rows.num_rows();
        if count == 0 {
            return Ok(());
        }
        let start = self.next.len() - count;
        self.starts.push(u32::try_from(start).expect("a generation is bounded"));
        self.bytes += rows.get_array_memory_size() + count * ROW_BYTES;
        self.chunks.push(rows);
        self.fold()
    }

    /// Makes one chunk of neighbours of like size, so that there are few.
    fn fold(&mut self) -> Result<(), FlowError> {
        let magnitude = |chunk: &RecordBatch| chunk.num_rows().max(1).ilog2() / 3;
        while let Some(last) = self.chunks.last() {
            let like = |chunk: &&RecordBatch| magnitude(chunk) <= magnitude(last);
            let like = self.chunks.iter().rev().take_while(like).count();
            if like < FOLD_CHUNKS {
                break;
            }
            let left = self.chunks.len() - like;
            let bytes: usize =
                self.chunks[left..].iter().map(RecordBatch::get_array_memory_size).sum();
            let one = concat_batches(&last.schema(), &self.chunks[left..])?;
            let one = compact_batch(&one)?;
            self.bytes = (self.bytes + one.get_array_memory_size()).saturating_sub(bytes);
            self.chunks.truncate(left);
            self.starts.truncate(left + 1);
            self.chunks.push(one);
        }
        Ok(())
    }

    /// Where the row of a number is: its chunk, and the row in it.
    fn place(&self, number: u32) -> (usize, usize) {
        let chunk = self.starts.partition_point(|&start| start <= number) - 1;
        (chunk, (number - self.starts[chunk]) as usize)
    }

    /// The numbers of the rows of a key, in the order in which they are linked.
    fn numbers(&self, hash: u128) -> impl Iterator<Item = u32> {
        let linked = |number: u32| (number != END).then_some(number);
        let first = self.heads.get(&hash).and_then(|head| linked(head.first));
        std::iter::successors(first, move |number| linked(self.next[*number as usize]))
    }

    /// The places of all rows of these keys; those that it has not are passed over.
    fn places(&self, hashes: &[u128]) -> Vec<(usize, usize)> {
        let numbers = hashes.iter().flat_map(|hash| self.numbers(*hash));
        numbers.map(|number| self.place(number)).collect()
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
        let hashes = self.know(keys, read)?;
        self.young.gather(&self.schema, &hashes)
    }

    /// Knows the distinct `keys` from now on, to the end of the step: those that are not known are read. Gives
    /// what they are found by.
    pub(crate) fn know(
        &mut self,
        keys: &[ArrayRef],
        read: impl Fn(&[ArrayRef]) -> Result<RecordBatch, FlowError>,
    ) -> Result<Vec<u128>, FlowError> {
        if keys.first().is_none_or(|key| key.is_empty()) {
            return Ok(Vec::new());
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
        Ok(hashes)
    }

    /// The chunks of rows of the keys that were asked for in this step.
    pub(crate) fn chunks(&self) -> &[RecordBatch] {
        &self.young.chunks
    }

    /// The rows of a key that was asked for in this step, as they are linked: number, chunk, and row of the chunk.
    pub(crate) fn linked(&self, hash: u128) -> impl Iterator<Item = (u32, usize, usize)> {
        self.young.numbers(hash).map(|number| {
            let (chunk, row) = self.young.place(number);
            (number, chunk, row)
        })
    }

    /// The first row of a key that was asked for in this step, when it was noted when they were linked.
    pub(crate) fn noted(&self, hash: u128) -> Option<(usize, usize)> {
        let head = self.young.heads.get(&hash).filter(|head| head.noted && head.first != END)?;
        Some(self.young.place(head.first))
    }

    /// Adds rows of keys that were asked for in this step, and are linked next; gives the number of the first.
    pub(crate) fn push(&mut self, rows: RecordBatch) -> Result<u32, FlowError> {
        let first = self.young.next.len();
        self.young.next.resize(first + rows.num_rows(), END);
        self.young.push(rows)?;
        Ok(u32::try_from(first).expect("a generation is bounded"))
    }

    /// From now on these are the rows of a key that was asked for in this step, in this order. `noted`: see
    /// [`Known::noted`].
    pub(crate) fn link(&mut self, hash: u128, numbers: impl Iterator<Item = u32>, noted: bool) {
        let head = self.young.heads.get_mut(&hash).expect("it was asked for");
        *head = Head { first: END, noted };
        let mut end = &mut head.first;
        for number in numbers {
            *end = number;
            end = &mut self.young.next[number as usize];
        }
        *end = END;
    }

    /// From now on `rows` are all rows of the keys of these hashes.
    fn learn(&mut self, hashes: &[u128], rows: RecordBatch) -> Result<(), FlowError> {
        for hash in hashes {
            if self.young.heads.insert(*hash, Head { first: END, noted: false }).is_none() {
                self.young.bytes += KEY_BYTES;
            }
        }
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
