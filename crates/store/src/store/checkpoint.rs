//! Moving memory to parts and shortening the log.
//!
//! ```text
//!   freeze at F ─▶ parts, per tree and partition ─▶ manifest {F, parts, meta of F} ─▶ swap ─▶ cut the log
//!        └ new commits go on into a new layer
//! ```
//!
//! A crash before the manifest leaves orphans, which the next start removes; one after it leaves
//! log segments that the replay skips.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use yeoul_batch::{CommitId, TreeId};

use super::publish::live_bytes;
use super::{Durable, Frozen, Shared, Writer};
use crate::tree::{
    CHUNK_ROWS, Cover, KeyOrder, KeyRanges, Merge, Part, PartLabel, PartWriter, Snapshot,
    SortedRows, Source, TreeSnapshot, keys_of, rows_by_partition,
};
use crate::{Manifest, PartMeta, Rule, RuleKind, StoreError, TreeManifest, TreeSpec};

/// Rows per batch handed to the Parquet writer.
pub(super) const WRITE_ROWS: usize = 32_768;

impl Shared {
    /// Finishes the checkpoint that was begun, if one was, then makes one of the newest commit.
    pub(super) fn checkpoint(&self) -> Result<CommitId, StoreError> {
        self.check_writable()?;
        if self.options.read_only {
            return Err(super::read_only());
        }
        self.write_frozen()?;
        let manifest = self.durable.lock().manifest.commit;
        let meta = {
            let mut writer = self.writer.lock();
            let current = self.current.load_full();
            if current.commit == manifest || current.meta.is_none() {
                return Ok(manifest);
            }
            freeze(&mut writer, &current);
            current.meta.clone()
        };
        if let Some(meta) = meta {
            meta.frozen();
        }
        self.write_frozen()?;
        Ok(self.durable.lock().manifest.commit)
    }

    /// Begins a checkpoint for the background, unless one is under way.
    pub(super) fn begin_checkpoint(&self) -> Result<(), StoreError> {
        self.check_writable()?;
        let meta = {
            let mut writer = self.writer.lock();
            let current = self.current.load_full();
            let Some(meta) = current.meta.clone() else { return Ok(()) };
            if writer.in_checkpoint || !writer.started {
                return Ok(());
            }
            freeze(&mut writer, &current);
            meta
        };
        meta.frozen();
        self.signal.wish(|wishes| wishes.flush = true);
        Ok(())
    }

    /// Carries out the checkpoint that was begun, if one was.
    pub(super) fn write_frozen(&self) -> Result<(), StoreError> {
        let one = self.checkpointing.lock();
        self.check_writable()?;
        let Some(frozen) = self.writer.lock().frozen.take() else { return Ok(()) };
        self.flushing.store(true, Ordering::Release);
        let done = self.write_checkpoint(&frozen);
        self.flushing.store(false, Ordering::Release);
        drop(one);
        if let Err(error) = &done {
            self.poison(error);
        }
        self.signal.wish(|wishes| wishes.merge = true);
        done
    }

    fn write_checkpoint(&self, frozen: &Frozen) -> Result<(), StoreError> {
        let Frozen { snapshot: frozen, building } = frozen;
        let commit = frozen.commit;
        let Some(meta) = frozen.meta.clone() else { return Ok(()) };
        let mut written = BTreeMap::new();
        let mut expired = Expired::new();
        for tree in &frozen.trees {
            let id = tree.spec.id;
            let (parts, rows) = self.flush_tree(tree, building.contains(&id))?;
            written.insert(id, parts);
            expired.insert(id, tree.expired_rows.map(|before| before + rows));
        }
        let carried = self.durable.lock().manifest.seen_runs.clone();
        let seen_runs = meta.seen_runs(&carried, &mut || self.number())?;
        let encoded = meta.encode().into();
        let mut durable = self.durable.lock();
        let parts = next_parts(&durable, frozen, written, &mut expired);
        let trees = frozen.trees.iter();
        let manifest = Manifest {
            commit,
            next_tree: self.next_tree.load(Ordering::Acquire),
            next_part: self.next_part.load(Ordering::Acquire),
            trees: trees
                .map(|tree| {
                    manifest_of(&tree.spec, &parts, expired.get(&tree.spec.id).copied().flatten())
                })
                .collect(),
            seen_runs,
            meta: encoded,
        };
        manifest.store(&*self.media)?;
        let before = std::mem::replace(&mut *durable, Durable { manifest, parts });
        self.show_checkpoint(&durable, frozen, &expired);
        give_up_missing(before.parts.values().flatten(), &durable);
        drop(durable);
        self.cut_log(commit)?;
        meta.checkpointed();
        self.counters.checkpoint();
        Ok(())
    }

    /// In one swap the new parts come in and the memory that they were written from goes out.
    fn show_checkpoint(&self, durable: &Durable, frozen: &Snapshot, expired: &Expired) {
        let mut writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.current.load());
        for tree in &mut next.trees {
            let id = tree.spec.id;
            if frozen.tree(id).is_none() {
                continue;
            }
            let mut shown = tree.with_parts(durable.parts.get(&id));
            shown.memory.retain(|batch| batch.commits().1 > frozen.commit);
            shown.expired_rows = expired.get(&id).copied().flatten();
            *tree = Arc::new(shown);
        }
        writer.frozen_bytes = 0;
        writer.in_checkpoint = false;
        writer.live_bytes = live_bytes(&next, writer.frozen_through);
        let old = self.current.swap(Arc::new(next));
        self.room.notify_all();
        drop(writer);
        drop(old);
    }

    fn cut_log(&self, commit: CommitId) -> Result<(), StoreError> {
        let mut log = self.log.lock();
        if let Some(log) = log.as_mut() {
            log.truncate_before(commit.next())?;
            self.log_bytes_kept.store(log.bytes(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes a tree's memory to parts, one or more per partition; also how many rows were of
    /// partitions too old to be written.
    fn flush_tree(
        &self,
        tree: &TreeSnapshot,
        building: bool,
    ) -> Result<(Vec<Arc<Part>>, u64), StoreError> {
        let spec = &tree.spec;
        let batches: Vec<RecordBatch> = tree.memory.iter().map(|b| b.rows().clone()).collect();
        let batches = Arc::new(batches);
        let partitions = rows_by_partition(&batches, spec.partition)?;
        if partitions.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let newest = newest_partition(
            partitions.keys().copied().chain(tree.parts.iter().map(|p| p.meta().partition)),
        );
        let mut ranges = KeyRanges::new(spec);
        for batch in batches.iter() {
            ranges.include_batch(batch, &spec.key);
        }
        let order = Arc::new(KeyOrder::new(spec, &ranges)?);
        let keys = keys_of(&order, &batches)?;
        let (mut parts, mut dropped) = (Vec::new(), 0);
        for (partition, rows) in partitions {
            if expired(tree, partition, newest) {
                dropped += rows.len() as u64;
                continue;
            }
            let chunk_rows = match spec.rule {
                Rule::Keep => WRITE_ROWS,
                Rule::Latest | Rule::Combine(_) => CHUNK_ROWS,
            };
            let mut rows = SortedRows::new(&order, &spec.schema, &batches, &keys, rows, chunk_rows);
            let first = !tree.parts.iter().any(|part| part.meta().partition == partition);
            let cover = match spec.rule.kind() {
                RuleKind::Combine if first && !building => Cover::Prefix { version_floor: 0 },
                _ => Cover::Some,
            };
            let label = PartLabel { partition, level: 0 };
            parts.extend(match spec.rule {
                // Nothing to decide about: rows go from the sort to the file.
                Rule::Keep => self.write_parts(spec, label, || rows.next_rows())?,
                Rule::Latest | Rule::Combine(_) => {
                    let sources = vec![Source::Memory(rows)];
                    let mut merge = Merge::new(spec, &order, sources, cover, WRITE_ROWS)?;
                    self.write_parts(spec, label, || merge.next_batch())?
                }
            });
        }
        Ok((parts, dropped))
    }

    /// Writes sorted rows of one partition to parts of at most about the wanted size.
    pub(super) fn write_parts(
        &self,
        spec: &Arc<TreeSpec>,
        label: PartLabel,
        mut next: impl FnMut() -> Result<Option<RecordBatch>, StoreError>,
    ) -> Result<Vec<Arc<Part>>, StoreError> {
        let bytes_max = self.part_bytes_max(spec.rule.kind());
        let mut parts = Vec::new();
        let mut writer: Option<PartWriter> = None;
        while let Some(rows) = next()? {
            let part = match writer.take() {
                Some(part) => part,
                None => PartWriter::create(
                    spec,
                    &self.media,
                    label,
                    self.number(),
                    self.options.compression,
                    &rows,
                )?,
            };
            let mut part = part;
            part.write(&rows)?;
            if part.bytes() >= bytes_max {
                parts.push(self.finish_part(part)?);
            } else {
                writer = Some(part);
            }
        }
        if let Some(part) = writer {
            parts.push(self.finish_part(part)?);
        }
        Ok(parts)
    }

    fn finish_part(&self, part: PartWriter) -> Result<Arc<Part>, StoreError> {
        let part = part.finish()?;
        self.counters.wrote(part.meta());
        Ok(Arc::new(part))
    }

    pub(super) fn part_bytes_max(&self, kind: RuleKind) -> u64 {
        match kind {
            RuleKind::Keep => self.options.part_bytes_max,
            RuleKind::Latest | RuleKind::Combine => self.options.part_bytes_max.saturating_mul(4),
        }
    }
}

/// Begins a checkpoint with the current commit: its memory is not touched any more.
pub(super) fn freeze(writer: &mut Writer, current: &Arc<Snapshot>) {
    writer.frozen_through = current.commit;
    writer.frozen_bytes = writer.live_bytes;
    writer.live_bytes = 0;
    writer.in_checkpoint = true;
    let building = writer.building.clone();
    writer.frozen = Some(Frozen { snapshot: Arc::clone(current), building });
}

/// How many rows the retention of each tree has dropped; `None` where it is not known.
type Expired = BTreeMap<TreeId, Option<u64>>;

/// The parts of every tree of the frozen snapshot: those there were, without the partitions that are
/// too old, and the new ones behind them. Rows of what is dropped are added to `dropped`.
fn next_parts(
    durable: &Durable,
    frozen: &Snapshot,
    written: BTreeMap<TreeId, Vec<Arc<Part>>>,
    dropped: &mut Expired,
) -> BTreeMap<TreeId, Vec<Arc<Part>>> {
    let mut all = BTreeMap::new();
    for (id, new) in written {
        let Some(tree) = frozen.tree(id) else { continue };
        let mut parts = durable.parts.get(&id).cloned().unwrap_or_default();
        parts.extend(new);
        let newest = newest_partition(parts.iter().map(|part| part.meta().partition));
        let old = parts.extract_if(.., |part| {
            !tree.needs(part) || expired(tree, part.meta().partition, newest)
        });
        let rows: u64 = old.map(|part| part.meta().rows).sum();
        if let Some(Some(count)) = dropped.get_mut(&id) {
            *count += rows;
        }
        all.insert(id, parts);
    }
    all
}

/// Marks those of `parts` that the manifest does not name any more.
pub(super) fn give_up_missing<'a>(parts: impl Iterator<Item = &'a Arc<Part>>, durable: &Durable) {
    let named: std::collections::HashSet<*const Part> =
        durable.parts.values().flatten().map(Arc::as_ptr).collect();
    for part in parts {
        if !named.contains(&Arc::as_ptr(part)) {
            part.give_up();
        }
    }
}

pub(super) fn manifest_of(
    spec: &TreeSpec,
    parts: &BTreeMap<TreeId, Vec<Arc<Part>>>,
    expired_rows: Option<u64>,
) -> TreeManifest {
    let parts: Vec<PartMeta> =
        parts.get(&spec.id).into_iter().flatten().map(|part| part.meta().clone()).collect();
    TreeManifest { id: spec.id, rule: spec.rule.kind(), expired_rows, parts }
}

fn newest_partition(partitions: impl Iterator<Item = i64>) -> i64 {
    partitions.max().unwrap_or(i64::MIN)
}

/// Whether a partition is released, or ended longer before the newest one began than the tree retains. Rows
/// without a time stay.
fn expired(tree: &TreeSnapshot, partition: i64, newest: i64) -> bool {
    if tree.is_released(partition) {
        return true;
    }
    let spec = &tree.spec;
    let (Some(by), Some(retention_us)) = (spec.partition, spec.retention_us) else { return false };
    if partition == i64::MIN {
        return false;
    }
    let end = partition.saturating_add(1).saturating_mul(by.width_us);
    let newest_start = newest.saturating_mul(by.width_us);
    newest_start.saturating_sub(end) > retention_us
}
