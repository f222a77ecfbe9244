//! The memory layer of a tree: immutable batches, oldest first, tiered by size.
//!
//! What must hold: a batch holds all rows of its commits `first ..= last` for its tree and no others;
//! batches never change, they are replaced.
//!
//! Limits: a handful of batches per power of four of the row count. Batches are not sorted; a batch
//! that is looked up is hashed once for each number of key columns by which it is, at 16 bytes per row;
//! one in which ranges of keys are read is put in order once, at 12 bytes per row and its keys.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use arrow::row::Rows;
use parking_lot::Mutex;
use yeoul_batch::{CommitId, KeyCodec, hash64};

use super::gather::{bytes_of, compact_views, concat};
use super::merge::{Cover, Merge};
use super::order::{Address, KeyOrder, KeyRanges, sort_rows};
use super::policy::Tiering;
use super::source::{SortedRows, Source, keys_of};
use crate::{Rule, RuleKind, StoreError, TreeSpec};

/// How batches of a tree without key are put together.
pub(crate) const KEEP_TIERING: Tiering =
    Tiering { tier_base: 64, width_min: 4, width_max: 64, total_max: 1 << 18 };

/// How batches of a keyed tree are put together: fewer and larger, because every lookup visits all. While
/// it is done they are in memory twice, so not larger than this.
pub(crate) const KEYED_TIERING: Tiering =
    Tiering { tier_base: 64, width_min: 4, width_max: 64, total_max: 1 << 20 };

/// The tiering of a tree's memory.
pub(crate) fn tiering(kind: RuleKind) -> &'static Tiering {
    match kind {
        RuleKind::Keep => &KEEP_TIERING,
        RuleKind::Latest | RuleKind::Combine => &KEYED_TIERING,
    }
}

/// Rows of some consecutive commits.
#[derive(Debug)]
pub struct MemoryBatch {
    rows: RecordBatch,
    first: CommitId,
    last: CommitId,
    /// Of the rows alone.
    bytes: usize,
    version_min: u64,
    hashed: Mutex<Vec<Arc<Hashed>>>,
    sorted: OnceLock<Arc<Sorted>>,
}

/// The rows of a batch in the order of their keys; rows of one key in order of arrival.
#[derive(Debug)]
pub(crate) struct Sorted {
    keys: Rows,
    rows: Vec<u32>,
}

impl Sorted {
    fn new(spec: &TreeSpec, rows: &RecordBatch) -> Result<Self, StoreError> {
        let mut ranges = KeyRanges::new(spec);
        ranges.include_batch(rows, &spec.key);
        let order = KeyOrder::new(spec, &ranges)?;
        let len = u32::try_from(rows.num_rows()).expect("fewer than 2^32 rows in a batch");
        let mut addresses: Vec<Address> = (0..len).map(|row| (0, row)).collect();
        sort_rows(&order, &[order.encode(rows)?], &mut addresses);
        let keys = KeyCodec::new(&spec.schema, &spec.key)?.encode(rows)?;
        Ok(Self { keys, rows: addresses.into_iter().map(|address| address.1).collect() })
    }

    /// The row of the batch that is at `at` in the order.
    pub(crate) fn row(&self, at: usize) -> usize {
        self.rows[at] as usize
    }

    /// Its key.
    pub(crate) fn key(&self, at: usize) -> &[u8] {
        self.keys.row(self.row(at)).data()
    }

    fn bytes(&self) -> usize {
        self.keys.size() + size_of_val(self.rows.as_slice())
    }

    /// How many of the rows have keys below `bound`.
    pub(crate) fn below(&self, bound: &[u8]) -> usize {
        self.rows.partition_point(|&row| self.keys.row(row as usize).data() < bound)
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// The rows of a batch by the hash of some leading columns of their key.
#[derive(Debug)]
pub(crate) struct Hashed {
    columns: usize,
    /// The hash of every row.
    pub(crate) hashes: Vec<u64>,
    chains: OnceLock<Chains>,
}

impl Hashed {
    /// Rows by hash.
    pub(crate) fn chains(&self) -> &Chains {
        self.chains.get_or_init(|| Chains::new(&self.hashes))
    }

    fn bytes(&self) -> usize {
        let chains = self.chains.get().map_or(0, |chains| {
            size_of_val(chains.heads.as_slice()) + size_of_val(chains.next.as_slice())
        });
        size_of_val(self.hashes.as_slice()) + chains
    }
}

impl MemoryBatch {
    /// The rows of commits `first ..= last`.
    pub(crate) fn new(
        spec: &TreeSpec,
        rows: RecordBatch,
        first: CommitId,
        last: CommitId,
    ) -> Result<Self, StoreError> {
        let rows = compact_views(rows)?;
        let version_min = match spec.rule {
            Rule::Latest => {
                let versions = rows.column(rows.num_columns() - 2).as_primitive::<UInt64Type>();
                arrow::compute::min(versions).unwrap_or(u64::MAX)
            }
            Rule::Keep | Rule::Combine(_) => u64::MAX,
        };
        Ok(Self {
            bytes: bytes_of(&rows),
            rows,
            first,
            last,
            version_min,
            hashed: Mutex::default(),
            sorted: OnceLock::new(),
        })
    }

    /// The rows, in no particular order; a key of a keyed tree may come several times.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The first and the last commit that its rows are of.
    #[must_use]
    pub fn commits(&self) -> (CommitId, CommitId) {
        (self.first, self.last)
    }

    /// About how much memory it takes, with what it is looked up by.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let hashed: usize = self.hashed.lock().iter().map(|hashed| hashed.bytes()).sum();
        self.bytes + hashed + self.sorted.get().map_or(0, |sorted| sorted.bytes())
    }

    pub(crate) fn version_min(&self) -> u64 {
        self.version_min
    }

    /// The rows by the first `columns` columns of their key.
    pub(crate) fn hashed(
        &self,
        spec: &TreeSpec,
        columns: usize,
    ) -> Result<Arc<Hashed>, StoreError> {
        let known = |all: &[Arc<Hashed>]| all.iter().find(|h| h.columns == columns).cloned();
        if let Some(hashed) = known(&self.hashed.lock()) {
            return Ok(hashed);
        }
        let key = spec.key[..columns].iter().map(|&c| Arc::clone(self.rows.column(c)));
        let key: Vec<ArrayRef> = key.collect();
        let hashes = hash64(&key, self.rows.num_rows())?;
        let mut all = self.hashed.lock();
        Ok(known(&all).unwrap_or_else(|| {
            let hashed = Arc::new(Hashed { columns, hashes, chains: OnceLock::new() });
            all.push(Arc::clone(&hashed));
            hashed
        }))
    }

    /// The rows in the order of their keys.
    pub(crate) fn sorted(&self, spec: &TreeSpec) -> Result<Arc<Sorted>, StoreError> {
        if let Some(sorted) = self.sorted.get() {
            return Ok(Arc::clone(sorted));
        }
        let sorted = Arc::new(Sorted::new(spec, &self.rows)?);
        Ok(Arc::clone(self.sorted.get_or_init(|| sorted)))
    }

    /// By how many columns it has been looked up, so that what replaces it will be too.
    fn looked_up(&self) -> Vec<usize> {
        let chained = |hashed: &&Arc<Hashed>| hashed.chains.get().is_some();
        self.hashed.lock().iter().filter(chained).map(|hashed| hashed.columns).collect()
    }
}

/// Rows with the same low bits of their hash, linked.
#[derive(Debug)]
pub(crate) struct Chains {
    heads: Vec<u32>,
    next: Vec<u32>,
}

const END: u32 = u32::MAX;

impl Chains {
    fn new(hashes: &[u64]) -> Self {
        let mut heads = vec![END; hashes.len().next_power_of_two()];
        let mut next = vec![END; hashes.len()];
        // From the back, so that a chain leads from older rows to newer ones.
        for (row, &hash) in hashes.iter().enumerate().rev() {
            let slot = slot(hash, heads.len());
            next[row] = heads[slot];
            heads[slot] = u32::try_from(row).expect("fewer than 2^32 rows in a batch");
        }
        Self { heads, next }
    }

    /// Calls `visit` with every row that may have this hash, in order.
    pub(crate) fn visit(&self, hash: u64, mut visit: impl FnMut(u32)) {
        let mut row = self.heads[slot(hash, self.heads.len())];
        while row != END {
            visit(row);
            row = self.next[row as usize];
        }
    }
}

fn slot(hash: u64, slots: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
    let low = hash as usize;
    low & (slots - 1)
}

/// Neighbouring batches as one, under the tree's rule: `keep` in order of arrival, `latest` the newest
/// row per key, `combine` the states of each key merged.
pub(crate) fn merge_batches(
    spec: &Arc<TreeSpec>,
    batches: &[Arc<MemoryBatch>],
) -> Result<MemoryBatch, StoreError> {
    let rows: Vec<RecordBatch> = batches.iter().map(|b| b.rows.clone()).collect();
    let merged = match &spec.rule {
        Rule::Keep => concat(&spec.schema, &rows.iter().collect::<Vec<_>>())?,
        Rule::Latest => {
            let mut merge = merge_rows(spec, rows, Cover::Some, usize::MAX)?;
            merge.next_batch()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&spec.schema)))
        }
        Rule::Combine(combine) => combine.combine(&rows, false)?,
    };
    let (first, last) = match batches {
        [first, .., last] => (first.first, last.last),
        [one] => (one.first, one.last),
        [] => (CommitId::default(), CommitId::default()),
    };
    let merged = MemoryBatch::new(spec, merged, first, last)?;
    for columns in batches.iter().flat_map(|batch| batch.looked_up()) {
        merged.hashed(spec, columns)?.chains();
    }
    if batches.iter().any(|batch| batch.sorted.get().is_some()) {
        merged.sorted(spec)?;
    }
    Ok(merged)
}

/// Batches from memory alone, sorted and merged.
pub(crate) fn merge_rows(
    spec: &Arc<TreeSpec>,
    batches: Vec<RecordBatch>,
    cover: Cover,
    batch_rows: usize,
) -> Result<Merge, StoreError> {
    let mut ranges = KeyRanges::new(spec);
    for batch in &batches {
        ranges.include_batch(batch, &spec.key);
    }
    let order = Arc::new(KeyOrder::new(spec, &ranges)?);
    let keys = keys_of(&order, &batches)?;
    let mut rows = Vec::new();
    for (number, batch) in (0u32..).zip(&batches) {
        let len = u32::try_from(batch.num_rows()).expect("fewer than 2^32 rows in a batch");
        rows.extend((0..len).map(|row| (number, row)));
    }
    let chunk_rows = rows.len().max(1);
    let sorted = SortedRows::new(&order, &spec.schema, &Arc::new(batches), &keys, rows, chunk_rows);
    Merge::new(spec, &order, vec![Source::Memory(sorted)], cover, batch_rows)
}
