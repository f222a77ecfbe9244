//! The loop of the commit thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use yeoul_batch::CommitId;
use yeoul_store::StoreError;

use super::late::Late;
use super::letters::Arrived;
use super::prepare::Prepared;
use super::queue::{Job, Queued, Reply, WriteOutcome};
use super::sources::{SourceKey, Turn};
use super::state::{DEAD_LETTERS, Rows, State};
use super::stream::without;
use super::table::{as_written, with_deleted};
use super::views::Build;
use crate::build::follows_arrival;
use crate::catalog::{Body, RelationId};
use crate::delivery::Receipt;
use crate::error::{EngineError, ErrorKind};
use crate::meta::Counts;
use crate::record::{CommitRecord, DeliveryRecord, TableRecord};
use crate::shared::Shared;

/// How often an idle commit thread looks at the clock (for the `interval` sync policy).
const IDLE: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Committer {
    pub shared: Arc<Shared>,
    pub state: State,
    receiver: Receiver<Queued>,
    /// A job taken from the queue that does not belong into the commit being gathered.
    pending: Option<Queued>,
    last_start: Option<Instant>,
    mask: Vec<bool>,
    /// What is published is not shown yet.
    is_hidden: bool,
}

/// A write to a table waiting for its commit.
struct Write {
    relation: RelationId,
    rows: RecordBatch,
    encoded: Bytes,
    computed_at: Option<CommitId>,
    reply: Reply<WriteOutcome>,
}

/// A commit being put together.
#[derive(Default)]
struct Draft {
    record: CommitRecord,
    rows: Rows,
    receipts: Vec<(Receipt, Reply<Receipt>)>,
    writes: Vec<Reply<WriteOutcome>>,
}

impl Committer {
    /// A committer that goes on from `state`.
    pub(crate) fn new(shared: Arc<Shared>, state: State, receiver: Receiver<Queued>) -> Self {
        let mask = Vec::new();
        Self { shared, state, receiver, pending: None, last_start: None, mask, is_hidden: false }
    }

    /// Works until it is stopped or everybody who could send a job is gone.
    pub(crate) fn run(mut self) {
        let mut idle_at = Instant::now();
        loop {
            // However much there is to do.
            if idle_at.elapsed() >= IDLE {
                idle_at = Instant::now();
                self.idle();
            }
            let next = match self.pending.take() {
                Some(queued) => Ok(queued),
                None => self.receiver.recv_timeout(IDLE),
            };
            match next {
                Ok(queued) => {
                    if !self.take(queued) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn idle(&mut self) {
        let now_us = self.shared.clock.now_us();
        if let Err(error) = self.state.store.sync_log_if_due(now_us) {
            tracing::error!("cannot make the log durable: {error}");
        }
        self.tick_if_due(now_us);
        self.check_sinks();
    }

    /// Does one job, or gathers a commit that begins with it. False when it was the last.
    fn take(&mut self, queued: Queued) -> bool {
        let go_on = self.carry(queued);
        self.give_up_failed();
        go_on
    }

    fn carry(&mut self, queued: Queued) -> bool {
        match queued.job {
            Job::Delivery(..) | Job::Write { .. } => self.gather(queued),
            Job::Create { statement, sql, name, if_not_exists, reply } => {
                let outcome = self.create(&statement, &sql, &name, if_not_exists);
                reply(outcome);
            }
            Job::CreateFunction { create, sql, reply } => {
                reply(self.create_function(&create, &sql));
            }
            Job::DropFunction { drop, reply } => reply(self.drop_function(&drop)),
            Job::Drop { kind, names, if_exists, cascade, reply } => {
                reply(self.drop_relations(kind, &names, if_exists, cascade));
            }
            Job::Replace { wish, reply } => reply(self.replace(&wish)),
            Job::Alter { alter, reply } => reply(self.alter(&alter)),
            Job::Rewind { name, after, reply } => reply(self.rewind(&name, after)),
            Job::Release { sink, rewinds, through } => {
                if let Err(error) = self.state.release_sink((sink, rewinds), through) {
                    tracing::error!("changes of a sink are not released: {error}");
                }
                // What readers have pins what was released.
                self.refresh();
            }
            Job::CancelReplace { name, reply } => reply(self.cancel_replacement(&name)),
            Job::Swap { build, reply } => reply(self.swap(build)),
            Job::BeginCheckpoint { reply } => {
                reply(self.state.store.begin_checkpoint().map_err(EngineError::from));
            }
            Job::Backfill { view, inputs, rows, reply } => {
                let outcome = self.state.backfill(view, &inputs, rows);
                let outcome = outcome.and_then(|batches| self.commit_batches(batches));
                if let Err(error) = &outcome {
                    self.state.stop_view(view, error);
                }
                reply(outcome);
            }
            Job::Built { view, reply } => reply(self.built(view)),
            // It is built at the next start.
            Job::BuildFailed { .. } if self.shared.is_stopping() => {}
            Job::BuildFailed { view, error } => {
                self.state.stop_view(view, &error);
                self.refresh();
            }
            Job::Checkpoint { reply } => {
                reply(self.state.store.checkpoint().map(|_| ()).map_err(EngineError::from));
            }
            Job::Flush { reply } => {
                let synced = self.state.store.sync_log().map_err(EngineError::from);
                reply(synced.map(|()| self.state.commit));
            }
            Job::Stop { reply } => {
                reply(Ok(()));
                return false;
            }
        }
        true
    }

    /// Takes jobs until the commit is full or its time is up, and commits them.
    fn gather(&mut self, first: Queued) {
        let options = &self.shared.options;
        let (interval, rows_max) = (options.commit_interval, options.commit_rows);
        let now = Instant::now();
        let until = self.last_start.map_or(now, |last| (last + interval).max(now));
        let mut rows = rows_of(&first.job);
        let mut written = Vec::new();
        note_written(&first.job, &mut written);
        let mut jobs = vec![first];
        while rows < rows_max {
            let next = match self.receiver.try_recv() {
                Ok(next) => Ok(next),
                Err(_) => self.receiver.recv_deadline(until),
            };
            match next {
                Ok(next) if joins(&next.job, &written) => {
                    rows += rows_of(&next.job);
                    note_written(&next.job, &mut written);
                    jobs.push(next);
                }
                Ok(next) => {
                    self.pending = Some(next);
                    break;
                }
                Err(_) => break,
            }
        }
        let start = Instant::now();
        self.last_start = Some(start);
        self.commit(jobs);
        self.shared.metrics.commit_took(start.elapsed());
    }

    fn commit(&mut self, jobs: Vec<Queued>) {
        let now_us = self.shared.clock.now_us();
        let duplicates = self.state.duplicates.clone();
        let guard = duplicates.as_ref().map(|duplicates| duplicates.commit_guard());
        let mut draft = Draft::default();
        let mut rooms = Vec::with_capacity(jobs.len());
        for queued in jobs {
            let (job, room) = queued.split();
            rooms.push(room);
            match job {
                Job::Delivery(prepared, reply) => match self.admit(*prepared, now_us, &mut draft) {
                    Ok(receipt) => draft.receipts.push((receipt, reply)),
                    Err(error) => reply(Err(error)),
                },
                Job::Write { relation, rows, encoded, computed_at, reply } => {
                    let write = Write { relation, rows, encoded, computed_at, reply };
                    self.admit_write(write, &mut draft);
                }
                _ => unreachable!("only deliveries and writes are gathered"),
            }
        }
        let Draft { record, rows, receipts, writes } = draft;
        let outcome = if record == CommitRecord::default() {
            // A repetition of what a failed commit brought is no more stored than that was.
            match self.state.store.poisoned() {
                Some(why) => Err(StoreError::Poisoned(why.to_owned()).into()),
                None => Ok(self.state.commit),
            }
        } else {
            let commit = self.state.commit.next();
            let logged = self.state.store.append_log(&record.encode(commit, now_us));
            drop(guard);
            logged.map_err(EngineError::from).and_then(|()| self.apply(commit, now_us, rows))
        };
        drop(rooms);
        for (receipt, reply) in receipts {
            reply(outcome.clone().map(|commit| Receipt { commit, ..receipt }));
        }
        for reply in writes {
            reply(outcome.clone().map(WriteOutcome::Done));
        }
    }

    /// Decides what of a delivery is stored, and notes it in the draft.
    fn admit(
        &mut self,
        delivery: Prepared,
        now_us: i64,
        draft: &mut Draft,
    ) -> Result<Receipt, EngineError> {
        let id = delivery.relation.id;
        let Some(relation) = self.state.catalog.by_id(id) else {
            let name = &delivery.relation.name;
            return Err(EngineError::new(ErrorKind::NotFound, format!("\"{name}\" was dropped")));
        };
        let delivery = delivery.under(relation)?;
        let key = SourceKey {
            relation: id,
            source: Arc::clone(&delivery.source),
            partition: Arc::clone(&delivery.partition),
        };
        if let Some(returned) = &delivery.returned {
            returned.check(self.state.last_replay)?;
        }
        if self.state.sources.turn(&key, delivery.position)? == Turn::Repeated {
            let duplicates = delivery.rows.num_rows() as u64;
            return Ok(Receipt { duplicates, ..Receipt::default() });
        }
        let delivery = self.state.fill_kept(delivery, now_us)?;
        // From here on its keys may be remembered although it is not stored: sent again it would be
        // taken for a repetition, and acknowledged.
        self.take_in(delivery, key, now_us, draft)
            .inspect_err(|error| self.state.store.poison(&error.message))
    }

    /// Stores what of a delivery is new.
    fn take_in(
        &mut self,
        delivery: Prepared,
        key: SourceKey,
        now_us: i64,
        draft: &mut Draft,
    ) -> Result<Receipt, EngineError> {
        let id = delivery.relation.id;
        let rows = delivery.rows.num_rows() as u64;
        let repeated = match delivery.idempotency {
            Some(hash) => self.is_repeated(hash, now_us)?,
            None => false,
        };
        let (accepted, dropped) = if repeated {
            (delivery.rows.slice(0, 0), Vec::new())
        } else {
            self.unique_rows(&delivery, now_us)?
        };
        let at_us = self.state.time_us.max(now_us);
        let (late, too_late) = match self.state.streams.get_mut(&id) {
            Some(stream) => stream.observe(&key, delivery.pace, &accepted, at_us)?,
            None => (0, Vec::new()),
        };
        let late_rows =
            Late::of(&delivery.relation, &key.source, &key.partition, &too_late, now_us);
        draft.rows.late.extend(late_rows);
        let stored = accepted.num_rows() as u64;
        let dead = delivery.dead.as_ref().filter(|_| !repeated);
        let dead_letters = dead.map_or(0, |(batch, _)| batch.num_rows() as u64);
        let counts = Counts {
            received: rows + dead_letters,
            stored,
            duplicates: rows - stored,
            dead_letters,
            late: u64::from(late),
        };
        Arc::make_mut(&mut self.state.sources).note(key, delivery.position, counts);
        self.shared.metrics.delivered(counts);
        let dead = dead.cloned();
        draft.record.deliveries.push(DeliveryRecord {
            relation: id.0,
            source: delivery.source.to_string(),
            partition: delivery.partition.to_string(),
            position: delivery.position,
            pace: delivery.pace,
            idempotency: delivery.idempotency,
            dropped,
            received: u32::try_from(rows).expect("a delivery's rows were counted in u32"),
            late,
            changes: delivery.deleted.is_some() && stored > 0,
            rows: delivery.encoded.filter(|_| stored > 0),
            dead: dead.as_ref().map(|(_, bytes)| bytes.clone()),
            format: delivery.format.as_deref().filter(|_| dead.is_some()).map(str::to_owned),
            replayed: delivery.returned.as_ref().map(|returned| returned.encoded.clone()),
        });
        let format = delivery.format;
        draft.rows.dead.extend(dead.map(|(rows, _)| Arrived { rows, format }));
        draft.rows.returned.extend(delivery.returned.map(|returned| returned.letters));
        match &delivery.relation.body {
            Body::Table(_) => {
                let deleted = delivery.deleted.filter(|_| stored > 0);
                let written = match deleted {
                    Some(deleted) => with_deleted(&accepted, deleted, &delivery.relation)?,
                    None => as_written(&accepted, &delivery.relation)?,
                };
                draft.rows.tables.push((id, written));
            }
            _ => draft.rows.streams.push((id, accepted)),
        }
        Ok(Receipt {
            accepted: stored,
            duplicates: rows - stored,
            late: u64::from(late),
            dead_letters,
            commit: CommitId(0),
        })
    }

    /// Whether a client's key for a whole delivery was there within the hour.
    fn is_repeated(&mut self, hash: u128, now_us: i64) -> Result<bool, EngineError> {
        let Some(duplicates) = &self.state.duplicates else { return Ok(false) };
        duplicates.requests()?.lock().probe_and_insert(&[hash], now_us, &mut self.mask)?;
        Ok(self.mask == [true])
    }

    /// The rows of a delivery that were not there before, and the numbers of the others.
    fn unique_rows(
        &mut self,
        delivery: &Prepared,
        now_us: i64,
    ) -> Result<(RecordBatch, Vec<u32>), EngineError> {
        let Some(stream) = self.state.streams.get(&delivery.relation.id) else {
            return Ok((delivery.rows.clone(), Vec::new()));
        };
        let dropped = stream.duplicates(delivery.keys.as_ref(), now_us, &mut self.mask)?;
        Ok((without(&delivery.rows, &dropped)?, dropped))
    }

    fn admit_write(&mut self, write: Write, draft: &mut Draft) {
        let Some(changed) = self.state.tables.get(&write.relation) else {
            let gone = EngineError::new(ErrorKind::NotFound, "the table was dropped");
            return (write.reply)(Err(gone));
        };
        // The columns of a table change with its last change: see `install_altered`.
        let in_draft = draft.rows.tables.iter().any(|(id, _)| *id == write.relation);
        if write.computed_at.is_some_and(|at| at < *changed || in_draft) {
            return (write.reply)(Ok(WriteOutcome::Stale));
        }
        let record = TableRecord { relation: write.relation.0, rows: write.encoded };
        draft.record.tables.push(record);
        draft.rows.tables.push((write.relation, write.rows));
        draft.writes.push(write.reply);
    }

    /// Makes a logged commit visible.
    pub(super) fn apply(
        &mut self,
        commit: CommitId,
        at_us: i64,
        rows: Rows,
    ) -> Result<CommitId, EngineError> {
        let applied = self.state.apply(commit, at_us, rows);
        // The log has a commit that memory has not: going on would number the next one the same.
        applied
            .and_then(|batches| self.publish(commit, batches))
            .inspect_err(|error| self.state.store.poison(&error.message))?;
        Ok(commit)
    }

    /// Makes batches visible at `commit`.
    pub(crate) fn publish(
        &mut self,
        commit: CommitId,
        batches: Vec<(yeoul_batch::TreeId, RecordBatch)>,
    ) -> Result<(), EngineError> {
        self.state.commit = commit;
        self.state.publish(batches)?;
        if !self.is_hidden {
            self.refresh();
        }
        Ok(())
    }

    /// Shows readers the state as it is.
    pub(crate) fn refresh(&self) {
        let world = self.state.world(self.state.store.snapshot());
        self.shared.world.store(Arc::new(world));
        self.shared.commits.tell();
    }

    fn built(&mut self, id: RelationId) -> Result<(), EngineError> {
        if let Some(view) = self.state.views.get_mut(&id) {
            if let Build::Running(_) = view.build {
                view.build = Build::Ready;
            }
            for tree in &view.relation.trees {
                self.state.store.set_building(tree.id, false);
            }
        }
        self.state.note_complete(id);
        self.is_hidden = self.state.views.get(&id).is_some_and(|v| follows_arrival(&v.relation));
        let written = self.commit_built().and_then(|()| match self.is_hidden {
            true => Ok(self.state.store.checkpoint().map(drop)?),
            false => Ok(()),
        });
        self.is_hidden = false;
        written?;
        self.refresh();
        self.start_waiting();
        self.ripen()
    }

    /// A commit without rows of its own: what is published follows from earlier ones, so replay makes
    /// it again.
    pub(crate) fn commit_batches(
        &mut self,
        batches: Vec<(yeoul_batch::TreeId, RecordBatch)>,
    ) -> Result<(), EngineError> {
        let commit = self.state.commit.next();
        let now_us = self.shared.clock.now_us();
        self.state.store.append_log(&CommitRecord::default().encode(commit, now_us))?;
        self.publish(commit, batches)
    }
}

/// Whether a job belongs into a commit that writes the tables `written`. The record of a commit has its
/// deliveries before its writes, so a delivery to a table begins a new commit when it comes behind a
/// write to it: otherwise a replay would apply the two the other way round. Of two that put dead letters
/// back, the second has to see what the first did.
fn joins(job: &Job, written: &[RelationId]) -> bool {
    match job {
        Job::Delivery(prepared, _) => {
            let again = prepared.returned.is_some() && written.contains(&DEAD_LETTERS);
            // What it keeps is looked up in what is stored.
            !again && prepared.kept.is_empty() && !written.contains(&prepared.relation.id)
        }
        Job::Write { .. } => true,
        _ => false,
    }
}

fn note_written(job: &Job, written: &mut Vec<RelationId>) {
    let relation = match job {
        Job::Write { relation, .. } => *relation,
        Job::Delivery(prepared, _) if prepared.returned.is_some() => DEAD_LETTERS,
        _ => return,
    };
    if !written.contains(&relation) {
        written.push(relation);
    }
}

fn rows_of(job: &Job) -> usize {
    match job {
        Job::Delivery(prepared, _) => prepared.rows.num_rows().max(1),
        Job::Write { rows, .. } => rows.num_rows().max(1),
        _ => 0,
    }
}
