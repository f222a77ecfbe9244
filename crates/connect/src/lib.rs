//! Where deliveries come from and where changes go: sources and sinks, one folder each.
//!
//! ```text
//!   spec ──registry──▶ Source ──blocks──▶ decode workers ──in order──▶ Engine::submit ──▶ receipt
//!   Engine::changes ──whole commits──▶ Sink, which notes there how far it is ──▶ Engine::release_changes
//! ```
//!
//! What must hold:
//! - Every delivery says where its partition of the source stands before and after it, so a row is
//!   stored exactly once however often the process dies.
//! - Deliveries of a partition are submitted in their order, decoded on as many workers as there are
//!   cores.
//! - Memory is bounded: a source waits when its blocks in flight are not taken.
//! - Changes are sent in whole commits, and what was sent is known where it was sent.
//! - What cannot be decoded is delivered as a dead letter with its place, or ends the source if the
//!   stream refuses bad rows.
//!
//! A new connector is a folder with its options and an `open` function, and one line in `registry`. Nothing else knows its name.
//!
//! Not here: listeners (`serve`), formats (`format`), what happens to rows (`engine`).

mod decode;
mod error;
mod file;
mod kafka;
mod net;
mod receipts;
mod registry;
mod sink;
mod sinks;
mod source;
mod sources;

pub use error::ConnectError;
pub use registry::CONNECTORS;
pub use sinks::Sinks;
pub use source::SourceStatus;
pub use sources::Sources;
