//! Rows of pieces to the engine, in order, with their positions; receipts back.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use yeoul_engine::{DeadLetter, Delivery, DeliveryRows, Pace, Position, StreamHandle};
use yeoul_format::BadRow;

use super::reader::{FirstLine, Partition, Piece};
use super::text::count_lines;
use crate::error::ConnectError;
use crate::receipts::Receipts;
use crate::source::Context;

/// The source's name in positions.
pub(super) const SOURCE: &str = "file";

/// How far a partition is.
struct Progress {
    /// Up to where it was submitted.
    to: u64,
    /// The line on which its next record begins: what it was opened at, and lines since.
    first: FirstLine,
    lines: u64,
}

/// Submits to one stream.
pub(super) struct Deliverer<'a> {
    stream: &'a StreamHandle,
    context: &'a Context,
    source: Arc<str>,
    partitions: HashMap<Arc<str>, Progress>,
    receipts: Receipts<(Arc<Partition>, Position)>,
}

impl<'a> Deliverer<'a> {
    pub(super) fn new(stream: &'a StreamHandle, context: &'a Context) -> Self {
        Self {
            stream,
            context,
            source: SOURCE.into(),
            partitions: HashMap::new(),
            receipts: Receipts::default(),
        }
    }

    fn progress(&mut self, partition: &Partition) -> &mut Progress {
        let (stream, context) = (self.stream, self.context);
        self.partitions.entry(Arc::clone(&partition.name)).or_insert_with(|| Progress {
            to: context.engine.position(stream.name(), SOURCE, &partition.name),
            first: FirstLine::Behind(0),
            lines: 0,
        })
    }

    /// The bad rows of a piece as dead letters with their lines; counts the piece's lines. An error
    /// when the stream refuses bad rows.
    pub(super) fn letters(
        &mut self,
        piece: &Piece,
        bad: Vec<BadRow>,
        lines: u64,
    ) -> Result<Vec<DeadLetter>, ConnectError> {
        let (stream, refuses) = (self.stream.name(), self.stream.refuses_bad_rows());
        let shown = Arc::clone(&piece.partition.shown);
        let progress = self.progress(&piece.partition);
        if let Some(first) = piece.first {
            (progress.first, progress.lines) = (first, 0);
        }
        progress.lines += piece.lines_skipped;
        let before = progress.lines;
        progress.lines += lines;
        if bad.is_empty() {
            return Ok(Vec::new());
        }
        let opened_at = match progress.first {
            FirstLine::Behind(lines) => lines,
            FirstLine::At(offset) => {
                let lines = lines_before(&piece.partition.path, offset)
                    .map_err(|e| ConnectError::new(stream, format!("{shown}: {e}")))?;
                progress.first = FirstLine::Behind(lines);
                lines
            }
        };
        let place = |line: u64| format!("{shown}:{}", opened_at + before + line + 1);
        if let Some(first) = bad.first().filter(|_| refuses) {
            return Err(ConnectError::bad(stream, &place(first.line), &first.reason));
        }
        let letter = |bad: BadRow| DeadLetter {
            position: place(bad.line),
            raw: bad.raw,
            reason: bad.reason,
        };
        Ok(bad.into_iter().map(letter).collect())
    }

    /// Submits rows and dead letters of a piece that end at `to`; waits for room in the engine's queue.
    pub(super) fn submit(
        &mut self,
        piece: &Piece,
        to: u64,
        rows: DeliveryRows,
        dead_letters: Vec<DeadLetter>,
    ) -> Result<(), ConnectError> {
        if rows.num_rows() == 0 && dead_letters.is_empty() {
            // Blank lines: the next delivery begins before them.
            return Ok(());
        }
        let partition = &piece.partition;
        let progress = self.progress(partition);
        let position = Position { from: progress.to, to };
        progress.to = to;
        let delivery = Delivery {
            stream: self.stream.clone(),
            source: Arc::clone(&self.source),
            partition: Arc::clone(&partition.name),
            position: Some(position),
            pace: Pace::Stream,
            idempotency_key: None,
            rows,
            kept: Vec::new(),
            format: piece.format.clone().filter(|_| !dead_letters.is_empty()),
            dead_letters,
        };
        let refused = |e| ConnectError::refused(self.stream.name(), &e);
        let ticket = self.context.engine.submit(delivery).map_err(refused)?;
        self.receipts.push(ticket, (Arc::clone(partition), position));
        if self.receipts.is_full() { self.settle_one().map(drop) } else { Ok(()) }
    }

    /// Waits for the receipts of all deliveries.
    pub(super) fn settle(&mut self) -> Result<(), ConnectError> {
        while self.settle_one()? {}
        Ok(())
    }

    /// Waits for the receipt of the oldest delivery; false when there is none.
    fn settle_one(&mut self) -> Result<bool, ConnectError> {
        let Some((outcome, (partition, position))) = self.receipts.wait() else { return Ok(false) };
        let receipt = outcome.map_err(|e| ConnectError::refused(self.stream.name(), &e))?;
        let bytes = if partition.in_bytes { position.to - position.from } else { 0 };
        self.context.settled(&partition.name, position.to, receipt, bytes);
        self.context.note_error(None);
        Ok(true)
    }
}

/// How many lines end before the byte `offset` of a plain file.
fn lines_before(path: &Path, offset: u64) -> io::Result<u64> {
    let mut text = File::open(path)?.take(offset);
    let mut buffer = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        let count = text.read(&mut buffer)?;
        if count == 0 {
            return Ok(lines);
        }
        lines += count_lines(&buffer[..count]);
    }
}
