//! What running sources say of themselves, for `yeoul.sources`.
//!
//! The engine knows what came from a source; only the source knows whether it goes on, what it could
//! not do, and how many bytes it has read. It says so here; nothing of it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::catalog::{Catalog, RelationId};
use crate::engine::{Engine, StreamHandle};

/// Whether a source goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It reads, or waits for more.
    Running,
    /// All it has is read and stored.
    Finished,
    /// It cannot go on; its error says why.
    Failed,
    /// It was asked to end before it had read everything.
    Stopped,
}

impl SourceState {
    /// The word in `yeoul.sources`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What one source said last.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    pub state: SourceState,
    pub error: Option<String>,
    /// Bytes read of each partition, where that is known.
    pub bytes: BTreeMap<Arc<str>, u64>,
}

/// Where a source says how it is. Cloning gives another handle to the same report.
#[derive(Clone, Debug)]
pub struct SourceReport(Arc<Mutex<Reported>>);

impl SourceReport {
    /// It goes on, or has ended.
    pub fn state(&self, state: SourceState) {
        self.0.lock().state = state;
    }

    /// What it could not do; `None` when it could since.
    pub fn error(&self, error: Option<String>) {
        self.0.lock().error = error;
    }

    /// It has read so many more bytes of a partition, and their rows are stored.
    pub fn read(&self, partition: &Arc<str>, bytes: u64) {
        *self.0.lock().bytes.entry(Arc::clone(partition)).or_default() += bytes;
    }
}

/// The reports of all sources.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<BTreeMap<(RelationId, String), SourceReport>>);

impl Reports {
    /// What each source of the relations of `catalog` said last; forgets the others.
    pub(crate) fn all(&self, catalog: &Catalog) -> BTreeMap<(RelationId, String), Reported> {
        let mut reports = self.0.lock();
        reports.retain(|(relation, _), _| catalog.by_id(*relation).is_some());
        let last = |report: &SourceReport| report.0.lock().clone();
        reports.iter().map(|(key, report)| (key.clone(), last(report))).collect()
    }
}

impl Engine {
    /// Where the source called `source` of `stream` reports from now on. It is running.
    #[must_use]
    pub fn report_source(&self, stream: &StreamHandle, source: &str) -> SourceReport {
        let state = SourceState::Running;
        let reported = Reported { state, error: None, bytes: BTreeMap::new() };
        let report = SourceReport(Arc::new(Mutex::new(reported)));
        let key = (stream.0.id, source.to_owned());
        self.shared.reports.0.lock().insert(key, report.clone());
        report
    }
}
