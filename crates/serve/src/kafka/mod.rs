//! Kafka's protocol: Yeoul as a broker of one node, for producers.
//!
//! ```text
//!   socket ▶ request ▶ connection ─ versions, topics, SASL, producer ids ▶ reply ─┐
//!                          └ batch ▶ worker: uncompress, decode ▶ engine ▶ receipt ┴▶ in order ▶ socket
//! ```
//!
//! Each stream or table that takes rows is a topic of one partition, 0; values of records are its events. A batch is
//! acknowledged when its commit is durable, and dropped when an idempotent producer sends it again
//! (see `sequence`).
//!
//! What must hold: answers go out in the order of their requests; the bytes of all requests in flight have a bound, also
//! uncompressed; what is acknowledged is stored, once.
//!
//! Limits: [`KafkaOptions`], [`connection::IN_FLIGHT_MAX`].
//!
//! Not here: consumers and groups, which are told so; transactions; TLS; batches as before Kafka 0.11.

pub mod batch;
mod connection;
mod fields;
mod produce;
mod refusal;
mod reply;
pub mod request;
mod room;
mod sasl;
mod sequence;
mod unpack;
mod wire;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::decode::Decoding;
use crate::listen::{ListenError, Server, Shutdown, listen};
use crate::slot::EngineSlot;
use room::Room;
pub use sasl::KafkaCredentials;
pub use unpack::Compression;

/// Limits of the Kafka listener, and what it says of itself.
///
/// In memory at most: `requests_bytes_max` of requests, as much of what their batches are uncompressed to with the rows
/// of these, and 16 KiB for each connection.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Connections open at once; further ones are closed.
    pub connections_max: usize,
    /// The longest request, and the longest a batch may be uncompressed.
    pub request_bytes_max: usize,
    /// Bytes of requests in memory at once, for all connections together, and as many of what they are uncompressed to;
    /// beyond them clients wait. Must be at least `request_bytes_max`.
    pub requests_bytes_max: usize,
    /// Where clients are told to come to: a host and a port. `None`: where they came to.
    pub advertised: Option<(String, u16)>,
    /// What clients must know; `None`: nothing is asked.
    pub credentials: Option<KafkaCredentials>,
    /// How long a client may take to send its first request, and a request of which a part is there (longer for
    /// long ones).
    pub read_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How long a client may leave what is sent to it untaken.
    pub write_timeout: Duration,
    /// How long a batch waits for room in the queue before the client is told to come back; never longer than half of
    /// what the client itself waits.
    pub queue_timeout: Duration,
    /// How long what was sent before the shutdown may take to be stored.
    pub grace: Duration,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            connections_max: 256,
            request_bytes_max: 64 << 20,
            requests_bytes_max: 256 << 20,
            advertised: None,
            credentials: None,
            read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(300),
            queue_timeout: Duration::from_secs(15),
            grace: Duration::from_secs(10),
        }
    }
}

/// What all connections share.
pub(crate) struct Shared {
    slot: EngineSlot,
    options: KafkaOptions,
    decoding: Decoding,
    requests: Room,
    unpacked: Room,
    shutdown: Shutdown,
    producers: Producers,
    /// Somebody was told that there is nothing to read here.
    told_readers: AtomicBool,
}

/// Numbers of producers: 62 bits of a keyed hash whose key is the system's randomness. That two living producers get
/// the same one is as good as impossible, over restarts too, and would do no harm unless both sent the same values
/// under the same sequence within the hour that keys are remembered.
struct Producers {
    random: RandomState,
    last: AtomicU64,
}

impl Producers {
    fn next(&self) -> i64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        (self.random.hash_one(number) >> 2).cast_signed()
    }
}

/// Serves producers of Kafka on `address` until `shutdown`. Needs a tokio runtime with time and IO. While the
/// engine is still opening, clients are told to come back.
pub async fn serve_kafka(
    engine: impl Into<EngineSlot>,
    address: SocketAddr,
    options: KafkaOptions,
    shutdown: Shutdown,
) -> Result<Server, ListenError> {
    let (connections_max, grace) = (options.connections_max, options.grace);
    let shared = Arc::new(Shared {
        slot: engine.into(),
        decoding: Decoding::new(),
        requests: Room::new(options.requests_bytes_max),
        unpacked: Room::new(options.requests_bytes_max),
        shutdown: shutdown.clone(),
        producers: Producers { random: RandomState::new(), last: AtomicU64::new(0) },
        told_readers: AtomicBool::new(false),
        options,
    });
    listen("Kafka", address, connections_max, grace, shutdown, move |stream, peer, place| {
        connection::run(Arc::clone(&shared), stream, peer, place)
    })
    .await
}
