//! What a query sees: the catalog and the snapshot of one commit, and how far views are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use yeoul_batch::CommitId;
use yeoul_store::Snapshot;

use crate::catalog::{Catalog, Relation, RelationId};
use crate::commit::{Build, SinkState, SourceKey, Sources};
use crate::error::{EngineError, ErrorKind};

/// See the module. Immutable; a new one is swapped in with every commit.
pub(crate) struct World {
    pub catalog: Arc<Catalog>,
    pub snapshot: Arc<Snapshot>,
    pub sources: Arc<Sources>,
    /// Whether nothing is written, so that no view is built either.
    pub read_only: bool,
    /// Views that are not complete.
    pub unready: HashMap<RelationId, Build>,
    /// Why the last replacement of a view was given up, by its name.
    pub given_up: BTreeMap<String, String>,
    /// Watermarks of streams, in microseconds.
    pub watermarks: HashMap<RelationId, i64>,
    /// What stands with the changes of sinks.
    pub sinks: BTreeMap<RelationId, SinkState>,
    /// Those of the partitions that have their own.
    pub partition_watermarks: BTreeMap<SourceKey, i64>,
}

impl World {
    /// The commit it shows.
    pub(crate) fn commit(&self) -> CommitId {
        self.snapshot.commit()
    }

    /// Whether `relation` can be read; the error says how far it is, or why it never will be.
    pub(crate) fn readable(&self, relation: &Relation) -> Result<(), EngineError> {
        if !relation.keeps_rows() {
            let name = &relation.name;
            return Err(EngineError::new(
                ErrorKind::Conflict,
                format!("stream \"{name}\" keeps no rows"),
            )
            .with_sqlstate("55000")
            .with_detail("its retention is zero: events are carried into views and not stored")
            .with_hint(format!("ask a view over \"{name}\"")));
        }
        let Some(build) = self.unready.get(&relation.id) else { return Ok(()) };
        let name = &relation.name;
        Err(match build {
            Build::Ready => return Ok(()),
            Build::Running(_) | Build::Waiting(_) if self.read_only => {
                EngineError::new(ErrorKind::Unavailable, format!("view \"{name}\" is not complete"))
                    .with_sqlstate("55000")
                    .with_detail(
                        "it was still being built, or had stopped, when the instance ended",
                    )
                    .with_hint("yeoul run builds it from the stored rows")
            }
            Build::Running(status) | Build::Waiting(status) => {
                let (done, total) =
                    (status.done.load(Ordering::Relaxed), status.total.load(Ordering::Relaxed));
                EngineError::new(
                    ErrorKind::Unavailable,
                    format!("view \"{name}\" is still being built"),
                )
                .with_sqlstate("55000")
                .with_detail(format!("{done} of {total} stored rows are in it"))
                .with_hint("ask again later; yeoul.views shows its progress")
            }
            Build::Failed(status) => {
                let why = status.failed.lock().clone().unwrap_or_default();
                EngineError::new(ErrorKind::Conflict, format!("view \"{name}\" has stopped: {why}"))
                    .with_sqlstate("55000")
                    .with_hint(
                        "CREATE OR REPLACE MATERIALIZED VIEW with a query that allows for this mends \
                         the view that failed, and those that read it",
                    )
            }
        })
    }
}
