//! What flows through Yeoul: rows as Arrow columns, updates with a `diff`, commit numbers,
//! event time, and keys in the two forms everything else needs (ordered bytes and hashes).
//!
//! ```text
//!   event bytes ──decode──▶ RecordBatch ──▶ Updates { rows, diffs } ──▶ operators, trees
//! ```
//!
//! What must hold: everything here is pure and deterministic. The same columns give the same
//! key bytes and the same hashes in every process and on every machine, because both are
//! stored.
//!
//! Not here: disk, clocks, threads, SQL.

mod clock;
mod combine;
mod expr;
mod id;
mod key;
mod updates;

pub use clock::{Clock, EventTime};
pub use combine::Combine;
pub use expr::{ColumnExpr, Expr, ExprError, ExprRef};
pub use id::{CommitId, TreeId};
pub use key::{KeyCodec, hash64, hash128};
pub use updates::Updates;
