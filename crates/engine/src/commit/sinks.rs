//! Sinks as the commit thread knows them: what stands with their changes, and what is done to them.
//!
//! What must hold: the change of a commit is the same when it is replayed, and bears the same number. So a sink whose
//! changes may have been sent is never built again: what it cannot go on with stops it for good.

use std::ops::Bound;
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use yeoul_batch::{CommitId, KeyRange, TreeId, Updates};
use yeoul_flow::TreeShape;
use yeoul_store::read_ranges;

use super::committer::Committer;
use super::define::Definition;
use super::drop::check_kind;
use super::state::State;
use super::views::{Build, BuildStatus, ViewState};
use crate::catalog::{ChangeId, Relation, RelationId, change_rows, taken_apart};
use crate::error::{EngineError, ErrorKind};
use crate::planning::missing_sink;

/// What is known of a sink beside its definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkState {
    /// When it was created, in microseconds: by its name and this nobody takes it for another one.
    pub born_us: i64,
    /// How often it was told to send again what it had sent.
    #[serde(default)]
    pub rewinds: u32,
    /// The change behind which it began when it was told so last.
    #[serde(default)]
    pub after: u64,
    /// The change up to which none are kept any more.
    #[serde(default)]
    pub released: u64,
    /// The commit at which it began: the rows that were there then are sent before the changes of later commits.
    #[serde(default)]
    pub begun: u64,
    /// How many rows that are.
    #[serde(default)]
    pub stored: u64,
    /// In how many changes, so far.
    #[serde(skip)]
    pub parts: u64,
    /// It holds what was there when it was created: something may have been sent.
    #[serde(default)]
    pub complete: bool,
    /// Why it has stopped for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A rewind as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RewindRecord {
    /// The sink's number.
    pub id: u32,
    /// What came behind this change is sent again.
    pub after: u64,
}

/// What the change of a step is numbered by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// Its number.
    pub change: ChangeId,
    /// When its commit was, in microseconds.
    pub at_us: i64,
}

impl ViewState {
    /// Whether the tree of its rows is only for readers, of which a sink has none.
    pub(super) fn is_unread(&self) -> bool {
        let written_for_readers =
            matches!(self.graph.tree(), TreeShape::Keep { .. } | TreeShape::Bag(_));
        self.relation.sink().is_some() && written_for_readers
    }

    /// Notes the change of a sink.
    pub(super) fn note(
        &self,
        stamp: Stamp,
        change: Option<&Updates>,
        batches: &mut Vec<(TreeId, RecordBatch)>,
    ) -> Result<(), EngineError> {
        let Some(change) = change.filter(|change| !change.is_empty()) else { return Ok(()) };
        if self.relation.sink().is_some() {
            let rows = change_rows(&self.relation, stamp.change, stamp.at_us, change)?;
            batches.push((self.relation.changes(), rows));
        }
        Ok(())
    }
}

impl State {
    /// For the commit that is being made.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { change: ChangeId::new(self.commit.next(), 0), at_us: self.time_us }
    }

    /// A sink begins with the commit that is being made.
    pub(crate) fn begin_sink(&mut self, id: RelationId) {
        let begun = self.commit.next().0;
        if let Some(sink) = self.sinks.get_mut(&id) {
            (sink.begun, sink.stored, sink.parts) = (begun, 0, 0);
        }
    }

    /// So many rows were there when a sink began.
    pub(crate) fn count_stored(&mut self, id: RelationId, rows: usize) {
        if let Some(sink) = self.sinks.get_mut(&id) {
            sink.stored += rows as u64;
        }
    }

    /// For rows that were there when a sink began.
    pub(crate) fn stamp_of_stored(&mut self, id: RelationId) -> Stamp {
        let at_us = self.time_us;
        let Some(sink) = self.sinks.get_mut(&id) else { return self.stamp() };
        sink.parts += 1;
        Stamp { change: ChangeId::new(CommitId(sink.begun), sink.parts), at_us }
    }

    /// A sink is created.
    pub(crate) fn add_sink(&mut self, relation: &Relation) {
        if relation.sink().is_some() {
            let state = SinkState { born_us: self.time_us, ..SinkState::default() };
            self.sinks.insert(relation.id, state);
        }
    }

    /// Something of a sink may be sent from now on, if it is complete.
    pub(crate) fn note_complete(&mut self, id: RelationId) {
        let ready = self.views.get(&id).is_some_and(|view| matches!(view.build, Build::Ready));
        if let Some(sink) = self.sinks.get_mut(&id).filter(|_| ready) {
            sink.complete = true;
        }
    }

    /// A sink of the manifest; `None`: it is built, or read, as any view.
    pub(crate) fn load_sink(
        &mut self,
        id: RelationId,
        known: Option<&SinkState>,
        building: bool,
    ) -> Option<Build> {
        let mut sink = known?.clone();
        let outdated = building.then(|| {
            "this version of Yeoul keeps its changes, or what it follows, in another form"
                .to_owned()
        });
        let why = sink.failed.clone().or(outdated.filter(|_| sink.complete));
        sink.failed.clone_from(&why);
        self.sinks.insert(id, sink);
        let status = BuildStatus::default();
        *status.failed.lock() = Some(why?);
        Some(Build::Failed(Arc::new(status)))
    }

    /// A sink has stopped: what it did not send is not kept.
    pub(crate) fn stop_sink(&mut self, id: RelationId, why: &str) {
        let Some(sink) = self.sinks.get_mut(&id) else { return };
        sink.failed = Some(why.to_owned());
        let Some(relation) = self.catalog.by_id(id) else { return };
        if let Err(error) =
            self.store.release_below(relation.changes(), i64::MAX, CommitId(u64::MAX))
        {
            tracing::error!(sink = relation.name, "its changes are not released: {error}");
        }
    }

    /// Changes of a sink up to one are not needed any more.
    pub(crate) fn release_sink(
        &mut self,
        (id, rewinds): (RelationId, u32),
        through: ChangeId,
    ) -> Result<(), EngineError> {
        let sink = self.sinks.get_mut(&id).filter(|sink| sink.rewinds == rewinds);
        let Some(sink) = sink else { return Ok(()) };
        sink.released = sink.released.max(through.0);
        let Some(relation) = self.catalog.by_id(id) else { return Ok(()) };
        let (below, commit) = (through.number().saturating_add(1), through.whole_commit());
        Ok(self.store.release_below(relation.changes(), below, commit)?)
    }

    /// After a crash some may have been let go of that were not noted: what there is says from where on changes are kept.
    pub(crate) fn note_kept(&mut self) -> Result<(), EngineError> {
        let snapshot = self.store.snapshot();
        for (id, sink) in &mut self.sinks {
            let relation = self.catalog.by_id(*id);
            let Some(tree) = relation.and_then(|relation| snapshot.tree(relation.changes())) else {
                continue;
            };
            let all = [KeyRange { from: Bound::Unbounded, to: Bound::Unbounded }];
            let (ids, ..) = taken_apart(&read_ranges(tree, &all, 1, false)?.rows);
            let first = ids.values().first().map(|first| first.unsigned_abs());
            let kept_from = first.unwrap_or(ChangeId::end_of(self.commit).0 + 1);
            sink.released = sink.released.max(kept_from.saturating_sub(1));
        }
        Ok(())
    }

    pub(crate) fn apply_rewind(&mut self, record: RewindRecord) {
        if let Some(sink) = self.sinks.get_mut(&RelationId(record.id)) {
            sink.rewinds += 1;
            sink.after = record.after;
        }
    }
}

impl Committer {
    /// Has a sink send again what came behind `after`.
    pub(crate) fn rewind(&mut self, name: &str, after: u64) -> Result<CommitId, EngineError> {
        let Some(relation) = self.state.catalog.get(name).cloned() else {
            return Err(missing_sink(&self.state.catalog, name));
        };
        check_kind(yeoul_sql::ObjectKind::Sink, &relation, "ALTER")?;
        let sink = self.state.sinks.get(&relation.id).cloned().unwrap_or_default();
        if let Some(why) = sink.failed {
            let message = format!("sink \"{name}\" has stopped: {why}");
            return Err(EngineError::new(ErrorKind::Conflict, message)
                .with_sqlstate("55000")
                .with_hint("DROP SINK and CREATE SINK send everything anew"));
        }
        if after > self.state.commit.0 {
            let message = format!("there is no commit {after} yet");
            return Err(EngineError::new(ErrorKind::Input, message)
                .with_detail(format!("the newest is {}", self.state.commit)));
        }
        let released = ChangeId(sink.released);
        let from = ChangeId::end_of(CommitId(after));
        if after != 0 && from < released {
            let message = format!("sink \"{name}\" keeps no changes from behind commit {after}");
            return Err(EngineError::new(ErrorKind::Input, message)
                .with_detail(format!("it keeps those from behind commit {}", released.commit()))
                .with_hint(
                    "ALTER SINK … SET (keep = '1 day') keeps more of those to come; DROP SINK and CREATE SINK send everything anew",
                ));
        }
        let commit = self.state.commit.next();
        let after = if after == 0 { released } else { from };
        let record = RewindRecord { id: relation.id.0, after: after.0 };
        self.log_definition(&Definition::Rewind(record), commit)?;
        self.state.apply_rewind(record);
        self.publish(commit, Vec::new())?;
        Ok(commit)
    }

    /// Gives up sinks that are too far behind.
    pub(crate) fn check_sinks(&mut self) {
        if self.state.sinks.is_empty() {
            return;
        }
        let snapshot = self.state.store.snapshot();
        let late = |(id, sink): (&RelationId, &SinkState)| {
            let relation = self.state.catalog.by_id(*id).filter(|_| sink.failed.is_none())?;
            let rows = snapshot.tree(relation.changes())?.rows();
            let rows_max = relation.sink()?.kept_rows_max;
            (rows > rows_max.saturating_add(sink.stored) && sink.complete)
                .then_some((*id, rows_max))
        };
        let late: Vec<_> = self.state.sinks.iter().filter_map(late).collect();
        for (id, rows_max) in late {
            let message = format!(
                "more than {rows_max} changed rows would have to be kept (kept_rows_max), and none is kept any more"
            );
            self.state.stop_view(id, &EngineError::new(ErrorKind::Limit, message));
            // A commit of its own, with which it is written down.
            if let Err(error) = self.commit_batches(Vec::new()) {
                tracing::error!("that a sink was given up is not written down: {error}");
            }
        }
    }
}
