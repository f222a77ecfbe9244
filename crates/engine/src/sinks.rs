//! What sends changes elsewhere follows them here: which sinks there are, their changes commit by commit, and what they
//! say of themselves, for `yeoul.sinks`.
//!
//! What must hold: changes are given only of commits that are durable, whole ones only, and a change is the same whenever it is
//! asked for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use parking_lot::{Condvar, Mutex};
use yeoul_batch::{Clock, CommitId, KeyRange};
use yeoul_sql::{Connector, Envelope, SinkFormat};
use yeoul_store::{SyncPolicy, TreeSnapshot, key_bytes, read_some};

use crate::catalog::{Catalog, ChangeId, Relation, RelationId, SinkBody, taken_apart};
use crate::commit::{Build, Job, SinkState};
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::reports::Rate;
use crate::world::World;

/// A sink, as it is defined and as it stands.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    relation: Arc<Relation>,
    state: SinkState,
}

/// Two are equal when nothing that a running sink goes by differs.
impl PartialEq for SinkSpec {
    fn eq(&self, other: &Self) -> bool {
        let of = |spec: &Self| (spec.state.born_us, spec.state.rewinds, spec.state.after);
        self.relation.id == other.relation.id
            && self.connector() == other.connector()
            && self.body().format == other.body().format
            && self.body().keep_us == other.body().keep_us
            && of(self) == of(other)
    }
}

impl SinkSpec {
    fn body(&self) -> &SinkBody {
        self.relation.sink().expect("a sink is specified of a sink")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.relation.name
    }

    /// The relation whose changes it sends.
    #[must_use]
    pub fn of(&self) -> &str {
        &self.body().of
    }

    /// Where changes go.
    #[must_use]
    pub fn connector(&self) -> &Connector {
        &self.body().connector
    }

    /// The columns it sends.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.relation.schema
    }

    /// How they are written.
    #[must_use]
    pub fn format(&self) -> SinkFormat {
        self.body().format
    }

    /// What is told of a change.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        self.body().envelope
    }

    /// The columns by which a row is known where it is sent.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.body().key
    }

    /// Whether rows only come and never go.
    #[must_use]
    pub fn append_only(&self) -> bool {
        self.relation.append_only()
    }

    /// For how long changes are kept that were sent.
    #[must_use]
    pub fn keep(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.body().keep_us).unwrap_or(0))
    }

    /// The change behind which it begins where nothing is known of what it has sent.
    #[must_use]
    pub fn after(&self) -> ChangeId {
        ChangeId(self.state.after.max(self.state.released))
    }

    /// A name that no other sink has had, here or elsewhere: under it the place that takes the changes keeps how far it
    /// is. It is another one after a rewind.
    #[must_use]
    pub fn identity(&self) -> String {
        let SinkState { born_us, rewinds, .. } = self.state;
        let again = if rewinds == 0 { String::new() } else { format!("-{rewinds}") };
        format!("yeoul-{}-{born_us:x}{again}", self.relation.name)
    }
}

/// Rows of whole changes.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The rows, in the order of their changes.
    pub rows: RecordBatch,
    /// How many times each comes (or goes, when it is negative).
    pub diffs: Int64Array,
    /// The [`ChangeId`] of each.
    pub ids: Int64Array,
    /// When its commit was.
    pub times: TimestampMicrosecondArray,
    /// There are no others up to this change.
    pub through: ChangeId,
}

impl Engine {
    /// The sinks that are to send: not those that are being built, are paused, or have stopped.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkSpec> {
        let world = self.shared.world.load();
        let spec = |relation: &Arc<Relation>| {
            let body = relation.sink().filter(|body| !body.paused)?;
            let ready = matches!(world.unready.get(&relation.id), None | Some(Build::Ready));
            let state = world.sinks.get(&relation.id).filter(|_| ready && !body.paused)?.clone();
            Some(SinkSpec { relation: Arc::clone(relation), state })
        };
        world.catalog.in_order().iter().filter_map(spec).collect()
    }

    /// Changes behind `after`: about `rows` rows, or fewer when these take more than about `bytes`; where there are more,
    /// up to the end of a change, of which one is never cut. `through` is the end of the newest commit where there are no
    /// more.
    ///
    /// # Errors
    /// When the sink is gone or has stopped, has not kept them, or is elsewhere further than the engine is.
    pub fn changes(
        &self,
        sink: &SinkSpec,
        after: ChangeId,
        (rows, bytes): (usize, u64),
    ) -> Result<Changes, EngineError> {
        let world = self.shared.world.load_full();
        let tree = changes_of(&world, sink, after)?;
        let next: ArrayRef = Arc::new(Int64Array::from(vec![after.number().saturating_add(1)]));
        let from = key_bytes(tree.spec(), &[next])?.row(0).data().to_vec();
        let range = KeyRange { from: Bound::Included(from), to: Bound::Unbounded };
        let mut wanted = (rows.max(1), bytes.max(1));
        loop {
            let read = read_some(tree, range.clone(), wanted.0, wanted.1)?;
            let all = read.rows;
            let complete = !read.more.contains(&true);
            if all.num_rows() > 0 && self.shared.options.sync != SyncPolicy::Always {
                self.shared.ask(|reply| Job::Flush { reply })?;
            }
            let (ids, ..) = taken_apart(&all);
            let last = ids.values().last().copied().unwrap_or_default();
            // The last change may go on behind what was read.
            let whole = match complete {
                true => all.num_rows(),
                false => ids.values().partition_point(|&id| id < last),
            };
            if whole == 0 && !complete {
                wanted = (wanted.0.saturating_mul(2), wanted.1.saturating_mul(2));
                continue;
            }
            let (ids, times, diffs, columns) = taken_apart(&all.slice(0, whole));
            let through = match complete {
                true => ChangeId::end_of(world.commit()),
                false => ChangeId(ids.values().last().map_or(after.0, |id| id.unsigned_abs())),
            };
            let rows = RecordBatch::try_new(Arc::clone(&sink.relation.schema), columns)?;
            return Ok(Changes { rows, diffs, ids, times, through });
        }
    }

    /// What a sink has sent up to a change need not be kept any more.
    pub fn release_changes(&self, sink: &SinkSpec, through: ChangeId) -> Result<(), EngineError> {
        let rewinds = sink.state.rewinds;
        self.shared.queue.send(Job::Release { sink: sink.relation.id, rewinds, through })
    }

    /// The newest commit.
    #[must_use]
    pub fn commit(&self) -> CommitId {
        self.shared.world.load().commit()
    }

    /// Waits until there is a commit behind `after`, but not longer than `timeout`.
    pub fn wait_for_commit(&self, after: CommitId, timeout: Duration) {
        self.shared.commits.wait(timeout, || self.commit() > after);
    }

    /// Where a sink reports from now on. It is running.
    #[must_use]
    pub fn report_sink(&self, sink: &SinkSpec) -> SinkReport {
        let clock = Arc::clone(&self.shared.clock);
        let report = SinkReport { reported: Arc::default(), clock };
        self.shared.sink_reports.0.lock().insert(sink.relation.id, report.clone());
        report
    }
}

/// The tree of changes of a sink, which is to give those behind `after`.
fn changes_of<'a>(
    world: &'a World,
    sink: &SinkSpec,
    after: ChangeId,
) -> Result<&'a Arc<TreeSnapshot>, EngineError> {
    let name = sink.name();
    let conflict = |message: String| EngineError::new(ErrorKind::Conflict, message);
    let (Some(state), Some(tree)) =
        (world.sinks.get(&sink.relation.id), world.snapshot.tree(sink.relation.changes()))
    else {
        return Err(conflict(format!("sink \"{name}\" was dropped")));
    };
    if let Some(why) = &state.failed {
        return Err(conflict(format!("sink \"{name}\" has stopped: {why}")));
    }
    if after.commit() > world.commit() {
        return Err(conflict(format!(
            "what sink \"{name}\" sent is as of commit {}, and this data folder is at commit {}",
            after.commit(),
            world.commit()
        ))
        .with_hint(
            "the folder is an older copy of itself: DROP SINK and CREATE SINK send everything anew",
        ));
    }
    Ok(tree)
}

/// Who waits for commits is told of them.
#[derive(Default)]
pub(crate) struct Commits {
    waiting: Mutex<usize>,
    told: Condvar,
}

impl Commits {
    /// There is one more.
    pub(crate) fn tell(&self) {
        if *self.waiting.lock() > 0 {
            self.told.notify_all();
        }
    }

    fn wait(&self, timeout: Duration, until: impl Fn() -> bool) {
        let mut waiting = self.waiting.lock();
        if !until() {
            *waiting += 1;
            let _ = self.told.wait_for(&mut waiting, timeout);
            *waiting -= 1;
        }
    }
}

/// What a sink said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportedSink {
    pub error: Option<String>,
    /// It cannot go on.
    pub failed: bool,
    pub last_error: Option<(String, i64)>,
    /// The change up to which everything was taken.
    pub sent: Option<ChangeId>,
    pub rows: u64,
    pub rate: Option<Rate>,
    /// When the oldest commit was of which something is still to be sent.
    pub behind_us: Option<i64>,
}

/// Where a sink says how it is. Cloning gives another handle to the same report.
#[derive(Clone)]
pub struct SinkReport {
    reported: Arc<Mutex<ReportedSink>>,
    clock: Arc<dyn Clock>,
}

impl SinkReport {
    /// What it could not do; `None` when it could since.
    pub fn error(&self, error: Option<String>) {
        let mut reported = self.reported.lock();
        if let Some(error) = &error {
            reported.last_error = Some((error.clone(), self.clock.now_us()));
        }
        reported.error = error;
    }

    /// It cannot go on.
    pub fn failed(&self, error: String) {
        self.error(Some(error));
        self.reported.lock().failed = true;
    }

    /// Everything up to `through` was taken, `rows` more.
    pub fn sent(&self, through: ChangeId, rows: u64) {
        let now_us = self.clock.now_us();
        let mut reported = self.reported.lock();
        reported.sent = Some(through);
        reported.rows += rows;
        reported.behind_us = None;
        reported.rate.get_or_insert_default().note(rows, now_us);
    }

    /// Whether everything up to `commit` was taken, or it cannot go on.
    #[must_use]
    pub fn is_done(&self, commit: CommitId) -> bool {
        let reported = self.reported.lock();
        reported.failed || reported.sent.is_some_and(|sent| sent.commit() >= commit)
    }

    /// Something of a commit of this time is to be sent, in microseconds.
    pub fn behind(&self, at_us: i64) {
        self.reported.lock().behind_us = Some(at_us);
    }
}

/// The reports of all sinks.
#[derive(Default)]
pub(crate) struct SinkReports(Mutex<BTreeMap<RelationId, SinkReport>>);

impl SinkReports {
    /// What each sink of `catalog` said last; forgets the others.
    pub(crate) fn all(&self, catalog: &Catalog) -> BTreeMap<RelationId, ReportedSink> {
        let mut reports = self.0.lock();
        reports.retain(|sink, _| catalog.by_id(*sink).is_some());
        reports.iter().map(|(sink, report)| (*sink, report.reported.lock().clone())).collect()
    }
}

impl Changes {
    /// The columns of the rows, by position.
    #[must_use]
    pub fn columns(&self, at: &[usize]) -> Vec<ArrayRef> {
        at.iter().map(|&column| Arc::clone(self.rows.column(column))).collect()
    }

    /// The commit of a row.
    #[must_use]
    pub fn commit(&self, row: usize) -> CommitId {
        ChangeId(self.ids.value(row).unsigned_abs()).commit()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
