//! Reading at full speed: one thread reads, all workers decode and encode for the log, one thread
//! submits in order.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use yeoul_engine::{DeliveryRows, StreamHandle};
use yeoul_format::{Decoded, FormatError};

use super::deliver::Deliverer;
use super::plan::Plan;
use super::reader::{Opener, Payload, Piece, Step};
use super::tail::Files;
use crate::decode::{Block, Input, SharedDecoder};
use crate::error::ConnectError;
use crate::source::Context;

/// Text decoded at once: some thousand rows, so that what a batch costs by itself does not count.
const BLOCK_BYTES: usize = 1 << 20;
/// How often a followed file that does not grow is looked at.
const POLL: Duration = Duration::from_millis(25);

/// A piece whose rows are on their way.
struct Flight {
    piece: Piece,
    block: Receiver<Result<Block, FormatError>>,
}

/// Reads all files to their end, or for ever when they are followed.
pub(super) fn run(
    stream: &StreamHandle,
    plan: &Plan,
    context: &Context,
) -> Result<(), ConnectError> {
    // Blocks in flight: one decoding and one waiting on every worker, and one being submitted. With
    // their rows that is about 3 MiB each.
    let (sender, flights) = bounded(2 * context.decoders.workers() + 1);
    std::thread::scope(|scope| {
        let submitting = scope.spawn(|| submit(stream, context, flights));
        let reading = read(stream, plan, context, &sender);
        drop(sender);
        let submitted = submitting.join().unwrap_or_else(|_| {
            Err(ConnectError::new(stream.name(), "its thread ended abnormally; this is a bug"))
        });
        submitted.and(reading)
    })
}

fn read(
    stream: &StreamHandle,
    plan: &Plan,
    context: &Context,
    flights: &Sender<Flight>,
) -> Result<(), ConnectError> {
    let opener = Opener::new(plan, stream, context, BLOCK_BYTES)?;
    if !plan.follow {
        for file in plan.files()? {
            let failed = |e| plan.failed(&file, e);
            let mut reader = opener.open(&file, 0).map_err(failed)?;
            while let Step::Piece(piece) = reader.next().map_err(failed)? {
                if !send(stream, context, flights, piece) {
                    return Ok(());
                }
            }
        }
        return Ok(());
    }
    let mut files = Files::new(plan, opener, context);
    while !context.stopped() {
        files.look()?;
        let mut idle = true;
        for at in 0..files.files.len() {
            if let Step::Piece(piece) = files.next(at)? {
                idle = false;
                if !send(stream, context, flights, piece) {
                    return Ok(());
                }
            }
        }
        if idle {
            context.sleep(POLL);
        }
    }
    Ok(())
}

/// Hands a piece to the workers; false when the source is stopped or the submitter has given up.
fn send(
    stream: &StreamHandle,
    context: &Context,
    flights: &Sender<Flight>,
    mut piece: Piece,
) -> bool {
    let of = stream.clone();
    let block = match &mut piece.payload {
        Payload::Text { decoder, bytes } => {
            let work =
                move |decoded: Result<Decoded, _>, _| decoded.map(|rows| Block::of(rows, &of));
            let limit = context.engine.time_limit(stream);
            let decoder = SharedDecoder::Text(Arc::clone(decoder));
            context.decoders.decode(decoder, Input::Text(std::mem::take(bytes)), limit, work)
        }
        Payload::Rows(decoded) => {
            let (sender, block) = bounded(1);
            let rows = decoded.rows.slice(0, 0);
            let empty = Decoded { rows, bad: Vec::new(), records: 0, lines: 0, changes: None };
            drop(sender.send(Ok(Block::of(std::mem::replace(decoded, empty), &of))));
            block
        }
    };
    let mut flight = Flight { piece, block };
    while !context.stopped() {
        match flights.send_timeout(flight, Duration::from_millis(50)) {
            Ok(()) => return true,
            Err(SendTimeoutError::Timeout(back)) => flight = back,
            Err(SendTimeoutError::Disconnected(_)) => return false,
        }
    }
    false
}

fn submit(
    stream: &StreamHandle,
    context: &Context,
    flights: Receiver<Flight>,
) -> Result<(), ConnectError> {
    /// How long receipts are waited for together while rows keep coming.
    const PATIENCE: Duration = Duration::from_millis(100);
    let mut deliverer = Deliverer::new(stream, context);
    loop {
        let Flight { piece, block } = match flights.recv_timeout(PATIENCE) {
            Ok(flight) => flight,
            Err(RecvTimeoutError::Timeout) => {
                deliverer.settle()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return deliverer.settle(),
        };
        let gone = |_| ConnectError::new(stream.name(), "the decode workers have ended");
        let place = |e| ConnectError::new(stream.name(), format!("{}: {e}", piece.partition.shown));
        let block = block.recv().map_err(gone)?.map_err(place)?;
        let letters = deliverer.letters(&piece, block.bad, block.lines)?;
        let rows = block.rows.map_err(|e| ConnectError::refused(stream.name(), &e))?;
        deliverer.submit(&piece, piece.to, DeliveryRows::Encoded(rows), letters)?;
    }
}
