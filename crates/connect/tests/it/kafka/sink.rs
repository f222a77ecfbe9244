//! Changes into topics: what a reader of committed messages sees is what is there, once, whatever stops between.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use yeoul_trials::{Broker, Kind};

use super::source::wait_for;
use crate::shop::Shop;

/// A message as texts: its key, its value (`None`: a tombstone), and its partition.
type Read = (Option<String>, Option<String>, i32);

/// Reads what is committed in a topic, until there are `count` messages and a moment more.
struct Reader {
    consumer: BaseConsumer,
    read: Vec<Read>,
}

impl Reader {
    fn new(broker: &str, topic: &str, partitions: i32) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker)
            .set("group.id", "reader")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("assigns");
        Self { consumer, read: Vec::new() }
    }

    fn poll(&mut self) {
        while let Some(message) = self.consumer.poll(Duration::from_millis(100)) {
            let Ok(message) = message else { continue };
            let text = |bytes: Option<&[u8]>| {
                bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("is text"))
            };
            self.read.push((text(message.key()), text(message.payload()), message.partition()));
        }
    }

    /// Reads until `done`, and a little longer: what comes twice would come then.
    fn until(&mut self, what: &str, done: impl Fn(&[Read]) -> bool) {
        let begun = Instant::now();
        while !done(&self.read) {
            assert!(
                begun.elapsed() < Duration::from_secs(40),
                "{what}: {} read, the last {:?}",
                self.read.len(),
                self.read.iter().rev().take(5).collect::<Vec<_>>()
            );
            self.poll();
        }
        self.poll();
        assert!(done(&self.read), "{what}: more came");
    }

    fn values(&self) -> Vec<&str> {
        self.read.iter().map(|read| read.1.as_deref().unwrap_or("-")).collect()
    }

    /// What is there by key when tombstones take away.
    fn by_key(&self) -> BTreeMap<&str, &str> {
        let mut all = BTreeMap::new();
        for (key, value, _) in &self.read {
            let key = key.as_deref().expect("a key");
            match value {
                Some(value) => all.insert(key, value.as_str()),
                None => all.remove(key),
            };
        }
        all
    }
}

#[test]
fn rows_of_a_stream_are_appended_and_those_there_come_first() {
    for kind in [Kind::Noida, Kind::Tansu, Kind::Memory] {
        let Some(broker) = Broker::start(kind) else { continue };
        broker.create("out", 1);
        let shop = Shop::new();
        shop.run("CREATE STREAM events (id BIGINT, name TEXT)");
        shop.run("INSERT INTO events VALUES (1, 'a'), (2, NULL)");
        shop.run(&format!(
            "CREATE SINK out FROM events WITH (connector = 'kafka', brokers = '{}', topic = 'out')",
            broker.address()
        ));
        let sinks = shop.start_sinks();
        shop.run("INSERT INTO events VALUES (3, 'c\"')");
        let mut reader = Reader::new(&broker.address(), "out", 1);
        reader.until("appended", |read| read.len() == 3);
        let expected =
            [r#"{"id":1,"name":"a"}"#, r#"{"id":2,"name":null}"#, r#"{"id":3,"name":"c\""}"#];
        assert_eq!(reader.values(), expected);
        assert!(reader.read.iter().all(|read| read.0.is_none()));
        let of_sinks =
            "SELECT name, sends, envelope, state, lag_seconds, sent_rows, error FROM yeoul.sinks";
        wait_for(&shop, of_sinks, &["out|events|append|running|0.0|3|-"]);
        // What was sent is not kept.
        wait_for(&shop, "SELECT kept_rows FROM yeoul.sinks", &["0"]);
        sinks.stop();
    }
}

#[test]
fn a_table_is_upserted_by_its_key_and_a_view_by_its_groups() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("t", 4);
    broker.create("v", 4);
    let mut shop = Shop::new();
    shop.run("CREATE TABLE t (id BIGINT PRIMARY KEY, g TEXT)");
    shop.run("INSERT INTO t SELECT v, 'g' || v % 5 FROM generate_series(1, 50) AS s(v)");
    shop.run("CREATE MATERIALIZED VIEW v AS SELECT g, count(*) AS n FROM t GROUP BY g");
    for name in ["t", "v"] {
        shop.run(&format!(
            "CREATE SINK {name}_out FROM {name} WITH (connector = 'kafka', brokers = '{}', topic = '{name}')",
            broker.address()
        ));
    }
    let mut sinks = shop.start_sinks();
    let sent = "SELECT count(*) FROM yeoul.sinks WHERE sent_rows > 0";
    wait_for(&shop, sent, &["2"]);
    for round in 0..4 {
        shop.run(&format!("UPDATE t SET g = 'g{round}' WHERE id % 7 = {round}"));
        shop.run(&format!("DELETE FROM t WHERE id % 11 = {round}"));
        if round == 1 {
            sinks.stop();
            shop.restart();
            sinks = shop.start_sinks();
        }
        shop.run("DELETE FROM t WHERE g = 'g4'");
    }
    let rows = |sql: &str| shop.rows(sql);
    let t: Vec<String> =
        rows("SELECT '{\"id\":' || id || ',\"g\":\"' || g || '\"}' FROM t ORDER BY id");
    let v: Vec<String> =
        rows("SELECT '{\"g\":\"' || g || '\",\"n\":' || n || '}' FROM v ORDER BY g");
    for (topic, mut expected) in [("t", t), ("v", v)] {
        expected.sort_unstable();
        let begun = Instant::now();
        // A reader that goes on behind a transaction that was aborted sees nothing of this broker any more.
        let reader = loop {
            let mut reader = Reader::new(&broker.address(), topic, 4);
            (0..10).for_each(|_| reader.poll());
            let mut values: Vec<&str> = reader.by_key().into_values().collect();
            values.sort_unstable();
            if values == expected {
                break reader;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{values:?}, not {expected:?}");
        };
        let mut places: BTreeMap<&Option<String>, i32> = BTreeMap::new();
        for (key, _, partition) in &reader.read {
            let place = places.entry(key).or_insert(*partition);
            assert_eq!(place, partition, "a key has one partition");
        }
        let beginning = if topic == "t" { "{\"id\":" } else { "{\"g\":\"g" };
        assert!(reader.by_key().keys().all(|key| key.starts_with(beginning)));
        let tombstones = reader.read.iter().any(|read| read.1.is_none());
        assert!(tombstones || topic == "v", "there are tombstones");
    }
    sinks.stop();
}

#[test]
fn of_a_stream_the_last_row_of_a_key_is_wanted() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("last", 2);
    let shop = Shop::new();
    shop.run("CREATE STREAM events (id BIGINT, v TEXT)");
    shop.run("INSERT INTO events VALUES (1, 'a'), (2, 'b'), (1, 'c')");
    shop.run(&format!(
        "CREATE SINK last FROM events WITH (connector = 'kafka', brokers = '{}', topic = 'last', \
         envelope = 'upsert', key = 'id', key_format = 'text')",
        broker.address()
    ));
    let sinks = shop.start_sinks();
    shop.run("INSERT INTO events VALUES (3, 'd'), (1, 'e'), (3, 'f')");
    let mut reader = Reader::new(&broker.address(), "last", 2);
    let expected = [r#"{"id":1,"v":"e"}"#, r#"{"id":2,"v":"b"}"#, r#"{"id":3,"v":"f"}"#];
    reader.until("upserted", |read| {
        let of = |key: &str| read.iter().rev().find(|read| read.0.as_deref() == Some(key));
        let values = ["1", "2", "3"].map(|key| of(key).and_then(|read| read.1.as_deref()));
        values == expected.map(Some)
    });
    sinks.stop();
}

#[test]
fn debezium_tells_what_was_and_what_is() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("t", 1);
    let shop = Shop::new();
    shop.run("CREATE TABLE t (id BIGINT PRIMARY KEY, g TEXT)");
    shop.run(&format!(
        "CREATE SINK out FROM t WITH (connector = 'kafka', brokers = '{}', topic = 't', \
         envelope = 'debezium', key_format = 'text')",
        broker.address()
    ));
    let sinks = shop.start_sinks();
    for sql in [
        "INSERT INTO t VALUES (1, 'a')",
        "UPDATE t SET g = 'b' WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
    ] {
        shop.run(sql);
    }
    let mut reader = Reader::new(&broker.address(), "t", 1);
    reader.until("told", |read| read.len() == 4);
    let value = |at: usize| -> serde_json::Value {
        serde_json::from_str(reader.read[at].1.as_deref().expect("a value")).expect("is JSON")
    };
    let rows = [
        ("c", "null", r#"{"id":1,"g":"a"}"#),
        ("u", r#"{"id":1,"g":"a"}"#, r#"{"id":1,"g":"b"}"#),
        ("d", r#"{"id":1,"g":"b"}"#, "null"),
    ];
    for (at, (op, before, after)) in rows.into_iter().enumerate() {
        let value = value(at);
        assert_eq!(value["op"], op);
        assert_eq!(
            (value["before"].to_string(), value["after"].to_string()),
            (before.into(), after.into())
        );
        assert_eq!(value["source"]["table"], "t");
        assert!(value["source"]["commit"].as_u64().is_some_and(|commit| commit > 0));
        assert_eq!(reader.read[at].0.as_deref(), Some("1"));
    }
    assert_eq!((reader.read[3].0.as_deref(), &reader.read[3].1), (Some("1"), &None));
    sinks.stop();
}

#[test]
fn columns_are_headers_too() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("out", 1);
    let shop = Shop::new();
    let to = format!("connector = 'kafka', brokers = '{}', topic = 'out'", broker.address());
    shop.run("CREATE TABLE t (id BIGINT PRIMARY KEY, trace TEXT, n INT)");
    shop.run(&format!("CREATE SINK out FROM t WITH ({to}, headers = 'n, trace')"));
    shop.run(&format!("CREATE STREAM back (id BIGINT, headers JSONB METADATA) WITH ({to})"));
    let wrong = format!("CREATE SINK wrong FROM t WITH ({to}, headers = 'n, trase')");
    let error = shop.try_run(&wrong).err().expect("is refused");
    assert!(error.message.contains("column \"trase\" does not exist"), "{error:?}");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("trace")), "{error:?}");
    let (sources, sinks) = (shop.start().expect("starts"), shop.start_sinks());
    shop.run("INSERT INTO t VALUES (1, 'a\"b', 5), (2, NULL, NULL), (3, NULL, 7)");
    let expected = ["1|{\"n\":\"5\",\"trace\":\"a\\\"b\"}", "2|-", "3|{\"n\":\"7\"}"];
    wait_for(&shop, "SELECT id, headers FROM back ORDER BY id", &expected);
    sources.stop();
    sinks.stop();
}

#[test]
fn a_sink_is_paused_resumed_and_rewound() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("out", 1);
    let shop = Shop::new();
    shop.run("CREATE STREAM events (id BIGINT)");
    shop.run(&format!(
        "CREATE SINK out FROM events WITH (connector = 'kafka', brokers = '{}', topic = 'out', keep = '1 hour')",
        broker.address()
    ));
    let sinks = shop.start_sinks();
    let mut reader = Reader::new(&broker.address(), "out", 1);
    shop.run("INSERT INTO events VALUES (1)");
    reader.until("running", |read| read.len() == 1);
    shop.run("ALTER SINK out PAUSE");
    wait_for(&shop, "SELECT state FROM yeoul.sinks", &["paused"]);
    std::thread::sleep(Duration::from_millis(500));
    shop.run("INSERT INTO events VALUES (2)");
    std::thread::sleep(Duration::from_millis(500));
    reader.until("paused", |read| read.len() == 1);
    shop.run("ALTER SINK out RESUME");
    reader.until("resumed", |read| read.len() == 2);
    shop.run("ALTER SINK out REWIND TO EARLIEST");
    reader.until("rewound", |read| read.len() == 4);
    assert_eq!(reader.values(), [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1}"#, r#"{"id":2}"#]);
    let commit = shop.rows("SELECT commit FROM yeoul.commits").remove(0);
    shop.run("INSERT INTO events VALUES (3)");
    reader.until("goes on", |read| read.len() == 5);
    shop.run(&format!("ALTER SINK out REWIND TO COMMIT {commit}"));
    reader.until("rewound to a commit", |read| read.len() == 6);
    wait_for(&shop, "SELECT rewinds FROM yeoul.sinks", &["2"]);
    let error = shop.try_run("ALTER SINK out REWIND TO COMMIT 100000").err().map(|e| e.message);
    assert_eq!(error.as_deref(), Some("there is no commit 100000 yet"));
    sinks.stop();
}

/// Subjects and schemas.
type Subjects = Arc<Mutex<Vec<(String, String)>>>;

/// Numbers schemas as a registry does, and refuses those of the subject `no-value`.
pub(super) fn registry() -> (u16, Subjects) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let known = Subjects::default();
    let schemas = Arc::clone(&known);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).expect("a request");
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let path = first.split(' ').nth(1).unwrap_or_default();
            let mut known = schemas.lock().expect("a list");
            let (status, answer) = if path == "/subjects/no-value/versions" {
                ("409 Conflict", r#"{"message":"it is incompatible"}"#.to_owned())
            } else if let Some(subject) = path.strip_prefix("/subjects/") {
                let body: serde_json::Value = serde_json::from_slice(&body).expect("is JSON");
                let schema = body["schema"].as_str().expect("a schema").to_owned();
                let subject = subject.trim_end_matches("/versions").to_owned();
                let at = known.iter().position(|(_, there)| *there == schema);
                let at = at.unwrap_or_else(|| {
                    known.push((subject, schema));
                    known.len() - 1
                });
                ("200 OK", format!("{{\"id\":{}}}", at + 100))
            } else {
                let id: usize = path.trim_start_matches("/schemas/ids/").parse().expect("an id");
                let schema = serde_json::Value::from(known[id - 100].1.as_str());
                ("200 OK", format!("{{\"schema\":{schema}}}"))
            };
            let length = answer.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
            );
            stream.write_all(answer.as_bytes()).expect("is answered");
        }
    });
    (port, known)
}

#[test]
fn avro_is_read_back_by_the_schemas_that_were_registered() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    for topic in ["out", "told", "no"] {
        broker.create(topic, 1);
    }
    let (port, known) = registry();
    let shop = Shop::new();
    shop.run("CREATE TABLE t (id BIGINT PRIMARY KEY, price NUMERIC(10,2), name TEXT, at TIMESTAMPTZ, tags TEXT[])");
    let values = "VALUES (1, 12.50, 'tea', TIMESTAMPTZ '2026-01-01 10:00:00Z', ARRAY['a', NULL]), (2, NULL, NULL, NULL, NULL)";
    shop.run(&format!("INSERT INTO t {values}"));
    let of = |topic: &str| {
        format!(
            "connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'avro', \
             schema_registry = 'http://127.0.0.1:{port}'",
            broker.address()
        )
    };
    shop.run(&format!("CREATE SINK out FROM t WITH ({})", of("out")));
    shop.run(&format!("CREATE SINK told FROM t WITH ({}, envelope = 'debezium')", of("told")));
    shop.run(&format!("CREATE SINK no FROM t WITH ({})", of("no")));
    let columns = "id BIGINT, price NUMERIC(10,2), name TEXT, at TIMESTAMPTZ, tags TEXT[]";
    shop.run(&format!("CREATE TABLE back ({columns}, PRIMARY KEY (id)) WITH ({})", of("out")));
    shop.run(&format!(
        "CREATE STREAM events (op TEXT, id BIGINT, sink TEXT) WITH ({}, mapping = 'id: after.id, sink: source.name')",
        of("told")
    ));
    let sinks = shop.start_sinks();
    let sources = shop.start().expect("starts");
    let all = "SELECT id, price, name, at, tags::text FROM";
    let expected = shop.rows(&format!("{all} t ORDER BY id"));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    wait_for(&shop, &format!("{all} back ORDER BY id"), &expected);
    let told = "SELECT op, id, sink FROM events ORDER BY id";
    wait_for(&shop, told, &["c|1|told", "c|2|told"]);
    let subjects: Vec<String> =
        known.lock().expect("a list").iter().map(|(subject, _)| subject.clone()).collect();
    for subject in ["out-key", "out-value", "told-key", "told-value"] {
        assert!(subjects.iter().any(|known| known == subject), "{subject}: {subjects:?}");
    }
    let refused = "SELECT state, error FROM yeoul.sinks WHERE name = 'no'";
    wait_for(&shop, &format!("SELECT state FROM ({refused})"), &["failed"]);
    let error = shop.rows(refused).remove(0);
    assert!(error.contains("does not take the schema of subject \"no-value\""), "{error}");
    assert!(error.contains("it is incompatible"), "{error}");
    sources.stop();
    sinks.stop();
}

#[test]
fn options_of_sinks_that_cannot_stand_together() {
    let shop = Shop::new();
    shop.run("CREATE TABLE t (id BIGINT, part BIGINT, PRIMARY KEY (id, part))");
    let sinks = shop.start_sinks();
    for (options, expected) in [
        ("topic = 'a, b'", "the \"topic\" of a sink is one topic"),
        ("topic = '^a'", "the \"topic\" of a sink is one topic"),
        ("topic = 'a', group = 'g'", "option \"group\" does not exist for a sink"),
        ("topic = 'a', key_format = 'text'", "key_format = 'text' is for a key of one column"),
        ("topic = 'a', properties = 'acks=0'", "\"properties\" cannot set acks"),
        ("topic = 'a', properties = 'no.such=1'", "no.such"),
        ("topic = 'a', schema_registry = 'http://x'", "\"schema_registry\" is for format 'avro'"),
        ("topic = 'a', username = 'u'", "need \"sasl_mechanism\""),
        ("brokers = 'b'", "connector 'kafka' needs the option \"topic\""),
    ] {
        let brokers = if options.contains("brokers") { "" } else { "brokers = 'localhost:1', " };
        let created = shop.try_run(&format!(
            "CREATE SINK s FROM t WITH (connector = 'kafka', {brokers}{options})"
        ));
        let error = match created {
            Err(error) => error.report.unwrap_or(error.message),
            Ok(_) => {
                let failed = "SELECT state FROM yeoul.sinks";
                wait_for(&shop, failed, &["failed"]);
                let error = shop.rows("SELECT error FROM yeoul.sinks").remove(0);
                shop.run("DROP SINK s");
                error
            }
        };
        assert!(error.contains(expected), "{options}: {error}");
    }
    sinks.stop();
}

#[test]
fn a_topic_that_is_not_there_is_waited_for_and_not_made() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    let shop = Shop::new();
    shop.run("CREATE STREAM events (id BIGINT)");
    shop.run(&format!(
        "CREATE SINK out FROM events WITH (connector = 'kafka', brokers = '{}', topic = 'uot', retry_wait_max = '200 milliseconds')",
        broker.address()
    ));
    let sinks = shop.start_sinks();
    shop.run("INSERT INTO events VALUES (1)");
    let error = "SELECT error FROM yeoul.sinks";
    wait_for(&shop, error, &["topic \"uot\" is not there: make it, or name another one"]);
    broker.create("out", 1);
    shop.run("ALTER SINK out SET (topic = 'out')");
    Reader::new(&broker.address(), "out", 1).until("sent", |read| read.len() == 1);
    wait_for(&shop, error, &["-"]);
    sinks.stop();
}

#[test]
fn a_broker_that_is_away_holds_only_its_sink() {
    let Some(mut broker) = Broker::start(Kind::Noida) else { return };
    broker.create("out", 1);
    let shop = Shop::new();
    shop.run("CREATE STREAM events (id BIGINT)");
    shop.run(&format!(
        "CREATE SINK out FROM events WITH (connector = 'kafka', brokers = '{}', topic = 'out', retry_wait_max = '200 milliseconds')",
        broker.address()
    ));
    shop.run(
        "CREATE SINK nowhere FROM events WITH (connector = 'kafka', brokers = '127.0.0.1:1', topic = 'out')",
    );
    let sinks = shop.start_sinks();
    shop.run("INSERT INTO events VALUES (1)");
    let sent = "SELECT sent_rows FROM yeoul.sinks WHERE name = 'out'";
    wait_for(&shop, sent, &["1"]);
    broker.stop();
    shop.run("INSERT INTO events VALUES (2), (3)");
    let why = "SELECT count(*) FROM yeoul.sinks WHERE state = 'running' AND error LIKE 'brokers do not %: %onnect%'";
    wait_for(&shop, why, &["2"]);
    assert_eq!(shop.rows("SELECT count(*) FROM events"), ["3"]);
    broker.restart();
    wait_for(&shop, sent, &["3"]);
    wait_for(&shop, "SELECT error FROM yeoul.sinks WHERE name = 'out'", &["-"]);
    let mut reader = Reader::new(&broker.address(), "out", 1);
    reader.until("all", |read| read.len() == 3);
    let kept = "SELECT name, kept_rows FROM yeoul.sinks ORDER BY name";
    wait_for(&shop, kept, &["nowhere|3", "out|0"]);
    let begun = Instant::now();
    sinks.stop();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
