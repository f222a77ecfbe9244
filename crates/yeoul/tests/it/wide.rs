//! Memory is bounded whatever brokers send: events of a quarter of a megabyte go in, are kept, and go out again.
//!
//! What must hold: what is there at the end is what was sent, and how much memory the program had does not depend on how
//! wide events are.

use std::fmt::Write;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::producer::BaseRecord;
use yeoul_trials::{Broker, Kind, free_port, send_one};

use crate::program::project;
use crate::running::{PATIENCE, Running};

/// Events, and how long the text of each is: 375 MiB in all, which are stored three times.
const EVENTS: usize = 1_500;
const TEXT: usize = 256 << 10;
/// What the program may have at most, with limits that are small beside it. It has about 700; with groups of changes that
/// are limited by rows only, it had 1600.
const MIB_MAX: u64 = 1_000;

const SETTINGS: &str =
    "[limits]\nmemory_bytes_max = '16 MiB'\nqueue_bytes_max = '4 MiB'\nthreads = 2\n";

fn wait_for(running: &Running, sql: &str, expected: &str) {
    let begun = Instant::now();
    loop {
        let found = running.ask(sql);
        if found == [expected] {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{sql}: {found:?}\n{}", running.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn memory_is_bounded_whatever_is_sent() {
    let port = free_port();
    let Some(mut broker) = Broker::new(Kind::Memory, port, port) else { return };
    broker.restart();
    broker.create("wide", 4);
    broker.create("out", 4);
    // What compresses badly.
    let mut random = StdRng::seed_from_u64(1);
    let mut noise = String::new();
    while noise.len() < 16 * TEXT {
        write!(noise, "{:016x}", random.random::<u64>()).expect("writes");
    }
    let producer = broker.producer(&[("queue.buffering.max.kbytes", "65536")]);
    for id in 0..EVENTS {
        let at = id * 7919 % (noise.len() - TEXT);
        let event = format!("{{\"id\":{id},\"text\":\"{}\"}}", &noise[at..at + TEXT]);
        send_one(&producer, BaseRecord::<(), str>::to("wide").payload(&event));
    }
    rdkafka::producer::Producer::flush(&producer, PATIENCE).expect("the broker takes them");

    let address = broker.address();
    let columns = "id BIGINT NOT NULL, text VARCHAR";
    let of = |topic| format!("connector = 'kafka', brokers = '{address}', topic = '{topic}'");
    let dir = project(&format!(
        "CREATE STREAM wide ({columns}) WITH ({}, queue_bytes_max = '4 MiB');\n\
         CREATE STREAM back ({columns}) WITH ({}, queue_bytes_max = '4 MiB');\n\
         CREATE SINK out FROM wide WITH ({});\n\
         CREATE MATERIALIZED VIEW lengths AS SELECT count(*) AS n, sum(length(text)) AS bytes FROM wide;\n",
        of("wide"),
        of("out"),
        of("out")
    ));
    std::fs::write(dir.path().join("yeoul.toml"), SETTINGS).expect("writes");
    let mut running = Running::new(dir.path(), &format!("http://127.0.0.1:{}", free_port()));
    running.start();
    running.wait_ready();
    let all = format!("{EVENTS},{}", EVENTS * TEXT);
    wait_for(&running, "SELECT n, bytes FROM lengths", &all);
    wait_for(
        &running,
        "SELECT count(*), count(DISTINCT id) FROM back",
        &format!("{EVENTS},{EVENTS}"),
    );
    // A sink that begins when everything is there, and a query that reads all of it.
    running.ask(&format!("CREATE SINK again FROM wide WITH ({})", of("out")));
    wait_for(&running, "SELECT count(*) FROM back", &(2 * EVENTS).to_string());
    assert_eq!(
        running.ask("SELECT min(length(text)), max(length(text)) FROM back"),
        [format!("{TEXT},{TEXT}")]
    );
    if let Some(peak) = running.peak_mib() {
        println!("at most {peak} MiB");
        assert!(peak <= MIB_MAX, "it had {peak} MiB");
    }
    running.kill();
}
