//! A million rows in one go: from a topic into a stream, and from there into another topic and back.

use std::time::{Duration, Instant};

use rdkafka::producer::{BaseRecord, Producer as _};
use yeoul_trials::{Broker, Kind, send_one};

use crate::shop::Shop;

const EVENTS: u64 = 1_000_000;
/// As many as are sent to a partition one after the other.
const BLOCK: u64 = 500;

/// What is there by key: how many, their sum, and a checksum in which order does not count.
fn sums(of: &str) -> String {
    format!(
        "SELECT id % 97 AS key, count(*), sum(id), count(DISTINCT id), \
         bit_xor(id * 2654435761 % 4294967291) FROM {of} GROUP BY 1 ORDER BY 1"
    )
}

/// The same of what was sent, counted here.
fn sent() -> Vec<String> {
    let mut all = vec![(0_u64, 0_u64, 0_u64); 97];
    for id in 0..EVENTS {
        let of = &mut all[usize::try_from(id % 97).expect("small")];
        *of = (of.0 + 1, of.1 + id, of.2 ^ (id * 2_654_435_761 % 4_294_967_291));
    }
    let rows = all.iter().enumerate();
    rows.map(|(key, (count, sum, check))| format!("{key}|{count}|{sum}|{count}|{check}")).collect()
}

#[test]
fn a_million_rows_go_through() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("events", 4);
    broker.create("out", 4);
    let producer = broker.producer(&[
        ("linger.ms", "5"),
        ("compression.type", "lz4"),
        ("batch.num.messages", "10000"),
    ]);
    for block in 0..EVENTS / BLOCK {
        let partition = i32::try_from(block % 4).expect("small");
        for id in block * BLOCK..(block + 1) * BLOCK {
            let value = format!("{{\"id\":{id},\"name\":\"n{}\"}}", id % 1000);
            let record = BaseRecord::<(), str>::to("events").partition(partition).payload(&value);
            send_one(&producer, record);
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(60)).expect("is sent");
    let shop = Shop::new();
    let of = |topic: &str| {
        format!("connector = 'kafka', brokers = '{}', topic = '{topic}'", broker.address())
    };
    let columns = "(id BIGINT NOT NULL, name TEXT)";
    shop.run(&format!("CREATE STREAM events {columns} WITH ({})", of("events")));
    // tansu shows aborted records to those who read committed ones: nothing fails here, so that each comes once.
    let way = "delivery = 'at_least_once', key = 'id'";
    shop.run(&format!("CREATE SINK out FROM events WITH ({}, {way})", of("out")));
    shop.run(&format!("CREATE STREAM back {columns} WITH ({})", of("out")));
    let (sources, sinks) = (shop.start().expect("starts"), shop.start_sinks());
    let begun = Instant::now();
    while shop.rows("SELECT count(*) FROM back") != [EVENTS.to_string()] {
        let errors =
            "SELECT stream, error FROM yeoul.sources UNION ALL SELECT name, error FROM yeoul.sinks";
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", shop.rows(errors));
        std::thread::sleep(Duration::from_millis(200));
    }
    sources.stop();
    sinks.stop();
    for of in ["events", "back"] {
        assert_eq!(shop.rows(&sums(of)), sent(), "{of}");
    }
    assert_eq!(shop.rows("SELECT count(*) FROM yeoul.dead_letters"), ["0"]);
}
