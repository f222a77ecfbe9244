//! Decoded messages to the engine, in their order, with their positions; receipts back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use yeoul_engine::{DeadLetter, Delivery, DeliveryRows, KeptValues, Pace, Position, StreamHandle};
use yeoul_format::{BadRow, FormatError};

use super::block::{Offsets, Partition};
use crate::decode;
use crate::error::ConnectError;
use crate::receipts::{Receipts, Settled};
use crate::source::Context;

/// The source's name in positions.
pub(super) const SOURCE: &str = "kafka";

/// What the reader hands over, in the order of each partition.
pub(super) enum Flight {
    /// Messages up to `to`, which are being decoded.
    Messages {
        partition: Arc<Partition>,
        offsets: Offsets,
        to: u64,
        bytes: usize,
        block: Receiver<Result<decode::Block, FormatError>>,
    },
    /// The partition is read from `to` on.
    Begin { partition: Arc<Partition>, to: u64 },
    /// Nothing more comes of the partition.
    Left { partition: Arc<Partition> },
    /// Wants to know when all before is stored.
    Settle(Sender<()>),
}

/// What both threads of a source look at.
#[derive(Default)]
pub(super) struct Shared {
    /// Bytes of messages on their way.
    pub(super) bytes: AtomicUsize,
    /// Nothing is submitted any more.
    pub(super) ended: AtomicBool,
    /// Up to where each partition is stored, by its name.
    stored: Mutex<HashMap<Arc<str>, u64>>,
}

impl Shared {
    /// Up to where a partition was stored since it was begun.
    pub(super) fn stored(&self, partition: &str) -> Option<u64> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.get(partition).copied()
    }

    fn store(&self, partition: &Arc<str>, to: u64) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.insert(Arc::clone(partition), to);
    }
}

/// Submits what comes until there is nothing more.
pub(super) fn run(
    stream: &StreamHandle,
    context: &Context,
    format: &str,
    shared: &Shared,
    flights: &Receiver<Flight>,
) -> Result<(), ConnectError> {
    let submitter = Submitter {
        stream,
        context,
        format: format.into(),
        source: SOURCE.into(),
        shared,
        stands: HashMap::new(),
        receipts: Receipts::default(),
    };
    let outcome = submitter.run(flights);
    shared.ended.store(true, Ordering::Relaxed);
    outcome
}

/// A delivery on its way: of which partition, up to where, of how many bytes.
struct Sent {
    partition: Arc<Partition>,
    to: u64,
    bytes: usize,
}

/// What messages told.
struct Told {
    rows: DeliveryRows,
    kept: Vec<KeptValues>,
    letters: Vec<DeadLetter>,
}

/// Where a message is, for people who look for it.
fn place(partition: &Partition, offsets: &Offsets, record: u64) -> String {
    format!("{}@{}", partition.name, offsets.get(record))
}

fn kept_values(
    partition: &Partition,
    offsets: &Offsets,
    (record, kept): (u64, yeoul_format::KeptValues),
) -> KeptValues {
    let yeoul_format::KeptValues { row, columns, raw } = kept;
    let position = place(partition, offsets, record);
    KeptValues { row, columns, letter: DeadLetter { raw, reason: String::new(), position } }
}

struct Submitter<'a> {
    stream: &'a StreamHandle,
    context: &'a Context,
    /// How the bytes of dead letters are written.
    format: Arc<str>,
    source: Arc<str>,
    shared: &'a Shared,
    /// Up to where each partition was submitted.
    stands: HashMap<Arc<str>, u64>,
    receipts: Receipts<Sent>,
}

impl Submitter<'_> {
    fn run(mut self, flights: &Receiver<Flight>) -> Result<(), ConnectError> {
        /// How soon receipts are looked at while nothing comes.
        const LOOK: Duration = Duration::from_millis(5);
        loop {
            match flights.recv_timeout(LOOK) {
                Ok(flight) => self.take(flight)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.settle(),
            }
            while let Some(settled) = self.receipts.ready() {
                self.settled(settled)?;
            }
        }
    }

    fn take(&mut self, flight: Flight) -> Result<(), ConnectError> {
        match flight {
            Flight::Messages { partition, offsets, to, bytes, block } => {
                let stream = self.stream.name();
                let gone = |_| ConnectError::new(stream, "the decode workers have ended");
                let block = block.recv().map_err(gone)?;
                let block = block.map_err(|e| ConnectError::new(stream, e.to_string()))?;
                let rows = block.rows.map_err(|e| ConnectError::refused(stream, &e))?;
                let letters = self.letters(&partition, &offsets, block.bad)?;
                let kept = block.kept.into_iter();
                let kept = kept.map(|kept| kept_values(&partition, &offsets, kept)).collect();
                let told = Told { rows: rows.into(), kept, letters };
                self.submit(partition, to, told, Pace::Partition, bytes)
            }
            Flight::Begin { partition, to } => {
                let empty = self.empty();
                self.submit(partition, to, empty, Pace::Partition, 0)
            }
            Flight::Left { partition } => {
                let to = self.stands(&partition);
                let empty = self.empty();
                self.submit(Arc::clone(&partition), to, empty, Pace::Left, 0)?;
                self.settle()?;
                self.stands.remove(&partition.name);
                Ok(())
            }
            Flight::Settle(reply) => {
                self.settle()?;
                // Who does not wait any more need not know.
                let _ = reply.send(());
                Ok(())
            }
        }
    }

    fn empty(&self) -> Told {
        let rows = arrow::array::RecordBatch::new_empty(Arc::clone(self.stream.schema())).into();
        Told { rows, kept: Vec::new(), letters: Vec::new() }
    }

    fn stands(&mut self, partition: &Partition) -> u64 {
        let (stream, context) = (self.stream, self.context);
        *self
            .stands
            .entry(Arc::clone(&partition.name))
            .or_insert_with(|| context.engine.position(stream.name(), SOURCE, &partition.name))
    }

    /// The bad messages as dead letters; an error when the stream refuses them.
    fn letters(
        &self,
        partition: &Partition,
        offsets: &Offsets,
        bad: Vec<BadRow>,
    ) -> Result<Vec<DeadLetter>, ConnectError> {
        let place = |bad: &BadRow| place(partition, offsets, bad.row);
        if let Some(first) = bad.first().filter(|_| self.stream.refuses_bad_rows()) {
            return Err(ConnectError::bad(self.stream.name(), &place(first), &first.reason));
        }
        let letter =
            |bad: BadRow| DeadLetter { position: place(&bad), raw: bad.raw, reason: bad.reason };
        Ok(bad.into_iter().map(letter).collect())
    }

    /// Submits a delivery after which the partition stands at `to`; waits for room in the engine's queue.
    fn submit(
        &mut self,
        partition: Arc<Partition>,
        to: u64,
        told: Told,
        pace: Pace,
        bytes: usize,
    ) -> Result<(), ConnectError> {
        let from = self.stands(&partition);
        let Told { rows, kept, letters: dead_letters } = told;
        let has_bytes = !dead_letters.is_empty() || !kept.is_empty();
        let delivery = Delivery {
            stream: self.stream.clone(),
            source: Arc::clone(&self.source),
            partition: Arc::clone(&partition.name),
            position: Some(Position { from, to }),
            pace,
            idempotency_key: None,
            rows,
            kept,
            format: Some(Arc::clone(&self.format)).filter(|_| has_bytes),
            dead_letters,
        };
        let refused = |e| ConnectError::refused(self.stream.name(), &e);
        let ticket = self.context.engine.submit(delivery).map_err(refused)?;
        self.stands.insert(Arc::clone(&partition.name), to);
        self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.receipts.push(ticket, Sent { partition, to, bytes });
        if self.receipts.is_full()
            && let Some(settled) = self.receipts.wait()
        {
            self.settled(settled)?;
        }
        Ok(())
    }

    /// Waits for the receipts of all deliveries.
    fn settle(&mut self) -> Result<(), ConnectError> {
        while let Some(settled) = self.receipts.wait() {
            self.settled(settled)?;
        }
        Ok(())
    }

    fn settled(&self, (outcome, sent): Settled<Sent>) -> Result<(), ConnectError> {
        let receipt = outcome.map_err(|e| ConnectError::refused(self.stream.name(), &e))?;
        let Sent { partition, to, bytes } = sent;
        self.shared.store(&partition.name, to);
        self.context.settled(&partition.name, to, receipt, bytes as u64);
        Ok(())
    }
}
