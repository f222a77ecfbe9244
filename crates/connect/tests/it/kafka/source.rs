//! Every message is in the stream once: starts, restarts, poison, holes, groups, dead brokers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::temporal_conversions::timestamp_ms_to_datetime;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use yeoul_trials::{Broker, Kind, producer, send, send_one};

use crate::shop::{COLUMNS, Shop};

/// A message with this id.
pub(super) fn event(id: u64) -> String {
    format!("{{\"id\":{id},\"name\":\"n{id}\",\"ts\":{}}}", 1_769_900_400_000 + id)
}

pub(super) fn events(ids: std::ops::Range<u64>) -> Vec<String> {
    ids.map(event).collect()
}

pub(super) fn texts(events: &[String]) -> impl Iterator<Item = &str> {
    events.iter().map(String::as_str)
}

/// A stream over `topic` with these options.
pub(super) fn create(shop: &Shop, broker: &str, topic: &str, options: &str) {
    shop.run(&format!(
        "CREATE STREAM events {COLUMNS} WITH (connector = 'kafka', brokers = '{broker}', topic = '{topic}'{options})"
    ));
}

/// Waits until the query gives this row.
pub(super) fn wait_for(shop: &Shop, sql: &str, expected: &[&str]) {
    let begun = Instant::now();
    loop {
        let rows = shop.rows(sql);
        if rows == expected {
            return;
        }
        const ERRORS: &str = "SELECT stream, error FROM yeoul.sources \
            UNION ALL SELECT name, error FROM yeoul.sinks";
        let in_time = begun.elapsed() < Duration::from_secs(40);
        assert!(in_time, "{sql}: {rows:?}, not {expected:?}; {:?}", shop.rows(ERRORS));
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) const ONCE: &str = "SELECT count(*), count(DISTINCT id) FROM events";

#[test]
fn every_message_once_over_restarts_and_new_partitions() {
    for kind in [Kind::Tansu, Kind::Noida, Kind::Memory] {
        let Some(broker) = Broker::start(kind) else { continue };
        broker.create("clicks", 3);
        let producer = broker.producer(&[]);
        let all = events(0..3000);
        for partition in 0..3 {
            let of = all.iter().skip(partition).step_by(3).map(String::as_str);
            send(&producer, "clicks", i32::try_from(partition).expect("small"), of);
        }
        let mut shop = Shop::new();
        create(&shop, &broker.address(), "clicks", "");
        for round in 0..3_u64 {
            let sources = shop.start().expect("starts");
            let more = events(3000 + round * 100..3100 + round * 100);
            send(&producer, "clicks", 1, texts(&more));
            let expected = 3000 + (round + 1) * 100;
            wait_for(&shop, ONCE, &[&format!("{expected}|{expected}")]);
            sources.stop();
            if round > 0 {
                shop.restart();
            }
        }
        let sources = "SELECT source, partition, position, received, dead_letters FROM yeoul.sources ORDER BY partition";
        let expected = [
            "kafka|clicks/0|1000|1000|0",
            "kafka|clicks/1|1300|1300|0",
            "kafka|clicks/2|1000|1000|0",
        ];
        assert_eq!(shop.rows(sources), expected, "{kind:?}");
        // What a partition brings that was added while nobody looked is read from its beginning, wherever others began.
        if kind != Kind::Tansu {
            broker.extend("clicks", 4);
            send(&broker.producer(&[]), "clicks", 3, texts(&events(9000..9005)));
            let sources = shop.start().expect("starts");
            wait_for(&shop, ONCE, &["3305|3305"]);
            sources.stop();
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the broker goes by the time of the day")]
fn a_partition_begins_where_start_says_and_nowhere_else_afterwards() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    // Messages of long ago are not kept.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let begin_ms = (i64::try_from(now).expect("a time") - 100) * 1000;
    let fifth = timestamp_ms_to_datetime(begin_ms + 4000).expect("a time");
    let at_time = format!(", start = '{fifth}'");
    let cases = [
        (", start = 'earliest'", 20),
        (", start = 'latest'", 0),
        (", start = '0:7, 1:9'", 4),
        (", start = '1:9'", 11),
        (&at_time, 16),
        (", partitions = '1'", 10),
    ];
    for (number, (options, expected)) in cases.into_iter().enumerate() {
        let topic = format!("clicks-{number}");
        broker.create(&topic, 2);
        let producer = broker.producer(&[]);
        for id in 0..10 {
            let value = event(id);
            let ms = begin_ms + 1000 * i64::try_from(id).expect("small");
            let record = BaseRecord::<(), str>::to(&topic).partition(0).timestamp(ms);
            send_one(&producer, record.payload(&value));
        }
        send(&producer, &topic, 1, texts(&events(100..110)));
        let mut shop = Shop::new();
        create(&shop, &broker.address(), &topic, options);
        let sources = shop.start().expect("starts");
        let begun = "SELECT count(*) > 0 FROM yeoul.sources WHERE partition <> ''";
        wait_for(&shop, begun, &["true"]);
        wait_for(&shop, "SELECT count(*) FROM events", &[&expected.to_string()]);
        sources.stop();
        // The decision is stored: what comes while nobody reads is read, and nothing before.
        send(&producer, &topic, 1, texts(&events(1000..1003)));
        shop.restart();
        let sources = shop.start().expect("starts");
        wait_for(&shop, "SELECT count(*) FROM events", &[&(expected + 3).to_string()]);
        sources.stop();
    }
}

#[test]
fn poison_is_a_dead_letter_with_its_place_and_stops_nothing() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 1);
    let pretty = "{\n  \"id\": 7,\r\n  \"name\": \"x\"\n}";
    let messages = [
        &event(1),
        "{\"id\":",
        "",
        "[1]",
        &event(2),
        pretty,
        "{\"id\":1}{\"id\":2}",
        &event(3),
        "{\"id\":\"much\"}",
    ];
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("clicks-{codec}");
        broker.create(&topic, 1);
        let producer = broker.producer(&[("compression.type", codec), ("linger.ms", "50")]);
        send(&producer, &topic, 0, messages);
        let shop = Shop::new();
        create(&shop, &broker.address(), &topic, "");
        let sources = shop.start().expect("starts");
        wait_for(&shop, "SELECT id FROM events ORDER BY id", &["1", "2", "3", "7"]);
        wait_for(&shop, "SELECT count(*) FROM yeoul.dead_letters", &["5"]);
        let places =
            shop.rows("SELECT position, raw::varchar FROM yeoul.dead_letters ORDER BY ordinal");
        let expected = [
            (1, "{\"id\":"),
            (2, ""),
            (3, "[1]"),
            (6, "{\"id\":1}{\"id\":2}"),
            (8, "{\"id\":\"much\"}"),
        ];
        let expected = expected.map(|(offset, raw)| format!("{topic}/0@{offset}|{raw}"));
        assert_eq!(places, expected);
        sources.stop();
    }
}

#[test]
fn a_topic_that_is_not_there_holds_no_other() {
    for kind in [Kind::Tansu, Kind::Noida, Kind::Memory] {
        let Some(broker) = Broker::start(kind) else { continue };
        broker.create("clicks", 1);
        send(&broker.producer(&[]), "clicks", 0, texts(&events(0..10)));
        let shop = Shop::new();
        create(&shop, &broker.address(), "clicks, vews", "");
        let sources = shop.start().expect("starts");
        wait_for(&shop, ONCE, &["10|10"]);
        let said = "SELECT DISTINCT last_error LIKE '%\"vews\"%' FROM yeoul.sources";
        wait_for(&shop, said, &["true"]);
        broker.create("vews", 1);
        send(&broker.producer(&[]), "vews", 0, texts(&events(10..20)));
        wait_for(&shop, ONCE, &["20|20"]);
        sources.stop();
    }
}

#[test]
fn rows_of_a_table_come_from_messages() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("products", 1);
    let of = |id: u64, name: &str| format!("{{\"id\":{id},\"name\":\"{name}\"}}");
    let messages = [of(1, "tea"), of(2, "pot"), of(1, "green tea"), of(2, "pot"), of(3, "cup")];
    send(&broker.producer(&[]), "products", 0, texts(&messages));
    let mut shop = Shop::new();
    shop.run(&format!(
        "CREATE TABLE products (id BIGINT PRIMARY KEY, name TEXT, off BIGINT METADATA FROM 'offset') \
         WITH (connector = 'kafka', brokers = '{}', topic = 'products')",
        broker.address()
    ));
    let sources = shop.start().expect("starts");
    let all = "SELECT id, name, off FROM products ORDER BY id";
    wait_for(&shop, all, &["1|green tea|2", "2|pot|3", "3|cup|4"]);
    sources.stop();
    shop.restart();
    let sources = shop.start().expect("starts");
    send(&broker.producer(&[]), "products", 0, [of(3, "mug").as_str()]);
    wait_for(&shop, all, &["1|green tea|2", "2|pot|3", "3|mug|5"]);
    sources.stop();
}

#[test]
fn a_broker_that_died_does_not_hold_what_ends() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 1);
    let producer = broker.producer(&[]);
    send(&producer, "clicks", 0, texts(&events(0..10)));
    let shop = Shop::new();
    create(&shop, &broker.address(), "clicks", ", group = 'shop'");
    let sources = shop.start().expect("starts");
    wait_for(&shop, ONCE, &["10|10"]);
    drop(broker);
    let begun = Instant::now();
    sources.stop();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_stream_that_refuses_bad_rows_stops_at_the_poison_and_says_where() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 1);
    send(&broker.producer(&[]), "clicks", 0, [&event(1), "{", &event(2)]);
    let shop = Shop::new();
    create(&shop, &broker.address(), "clicks", ", on_error = 'fail'");
    let sources = shop.start().expect("starts");
    wait_for(&shop, "SELECT DISTINCT state FROM yeoul.sources", &["failed"]);
    let error = sources.outcome().expect_err("it failed").to_string();
    assert!(error.contains("clicks/0@1: not JSON"), "{error}");
    assert_eq!(shop.count(), 0);
    sources.stop();
}

#[test]
fn what_the_broker_has_no_more_stops_the_source_until_it_is_said_what_to_do() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("clicks", 1);
    let producer = broker.producer(&[]);
    send(&producer, "clicks", 0, texts(&events(0..10)));
    let mut shop = Shop::new();
    create(&shop, &broker.address(), "clicks", "");
    let sources = shop.start().expect("starts");
    wait_for(&shop, ONCE, &["10|10"]);
    sources.stop();
    broker.delete("clicks");
    broker.create("clicks", 1);
    send(&producer, "clicks", 0, texts(&events(20..23)));
    shop.restart();
    let sources = shop.start().expect("starts");
    wait_for(&shop, "SELECT state FROM yeoul.sources WHERE partition <> ''", &["failed"]);
    let error = sources.outcome().expect_err("it failed").to_string();
    assert!(error.contains("offset 10 is next, and the broker's last is before 3"), "{error}");
    sources.stop();
}

/// Where the broker's first message of a partition is, and where its last one ends.
fn kept(broker: &Broker, topic: &str) -> (i64, i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .create()
        .expect("a consumer");
    consumer.fetch_watermarks(topic, 0, Duration::from_secs(5)).expect("answers")
}

#[test]
fn messages_that_were_not_kept_are_a_hole_of_known_size() {
    for kind in [Kind::Noida, Kind::Memory] {
        if let Some(broker) = Broker::start(kind) {
            holes(&broker);
        }
    }
}

fn holes(broker: &Broker) {
    broker.create("clicks", 1);
    let producer = broker.producer(&[]);
    let mut shop = Shop::new();
    create(&shop, &broker.address(), "clicks", "");
    send(&producer, "clicks", 0, texts(&events(0..5)));
    let sources = shop.start().expect("starts");
    wait_for(&shop, ONCE, &["5|5"]);
    sources.stop();
    send(&producer, "clicks", 0, texts(&events(5..25)));
    broker.forget("clicks", 0, 25);
    assert_eq!(kept(broker, "clicks"), (25, 25));
    send(&producer, "clicks", 0, texts(&events(30..33)));
    shop.restart();
    let sources = shop.start().expect("starts");
    wait_for(&shop, "SELECT state FROM yeoul.sources WHERE partition <> ''", &["failed"]);
    let error = sources.outcome().expect_err("it failed").to_string();
    let hole = "clicks/0: 20 messages are missing: offset 5 is next, and the broker has 25 to 28";
    assert!(error.contains(hole), "{error}");
    // What it advises is all there is to do.
    let advice = "ALTER STREAM events SET (missing_offset = 'earliest')";
    assert!(error.contains(advice), "{error}");
    shop.run(advice);
    wait_for(&shop, ONCE, &["8|8"]);
    let told = "SELECT position, last_error LIKE '%20 messages from offset 5 on were missing%' FROM yeoul.sources";
    wait_for(&shop, told, &["28|true"]);
    sources.stop();
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let Some(mut broker) = Broker::start(Kind::Noida) else { return };
    broker.create("clicks", 1);
    send(&broker.producer(&[]), "clicks", 0, texts(&events(0..10)));
    // What noida has written is on the disk a second later.
    std::thread::sleep(Duration::from_millis(1500));
    broker.kill();
    let shop = Shop::new();
    create(&shop, &broker.address(), "clicks", ", retry_wait_max = '300 milliseconds'");
    let sources = shop.start().expect("starts");
    wait_for(&shop, "SELECT state, error IS NOT NULL FROM yeoul.sources", &["running|true"]);
    broker.restart();
    wait_for(&shop, ONCE, &["10|10"]);
    for round in 1..4 {
        std::thread::sleep(Duration::from_millis(1500));
        broker.kill();
        std::thread::sleep(Duration::from_millis(300));
        broker.restart();
        send(&broker.producer(&[]), "clicks", 0, texts(&events(round * 10..round * 10 + 10)));
        let all = round * 10 + 10;
        wait_for(&shop, ONCE, &[&format!("{all}|{all}")]);
    }
    wait_for(&shop, "SELECT error, last_error IS NOT NULL FROM yeoul.sources", &["-|true"]);
    sources.stop();
}

#[test]
fn a_cluster_that_fails_now_and_then_is_read_all_the_same() {
    let cluster = MockCluster::new(3).expect("a cluster");
    cluster.create_topic("clicks", 4, 3).expect("a topic");
    let address = cluster.bootstrap_servers();
    let producer = producer(&address, &[]);
    let shop = Shop::new();
    create(&shop, &address, "clicks", "");
    let sources = shop.start().expect("starts");
    let wrong = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    ];
    for round in 0..8_u64 {
        let partition = i32::try_from(round % 4).expect("small");
        send(&producer, "clicks", partition, texts(&events(round * 100..round * 100 + 100)));
        cluster.request_errors(RDKafkaApiKey::Fetch, &wrong);
        let leader = i32::try_from(round % 3 + 1).expect("small");
        cluster.partition_leader("clicks", partition, Some(leader)).expect("moves");
        if round % 3 == 1 {
            cluster.broker_down(leader).expect("goes down");
            std::thread::sleep(Duration::from_millis(100));
            cluster.broker_up(leader).expect("comes up");
        }
    }
    wait_for(&shop, ONCE, &["800|800"]);
    sources.stop();
}

/// A backlog that comes faster than it is taken: partitions are paused and resumed, and nothing is lost by it.
#[test]
fn a_backlog_is_read_whole() {
    const EVENTS: u64 = 400_000;
    for kind in [Kind::Tansu, Kind::Noida, Kind::Memory] {
        let Some(broker) = Broker::start(kind) else { continue };
        broker.create("clicks", 4);
        let producer = broker.producer(&[
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            ("batch.num.messages", "10000"),
        ]);
        for block in 0..EVENTS / 500 {
            let partition = i32::try_from(block % 4).expect("small");
            for id in block * 500..block * 500 + 500 {
                let value = event(id);
                let record = BaseRecord::<(), str>::to("clicks").partition(partition);
                send_one(&producer, record.payload(&value));
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(Duration::from_secs(60)).expect("is sent");
        let shop = Shop::new();
        create(&shop, &broker.address(), "clicks", ", queue_bytes_max = '4 MiB'");
        let sources = shop.start().expect("starts");
        let end = format!("{}", EVENTS / 4);
        let there = "SELECT DISTINCT position FROM yeoul.sources";
        wait_for(&shop, there, &[&end]);
        wait_for(&shop, ONCE, &[&format!("{EVENTS}|{EVENTS}")]);
        sources.stop();
    }
}
