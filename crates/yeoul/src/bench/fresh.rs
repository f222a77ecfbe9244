//! W7 and W11: from sending an event to seeing it in an answer, under load, and while a view is built
//! from stored rows beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::child::Instance;
use super::served::{SENDERS, Sent, number, shop_sql, under_load};
use super::{Figures, Place, round, tables};
use crate::demo::load::{agent, percentile, post};
use crate::failure::Failure;
use crate::shell::Backend;

/// The load beside.
const EVENTS_PER_S: u64 = 50_000;
/// How often it is asked.
const PROBES: usize = 2_000;
/// How long a probe may take.
const PROBE_MAX: Duration = Duration::from_secs(60);
/// Between two questions for a probe: asking as fast as possible would take a core from who answers.
const ASK_AGAIN: Duration = Duration::from_millis(1);
/// Between an answer and the next probe.
const PAUSE: Duration = Duration::from_millis(15);

/// Sends small rows and times their way to an answer.
pub(super) struct Prober {
    url: String,
    ask: Option<mpsc::Sender<usize>>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
    sent: usize,
}

impl Prober {
    fn new(instance: &Instance) -> Self {
        let (url, agent) = (instance.ingest_url("probes"), agent());
        Self::sending(instance.url(), move |n| {
            post(&agent, &url, format!("{{\"n\":{n}}}\n").as_bytes(), &mut || {}).map(drop)
        })
    }

    /// A prober of the instance that answers at `url`; `send` sends a row.
    pub(super) fn sending(
        url: String,
        mut send: impl FnMut(usize) -> Result<(), Failure> + Send + 'static,
    ) -> Self {
        let (ask, tell) = mpsc::channel::<usize>();
        let thread = thread::spawn(move || {
            while let Ok(n) = tell.recv() {
                send(n)?;
            }
            Ok(())
        });
        Self { url, ask: Some(ask), thread: Some(thread), sent: 0 }
    }

    /// How many probes were sent.
    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// Milliseconds of each probe, while `more` says so of their number.
    pub(super) fn waits(
        &mut self,
        runtime: &Runtime,
        more: impl Fn(usize) -> bool,
    ) -> Result<Vec<f64>, Failure> {
        let ask = self.ask.as_ref().ok_or_else(|| Failure::new("the prober has ended"))?;
        runtime.block_on(async {
            let mut backend = Backend::connect(&self.url).await?;
            let mut waits = Vec::with_capacity(PROBES);
            while more(waits.len()) {
                self.sent += 1;
                let begun = Instant::now();
                ask.send(self.sent).map_err(|_| Failure::new("the prober ended"))?;
                while number(&mut backend, "SELECT newest FROM probe").await? < self.sent as u64 {
                    if begun.elapsed() > PROBE_MAX {
                        return Err(Failure::new("a probe was not seen within a minute"));
                    }
                    // The longer it takes, the less often: asking takes what the rest needs, too.
                    tokio::time::sleep(ASK_AGAIN.max(begun.elapsed() / 25)).await;
                }
                waits.push(begun.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(PAUSE).await;
            }
            Ok(waits)
        })
    }

    fn end(mut self) -> Result<(), Failure> {
        drop(self.ask.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            _ => Err(Failure::new("the prober broke")),
        }
    }
}

pub(super) fn percentiles(figures: &mut Figures, before: &str, mut waits: Vec<f64>) {
    waits.sort_by(f64::total_cmp);
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)] {
        figures.ms(&format!("{before}{name}"), percentile(&waits, part));
    }
}

fn start(runtime: &Runtime, place: &Place, name: &str) -> Result<Instance, Failure> {
    let sql = format!("{}\n{}", shop_sql(), tables::PROBES);
    Instance::start(runtime, &place.fresh(name)?, &sql, "SELECT 1")
}

/// W7: from sending an event to seeing it in the answer of a query.
pub(super) fn w7(place: &Place) -> Result<Figures, Failure> {
    let runtime = Runtime::new()?;
    let instance = start(&runtime, place, "yeoul-w7")?;
    let mut prober = Prober::new(&instance);
    let load = instance.ingest_url("events");
    let begun = Instant::now();
    let (waits, sent) = under_load(&load, place.seed, 1, EVENTS_PER_S, || {
        thread::sleep(Duration::from_secs(2));
        prober.waits(&runtime, |probes| probes < PROBES)
    })?;
    prober.end()?;
    let mut figures = Figures::new("W7", sent.events.load(Ordering::Relaxed));
    figures.took(begun.elapsed().as_secs_f64());
    percentiles(&mut figures, "", waits);
    figures.cpu_s = Some(round(instance.meter().cpu_s(), 2));
    figures.peak_mib = Some(instance.meter().peak_mib());
    figures.note = format!("{PROBES} probes at {EVENTS_PER_S} events/s");
    Ok(figures)
}

/// W11: the same load, first by itself, then while a view is built from the stored rows beside it.
pub(super) fn w11(place: &Place) -> Result<Figures, Failure> {
    let runtime = Runtime::new()?;
    let instance = start(&runtime, place, "yeoul-w11")?;
    let load = instance.ingest_url("events");
    let stored = fill(&load, place)?;
    let mut prober = Prober::new(&instance);
    let (quiet, before) = under_load(&load, place.seed + 1, 1, EVENTS_PER_S, || {
        thread::sleep(Duration::from_secs(2));
        prober.waits(&runtime, |probes| probes < PROBES)
    })?;
    let begun = Instant::now();
    let ((built_s, busy), beside) = under_load(&load, place.seed + 2, 1, EVENTS_PER_S, || {
        let done = Arc::new(AtomicBool::new(false));
        let build = built(&instance, Arc::clone(&done));
        let busy = prober.waits(&runtime, |_| !done.load(Ordering::Acquire))?;
        let built_s = build.join().map_err(|_| Failure::new("the build broke"))??;
        Ok((built_s, busy))
    })?;
    let load_s = begun.elapsed().as_secs_f64();
    prober.end()?;
    let rate = |sent: &Sent, seconds: f64| sent.events.load(Ordering::Relaxed) as f64 / seconds;
    let sent = stored + before.accepted.load(Ordering::Relaxed);
    let live = beside.accepted.load(Ordering::Relaxed);
    let mut figures = Figures::new("W11", sent);
    figures.took(built_s);
    percentiles(&mut figures, "quiet_", quiet);
    figures.note = format!(
        "a view built from stored rows, {} probes at {:.0} events/s beside it",
        busy.len(),
        rate(&beside, load_s)
    );
    percentiles(&mut figures, "building_", busy);
    figures.peak_mib = Some(instance.meter().peak_mib());
    let held = runtime.block_on(async {
        let mut backend = Backend::connect(&instance.url()).await?;
        number(&mut backend, "SELECT CAST(sum(events) AS BIGINT) FROM pairs").await
    })?;
    figures.check = format!("sent {} in the view {held}", sent + live);
    if held != sent + live {
        return Err(Failure::new(format!("rows were lost or doubled: {}", figures.check)));
    }
    Ok(figures)
}

/// Sends as much as is taken until there are enough rows; how many there are.
fn fill(load: &str, place: &Place) -> Result<u64, Failure> {
    let (mut stored, mut round) = (0, 0);
    while stored < place.events {
        let seed = place.seed + 100 + round * SENDERS;
        let ((), sent) = under_load(load, seed, SENDERS, 0, || {
            thread::sleep(Duration::from_millis(500));
            Ok(())
        })?;
        stored += sent.accepted.load(Ordering::Relaxed);
        round += 1;
    }
    Ok(stored)
}

/// Creates a view over all stored rows; the seconds until it was complete.
fn built(instance: &Instance, done: Arc<AtomicBool>) -> JoinHandle<Result<f64, Failure>> {
    let url = instance.url();
    thread::spawn(move || {
        let begun = Instant::now();
        let outcome = Runtime::new().map_err(Failure::from).and_then(|runtime| {
            runtime.block_on(async {
                let mut backend = Backend::connect(&url).await?;
                backend.ask(tables::PAIRS.trim_end_matches(';')).await
            })
        });
        done.store(true, Ordering::Release);
        outcome.map(|_| begun.elapsed().as_secs_f64())
    })
}
