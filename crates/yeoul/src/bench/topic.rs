//! W12: a backlog of Kafka, beside a consumer that only counts; then the same events into a topic, exactly once, beside
//! a producer that only sends. Also what sends to brokers, for this and for [`hold`](super::hold).

use std::sync::atomic::{AtomicBool, Ordering};
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
use super::served::number;
use super::{Figures, Place, round, tables};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::shell::Backend;

/// Partitions of the topic of events.
pub(super) const PARTITIONS: i32 = 4;
/// Messages sent before it is looked at the clock.
const BATCH: u64 = 500;
/// What is late is not made up faster than this: a burst is ten times the steady load, never more.
const EVENTS_PER_S_MAX: f64 = 1_000_000.0;
/// How much of a pause that took too long is made up at once.
const OVERSLEPT_MAX: Duration = Duration::from_millis(5);
/// How long brokers may take to take what was sent.
const PATIENCE: Duration = Duration::from_secs(120);

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::new(format!("kafka: {error}"))
    }
}

pub(super) fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

pub(super) fn create(
    runtime: &Runtime,
    brokers: &str,
    topic: &str,
    partitions: i32,
) -> Result<(), Failure> {
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
        .set("enable.idempotence", "true")
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

/// Sends `events` to the first `partitions`; `per_s` of them in a second, or as many as are taken (0).
pub(super) fn produce(
    brokers: &str,
    (topic, partitions): (&str, i32),
    (seed, events, per_s): (u64, u64, u64),
    stop: &AtomicBool,
) -> Result<u64, Failure> {
    let producer = producer(brokers)?;
    let now_ms = u64::try_from(SystemClock.now_us() / 1000).unwrap_or_default();
    let pace = if per_s == 0 { 1_000_000 } else { per_s };
    let mut shop = ShopEvents::at(seed, now_ms, pace as f64);
    let begun = Instant::now();
    let (mut sent, mut partition, mut earliest) = (0, 0, Duration::ZERO);
    while sent < events && !stop.load(Ordering::Relaxed) {
        let count = BATCH.min(events - sent);
        send(&producer, topic, &mut shop, (count, partition))?;
        sent += count;
        partition = (partition + 1) % partitions;
        if per_s > 0 {
            let now = begun.elapsed();
            let due = Duration::from_secs_f64(sent as f64 / per_s as f64);
            let step = Duration::from_secs_f64(count as f64 / EVENTS_PER_S_MAX);
            earliest = earliest.max(now.saturating_sub(OVERSLEPT_MAX)) + step;
            thread::sleep(due.max(earliest).saturating_sub(now));
        }
    }
    producer.flush(PATIENCE)?;
    Ok(sent)
}

/// Reads the topic and only counts; the seconds it took, as soon as it can be.
fn counted(brokers: &str, topic: &str, events: u64) -> Result<f64, Failure> {
    // With much more in its queue it is slower: what it is given has left the caches by then.
    let mut config = config(brokers);
    config
        .set("group.id", "yeoul-bench")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.max.bytes", "4194304")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.wait.max.ms", "15")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
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

/// The options of a stream that reads a topic.
pub(super) fn of_topic(brokers: &str, topic: &str) -> String {
    // tansu holds an answer back for as long as it may, also when there is something to answer; and what it has not
    // found by then it does not answer, so that with much less a backlog stays one.
    format!(
        "connector = 'kafka', brokers = '{brokers}', topic = '{topic}', \
         properties = 'fetch.wait.max.ms=15'"
    )
}

/// Waits until all events were read, and are in the view; the seconds.
fn read(runtime: &Runtime, instance: &Instance, events: u64) -> Result<f64, Failure> {
    // Asked often, and cheap: the view has a hundred thousand rows.
    let received = "SELECT CAST(coalesce(sum(received), 0) AS BIGINT) FROM yeoul.sources";
    let sum = "SELECT CAST(coalesce(sum(imps + clicks + carts + wishes + purchases), 0) AS BIGINT) FROM ctr_1m";
    let begun = Instant::now();
    runtime.block_on(async {
        let mut backend = Backend::connect(&instance.url()).await?;
        while number(&mut backend, received).await? < events && begun.elapsed() < PATIENCE * 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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

/// The answer in three numbers.
fn rolled_up(runtime: &Runtime, instance: &Instance) -> Result<String, Failure> {
    let mut numbers = Vec::new();
    runtime.block_on(async {
        let mut backend = Backend::connect(&instance.url()).await?;
        for of in ["count(*)", "sum(imps)", "sum(clicks)"] {
            let sql = format!("SELECT CAST({of} AS BIGINT) FROM ctr_1m");
            numbers.push(number(&mut backend, &sql).await?.to_string());
        }
        Ok::<_, Failure>(())
    })?;
    Ok(numbers.join(" "))
}

/// Reads a topic of `events` to its end with a new instance and the stream that `table` makes.
fn backlog(
    runtime: &Runtime,
    place: &Place,
    (brokers, topic): (&str, &str),
    (workload, table, note): (&str, fn(&str) -> String, &str),
) -> Result<(Instance, Figures), Failure> {
    let dir = place.fresh("yeoul-w12")?;
    let sql = format!("{}\n{}", table(&format!("{}, ", of_topic(brokers, topic))), tables::ROLLUP);
    let instance = Instance::start(runtime, &dir, &sql, "SELECT 1")?;
    let mut figures = Figures::new(workload, place.events);
    // What was read before it answered counts too.
    figures.took(read(runtime, &instance, place.events)? + instance.start_ms / 1e3);
    figures.cpu_s = Some(round(instance.meter().cpu_s(), 2));
    figures.peak_mib = Some(instance.meter().peak_mib());
    figures.check = rolled_up(runtime, &instance)?;
    topic.clone_into(&mut figures.topic);
    figures.note = format!("{note}, from the start of the process");
    Ok((instance, figures))
}

/// W12: a backlog of `events`, by a consumer that only counts, by an instance that rolls up and by one that keeps and
/// rolls up; then into a topic again.
pub(super) fn w12(place: &Place, brokers: &str) -> Result<Vec<Figures>, Failure> {
    let runtime = Runtime::new()?;
    let stamp = SystemClock.now_us();
    let (topic, out) = (format!("yeoul-w12-{stamp}"), format!("yeoul-w12-out-{stamp}"));
    create(&runtime, brokers, &topic, PARTITIONS)?;
    create(&runtime, brokers, &out, PARTITIONS)?;
    let begun = Instant::now();
    let stop = AtomicBool::new(false);
    produce(brokers, (&topic, PARTITIONS), (place.seed, place.events, 0), &stop)?;
    let mut produced = Figures::new("W12 sink", place.events);
    produced.who = "librdkafka".into();
    produced.took(begun.elapsed().as_secs_f64());
    produced.note = "an idempotent producer that makes the events and sends them".into();
    let mut limit = Figures::new("W12 backlog", place.events);
    limit.who = "librdkafka".into();
    // The first time the broker has just been sent to.
    let [first, second] = [(); 2].map(|()| counted(brokers, &topic, place.events));
    limit.took(first?.min(second?));
    limit.note = "a consumer that only counts".into();
    let of = (brokers, topic.as_str());
    let how = ("W12 backlog", tables::passing_events as fn(&str) -> String, "rolled up by minute");
    let (instance, ours) = backlog(&runtime, place, of, how)?;
    drop(instance);
    let how = ("W12 kept", tables::events as fn(&str) -> String, "kept and rolled up by minute");
    let (instance, kept) = backlog(&runtime, place, of, how)?;
    let mut sunk = Figures::new("W12 sink", place.events);
    let before = instance.meter().cpu_s();
    sunk.took(sink(&runtime, &instance, brokers, &out, place.events)?);
    sunk.cpu_s = Some(round(instance.meter().cpu_s() - before, 2));
    sunk.peak_mib = Some(instance.meter().peak_mib());
    let seconds = counted(brokers, &out, place.events)?;
    sunk.check = format!("{} messages are committed, read in {seconds:.1} s", place.events);
    sunk.note = "the rows of the stream, exactly once, from CREATE SINK on".into();
    Ok(vec![limit, ours, kept, produced, sunk])
}

/// Sends what is stored; the seconds until all is.
fn sink(
    runtime: &Runtime,
    instance: &Instance,
    brokers: &str,
    topic: &str,
    events: u64,
) -> Result<f64, Failure> {
    let create = format!(
        "CREATE SINK out FROM events WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}')"
    );
    let sent = "SELECT CAST(coalesce(max(sent_rows), 0) AS BIGINT) FROM yeoul.sinks";
    let begun = Instant::now();
    runtime.block_on(async {
        let mut backend = Backend::connect(&instance.url()).await?;
        backend.ask(&create).await?;
        while number(&mut backend, sent).await? < events {
            if begun.elapsed() > PATIENCE * 10 {
                return Err(Failure::new("the sink does not come to an end"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(begun.elapsed().as_secs_f64())
    })
}
