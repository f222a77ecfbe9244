//! How DataFusion reads a tree of a pinned snapshot.
//!
//! ```text
//!   keep      Union( memory batches, parts )
//!   latest    Merge[newest row per key]( memory batches, parts )               ⎫ a range of keys
//!   combine   Merge[states merged, then finished]( memory batches, parts )     ⎭ after the other
//! ```
//!
//! Parts are read by DataFusion's own Parquet source, which prunes row groups and pages by statistics
//! and Bloom filters; we hand it the file, its cached footer and the predicate. What parts hold as another
//! type than memory (intervals) is converted inside of it (`stored`). A predicate goes below
//! a merge only if it looks at key columns, for only then does it take or leave all rows of a key.
//!
//! What must hold: every plan keeps the snapshot it reads alive until it ends.

mod merge;
mod part;
mod provider;
mod rule;
mod stored;
mod view;

pub(crate) use provider::{MergeRows, TreeProvider, TreeView};
pub(crate) use rule::NewestRow;
pub(crate) use view::ViewRows;
