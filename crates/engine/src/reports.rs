//! What running sources say of themselves, for `yeoul.sources`.
//!
//! The engine knows what came from a source; only the source knows whether it goes on, what it could
//! not do, how much there is to read, and who else reads. It says so here; nothing of it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use yeoul_batch::Clock;

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
    /// It waits until what it has read is taken.
    Paused,
    /// Another member of its group reads it.
    Elsewhere,
}

impl SourceState {
    /// Whether it may still deliver.
    pub(crate) fn goes_on(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Elsewhere)
    }

    /// The word in `yeoul.sources`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// Over how long rows are counted to tell how many come in a second.
const RATE_US: i64 = 5_000_000;

/// How many rows come in a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// Since when they are counted, and how many have come since.
    since_us: i64,
    rows: u64,
    /// How many came in a second before.
    before: f64,
}

impl Rate {
    pub(crate) fn note(&mut self, rows: u64, now_us: i64) {
        if self.since_us == 0 {
            self.since_us = now_us;
        } else if now_us.saturating_sub(self.since_us) >= RATE_US {
            *self = Self { since_us: now_us, rows: 0, before: self.at(now_us) };
        }
        self.rows += rows;
    }

    /// The rate at `now_us`.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown, not counted with")]
    pub(crate) fn at(self, now_us: i64) -> f64 {
        let elapsed_us = now_us.saturating_sub(self.since_us);
        if elapsed_us < RATE_US { self.before } else { self.rows as f64 * 1e6 / elapsed_us as f64 }
    }
}

/// What a source said last of one of its partitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportedPartition {
    /// Bytes read, where that is known.
    pub bytes: Option<u64>,
    /// How many rows come in a second, where that is known.
    pub rate: Option<Rate>,
    /// Where it ends, in the unit of its position, where that is known.
    pub end: Option<u64>,
    /// Whether it goes on, where that differs from its source.
    pub state: Option<SourceState>,
}

/// What one source said last.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    pub state: SourceState,
    pub error: Option<String>,
    /// The error before it could go on, and when it was.
    pub last_error: Option<(String, i64)>,
    pub partitions: BTreeMap<Arc<str>, ReportedPartition>,
    /// How often its partitions were divided anew.
    pub rebalances: Option<u64>,
    /// What the last of these did.
    pub rebalance: Option<String>,
    /// And why, where that is known.
    pub rebalance_reason: Option<String>,
}

/// Where a source says how it is. Cloning gives another handle to the same report.
#[derive(Clone)]
pub struct SourceReport {
    reported: Arc<Mutex<Reported>>,
    clock: Arc<dyn Clock>,
}

impl SourceReport {
    /// It goes on, or has ended.
    pub fn state(&self, state: SourceState) {
        self.reported.lock().state = state;
    }

    /// What it could not do; `None` when it could since.
    pub fn error(&self, error: Option<String>) {
        let mut reported = self.reported.lock();
        if let Some(error) = &error {
            reported.last_error = Some((error.clone(), self.clock.now_us()));
        }
        reported.error = error;
    }

    /// It has read so many more bytes of a partition, and their rows are stored.
    pub fn read(&self, partition: &Arc<str>, bytes: u64) {
        let mut reported = self.reported.lock();
        let of = reported.partitions.entry(Arc::clone(partition)).or_default();
        of.bytes = Some(of.bytes.unwrap_or(0) + bytes);
    }

    /// So many more rows of a partition have come.
    pub fn rows(&self, partition: &Arc<str>, rows: u64) {
        let now_us = self.clock.now_us();
        let mut reported = self.reported.lock();
        let of = reported.partitions.entry(Arc::clone(partition)).or_default();
        of.rate.get_or_insert_default().note(rows, now_us);
    }

    /// Where a partition ends now.
    pub fn end(&self, partition: &Arc<str>, end: u64) {
        self.reported.lock().partitions.entry(Arc::clone(partition)).or_default().end = Some(end);
    }

    /// Whether a partition goes on; `None`: as its source does.
    pub fn partition(&self, partition: &Arc<str>, state: Option<SourceState>) {
        self.reported.lock().partitions.entry(Arc::clone(partition)).or_default().state = state;
    }

    /// Its partitions were divided anew so often; why the last time, where that is known.
    pub fn rebalanced(&self, times: u64, why: Option<String>) {
        let mut reported = self.reported.lock();
        reported.rebalances = Some(times);
        reported.rebalance_reason = why.or(reported.rebalance_reason.take());
    }

    /// What was done when its partitions were divided anew.
    pub fn shared_out(&self, what: String) {
        self.reported.lock().rebalance = Some(what);
    }
}

/// The reports of all sources.
#[derive(Default)]
pub(crate) struct Reports(Mutex<BTreeMap<(RelationId, String), SourceReport>>);

impl Reports {
    /// What each source of the relations of `catalog` said last; forgets the others.
    pub(crate) fn all(&self, catalog: &Catalog) -> BTreeMap<(RelationId, String), Reported> {
        let mut reports = self.0.lock();
        reports.retain(|(relation, _), _| catalog.by_id(*relation).is_some());
        let last = |report: &SourceReport| report.reported.lock().clone();
        reports.iter().map(|(key, report)| (key.clone(), last(report))).collect()
    }
}

impl Engine {
    /// Where the source called `source` of `stream` reports from now on. It is running.
    #[must_use]
    pub fn report_source(&self, stream: &StreamHandle, source: &str) -> SourceReport {
        let reported = Reported {
            state: SourceState::Running,
            error: None,
            last_error: None,
            partitions: BTreeMap::new(),
            rebalances: None,
            rebalance: None,
            rebalance_reason: None,
        };
        let clock = Arc::clone(&self.shared.clock);
        let report = SourceReport { reported: Arc::new(Mutex::new(reported)), clock };
        let key = (stream.0.id, source.to_owned());
        self.shared.reports.0.lock().insert(key, report.clone());
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_what_comes_and_falls_when_nothing_does() {
        let mut rate = Rate::default();
        for step in 0..100_i64 {
            rate.note(50, 1_000_000 + step * 100_000);
        }
        assert!((rate.at(11_000_000) - 500.0).abs() < 11.0, "{rate:?}");
        let later = rate.at(101_000_000);
        assert!(later < 30.0, "{later}");
        rate.note(0, 102_000_000);
        assert!(rate.at(108_000_000) < f64::EPSILON);
    }
}
