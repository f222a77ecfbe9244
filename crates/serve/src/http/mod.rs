//! HTTP: events in, dead letters out and in again, SQL, health.
//!
//! ```text
//!   POST /v1/ingest/{stream} ▶ body (bounded) ▶ worker: uncompress, decode ▶ engine ▶ receipt
//!   /v1/dead-letters/{stream} ▶ out as lines; back in: decoded alone, one commit per thousands
//!   POST /v1/sql             ▶ session ▶ first batch ▶ status, then rows as they come
//! ```
//!
//! What must hold: the async threads never decode more than [`INLINE_BYTES_MAX`]; the bytes of all
//! requests in flight have a bound; a client that is gone, or does not take its answer, stops its query.
//!
//! Limits: [`HttpOptions`].
//!
//! Not here: TLS, tokens, the console.

mod answer;
mod body;
mod error;
mod ingest;
mod letters;
mod page;
mod patience;
mod room;
mod sql;
mod written;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use yeoul_engine::{Engine, EngineError};

use crate::decode::Decoding;
use crate::listen::{ListenError, Place, Server, Shutdown, listen};
use crate::slot::EngineSlot;
use error::ApiError;
use patience::Patience;
use room::Room;

/// Bodies up to this size are decoded where they arrive: handing them to a worker costs more.
pub(crate) const INLINE_BYTES_MAX: usize = 8 << 10;

/// Limits of the HTTP server.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Connections open at once; further ones are told and closed.
    pub connections_max: usize,
    /// The longest body of an ingest request, as sent.
    pub body_bytes_max: usize,
    /// The longest body of an ingest request, uncompressed.
    pub unpacked_bytes_max: usize,
    /// Bytes of ingest bodies in memory at once, for all requests together, and as many of what they are
    /// uncompressed to; beyond them clients get 429. Must be at least `body_bytes_max`.
    pub bodies_bytes_max: usize,
    /// How much uncompressed text is decoded into one delivery; larger bodies become several.
    pub delivery_bytes_max: usize,
    /// The longest SQL text with its parameters.
    pub sql_bytes_max: usize,
    /// How long a client may take to send a request's head, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may pause while it sends a body.
    pub body_timeout: Duration,
    /// How long a client may leave what is sent to it untaken.
    pub write_timeout: Duration,
    /// How long an ingest request waits for room in the queue before it is answered with 429.
    pub queue_timeout: Duration,
    /// How long running requests may go on after the shutdown began.
    pub grace: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            body_bytes_max: 64 << 20,
            unpacked_bytes_max: 512 << 20,
            bodies_bytes_max: 256 << 20,
            delivery_bytes_max: 16 << 20,
            sql_bytes_max: 4 << 20,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(300),
            queue_timeout: Duration::from_secs(2),
            grace: Duration::from_secs(10),
        }
    }
}

/// What all requests share.
pub(crate) struct State {
    pub(crate) slot: EngineSlot,
    pub(crate) options: HttpOptions,
    pub(crate) decoding: Decoding,
    pub(crate) room: Room,
    pub(crate) shutdown: Shutdown,
}

pub(crate) type Shared = Arc<State>;

impl State {
    /// The engine, when it has been opened.
    pub(crate) fn engine(&self) -> Result<&Engine, ApiError> {
        let opening = |error: EngineError| ApiError {
            retry_after: Some(Duration::from_secs(1)),
            ..ApiError::from(error)
        };
        self.slot.engine().map_err(opening)
    }
}

/// Serves HTTP on `address` until `shutdown`. Needs a tokio runtime with time and IO. The engine may
/// still be opening.
pub async fn serve_http(
    engine: impl Into<EngineSlot>,
    address: SocketAddr,
    options: HttpOptions,
    shutdown: Shutdown,
) -> Result<Server, ListenError> {
    let (connections_max, grace) = (options.connections_max, options.grace);
    let room = Room::new(&options);
    let shared = Arc::new(State {
        slot: engine.into(),
        options,
        decoding: Decoding::new(),
        room,
        shutdown: shutdown.clone(),
    });
    let router = router(Arc::clone(&shared));
    listen("HTTP", address, connections_max, grace, shutdown, move |stream, peer, place| {
        connection(stream, peer, place, router.clone(), Arc::clone(&shared))
    })
    .await
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(page::front))
        .route("/healthz", get(page::healthz))
        .route("/readyz", get(page::readyz))
        .route("/metrics", get(page::metrics))
        .route("/v1/ingest/{stream}", post(ingest::ingest))
        .route("/v1/dead-letters/{stream}", get(letters::list))
        .route("/v1/dead-letters/{stream}/replay", post(letters::replay))
        .route("/v1/sql", post(sql::sql))
        .fallback(|| async {
            ApiError::new(StatusCode::NOT_FOUND, "42704", "there is nothing at this address")
                .hint("the addresses are listed at /")
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "0A000",
                "this address does not take this method",
            )
            .hint("/v1/ingest/{stream}, /v1/dead-letters/{stream}/replay and /v1/sql take POST, the others GET")
        })
        .with_state(shared)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Option<Place>,
    router: Router,
    shared: Shared,
) {
    if place.is_none() {
        return full(stream).await;
    }
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(shared.options.header_timeout)
        .max_headers(64)
        // The read buffer: large enough that a typical batch of events comes in a few pieces.
        .max_buf_size(256 << 10);
    let stream = TokioIo::new(Patience::new(stream, shared.options.write_timeout));
    let served = builder.serve_connection(stream, TowerToHyperService::new(router));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shared.shutdown.begun() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "HTTP connection ends");
    }
}

/// Tells a client that all places are taken.
async fn full(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt;
    const TEXT: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
        Content-Length: 64\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
        {\"error\":{\"message\":\"too many connections\",\"code\":\"53300\"}}    \n";
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(TEXT)).await;
    let _ = stream.shutdown().await;
}
