//! All trees at one commit.

use std::fmt;
use std::sync::Arc;

use yeoul_batch::{CommitId, TreeId};

use super::memory::MemoryBatch;
use super::part::Part;
use super::partition::NULL_PARTITION;
use crate::TreeSpec;
use crate::store::Meta;

/// One tree at one commit: cheap to clone, never changes, and holds its files.
#[derive(Clone, Debug)]
pub struct TreeSnapshot {
    pub(crate) spec: Arc<TreeSpec>,
    pub(crate) memory: Vec<Arc<MemoryBatch>>,
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) expired_rows: Option<u64>,
    /// Rows of partitions before this one are released.
    pub(crate) released: i64,
    /// Rows whose keys are less are released.
    pub(crate) released_below: Arc<[u8]>,
}

impl TreeSnapshot {
    pub(crate) fn new(spec: Arc<TreeSpec>, parts: Vec<Arc<Part>>) -> Self {
        Self {
            spec,
            memory: Vec::new(),
            parts,
            expired_rows: Some(0),
            released: i64::MIN,
            released_below: Arc::default(),
        }
    }

    /// Whether nobody needs the rows of a partition. Rows without a time stay.
    pub(crate) fn is_released(&self, partition: i64) -> bool {
        partition < self.released && partition != NULL_PARTITION
    }

    /// Whether somebody may need rows of a part.
    pub(crate) fn needs(&self, part: &Part) -> bool {
        let meta = part.meta();
        !self.is_released(meta.partition) && *meta.last_key >= *self.released_below
    }

    /// The same tree with those of `parts` that are not released.
    pub(crate) fn with_parts(&self, parts: Option<&Vec<Arc<Part>>>) -> Self {
        let parts = parts.into_iter().flatten().filter(|part| self.needs(part)).cloned().collect();
        Self { parts, ..self.clone() }
    }

    /// Its definition.
    #[must_use]
    pub fn spec(&self) -> &Arc<TreeSpec> {
        &self.spec
    }

    /// The rows that are in memory, oldest first.
    #[must_use]
    pub fn memory(&self) -> &[Arc<MemoryBatch>] {
        &self.memory
    }

    /// The rows that are in files; of one partition, the oldest first.
    #[must_use]
    pub fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }

    /// How many rows are stored: for keyed trees an upper bound of what a reader sees.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let memory: usize = self.memory.iter().map(|batch| batch.rows().num_rows()).sum();
        memory as u64 + self.parts.iter().map(|part| part.meta().rows).sum::<u64>()
    }

    /// How many rows its retention has dropped since it was created: with [`TreeSnapshot::rows`] a
    /// `keep` tree accounts for every row it was given. `None` when a part of them was not counted.
    #[must_use]
    pub fn expired_rows(&self) -> Option<u64> {
        self.expired_rows
    }

    /// About how much memory its rows take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory.iter().map(|batch| batch.bytes()).sum()
    }

    /// How long its files are.
    #[must_use]
    pub fn part_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.meta().bytes).sum()
    }
}

/// Every tree as of one commit. What a reader holds stays as it is, whatever is committed,
/// flushed, merged or dropped meanwhile.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(crate) commit: CommitId,
    /// By number, ascending.
    pub(crate) trees: Vec<Arc<TreeSnapshot>>,
    pub(crate) meta: Option<Arc<dyn Meta>>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("commit", &self.commit)
            .field("trees", &self.trees)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// The commit that it shows.
    #[must_use]
    pub fn commit(&self) -> CommitId {
        self.commit
    }

    /// The engine's state of this commit; `None` before the first publication since the opening.
    #[must_use]
    pub fn meta(&self) -> Option<&Arc<dyn Meta>> {
        self.meta.as_ref()
    }

    /// A tree; `None` when there is none of this number at this commit.
    #[must_use]
    pub fn tree(&self, id: TreeId) -> Option<&Arc<TreeSnapshot>> {
        self.position(id).ok().map(|at| &self.trees[at])
    }

    /// All trees, by number.
    #[must_use]
    pub fn trees(&self) -> &[Arc<TreeSnapshot>] {
        &self.trees
    }

    pub(crate) fn position(&self, id: TreeId) -> Result<usize, usize> {
        self.trees.binary_search_by_key(&id.0, |tree| tree.spec.id.0)
    }
}
