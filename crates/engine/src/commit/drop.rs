//! Dropping relations: a commit of its own.

use std::sync::Arc;

use yeoul_batch::CommitId;
use yeoul_sql::{ObjectKind, RelationKind};

use super::committer::Committer;
use super::define::Definition;
use crate::catalog::{Catalog, Relation, RelationId};
use crate::error::{EngineError, ErrorKind};
use crate::planning::{missing, missing_sink};

impl Committer {
    /// `None` when there was nothing to drop and that is fine.
    pub(crate) fn drop_relations(
        &mut self,
        kind: ObjectKind,
        names: &[String],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Option<CommitId>, EngineError> {
        let mut ids = Vec::new();
        for name in names {
            match self.state.catalog.get(name).cloned() {
                Some(relation) => {
                    check_kind(kind, &relation, "DROP")?;
                    self.collect(&relation, cascade, &mut ids)?;
                }
                None if if_exists => {}
                None => return Err(missing_as(kind, &self.state.catalog, name)),
            }
        }
        if ids.is_empty() {
            return Ok(None);
        }
        let ids = self.with_versions(ids, cascade)?;
        self.forget(&ids).map(Some)
    }

    /// Takes relations away that nothing reads.
    pub(super) fn forget(&mut self, ids: &[RelationId]) -> Result<CommitId, EngineError> {
        let commit = self.state.commit.next();
        let definition = Definition::Drop { ids: ids.iter().map(|id| id.0).collect() };
        self.log_definition(&definition, commit)?;
        self.state.remove(ids)?;
        self.publish(commit, Vec::new())?;
        // A build may have waited for nothing but what is gone.
        self.ripen()?;
        Ok(commit)
    }

    /// `relation` and, with `cascade`, all that is built on it, the latest first.
    fn collect(
        &self,
        relation: &Arc<Relation>,
        cascade: bool,
        ids: &mut Vec<RelationId>,
    ) -> Result<(), EngineError> {
        let mut readers = self.state.catalog.readers_of(relation.id);
        readers.retain(|reader| self.state.catalog.version(reader.id).is_none());
        let open: Vec<_> = readers.iter().filter(|reader| !ids.contains(&reader.id)).collect();
        if !open.is_empty() && !cascade {
            let names: Vec<&str> = open.iter().map(|reader| reader.name.as_str()).collect();
            return Err(EngineError::new(
                ErrorKind::Conflict,
                format!("{} \"{}\" is read by {}", relation.kind, relation.name, names.join(", ")),
            )
            .with_sqlstate("2BP01")
            .with_hint("drop those first, or say CASCADE"));
        }
        for reader in &readers {
            self.collect(reader, cascade, ids)?;
        }
        if !ids.contains(&relation.id) {
            ids.push(relation.id);
        }
        Ok(())
    }
}

/// There is no `name` of this kind.
pub(crate) fn missing_as(kind: ObjectKind, catalog: &Catalog, name: &str) -> EngineError {
    match kind {
        ObjectKind::Sink => missing_sink(catalog, name),
        _ => missing(catalog, name),
    }
}

/// Refuses `verb` when `kind` is not what the relation is.
pub(crate) fn check_kind(
    kind: ObjectKind,
    relation: &Relation,
    verb: &str,
) -> Result<(), EngineError> {
    let fits = matches!(
        (kind, relation.kind),
        (ObjectKind::Stream | ObjectKind::Table, RelationKind::Stream)
            | (ObjectKind::Table, RelationKind::Table)
            | (ObjectKind::View, RelationKind::View)
            | (ObjectKind::Sink, RelationKind::Sink)
    );
    if fits {
        return Ok(());
    }
    let name = &relation.name;
    let word = match relation.kind {
        RelationKind::Stream => "STREAM",
        RelationKind::Table => "TABLE",
        RelationKind::View => "MATERIALIZED VIEW",
        RelationKind::Sink => "SINK",
        RelationKind::System => {
            let done = if verb == "DROP" { "dropped" } else { "changed" };
            return Err(EngineError::new(
                ErrorKind::Input,
                format!("system table \"{name}\" cannot be {done}"),
            ));
        }
    };
    let hint = match verb {
        "DROP" => format!("DROP {word} {name} drops it"),
        _ => format!("ALTER {word} {name} changes it"),
    };
    Err(EngineError::new(ErrorKind::Input, format!("\"{name}\" is a {}", relation.kind))
        .with_sqlstate("42809")
        .with_hint(hint))
}
