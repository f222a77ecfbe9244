//! Replacing views: a build begins, ends in a swap, or is given up. `docs/design/change.md` says in which
//! states a crash may find it.
//!
//! What must hold: live commits and replayed ones go through the same functions of [`State`]; a swap is
//! logged only when a manifest holds all its versions complete, because building is not logged.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use yeoul_batch::{CommitId, TreeId};
use yeoul_sql::ObjectKind;

use super::clock::ViewClock;
use super::committer::Committer;
use super::define::Definition;
use super::drop::check_kind;
use super::function::read_functions;
use super::replacement::{Concerned, Fate, Wish};
use super::state::State;
use super::views::{Build, ViewState};
use crate::build::Task;
use crate::catalog::{Body, BuildId, Catalog, Relation, RelationId, Version, build_graph};
use crate::error::EngineError;
use crate::planning::{Planning, missing};

/// A build as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildRecord {
    /// The versions, those that others read first. The number of the first is that of the build.
    pub versions: Vec<VersionRecord>,
    /// The views that are moved when they are swapped in.
    pub moves: Vec<MoveRecord>,
    /// The statements of functions that become these when they are swapped in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
}

/// A version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    /// Its number.
    pub id: u32,
    /// Which relation it will replace.
    pub replaces: u32,
    /// Its statement.
    pub sql: String,
    /// Its trees.
    pub trees: Vec<u32>,
}

/// A view that will have another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MoveRecord {
    /// The one it has.
    pub from: u32,
    /// The one it will have.
    pub to: u32,
}

/// A swap as the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SwapRecord {
    /// Which build is swapped in, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<u32>,
    /// Views that get another number, those that others read first.
    pub moved: Vec<MovedRecord>,
    /// The statements of functions that become these; those of a build are in its own record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
}

/// A view that gets another number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MovedRecord {
    /// The one it had.
    pub from: u32,
    /// The one it gets.
    pub to: u32,
    /// Its statement.
    pub sql: String,
    /// Its trees: those it had, or empty ones to be built anew.
    pub trees: Vec<u32>,
}

/// What a swap makes of the catalog.
struct Swapped {
    catalog: Catalog,
    /// What has no number any more.
    gone: Vec<RelationId>,
    /// What is new or redefined, those that others read first.
    relations: Vec<Arc<Relation>>,
    /// The number that a moved view had.
    from: BTreeMap<RelationId, RelationId>,
}

fn numbers(relation: &Relation) -> Vec<u32> {
    relation.trees.iter().map(|tree| tree.id.0).collect()
}

impl State {
    pub(crate) fn replay_build(
        &mut self,
        planning: &Planning,
        commit: CommitId,
        record: &BuildRecord,
    ) -> Result<Vec<(TreeId, RecordBatch)>, EngineError> {
        let Some(first) = record.versions.first() else { return Ok(Vec::new()) };
        let build = BuildId(first.id);
        self.note_functions(planning, build, &record.functions)?;
        let mut batches = Vec::new();
        for version in &record.versions {
            let of = Version { replaces: RelationId(version.replaces), build };
            let relation = self.version(planning, version, build, commit)?;
            batches.extend(self.install_as(Arc::new(relation), Some(of))?.batches);
        }
        self.note_moves(build, &record.moves);
        Ok(batches)
    }

    /// A version that was defined before.
    pub(crate) fn version(
        &mut self,
        planning: &Planning,
        version: &VersionRecord,
        build: BuildId,
        created: CommitId,
    ) -> Result<Relation, EngineError> {
        let statement = planning.statement(&version.sql)?;
        let seen = self.catalog.seen_by(build);
        let (id, trees) = (RelationId(version.id), Some(version.trees.as_slice()));
        self.define_in(&seen, planning, &statement, &version.sql, id, created, trees)
    }

    /// Keeps the numbers that a build has given to the views it moves.
    pub(crate) fn note_moves(&mut self, build: BuildId, moves: &[MoveRecord]) {
        for MoveRecord { from, to } in moves {
            let version = Version { replaces: RelationId(*from), build };
            self.catalog = Arc::new(self.catalog.with_move(RelationId(*to), version));
            self.next_relation = self.next_relation.max(to + 1);
        }
    }

    pub(crate) fn replay_swap(
        &mut self,
        planning: &Planning,
        record: &SwapRecord,
    ) -> Result<Vec<(TreeId, RecordBatch)>, EngineError> {
        let swapped = self.swapped(planning, record)?;
        self.install_swap(swapped)
    }

    /// The swap of `build` as it is to be logged now. A view that has stopped, or is not complete, is built
    /// anew from what it reads then.
    fn swap_record(&mut self, build: BuildId) -> SwapRecord {
        let versions = self.catalog.versions_of(build);
        let replaced: Vec<RelationId> = versions.iter().map(|(_, v)| v.replaces).collect();
        let mut noted: BTreeMap<RelationId, RelationId> = BTreeMap::new();
        for (to, version) in self.catalog.moves_of(build) {
            noted.insert(version.replaces, to);
        }
        // A view whose function changes and that stays what it is reads nothing that is replaced.
        let mut relations: Vec<_> =
            noted.keys().filter_map(|id| self.catalog.by_id(*id).cloned()).collect();
        let roots: Vec<RelationId> = replaced.into_iter().chain(noted.keys().copied()).collect();
        relations.extend(self.catalog.downstream_of(&roots));
        let mut moved = Vec::new();
        for relation in relations {
            let to = noted.get(&relation.id).copied();
            let to = to.unwrap_or_else(|| self.take_relation());
            let view = self.views.get(&relation.id);
            let trees = if view.is_some_and(|view| matches!(view.build, Build::Ready)) {
                numbers(&relation)
            } else {
                relation.trees.iter().map(|_| self.take_tree()).collect()
            };
            let (from, sql) = (relation.id.0, relation.sql.clone());
            moved.push(MovedRecord { from, to: to.0, sql, trees });
        }
        moved.sort_by_key(|moved| moved.to);
        SwapRecord { build: Some(build.0), moved, functions: Vec::new() }
    }

    fn take_tree(&mut self) -> u32 {
        self.next_tree += 1;
        self.next_tree - 1
    }

    /// The catalog after a swap. All that may go wrong goes wrong here, before anything is logged.
    fn swapped(
        &mut self,
        planning: &Planning,
        record: &SwapRecord,
    ) -> Result<Swapped, EngineError> {
        let build = record.build.map(BuildId);
        let versions = build.map(|build| self.catalog.versions_of(build)).unwrap_or_default();
        let mut gone: Vec<RelationId> = versions.iter().map(|(_, v)| v.replaces).collect();
        let mut defined = BTreeMap::new();
        let mut from = BTreeMap::new();
        for (relation, _) in &versions {
            defined
                .insert(relation.id, (relation.sql.clone(), numbers(relation), relation.created));
        }
        for moved in &record.moved {
            let (old, to) = (RelationId(moved.from), RelationId(moved.to));
            let created = self.catalog.by_id(old).map_or(self.commit, |old| old.created);
            defined.insert(to, (moved.sql.clone(), moved.trees.clone(), created));
            from.insert(to, old);
            gone.push(old);
        }
        let mut functions = read_functions(planning, &record.functions)?;
        let mut catalog = Catalog::clone(&self.catalog);
        if let Some(build) = build {
            functions.extend_from_slice(catalog.functions_of(build));
            catalog = catalog.without_build(build);
        }
        catalog = catalog.with_functions(catalog.functions().with(&functions)).without(&gone);
        let mut relations = Vec::with_capacity(defined.len());
        for (id, (sql, trees, created)) in defined {
            let statement = planning.statement(&sql)?;
            let trees = Some(trees.as_slice());
            let relation =
                self.define_in(&catalog, planning, &statement, &sql, id, created, trees)?;
            let relation = Arc::new(relation);
            catalog = catalog.with(Arc::clone(&relation));
            relations.push(relation);
        }
        Ok(Swapped { catalog, gone, relations, from })
    }

    fn install_swap(
        &mut self,
        swapped: Swapped,
    ) -> Result<Vec<(TreeId, RecordBatch)>, EngineError> {
        let Swapped { catalog, gone, relations, from } = swapped;
        let kept = relations.iter().flat_map(|relation| &relation.trees).map(|tree| tree.id);
        let kept: HashSet<TreeId> = kept.collect();
        let mut had = HashSet::new();
        let mut before = BTreeMap::new();
        for id in gone {
            let Some(relation) = self.catalog.by_id(id) else { continue };
            for tree in relation.trees.iter().map(|tree| tree.id) {
                had.insert(tree);
                if !kept.contains(&tree) {
                    self.store.drop_tree(tree)?;
                }
            }
            before.extend(self.views.remove(&id).map(|view| (id, (view.build, view.clock))));
        }
        self.catalog = Arc::new(catalog);
        let mut batches = Vec::new();
        for relation in relations {
            let id = relation.id;
            if !from.contains_key(&id) {
                if let Some(view) = self.views.get_mut(&id) {
                    view.relation = relation;
                }
            } else if relation.trees.iter().all(|tree| had.contains(&tree.id)) {
                let Body::View(body) = &relation.body else { continue };
                let (graph, _) = build_graph(&body.plan, &self.limits)?;
                // When this is a replay, one that was complete then may still have to be built.
                let before = from.get(&id).and_then(|id| before.remove(id));
                let (build, clock) = before.unwrap_or((Build::Ready, ViewClock::default()));
                let view = ViewState { relation, graph, build, clock, begun: None };
                self.views.insert(id, view);
            } else {
                batches.extend(self.install_as(relation, None)?.batches);
            }
        }
        self.refollow();
        Ok(batches)
    }

    /// Views tell their changes to those that read them, and to nobody else.
    pub(crate) fn refollow(&mut self) {
        let stepped = self.views.values().filter(|view| view.is_stepped());
        let mut followed = HashSet::new();
        for view in stepped {
            if let Body::View(body) = &view.relation.body {
                followed.extend(body.sources.iter().map(|(source, _)| *source));
            }
        }
        for (id, view) in &mut self.views {
            let wanted = followed.contains(id) || view.relation.sink().is_some();
            if view.graph.followed() != wanted {
                view.graph.follow(wanted);
            }
        }
    }

    fn is_complete(&self, build: BuildId) -> bool {
        let versions = self.catalog.versions_of(build);
        versions.iter().all(|(relation, _)| {
            self.views.get(&relation.id).is_some_and(|view| matches!(view.build, Build::Ready))
        })
    }
}

impl Committer {
    /// Replaces views and functions by what is wished for; `None` when nothing changes. All views are there.
    pub(crate) fn replace(&mut self, wish: &Wish) -> Result<Option<CommitId>, EngineError> {
        for wanted in &wish.views {
            let name = &wanted.create.name.value;
            let Some(there) = self.state.catalog.get(name) else {
                return Err(missing(&self.state.catalog, name));
            };
            check_kind(ObjectKind::View, there, "CREATE OR REPLACE")?;
        }
        if self.state.builds_already(wish) {
            return Ok(None);
        }
        let given_up = self.state.superseded(wish)?;
        let catalog =
            given_up.iter().fold(Catalog::clone(&self.state.catalog), |catalog, build| {
                catalog.without_build(*build)
            });
        let shared = Arc::clone(&self.shared);
        let created = self.state.commit.next();
        let views = self.state.plan_replacement(&shared.planning, &catalog, wish, created)?;
        for view in &views {
            self.state.given_up.remove(&view.old.name);
        }
        let mut commit = None;
        for build in given_up {
            commit = Some(self.give_up(build)?);
        }
        if views.iter().any(|view| view.fate == Fate::Built) {
            return self.begin_build(&views, wish).map(Some);
        }
        let changes = wish.changes(&self.state.catalog);
        if changes || views.iter().any(|view| view.fate == Fate::Kept) {
            return self.swap_kept(views, wish).map(Some);
        }
        Ok(commit)
    }

    fn begin_build(&mut self, views: &[Concerned], wish: &Wish) -> Result<CommitId, EngineError> {
        let commit = self.state.commit.next();
        let built = || views.iter().filter(|view| view.fate == Fate::Built);
        let record = BuildRecord {
            versions: built()
                .map(|view| VersionRecord {
                    id: view.new.id.0,
                    replaces: view.old.id.0,
                    sql: view.new.sql.clone(),
                    trees: numbers(&view.new),
                })
                .collect(),
            moves: views
                .iter()
                .filter(|view| view.fate == Fate::Moved)
                .map(|view| MoveRecord { from: view.old.id.0, to: view.new.id.0 })
                .collect(),
            functions: wish.statements(),
        };
        self.log_definition(&Definition::Build(record.clone()), commit)?;
        let shared = Arc::clone(&self.shared);
        let begun = self.state.replay_build(&shared.planning, commit, &record);
        let batches = begun.inspect_err(|error| self.state.store.poison(&error.message))?;
        self.publish(commit, batches)?;
        self.start_waiting();
        self.ripen()?;
        Ok(commit)
    }

    /// Nothing has to be built: the trees stay, and are read in another way.
    fn swap_kept(&mut self, views: Vec<Concerned>, wish: &Wish) -> Result<CommitId, EngineError> {
        let moved = |view: Concerned| MovedRecord {
            from: view.old.id.0,
            to: view.new.id.0,
            sql: view.new.sql.clone(),
            trees: numbers(&view.old),
        };
        let moved = views.into_iter().map(moved).collect();
        self.carry_out(&SwapRecord { build: None, moved, functions: wish.statements() })
    }

    fn carry_out(&mut self, record: &SwapRecord) -> Result<CommitId, EngineError> {
        let shared = Arc::clone(&self.shared);
        let swapped = self.state.swapped(&shared.planning, record)?;
        let commit = self.state.commit.next();
        self.log_definition(&Definition::Swap(record.clone()), commit)?;
        let installed = self.state.install_swap(swapped);
        let batches = installed.inspect_err(|error| self.state.store.poison(&error.message))?;
        self.publish(commit, batches)?;
        self.start_waiting();
        Ok(commit)
    }

    /// Asks for the swap of every build that has become complete.
    pub(crate) fn ripen(&mut self) -> Result<(), EngineError> {
        if self.shared.is_stopping() {
            // The next start asks.
            return Ok(());
        }
        for build in self.state.catalog.builds() {
            if !self.state.ripe.contains(&build) && self.state.is_complete(build) {
                self.state.ripe.insert(build);
                self.shared.start_build(Task::Finish { build, complete: self.state.commit })?;
            }
        }
        Ok(())
    }

    /// Swaps in the versions of a build that a manifest holds complete.
    pub(crate) fn swap(&mut self, build: BuildId) -> Result<(), EngineError> {
        if !self.state.catalog.builds().contains(&build) || !self.state.is_complete(build) {
            return Ok(());
        }
        let record = self.state.swap_record(build);
        self.carry_out(&record)?;
        self.state.ripe.remove(&build);
        Ok(())
    }
}
