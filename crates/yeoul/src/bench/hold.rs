//! W8: a steady rate, broken by bursts, over HTTP, from Kafka or as a broker for producers: nothing lost, nothing
//! doubled, and how soon an event is in an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord};
use tokio::runtime::Runtime;
use yeoul_batch::Clock as _;

use super::child::Instance;
use super::fresh::{Prober, percentiles};
use super::served::{SENDERS, number, under_load};
use super::topic::{self, PARTITIONS};
use super::{Figures, Place, round, tables};
use crate::clock::SystemClock;
use crate::demo::load::{agent, post};
use crate::failure::Failure;
use crate::shell::Backend;

/// The steady load.
const EVENTS_PER_S: u64 = 100_000;
/// How often it is broken by a burst of ten times as much, or over HTTP of as much as is taken, and for how long.
const BURSTS: u64 = 3;
const BURST_S: u64 = 20;
/// How long all events may take to be in the views, when all are sent.
const SETTLED_MAX: Duration = Duration::from_secs(300);

/// How events come.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// As bodies of requests.
    Http,
    /// From producers of Kafka that send to the instance.
    Wire,
    /// From a topic of these brokers.
    Brokers(String),
}

/// The newest probe among the events.
const PROBE: &str = "CREATE MATERIALIZED VIEW probe AS
  SELECT count(*) AS probes, CAST(max(price) AS BIGINT) AS newest FROM events WHERE type = 'probe';";

/// The event that is probe number `n`.
fn probe(n: usize) -> String {
    let now_ms = SystemClock.now_us() / 1000;
    format!(
        "{{\"event_id\":\"00000000-0000-4000-8000-{n:012x}\",\"ts\":{now_ms},\"user_id\":\"probe\",\
         \"product_id\":0,\"category\":\"probe\",\"type\":\"probe\",\"price\":{n},\"campaign_id\":0}}\n"
    )
}

/// An instance under load.
struct Hold {
    way: Way,
    /// Where events are sent to: a URL, or a topic.
    to: String,
    instance: Instance,
}

/// What a phase sent, how often it was told to wait, and what probes saw.
#[derive(Default)]
struct Phase {
    sent: u64,
    waited: u64,
    per_s: f64,
    /// Milliseconds of each probe.
    waits: Vec<f64>,
}

impl Hold {
    fn start(runtime: &Runtime, place: &Place, way: &Way) -> Result<Self, Failure> {
        let dir = place.fresh("yeoul-w8")?;
        let views =
            format!("{}\n{}\n{}\n{PROBE}", tables::CTR, tables::ROLLUP, tables::example_views());
        let (to, instance) = match way {
            Way::Http => {
                // A client that was not answered sends again.
                let events = tables::events("unique_key = 'event_id', unique_within = '1 hour', ");
                let sql = format!("{events}\n{views}");
                let instance = Instance::start(runtime, &dir, &sql, "SELECT 1")?;
                (instance.ingest_url("events"), instance)
            }
            Way::Wire => {
                let sql = format!("{}\n{views}", tables::events(""));
                ("events".to_owned(), Instance::with_kafka(runtime, &dir, &sql)?)
            }
            Way::Brokers(brokers) => {
                let events = format!("yeoul-w8-{}", SystemClock.now_us());
                topic::create(runtime, brokers, &events, PARTITIONS)?;
                let of_topic = format!("{}, ", topic::of_topic(brokers, &events));
                let sql = format!("{}\n{views}", tables::events(&of_topic));
                (events, Instance::start(runtime, &dir, &sql, "SELECT 1")?)
            }
        };
        Ok(Self { way: way.clone(), to, instance })
    }

    /// Where producers of Kafka send to.
    fn brokers(&self) -> &str {
        match &self.way {
            Way::Brokers(brokers) => brokers,
            Way::Http | Way::Wire => self.instance.kafka(),
        }
    }

    /// Sends probes: events as all others, behind them where these wait.
    fn prober(&self) -> Result<Prober, Failure> {
        if let Way::Http = self.way {
            let (url, agent) = (self.to.clone(), agent());
            return Ok(Prober::sending(self.instance.url(), move |n| {
                post(&agent, &url, probe(n).as_bytes(), &mut || {}).map(drop)
            }));
        }
        let producer: BaseProducer =
            topic::config(self.brokers()).set("linger.ms", "0").create()?;
        let (topic, partitions) = (self.to.clone(), self.partitions());
        Ok(Prober::sending(self.instance.url(), move |n| {
            let partition = i32::try_from(n).unwrap_or_default() % partitions;
            let value = probe(n);
            let record = BaseRecord::<(), str>::to(&topic).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
            // A flush would take a tenth of a second, whenever the message went.
            producer.poll(Duration::ZERO);
            Ok(())
        }))
    }

    fn partitions(&self) -> i32 {
        if let Way::Brokers(_) = self.way { PARTITIONS } else { 1 }
    }

    /// Sends for some seconds, while it is probed.
    fn phase(
        &self,
        runtime: &Runtime,
        prober: &mut Prober,
        (seed, per_s, seconds): (u64, u64, u64),
    ) -> Result<Phase, Failure> {
        let begun = Instant::now();
        let until = Duration::from_secs(seconds);
        let mut phase = Phase::default();
        if let Way::Http = self.way {
            let (senders, per_s) = if per_s > EVENTS_PER_S { (SENDERS, 0) } else { (1, per_s) };
            let (waits, sent) = under_load(&self.to, seed, senders, per_s, || {
                prober.waits(runtime, |_| begun.elapsed() < until)
            })?;
            let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
            (phase.sent, phase.waited) = (load(&sent.events), load(&sent.told_to_wait));
            if load(&sent.accepted) != phase.sent {
                let message = format!("{} of {} were taken", load(&sent.accepted), phase.sent);
                return Err(Failure::new(message));
            }
            phase.waits = waits;
        } else {
            let stop = Arc::new(AtomicBool::new(false));
            let partitions = self.partitions();
            let sender = {
                let (brokers, topic) = (self.brokers().to_owned(), self.to.clone());
                let stop = Arc::clone(&stop);
                let all = (seed, seconds * per_s, per_s);
                thread::spawn(move || topic::produce(&brokers, (&topic, partitions), all, &stop))
            };
            let waits = prober.waits(runtime, |_| {
                if begun.elapsed() > until {
                    stop.store(true, Ordering::Relaxed);
                }
                !sender.is_finished()
            });
            stop.store(true, Ordering::Relaxed);
            phase.sent = sender.join().map_err(|_| Failure::new("the sender broke"))??;
            phase.waits = waits?;
        }
        phase.per_s = phase.sent as f64 / begun.elapsed().as_secs_f64();
        Ok(phase)
    }

    /// Waits until as much is stored as was sent; how much is.
    fn settled(&self, runtime: &Runtime, sent: u64) -> Result<u64, Failure> {
        let begun = Instant::now();
        runtime.block_on(async {
            let mut backend = Backend::connect(&self.instance.url()).await?;
            loop {
                let stored = number(&mut backend, "SELECT count(*) FROM events").await?;
                if stored >= sent || begun.elapsed() > SETTLED_MAX {
                    return Ok(stored);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    /// What is in each view.
    fn held(&self, runtime: &Runtime) -> Result<Vec<u64>, Failure> {
        runtime.block_on(async {
            let mut backend = Backend::connect(&self.instance.url()).await?;
            let mut held = Vec::new();
            for view in ["ads_ctr_1m", "ctr_item_1m", "ads_totals", "ads_positions", "ads_items"] {
                let sum = format!("SELECT CAST(sum(impressions) AS BIGINT) FROM {view}");
                held.push(number(&mut backend, &sum).await?);
            }
            Ok(held)
        })
    }
}

/// W8: a steady rate with bursts between, `place.events` of it steady.
pub(super) fn w8(place: &Place, way: &Way) -> Result<Figures, Failure> {
    let runtime = Runtime::new()?;
    let hold = Hold::start(&runtime, place, way)?;
    let round_s = (place.events / EVENTS_PER_S).clamp(15, 600) / BURSTS;
    let mut prober = hold.prober()?;
    // The first message of a topic is slow to come: leaders are looked for.
    prober.waits(&runtime, |probes| probes < 10)?;
    let (mut sent, mut waited, mut quiet, mut burst) = (0, 0, Vec::new(), Vec::new());
    let (mut least, mut most, mut behind) = (f64::MAX, 0_f64, 0_f64);
    let begun = Instant::now();
    for number in 0..2 * BURSTS {
        let bursts = number % 2 == 1;
        let (per_s, seconds) =
            if bursts { (10 * EVENTS_PER_S, BURST_S) } else { (EVENTS_PER_S, round_s) };
        // Every sender has a seed of its own.
        let seed = place.seed + 10 * number;
        let phase = hold.phase(&runtime, &mut prober, (seed, per_s, seconds))?;
        sent += phase.sent;
        waited += phase.waited;
        if bursts {
            most = most.max(phase.per_s);
            burst.extend(phase.waits);
            // What is left of a burst belongs to it.
            let left = Instant::now();
            hold.settled(&runtime, sent + prober.sent() as u64)?;
            behind = behind.max(left.elapsed().as_secs_f64());
        } else {
            least = least.min(phase.per_s);
            quiet.extend(phase.waits);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    sent += prober.sent() as u64;
    let mut held = vec![hold.settled(&runtime, sent)?];
    held.extend(hold.held(&runtime)?);
    let mut figures = Figures::new("W8", sent);
    figures.took(seconds);
    percentiles(&mut figures, "quiet_", quiet);
    percentiles(&mut figures, "burst_", burst);
    figures.cpu_s = Some(round(hold.instance.meter().cpu_s(), 2));
    figures.peak_mib = Some(hold.instance.meter().peak_mib());
    figures.check = format!("sent {sent}, stored and in views {held:?}");
    figures.note = format!(
        "{BURSTS} rounds of {round_s} s at {least:.0}/s or more, then {BURST_S} s of up to {most:.0}/s, \
         of which the rest was taken within {behind:.1} s; told to wait {waited} times"
    );
    if held.iter().any(|&rows| rows != sent) {
        return Err(Failure::new(format!("rows were lost or doubled: {}", figures.check)));
    }
    Ok(figures)
}
