//! Reading the rows of given keys a bounded number at a time, where all of them may not fit in memory.
//!
//! ```text
//!   keys ─▶ partition by partition: parts, filtered ─┬─▶ merge under the rule ─▶ rounds of rows_max
//!                         rows of memory, filtered ──┘
//! ```
//!
//! What must hold: the rounds together are the answer of `get_many`.
//!
//! Limits: held are the round, a chunk of each part of one partition, a copy of the rows of memory that are
//! of the keys, and for every part which of its rows they are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

use super::gather::concat;
use super::lookup::get_many;
use super::merge::{Cover, Merge};
use super::order::{Address, KeyOrder, KeyRanges, Keys};
use super::part::Part;
use super::partition::rows_by_partition;
use super::snapshot::TreeSnapshot;
use super::source::{CHUNK_ROWS, SortedRows, Source, keys_of};
use super::stored::PartRows;
use super::wanted::Wanted;
use crate::{Rule, StoreError, TreeSpec};

/// What is to be read next.
enum Step {
    Rows(RecordBatch),
    Part(Arc<Part>),
    Partition(Vec<Arc<Part>>, Vec<Address>),
}

/// What is being read.
enum Active {
    Part(PartRows),
    Merge(Box<Merge>),
}

/// The rows of some keys; see [`get_rounds`].
pub struct Rounds {
    spec: Arc<TreeSpec>,
    wanted: Option<Arc<Wanted>>,
    rows_max: usize,
    order: Arc<KeyOrder>,
    /// The rows of memory that are of the keys.
    memory: Arc<Vec<RecordBatch>>,
    memory_keys: Vec<Keys>,
    steps: VecDeque<Step>,
    active: Option<Active>,
    /// Rows of the next round.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    failed: bool,
}

/// The rows that [`get_many`] gives, in rounds of at most `rows_max` rows (one, if that is 0). Rows of one
/// key may be in several rounds.
///
/// # Errors
/// When the tree has fewer columns in its key or, being [`Rule::Keep`], none; when a part cannot be read,
/// also per round.
pub fn get_rounds(
    tree: &TreeSnapshot,
    keys: &[ArrayRef],
    rows_max: usize,
) -> Result<Rounds, StoreError> {
    let spec = &tree.spec;
    let wanted = Wanted::new(spec, keys)?;
    let mut memory = Vec::new();
    let mut ranges = KeyRanges::new(spec);
    for batch in &tree.memory {
        let Some(wanted) = &wanted else { break };
        let rows = wanted.in_memory(batch)?;
        if !rows.is_empty() {
            let rows = take_record_batch(batch.rows(), &UInt32Array::from(rows))?;
            ranges.include_batch(&rows, &spec.key);
            memory.push(rows);
        }
    }
    let mut rounds = Rounds {
        order: Arc::new(KeyOrder::new(spec, &ranges)?),
        spec: Arc::clone(spec),
        rows_max: rows_max.max(1),
        memory: Arc::new(memory),
        memory_keys: Vec::new(),
        steps: VecDeque::new(),
        active: None,
        pending: Vec::new(),
        pending_rows: 0,
        failed: false,
        wanted,
    };
    if rounds.wanted.is_none() {
        // One row at most.
        rounds.steps.push_back(Step::Rows(get_many(tree, keys)?));
    } else if matches!(spec.rule, Rule::Keep) {
        rounds.steps.extend(tree.parts.iter().cloned().map(Step::Part));
        rounds.steps.extend(rounds.memory.iter().cloned().map(Step::Rows));
    } else {
        rounds.plan_merges(tree, ranges)?;
    }
    Ok(rounds)
}

impl Rounds {
    fn plan_merges(
        &mut self,
        tree: &TreeSnapshot,
        mut ranges: KeyRanges,
    ) -> Result<(), StoreError> {
        let mut partitions: BTreeMap<i64, (Vec<Arc<Part>>, Vec<Address>)> = BTreeMap::new();
        for part in &tree.parts {
            ranges.include_values(&part.key_values()?);
            partitions.entry(part.meta().partition).or_default().0.push(Arc::clone(part));
        }
        for (partition, rows) in rows_by_partition(&self.memory, self.spec.partition)? {
            partitions.entry(partition).or_default().1 = rows;
        }
        self.order = Arc::new(KeyOrder::new(&self.spec, &ranges)?);
        self.memory_keys = keys_of(&self.order, &self.memory)?;
        let steps = partitions.into_values();
        self.steps = steps.map(|(parts, rows)| Step::Partition(parts, rows)).collect();
        Ok(())
    }

    fn open(&self, part: &Part) -> Result<Option<PartRows>, StoreError> {
        let batch_rows = self.rows_max.min(CHUNK_ROWS);
        self.wanted.as_ref().map_or(Ok(None), |wanted| wanted.in_part(part, batch_rows))
    }

    fn merge(&self, parts: &[Arc<Part>], rows: Vec<Address>) -> Result<Merge, StoreError> {
        let mut sources = Vec::new();
        for part in parts {
            sources.extend(self.open(part)?.map(Source::Part));
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
        Merge::new(&self.spec, &self.order, sources, Cover::All, self.rows_max)
    }

    fn next_rows(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        loop {
            let rows = match &mut self.active {
                Some(Active::Part(rows)) => rows.next().transpose()?,
                Some(Active::Merge(merge)) => merge.next_batch()?,
                None => None,
            };
            if rows.is_some() {
                return Ok(rows);
            }
            self.active = None;
            match self.steps.pop_front() {
                None => return Ok(None),
                Some(Step::Rows(rows)) => return Ok(Some(rows)),
                Some(Step::Part(part)) => self.active = self.open(&part)?.map(Active::Part),
                Some(Step::Partition(parts, rows)) => {
                    self.active = Some(Active::Merge(Box::new(self.merge(&parts, rows)?)));
                }
            }
        }
    }

    /// Fills a round, and keeps what is too much for the next.
    fn round(&mut self) -> Result<Option<RecordBatch>, StoreError> {
        while self.pending_rows < self.rows_max {
            let Some(rows) = self.next_rows()? else { break };
            self.pending_rows += rows.num_rows();
            self.pending.push(rows);
        }
        if self.pending_rows == 0 {
            return Ok(None);
        }
        let all = match self.pending.as_slice() {
            [one] => one.clone(),
            several => concat(&self.spec.schema, &several.iter().collect::<Vec<_>>())?,
        };
        let len = self.rows_max.min(self.pending_rows);
        self.pending_rows -= len;
        self.pending.clear();
        if self.pending_rows > 0 {
            self.pending.push(all.slice(len, self.pending_rows));
        }
        Ok(Some(all.slice(0, len)))
    }
}

impl Iterator for Rounds {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.round().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}
