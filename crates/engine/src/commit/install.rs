//! Relations that come into the state, by a commit or by its replay.
//!
//! What must hold: what the log says is installed. A view whose query fails over nothing (`1 / count(*)`) is there,
//! stopped, until the next commit drops it, and so it is after a replay that ends between the two.

use std::sync::Arc;

use arrow::array::RecordBatch;
use yeoul_batch::TreeId;
use yeoul_flow::StepTime;

use super::clock::ViewClock;
use super::state::{State, fail};
use super::stream::StreamState;
use super::views::{Build, BuildStatus, ViewState};
use crate::catalog::{Body, Relation, Version, build_graph};
use crate::error::EngineError;

/// What came of a new relation.
pub(crate) struct Installed {
    /// What it holds over nothing.
    pub batches: Vec<(TreeId, RecordBatch)>,
    /// Why it holds nothing: its query fails.
    pub stopped: Option<EngineError>,
}

impl State {
    /// Makes `relation` part of the state.
    pub(crate) fn install(&mut self, relation: Relation) -> Result<Installed, EngineError> {
        self.install_as(Arc::new(relation), None)
    }

    /// The same; a version is not seen under its name.
    pub(crate) fn install_as(
        &mut self,
        relation: Arc<Relation>,
        version: Option<Version>,
    ) -> Result<Installed, EngineError> {
        for tree in &relation.trees {
            self.store.create_tree(tree.clone())?;
        }
        let stream = match &relation.body {
            Body::Stream(body) => {
                let seen = self.open_seen(relation.id, body)?;
                // From now on it may be idle.
                let active_us = body.idle_us.map(|_| self.time_us);
                Some(StreamState::new(body, seen).active_at(active_us))
            }
            _ => None,
        };
        match version {
            Some(version) => {
                let next = self.catalog.with_version(Arc::clone(&relation), version);
                self.catalog = Arc::new(next);
            }
            None => self.add(Arc::clone(&relation), stream),
        }
        self.add_sink(&relation);
        let (mut batches, mut stopped) = (Vec::new(), None);
        if let Body::View(body) = &relation.body {
            let (mut graph, _) = build_graph(&body.plan, &self.limits)?;
            graph.follow(body.sink.is_some());
            let build = self.first_build(&relation);
            let clock = ViewClock::default();
            let relation = Arc::clone(&relation);
            let id = relation.id;
            let mut view = ViewState { relation, graph, build, clock, begun: None };
            if view.is_stepped()
                && let Err(error) = self.begin(&mut view, &mut batches)
            {
                batches.clear();
                fail(&mut view, &error);
                stopped = Some(error);
            }
            self.views.insert(id, view);
            self.note_complete(id);
        }
        Ok(Installed { batches, stopped })
    }

    /// Puts a view's operators over nothing, and lets the views it reads tell it their changes.
    pub(crate) fn begin(
        &mut self,
        view: &mut ViewState,
        batches: &mut Vec<(TreeId, RecordBatch)>,
    ) -> Result<(), EngineError> {
        let snapshot = self.store.snapshot();
        let time = StepTime { now_us: self.time_us, ..StepTime::default() };
        let before = batches.len();
        self.begin_sink(view.relation.id);
        view.begin((time, self.stamp()), batches, &snapshot, &self.workers)?;
        view.begun = (batches.len() > before).then_some(self.commit);
        if let Body::View(body) = &view.relation.body {
            for (source, _) in &body.sources {
                if let Some(source) = self.views.get_mut(source) {
                    source.graph.follow(true);
                }
            }
        }
        Ok(())
    }

    /// How a new view has to be built: not at all when its sources are empty.
    pub(super) fn first_build(&self, relation: &Relation) -> Build {
        let Body::View(body) = &relation.body else { return Build::Ready };
        let snapshot = self.store.snapshot();
        let mut empty = true;
        for (_, source, _) in body.inputs() {
            // What a view of this commit holds is stored with it.
            let unready =
                |v: &ViewState| !matches!(v.build, Build::Ready) || v.begun == Some(self.commit);
            if self.views.get(&source).is_some_and(unready) {
                return Build::Waiting(Arc::new(BuildStatus::default()));
            }
            let stored = self
                .catalog
                .by_id(source)
                .and_then(|source| snapshot.tree(source.tree()))
                .is_some_and(|tree| tree.rows() > 0);
            let global =
                self.catalog.by_id(source).is_some_and(|source| has_row_over_nothing(source));
            empty &= !stored && !global;
        }
        if empty { Build::Ready } else { Build::Waiting(Arc::new(BuildStatus::default())) }
    }
}

/// Whether a relation has a row even when nothing was stored: a view that aggregates without groups.
fn has_row_over_nothing(relation: &Relation) -> bool {
    match (&relation.body, &relation.view) {
        (Body::View(_), crate::scan::TreeView::Merged { rule, .. }) => rule.key().is_empty(),
        _ => false,
    }
}
