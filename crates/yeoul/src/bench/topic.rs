//! W12: CTR from Kafka: how fast a backlog is read, beside a consumer that only counts; then a steady rate with bursts,
//! and how soon an event is in an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;
use yeoul_batch::Clock;

use super::child::Instance;
use super::events::ShopEvents;
use super::fresh::{Prober, percentiles};
use super::served::number;
use super::{Figures, Place, round, tables};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::shell::Backend;

/// Partitions of the topic of events.
const PARTITIONS: i32 = 4;
/// The steady load.
const HOLD_EVENTS_PER_S: u64 = 100_000;
/// How often it is broken by a burst of ten times as much, and for how long.
const BURSTS: u64 = 3;
const BURST_S: u64 = 20;
/// Messages sent before it is looked at the clock.
const BATCH: u64 = 500;
/// How long brokers may take to take what was sent.
const PATIENCE: Duration = Duration::from_secs(120);

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::new(format!("kafka: {error}"))
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn create(runtime: &Runtime, brokers: &str, topic: &str, partitions: i32) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> = config(brokers).create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()))?;
    made.into_iter().try_for_each(|made| match made {
        Ok(_) => Ok(()),
        Err((topic, code)) => Err(Failure::new(format!("topic {topic} is not made: {code}"))),
    })
}

fn producer(brokers: &str) -> Result<BaseProducer, Failure> {
    let mut config = config(brokers);
    config
        .set("linger.ms", "5")
        .set("batch.num.messages", "10000")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "500000");
    Ok(config.create()?)
}

/// Sends the next events of the shop, as many to each partition.
fn send(
    producer: &BaseProducer,
    topic: &str,
    shop: &mut ShopEvents,
    (count, partition): (u64, i32),
) -> Result<(), Failure> {
    let mut lines = Vec::new();
    shop.write(count, &mut lines);
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(line);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    }
    producer.poll(Duration::ZERO);
    Ok(())
}

/// Sends `events`; `per_s` of them in a second, or as many as are taken (0).
fn produce(
    brokers: &str,
    topic: &str,
    (seed, events, per_s): (u64, u64, u64),
    stop: &AtomicBool,
) -> Result<u64, Failure> {
    let producer = producer(brokers)?;
    let now_ms = u64::try_from(SystemClock.now_us() / 1000).unwrap_or_default();
    let pace = if per_s == 0 { 1_000_000 } else { per_s };
    let mut shop = ShopEvents::at(seed, now_ms, pace as f64);
    let begun = Instant::now();
    let (mut sent, mut partition) = (0, 0);
    while sent < events && !stop.load(Ordering::Relaxed) {
        let count = BATCH.min(events - sent);
        send(&producer, topic, &mut shop, (count, partition))?;
        sent += count;
        partition = (partition + 1) % PARTITIONS;
        if per_s > 0 {
            let due = Duration::from_secs_f64(sent as f64 / per_s as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    producer.flush(PATIENCE)?;
    Ok(sent)
}

/// Reads the topic and only counts; the seconds it took.
fn counted(brokers: &str, topic: &str, events: u64) -> Result<f64, Failure> {
    let mut config = config(brokers);
    config.set("group.id", "yeoul-bench").set("queued.min.messages", "1000000");
    let consumer: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let begun = Instant::now();
    let mut count = 0;
    while count < events {
        if begun.elapsed() > PATIENCE * 10 {
            return Err(Failure::new(format!("{count} of {events} messages were read")));
        }
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            message?;
            count += 1;
        }
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn sql(brokers: &str, topic: &str, probes: &str) -> String {
    // tansu holds an answer back for as long as it may, also when there is something to answer.
    let of = |topic: &str| {
        format!(
            "connector = 'kafka', brokers = '{brokers}', topic = '{topic}', \
             properties = 'fetch.wait.max.ms=5'"
        )
    };
    format!(
        "{}\n{}\nCREATE STREAM probes (n BIGINT NOT NULL) WITH ({});
         CREATE MATERIALIZED VIEW probe AS SELECT count(*) AS probes, max(n) AS newest FROM probes;",
        tables::events(&format!("{}, ", of(topic))),
        tables::ROLLUP,
        of(probes),
    )
}

/// Waits until all events are in the view; the seconds.
fn read(runtime: &Runtime, instance: &Instance, events: u64) -> Result<f64, Failure> {
    let sum = "SELECT CAST(coalesce(sum(imps + clicks + carts + wishes + purchases), 0) AS BIGINT) FROM ctr_1m";
    let begun = Instant::now();
    runtime.block_on(async {
        let mut backend = Backend::connect(&instance.url()).await?;
        loop {
            let there = number(&mut backend, sum).await?;
            if there == events {
                return Ok(begun.elapsed().as_secs_f64());
            }
            if there > events || begun.elapsed() > PATIENCE * 10 {
                let message = format!("{there} of {events} events are in the view");
                return Err(Failure::new(message));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// W12, first part: a backlog of `events`, by a consumer that only counts and by an instance that keeps and rolls up.
pub(super) fn backlog(place: &Place, brokers: &str) -> Result<[Figures; 2], Failure> {
    let runtime = Runtime::new()?;
    let stamp = SystemClock.now_us();
    let (topic, probes) = (format!("yeoul-w12-{stamp}"), format!("yeoul-w12-probes-{stamp}"));
    create(&runtime, brokers, &topic, PARTITIONS)?;
    create(&runtime, brokers, &probes, 1)?;
    produce(brokers, &topic, (place.seed, place.events, 0), &AtomicBool::new(false))?;
    let mut limit = Figures::new("W12 backlog", place.events);
    limit.who = "librdkafka".into();
    limit.took(counted(brokers, &topic, place.events)?);
    limit.note = "a consumer that only counts".into();
    let dir = place.fresh("yeoul-w12")?;
    let instance = Instance::start(&runtime, &dir, &sql(brokers, &topic, &probes), "SELECT 1")?;
    let mut ours = Figures::new("W12 backlog", place.events);
    // What was read before it answered counts too.
    ours.took(read(&runtime, &instance, place.events)? + instance.start_ms / 1e3);
    ours.cpu_s = Some(round(instance.meter().cpu_s(), 2));
    ours.peak_mib = Some(instance.meter().peak_mib());
    ours.note = "kept and rolled up by minute, from the start of the process".into();
    Ok([limit, ours])
}

/// W12, second part: a steady rate, broken by bursts; nothing lost, nothing doubled, and soon in an answer.
pub(super) fn hold(place: &Place, brokers: &str) -> Result<Figures, Failure> {
    let runtime = Runtime::new()?;
    let stamp = SystemClock.now_us();
    let (topic, probes) = (format!("yeoul-w12-{stamp}"), format!("yeoul-w12-probes-{stamp}"));
    create(&runtime, brokers, &topic, PARTITIONS)?;
    create(&runtime, brokers, &probes, 1)?;
    let dir = place.fresh("yeoul-w12")?;
    let instance = Instance::start(&runtime, &dir, &sql(brokers, &topic, &probes), "SELECT 1")?;
    let round_s = (place.events / HOLD_EVENTS_PER_S).clamp(15, 600) / BURSTS;
    let prober: BaseProducer = config(brokers).set("linger.ms", "0").create()?;
    let mut prober = Prober::sending(instance.url(), move |n| {
        let value = format!("{{\"n\":{n}}}");
        let record = BaseRecord::<(), str>::to(&probes).partition(0).payload(&value);
        prober.send(record).map_err(|(error, _)| error)?;
        // A flush would take a tenth of a second, whenever the message went.
        prober.poll(Duration::ZERO);
        Ok(())
    });
    // The first message of a topic is slow to come: leaders are looked for.
    prober.waits(&runtime, |probes| probes < 10)?;
    let (mut sent, mut quiet, mut burst) = (0, Vec::new(), Vec::new());
    let (mut least, mut most) = (f64::MAX, 0_f64);
    let mut figures = Figures::new("W12 hold", 0);
    let begun = Instant::now();
    for number in 0..2 * BURSTS {
        let bursts = number % 2 == 1;
        let (seconds, per_s) = match bursts {
            true => (BURST_S, 10 * HOLD_EVENTS_PER_S),
            false => (round_s, HOLD_EVENTS_PER_S),
        };
        let phase = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let of_phase = Arc::new(AtomicU64::new(0));
        let load = {
            let (stop, of_phase) = (Arc::clone(&stop), Arc::clone(&of_phase));
            let (brokers, topic, seed) = (brokers.to_owned(), topic.clone(), place.seed + number);
            thread::spawn(move || {
                let sent = produce(&brokers, &topic, (seed, seconds * per_s, per_s), &stop)?;
                of_phase.store(sent, Ordering::Relaxed);
                Ok::<_, Failure>(())
            })
        };
        let waits = prober.waits(&runtime, |_| {
            if phase.elapsed() > Duration::from_secs(seconds) {
                stop.store(true, Ordering::Relaxed);
            }
            !load.is_finished()
        });
        stop.store(true, Ordering::Relaxed);
        load.join().map_err(|_| Failure::new("the sender broke"))??;
        let events = of_phase.load(Ordering::Relaxed);
        let rate = events as f64 / phase.elapsed().as_secs_f64();
        sent += events;
        if bursts {
            most = most.max(rate);
            burst.extend(waits?);
        } else {
            least = least.min(rate);
            quiet.extend(waits?);
        }
    }
    figures.events = sent;
    figures.took(begun.elapsed().as_secs_f64());
    read(&runtime, &instance, sent)?;
    percentiles(&mut figures, "quiet_", quiet);
    percentiles(&mut figures, "burst_", burst);
    figures.cpu_s = Some(round(instance.meter().cpu_s(), 2));
    figures.peak_mib = Some(instance.meter().peak_mib());
    figures.check = format!("sent {sent}, all of them in the view, once");
    figures.note = format!(
        "{BURSTS} rounds of {round_s} s at {least:.0}/s or more, then {BURST_S} s of up to {most:.0}/s"
    );
    Ok(figures)
}
