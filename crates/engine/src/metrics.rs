//! Counters of the engine, as Prometheus reads them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::meta::Counts;

/// Upper bounds of the commit time histogram, in microseconds.
const BUCKETS_US: [u64; 10] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    received: AtomicU64,
    stored: AtomicU64,
    duplicates: AtomicU64,
    dead_letters: AtomicU64,
    late: AtomicU64,
    pub queries: AtomicU64,
    pub query_errors: AtomicU64,
    commits: [AtomicU64; BUCKETS_US.len() + 1],
    commit_us: AtomicU64,
}

impl Metrics {
    /// How many rows were received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Counts what became of a delivery.
    pub(crate) fn delivered(&self, counts: Counts) {
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.received, counts.received);
        add(&self.stored, counts.stored);
        add(&self.duplicates, counts.duplicates);
        add(&self.dead_letters, counts.dead_letters);
        add(&self.late, counts.late);
    }

    /// Counts a commit.
    pub(crate) fn commit_took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        self.commits[bucket].fetch_add(1, Ordering::Relaxed);
        self.commit_us.fetch_add(us, Ordering::Relaxed);
    }

    /// All of them, with gauges that the caller knows: name, help, value.
    pub(crate) fn text(&self, gauges: &[(&str, &str, f64)]) -> String {
        let mut out = String::with_capacity(4096);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = [
            (
                "yeoul_rows_received_total",
                "Rows and dead letters taken from sources.",
                &self.received,
            ),
            ("yeoul_rows_stored_total", "Rows stored.", &self.stored),
            (
                "yeoul_rows_duplicate_total",
                "Rows dropped because their key was there.",
                &self.duplicates,
            ),
            ("yeoul_dead_letters_total", "Rows kept in yeoul.dead_letters.", &self.dead_letters),
            ("yeoul_rows_late_total", "Stored rows that were behind the watermark.", &self.late),
            ("yeoul_queries_total", "Statements that gave rows.", &self.queries),
            (
                "yeoul_query_errors_total",
                "Statements that ended with an error.",
                &self.query_errors,
            ),
        ];
        for (name, help, counter) in counters {
            let value = load(counter);
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n");
        }
        for (name, help, value) in gauges {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
        let name = "yeoul_commit_seconds";
        let _ =
            write!(out, "# HELP {name} Time from gathering to visible.\n# TYPE {name} histogram\n");
        let mut total = 0;
        for (bound, counter) in BUCKETS_US.iter().zip(&self.commits) {
            total += load(counter);
            let seconds = Duration::from_micros(*bound).as_secs_f64();
            let _ = writeln!(out, "{name}_bucket{{le=\"{seconds}\"}} {total}");
        }
        total += load(&self.commits[BUCKETS_US.len()]);
        let sum = Duration::from_micros(load(&self.commit_us)).as_secs_f64();
        let _ = write!(
            out,
            "{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {sum}\n{name}_count {total}\n"
        );
        out
    }
}
