//! What the commit thread knows, and how a commit changes it. Live commits and replayed ones go
//! through [`State::apply`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use hashbrown::HashMap;
use yeoul_batch::{CommitId, TreeId, Updates};
use yeoul_flow::{Limits, StateTree, StepTime, Workers};
use yeoul_store::{Publication, Snapshot, Store};

use super::checkpoint::MetaAt;
use super::late::{self, Late};
use super::letters::{self, Arrived};
use super::sinks::SinkState;
use super::sources::{SourceKey, Sources};
use super::stream::StreamState;
use super::table;
use super::views::{Build, BuildStatus, Changes, ViewState};
use crate::catalog::{Body, BuildId, Catalog, LATE_ROWS, Relation, RelationId, StreamBody};
use crate::duplicates::{Duplicates, SharedSeen};
use crate::error::{EngineError, ErrorKind};
use crate::world::World;

/// The relation and the tree of `yeoul.dead_letters`, there from the start.
pub(crate) const DEAD_LETTERS: RelationId = RelationId(0);

/// Rows that a commit brings, duplicates already gone.
#[derive(Default)]
pub(crate) struct Rows {
    /// Of streams.
    pub streams: Vec<(RelationId, RecordBatch)>,
    /// Written rows of tables, with `_deleted`.
    pub tables: Vec<(RelationId, RecordBatch)>,
    /// Dead letters.
    pub dead: Vec<Arrived>,
    /// Rows of streams that came later than is allowed.
    pub late: Vec<Late>,
    /// Dead letters that are put back, in the columns of their table.
    pub returned: Vec<RecordBatch>,
}

/// See the module.
pub(crate) struct State {
    pub store: Arc<Store>,
    pub workers: Workers,
    /// How much each view holds in a step.
    pub limits: Limits,
    pub commit: CommitId,
    /// The clock that views were stepped by last. It never goes back.
    pub time_us: i64,
    pub catalog: Arc<Catalog>,
    pub streams: HashMap<RelationId, StreamState>,
    /// The last commit that changed each table.
    pub tables: HashMap<RelationId, CommitId>,
    /// The last commit that put dead letters back.
    pub last_replay: CommitId,
    /// In order of creation, so that what a view reads is stepped before it.
    pub views: BTreeMap<RelationId, ViewState>,
    /// What stands with the changes of sinks.
    pub sinks: BTreeMap<RelationId, SinkState>,
    pub sources: Arc<Sources>,
    pub next_relation: u32,
    pub next_tree: u32,
    /// The first number of trees that are given while the log is replayed, and were not given before.
    pub spare_tree: u32,
    /// Builds that are complete and wait to be durable before they are swapped in.
    pub ripe: HashSet<BuildId>,
    /// Why the last replacement of a view was given up, by its name.
    pub given_up: BTreeMap<String, String>,
    /// `None` when nothing is written.
    pub duplicates: Option<Arc<Duplicates>>,
}

impl State {
    /// A number for a new relation.
    pub(crate) fn take_relation(&mut self) -> RelationId {
        self.next_relation += 1;
        RelationId(self.next_relation - 1)
    }

    /// Steps everything by `rows`, and views that go by time also by the commit's time; what is to be published
    /// for it.
    pub(crate) fn apply(
        &mut self,
        commit: CommitId,
        at_us: i64,
        rows: Rows,
    ) -> Result<Vec<(TreeId, RecordBatch)>, EngineError> {
        self.time_us = self.time_us.max(at_us);
        self.streams.values_mut().for_each(|stream| stream.pass(self.time_us));
        let mut batches = Vec::new();
        let mut changes = Changes::new();
        for (id, batch) in rows.streams {
            if let (Some(relation), true) = (self.catalog.by_id(id), batch.num_rows() > 0) {
                if relation.keeps_rows() {
                    batches.push((relation.tree(), batch.clone()));
                }
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.came(self.time_us);
                }
                changes.entry(id).or_default().push(Updates::inserts(batch));
            }
        }
        if !rows.returned.is_empty() {
            self.last_replay = commit;
        }
        if let Some(relation) = self.catalog.by_id(DEAD_LETTERS) {
            let stored = letters::stored(relation, commit, rows.dead, rows.returned)?;
            batches.extend(stored.into_iter().map(|batch| (relation.tree(), batch)));
        }
        if let (Some(relation), false) = (self.catalog.by_id(LATE_ROWS), rows.late.is_empty()) {
            batches.push((relation.tree(), late::stored(relation, commit, &rows.late)?));
        }
        self.apply_tables(commit, rows.tables, &mut changes, &mut batches)?;
        self.step_views(&mut changes, &mut batches);
        Ok(batches)
    }

    fn apply_tables(
        &mut self,
        commit: CommitId,
        written: Vec<(RelationId, RecordBatch)>,
        changes: &mut Changes,
        batches: &mut Vec<(TreeId, RecordBatch)>,
    ) -> Result<(), EngineError> {
        let mut by_table: BTreeMap<RelationId, Vec<RecordBatch>> = BTreeMap::new();
        for (id, batch) in written {
            if batch.num_rows() > 0 {
                by_table.entry(id).or_default().push(batch);
            }
        }
        let snapshot = self.store.snapshot();
        for (id, written) in by_table {
            let Some(relation) = self.catalog.by_id(id) else { continue };
            let Body::Table(body) = &relation.body else { continue };
            let Some(before) = snapshot.tree(relation.tree()) else { continue };
            let followed = !self.catalog.readers_of(id).is_empty();
            let change = table::change(relation, body, &written, before, commit, followed)?;
            batches.push((relation.tree(), change.stored));
            if let Some(updates) = change.updates {
                changes.entry(id).or_default().push(updates);
            }
            self.tables.insert(id, commit);
        }
        Ok(())
    }

    /// A view that cannot go on (its query divides by zero, a sum does not fit) is marked as failed
    /// and says so when asked; rows are taken all the same.
    fn step_views(&mut self, changes: &mut Changes, batches: &mut Vec<(TreeId, RecordBatch)>) {
        let stepped = self.views.iter().filter(|(_, view)| view.is_stepped());
        let times: Vec<_> =
            stepped.map(|(id, view)| (*id, self.step_time(view, self.time_us))).collect();
        let snapshot = self.store.snapshot();
        let stamp = self.stamp();
        let mut stopped = Vec::new();
        for (id, time) in times {
            let Some(view) = self.views.get_mut(&id) else { continue };
            if let Err(error) = view.step((time, stamp), changes, batches, &snapshot, &self.workers)
            {
                stopped.push((id, error));
            }
        }
        for (id, error) in stopped {
            self.stop_view(id, &error);
        }
    }

    /// Marks a view as failed for `error`, and the views that read it, which hear nothing of it any more.
    pub(crate) fn stop_view(&mut self, id: RelationId, error: &EngineError) {
        let Some(view) = self.views.get_mut(&id) else { return };
        if matches!(view.build, Build::Failed(_)) {
            return;
        }
        fail(view, error);
        self.stop_sink(id, &error.message);
        let Some(view) = self.views.get(&id) else { return };
        let why = stopped_source(&view.relation.name);
        for reader in self.catalog.readers_of(id) {
            self.stop_view(reader.id, &EngineError::new(ErrorKind::Conflict, why.clone()));
        }
    }

    /// Gives a view that is being built some rows of its sources.
    pub(crate) fn backfill(
        &mut self,
        id: RelationId,
        inputs: &[(yeoul_flow::SourceIndex, Updates)],
        rows: u64,
    ) -> Result<Vec<(TreeId, RecordBatch)>, EngineError> {
        let snapshot = self.store.snapshot();
        let mut batches = Vec::new();
        let time = StepTime { now_us: self.time_us, ..StepTime::default() };
        let stamp = self.stamp_of_stored(id);
        let Some(view) = self.views.get_mut(&id) else {
            return Err(EngineError::new(ErrorKind::NotFound, "the view was dropped"));
        };
        let change = view.feed(time, inputs, &mut batches, &snapshot, &self.workers)?;
        view.note(stamp, change.as_ref(), &mut batches)?;
        view.progress(rows);
        self.count_stored(id, change.map_or(0, |change| change.len()));
        Ok(batches)
    }

    /// The duplicate index of a stream, if it has one.
    pub(crate) fn open_seen(
        &self,
        id: RelationId,
        body: &StreamBody,
    ) -> Result<Option<SharedSeen>, EngineError> {
        match (&body.unique, &self.duplicates) {
            (Some((_, within_us)), Some(duplicates)) => duplicates.index(id, *within_us).map(Some),
            _ => Ok(None),
        }
    }

    /// Makes `relation` part of the state; its trees exist already.
    pub(crate) fn add(&mut self, relation: Arc<Relation>, stream: Option<StreamState>) {
        let id = relation.id;
        if let Some(stream) = stream {
            self.streams.insert(id, stream);
        }
        if let Body::Table(_) = relation.body {
            self.tables.insert(id, self.commit);
        }
        self.catalog = Arc::new(self.catalog.with(relation));
    }

    /// Takes relations out of the state and drops their trees.
    pub(crate) fn remove(&mut self, ids: &[RelationId]) -> Result<(), EngineError> {
        for id in ids {
            let Some(relation) = self.catalog.by_id(*id).cloned() else { continue };
            for tree in &relation.trees {
                self.store.drop_tree(tree.id)?;
            }
            if let (Some(_), Some(duplicates)) = (self.streams.remove(id), &self.duplicates) {
                duplicates.forget(*id);
            }
            self.tables.remove(id);
            self.views.remove(id);
            self.sinks.remove(id);
            if self.catalog.version(*id).is_none() {
                self.given_up.remove(&relation.name);
            }
        }
        self.catalog = Arc::new(self.catalog.without(ids));
        let builds = self.catalog.builds();
        self.ripe.retain(|build| builds.contains(build));
        self.refollow();
        Arc::make_mut(&mut self.sources).drop_relations(ids);
        Ok(())
    }

    /// Makes `batches` visible at the state's commit.
    pub(crate) fn publish(&self, batches: Vec<(TreeId, RecordBatch)>) -> Result<(), EngineError> {
        let meta: Arc<dyn yeoul_store::Meta> = Arc::new(MetaAt::new(self));
        self.store.publish(Publication { commit: self.commit, batches, meta })?;
        self.release()
    }

    /// Lets go of the rows that no step of a view needs any more, which follows from how far it has closed windows.
    fn release(&self) -> Result<(), EngineError> {
        for view in self.views.values() {
            let Some(closed_us) = view.clock.closed_us else { continue };
            for (StateTree(number), release) in view.graph.releases() {
                let tree = view.relation.trees[*number as usize].id;
                self.store.release(tree, release.before_us(closed_us))?;
            }
        }
        Ok(())
    }

    fn partition_watermarks(&self) -> BTreeMap<SourceKey, i64> {
        let mut watermarks = BTreeMap::new();
        for (id, stream) in &self.streams {
            for ((source, partition), watermark_us) in stream.partition_watermarks_us() {
                let (source, partition) = (Arc::clone(source), Arc::clone(partition));
                watermarks.insert(SourceKey { relation: *id, source, partition }, watermark_us);
            }
        }
        watermarks
    }

    /// What readers see of this state, over `snapshot`.
    pub(crate) fn world(&self, snapshot: Arc<Snapshot>) -> World {
        let unready = self
            .views
            .iter()
            .filter(|(_, view)| !matches!(view.build, Build::Ready))
            .map(|(id, view)| (*id, view.build.clone()))
            .collect();
        let watermarks =
            self.streams.iter().filter_map(|(id, s)| Some((*id, s.watermark_us(self.time_us)?)));
        let watermarks = watermarks.collect();
        World {
            catalog: Arc::clone(&self.catalog),
            snapshot,
            sources: Arc::clone(&self.sources),
            read_only: self.duplicates.is_none(),
            unready,
            given_up: self.given_up.clone(),
            watermarks,
            sinks: self.sinks.clone(),
            partition_watermarks: self.partition_watermarks(),
        }
    }
}

/// Why a view has stopped that reads the stopped view `name`.
pub(crate) fn stopped_source(name: &str) -> String {
    format!("it reads view \"{name}\", which has stopped")
}

/// Stops a view.
pub(super) fn fail(view: &mut ViewState, error: &EngineError) {
    tracing::error!(view = view.relation.name, "the view stops: {error}");
    let status = match &view.build {
        Build::Running(status) | Build::Waiting(status) | Build::Failed(status) => {
            Arc::clone(status)
        }
        Build::Ready => Arc::new(BuildStatus::default()),
    };
    *status.failed.lock() = Some(error.message.clone());
    view.build = Build::Failed(status);
}
