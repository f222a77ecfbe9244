//! A chain: producer → broker → Yeoul → broker → Yeoul. What is sent in front is at the end exactly once, whatever ends or
//! fails between: the programs are killed at random moments, the networks to both brokers fail, and brokers are ended and
//! started again. Over the trials' own brokers every part is killed as often: the producer too, in the middle of its
//! transactions.
//!
//! What must hold at the end: the stream behind is the stream in front, by count, distinct ids and sums of each
//! partition; the topic of a view, read as a table of what is committed, is the view.
//!
//! `YEOUL_KILLS=N` sets how often each is killed, `YEOUL_SEED=N` gives other moments.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaError};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;
use yeoul_trials::{Broker, Fault, Kind, Proxy, send};

use crate::kill::{free_port, number_from};
use crate::program::project;
use crate::running::{AtTheEnd, PATIENCE, Running};

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

    /// Ends the broker and starts it again.
    fn restart(&mut self, random: &mut StdRng) {
        self.broker.stop();
        std::thread::sleep(Duration::from_millis(random.random_range(0..=300)));
        self.broker.restart();
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

/// Events with the next numbers, and the partition they are sent to.
fn events(random: &mut StdRng, from: u64) -> (i32, Vec<String>) {
    let part = random.random_range(0..PARTITIONS);
    let event = |id: u64| {
        format!("{{\"id\":{id},\"part\":{part},\"item\":{},\"cents\":{}}}", id % 23, id % 1009)
    };
    (part, (from..from + random.random_range(1..=BATCH)).map(event).collect())
}

/// Sends numbered events until it is to stop; says how many.
fn produce(producer: &BaseProducer, seed: u64, sent: &AtomicU64, stop: &AtomicBool) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut id = 0;
    while !stop.load(SeqCst) {
        let (part, messages) = events(&mut random, id);
        send(producer, "sent", part, messages.iter().map(String::as_str));
        id += messages.len() as u64;
        sent.store(id, SeqCst);
        std::thread::sleep(Duration::from_millis(random.random_range(0..=20)));
    }
}

/// Does a step of a transaction until brokers answer; whether it has to be begun anew.
fn step(mut what: impl FnMut() -> KafkaResult<()>) -> bool {
    let begun = Instant::now();
    loop {
        let Err(error) = what() else { return false };
        let is = |what: fn(&RDKafkaError) -> bool| matches!(&error, KafkaError::Transaction(why) if what(why));
        if is(RDKafkaError::txn_requires_abort) {
            return true;
        }
        assert!(is(RDKafkaError::is_retriable) && begun.elapsed() < PATIENCE, "{error}");
    }
}

/// Sends a transaction of these messages.
fn transact(producer: &BaseProducer, part: i32, messages: &[String]) {
    const ANSWER: Duration = Duration::from_secs(2);
    loop {
        producer.begin_transaction().expect("the one before has ended");
        put(producer, part, messages);
        if !step(|| producer.commit_transaction(ANSWER)) {
            return;
        }
        assert!(!step(|| producer.abort_transaction(ANSWER)), "what is aborted has ended");
    }
}

fn put(producer: &BaseProducer, part: i32, messages: &[String]) {
    for message in messages {
        let record = BaseRecord::<(), str>::to("sent").partition(part).payload(message);
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
    }
    producer.poll(Duration::ZERO);
}

/// Sends numbered events in transactions, by producers that die in the middle of one, until it is to stop and so many
/// have.
fn produce_and_die(
    (address, kills, seed): (&str, u64, u64),
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut id, mut died) = (0, 0);
    while !stop.load(SeqCst) || died < kills {
        let settings = [
            ("transactional.id", "shop"),
            ("linger.ms", "0"),
            ("socket.timeout.ms", "1000"),
            ("retry.backoff.ms", "10"),
            ("reconnect.backoff.max.ms", "100"),
        ];
        let producer = yeoul_trials::producer(address, &settings);
        assert!(!step(|| producer.init_transactions(Duration::from_secs(2))), "it begins");
        for _ in 0..random.random_range(0..=4) {
            let (part, messages) = events(&mut random, id);
            transact(&producer, part, &messages);
            id += messages.len() as u64;
            sent.store(id, SeqCst);
            std::thread::sleep(Duration::from_millis(random.random_range(0..=20)));
        }
        producer.begin_transaction().expect("the one before has ended");
        let (part, messages) = events(&mut random, id);
        put(&producer, part, &messages);
        std::thread::sleep(Duration::from_millis(random.random_range(0..=20)));
        died += 1;
    }
    // What the last one has begun holds back what is committed behind it.
    let last = yeoul_trials::producer(address, &[("transactional.id", "shop")]);
    assert!(!step(|| last.init_transactions(Duration::from_secs(2))), "it begins");
    died
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

/// What differs between the brokers.
struct Way {
    front: Kind,
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

/// What was sent, and what was done meanwhile.
struct Sent {
    total: u64,
    /// How often brokers were ended.
    ended: [u64; 2],
    /// And producers.
    died: u64,
}

/// Sends while everything is killed.
fn send_and_kill(
    way: &Way,
    (kills, seed): (u64, u64),
    (one, two): (&mut Running, &mut Running),
    (front, behind): (&mut Away, &mut Away),
) -> Sent {
    let first = front.broker.address();
    let (sent, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let own = way.front == Kind::Memory;
    let (mut ended, mut died) = ([0; 2], 0);
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| match own {
            true => produce_and_die((&first, kills, seed), &sent, &stop),
            false => {
                let settings = [("linger.ms", "0"), ("enable.idempotence", "true")];
                produce(&yeoul_trials::producer(&first, &settings), seed, &sent, &stop);
                0
            }
        });
        let _ended = AtTheEnd(&stop);
        let reader = way.beside.then(|| scope.spawn(|| kill(two, kills, seed + 1, |_| {})));
        kill(one, kills, seed + 2, |random| {
            if random.random_bool(0.3) {
                behind.fail(random);
            } else if random.random_bool(0.2) {
                front.fail(random);
            }
            if own || way.behind == Kind::Noida && random.random_bool(0.1) {
                behind.restart(random);
                ended[1] += 1;
            }
            if own {
                front.restart(random);
                ended[0] += 1;
            }
        });
        stop.store(true, SeqCst);
        if let Some(reader) = reader {
            reader.join().expect("the reader is killed well");
        }
        died = producing.join().expect("the producer ends well");
    });
    Sent { total: sent.load(SeqCst), ended, died }
}

/// What was done.
fn chain(way: &Way) -> Option<String> {
    let (kills, seed) = (number_from("YEOUL_KILLS", KILLS), number_from("YEOUL_SEED", 1));
    let (Some(mut front), Some(mut behind)) = (Away::start(way.front), Away::start(way.behind))
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
    let programs = (&mut one, &mut two);
    let Sent { total, ended, died } =
        send_and_kill(way, (kills, seed), programs, (&mut front, &mut behind));
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
    Some(format!(
        "YEOUL_SEED={seed} YEOUL_KILLS={kills}: {total} events, brokers ended {ended:?} times, producers {died}"
    ))
}

/// This broker keeps transactions apart, but tells a reader that begins behind an aborted one that everything behind it is
/// aborted too: so the second program reads when all is there.
#[test]
fn a_chain_loses_and_doubles_nothing() {
    println!(
        "{:?}",
        chain(&Way {
            front: Kind::Tansu,
            behind: Kind::Noida,
            delivery: "",
            unique: "",
            beside: false,
        })
    );
}

/// Everything is killed, and the second program reads what is committed while the first sends.
#[test]
fn a_chain_is_exactly_once_also_while_it_is_read() {
    println!(
        "{:?}",
        chain(&Way {
            front: Kind::Memory,
            behind: Kind::Memory,
            delivery: "",
            unique: "",
            beside: true,
        })
    );
}

/// This broker shows what was aborted, so what is sent again is dropped behind it by its key.
#[test]
fn a_chain_of_at_least_once_loses_nothing_and_a_key_drops_what_is_doubled() {
    let done = chain(&Way {
        front: Kind::Tansu,
        behind: Kind::Tansu,
        delivery: ", delivery = 'at_least_once'",
        unique: ", unique_key = 'id'",
        beside: true,
    });
    println!("{done:?}");
}
