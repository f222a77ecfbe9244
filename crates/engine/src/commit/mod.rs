//! The commit thread: gathers what arrived, makes it one numbered step, and answers.
//!
//! ```text
//!   queue ─▶ gather (≤ commit_interval, ≤ commit_rows) ─▶ check, drop duplicates ─▶ log, sync
//!                                                       ─▶ step views ─▶ publish ─▶ receipts
//! ```
//!
//! What must hold: nothing is visible or answered before the log has it; the same code applies a live
//! commit and a replayed one; when the log fails, every later job is answered with that failure.

mod ahead;
mod alter;
mod checkpoint;
mod clock;
mod committer;
mod define;
mod drop;
mod function;
mod give_up;
mod install;
mod kept;
mod keys;
mod late;
mod letters;
mod prepare;
mod queue;
mod replacement;
mod sinks;
mod sources;
mod state;
mod stream;
mod swap;
mod table;
mod views;

pub(crate) use alter::HistoryRecord;
pub(crate) use clock::ViewClock;
pub(crate) use committer::Committer;
pub(crate) use define::Definition;
pub(crate) use keys::Keys;
pub(crate) use late::{Late, add_late_rows};
pub(crate) use letters::{Arrived, Returned, is_outdated};
pub(crate) use prepare::{Prepared, encode, prepare};
pub(crate) use queue::{Job, Queue, Queued, Reply, WriteOutcome};
pub(crate) use replacement::{Wanted, WantedFunction, Wish};
pub(crate) use sinks::SinkState;
pub(crate) use sources::{SourceKey, SourceState, Sources};
pub(crate) use state::{DEAD_LETTERS, Rows as CommitRows, State, stopped_source};
pub(crate) use stream::{StreamState, without};
pub(crate) use swap::{MoveRecord, VersionRecord};
pub(crate) use table::{as_written, with_deleted, written_schema};
pub(crate) use views::{Build, BuildStatus, ViewState};
