//! Reading a tree: every row once, with the tree's rule applied.
//!
//! What must hold: the answer is the same however the rows are divided over memory and parts.
//!
//! Order: rows of a keyed tree come by partition and within it by key; rows of a `keep` tree come in
//! no particular order.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;
use yeoul_batch::KeyCodec;

use super::merge::{Cover, Merge};
use super::order::{Address, KeyOrder, KeyRanges, Keys};
use super::part::Part;
use super::partition::{partitions_of, rows_by_partition};
use super::snapshot::TreeSnapshot;
use super::source::{CHUNK_ROWS, SortedRows, Source, keys_of};
use super::stored::PartRows;
use crate::{Rule, StoreError, TreeSpec};

/// About how much a batch takes that is read from a part.
const BATCH_BYTES: u64 = 32 << 20;

/// Which rows and columns to read.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// The columns, by position in the tree's schema; all when `None`.
    pub projection: Option<Vec<usize>>,
    /// The partitions; all when `None`.
    pub partitions: Option<RangeInclusive<i64>>,
    /// The first and last key in ordered bytes (`KeyCodec` over the tree's key). Either may be the
    /// encoding of only the leading key columns: then all keys that begin so are meant.
    pub keys: Option<RangeInclusive<Vec<u8>>>,
    /// About how many rows a batch has; of wide rows it has fewer.
    pub batch_rows: usize,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { projection: None, partitions: None, keys: None, batch_rows: 65_536 }
    }
}

/// Whether a key is within a range whose bounds may be prefixes.
fn within(keys: &RangeInclusive<Vec<u8>>, key: &[u8]) -> bool {
    let (first, last) = (keys.start(), keys.end());
    key >= first.as_slice() && &key[..key.len().min(last.len())] <= last.as_slice()
}

/// One thing to read.
enum Step {
    Part(Arc<Part>),
    Rows(RecordBatch),
    Partition(Vec<Arc<Part>>, Vec<Address>),
}

/// What is being read.
enum Active {
    /// Whole rows, or only the columns asked for.
    Part {
        reader: PartRows,
        whole: bool,
    },
    Merge(Box<Merge>),
}

/// The rows of a tree; see [`scan`].
pub struct Scan {
    spec: Arc<TreeSpec>,
    options: ScanOptions,
    codec: KeyCodec,
    order: Arc<KeyOrder>,
    memory: Arc<Vec<RecordBatch>>,
    memory_keys: Vec<Keys>,
    steps: VecDeque<Step>,
    active: Option<Active>,
    failed: bool,
}

/// Reads a tree.
///
/// # Errors
/// When a part cannot be read; also per batch.
pub fn scan(tree: &TreeSnapshot, options: ScanOptions) -> Result<Scan, StoreError> {
    let spec = Arc::clone(&tree.spec);
    let codec = KeyCodec::new(&spec.schema, &spec.key)?;
    let wanted = |part: &&Arc<Part>| {
        let meta = part.meta();
        options.partitions.as_ref().is_none_or(|p| p.contains(&meta.partition))
            && options.keys.as_ref().is_none_or(|keys| {
                let last = keys.end();
                let first = &meta.first_key[..meta.first_key.len().min(last.len())];
                first <= last.as_slice() && meta.last_key.as_slice() >= keys.start().as_slice()
            })
    };
    let parts: Vec<Arc<Part>> = tree.parts.iter().filter(wanted).cloned().collect();
    let memory: Vec<RecordBatch> = tree.memory.iter().map(|m| m.rows().clone()).collect();
    let mut scan = Scan {
        order: Arc::new(KeyOrder::new(&spec, &KeyRanges::new(&spec))?),
        spec,
        options,
        codec,
        memory: Arc::new(memory),
        memory_keys: Vec::new(),
        steps: VecDeque::new(),
        active: None,
        failed: false,
    };
    match scan.spec.rule {
        Rule::Keep => {
            scan.steps.extend(parts.into_iter().map(Step::Part));
            let rows: Vec<Step> = scan.memory.iter().cloned().map(Step::Rows).collect();
            scan.steps.extend(rows);
        }
        Rule::Latest | Rule::Combine(_) => scan.plan_merges(parts)?,
    }
    Ok(scan)
}

impl Scan {
    fn plan_merges(&mut self, parts: Vec<Arc<Part>>) -> Result<(), StoreError> {
        let mut ranges = KeyRanges::new(&self.spec);
        for batch in self.memory.iter() {
            ranges.include_batch(batch, &self.spec.key);
        }
        for part in &parts {
            ranges.include_values(&part.key_values()?);
        }
        self.order = Arc::new(KeyOrder::new(&self.spec, &ranges)?);
        self.memory_keys = keys_of(&self.order, &self.memory)?;
        let mut partitions: BTreeMap<i64, (Vec<Arc<Part>>, Vec<Address>)> = BTreeMap::new();
        for part in parts {
            partitions.entry(part.meta().partition).or_default().0.push(part);
        }
        for (partition, rows) in rows_by_partition(&self.memory, self.spec.partition)? {
            if self.options.partitions.as_ref().is_none_or(|p| p.contains(&partition)) {
                partitions.entry(partition).or_default().1 = rows;
            }
        }
        let steps = partitions.into_values();
        self.steps = steps.map(|(parts, rows)| Step::Partition(parts, rows)).collect();
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        loop {
            let (batch, whole) = match &mut self.active {
                Some(Active::Part { reader, whole }) => (reader.next().transpose()?, *whole),
                Some(Active::Merge(merge)) => (merge.next_batch()?, true),
                None => (None, true),
            };
            if let Some(batch) = batch {
                let batch = if whole { self.narrow(batch)? } else { batch };
                if batch.num_rows() > 0 {
                    return Ok(Some(batch));
                }
                continue;
            }
            self.active = None;
            match self.steps.pop_front() {
                None => return Ok(None),
                Some(Step::Part(part)) => self.active = Some(self.open(&part)?),
                Some(Step::Rows(rows)) => {
                    let rows = self.of_partitions(rows)?;
                    let rows = self.narrow(rows)?;
                    if rows.num_rows() > 0 {
                        return Ok(Some(rows));
                    }
                }
                Some(Step::Partition(parts, rows)) => {
                    self.active = Some(Active::Merge(Box::new(self.merge(&parts, rows)?)));
                }
            }
        }
    }

    /// A part of a `keep` tree: only the columns asked for are read, unless keys are compared or
    /// the columns are wanted in another order than the file's.
    fn open(&self, part: &Part) -> Result<Active, StoreError> {
        let mut reader = part.reader()?;
        let mut narrowed = None;
        if let Some(keys) = &self.options.keys {
            let rows = part.sparse_keys()?.rows_between(keys.start(), keys.end());
            let total = usize::try_from(part.meta().rows).unwrap_or(usize::MAX);
            let rows = rows.start.min(total)..rows.end.min(total);
            let selection = RowSelection::from_consecutive_ranges(std::iter::once(rows), total);
            reader = reader.with_row_selection(selection);
        } else if let Some(columns) = &self.options.projection
            && columns.is_sorted_by(|a, b| a < b)
        {
            narrowed = Some(columns.as_slice());
        }
        let (from, read) = part.columns(&self.spec.schema, narrowed)?;
        let rows = part.rows_at_once(narrowed, self.options.batch_rows, BATCH_BYTES)?;
        let reader = reader.with_batch_size(rows);
        let mask = ProjectionMask::roots(reader.parquet_schema(), read);
        let reader = PartRows::new(reader.with_projection(mask).build()?, from);
        Ok(Active::Part { reader, whole: narrowed.is_none() })
    }

    fn merge(&self, parts: &[Arc<Part>], rows: Vec<Address>) -> Result<Merge, StoreError> {
        let mut sources = Vec::with_capacity(parts.len() + 1);
        for part in parts {
            sources.push(Source::part(part, &self.spec.schema, parts.len())?);
        }
        if !rows.is_empty() {
            sources.push(Source::Memory(SortedRows::new(
                &self.order,
                &self.spec.schema,
                &self.memory,
                &self.memory_keys,
                rows,
                CHUNK_ROWS,
            )));
        }
        let batch_rows = self.options.batch_rows.max(1);
        Merge::new(&self.spec, &self.order, sources, Cover::All, batch_rows)
    }

    fn of_partitions(&self, rows: RecordBatch) -> Result<RecordBatch, StoreError> {
        let Some(wanted) = &self.options.partitions else { return Ok(rows) };
        match partitions_of(&rows, self.spec.partition)? {
            (one, None) if wanted.contains(&one) => Ok(rows),
            (_, None) => Ok(rows.slice(0, 0)),
            (_, Some(numbers)) => {
                let mask: BooleanArray = numbers.iter().map(|p| Some(wanted.contains(p))).collect();
                Ok(filter_record_batch(&rows, &mask)?)
            }
        }
    }

    /// The wanted keys and columns of whole rows.
    fn narrow(&self, rows: RecordBatch) -> Result<RecordBatch, StoreError> {
        let rows = match &self.options.keys {
            None => rows,
            Some(keys) => {
                let encoded = self.codec.encode(&rows)?;
                let mask: BooleanArray =
                    encoded.iter().map(|key| Some(within(keys, key.as_ref()))).collect();
                filter_record_batch(&rows, &mask)?
            }
        };
        match &self.options.projection {
            None => Ok(rows),
            Some(columns) => Ok(rows.project(columns)?),
        }
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
