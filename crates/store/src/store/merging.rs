//! Merging parts: choose (`Plan`, pure), write, replace.
//!
//! What must hold: the inputs are neighbours in age within one partition, and their successor takes
//! their place; readers of older snapshots keep the inputs.
//!
//! A tombstone is dropped only by a merge that begins with the partition's oldest part, and only when
//! its version is below every version outside the merge. A row that arrives later with a version below
//! a tombstone that is gone is therefore taken for new: versions of a key must not go back by more than
//! the age of a merge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use yeoul_batch::TreeId;

use super::checkpoint::{WRITE_ROWS, give_up_missing, manifest_of};
use super::{Durable, Shared};
use crate::tree::{
    Cover, KeyOrder, KeyRanges, Merge, Part, PartLabel, Snapshot, Source, Tiering, TreeSnapshot,
};
use crate::{RuleKind, StoreError, TreeSpec};

/// Parts up to this size are in the lowest tier.
const PART_TIER_BASE: u64 = 1 << 20;

/// This many parts of one tier make a merge.
const PART_WIDTH_MIN: usize = 4;

/// A merge reads at most this many parts at once: 16 chunks of 16 Ki rows are 25 to 64 MB, of wide rows fewer.
const PART_WIDTH_MAX: usize = 16;

/// Parts to be made into one.
struct Plan {
    spec: Arc<TreeSpec>,
    partition: i64,
    parts: Vec<Arc<Part>>,
    /// Newer parts of the same partition.
    newer: Vec<Arc<Part>>,
    /// Whether the partition's oldest part is among them.
    oldest: bool,
}

impl Plan {
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.meta().bytes).sum()
    }
}

/// The cheapest merge that a tree's parts call for.
fn plan(tree: &TreeSnapshot, parts: &[Arc<Part>], tiering: &Tiering) -> Option<Plan> {
    let spec = &tree.spec;
    let mut partitions: BTreeMap<i64, Vec<&Arc<Part>>> = BTreeMap::new();
    for part in parts.iter().filter(|part| tree.needs(part)) {
        partitions.entry(part.meta().partition).or_default().push(part);
    }
    let plans = partitions.into_iter().filter_map(|(partition, parts)| {
        let sizes: Vec<u64> = parts.iter().map(|part| part.meta().bytes).collect();
        let run = tiering.plan(&sizes)?;
        let chosen = |parts: &[&Arc<Part>]| parts.iter().map(|&part| Arc::clone(part)).collect();
        Some(Plan {
            spec: Arc::clone(spec),
            partition,
            oldest: run.start == 0,
            newer: chosen(&parts[run.end..]),
            parts: chosen(&parts[run]),
        })
    });
    plans.min_by_key(Plan::bytes)
}

impl Shared {
    /// Carries out one merge, if there is one; says whether.
    pub(super) fn merge_once(&self) -> Result<bool, StoreError> {
        self.check_writable()?;
        if self.options.read_only {
            return Err(super::read_only());
        }
        let _one = self.merging.lock();
        let Some(plan) = self.plan_merge() else { return Ok(false) };
        self.carry_out(&plan).inspect_err(|error| self.poison(error))?;
        Ok(true)
    }

    fn plan_merge(&self) -> Option<Plan> {
        let durable = self.durable.lock();
        let snapshot = self.current.load();
        let plans = snapshot.trees.iter().filter_map(|tree| {
            let kind = tree.spec.rule.kind();
            let tiering = Tiering {
                tier_base: PART_TIER_BASE,
                width_min: PART_WIDTH_MIN,
                width_max: PART_WIDTH_MAX,
                total_max: self.part_bytes_max(kind),
            };
            plan(tree, durable.parts.get(&tree.spec.id)?, &tiering)
        });
        plans.min_by_key(Plan::bytes)
    }

    fn carry_out(&self, plan: &Plan) -> Result<(), StoreError> {
        let spec = &plan.spec;
        let mut ranges = KeyRanges::new(spec);
        let mut sources = Vec::with_capacity(plan.parts.len());
        for part in &plan.parts {
            ranges.include_values(&part.key_values()?);
            sources.push(Source::part(part, &spec.schema, plan.parts.len())?);
        }
        let order = Arc::new(KeyOrder::new(spec, &ranges)?);
        let mut merge = Merge::new(spec, &order, sources, self.cover(plan)?, WRITE_ROWS)?;
        let level = plan.parts.iter().map(|part| part.meta().level).max().unwrap_or(0);
        let label = PartLabel { partition: plan.partition, level: level.saturating_add(1) };
        let outputs = self.write_parts(spec, label, || {
            self.let_flush_pass();
            self.check_writable()?;
            merge.next_batch()
        })?;
        self.replace_parts(plan, outputs)
    }

    /// What a merge may drop.
    fn cover(&self, plan: &Plan) -> Result<Cover, StoreError> {
        let building = self.writer.lock().building.contains(&plan.spec.id);
        if !plan.oldest || building {
            return Ok(Cover::Some);
        }
        let mut version_floor = u64::MAX;
        if plan.spec.rule.kind() == RuleKind::Latest {
            for part in &plan.newer {
                version_floor = version_floor.min(part.version_min()?);
            }
            if let Some(tree) = self.current.load().tree(plan.spec.id) {
                for batch in &tree.memory {
                    version_floor = version_floor.min(batch.version_min());
                }
            }
        }
        Ok(Cover::Prefix { version_floor })
    }

    /// A flush frees memory that commits wait for; a merge can wait.
    fn let_flush_pass(&self) {
        while self.flushing.load(Ordering::Acquire) && self.poison.get().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn replace_parts(&self, plan: &Plan, outputs: Vec<Arc<Part>>) -> Result<(), StoreError> {
        let id = plan.spec.id;
        let mut durable = self.durable.lock();
        let Some(parts) = durable.parts.get(&id).and_then(|parts| replaced(parts, plan, &outputs))
        else {
            // Retention or the end of the tree came first.
            outputs.iter().for_each(|part| part.give_up());
            return Ok(());
        };
        let mut manifest = durable.manifest.clone();
        manifest.next_part = self.next_part.load(Ordering::Acquire);
        let all = BTreeMap::from([(id, parts)]);
        for tree in manifest.trees.iter_mut().filter(|tree| tree.id == id) {
            *tree = manifest_of(&plan.spec, &all, tree.expired_rows);
        }
        manifest.store(&*self.media)?;
        durable.manifest = manifest;
        durable.parts.extend(all);
        self.show_merge(&durable, id);
        give_up_missing(plan.parts.iter(), &durable);
        self.counters.merge();
        Ok(())
    }

    fn show_merge(&self, durable: &Durable, id: TreeId) {
        let writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.current.load());
        let Ok(at) = next.position(id) else { return };
        next.trees[at] = Arc::new(next.trees[at].with_parts(durable.parts.get(&id)));
        let old = self.current.swap(Arc::new(next));
        drop(writer);
        drop(old);
    }
}

/// `parts` with the outputs in the place of the plan's inputs; `None` when one of them is gone.
fn replaced(parts: &[Arc<Part>], plan: &Plan, outputs: &[Arc<Part>]) -> Option<Vec<Arc<Part>>> {
    let is_input = |part: &Arc<Part>| plan.parts.iter().any(|input| Arc::ptr_eq(input, part));
    if parts.iter().filter(|part| is_input(part)).count() != plan.parts.len() {
        return None;
    }
    let mut next = Vec::with_capacity(parts.len());
    let mut placed = false;
    for part in parts {
        if !is_input(part) {
            next.push(Arc::clone(part));
        } else if !placed {
            next.extend(outputs.iter().cloned());
            placed = true;
        }
    }
    Some(next)
}
