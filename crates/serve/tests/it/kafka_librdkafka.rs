//! Producers of librdkafka, which think that they talk to Kafka.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use yeoul_engine::EngineOptions;
use yeoul_serve::{KafkaCredentials, KafkaOptions};
use yeoul_trials::{producer, send, send_one};

use crate::fixture::Fixture;

const PATIENCE: Duration = Duration::from_secs(20);

fn event(id: u64) -> String {
    format!(
        "{{\"event_id\":\"e{id}\",\"ts\":\"2026-01-01T00:00:00Z\",\"user_id\":\"u\",\"price\":1}}"
    )
}

fn send_events(producer: &BaseProducer, topic: &str, ids: std::ops::Range<u64>) {
    let events: Vec<String> = ids.map(event).collect();
    send(producer, topic, 0, events.iter().map(String::as_str));
}

/// What became of each message, and what librdkafka had to say.
#[derive(Clone, Default)]
struct Reports {
    failed: Arc<Mutex<Vec<(RDKafkaErrorCode, String)>>>,
    said: Arc<Mutex<Vec<String>>>,
    /// Bytes of messages that were sent.
    bytes: Arc<AtomicI64>,
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        self.said.lock().unwrap().push(message.to_owned());
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.said.lock().unwrap().push(reason.to_owned());
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        self.bytes.store(statistics.tx_bytes, Ordering::Relaxed);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let payload = message.payload().unwrap_or_default();
            let payload = String::from_utf8_lossy(payload).into_owned();
            let code = error.rdkafka_error_code().unwrap();
            self.failed.lock().unwrap().push((code, payload));
        }
    }
}

fn config(fixture: &Fixture, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", fixture.kafka.to_string());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// Without a unique key, so that what is sent twice is there twice.
const EVENTS: &str = "CREATE STREAM events \
    (event_id VARCHAR, ts TIMESTAMPTZ, user_id VARCHAR, price DOUBLE PRECISION)";

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.sql(EVENTS);
    fixture
}

#[test]
fn every_compression_and_acknowledgement() {
    let fixture = fixture();
    let (mut sent, mut plain) = (0, 0);
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for (acks, idempotence) in [("all", "false"), ("1", "false"), ("all", "true")] {
            let settings = [
                ("compression.type", compression),
                ("acks", acks),
                ("enable.idempotence", idempotence),
                ("linger.ms", "20"),
                ("statistics.interval.ms", "10"),
            ];
            let reports = Reports::default();
            let producer: BaseProducer<Reports> =
                config(&fixture, &settings).create_with_context(reports.clone()).unwrap();
            for id in sent..sent + 2_000 {
                let event = event(id);
                let record = BaseRecord::<(), str>::to("events").payload(&event);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(PATIENCE).unwrap();
            sent += 2_000;
            let stored = fixture.one("SELECT count(*) FROM events");
            assert_eq!(stored, sent, "{compression} {acks} {idempotence}");
            // librdkafka leaves compression out where it thinks that a broker does not know it.
            let begin = std::time::Instant::now();
            let before = reports.bytes.load(Ordering::Relaxed);
            while reports.bytes.load(Ordering::Relaxed) == before
                && begin.elapsed().as_millis() < 100
            {
                producer.poll(Duration::from_millis(10));
            }
            let bytes = reports.bytes.load(Ordering::Relaxed);
            if compression == "none" {
                plain = bytes;
            }
            assert!(bytes > 2_000, "{compression} {bytes}");
            assert!(compression == "none" || bytes < plain / 2, "{compression} {bytes} {plain}");
        }
    }
    assert_eq!(fixture.one("SELECT count(DISTINCT event_id) FROM events"), sent);
    assert_eq!(fixture.one("SELECT received FROM yeoul.sources WHERE source = 'kafka wire'"), sent);
}

#[test]
fn nobody_waits_for_an_answer() {
    let fixture = fixture();
    let producer = producer(&fixture.kafka.to_string(), &[("acks", "0"), ("linger.ms", "1")]);
    send_events(&producer, "events", 0..5_000);
    drop(producer);
    let begin = std::time::Instant::now();
    while fixture.one("SELECT count(*) FROM events") != 5_000 {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn several_topics_and_what_is_no_record() {
    let fixture = fixture();
    fixture.sql("CREATE STREAM \"web.clicks-1\" (id BIGINT, at TIMESTAMPTZ)");
    fixture.sql("CREATE TABLE products (id BIGINT PRIMARY KEY, name VARCHAR)");
    fixture.sql("CREATE STREAM lines (id BIGINT, name VARCHAR) WITH (format = 'csv')");
    let producer = producer(&fixture.kafka.to_string(), &[("enable.idempotence", "true")]);
    for id in 0..300 {
        for (topic, value) in [
            ("events", event(id)),
            ("web.clicks-1", format!("{{\"id\":{id}}}")),
            ("products", format!("{{\"id\":{},\"name\":\"n{id}\"}}", id % 10)),
            ("lines", format!("{id},\"a,b\"")),
        ] {
            send_one(&producer, BaseRecord::<(), str>::to(topic).payload(&value));
        }
    }
    send_one(&producer, BaseRecord::<(), str>::to("events").payload("{\"event_id\":"));
    send_one(&producer, BaseRecord::<(), str>::to("events"));
    producer.flush(PATIENCE).unwrap();
    for (topic, expected) in
        [("events", 300), ("\"web.clicks-1\"", 300), ("products", 10), ("lines", 300)]
    {
        assert_eq!(fixture.one(&format!("SELECT count(*) FROM {topic}")), expected, "{topic}");
    }
    let letters = fixture.sql("SELECT position, reason FROM yeoul.dead_letters ORDER BY position");
    let rows = letters["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{letters}");
    for (row, (number, reason)) in rows.iter().zip([("300", "ended"), ("301", "no value")]) {
        let position = row["position"].as_str().unwrap();
        assert!(
            position.starts_with("producer ") && position.ends_with(&format!("/0@{number}")),
            "{row}"
        );
        assert!(reason == "ended" || row["reason"].as_str().unwrap().contains(reason), "{row}");
    }
    drop(producer);
    let plain = yeoul_trials::producer(&fixture.kafka.to_string(), &[("client.id", "shop")]);
    send(&plain, "events", 0, ["{broken"]);
    let found =
        fixture.one("SELECT position FROM yeoul.dead_letters WHERE position LIKE 'client%'");
    assert_eq!(found, "client \"shop\", record 1 of 1");
}

#[test]
fn changes_of_tables_have_keys() {
    let fixture = fixture();
    fixture.sql("CREATE TABLE rows (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL)");
    fixture.sql(
        "CREATE TABLE told (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, story VARCHAR) \
         WITH (format = 'debezium-json')",
    );
    let producer = producer(&fixture.kafka.to_string(), &[("enable.idempotence", "true")]);
    let row = |id: u64| format!("{{\"id\":{id},\"name\":\"n{id}\"}}");
    for id in 0..20 {
        let (key, value) = (id.to_string(), row(id));
        send_one(&producer, BaseRecord::<str, str>::to("rows").key(&key).payload(&value));
        let value = format!("{{\"op\":\"c\",\"before\":null,\"after\":{value}}}");
        send_one(&producer, BaseRecord::<str, str>::to("told").key(&key).payload(&value));
        if id % 2 == 0 {
            send_one(&producer, BaseRecord::<str, str>::to("rows").key(&key));
            let value = format!("{{\"op\":\"d\",\"before\":{},\"after\":null}}", row(id));
            send_one(&producer, BaseRecord::<str, str>::to("told").key(&key).payload(&value));
        }
    }
    let stays = "{\"op\":\"u\",\"after\":{\"id\":ID,\"name\":\"new\",\"story\":\"__debezium_unavailable_value\"}}";
    for id in ["1", "2"] {
        let value = stays.replace("ID", id);
        send_one(&producer, BaseRecord::<(), str>::to("told").payload(&value));
    }
    send_one(&producer, BaseRecord::<(), str>::to("rows"));
    producer.flush(PATIENCE).unwrap();
    assert_eq!(fixture.one("SELECT count(*) FROM rows WHERE id % 2 = 1"), 10);
    assert_eq!(fixture.one("SELECT count(*) FROM rows"), 10);
    assert_eq!(fixture.one("SELECT count(*) FROM told"), 10);
    assert_eq!(fixture.one("SELECT name FROM told WHERE id = 1"), "new");
    let letters = "SELECT count(*) FROM yeoul.dead_letters WHERE reason LIKE";
    assert_eq!(fixture.one(&format!("{letters} '%its value stays as it is%'")), 1);
    assert_eq!(fixture.one(&format!("{letters} '%no key that says which'")), 1);
}

#[test]
fn topics_are_streams() {
    let fixture = fixture();
    fixture.sql("CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM events");
    let settings = [("message.timeout.ms", "1500"), ("topic.metadata.propagation.max.ms", "500")];
    let reports = Reports::default();
    let producer: BaseProducer<Reports> =
        config(&fixture, &settings).create_with_context(reports.clone()).unwrap();
    let metadata = producer.client().fetch_metadata(None, PATIENCE).unwrap();
    let topics: Vec<&str> =
        metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name).collect();
    assert_eq!(topics, ["events"]);
    assert_eq!(metadata.topics()[0].partitions().len(), 1);
    for topic in ["evnts", "totals"] {
        producer.send(BaseRecord::<(), str>::to(topic).payload("{}")).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let failed = reports.failed.lock().unwrap();
    let codes: Vec<RDKafkaErrorCode> = failed.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [RDKafkaErrorCode::UnknownTopicOrPartition; 2]);

    let admin: AdminClient<DefaultClientContext> = config(&fixture, &[]).create().unwrap();
    let wanted =
        ["events", "orders"].map(|topic| NewTopic::new(topic, 3, TopicReplication::Fixed(1)));
    let made =
        fixture.runtime.block_on(admin.create_topics(&wanted, &AdminOptions::new())).unwrap();
    assert_eq!(made[0], Err(("events".to_owned(), RDKafkaErrorCode::TopicAlreadyExists)));
    assert_eq!(made[1], Err(("orders".to_owned(), RDKafkaErrorCode::PolicyViolation)));
}

#[test]
fn a_batch_with_a_bad_record_is_refused_where_the_stream_says_so() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM strict (id BIGINT) WITH (on_error = 'fail')");
    for idempotence in ["false", "true"] {
        let reports = Reports::default();
        let settings = [("enable.idempotence", idempotence), ("linger.ms", "500")];
        let producer: BaseProducer<Reports> =
            config(&fixture, &settings).create_with_context(reports.clone()).unwrap();
        for value in ["{\"id\":1}", "{\"id\":", "{\"id\":3}"] {
            producer
                .send(BaseRecord::<(), str>::to("strict").payload(value))
                .map_err(|(e, _)| e)
                .unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        let failed = std::mem::take(&mut *reports.failed.lock().unwrap());
        assert_eq!(failed.len(), 3, "{idempotence}: {failed:?}");
        assert!(
            failed.iter().any(|(code, _)| *code == RDKafkaErrorCode::InvalidRecord),
            "{failed:?}"
        );
        assert_eq!(fixture.one("SELECT count(*) FROM strict"), 0);
        // What is mended is taken, by the same producer.
        producer
            .send(BaseRecord::<(), str>::to("strict").payload("{\"id\":4}"))
            .map_err(|(e, _)| e)
            .unwrap();
        producer.flush(PATIENCE).unwrap();
        assert_eq!(reports.failed.lock().unwrap().len(), 0, "{idempotence}");
        assert_eq!(fixture.one("SELECT count(*) FROM strict"), 1, "{idempotence}");
        fixture.sql("DROP STREAM strict");
        fixture.sql("CREATE STREAM strict (id BIGINT) WITH (on_error = 'fail')");
    }
}

#[test]
fn who_wants_to_read_or_transactions_is_told() {
    let fixture = fixture();
    let reports = Reports::default();
    let consumer: BaseConsumer<ConsumerReports> = config(&fixture, &[("group.id", "g")])
        .create_with_context(ConsumerReports(reports.clone()))
        .unwrap();
    consumer.subscribe(&["events"]).unwrap();
    let begin = std::time::Instant::now();
    loop {
        let told = reports.said.lock().unwrap().join("\n");
        if let Some(Err(error)) = consumer.poll(Duration::from_millis(50)) {
            reports.said.lock().unwrap().push(error.to_string());
        }
        if told.contains("ingest listener") {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{told}");
    }
    drop(consumer);
    let reader: BaseConsumer = config(&fixture, &[("group.id", "g")]).create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset("events", 0, Offset::Offset(0)).unwrap();
    reader.assign(&from).unwrap();
    let begin = std::time::Instant::now();
    loop {
        if let Some(outcome) = reader.poll(Duration::from_millis(50)) {
            let error = outcome.expect_err("there is nothing to read");
            assert!(error.to_string().contains("Invalid request"), "{error}");
            break;
        }
        assert!(begin.elapsed() < PATIENCE);
    }
    let settings = [("transactional.id", "t"), ("enable.idempotence", "true")];
    let producer: BaseProducer = config(&fixture, &settings).create().unwrap();
    let error = producer.init_transactions(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("no transactions"), "{error}");
}

struct ConsumerReports(Reports);

impl ClientContext for ConsumerReports {
    fn log(&self, level: RDKafkaLogLevel, place: &str, message: &str) {
        self.0.log(level, place, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for ConsumerReports {}

#[test]
fn a_password_is_asked_when_one_is_set() {
    let credentials = KafkaCredentials { user: "shop".into(), password: "s3cret".into() };
    let options = KafkaOptions { credentials: Some(credentials), ..KafkaOptions::default() };
    let fixture = Fixture::with_kafka(EngineOptions::default(), options);
    fixture.sql(EVENTS);
    let login = |password: &'static str| {
        [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "shop"),
            ("sasl.password", password),
        ]
    };
    let right = producer(&fixture.kafka.to_string(), &login("s3cret"));
    send_events(&right, "events", 0..100);
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 100);
    for settings in [&login("wrong")[..], &[]] {
        let reports = Reports::default();
        let mut config = config(&fixture, settings);
        config.set("message.timeout.ms", "1500");
        let producer: BaseProducer<Reports> = config.create_with_context(reports.clone()).unwrap();
        producer
            .send(BaseRecord::<(), str>::to("events").payload("{}"))
            .map_err(|(e, _)| e)
            .unwrap();
        producer.flush(PATIENCE).unwrap();
        assert_eq!(reports.failed.lock().unwrap().len(), 1);
        let told = reports.said.lock().unwrap().join("\n");
        assert!(settings.is_empty() || told.contains("password is wrong"), "{told}");
    }
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 100);
}

#[test]
fn with_a_full_queue_producers_wait() {
    let engine = EngineOptions { queue_bytes_max: 64 << 10, ..EngineOptions::default() };
    let options = KafkaOptions {
        request_bytes_max: 2 << 20,
        requests_bytes_max: 2 << 20,
        queue_timeout: Duration::from_millis(5),
        ..KafkaOptions::default()
    };
    let fixture = Fixture::with_kafka(engine, options);
    fixture.sql(EVENTS);
    let address = fixture.kafka.to_string();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let address = &address;
            scope.spawn(move || {
                let settings = [
                    ("enable.idempotence", "true"),
                    ("batch.num.messages", "500"),
                    ("retry.backoff.ms", "5"),
                    ("compression.type", if number % 2 == 0 { "lz4" } else { "none" }),
                ];
                let producer = producer(address, &settings);
                send_events(&producer, "events", number * 20_000..(number + 1) * 20_000);
            });
        }
    });
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 80_000);
    assert_eq!(fixture.one("SELECT count(DISTINCT event_id) FROM events"), 80_000);
}
