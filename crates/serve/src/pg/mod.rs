//! The Postgres wire: psql, drivers and BI tools connect here.
//!
//! ```text
//!   socket ▶ message ▶ connection ─ local statements
//!                          │      ─ engine session ▶ rows ▶ text | binary ▶ socket
//!                          └ extended: statements, portals      copy: rows in and out
//! ```
//!
//! What must hold: an answer is never collected, at most one batch and one write buffer of it are in
//! memory; when the client is gone its statement is cancelled; a statement's error leaves the
//! connection usable, a protocol error ends it.
//!
//! Limits: [`PgOptions`].
//!
//! Not here: catalog tables (they are the engine's), TLS, passwords.

mod binary;
mod bind;
mod column;
mod connection;
mod copy;
mod cursor;
mod extended;
mod lex;
mod local;
pub mod message;
mod registry;
mod reply;
mod rows;
mod settings;
mod startup;
mod values;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::decode::Decoding;
use crate::listen::{ListenError, Server, Shutdown, listen};
use crate::slot::EngineSlot;
use registry::Registry;

/// Limits of the Postgres wire.
///
/// In memory for a connection at most: one message, two buffers of 64 KiB, and one batch of rows;
/// with the defaults 256 × (64 MiB + …) is far above what a machine has, and is reached only if every
/// client sends its longest message at once: lower `message_bytes_max` where clients are not trusted.
#[derive(Clone, Debug)]
pub struct PgOptions {
    /// Connections open at once; further ones are told and closed.
    pub connections_max: usize,
    /// The longest message: a statement, its parameters, or one piece of `COPY`.
    pub message_bytes_max: usize,
    /// Prepared statements of one connection.
    pub statements_max: usize,
    /// Portals of one connection.
    pub portals_max: usize,
    /// How long a client may take to begin its session.
    pub startup_timeout: Duration,
    /// How long a client may leave what is sent to it untaken.
    pub write_timeout: Duration,
    /// How long running statements may go on after the shutdown began.
    pub grace: Duration,
    /// Bytes of `COPY … FROM STDIN` that are decoded and committed together.
    pub copy_bytes_max: usize,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            connections_max: 256,
            message_bytes_max: 64 << 20,
            statements_max: 1_000,
            portals_max: 100,
            startup_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(300),
            grace: Duration::from_secs(10),
            copy_bytes_max: 4 << 20,
        }
    }
}

/// Serves the Postgres wire on `address` until `shutdown`. Needs a tokio runtime with time and IO. While
/// the engine is still opening, clients are refused with SQLSTATE 57P03.
pub async fn serve_pg(
    engine: impl Into<EngineSlot>,
    address: SocketAddr,
    options: PgOptions,
    shutdown: Shutdown,
) -> Result<Server, ListenError> {
    let (connections_max, grace) = (options.connections_max, options.grace);
    let shared = Arc::new(startup::Shared {
        slot: engine.into(),
        options,
        registry: Arc::new(Registry::default()),
        decoding: Decoding::new(),
        shutdown: shutdown.clone(),
    });
    listen("Postgres", address, connections_max, grace, shutdown, move |stream, peer, place| {
        startup::run(Arc::clone(&shared), stream, peer, place)
    })
    .await
}
