//! Changing the current snapshot: commits, trees, and the tiers of the memory layer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use parking_lot::MutexGuard;
use yeoul_batch::{CommitId, TreeId};

use super::checkpoint::freeze;
use super::{Publication, Shared, Writer};
use crate::tree::{Fit, MemoryBatch, Snapshot, TreeSnapshot, merge_batches, place_of, tiering};
use crate::{Rule, RuleKind, StoreError, TreeSpec};

/// Batches of together at most this many rows are merged by the commit that makes them mergeable
/// (about a millisecond); larger ones in the background.
const INLINE_ROWS_MAX: usize = 32_768;

/// A checkpoint begins when this share of the memory is in use: while it is written three times as much fits beside it,
/// so that commits wait only if it is written three times slower than rows come.
const FROZEN_SHARE: usize = 4;

/// How often a commit that waits for memory looks whether the store was poisoned.
const WAIT: Duration = Duration::from_millis(100);

impl Shared {
    pub(super) fn publish(&self, publication: Publication) -> Result<(), StoreError> {
        self.check_writable()?;
        let Publication { commit, batches, meta } = publication;
        let before = self.current.load_full();
        let mut fresh = Vec::with_capacity(batches.len());
        for (id, rows) in batches {
            let tree = before.tree(id).ok_or_else(|| unknown(id))?;
            if rows.num_rows() > 0 {
                let rows = checked(&tree.spec, rows)?;
                fresh.push((id, Arc::new(MemoryBatch::new(&tree.spec, rows, commit, commit)?)));
            }
        }
        drop(before);
        let bytes: usize = fresh.iter().map(|(_, batch)| batch.bytes()).sum();
        let long_log = self.log_is_long();
        let mut writer = self.wait_for_room(bytes)?;
        let mut next = Snapshot::clone(&self.current.load());
        assert_eq!(commit, next.commit.next(), "store: commits follow each other");
        let mut large = false;
        for (id, batch) in fresh {
            let at = next.position(id).map_err(|_| unknown(id))?;
            let mut tree = TreeSnapshot::clone(&next.trees[at]);
            tree.memory.push(batch);
            large |= self.merge_small(&mut tree, writer.frozen_through)?;
            next.trees[at] = Arc::new(tree);
        }
        next.commit = commit;
        next.meta = Some(Arc::clone(&meta));
        writer.live_bytes = live_bytes(&next, writer.frozen_through);
        let next = Arc::new(next);
        let old = self.current.swap(Arc::clone(&next));
        let due = !self.options.read_only
            && !writer.in_checkpoint
            && (writer.live_bytes >= self.options.memory_bytes_max / FROZEN_SHARE
                || (writer.started && long_log));
        if due {
            freeze(&mut writer, &next);
        }
        let started = writer.started;
        drop(writer);
        // The last holder of a part removes its file: not under the lock.
        drop(old);
        if due {
            meta.frozen();
        }
        if due && !started {
            // While the log is replayed there are no threads yet.
            return self.write_frozen();
        }
        if due || large {
            self.signal.wish(|wishes| {
                wishes.flush |= due;
                wishes.tier |= large;
            });
        }
        Ok(())
    }

    /// Waits while a checkpoint frees memory until `bytes` more fit, and gives the lock. Without a
    /// checkpoint less than a quarter of the memory is in use, and the commit begins one.
    fn wait_for_room(&self, bytes: usize) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut writer = self.writer.lock();
        let full = |writer: &Writer| {
            let held = writer.live_bytes + writer.frozen_bytes;
            writer.in_checkpoint && held + bytes > self.options.memory_bytes_max
        };
        if !writer.started || !full(&writer) {
            return Ok(writer);
        }
        let since = Instant::now();
        while full(&writer) {
            self.check_writable()?;
            self.room.wait_for(&mut writer, WAIT);
        }
        self.counters.blocked(since.elapsed());
        Ok(writer)
    }

    fn log_is_long(&self) -> bool {
        let kept = self.log_bytes_kept.load(std::sync::atomic::Ordering::Relaxed);
        let bytes = self.log.lock().as_ref().map_or(0, crate::log::Log::bytes);
        bytes.saturating_sub(kept) >= self.options.log_bytes_max
    }

    /// Merges small batches of a tree; says whether there are large ones to merge.
    fn merge_small(
        &self,
        tree: &mut TreeSnapshot,
        frozen_through: CommitId,
    ) -> Result<bool, StoreError> {
        let tiering = tiering(tree.spec.rule.kind());
        loop {
            let frozen = frozen_batches(tree, frozen_through);
            let sizes: Vec<u64> =
                tree.memory[frozen..].iter().map(|b| b.rows().num_rows() as u64).collect();
            let Some(run) = tiering.plan(&sizes) else { return Ok(false) };
            let rows: u64 = sizes[run.clone()].iter().sum();
            if rows > INLINE_ROWS_MAX as u64 {
                return Ok(true);
            }
            let run = run.start + frozen..run.end + frozen;
            let merged = merge_batches(&tree.spec, &tree.memory[run.clone()])?;
            tree.memory.splice(run, [Arc::new(merged)]);
        }
    }

    /// Merges the large batches of one tree, if there are any to merge, without holding anybody
    /// up; says whether it did.
    pub(super) fn merge_large(&self) -> Result<bool, StoreError> {
        let frozen_through = self.writer.lock().frozen_through;
        let snapshot = self.current.load_full();
        for tree in &snapshot.trees {
            let frozen = frozen_batches(tree, frozen_through);
            let live = &tree.memory[frozen..];
            let sizes: Vec<u64> = live.iter().map(|b| b.rows().num_rows() as u64).collect();
            let Some(run) = tiering(tree.spec.rule.kind()).plan(&sizes) else { continue };
            let merged = Arc::new(merge_batches(&tree.spec, &live[run.clone()])?);
            self.replace_batches(tree.spec.id, &live[run], Some(merged));
            self.counters.tier_merge();
            return Ok(true);
        }
        Ok(false)
    }

    /// Puts `merged`, or nothing, in the place of exactly the batches it was made from, unless they were frozen
    /// or replaced meanwhile.
    pub(super) fn replace_batches(
        &self,
        id: TreeId,
        from: &[Arc<MemoryBatch>],
        merged: Option<Arc<MemoryBatch>>,
    ) {
        let mut writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.current.load());
        let Ok(at) = next.position(id) else { return };
        let mut tree = TreeSnapshot::clone(&next.trees[at]);
        let frozen = frozen_batches(&tree, writer.frozen_through);
        let same =
            |window: &[Arc<MemoryBatch>]| window.iter().zip(from).all(|(a, b)| Arc::ptr_eq(a, b));
        let Some(start) = tree.memory[frozen..].windows(from.len()).position(same) else { return };
        let run = frozen + start..frozen + start + from.len();
        tree.memory.splice(run, merged);
        next.trees[at] = Arc::new(tree);
        writer.live_bytes = live_bytes(&next, writer.frozen_through);
        self.current.store(Arc::new(next));
        self.room.notify_all();
    }

    pub(super) fn create_tree(&self, spec: TreeSpec) -> Result<(), StoreError> {
        self.check_writable()?;
        check_spec(&spec)?;
        self.insert_tree(TreeSnapshot::new(Arc::new(spec), Vec::new()))
    }

    pub(super) fn insert_tree(&self, tree: TreeSnapshot) -> Result<(), StoreError> {
        let _writer = self.writer.lock();
        let id = tree.spec.id;
        let mut next = Snapshot::clone(&self.current.load());
        match next.position(id) {
            Ok(_) => return Err(StoreError::Definition(format!("tree {id} exists already"))),
            Err(at) => next.trees.insert(at, Arc::new(tree)),
        }
        self.next_tree.fetch_max(id.0 + 1, std::sync::atomic::Ordering::AcqRel);
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// Puts `spec` in the place of the definition of its tree. Rows in memory are converted, parts are
    /// not: they are converted when they are read.
    pub(super) fn alter_tree(&self, spec: TreeSpec) -> Result<(), StoreError> {
        self.check_writable()?;
        check_spec(&spec)?;
        let mut writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.current.load());
        let at = next.position(spec.id).map_err(|_| unknown(spec.id))?;
        let mut tree = TreeSnapshot::clone(&next.trees[at]);
        check_altered(&tree.spec, &spec)?;
        let spec = Arc::new(spec);
        let same = spec.schema == tree.spec.schema;
        let fit = Fit::new(&tree.spec.schema, &spec.schema)?;
        for batch in tree.memory.iter_mut().filter(|_| !same) {
            let (first, last) = batch.commits();
            *batch = Arc::new(MemoryBatch::new(&spec, fit.batch(batch.rows())?, first, last)?);
        }
        tree.spec = spec;
        next.trees[at] = Arc::new(tree);
        writer.live_bytes = live_bytes(&next, writer.frozen_through);
        let old = self.current.swap(Arc::new(next));
        drop(writer);
        drop(old);
        Ok(())
    }

    pub(super) fn drop_tree(&self, id: TreeId) -> Result<(), StoreError> {
        self.check_writable()?;
        let mut writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.current.load());
        let at = next.position(id).map_err(|_| unknown(id))?;
        next.trees.remove(at);
        writer.building.remove(&id);
        writer.live_bytes = live_bytes(&next, writer.frozen_through);
        let old = self.current.swap(Arc::new(next));
        drop(writer);
        drop(old);
        Ok(())
    }
}

pub(super) fn unknown(id: TreeId) -> StoreError {
    StoreError::Definition(format!("tree {id} does not exist"))
}

/// How many of a tree's batches are frozen: they stand first.
pub(super) fn frozen_batches(tree: &TreeSnapshot, frozen_through: CommitId) -> usize {
    tree.memory.partition_point(|batch| batch.commits().1 <= frozen_through)
}

pub(super) fn live_bytes(snapshot: &Snapshot, frozen_through: CommitId) -> usize {
    let live = |tree: &TreeSnapshot| -> usize {
        let frozen = frozen_batches(tree, frozen_through);
        tree.memory[frozen..].iter().map(|batch| batch.bytes()).sum()
    };
    snapshot.trees.iter().map(|tree| live(tree)).sum()
}

/// The rows under the tree's own schema: types must be the same, names and metadata are the tree's.
fn checked(
    spec: &TreeSpec,
    rows: arrow::array::RecordBatch,
) -> Result<arrow::array::RecordBatch, StoreError> {
    if Arc::ptr_eq(&rows.schema(), &spec.schema) {
        return Ok(rows);
    }
    Ok(arrow::array::RecordBatch::try_new(Arc::clone(&spec.schema), rows.columns().to_vec())?)
}

/// Parts are found by partition and sorted by key: neither changes while the tree lives.
fn check_altered(old: &TreeSpec, new: &TreeSpec) -> Result<(), StoreError> {
    let wrong = |what: &str| {
        Err(StoreError::Definition(format!("tree {} \"{}\": {what}", new.id, new.name)))
    };
    if old.rule.kind() != new.rule.kind() {
        return wrong("its rule cannot change");
    }
    let place = |column: &usize| place_of(&old.schema, new.schema.field(*column));
    let key: Option<Vec<usize>> = new.key.iter().map(place).collect();
    let same_type = |column: &usize| {
        let was = place(column).map(|at| old.schema.field(at).data_type());
        was == Some(new.schema.field(*column).data_type())
    };
    if key.as_ref() != Some(&old.key) || !new.key.iter().all(same_type) {
        return wrong("its key cannot change");
    }
    let partition = new.partition.map(|by| (place(&by.column), by.width_us));
    if partition != old.partition.map(|by| (Some(by.column), by.width_us)) {
        return wrong("its partitions cannot change");
    }
    Ok(())
}

/// Refuses a definition that the rules cannot be carried out on.
pub(super) fn check_spec(spec: &TreeSpec) -> Result<(), StoreError> {
    let fields = spec.schema.fields();
    let wrong = |what: String| {
        Err(StoreError::Definition(format!("tree {} \"{}\": {what}", spec.id, spec.name)))
    };
    if let Some(column) = spec.key.iter().find(|&&c| c >= fields.len()) {
        return wrong(format!("key column {column} does not exist"));
    }
    match &spec.rule {
        Rule::Keep => {}
        Rule::Latest => {
            let marks: Vec<(&str, &DataType)> = fields
                .iter()
                .skip(fields.len().saturating_sub(2))
                .map(|f| (f.name().as_str(), f.data_type()))
                .collect();
            if marks != [("_version", &DataType::UInt64), ("_deleted", &DataType::Boolean)] {
                return wrong("the last two columns are not _version and _deleted".to_owned());
            }
        }
        Rule::Combine(combine) => {
            let mut key = spec.key.clone();
            key.sort_unstable();
            if key != (0..combine.key_len()).collect::<Vec<_>>() {
                return wrong("the key is not made of the rule's leading columns".to_owned());
            }
            let same = |(a, b): (&Arc<arrow::datatypes::Field>, &Arc<arrow::datatypes::Field>)| {
                a.data_type() == b.data_type()
            };
            let theirs = combine.schema().fields();
            if theirs.len() != fields.len() || !theirs.iter().zip(fields.iter()).all(same) {
                return wrong("the columns are not those of its rule".to_owned());
            }
        }
    }
    if let Some(by) = spec.partition {
        let time = fields.get(by.column).is_some_and(|f| {
            matches!(
                f.data_type(),
                DataType::Date32 | DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _)
            )
        });
        if !time || by.width_us <= 0 {
            return wrong("it cannot be partitioned like this".to_owned());
        }
        if spec.rule.kind() != RuleKind::Keep && !spec.key.contains(&by.column) {
            return wrong("the partition column is not part of the key".to_owned());
        }
    }
    Ok(())
}
