//! What is done with foreign bytes: one function per fuzz target, by crate.
//!
//! `cargo +nightly fuzz run TARGET` from this folder (`--features sql` or `serve` where the target
//! needs it). The files of `targets` are also compiled into the tests of their crates, which
//! replay `corpus/TARGET/`: an input that once broke something stays there.
//!
//! A target panics when something that must hold does not; errors are fine.

#[path = "targets/format.rs"]
pub mod format;
#[path = "targets/functions.rs"]
pub mod functions;
#[cfg(feature = "serve")]
#[path = "targets/serve.rs"]
pub mod serve;
#[cfg(feature = "sql")]
#[path = "targets/sql.rs"]
pub mod sql;
#[path = "targets/store.rs"]
pub mod store;
