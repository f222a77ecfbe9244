//! Durable sorted collections (trees), the log in front of them, and the snapshots readers pin.
//!
//! ```text
//!   commit ──▶ log (append, sync) ──▶ memory layers ──checkpoint──▶ parts (Parquet) ──merge──▶ parts
//!                                          └───────────── snapshot n ─────────────┘
//! ```
//!
//! What must hold: a commit is either in every tree or in none; a snapshot never changes; what was
//! acknowledged under the policy is there after a crash; a failed write poisons the store.
//!
//! Not here: SQL, windows, aggregates (a `combine` tree is handed its rule), sockets, async, the wall
//! clock. This is the only crate that makes bytes durable.

mod codec;
mod error;
mod log;
mod manifest;
mod media;
mod seen;
mod spec;
mod store;
mod tree;

pub use codec::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, decode_batch, encode_batch};
pub use error::StoreError;
pub use log::{
    Log, LogOptions, LogProgress, LogRecord, LogReplay, RECORD_BYTES_MAX, RecordReport, Section,
    SectionReport, SegmentEnd, SegmentReport, SyncPolicy, TornTail, inspect,
};
pub use manifest::{Manifest, SeenRunMeta};
pub use media::{DiskMedia, Fault, Media, MediaFile, TrialMedia};
pub use seen::{Seen, SeenFolder, SeenOptions, SeenStats, Spawn, Urgency};
pub use spec::{PartMeta, PartitionBy, Rule, RuleKind, TreeManifest, TreeSpec};
pub use store::{Meta, Opening, Publication, Store, StoreOptions, StoreStats, TreeStats};
pub use tree::{
    Fit, MemoryBatch, Part, PartCompression, Scan, ScanOptions, Slices, Snapshot, TreeSnapshot,
    added_value, from_stored, get_many, key_bytes, may_differ, place_of, read_ranges, read_some,
    scan, stored_schema, stored_type, value_of, widened,
};

/// The bytes of a fixture of the formats; `YEOUL_WRITE_FIXTURES=1` writes it anew first.
#[cfg(test)]
fn fixture(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    if std::env::var_os("YEOUL_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write to");
        std::fs::write(&path, make()).expect("a file to write to");
    }
    std::fs::read(&path).expect("the fixture is checked in")
}
