//! The engine's state in the manifest: what a checkpoint has to remember beside the trees.
//!
//! JSON, because it is small, written once per checkpoint, and should be readable with
//! `yeoul inspect`. `docs/format/meta.md` specifies it.

use serde::{Deserialize, Serialize};

use crate::error::{EngineError, ErrorKind};

/// The version written here, and the newest one read.
pub(crate) const VERSION: u32 = 1;

/// The state as of one commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// [`VERSION`].
    pub version: u32,
    /// The next relation's number.
    pub next_relation: u32,
    /// The next tree's number.
    pub next_tree: u32,
    /// Streams, tables and views in order of creation.
    pub relations: Vec<RelationMeta>,
    /// Where every partition of every source stands, and what came from it.
    pub sources: Vec<SourceMeta>,
}

/// A relation, to be made again from its SQL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RelationMeta {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The statement that created it.
    pub sql: String,
    /// Its trees: its own, then those of operators inside a view.
    pub trees: Vec<u32>,
    /// The commit that created it.
    pub created: u64,
    /// A view that is not complete: it is built anew on start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub building: bool,
    /// The newest event time seen, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_us: Option<i64>,
}

/// One partition of a source of one relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceMeta {
    /// The relation.
    pub relation: u32,
    /// The source.
    pub source: String,
    /// Its partition.
    pub partition: String,
    /// Where it stands.
    pub position: u64,
    /// What came and what became of it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// `received = stored + duplicates + dead_letters`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Rows and dead letters taken.
    pub received: u64,
    /// Rows stored.
    pub stored: u64,
    /// Rows dropped as duplicates.
    pub duplicates: u64,
    /// Kept in `yeoul.dead_letters`.
    pub dead_letters: u64,
    /// Of the stored, how many were late.
    pub late: u64,
}

impl Meta {
    /// The bytes for the manifest.
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always becomes JSON")
    }

    /// Reads them back.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let meta: Self = serde_json::from_slice(bytes).map_err(|e| {
            EngineError::new(
                ErrorKind::Internal,
                format!("the catalog in the manifest is damaged: {e}"),
            )
            .with_hint("restore the data folder from a backup")
        })?;
        if meta.version > VERSION {
            return Err(EngineError::new(
                ErrorKind::Input,
                format!(
                    "the catalog has version {}; this program reads up to {VERSION}",
                    meta.version
                ),
            )
            .with_hint("start the data folder with the version of Yeoul that wrote it"));
        }
        Ok(meta)
    }
}
