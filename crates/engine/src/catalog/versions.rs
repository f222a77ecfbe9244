//! Versions of views that are being built beside those they will replace.
//!
//! A version is in the catalog by its number only: its name leads to what it replaces until the two are
//! swapped. `docs/design/change.md` says what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use yeoul_sql::FunctionKey;

use super::{Catalog, Function, Relation, RelationId};

/// Versions that are swapped in together; the number of the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BuildId(pub u32);

/// What a version is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Which relation it will replace.
    pub replaces: RelationId,
    /// With which others.
    pub build: BuildId,
}

impl Catalog {
    /// What the relation `id` is a version for, if it is one.
    pub(crate) fn version(&self, id: RelationId) -> Option<Version> {
        self.versions.get(&id).copied()
    }

    /// The version that will replace `id`.
    pub(crate) fn version_for(&self, id: RelationId) -> Option<(&Arc<Relation>, Version)> {
        let (version, of) = self.versions.iter().find(|(_, version)| version.replaces == id)?;
        Some((self.by_id.get(version)?, *of))
    }

    /// The versions of `build`, those that others read first.
    pub(crate) fn versions_of(&self, build: BuildId) -> Vec<(Arc<Relation>, Version)> {
        let of_build = self.versions.iter().filter(|(_, version)| version.build == build);
        of_build.filter_map(|(id, version)| Some((self.by_id.get(id)?.clone(), *version))).collect()
    }

    /// The views that `build` moves, by the numbers they will have.
    pub(crate) fn moves_of(&self, build: BuildId) -> Vec<(RelationId, Version)> {
        let all = self.moves.iter().filter(|(_, version)| version.build == build);
        all.map(|(to, version)| (*to, *version)).collect()
    }

    /// All moves.
    pub(crate) fn moves(&self) -> impl Iterator<Item = (RelationId, Version)> {
        self.moves.iter().map(|(to, version)| (*to, *version))
    }

    /// The builds under way.
    pub(crate) fn builds(&self) -> BTreeSet<BuildId> {
        self.versions.values().map(|version| version.build).collect()
    }

    /// The views of `build` whose definition changes, or that call a function that does; the others only
    /// read them.
    pub(crate) fn replaced_by(&self, build: BuildId) -> Vec<Arc<Relation>> {
        let functions = self.function_keys_of(build);
        self.replaced(build, |old, new| old.sql != new.sql || old.calls(&functions))
    }

    /// The views of `build` that get another text.
    pub(crate) fn rewritten_by(&self, build: BuildId) -> Vec<Arc<Relation>> {
        self.replaced(build, |old, new| old.sql != new.sql)
    }

    fn replaced(
        &self,
        build: BuildId,
        which: impl Fn(&Relation, &Relation) -> bool,
    ) -> Vec<Arc<Relation>> {
        let versions = self.versions_of(build).into_iter();
        let old = versions.filter_map(|(new, version)| {
            let old = self.by_id(version.replaces)?;
            which(old, &new).then(|| Arc::clone(old))
        });
        old.collect()
    }

    /// The functions that become others when `build` is swapped in.
    pub(crate) fn functions_of(&self, build: BuildId) -> &[Arc<Function>] {
        self.build_functions.get(&build).map_or(&[], Vec::as_slice)
    }

    /// Which they are.
    pub(crate) fn function_keys_of(&self, build: BuildId) -> Vec<FunctionKey> {
        self.functions_of(build).iter().map(|function| function.function.key()).collect()
    }

    /// With the functions that `build` changes when it is swapped in.
    #[must_use]
    pub(crate) fn with_build_functions(
        &self,
        build: BuildId,
        functions: Vec<Arc<Function>>,
    ) -> Self {
        let mut next = self.clone();
        if !functions.is_empty() {
            next.build_functions.insert(build, functions);
        }
        next
    }

    /// With one more version.
    #[must_use]
    pub(crate) fn with_version(&self, relation: Arc<Relation>, version: Version) -> Self {
        let mut next = self.clone();
        next.versions.insert(relation.id, version);
        next.by_id.insert(relation.id, relation);
        next
    }

    /// With the number `to` for a view that a build moves.
    #[must_use]
    pub(crate) fn with_move(&self, to: RelationId, version: Version) -> Self {
        let mut next = self.clone();
        next.moves.insert(to, version);
        next
    }

    /// Without the versions of `build` and what is noted of it.
    #[must_use]
    pub(crate) fn without_build(&self, build: BuildId) -> Self {
        let ids: Vec<_> = self.versions_of(build).iter().map(|(relation, _)| relation.id).collect();
        let mut next = self.without(&ids);
        next.moves.retain(|_, version| version.build != build);
        next
    }

    /// As the versions of `build` see it: names lead to them, and functions are what they will be.
    #[must_use]
    pub(crate) fn seen_by(&self, build: BuildId) -> Self {
        let seen = self.with_functions(self.functions.with(self.functions_of(build)));
        self.versions_of(build).into_iter().fold(seen, |seen, (version, _)| seen.with(version))
    }

    /// The views that can be named and that read one of `ids`, directly or through others, in order and
    /// without `ids`.
    pub(crate) fn downstream_of(&self, ids: &[RelationId]) -> Vec<Arc<Relation>> {
        let mut reached: BTreeSet<RelationId> = ids.iter().copied().collect();
        let mut found = Vec::new();
        // A reader has a greater number than what it reads.
        for relation in self.in_order() {
            let reads = reached.iter().any(|id| relation.reads(*id));
            if reads && !self.versions.contains_key(&relation.id) && reached.insert(relation.id) {
                found.push(relation);
            }
        }
        found
    }
}
