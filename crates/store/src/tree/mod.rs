//! Trees: their memory layer, their parts, and how rows of both become one answer.
//!
//! ```text
//!   TreeSnapshot ─┬─ memory: batches, oldest first ─┐
//!                 └─ parts: files, oldest first ────┴─▶ scan, get_many, read_ranges ─▶ rows under the rule
//! ```
//!
//! What must hold: everything in a snapshot is immutable; what is older stands first, everywhere.
//!
//! Not here: when to flush or merge and what the manifest says (`store`).

mod blocks;
mod fit;
mod format;
mod gather;
mod layout;
mod lookup;
mod memory;
mod merge;
mod order;
mod ordered;
mod part;
mod partition;
mod policy;
mod reach;
mod scan;
mod seek;
mod slices;
mod snapshot;
mod source;
mod sparse;
mod stored;
mod wanted;
mod weight;
mod write;

pub use fit::{Fit, added_value, may_differ, place_of, value_of, widened};
pub use lookup::get_many;
pub use memory::MemoryBatch;
pub use part::Part;
pub use scan::{Scan, ScanOptions, scan};
pub use seek::{key_bytes, read_ranges, read_some};
pub use slices::Slices;
pub use snapshot::{Snapshot, TreeSnapshot};
pub use stored::{from_stored, stored_schema, stored_type};
pub use write::PartCompression;

pub(crate) use memory::{merge_batches, tiering};
pub(crate) use merge::{Cover, Merge};
pub(crate) use order::{KeyOrder, KeyRanges};
pub(crate) use part::PARTS_DIR;
pub(crate) use partition::{partitions_of, rows_by_partition};
pub(crate) use policy::Tiering;
pub(crate) use source::{CHUNK_ROWS, SortedRows, Source, keys_of};
pub(crate) use write::{PartLabel, PartWriter};

#[cfg(test)]
mod tests;
