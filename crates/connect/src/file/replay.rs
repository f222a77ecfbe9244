//! Reading at the pace of event time: the records of all files in the order of their times, each when
//! it is due.
//!
//! The first record is due at once; every other as long after it as their event times are apart, divided
//! by the speed. Records without a time are due with the one before them.

use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use yeoul_engine::{DeadLetter, StreamHandle};
use yeoul_format::Decoder;

use super::deliver::Deliverer;
use super::plan::Plan;
use super::reader::{Opener, Payload, Piece, Step};
use super::tail::Files;
use crate::error::ConnectError;
use crate::source::Context;

/// Text of a file in memory at once: small, since every file has a block.
const BLOCK_BYTES: usize = 256 << 10;
/// The shortest sleep: what is due within it goes in one delivery.
const QUANTUM: Duration = Duration::from_millis(5);
/// How often followed files are looked at.
const POLL: Duration = Duration::from_millis(25);
/// The most records of one delivery.
const RECORDS_MAX: usize = 4_096;

/// A record that waits to be due.
struct Waiting {
    /// Where it ends in its partition.
    to: u64,
    /// Its row, unless it is bad.
    row: Option<usize>,
    event_us: Option<i64>,
}

/// A block of one file, partly handed on.
struct Block {
    piece: Piece,
    rows: RecordBatch,
    letters: std::vec::IntoIter<DeadLetter>,
    waiting: Vec<Waiting>,
    next: usize,
}

/// When event times are due.
struct Pace {
    speed: f64,
    began: Option<(Instant, i64)>,
}

impl Pace {
    fn due(&mut self, event_us: i64, now: Instant) -> Instant {
        /// Longer than anybody waits: times further apart are due then, and then found due later.
        const FAR: Duration = Duration::from_secs(1 << 32);
        let (began, origin) = *self.began.get_or_insert((now, event_us));
        let apart =
            Duration::from_micros(u64::try_from(event_us.saturating_sub(origin)).unwrap_or(0));
        let wait = Duration::try_from_secs_f64(apart.as_secs_f64() / self.speed);
        began + wait.unwrap_or(FAR).min(FAR)
    }
}

/// Replays all files `speed` times as fast as their events happened.
pub(super) fn run(
    stream: &StreamHandle,
    plan: &Plan,
    speed: f64,
    context: &Context,
) -> Result<(), ConnectError> {
    let opener = Opener::new(plan, stream, context, BLOCK_BYTES)?;
    let mut replay = Replay {
        stream,
        context,
        files: Files::new(plan, opener, context),
        deliverer: Deliverer::new(stream, context),
        blocks: Vec::new(),
        decoders: Vec::new(),
        pace: Pace { speed, began: None },
    };
    while !context.stopped() {
        let open = replay.load()?;
        let now = Instant::now();
        let Some((at, due)) = replay.earliest(now) else {
            if !plan.follow && !open {
                break;
            }
            replay.deliverer.settle()?;
            context.sleep(POLL);
            continue;
        };
        if due > now {
            replay.deliverer.settle()?;
            let wait = (due - now).max(QUANTUM);
            context.sleep(if plan.follow { wait.min(POLL) } else { wait });
            continue;
        }
        replay.hand_on(at, now)?;
    }
    replay.deliverer.settle()
}

struct Replay<'a> {
    stream: &'a StreamHandle,
    context: &'a Context,
    files: Files<'a>,
    deliverer: Deliverer<'a>,
    /// For each file its block.
    blocks: Vec<Option<Block>>,
    /// For each file its decoder, with what it learned.
    decoders: Vec<Option<Decoder>>,
    pace: Pace,
}

impl Replay<'_> {
    /// Gets a block of every file that has none; whether a file may still have one.
    fn load(&mut self) -> Result<bool, ConnectError> {
        self.files.look()?;
        let count = self.files.files.len();
        self.blocks.resize_with(count, || None);
        self.decoders.resize_with(count, || None);
        let mut open = false;
        for at in 0..count {
            while self.blocks[at].is_none() {
                match self.files.next(at)? {
                    Step::Piece(piece) => self.blocks[at] = self.decode(at, piece)?,
                    Step::Pending => {
                        open = true;
                        break;
                    }
                    Step::End => break,
                }
            }
            open |= self.blocks[at].is_some();
        }
        Ok(open)
    }

    /// Decodes a piece; `None` if nothing is in it.
    fn decode(&mut self, at: usize, mut piece: Piece) -> Result<Option<Block>, ConnectError> {
        let failed = |e| self.files.failed(at, e);
        let (decoded, ends) = match &mut piece.payload {
            Payload::Text { decoder, bytes } => {
                // A new file has a new header; else the decoder goes on learning.
                let mine = &mut self.decoders[at];
                if piece.first.is_some() {
                    *mine = None;
                }
                let mine = mine.get_or_insert_with(|| Decoder::clone(decoder));
                let begin = piece.to - bytes.len() as u64;
                let ends = mine.record_ends(bytes).into_iter().map(|end| begin + end as u64);
                let ends: Vec<u64> = ends.collect();
                let limit = self.context.engine.time_limit(self.stream);
                (mine.decode_until(bytes, limit.as_ref()).map_err(failed)?, ends)
            }
            Payload::Rows(decoded) => {
                let decoded = decoded.clone();
                let ends = match decoded.bad.len() {
                    0 => (piece.to - decoded.records + 1..=piece.to).collect(),
                    _ => vec![piece.to],
                };
                (decoded, ends)
            }
        };
        let event_time = self.stream.event_time().unwrap_or_default();
        let times = decoded.rows.column(event_time);
        let times = times.as_primitive_opt::<TimestampMicrosecondType>();
        let mut bad = decoded.bad.iter().map(|bad| bad.row).peekable();
        let mut rows = 0..decoded.rows.num_rows();
        let waiting = (0..decoded.records).zip(ends).map(|(record, to)| {
            let is_bad = bad.next_if_eq(&record).is_some();
            let row = if is_bad { None } else { rows.next() };
            let event_us = row.and_then(|row| {
                times.filter(|times| times.is_valid(row)).map(|times| times.value(row))
            });
            Waiting { to, row, event_us }
        });
        let waiting: Vec<_> = waiting.collect();
        let letters = self.deliverer.letters(&piece, decoded.bad, decoded.lines)?.into_iter();
        let block = Block { piece, rows: decoded.rows, letters, waiting, next: 0 };
        Ok((!block.waiting.is_empty()).then_some(block))
    }

    /// The file whose next record is due first, and when.
    fn earliest(&mut self, now: Instant) -> Option<(usize, Instant)> {
        let next = |(at, block): (usize, &Option<Block>)| {
            let block = block.as_ref()?;
            Some((block.waiting.get(block.next)?.event_us, at))
        };
        // A record without a time comes before all that have one.
        let (event_us, at) = self.blocks.iter().enumerate().filter_map(next).min()?;
        Some((at, event_us.map_or(now, |event_us| self.pace.due(event_us, now))))
    }

    /// Delivers the records of the file `at` that are due.
    fn hand_on(&mut self, at: usize, now: Instant) -> Result<(), ConnectError> {
        let Some(block) = &mut self.blocks[at] else { return Ok(()) };
        let begin = block.next;
        let mut due = |waiting: &Waiting| {
            waiting.event_us.is_none_or(|event_us| self.pace.due(event_us, now) <= now)
        };
        while block.next < block.waiting.len()
            && block.next - begin < RECORDS_MAX
            && due(&block.waiting[block.next])
        {
            block.next += 1;
        }
        let records = &block.waiting[begin..block.next];
        let Some(last) = records.last() else { return Ok(()) };
        let bad = records.iter().filter(|record| record.row.is_none()).count();
        let first_row = records.iter().find_map(|record| record.row).unwrap_or(0);
        let rows = block.rows.slice(first_row, records.len() - bad);
        let letters = block.letters.by_ref().take(bad).collect();
        self.deliverer.submit(&block.piece, last.to, rows.into(), letters)?;
        if block.next == block.waiting.len() {
            self.blocks[at] = None;
        }
        Ok(())
    }
}
