//! The field's functions: rates with their bounds, and the states of aggregates that are more than
//! a counter.
//!
//! ```text
//!   rows ──build──▶ states (one per group) ──merge, any grouping, any order──▶ states ──finish──▶ values
//! ```
//!
//! | function | state columns | merge |
//! |---|---|---|
//! | `sum(float)`, `avg(float)` | `high`, `low`: Float64; `specials`: Decimal128(38,0) | [`FloatSums`]: exact in practice, can be undone |
//! | `approx_count_distinct` | one Binary | [`distinct`]: identical bytes in any order |
//! | `approx_percentile` | one Binary | [`percentile`]: exact up to 128 values, then within 1 % of rank |
//!
//! Columnar kernels take `groups`: for each row the dense number of its group, `0 ..
//! group_count`. Every kernel has a scalar twin.
//!
//! What must hold: everything is pure and deterministic; the bytes of a state mean the same in
//! every process, because they are stored (`docs/format/states.md`).
//!
//! Not here: IO, clocks, SQL types, registration with a query engine.

mod error;
mod group;

pub mod distinct;
pub mod percentile;
pub mod rate;
pub mod sum;

pub use distinct::Distinct;
pub use error::StateError;
pub use percentile::Percentiles;
pub use rate::{WILSON_Z, ctr, wilson_lower, wilson_upper};
pub use sum::{FloatSum, FloatSums};
