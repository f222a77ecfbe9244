//! What is sent to a system that we read from is here exactly once, whatever ends or fails: the program is killed at
//! random moments and started again, and the network between is cut, slow, or swallows everything in one direction,
//! while numbered events go on being sent, with poison among them.
//!
//! What must hold at the end: every event once, by count, sum and distinct ids of each partition; every view equals its
//! query; every poison message is a dead letter; the books balance.
//!
//! `YEOUL_KILLS=N` sets how often the program is killed, `YEOUL_SEED=N` gives other moments.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use yeoul_trials::{Broker, Fault, Kind, Proxy, send};

use crate::kill::{free_port, number_from};
use crate::program::{good, project, text};
use crate::running::{AtTheEnd, PATIENCE, Running, differences};

/// How often the program is killed unless the environment says otherwise.
const KILLS: u64 = 50;
/// One message in so many is none.
const POISON: u64 = 997;
/// Events are sent in batches of up to so many, to one partition each.
const BATCH: u64 = 400;
/// At least so many are sent from one kill to the next.
const BETWEEN: u64 = 100;

/// Limits so small that checkpoints, merges of parts and back-pressure happen all the time.
const SETTINGS: &str = "[limits]\nmemory_bytes_max = '256 KiB'\nqueue_bytes_max = '256 KiB'\n\
    commit_interval_ms = 1\nthreads = 2\n";

const COLUMNS: &str = "id BIGINT NOT NULL, part BIGINT, ts TIMESTAMPTZ NOT NULL, item BIGINT, cents BIGINT, \
    WATERMARK FOR ts AS ts - INTERVAL '5 seconds'";
const MINUTES: &str = "SELECT window_start, item, count(*) AS n, sum(cents) AS cents \
    FROM TUMBLE(sent_events, ts, INTERVAL '1 minute') GROUP BY window_start, item";
const BY_PART: &str = "SELECT part, count(*) AS n, sum(id) AS ids, sum(cents) AS cents FROM sent_events GROUP BY part";
const VIEWS: [(&str, &str); 2] = [("minutes", MINUTES), ("by_part", BY_PART)];

/// A system that we read from.
trait Upstream: Sync {
    /// What stands in `WITH (…)`.
    fn options(&self) -> String;
    /// How many partitions it has.
    fn partitions(&self) -> u64;
    /// Sends messages to a partition, and waits until they are there.
    fn send(&self, partition: u64, messages: &[String]);
    /// The network between it and the program.
    fn network(&self) -> &Proxy;
}

/// What was sent to one partition.
#[derive(Default)]
struct Sent {
    count: AtomicU64,
    ids: AtomicU64,
    cents: AtomicU64,
}

/// An event; what it says follows from its id.
fn event(id: u64, part: u64) -> String {
    let second = (id / 50 + id * 7 % 4) % 86_400;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{{\"id\":{id},\"part\":{part},\"ts\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}Z\",\
         \"item\":{},\"cents\":{}}}",
        id % 7,
        id % 1009
    )
}

/// Sends until it is to stop; how many messages were poison.
fn produce(upstream: &dyn Upstream, seed: u64, sent: &[Sent], stop: &AtomicBool) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut id, mut poison) = (0, 0);
    while !stop.load(SeqCst) {
        let part = random.random_range(0..upstream.partitions());
        let count = random.random_range(1..=BATCH);
        let mut messages = Vec::new();
        let of = &sent[usize::try_from(part).expect("small")];
        for _ in 0..count {
            if id % POISON == 13 {
                messages.push("{\"id\":".to_owned());
                poison += 1;
            }
            messages.push(event(id, part));
            of.count.fetch_add(1, SeqCst);
            of.ids.fetch_add(id, SeqCst);
            of.cents.fetch_add(id % 1009, SeqCst);
            id += 1;
        }
        upstream.send(part, &messages);
        std::thread::sleep(Duration::from_millis(random.random_range(0..=10)));
    }
    poison
}

/// One fault of the network, for a moment.
fn fail(upstream: &dyn Upstream, random: &mut StdRng) {
    let faults = [Fault::Cut, Fault::Deaf, Fault::Mute, Fault::Slow];
    upstream.network().set(faults[random.random_range(0..faults.len())]);
    std::thread::sleep(Duration::from_millis(random.random_range(20..=400)));
    upstream.network().set(Fault::None);
}

/// How many were sent, to all partitions.
fn total(sent: &[Sent]) -> u64 {
    sent.iter().map(|of| of.count.load(SeqCst)).sum()
}

/// Kills the program again and again while events are sent; what was sent, and how many poison messages.
fn kill_while_sending(
    upstream: &dyn Upstream,
    running: &mut Running,
    (kills, seed): (u64, u64),
) -> (Vec<Sent>, u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let sent: Vec<Sent> = (0..upstream.partitions()).map(|_| Sent::default()).collect();
    let stop = AtomicBool::new(false);
    let poison = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(upstream, seed, &sent, &stop));
        let at_the_end = AtTheEnd(&stop);
        for _ in 0..kills {
            let (before, begun) = (total(&sent), Instant::now());
            running.start();
            if random.random_bool(0.8) {
                running.wait_ready();
            }
            std::thread::sleep(Duration::from_millis(random.random_range(0..=300)));
            if random.random_bool(0.3) {
                fail(upstream, &mut random);
            }
            while total(&sent) < before + BETWEEN {
                assert!(begun.elapsed() < PATIENCE, "nothing is sent any more: {}", total(&sent));
                std::thread::sleep(Duration::from_millis(1));
            }
            running.kill();
        }
        drop(at_the_end);
        producer.join().expect("the producer ends well")
    });
    (sent, poison)
}

/// Waits until the query gives this number.
fn wait_for(running: &Running, sql: &str, expected: u64) {
    let begun = Instant::now();
    loop {
        let found = running.ask(sql);
        if found == [expected.to_string()] {
            return;
        }
        let state = "SELECT partition, position, lag, state, error FROM yeoul.sources";
        assert!(
            begun.elapsed() < PATIENCE,
            "{sql}: {found:?}, not {expected}\n{:#?}\n{}",
            running.ask(state),
            running.said()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// See the module; what was done.
fn trial(upstream: &dyn Upstream) -> String {
    let (kills, seed) = (number_from("YEOUL_KILLS", KILLS), number_from("YEOUL_SEED", 1));
    let views = VIEWS.map(|(view, sql)| format!("CREATE MATERIALIZED VIEW {view} AS {sql};\n"));
    let stream = format!("CREATE STREAM sent_events ({COLUMNS}) WITH ({});\n", upstream.options());
    let dir = project(&format!("{stream}{}", views.concat()));
    std::fs::write(dir.path().join("yeoul.toml"), SETTINGS).expect("writes");
    let port = free_port(&mut StdRng::seed_from_u64(u64::from(std::process::id()) + 7));
    let mut running = Running::new(dir.path(), &format!("http://127.0.0.1:{port}"));
    let (sent, poison) = kill_while_sending(upstream, &mut running, (kills, seed));
    let expected = (0..).zip(&sent).map(|(part, of): (u64, _)| {
        let [count, ids, cents] = [&of.count, &of.ids, &of.cents].map(|sum| sum.load(SeqCst));
        format!("{part},{count},{count},{ids},{cents}")
    });
    let expected: Vec<String> = expected.collect();
    let total = total(&sent);
    running.start();
    running.wait_ready();
    wait_for(&running, "SELECT count(*) FROM sent_events", total);
    wait_for(&running, "SELECT count(*) FROM yeoul.dead_letters", poison);
    let found = running.ask(
        "SELECT part, count(*), count(DISTINCT id), sum(id), sum(cents) FROM sent_events GROUP BY part ORDER BY part",
    );
    assert_eq!(found, expected, "part, count, distinct ids, their sum, sum of cents");
    assert_eq!(
        running.ask(&differences(&VIEWS)),
        [] as [&str; 0],
        "views differ from their queries"
    );
    running.kill();
    let said = good(&["audit", "--data", text(&running.data)]);
    assert!(said.contains("every source balances"), "{said}");
    format!("YEOUL_SEED={seed} YEOUL_KILLS={kills}: {total} events and {poison} poison messages")
}

/// Topics of a broker behind a network that can fail.
struct Kafka {
    broker: Broker,
    network: Proxy,
    /// Goes through the same network, and repeats what was lost there without doubling it.
    producer: rdkafka::producer::BaseProducer,
}

impl Upstream for Kafka {
    fn options(&self) -> String {
        format!(
            "connector = 'kafka', brokers = '{}', topic = 'sent', retry_wait_max = '200 milliseconds', \
             properties = 'socket.timeout.ms=1000'",
            self.broker.address()
        )
    }

    fn partitions(&self) -> u64 {
        4
    }

    fn send(&self, partition: u64, messages: &[String]) {
        let partition = i32::try_from(partition).expect("small");
        send(&self.producer, "sent", partition, messages.iter().map(String::as_str));
    }

    fn network(&self) -> &Proxy {
        &self.network
    }
}

#[test]
fn a_topic_is_read_once_whatever_ends_or_fails() {
    let (port, advertised) = (yeoul_trials::free_port(), yeoul_trials::free_port());
    let Some(mut broker) = Broker::new(Kind::Tansu, port, advertised) else { return };
    broker.restart();
    let network = Proxy::start(advertised, port);
    broker.create("sent", 4);
    // What is not answered is given up soon, and sent again.
    let patience = ("socket.timeout.ms", "1000");
    let producer = broker.producer(&[("linger.ms", "0"), ("enable.idempotence", "true"), patience]);
    println!("{}", trial(&Kafka { broker, network, producer }));
}
