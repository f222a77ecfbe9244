//! What flows through Yeoul: rows as Arrow columns, updates with a `diff`, commit numbers,
//! event time, keys in the two forms everything else needs (ordered bytes and hashes), and how
//! events are written before they are rows.
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

mod calendar;
mod clock;
mod combine;
mod decode;
mod expr;
mod field;
mod id;
mod json;
mod key;
mod limit;
mod metadata;
mod partition;
pub mod text;
mod updates;

pub use calendar::{date_of, days_in_month, days_of};
pub use clock::{Clock, EventTime};
pub use combine::Combine;
pub use decode::{DecimalFormat, DecodeOptions, FieldPath, Format, TimestampUnit};
pub use expr::{ColumnExpr, Expr, ExprError, ExprRef};
pub use field::{ADDED_KEY, ADDED_NULL, JSONB, LENGTH_KEY, TYPE_KEY, UUID, WAS_KEY, WAS_SEPARATOR};
pub use id::{CommitId, TreeId};
pub use json::compact_json;
pub use key::{KeyCodec, KeyRange, RangeRows, hash64, hash128, is_whole};
pub use limit::TimeLimit;
pub use metadata::Metadata;
pub use partition::{Behind, Known, PartitionFunction, Reach};
pub use updates::Updates;
