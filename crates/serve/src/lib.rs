//! The doors of the engine: HTTP, the Postgres wire, and a broker for producers of Kafka.
//!
//! ```text
//!   socket ─▶ listen (bounded connections) ─▶ http | pg | kafka ─▶ Engine: ingest, session ─▶ answer
//! ```
//!
//! What must hold: whatever bytes come, the process goes on and its memory has a bound; a client that
//! is too fast waits or is told; a client that is gone costs nothing; a shutdown ends in bounded time.
//!
//! Limits: [`HttpOptions`], [`PgOptions`], [`KafkaOptions`].
//!
//! Not here: sources that we fetch from (`connect`), storage, planning, the console, authentication.

mod decode;
mod http;
mod kafka;
mod listen;
mod parameter;
mod pg;
mod slot;

pub use http::{HttpOptions, serve_http};
pub use kafka::{Compression, KafkaCredentials, KafkaOptions, batch, request, serve_kafka};
pub use listen::{ListenError, Server, Shutdown};
pub use pg::message;
pub use pg::{PgOptions, serve_pg};
pub use slot::EngineSlot;
