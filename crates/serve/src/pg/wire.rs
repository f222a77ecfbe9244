//! One client's socket with what was read and not understood yet, and what is to be sent.
//!
//! Limits: input is read up to one message of the allowed length; while a statement runs, up to
//! [`PIPELINE_BYTES_MAX`] of what the client sends ahead. Output is sent when it reaches
//! [`FLUSH_BYTES`], and a client that does not take it within the write timeout is cut off.

use std::future::Future;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{Frontend, Malformed, Opening, take_message, take_opening};

/// Output is sent when so much of it is there.
pub(crate) const FLUSH_BYTES: usize = 64 << 10;

/// How much a client may send ahead of a running statement before it has to wait.
const PIPELINE_BYTES_MAX: usize = 256 << 10;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The client is gone.
    #[error("the client closed the connection")]
    Gone,
    /// It does not take what is sent.
    #[error("the client did not take its answer in time")]
    Slow,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It does not speak the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The socket and its buffers.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    input: BytesMut,
    /// What is to be sent.
    pub(crate) out: Vec<u8>,
    /// How much of it is sent already: a write can be given up half-way.
    sent: usize,
    message_bytes_max: usize,
    write_timeout: Duration,
}

impl Wire {
    pub(crate) fn new(
        stream: TcpStream,
        message_bytes_max: usize,
        write_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(8 << 10),
            out: Vec::with_capacity(8 << 10),
            sent: 0,
            message_bytes_max,
            write_timeout,
        }
    }

    /// The first message, or an answer to one that asked for encryption.
    pub(crate) async fn opening(&mut self) -> Result<Opening, WireError> {
        loop {
            if let Some(opening) = take_opening(&mut self.input)? {
                return Ok(opening);
            }
            self.read().await?;
        }
    }

    /// The next message. What is to be sent is sent before waiting for it. Can be given up without
    /// losing anything.
    pub(crate) async fn message(&mut self) -> Result<Frontend, WireError> {
        loop {
            let before = self.input.len();
            if let Some(message) = take_message(&mut self.input, self.message_bytes_max)? {
                if before - self.input.len() > PIPELINE_BYTES_MAX {
                    // One long message must not keep its buffer for the life of the connection.
                    self.input = BytesMut::from(&self.input[..]);
                }
                return Ok(message);
            }
            if !self.out.is_empty() {
                self.flush().await?;
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), WireError> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            return Err(WireError::Gone);
        }
        Ok(())
    }

    /// Sends everything that is to be sent.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        while self.sent < self.out.len() {
            let write = self.stream.write(&self.out[self.sent..]);
            self.sent += match tokio::time::timeout(self.write_timeout, write).await {
                Err(_) => return Err(WireError::Slow),
                Ok(Ok(0)) => return Err(WireError::Gone),
                Ok(written) => written?,
            };
        }
        self.out.clear();
        self.sent = 0;
        if self.out.capacity() > 4 * FLUSH_BYTES {
            // One large row must not keep its buffer for the life of the connection.
            self.out = Vec::with_capacity(8 << 10);
        }
        Ok(())
    }

    /// Sends it if it is enough for a write.
    pub(crate) async fn flush_full(&mut self) -> Result<(), WireError> {
        if self.out.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Waits for `work`, or for the client to be gone.
    pub(crate) async fn during<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, WireError> {
        tokio::pin!(work);
        loop {
            if self.input.len() >= PIPELINE_BYTES_MAX {
                return Ok(work.await);
            }
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                read = self.stream.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(WireError::Gone);
                    }
                }
            }
        }
    }

    /// Sends what is left and says goodbye.
    pub(crate) async fn close(mut self) {
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_long_message_does_not_keep_its_buffer() {
        const LONG: usize = 4 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire::new(stream, 2 * LONG, Duration::from_secs(1));
        let sending = tokio::spawn(async move {
            let mut client = client;
            for length in [LONG, 10, 10] {
                let head = u32::try_from(length + 4).unwrap().to_be_bytes();
                let body = vec![b'x'; length];
                client.write_all(&[&b"d"[..], &head, &body].concat()).await.unwrap();
            }
            client
        });
        for length in [LONG, 10, 10] {
            let Ok(Frontend::CopyData(data)) = wire.message().await else { unreachable!("data") };
            assert_eq!(data.len(), length);
        }
        let _client = sending.await.unwrap();
        // What is there is used again when more room is asked for.
        wire.input.reserve(wire.input.capacity() + 1);
        assert!(wire.input.capacity() < LONG, "{} bytes", wire.input.capacity());
    }
}
