//! Creating relations: commits of their own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use yeoul_batch::{CommitId, TreeId};
use yeoul_sql::{FunctionKey, Statement};

use super::alter::AlterRecord;
use super::committer::Committer;
use super::install::Installed;
use super::replacement::check_not_replaced;
use super::sinks::RewindRecord;
use super::state::State;
use super::swap::{BuildRecord, SwapRecord};
use super::views::Build;
use crate::build::{BuildTask, Task};
use crate::catalog::{Body, Catalog, Definer, Relation, RelationId};
use crate::error::{EngineError, ErrorKind};
use crate::planning::Planning;
use crate::record::CommitRecord;

/// A change of the catalog as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Definition {
    /// A relation is created.
    Create {
        /// Its number.
        id: u32,
        /// Its statement.
        sql: String,
        /// Its trees.
        trees: Vec<u32>,
    },
    /// A function is created, or becomes another one.
    CreateFunction {
        /// Its statement.
        sql: String,
    },
    /// Functions are dropped.
    DropFunction {
        /// Their names, and how many arguments they take.
        functions: Vec<FunctionKey>,
    },
    /// Relations are dropped.
    Drop {
        /// Their numbers.
        ids: Vec<u32>,
    },
    /// A relation is changed.
    Alter(AlterRecord),
    /// Versions of views begin to be built.
    Build(BuildRecord),
    /// Versions take the place of what they replace.
    Swap(SwapRecord),
    /// A sink sends again what it has sent.
    Rewind(RewindRecord),
}

impl Definition {
    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain data always becomes JSON").into()
    }

    /// What the log says.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        serde_json::from_slice(bytes).map_err(|e| {
            EngineError::new(
                ErrorKind::Internal,
                format!("a definition in the log is malformed: {e}"),
            )
        })
    }
}

impl State {
    /// The relation that `statement` creates, with fresh numbers for its trees (or with `trees`, when
    /// it was created before).
    pub(crate) fn define(
        &mut self,
        planning: &Planning,
        statement: &Statement,
        sql: &str,
        id: RelationId,
        created: CommitId,
        trees: Option<&[u32]>,
    ) -> Result<Relation, EngineError> {
        let catalog = Arc::clone(&self.catalog);
        self.define_in(&catalog, planning, statement, sql, id, created, trees)
    }

    /// The same, for a relation that finds what it reads in `catalog`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one definition")]
    pub(crate) fn define_in(
        &mut self,
        catalog: &Catalog,
        planning: &Planning,
        statement: &Statement,
        sql: &str,
        id: RelationId,
        created: CommitId,
        trees: Option<&[u32]>,
    ) -> Result<Relation, EngineError> {
        let history = Arc::default();
        let definer = Definer { catalog, planning, id, created, history };
        self.define_by(&definer, statement, sql, trees)
    }

    /// The same.
    pub(crate) fn define_by(
        &mut self,
        definer: &Definer<'_>,
        statement: &Statement,
        sql: &str,
        trees: Option<&[u32]>,
    ) -> Result<Relation, EngineError> {
        // Trees that it did not have: the next free numbers may be taken by a definition in the log.
        let spare = trees.map_or(0, |_| self.spare_tree);
        let mut next = self.next_tree;
        let mut given = trees.map(|trees| trees.iter().copied());
        let mut tree = || match given.as_mut().and_then(Iterator::next) {
            Some(number) => {
                next = next.max(number + 1);
                TreeId(number)
            }
            None => {
                next = next.max(spare) + 1;
                TreeId(next - 1)
            }
        };
        let relation = definer.relation(statement, sql, &mut tree)?;
        self.next_tree = next;
        self.next_relation = self.next_relation.max(definer.id.0 + 1);
        Ok(relation)
    }

    /// Adds a new relation: its trees, its state, and for a view how it is to be built.
    /// A view that is built from stored rows is built anew after a crash, which loses what a stream that
    /// keeps no rows has given it in between.
    pub(crate) fn check_sources(&self, relation: &Relation) -> Result<(), EngineError> {
        let Body::View(body) = &relation.body else { return Ok(()) };
        let sources = || body.inputs().filter_map(|(_, id, _)| self.catalog.by_id(id));
        let stopped =
            |id| self.views.get(&id).is_some_and(|view| matches!(view.build, Build::Failed(_)));
        if let Some(source) = sources().find(|source| stopped(source.id)) {
            return Err(EngineError::new(
                ErrorKind::Conflict,
                format!("a view cannot read view \"{}\", which has stopped", source.name),
            )
            .with_sqlstate("55000")
            .with_hint(format!(
                "see yeoul.views for why; drop \"{}\" and create it with a query that allows for this",
                source.name
            )));
        }
        let Some(unkept) = sources().find(|source| !source.keeps_rows()) else { return Ok(()) };
        if matches!(self.first_build(relation), Build::Ready) {
            return Ok(());
        }
        let others: Vec<&str> =
            sources().filter(|s| s.keeps_rows()).map(|s| s.name.as_str()).collect();
        Err(EngineError::new(
            ErrorKind::Conflict,
            format!(
                "a view cannot read stream \"{}\", which keeps no rows, together with stored rows",
                unkept.name
            ),
        )
        .with_sqlstate("0A000")
        .with_detail(format!("there are stored rows in {}", others.join(", ")))
        .with_hint(format!("give \"{}\" a retention, or make two views", unkept.name)))
    }

    /// Applies a definition of a replayed commit.
    pub(crate) fn replay_definition(
        &mut self,
        planning: &Planning,
        commit: CommitId,
        definition: &Definition,
    ) -> Result<Vec<(TreeId, RecordBatch)>, EngineError> {
        match definition {
            Definition::Create { id, sql, trees } => {
                let statement = planning.statement(sql)?;
                let id = RelationId(*id);
                let relation = self.define(planning, &statement, sql, id, commit, Some(trees))?;
                Ok(self.install(relation)?.batches)
            }
            Definition::CreateFunction { sql } => {
                self.add_function(planning, sql)?;
                Ok(Vec::new())
            }
            Definition::DropFunction { functions } => {
                self.drop_functions(functions);
                Ok(Vec::new())
            }
            Definition::Drop { ids } => {
                let ids: Vec<RelationId> = ids.iter().map(|id| RelationId(*id)).collect();
                self.remove(&ids)?;
                Ok(Vec::new())
            }
            Definition::Alter(record) => {
                let altered = self.altered(planning, record)?;
                self.install_altered(altered, commit)?;
                Ok(Vec::new())
            }
            Definition::Build(record) => self.replay_build(planning, commit, record),
            Definition::Swap(record) => self.replay_swap(planning, record),
            Definition::Rewind(record) => {
                self.apply_rewind(*record);
                Ok(Vec::new())
            }
        }
    }
}

impl Committer {
    /// `None` when it is there already and that is fine.
    pub(crate) fn create(
        &mut self,
        statement: &Statement,
        sql: &str,
        name: &str,
        if_not_exists: bool,
    ) -> Result<Option<CommitId>, EngineError> {
        if let Some(there) = self.state.catalog.get(name) {
            if if_not_exists {
                return Ok(None);
            }
            return Err(EngineError::new(
                ErrorKind::Conflict,
                format!("{} \"{name}\" exists already", there.kind),
            )
            .with_hint("drop it first, or say IF NOT EXISTS"));
        }
        let commit = self.state.commit.next();
        let id = self.state.take_relation();
        let shared = Arc::clone(&self.shared);
        let relation = self.state.define(&shared.planning, statement, sql, id, commit, None)?;
        self.state.check_sources(&relation)?;
        check_not_replaced(&self.state.catalog, &relation)?;
        let definition = Definition::Create {
            id: id.0,
            sql: sql.to_owned(),
            trees: relation.trees.iter().map(|tree| tree.id.0).collect(),
        };
        self.log_definition(&definition, commit)?;
        let Installed { batches, stopped } = self.state.install(relation)?;
        self.publish(commit, batches)?;
        if let Some(error) = stopped {
            // The log has it.
            self.forget(&[id])?;
            return Err(error);
        }
        self.start_waiting();
        Ok(Some(commit))
    }

    pub(crate) fn log_definition(
        &mut self,
        definition: &Definition,
        commit: CommitId,
    ) -> Result<(), EngineError> {
        let record =
            CommitRecord { definitions: vec![definition.encode()], ..CommitRecord::default() };
        let now_us = self.shared.clock.now_us();
        self.state.store.append_log(&record.encode(commit, now_us))?;
        self.state.time_us = self.state.time_us.max(now_us);
        Ok(())
    }

    /// Begins to build every view that waits for nothing any more.
    pub(crate) fn start_waiting(&mut self) {
        let waiting: Vec<RelationId> = self
            .state
            .views
            .iter()
            .filter(|(_, view)| matches!(view.build, Build::Waiting(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            match self.start(id) {
                // It is built at the next start.
                Err(_) if self.shared.is_stopping() => return,
                Err(error) => self.state.stop_view(id, &error),
                Ok(()) => {}
            }
        }
        self.refresh();
    }

    /// From this commit on the view is stepped; what was stored before is given to it beside.
    fn start(&mut self, id: RelationId) -> Result<(), EngineError> {
        let Some(view) = self.state.views.get(&id) else { return Ok(()) };
        let Body::View(body) = &view.relation.body else { return Ok(()) };
        let unready = |source: &RelationId| {
            self.state.views.get(source).is_some_and(|v| !matches!(v.build, Build::Ready))
        };
        if body.sources.iter().any(|(source, _)| unready(source)) {
            return Ok(());
        }
        let Build::Waiting(status) = view.build.clone() else { return Ok(()) };
        let Some(mut view) = self.state.views.remove(&id) else { return Ok(()) };
        view.build = Build::Running(Arc::clone(&status));
        let mut batches = Vec::new();
        let begun = self.state.begin(&mut view, &mut batches);
        let relation = Arc::clone(&view.relation);
        self.state.views.insert(id, view);
        begun?;
        for tree in &relation.trees {
            self.state.store.set_building(tree.id, true);
        }
        let snapshot = self.state.store.snapshot();
        self.commit_batches(batches)?;
        let catalog = Arc::clone(&self.state.catalog);
        self.shared.start_build(Task::Build(BuildTask { relation, catalog, snapshot, status }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::alter::HistoryRecord;
    use super::super::swap::{MoveRecord, MovedRecord, VersionRecord};
    use super::*;

    #[test]
    fn a_rewind_means_what_it_meant() {
        let text = r#"{"rewind":{"id":9,"after":110100480}}"#;
        let definition = Definition::Rewind(RewindRecord { id: 9, after: 110_100_480 });
        assert_eq!(Definition::decode(text.as_bytes()).expect("decodes"), definition);
        assert_eq!(definition.encode(), text.as_bytes());
    }

    #[test]
    fn definitions_of_version_1_mean_what_they_meant() {
        let create = Definition::Create { id: 3, sql: "CREATE …".into(), trees: vec![4, 5] };
        let drop = Definition::Drop { ids: vec![3, 1] };
        let version =
            VersionRecord { id: 7, replaces: 3, sql: "CREATE …".into(), trees: vec![8, 9] };
        let moves = vec![MoveRecord { from: 5, to: 8 }];
        let build = Definition::Build(BuildRecord {
            versions: vec![version],
            moves,
            functions: Vec::new(),
        });
        let moved = MovedRecord { from: 5, to: 8, sql: "CREATE …".into(), trees: vec![6] };
        let swap = Definition::Swap(SwapRecord {
            build: Some(7),
            moved: vec![moved],
            functions: Vec::new(),
        });
        let kept =
            Definition::Swap(SwapRecord { build: None, moved: Vec::new(), functions: Vec::new() });
        let functions = vec!["CREATE FUNCTION …".to_owned()];
        let other_function = Definition::Swap(SwapRecord {
            build: None,
            moved: Vec::new(),
            functions: functions.clone(),
        });
        let function_build =
            Definition::Build(BuildRecord { versions: Vec::new(), moves: Vec::new(), functions });
        let plain =
            Definition::Alter(AlterRecord { id: 3, sql: "CREATE …".into(), history: None });
        let history = HistoryRecord {
            was: [("b".to_owned(), vec!["a".to_owned()])].into(),
            added: [("c".to_owned(), None), ("d".to_owned(), Some("0".to_owned()))].into(),
            retired: vec!["a".to_owned()],
        };
        let altered = Definition::Alter(AlterRecord {
            id: 3,
            sql: "CREATE …".into(),
            history: Some(history),
        });
        let function = Definition::CreateFunction { sql: "CREATE …".into() };
        let functions = vec![("f".to_owned(), 2)];
        let no_function = Definition::DropFunction { functions };
        for (text, definition) in [
            (
                r#"{"build":{"versions":[{"id":7,"replaces":3,"sql":"CREATE …","trees":[8,9]}],"moves":[{"from":5,"to":8}]}}"#,
                build,
            ),
            (
                r#"{"swap":{"build":7,"moved":[{"from":5,"to":8,"sql":"CREATE …","trees":[6]}]}}"#,
                swap,
            ),
            (r#"{"swap":{"moved":[]}}"#, kept),
            (r#"{"swap":{"moved":[],"functions":["CREATE FUNCTION …"]}}"#, other_function),
            (
                r#"{"build":{"versions":[],"moves":[],"functions":["CREATE FUNCTION …"]}}"#,
                function_build,
            ),
            (r#"{"alter":{"id":3,"sql":"CREATE …"}}"#, plain),
            (
                r#"{"alter":{"id":3,"sql":"CREATE …","history":{"was":{"b":["a"]},"added":{"c":null,"d":"0"},"retired":["a"]}}}"#,
                altered,
            ),
            (r#"{"create":{"id":3,"sql":"CREATE …","trees":[4,5]}}"#, create),
            (r#"{"drop":{"ids":[3,1]}}"#, drop),
            (r#"{"create_function":{"sql":"CREATE …"}}"#, function),
            (r#"{"drop_function":{"functions":[["f",2]]}}"#, no_function),
        ] {
            assert_eq!(Definition::decode(text.as_bytes()).expect("decodes"), definition);
            assert_eq!(definition.encode(), text.as_bytes());
        }
        assert!(Definition::decode(br#"{"rename":{"id":3}}"#).is_err());
    }
}
