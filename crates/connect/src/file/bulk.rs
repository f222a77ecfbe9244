//! Reading at full speed: one thread reads, all workers decode, one thread submits in order.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use yeoul_engine::StreamHandle;
use yeoul_format::{Decoded, FormatError};

use super::deliver::Deliverer;
use super::plan::Plan;
use super::reader::{Opener, Payload, Piece, Step};
use super::tail::Files;
use crate::error::ConnectError;
use crate::source::Context;

/// Text decoded at once: some thousand rows, so that what a batch costs by itself does not count.
const BLOCK_BYTES: usize = 1 << 20;
/// How often a followed file that does not grow is looked at.
const POLL: Duration = Duration::from_millis(25);

/// A piece whose rows are on their way.
struct Flight {
    piece: Piece,
    rows: Receiver<Result<Decoded, FormatError>>,
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
                if !send(context, flights, piece) {
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
                if !send(context, flights, piece) {
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
fn send(context: &Context, flights: &Sender<Flight>, mut piece: Piece) -> bool {
    let rows = match &mut piece.payload {
        Payload::Text { decoder, bytes } => context.decoders.decode(decoder, std::mem::take(bytes)),
        Payload::Rows(decoded) => {
            let (sender, rows) = bounded(1);
            let rows_of = decoded.rows.slice(0, 0);
            let decoded = std::mem::replace(
                decoded,
                Decoded { rows: rows_of, bad: Vec::new(), records: 0, lines: 0 },
            );
            drop(sender.send(Ok(decoded)));
            rows
        }
    };
    let mut flight = Flight { piece, rows };
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
        let Flight { piece, rows } = match flights.recv_timeout(PATIENCE) {
            Ok(flight) => flight,
            Err(RecvTimeoutError::Timeout) => {
                deliverer.settle()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return deliverer.settle(),
        };
        let gone = |_| ConnectError::new(stream.name(), "the decode workers have ended");
        let place = |e| ConnectError::new(stream.name(), format!("{}: {e}", piece.partition.shown));
        let decoded = rows.recv().map_err(gone)?.map_err(place)?;
        let letters = deliverer.letters(&piece, decoded.bad, decoded.lines)?;
        deliverer.submit(&piece, piece.to, decoded.rows, letters)?;
    }
}
