//! Time in views: what a step knows of it, and commits that nothing but time is in.
//!
//! ```text
//!   clock of the commit ──────────────────────────▶ now()
//!   least watermark of the streams beneath ───────▶ which windows are closed
//! ```
//!
//! A view that goes by time is stepped with every commit in which something changes for it. When no rows come, the
//! commit thread makes a commit of its own, a *tick*, whose record has only its time: at most one a second for the
//! clock, and one whenever windows close. When nothing is due there is none.
//!
//! What must hold: what a step knows of time follows from the log, so that a replay does what was done.

use yeoul_batch::CommitId;
use yeoul_flow::StepTime;

use super::committer::Committer;
use super::state::{Rows, State};
use super::views::{Build, ViewState};
use crate::catalog::{Body, Catalog, RelationId};
use crate::error::EngineError;
use crate::record::CommitRecord;

/// How long a view is not stepped by the clock alone after it was stepped.
const CLOCK_STEP_US: i64 = 1_000_000;

/// Where a view stands in time, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ViewClock {
    /// Up to where its windows are closed.
    pub closed_us: Option<i64>,
    /// The clock at its last step.
    pub stepped_us: i64,
}

impl ViewState {
    /// Whether it has to be stepped at `time`, though nothing comes.
    pub(super) fn is_due(&self, time: StepTime) -> bool {
        let clock_moved = time.now_us.saturating_sub(self.clock.stepped_us) >= CLOCK_STEP_US;
        self.graph.is_closing(time) || (clock_moved && self.graph.is_due(time.now_us))
    }
}

impl State {
    /// What a step of `view` at `now_us` knows of time. A view that is being built closes no windows: rows that are
    /// stored come in any order.
    pub(super) fn step_time(&self, view: &ViewState, now_us: i64) -> StepTime {
        let closed_us = view.clock.closed_us;
        let closes = matches!(view.build, Build::Ready) && view.graph.needs_watermark();
        let watermark = if closes { self.watermark_of(view.relation.id, now_us) } else { None };
        StepTime { now_us, closed_us, closing_us: closed_us.max(watermark) }
    }

    /// The least watermark of the streams beneath a view, less what their rows may be late; those that are idle are
    /// passed over. `None` when one has none yet, or all are idle.
    fn watermark_of(&self, view: RelationId, now_us: i64) -> Option<i64> {
        let mut streams = Vec::new();
        streams_of(&self.catalog, view, &mut streams);
        let holding = streams.iter().filter_map(|id| self.streams.get(id));
        let holding = holding.filter(|stream| stream.holds(now_us));
        holding.map(|stream| stream.closing_us(now_us)).min().flatten()
    }

    /// Whether time alone changes something at `now_us`.
    fn is_time_due(&self, now_us: i64) -> bool {
        let now_us = now_us.max(self.time_us);
        let mut stepped = self.views.values().filter(|view| view.is_stepped());
        stepped.any(|view| view.is_due(self.step_time(view, now_us)))
    }
}

/// The streams that a view reads, itself or through others.
fn streams_of(catalog: &Catalog, id: RelationId, streams: &mut Vec<RelationId>) {
    match catalog.by_id(id).map(|relation| &relation.body) {
        Some(Body::Stream(_)) if !streams.contains(&id) => streams.push(id),
        Some(Body::View(view)) => {
            view.sources.iter().for_each(|(source, _)| streams_of(catalog, *source, streams));
        }
        _ => {}
    }
}

impl Committer {
    /// Makes a commit of time alone when something is due.
    pub(super) fn tick_if_due(&mut self, now_us: i64) {
        if self.state.store.poisoned().is_some() || !self.state.is_time_due(now_us) {
            return;
        }
        if let Err(error) = self.tick(now_us) {
            tracing::error!("views cannot go on with time: {error}");
        }
    }

    /// The commit that makes a view that was built visible: windows that are closed by now are told in it.
    pub(super) fn commit_built(&mut self) -> Result<(), EngineError> {
        let now_us = self.shared.clock.now_us();
        if self.state.is_time_due(now_us) {
            self.tick(now_us)?;
            return Ok(());
        }
        self.commit_batches(Vec::new())
    }

    fn tick(&mut self, now_us: i64) -> Result<CommitId, EngineError> {
        let commit = self.state.commit.next();
        let record = CommitRecord { tick: true, ..CommitRecord::default() };
        self.state.store.append_log(&record.encode(commit, now_us))?;
        self.apply(commit, now_us, Rows::default())
    }
}
