//! W9 and idle: an instance of its own, events over HTTP, questions over the Postgres wire. Also what sends events, for
//! those, for [`fresh`](super::fresh) and for [`hold`](super::hold).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use yeoul_batch::Clock;

use super::child::Instance;
use super::events::ShopEvents;
use super::meter::folder_bytes;
use super::{Figures, Place, round, tables};
use crate::clock::SystemClock;
use crate::demo::load::{agent, post};
use crate::failure::Failure;
use crate::shell::Backend;

/// How many events one request carries.
const BATCH_EVENTS: u64 = 5_000;
/// How many requests are under way at once when as much as possible is sent.
pub(super) const SENDERS: u64 = 2;

/// What senders share.
#[derive(Default)]
pub(super) struct Sent {
    stop: AtomicBool,
    pub(super) events: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) told_to_wait: AtomicU64,
}

/// Sends events until told to stop, `per_s` of them in a second, or as many as are taken (0).
fn send(url: &str, seed: u64, per_s: u64, sent: &Sent) -> Result<(), Failure> {
    let now_ms = u64::try_from(SystemClock.now_us() / 1000).unwrap_or_default();
    let pace = if per_s == 0 { 100_000 } else { per_s };
    let mut shop = ShopEvents::at(seed, now_ms, pace as f64);
    let agent = agent();
    let batch = if per_s == 0 { BATCH_EVENTS } else { (per_s / 50).clamp(1, BATCH_EVENTS) };
    let mut body = Vec::new();
    let begun = Instant::now();
    let mut mine = 0;
    while !sent.stop.load(Ordering::Relaxed) {
        body.clear();
        shop.write(batch, &mut body);
        if per_s > 0 {
            let due = Duration::from_secs_f64(mine as f64 / per_s as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        let receipt = post(&agent, url, &body, &mut || {
            sent.told_to_wait.fetch_add(1, Ordering::Relaxed);
        })?;
        mine += batch;
        sent.events.fetch_add(batch, Ordering::Relaxed);
        sent.accepted.fetch_add(receipt.accepted, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends with `senders` threads while `work` runs.
pub(super) fn under_load<T>(
    url: &str,
    seed: u64,
    senders: u64,
    per_s: u64,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, Arc<Sent>), Failure> {
    let sent = Arc::new(Sent::default());
    let threads: Vec<_> = (0..senders)
        .map(|n| {
            let (url, sent) = (url.to_owned(), Arc::clone(&sent));
            thread::spawn(move || send(&url, seed + n, per_s / senders.max(1), &sent))
        })
        .collect();
    let outcome = work();
    sent.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| Failure::new("a sender broke"))??;
    }
    Ok((outcome?, sent))
}

pub(super) fn shop_sql() -> String {
    let keys = "unique_key = 'event_id', unique_within = '1 hour', ";
    format!("{}\n{}\n{}", tables::events(keys), tables::CTR, tables::ROLLUP)
}

pub(super) async fn number(backend: &mut Backend, sql: &str) -> Result<u64, Failure> {
    let rows = backend.ask(sql).await?;
    Ok(rows.first().and_then(|row| row.first()?.parse().ok()).unwrap_or_default())
}

/// W9: kill -9 in the middle of the load, then the time to the first correct answer.
pub(super) fn w9(place: &Place) -> Result<Figures, Failure> {
    let dir = place.fresh("yeoul-w9")?;
    let runtime = Runtime::new()?;
    let sql = format!("{}\n{}", shop_sql(), tables::PAIRS);
    let mut instance = Instance::start(&runtime, &dir, &sql, "SELECT 1")?;
    let url = instance.ingest_url("events");
    let sent = Arc::new(Sent::default());
    let sender = {
        let sent = Arc::clone(&sent);
        let seed = place.seed;
        // It breaks when the instance does, and is meant to.
        thread::spawn(move || drop(send(&url, seed, 0, &sent)))
    };
    while sent.accepted.load(Ordering::Relaxed) < place.events && !sender.is_finished() {
        thread::sleep(Duration::from_millis(10));
    }
    instance.kill()?;
    sent.stop.store(true, Ordering::Relaxed);
    let _ = sender.join();
    let accepted = sent.accepted.load(Ordering::Relaxed);
    let instance = instance.again(&runtime, "SELECT count(*) FROM ctr_1m")?;
    let (stored, rolled) = runtime.block_on(async {
        let mut backend = Backend::connect(&instance.url()).await?;
        let stored = number(&mut backend, "SELECT count(*) FROM events").await?;
        let sum =
            "SELECT CAST(sum(imps + clicks + carts + wishes + purchases) AS BIGINT) FROM ctr_1m";
        Ok::<_, Failure>((stored, number(&mut backend, sum).await?))
    })?;
    let mut figures = Figures::new("W9", stored);
    figures.ms("first_answer", instance.start_ms);
    figures.peak_mib = Some(instance.meter().peak_mib());
    figures.bytes_per_row =
        Some(round(folder_bytes(&dir.join("data")) as f64 / stored.max(1) as f64, 2));
    figures.check = format!("acknowledged {accepted} stored {stored} in the view {rolled}");
    // What was under way when it was killed may be there as well: one batch at most.
    if stored < accepted || stored > accepted + BATCH_EVENTS || stored != rolled {
        return Err(Failure::new(format!("rows were lost or doubled: {}", figures.check)));
    }
    Ok(figures)
}

/// Idle: how soon it answers, and what it costs to do nothing.
pub(super) fn idle(place: &Place) -> Result<Figures, Failure> {
    let dir = place.fresh("yeoul-idle")?;
    let runtime = Runtime::new()?;
    let instance = Instance::start(&runtime, &dir, &shop_sql(), "SELECT count(*) FROM events")?;
    thread::sleep(Duration::from_secs(2));
    let cpu = instance.meter().cpu_s();
    thread::sleep(Duration::from_secs(10));
    let mut figures = Figures::new("idle", 0);
    figures.ms("first_answer", instance.start_ms);
    figures.cpu_s = Some(round(instance.meter().cpu_s() - cpu, 2));
    figures.peak_mib = Some(instance.meter().resident_mib());
    figures.note = "memory now and processor time of ten seconds".into();
    Ok(figures)
}
