//! Progress of long work: a bar on a terminal, a line now and then elsewhere, nothing for short work.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use yeoul_engine::Recovery;

/// Work that is over sooner than this is not talked about.
const QUIET: Duration = Duration::from_millis(500);

/// How often a line is logged where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Shows how far something is.
pub(crate) struct Progress {
    what: &'static str,
    begun: Instant,
    logged: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For work that is named `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        let now = Instant::now();
        Self { what, begun: now, logged: now, bar: None }
    }

    /// Recovery went on.
    pub(crate) fn recovery(&mut self, recovery: Recovery) {
        self.show(recovery.done_bytes, recovery.total_bytes);
    }

    /// `done` of `total` bytes are done.
    pub(crate) fn show(&mut self, done: u64, total: u64) {
        if self.begun.elapsed() < QUIET {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template(
                    "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                );
                let bar = ProgressBar::new(total).with_message(self.what);
                style.map_or(bar.clone(), |style| bar.with_style(style))
            });
            bar.set_length(total);
            bar.set_position(done);
        } else if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
            tracing::info!("{} {percent} %", self.what);
        }
    }

    /// It is done.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        let took = self.begun.elapsed();
        if took >= QUIET {
            tracing::info!("{} took {:.1} s", self.what, took.as_secs_f64());
        }
    }
}
