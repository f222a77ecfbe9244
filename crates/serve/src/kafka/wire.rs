//! Requests off a socket and answers onto it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::reply::Unwritable;
use super::request::{Malformed, frame_length, take_frame};
use super::room::Share;

/// A client that sends slower than this for longer than `read_timeout` is cut off.
const BYTES_PER_SECOND_MIN: usize = 32 << 10;
/// A longer request does not keep its buffer for the life of the connection.
const BUFFER_BYTES_KEPT: usize = 256 << 10;
/// The longest request of a client that has not said yet who it is.
const UNKNOWN_BYTES_MAX: usize = 64 << 10;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The client is gone.
    #[error("the client closed the connection")]
    Gone,
    /// It sends too slowly, or nothing.
    #[error("the client did not send a request in time")]
    Idle,
    /// It does not take what is sent.
    #[error("the client did not take its answer in time")]
    Slow,
    /// The listener ends.
    #[error("the listener is stopping")]
    Stopping,
    /// It has not shown who it is.
    #[error("the client has to authenticate first")]
    Stranger,
    /// What it sent could not be stored, and it asked for no answer, or what it sent after that must wait for it.
    #[error("a batch was not stored: {0}")]
    NotStored(String),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It does not speak the protocol, or another version of it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A mistake of ours.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// The half of a socket that requests come from.
pub(super) struct Incoming {
    stream: OwnedReadHalf,
    input: BytesMut,
    begun: bool,
}

impl Incoming {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Self { stream, input: BytesMut::with_capacity(8 << 10), begun: false }
    }

    /// The next request, with its share of the memory for requests. `stranger`: it comes from somebody who
    /// has not said who they are.
    pub(super) async fn frame(
        &mut self,
        shared: &Shared,
        stranger: bool,
    ) -> Result<(Bytes, Share), Ended> {
        let options = &shared.options;
        let most = if stranger { UNKNOWN_BYTES_MAX } else { usize::MAX };
        let most = options.request_bytes_max.min(most);
        // A connection that sends nothing at all is given up sooner than one that pauses.
        let idle = if self.begun { options.idle_timeout } else { options.read_timeout };
        let begin = async {
            while self.input.is_empty() {
                read(&mut self.stream, &mut self.input).await?;
            }
            Ok::<_, Ended>(())
        };
        tokio::select! {
            begun = timeout(idle, begin) => begun.map_err(|_| Ended::Idle)??,
            () = shared.shutdown.begun() => return Err(Ended::Stopping),
        }
        self.begun = true;
        let head = Instant::now() + options.read_timeout;
        let length = loop {
            if let Some(length) = frame_length(&self.input, most)? {
                break length;
            }
            timeout_at(head, read(&mut self.stream, &mut self.input))
                .await
                .map_err(|_| Ended::Idle)??;
        };
        let share = shared.requests.take(length).await.ok_or(Ended::Stopping)?;
        let seconds = u64::try_from(length / BYTES_PER_SECOND_MIN).unwrap_or(u64::MAX);
        let end = Instant::now() + options.read_timeout + Duration::from_secs(seconds);
        self.input.reserve((length + 4).saturating_sub(self.input.len()));
        loop {
            if let Some(frame) = take_frame(&mut self.input, most)? {
                if frame.len() > BUFFER_BYTES_KEPT {
                    self.input = BytesMut::from(&self.input[..]);
                }
                return Ok((frame, share));
            }
            timeout_at(end, read(&mut self.stream, &mut self.input))
                .await
                .map_err(|_| Ended::Idle)??;
        }
    }
}

async fn read(stream: &mut OwnedReadHalf, input: &mut BytesMut) -> Result<(), Ended> {
    if stream.read_buf(input).await? == 0 { Err(Ended::Gone) } else { Ok(()) }
}

/// Sends an answer.
pub(super) async fn send(
    stream: &mut OwnedWriteHalf,
    answer: &[u8],
    write_timeout: Duration,
) -> Result<(), Ended> {
    timeout(write_timeout, stream.write_all(answer)).await.map_err(|_| Ended::Slow)??;
    Ok(())
}
