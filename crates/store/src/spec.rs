//! What a tree is and what its parts are: the vocabulary that the log, the manifest and the trees share.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use yeoul_batch::{Combine, TreeId};

/// What two rows of one key become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Both stay.
    Keep,
    /// The one with the higher `_version` stays; one whose `_deleted` is true removes the key.
    Latest,
    /// Their states are merged by the tree's [`Combine`].
    Combine,
}

/// A merge rule with what it needs to be carried out.
#[derive(Clone, Debug)]
pub enum Rule {
    /// See [`RuleKind::Keep`].
    Keep,
    /// See [`RuleKind::Latest`]. The schema's last two columns are `_version` (UInt64) and
    /// `_deleted` (Boolean), both not null.
    Latest,
    /// See [`RuleKind::Combine`]. The key is made of the rule's leading columns, in any order.
    Combine(Arc<dyn Combine>),
}

impl Rule {
    /// The rule without its means.
    #[must_use]
    pub fn kind(&self) -> RuleKind {
        match self {
            Self::Keep => RuleKind::Keep,
            Self::Latest => RuleKind::Latest,
            Self::Combine(_) => RuleKind::Combine,
        }
    }
}

/// How a tree is divided by time. A part holds rows of one partition only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBy {
    /// The column, a `Timestamp(µs)` or `Date32`.
    pub column: usize,
    /// The width of a partition in microseconds; partition p holds `[p·width, (p+1)·width)`.
    /// Null times are in partition `i64::MIN`.
    pub width_us: i64,
}

/// A tree's definition. [`crate::Store::alter_tree`] says what of it may change.
#[derive(Clone, Debug)]
pub struct TreeSpec {
    /// Its number in this store.
    pub id: TreeId,
    /// Its name, for people (`yeoul inspect`, messages). Not a key.
    pub name: String,
    /// All columns, the hidden ones included.
    pub schema: SchemaRef,
    /// The columns it is sorted by, most significant first. For `Latest` and `Combine` they are the
    /// key; for `Keep` only the order, and may be empty (then rows stay in order of arrival).
    pub key: Vec<usize>,
    /// What rows of one key become.
    pub rule: Rule,
    /// How it is divided by time, if at all. For `Latest` and `Combine` the column is part of the key.
    pub partition: Option<PartitionBy>,
    /// Partitions that end more than this long before the newest row's partition start are dropped
    /// whole, in microseconds of event time.
    pub retention_us: Option<i64>,
}

/// One immutable file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartMeta {
    /// Its number in this store, never reused: the file is `parts/<tree id>/<number>.parquet`.
    pub number: u64,
    /// The partition its rows belong to, 0 when the tree has none.
    pub partition: i64,
    /// How many rows.
    pub rows: u64,
    /// How long the file is.
    pub bytes: u64,
    /// How often its rows have been rewritten: 0 as flushed.
    pub level: u8,
    /// The first and the last key in ordered bytes (`KeyCodec`), empty when the tree has no key.
    pub first_key: Vec<u8>,
    /// See `first_key`.
    pub last_key: Vec<u8>,
}

/// A tree in the manifest.
#[derive(Clone, Debug)]
pub struct TreeManifest {
    /// Its number.
    pub id: TreeId,
    /// Its rule's kind, checked against the definition that the engine brings on open.
    pub rule: RuleKind,
    /// How many rows its retention has dropped since it was created; `None` when that was not counted,
    /// because a version 1 manifest did not.
    pub expired_rows: Option<u64>,
    /// Its parts.
    pub parts: Vec<PartMeta>,
}
