//! Producers of Kafka send to the program itself, which is killed at random moments and started again while the network
//! between fails: what they were told is stored is there, and what they sent again is there once.
//!
//! `YEOUL_KILLS=N` sets how often the program is killed, `YEOUL_SEED=N` gives other moments.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::producer::{BaseRecord, Producer as _};
use yeoul_trials::{Fault, Proxy, producer, send_one, servers_folder};

use crate::kill::{free_port, number_from};
use crate::program::{good, project, text};
use crate::running::{PATIENCE, Running, differences};

/// How often the program is killed unless the environment says otherwise.
const KILLS: u64 = 20;
/// One message in so many is none.
const POISON: u64 = 997;
/// Producers, each with a topic of its own and one that all share.
const PRODUCERS: u64 = 3;

/// Limits so small that checkpoints and back-pressure happen all the time.
const LIMITS: &str = "[limits]\nmemory_bytes_max = '256 KiB'\nqueue_bytes_max = '256 KiB'\n\
    commit_interval_ms = 1\nthreads = 2\n";

/// No unique key: what is stored twice is there twice.
const COLUMNS: &str = "(id BIGINT NOT NULL, part BIGINT NOT NULL)";
const VIEWS: [(&str, &str); 1] =
    [("parts", "SELECT part, count(*) AS n, sum(id) AS ids FROM shared GROUP BY part")];

fn instance(dir: &tempfile::TempDir, settings: &str, seed: u64) -> (Running, String) {
    let mut random = StdRng::seed_from_u64(u64::from(std::process::id()) + seed);
    let (http, kafka) = (free_port(&mut random), yeoul_trials::free_port());
    let kafka = format!("127.0.0.1:{kafka}");
    std::fs::write(
        dir.path().join("yeoul.toml"),
        format!("{LIMITS}[kafka]\nlisten = '{kafka}'\n{settings}"),
    )
    .expect("writes");
    (Running::new(dir.path(), &format!("http://127.0.0.1:{http}")), kafka)
}

/// Sends numbered events to two topics until it is to stop; how many of them, and how many messages that are none.
fn produce(address: &str, part: u64, stop: &AtomicBool) -> (u64, u64) {
    let compression = ["none", "lz4", "zstd"][usize::try_from(part % 3).expect("small")];
    let settings = [
        ("enable.idempotence", "true"),
        ("compression.type", compression),
        ("linger.ms", "1"),
        ("batch.num.messages", "200"),
        ("retry.backoff.ms", "10"),
        ("reconnect.backoff.ms", "10"),
        ("reconnect.backoff.max.ms", "100"),
        ("message.timeout.ms", "300000"),
        // Answers that do not come are given up soon, and their batches sent again.
        ("socket.timeout.ms", "1000"),
    ];
    let producer = producer(address, &settings);
    let (own, mut poison) = (format!("own{part}"), 0);
    let mut id = 0;
    while !stop.load(SeqCst) {
        let event = format!("{{\"id\":{id},\"part\":{part}}}");
        send_one(&producer, BaseRecord::<(), str>::to("shared").payload(&event));
        send_one(&producer, BaseRecord::<(), str>::to(&own).payload(&event));
        if id % POISON == 13 {
            send_one(&producer, BaseRecord::<(), str>::to("shared").payload("{\"id\":"));
            poison += 1;
        }
        id += 1;
        if id % 50 == 0 {
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    producer.flush(PATIENCE).expect("all of it is taken");
    (id, poison)
}

#[test]
fn an_idempotent_producer_is_stored_once_whenever_the_program_is_killed() {
    let (kills, seed) = (number_from("YEOUL_KILLS", KILLS), number_from("YEOUL_SEED", 1));
    let streams: String =
        (0..PRODUCERS).map(|part| format!("CREATE STREAM own{part} {COLUMNS};\n")).collect();
    let views = VIEWS.map(|(view, sql)| format!("CREATE MATERIALIZED VIEW {view} AS {sql};\n"));
    let dir = project(&format!("CREATE STREAM shared {COLUMNS};\n{streams}{}", views.concat()));
    let outside = yeoul_trials::free_port();
    let advertised = format!("advertised = '127.0.0.1:{outside}'\n");
    let (mut running, inside) = instance(&dir, &advertised, 11);
    let inside = inside.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let network = Proxy::start(outside, inside.expect("a port"));
    let address = format!("127.0.0.1:{outside}");
    let mut random = StdRng::seed_from_u64(seed);
    let stop = AtomicBool::new(false);
    running.start();
    running.wait_ready();
    let sent: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let (address, stop) = (address.as_str(), &stop);
        let producers: Vec<_> =
            (0..PRODUCERS).map(|part| scope.spawn(move || produce(address, part, stop))).collect();
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(random.random_range(20..=400)));
            if random.random_bool(0.5) {
                let faults = [Fault::Cut, Fault::Deaf, Fault::Mute, Fault::Slow];
                network.set(faults[random.random_range(0..faults.len())]);
                std::thread::sleep(Duration::from_millis(random.random_range(20..=1_500)));
                network.set(Fault::None);
            }
            running.kill();
            running.start();
            if random.random_bool(0.8) {
                running.wait_ready();
            }
        }
        running.wait_ready();
        stop.store(true, SeqCst);
        producers.into_iter().map(|of| of.join().expect("the producer ends well")).collect()
    });
    let expected: Vec<String> = (0..)
        .zip(&sent)
        .map(|(part, (count, _)): (u64, _)| {
            format!("{part},{count},{count},{}", count * count.saturating_sub(1) / 2)
        })
        .collect();
    let counts = "count(*), count(DISTINCT id), sum(id)";
    let found =
        running.ask(&format!("SELECT part, {counts} FROM shared GROUP BY part ORDER BY part"));
    assert_eq!(found, expected, "part, count, distinct ids, their sum");
    for (part, expected) in expected.iter().enumerate() {
        let found = running.ask(&format!("SELECT {part}, {counts} FROM own{part}"));
        assert_eq!(found, [expected.as_str()], "own{part}");
    }
    let poison: u64 = sent.iter().map(|(_, poison)| poison).sum();
    let letters = running.ask("SELECT count(*), count(DISTINCT position) FROM yeoul.dead_letters");
    assert_eq!(letters, [format!("{poison},{poison}")]);
    assert_eq!(running.ask(&differences(&VIEWS)), [] as [&str; 0]);
    // Producers leave nothing behind: one row for each stream.
    let sources = "SELECT count(*) FROM yeoul.sources WHERE source = 'kafka wire'";
    assert_eq!(running.ask(sources), [(PRODUCERS + 1).to_string()]);
    let repeated = running.ask("SELECT sum(duplicates) FROM yeoul.sources");
    running.kill();
    let said = good(&["audit", "--data", text(&running.data)]);
    assert!(said.contains("every source balances"), "{said}");
    let total: u64 = sent.iter().map(|(count, _)| 2 * count).sum();
    assert!(total > kills * 100, "hardly anything was sent: {total}");
    println!(
        "YEOUL_SEED={seed} YEOUL_KILLS={kills}: {total} events, {poison} poison messages, {repeated:?} sent again"
    );
}

/// The Python that has the clients, with a script; `None` when there is none here.
fn python(script: &str) -> Option<Command> {
    let mut command = Command::new(servers_folder()?.join("venv/bin/python"));
    command.args(["-c", script]);
    Some(command)
}

/// Java with Apache Kafka's own client, and a program; `None` when there is no Java here.
fn java(program: &str) -> Option<Command> {
    let jars = servers_folder()?.join("java");
    if !jars.exists() {
        return None;
    }
    let mut command = Command::new("java");
    command.arg("-cp").arg(jars.join("*")).arg(program);
    Some(command)
}

/// What a client says.
fn said(mut client: Command, arguments: &[&str]) -> String {
    let output = client.args(arguments).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    said
}

const CONFLUENT: &str = include_str!("kafka_confluent.py");
const KAFKA_PYTHON: &str = include_str!("kafka_python.py");
const JAVA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/KafkaJava.java");
const SETTINGS: &str = "gzip idempotent lz4 none snappy zero zstd";

/// A client sends 1000 events with each setting it has, to a listener that asks for a password.
fn sends_unchanged(client: Option<Command>, seed: u64) {
    let Some(client) = client else { return };
    let dir = project("CREATE STREAM shared (id BIGINT NOT NULL, part VARCHAR NOT NULL);\n");
    let login = "user = 'shop'\npassword = 's3cret'\n";
    let (mut running, address) = instance(&dir, login, seed);
    running.start();
    running.wait_ready();
    let said = said(client, &[&address, "shop", "s3cret"]);
    let found = running
        .ask("SELECT part, count(*), count(DISTINCT id) FROM shared GROUP BY part ORDER BY part");
    let expected: Vec<String> =
        SETTINGS.split(' ').map(|part| format!("{part},1000,1000")).collect();
    assert_eq!(found, expected, "{said}");
    assert!(said.contains("wrong password: refused"), "{said}");
    assert!(said.contains("unknown topic: refused"), "{said}");
}

#[test]
fn confluent_kafka_sends_unchanged() {
    sends_unchanged(python(CONFLUENT), 13);
}

#[test]
fn kafka_python_sends_unchanged() {
    sends_unchanged(python(KAFKA_PYTHON), 17);
}

#[test]
fn apache_kafka_sends_unchanged() {
    sends_unchanged(java(JAVA), 19);
}
