//! Builds that end without a swap: one that failed, was cancelled, or whose views are dropped.

use yeoul_batch::CommitId;
use yeoul_sql::ObjectKind;

use super::committer::Committer;
use super::define::Definition;
use super::drop::check_kind;
use super::state::State;
use super::views::Build;
use crate::catalog::{BuildId, RelationId, Version};
use crate::error::{EngineError, ErrorKind};
use crate::planning::missing;

impl State {
    /// Why a version of `build` cannot be completed, if one cannot.
    fn failed_build(&self, build: BuildId) -> Option<String> {
        let versions = self.catalog.versions_of(build);
        versions.iter().find_map(|(relation, _)| match &self.views.get(&relation.id)?.build {
            Build::Failed(status) => status.failed.lock().clone(),
            _ => None,
        })
    }
}

impl Committer {
    /// Drops the versions of a build.
    pub(super) fn give_up(&mut self, build: BuildId) -> Result<CommitId, EngineError> {
        let versions = self.state.catalog.versions_of(build);
        let mut ids: Vec<RelationId> = versions.iter().map(|(relation, _)| relation.id).collect();
        ids.reverse();
        let commit = self.state.commit.next();
        let definition = Definition::Drop { ids: ids.iter().map(|id| id.0).collect() };
        self.log_definition(&definition, commit)?;
        self.state.remove(&ids)?;
        self.publish(commit, Vec::new())?;
        Ok(commit)
    }

    /// Gives up the builds that failed, and keeps in mind why.
    pub(crate) fn give_up_failed(&mut self) {
        if self.state.store.poisoned().is_some() {
            // It cannot be logged, and the next start does it.
            return;
        }
        for build in self.state.catalog.builds() {
            let Some(why) = self.state.failed_build(build) else { continue };
            for view in self.state.catalog.replaced_by(build) {
                tracing::error!(view = view.name, "the view is not replaced: {why}");
                self.state.given_up.insert(view.name.clone(), why.clone());
            }
            if let Err(error) = self.give_up(build) {
                tracing::error!("the failed version cannot be dropped: {error}");
            }
        }
    }

    /// `ALTER MATERIALIZED VIEW name CANCEL REPLACE`.
    pub(crate) fn cancel_replacement(&mut self, name: &str) -> Result<CommitId, EngineError> {
        let Some(view) = self.state.catalog.get(name).cloned() else {
            return Err(missing(&self.state.catalog, name));
        };
        check_kind(ObjectKind::View, &view, "ALTER")?;
        let catalog = &self.state.catalog;
        let not_replaced = || {
            EngineError::new(ErrorKind::Conflict, format!("view \"{name}\" is not being replaced"))
                .with_sqlstate("55000")
        };
        let Some((_, of)) = catalog.version_for(view.id) else {
            return Err(not_replaced()
                .with_hint("column replacement of yeoul.views says what is being replaced"));
        };
        let replaced = catalog.replaced_by(of.build);
        if replaced.iter().all(|replaced| replaced.id != view.id) {
            let names: Vec<&str> = replaced.iter().map(|view| view.name.as_str()).collect();
            return Err(not_replaced()
                .with_detail(format!("it is built anew because it reads {}", names.join(", ")))
                .with_hint("cancel the replacement of that view"));
        }
        self.give_up(of.build)
    }

    /// `ids`, which are to be dropped, with the versions that go with them.
    pub(crate) fn with_versions(
        &self,
        ids: Vec<RelationId>,
        cascade: bool,
    ) -> Result<Vec<RelationId>, EngineError> {
        let catalog = &self.state.catalog;
        let mut versions = Vec::new();
        for build in catalog.builds() {
            let of_build = catalog.versions_of(build);
            let stays = |version: &Version| !ids.contains(&version.replaces);
            let reader = of_build
                .iter()
                .find(|(new, version)| stays(version) && ids.iter().any(|id| new.reads(*id)));
            if let (Some((new, _)), false) = (reader, cascade) {
                return Err(EngineError::new(
                    ErrorKind::Conflict,
                    format!("the version of view \"{}\" that is being built reads it", new.name),
                )
                .with_sqlstate("2BP01")
                .with_hint(format!(
                    "ALTER MATERIALIZED VIEW {} CANCEL REPLACE gives that version up",
                    yeoul_sql::quoted(&new.name)
                )));
            }
            let replaced = catalog.replaced_by(build);
            let all_go = reader.is_some() || replaced.iter().all(|view| ids.contains(&view.id));
            let going = of_build.iter().filter(|(_, version)| all_go || !stays(version));
            versions.extend(going.map(|(relation, _)| relation.id));
        }
        versions.reverse();
        versions.extend(ids);
        Ok(versions)
    }
}
