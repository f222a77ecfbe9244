//! A chain: producer → broker → Yeoul → broker → Yeoul. What is sent in front is at the end exactly once, whatever ends or
//! fails between: the programs are killed at random moments, the networks to both brokers fail, and the second broker is
//! ended and started again.
//!
//! What must hold at the end: the stream behind is the stream in front, by count, distinct ids and sums of each
//! partition; the topic of a view, read as a table of what is committed, is the view.
//!
//! `YEOUL_KILLS=N` sets how often each program is killed, `YEOUL_SEED=N` gives other moments.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::BaseProducer;
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;
use yeoul_trials::{Broker, Fault, Kind, Proxy, send};

use crate::kill::{free_port, number_from};
use crate::program::project;
use crate::running::{PATIENCE, Running};

/// How often each program is killed unless the environment says otherwise.
const KILLS: u64 = 50;
const PARTITIONS: i32 = 4;
/// Events are sent in batches of up to so many, to one partition each.
const BATCH: u64 = 300;

const SETTINGS: &str =
    "[limits]\nmemory_bytes_max = '512 KiB'\ncommit_interval_ms = 2\nthreads = 2\n";
const COLUMNS: &str = "id BIGINT NOT NULL, part BIGINT, item BIGINT, cents BIGINT";
const BY_PART: &str = "SELECT part, count(*), count(DISTINCT id), sum(id), sum(cents) FROM events GROUP BY part ORDER BY part";

/// A broker behind a network that fails.
struct Away {
    broker: Broker,
    network: Proxy,
}

impl Away {
    fn start(kind: Kind) -> Option<Self> {
        let (port, advertised) = (yeoul_trials::free_port(), yeoul_trials::free_port());
        let mut broker = Broker::new(kind, port, advertised)?;
        broker.restart();
        let network = Proxy::start(advertised, port);
        Some(Self { broker, network })
    }

    fn fail(&self, random: &mut StdRng) {
        let faults = [Fault::Cut, Fault::Deaf, Fault::Mute, Fault::Slow];
        self.network.set(faults[random.random_range(0..faults.len())]);
        std::thread::sleep(Duration::from_millis(random.random_range(20..=400)));
        self.network.set(Fault::None);
    }
}

/// How many programs there were.
static PROGRAMS: AtomicU64 = AtomicU64::new(0);

/// A program with its folder.
fn program(sql: &str) -> (TempDir, Running) {
    let dir = project(sql);
    std::fs::write(dir.path().join("yeoul.toml"), SETTINGS).expect("writes");
    let number = PROGRAMS.fetch_add(1, SeqCst);
    let port = free_port(&mut StdRng::seed_from_u64(u64::from(std::process::id()) * 1000 + number));
    let running = Running::new(dir.path(), &format!("http://127.0.0.1:{port}"));
    (dir, running)
}

/// Sends numbered events until it is to stop; how many.
fn produce(producer: &BaseProducer, seed: u64, sent: &AtomicU64, stop: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut id = 0;
    while !stop.load(SeqCst) {
        let part = random.random_range(0..PARTITIONS);
        let count = random.random_range(1..=BATCH);
        let event = |id: u64| {
            format!("{{\"id\":{id},\"part\":{part},\"item\":{},\"cents\":{}}}", id % 23, id % 1009)
        };
        let messages: Vec<String> = (id..id + count).map(event).collect();
        send(producer, "sent", part, messages.iter().map(String::as_str));
        id += count;
        sent.store(id, SeqCst);
        std::thread::sleep(Duration::from_millis(random.random_range(0..=20)));
    }
}

/// Sets what it is made of when it goes, also in a panic.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Kills a program again and again; it runs when this returns.
fn kill(running: &mut Running, kills: u64, seed: u64, mut meanwhile: impl FnMut(&mut StdRng)) {
    let mut random = StdRng::seed_from_u64(seed);
    running.start();
    for _ in 0..kills {
        if random.random_bool(0.8) {
            running.wait_ready();
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..=500)));
        meanwhile(&mut random);
        running.kill();
        running.start();
    }
    running.wait_ready();
}

/// The committed messages of a topic as a table: the last value of each key, without those that are gone.
fn table_of(broker: &str, topic: &str) -> BTreeMap<String, String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("assigns");
    let mut table = BTreeMap::new();
    let mut quiet = 0;
    while quiet < 10 {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else {
            quiet += 1;
            continue;
        };
        let Ok(message) = message else { continue };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("is text");
        let key = text(message.key().expect("a key"));
        match message.payload() {
            Some(value) => table.insert(key, text(value)),
            None => table.remove(&key),
        };
    }
    table
}

fn wait_for(running: &Running, sql: &str, expected: &[String], also: &dyn Fn() -> String) {
    let begun = Instant::now();
    loop {
        let found = running.ask(sql);
        if found == expected {
            return;
        }
        assert!(
            begun.elapsed() < 2 * PATIENCE,
            "{sql}: {found:?}, not {expected:?}\n{}\n{}",
            running.said(),
            also()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What differs between the brokers that the second program reads from.
struct Way {
    behind: Kind,
    /// Options of the sinks.
    delivery: &'static str,
    /// Options of the stream behind.
    unique: &'static str,
    /// Whether the second program is killed while it reads, or reads everything when it is there.
    beside: bool,
}

/// The topic of the view, read as a table, is the view.
fn check_items(one: &Running, broker: &str) {
    let table = table_of(broker, "items");
    let items = one.ask("SELECT item, n, cents FROM items ORDER BY item");
    let mut found: Vec<(u64, String)> = table
        .values()
        .map(|row| {
            let row: serde_json::Value = serde_json::from_str(row).expect("is JSON");
            let item = row["item"].as_u64().expect("a number");
            (item, format!("{item},{},{}", row["n"], row["cents"]))
        })
        .collect();
    found.sort();
    assert_eq!(found.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), items);
}

/// What was done.
fn chain(way: &Way) -> Option<String> {
    let (kills, seed) = (number_from("YEOUL_KILLS", KILLS), number_from("YEOUL_SEED", 1));
    let (Some(front), Some(mut behind)) = (Away::start(Kind::Tansu), Away::start(way.behind))
    else {
        return None;
    };
    front.broker.create("sent", PARTITIONS);
    behind.broker.create("copies", PARTITIONS);
    behind.broker.create("items", PARTITIONS);
    let patience = "retry_wait_max = '200 milliseconds', properties = 'socket.timeout.ms=1000'";
    let (first, second) = (front.broker.address(), behind.broker.address());
    let sink = format!("connector = 'kafka', brokers = '{second}', {patience}{}", way.delivery);
    let (_dir, mut one) = program(
        &format!(
            "CREATE STREAM events ({COLUMNS}) WITH (connector = 'kafka', brokers = '{first}', topic = 'sent', {patience});
             CREATE MATERIALIZED VIEW items AS SELECT item, count(*) AS n, sum(cents) AS cents FROM events GROUP BY item;
             CREATE SINK copies FROM events WITH (topic = 'copies', {sink});
             CREATE SINK items_out FROM items WITH (topic = 'items', {sink});"
        ),
    );
    let (_other, mut two) = program(&format!(
        "CREATE STREAM events ({COLUMNS}) WITH (connector = 'kafka', brokers = '{second}', topic = 'copies', {patience}{});",
        way.unique
    ));
    let producer = front.broker.producer(&[("linger.ms", "0"), ("enable.idempotence", "true")]);
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| produce(&producer, seed, &sent, &stop));
        let _ended = AtTheEnd(&stop);
        let reader = way.beside.then(|| scope.spawn(|| kill(&mut two, kills, seed + 1, |_| {})));
        kill(&mut one, kills, seed + 2, |random| {
            if random.random_bool(0.3) {
                behind.fail(random);
            } else if random.random_bool(0.2) {
                front.fail(random);
            } else if way.behind != Kind::Tansu && random.random_bool(0.1) {
                behind.broker.stop();
                std::thread::sleep(Duration::from_millis(random.random_range(0..=300)));
                behind.broker.restart();
            }
        });
        stop.store(true, SeqCst);
        if let Some(reader) = reader {
            reader.join().expect("the reader is killed well");
        }
    });
    let total = sent.load(SeqCst);
    let nothing = || String::new();
    wait_for(&one, "SELECT count(*) FROM events", &[total.to_string()], &nothing);
    let expected = one.ask(BY_PART);
    let sinks =
        || format!("{:#?}", one.ask("SELECT name, state, error, lag_commits FROM yeoul.sinks"));
    let sent_all = "SELECT count(*) FROM yeoul.sinks WHERE lag_commits = 0 AND kept_rows = 0";
    wait_for(&one, sent_all, &["2".to_owned()], &sinks);
    if !way.beside {
        two.start();
        two.wait_ready();
    }
    wait_for(&two, BY_PART, &expected, &sinks);
    // A moment more, in which what is doubled would come.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(two.ask(BY_PART), expected);
    check_items(&one, &second);
    assert!(total > kills * 100, "hardly anything was sent: {total}");
    Some(format!("YEOUL_SEED={seed} YEOUL_KILLS={kills}: {total} events"))
}

/// This broker keeps transactions apart, but tells a reader that begins behind an aborted one that everything behind it is
/// aborted too: so the second program reads when all is there.
#[test]
fn a_chain_loses_and_doubles_nothing() {
    println!("{:?}", chain(&Way { behind: Kind::Noida, delivery: "", unique: "", beside: false }));
}

/// Both programs are killed, and the second reads what is committed while the first sends.
#[test]
fn a_chain_is_exactly_once_also_while_it_is_read() {
    println!("{:?}", chain(&Way { behind: Kind::Memory, delivery: "", unique: "", beside: true }));
}

/// This broker shows what was aborted, so what is sent again is dropped behind it by its key.
#[test]
fn a_chain_of_at_least_once_loses_nothing_and_a_key_drops_what_is_doubled() {
    let done = chain(&Way {
        behind: Kind::Tansu,
        delivery: ", delivery = 'at_least_once'",
        unique: ", unique_key = 'id'",
        beside: true,
    });
    println!("{done:?}");
}
