//! The way to the commit thread: a queue bounded in bytes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use yeoul_batch::{CommitId, Updates};
use yeoul_flow::SourceIndex;
use yeoul_sql::{Alter, CreateFunction, DropFunction, ObjectKind, Statement};

use super::prepare::Prepared;
use super::replacement::Wish;
use crate::catalog::{BuildId, ChangeId, RelationId};
use crate::delivery::Receipt;
use crate::error::EngineError;

/// Called once with what became of a job.
pub(crate) type Reply<T> = Box<dyn FnOnce(Result<T, EngineError>) + Send>;

/// What became of a write to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// It is in this commit.
    Done(CommitId),
    /// The table has changed since the rows were computed: compute them again.
    Stale,
}

/// What the commit thread is asked to do.
pub(crate) enum Job {
    /// Store rows.
    Delivery(Box<Prepared>, Reply<Receipt>),
    /// Write rows of a table. `rows` has the table's columns and `_deleted`; with `computed_at`, only
    /// if the table has not changed since that commit.
    Write {
        relation: RelationId,
        rows: RecordBatch,
        encoded: Bytes,
        computed_at: Option<CommitId>,
        reply: Reply<WriteOutcome>,
    },
    /// Create what the statement says.
    Create {
        statement: Box<Statement>,
        sql: String,
        name: String,
        if_not_exists: bool,
        reply: Reply<Option<CommitId>>,
    },
    /// Create a function.
    CreateFunction { create: Box<CreateFunction>, sql: String, reply: Reply<Option<CommitId>> },
    /// Drop functions.
    DropFunction { drop: DropFunction, reply: Reply<Option<CommitId>> },
    /// Drop relations.
    Drop {
        kind: ObjectKind,
        names: Vec<String>,
        if_exists: bool,
        cascade: bool,
        reply: Reply<Option<CommitId>>,
    },
    /// Replace views that are there, and functions; `None` when nothing changes.
    Replace { wish: Wish, reply: Reply<Option<CommitId>> },
    /// Change a relation; `None` when nothing changes.
    Alter { alter: Box<Alter>, reply: Reply<Option<CommitId>> },
    /// Have a sink send again what came behind a commit.
    Rewind { name: String, after: u64, reply: Reply<CommitId> },
    /// Changes of a sink up to one are not needed any more, unless it was rewound since.
    Release { sink: RelationId, rewinds: u32, through: ChangeId },
    /// Give up the version of a view that is being built.
    CancelReplace { name: String, reply: Reply<CommitId> },
    /// Swap in a build that a manifest holds complete.
    Swap { build: BuildId, reply: Reply<()> },
    /// Begin a checkpoint unless one is under way, and answer at once.
    BeginCheckpoint { reply: Reply<()> },
    /// Rows of a source of a view that is being built.
    Backfill { view: RelationId, inputs: Vec<(SourceIndex, Updates)>, rows: u64, reply: Reply<()> },
    /// All rows of its sources have been given to the view.
    Built { view: RelationId, reply: Reply<()> },
    /// A view could not be built.
    BuildFailed { view: RelationId, error: EngineError },
    /// Write a checkpoint and answer when it is durable.
    Checkpoint { reply: Reply<()> },
    /// Answer when what was queued before is visible and durable.
    Flush { reply: Reply<CommitId> },
    /// Commit what was queued before, then end.
    Stop { reply: Reply<()> },
}

/// A job with the room it takes, given back when the commit thread takes it out.
pub(crate) struct Queued {
    pub job: Job,
    room: Option<OwnedSemaphorePermit>,
}

impl Queued {
    /// The job, and the room to give back when it is done.
    pub(crate) fn split(self) -> (Job, Option<OwnedSemaphorePermit>) {
        (self.job, self.room)
    }
}

/// Room is counted in units of this many bytes.
const UNIT_BYTES: usize = 1024;

/// The queue. Deliveries wait for room; everything else is rare and always fits.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: Sender<Queued>,
    room: Arc<Semaphore>,
    units: u32,
}

impl Queue {
    /// A queue for `bytes_max` bytes of rows.
    pub(crate) fn new(bytes_max: usize) -> (Self, Receiver<Queued>) {
        let (sender, receiver) = unbounded();
        let units = u32::try_from(bytes_max / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(units as usize));
        (Self { sender, room, units }, receiver)
    }

    /// A delivery larger than the whole queue takes all of it.
    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.units)
    }

    /// Queues a job that needs no room.
    pub(crate) fn send(&self, job: Job) -> Result<(), EngineError> {
        self.sender.send(Queued { job, room: None }).map_err(|_| EngineError::stopped())
    }

    /// Queues a delivery if there is room; false when there is none.
    pub(crate) fn try_deliver(
        &self,
        prepared: Prepared,
        reply: Reply<Receipt>,
    ) -> Result<bool, EngineError> {
        let units = self.units(prepared.bytes());
        match Arc::clone(&self.room).try_acquire_many_owned(units) {
            Ok(room) => self.put(prepared, reply, room).map(|()| true),
            Err(tokio::sync::TryAcquireError::NoPermits) => Ok(false),
            Err(tokio::sync::TryAcquireError::Closed) => Err(EngineError::stopped()),
        }
    }

    /// Queues a delivery when there is room, at most after `patience`; false when there was none.
    pub(crate) async fn deliver(
        &self,
        prepared: Prepared,
        reply: Reply<Receipt>,
        patience: Option<Duration>,
    ) -> Result<bool, EngineError> {
        let units = self.units(prepared.bytes());
        let room = Arc::clone(&self.room).acquire_many_owned(units);
        let room = match patience {
            None => room.await,
            Some(patience) => match tokio::time::timeout(patience, room).await {
                Ok(room) => room,
                Err(_) => return Ok(false),
            },
        };
        let room = room.map_err(|_| EngineError::stopped())?;
        self.put(prepared, reply, room).map(|()| true)
    }

    fn put(
        &self,
        prepared: Prepared,
        reply: Reply<Receipt>,
        room: OwnedSemaphorePermit,
    ) -> Result<(), EngineError> {
        let job = Job::Delivery(Box::new(prepared), reply);
        self.sender.send(Queued { job, room: Some(room) }).map_err(|_| EngineError::stopped())
    }

    /// From now on nobody gets room.
    pub(crate) fn close(&self) {
        self.room.close();
    }

    /// How much of the room is taken, from 0 to 1.
    pub(crate) fn fullness(&self) -> f64 {
        let free = u32::try_from(self.room.available_permits()).unwrap_or(u32::MAX);
        1.0 - f64::from(free.min(self.units)) / f64::from(self.units)
    }
}
