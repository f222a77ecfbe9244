//! What a source hands to the commit thread, and what it gets back.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{BooleanArray, RecordBatch};
use bytes::Bytes;
use crossbeam_channel::{Receiver, TryRecvError};
use tokio::sync::oneshot;
use yeoul_batch::CommitId;

use crate::catalog::RelationId;
use crate::commit::Keys;
use crate::engine::StreamHandle;
use crate::error::EngineError;

/// The source's name of rows that statements bring.
pub(crate) const SQL: &str = "sql";

/// A row that could not be decoded: kept with its bytes, so that it can be mended and put back.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The bytes as they came (cut to the limit of the decoder).
    pub raw: Bytes,
    /// Why, for people: lowercase, no full stop.
    pub reason: String,
    /// Where inside the delivery or the source: "line 3", "events.csv.gz:1204", "topic/2@991".
    pub position: String,
}

/// Where one partition of a source stands: it has delivered everything before `to`.
///
/// A delivery whose `to` is at or before the stored position is a repetition and is dropped whole;
/// one whose `from` is behind it leaves a gap and is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Where this delivery begins (a row number, a byte offset, a log offset: the source's own unit).
    pub from: u64,
    /// Where the next one begins.
    pub to: u64,
}

/// Whose watermark the rows of a delivery move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// That of the stream: what comes is about in the order of its times.
    #[default]
    Stream,
    /// One of its own: partitions are read side by side, and the last of them holds the stream.
    Partition,
    /// None from now on: the partition is not read any more.
    Left,
}

/// Rows of a delivery.
#[derive(Clone, Debug)]
pub enum DeliveryRows {
    /// As they are, in the schema of [`StreamHandle::schema`].
    Plain(RecordBatch),
    /// By [`StreamHandle::encode`].
    Encoded(EncodedRows),
}

impl DeliveryRows {
    /// The rows themselves.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        match self {
            Self::Plain(rows) => rows,
            Self::Encoded(encoded) => &encoded.rows,
        }
    }

    /// How many.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.batch().num_rows()
    }
}

impl From<RecordBatch> for DeliveryRows {
    fn from(rows: RecordBatch) -> Self {
        Self::Plain(rows)
    }
}

impl From<EncodedRows> for DeliveryRows {
    fn from(rows: EncodedRows) -> Self {
        Self::Encoded(rows)
    }
}

/// Values of one row that its change did not bring since they stay as they are.
#[derive(Clone, Debug)]
pub struct KeptValues {
    /// The row.
    pub row: usize,
    /// The columns. What stands there is not looked at.
    pub columns: Vec<usize>,
    /// What the row becomes when no row with its key is stored.
    pub letter: DeadLetter,
}

/// Rows checked against their stream, with their keys and their bytes for the log.
#[derive(Clone, Debug)]
pub struct EncodedRows {
    pub(crate) relation: RelationId,
    pub(crate) rows: RecordBatch,
    /// For each row of a table whether its key is gone; `None`: none is.
    pub(crate) deleted: Option<BooleanArray>,
    /// For the log; `None` when there are no rows.
    pub(crate) encoded: Option<Bytes>,
    /// The unique keys, when the stream has one.
    pub(crate) keys: Option<Keys>,
}

/// Decoded rows of one stream from one partition of a source.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The stream they go to.
    pub stream: StreamHandle,
    /// The source's name: "http", "sql", "file".
    pub source: Arc<str>,
    /// The partition of the source: a file, a topic partition; empty for sources without.
    pub partition: Arc<str>,
    /// Where the partition stands afterwards, for sources that can be read again.
    pub position: Option<Position>,
    /// Whose watermark they move.
    pub pace: Pace,
    /// A client's key for the whole delivery: a second delivery with the same key within an hour is
    /// answered as duplicates.
    pub idempotency_key: Option<String>,
    /// The rows.
    pub rows: DeliveryRows,
    /// Values of rows of a table that are taken from the stored rows, by ascending rows.
    pub kept: Vec<KeptValues>,
    /// What could not be decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// How the bytes of `dead_letters` are written, in the words of whoever decodes them: kept with
    /// them, so that one of them can be decoded alone. `None` when that is not known.
    pub format: Option<Arc<str>>,
}

impl Delivery {
    /// Rows from a source without positions.
    #[must_use]
    pub fn new(stream: StreamHandle, source: &str, rows: impl Into<DeliveryRows>) -> Self {
        Self {
            stream,
            source: source.into(),
            partition: "".into(),
            position: None,
            pace: Pace::Stream,
            idempotency_key: None,
            rows: rows.into(),
            kept: Vec::new(),
            dead_letters: Vec::new(),
            format: None,
        }
    }
}

/// What became of a delivery. `accepted + duplicates + dead_letters` is what was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Rows stored.
    pub accepted: u64,
    /// Rows dropped because their key was stored before, within `unique_within`.
    pub duplicates: u64,
    /// Of the accepted, how many were behind the watermark.
    pub late: u64,
    /// Rows kept in `yeoul.dead_letters`.
    pub dead_letters: u64,
    /// The commit that holds them.
    pub commit: CommitId,
}

/// Why a delivery was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full: come back after this long.
    #[error("the ingest queue is full")]
    Busy {
        /// How long to wait before the next try.
        retry_after: Duration,
    },
    /// It can never be taken as it is.
    #[error(transparent)]
    Refused(#[from] EngineError),
}

/// The promise of a [`Receipt`], for who does not block a thread.
#[derive(Debug)]
pub struct Pending {
    pub(crate) receiver: oneshot::Receiver<Result<Receipt, EngineError>>,
}

impl Pending {
    /// Waits until the commit is durable under the policy.
    pub async fn receipt(self) -> Result<Receipt, EngineError> {
        self.receiver.await.unwrap_or_else(|_| Err(EngineError::stopped()))
    }
}

/// The promise of a [`Receipt`].
#[derive(Debug)]
pub struct Ticket {
    pub(crate) receiver: Receiver<Result<Receipt, EngineError>>,
}

impl Ticket {
    /// Waits until the commit is durable under the policy. For plain threads.
    pub fn wait(self) -> Result<Receipt, EngineError> {
        self.receiver.recv().unwrap_or_else(|_| Err(EngineError::stopped()))
    }

    /// What [`Ticket::wait`] would give, if it were at once. It comes once.
    #[must_use]
    pub fn ready(&self) -> Option<Result<Receipt, EngineError>> {
        match self.receiver.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(EngineError::stopped())),
        }
    }
}
