//! Rows that are not needed any more: a tree is told before which time, and its partitions that end by then go.
//!
//! ```text
//!   release(tree, t) ─▶ parts of partitions before t go from the snapshot      at once
//!                       rows of memory batches go                              in the background, and when flushed
//!                       parts go from the manifest, and their files            with the next checkpoint
//! ```
//!
//! A tree whose key begins with a number is told below which one, and what is there goes in the same way; of a part that
//! has rows of both sides nothing does.
//!
//! What must hold: no reader depends on whether a released row is still there.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::compute::filter_record_batch;
use yeoul_batch::{CommitId, TreeId};

use super::Shared;
use super::publish::{frozen_batches, live_bytes, unknown};
use crate::StoreError;
use crate::tree::{MemoryBatch, Snapshot, TreeSnapshot, key_bytes, partitions_of};

impl Shared {
    pub(super) fn release(&self, id: TreeId, before_us: i64) -> Result<(), StoreError> {
        let released = |tree: &TreeSnapshot| {
            let by = tree.spec.partition?;
            let before = before_us.div_euclid(by.width_us);
            (before > tree.released).then_some(before)
        };
        if released(self.current.load().tree(id).ok_or_else(|| unknown(id))?).is_none() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.current.load());
        let at = next.position(id).map_err(|_| unknown(id))?;
        let mut tree = TreeSnapshot::clone(&next.trees[at]);
        let Some(before) = released(&tree) else { return Ok(()) };
        tree.released = before;
        next.trees[at] = Arc::new(tree.with_parts(Some(&tree.parts)));
        writer.released.insert(id);
        let old = self.current.swap(Arc::new(next));
        drop(writer);
        // The last holder of a part removes its file: not under the lock.
        drop(old);
        self.signal.wish(|wishes| wishes.tier = true);
        Ok(())
    }

    pub(super) fn release_below(
        &self,
        id: TreeId,
        number: i64,
        through: CommitId,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.current.load());
        let at = next.position(id).map_err(|_| unknown(id))?;
        let mut tree = TreeSnapshot::clone(&next.trees[at]);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        let below = key_bytes(&tree.spec, &[column])?.row(0).data().to_vec();
        if *below <= *tree.released_below {
            return Ok(());
        }
        tree.released_below = below.into();
        let frozen = frozen_batches(&tree, writer.frozen_through);
        let live = tree.memory.split_off(frozen);
        tree.memory.extend(live.into_iter().filter(|batch| batch.commits().1 > through));
        next.trees[at] = Arc::new(tree.with_parts(Some(&tree.parts)));
        writer.live_bytes = live_bytes(&next, writer.frozen_through);
        let old = self.current.swap(Arc::new(next));
        self.room.notify_all();
        drop(writer);
        drop(old);
        Ok(())
    }

    /// Drops released rows from memory.
    pub(super) fn thin(&self) -> Result<(), StoreError> {
        loop {
            let (id, frozen_through) = {
                let mut writer = self.writer.lock();
                let Some(id) = writer.released.pop_first() else { return Ok(()) };
                (id, writer.frozen_through)
            };
            let snapshot = self.current.load_full();
            let Some(tree) = snapshot.tree(id) else { continue };
            for batch in &tree.memory[frozen_batches(tree, frozen_through)..] {
                if let Some(thinned) = thinned(tree, batch)? {
                    self.replace_batches(id, std::slice::from_ref(batch), thinned.map(Arc::new));
                }
            }
        }
    }
}

/// A batch without its released rows, or that nothing is left of it; `None` when so few are released that
/// it may wait until it is merged or flushed.
fn thinned(
    tree: &TreeSnapshot,
    batch: &MemoryBatch,
) -> Result<Option<Option<MemoryBatch>>, StoreError> {
    let rows = batch.rows();
    let needed: BooleanArray = match partitions_of(rows, tree.spec.partition)? {
        (one, None) => return Ok(tree.is_released(one).then_some(None)),
        (_, Some(all)) => all.iter().map(|&one| Some(!tree.is_released(one))).collect(),
    };
    if needed.true_count() == 0 {
        return Ok(Some(None));
    }
    if needed.true_count() > rows.num_rows() / 2 {
        return Ok(None);
    }
    let (first, last) = batch.commits();
    let left = filter_record_batch(rows, &needed)?;
    Ok(Some(Some(MemoryBatch::new(&tree.spec, left, first, last)?)))
}
