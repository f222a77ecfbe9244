//! What messages are decoded to: their values in every format, and what is beside them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use yeoul_trials::{Broker, Kind, send};

use super::source::wait_for;
use crate::shop::Shop;

fn send_bytes(producer: &BaseProducer, topic: &str, messages: &[Vec<u8>]) {
    for message in messages {
        let record = BaseRecord::<(), [u8]>::to(topic).partition(0).payload(message);
        producer.send(record).expect("is taken");
    }
    producer.flush(std::time::Duration::from_secs(10)).expect("is sent");
}

#[test]
fn keys_headers_times_and_places_are_columns() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("clicks", 2);
    let producer = broker.producer(&[]);
    let now_ms = 1_799_999_000_000;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("a\"b") })
        .insert(Header { key: "x", value: Some("1") })
        .insert(Header { key: "x", value: Some("2") })
        .insert(Header { key: "none", value: None::<&str> });
    let record = BaseRecord::<str, str>::to("clicks").partition(1).timestamp(now_ms);
    producer
        .send(record.key("k1").payload("{\"id\":1,\"off\":\"in the event\"}").headers(headers))
        .expect("is taken");
    for (value, key) in [("{\"id\":2}", None), ("{", Some("bad")), ("{\"id\":3}", Some("k3"))] {
        let mut record = BaseRecord::<str, str>::to("clicks").partition(1).timestamp(now_ms + 5);
        record.key = key;
        producer.send(record.payload(value)).expect("is taken");
    }
    producer.flush(std::time::Duration::from_secs(10)).expect("is sent");
    let shop = Shop::new();
    shop.run(&format!(
        "CREATE STREAM events (off BIGINT METADATA FROM 'offset', id BIGINT, key BYTEA METADATA, \
         k TEXT METADATA FROM 'key', at TIMESTAMPTZ METADATA FROM 'timestamp', \
         partition INT METADATA, topic TEXT NOT NULL METADATA, headers JSONB METADATA, \
         again JSONB METADATA FROM 'headers', sent TIMESTAMP METADATA FROM 'timestamp', \
         WATERMARK FOR at AS at) \
         WITH (connector = 'kafka', brokers = '{}', topic = 'clicks')",
        broker.address()
    ));
    let sources = shop.start().expect("starts");
    wait_for(&shop, "SELECT count(*) FROM events", &["3"]);
    let rows = shop.rows(
        "SELECT off, id, encode(key, 'hex'), k, at, partition, topic, headers FROM events ORDER BY off",
    );
    let expected = [
        "0|1|6b31|k1|2027-01-15T07:43:20Z|1|clicks|{\"trace\":\"a\\\"b\",\"x\":[\"1\",\"2\"],\"none\":null}",
        "1|2|-|-|2027-01-15T07:43:20.005Z|1|clicks|-",
        "3|3|6b33|k3|2027-01-15T07:43:20.005Z|1|clicks|-",
    ];
    assert_eq!(rows, expected);
    // Two columns of the same.
    let same = "SELECT DISTINCT headers::text IS NOT DISTINCT FROM again::text AND at = sent::timestamptz FROM events";
    assert_eq!(shop.rows(same), ["true"]);
    wait_for(&shop, "SELECT position FROM yeoul.dead_letters", &["clicks/1@2"]);
    // Columns can be added and renamed while it runs.
    shop.run("ALTER STREAM events ADD COLUMN n BIGINT METADATA FROM 'offset'");
    shop.run("ALTER STREAM events RENAME COLUMN k TO name");
    // What is decoded before the source has seen it is under the columns of before.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let record = BaseRecord::<str, str>::to("clicks").partition(1).key("k4").payload("{\"id\":4}");
    producer.send(record).expect("is taken");
    producer.flush(std::time::Duration::from_secs(10)).expect("is sent");
    wait_for(&shop, "SELECT off, n, name FROM events WHERE id = 4", &["4|4|k4"]);
    sources.stop();
}

#[test]
fn what_is_beside_a_message_can_make_it_bad() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 1);
    let producer = broker.producer(&[]);
    // The clock of the engine stands at 2027-01-15.
    for (key, ms) in [(&b"ok"[..], 1), (&b"\xff"[..], 1), (&b"late"[..], 1_900_000_000_000)] {
        let record = BaseRecord::<[u8], str>::to("clicks").key(key).timestamp(ms);
        producer.send(record.payload("{\"id\":1}")).expect("is taken");
    }
    producer
        .send(BaseRecord::<[u8], str>::to("clicks").timestamp(1).payload("{\"id\":1}"))
        .expect("is taken");
    producer.flush(std::time::Duration::from_secs(10)).expect("is sent");
    let shop = Shop::new();
    shop.run(&format!(
        "CREATE STREAM events (id BIGINT, k TEXT NOT NULL METADATA FROM 'key', \
         at TIMESTAMP METADATA FROM 'timestamp', WATERMARK FOR at AS at) \
         WITH (connector = 'kafka', brokers = '{}', topic = 'clicks')",
        broker.address()
    ));
    let sources = shop.start().expect("starts");
    wait_for(&shop, "SELECT count(*) FROM yeoul.dead_letters", &["3"]);
    wait_for(&shop, "SELECT id, k, at FROM events", &["1|ok|1970-01-01T00:00:00.001"]);
    let letters =
        shop.rows("SELECT position, raw::varchar, reason FROM yeoul.dead_letters ORDER BY ordinal");
    assert_eq!(letters[0], "clicks/0@1|{\"id\":1}|column \"k\": the key is not UTF-8");
    assert!(letters[1].starts_with("clicks/0@2|{\"id\":1}|at is 11"), "{}", letters[1]);
    assert_eq!(letters[2], "clicks/0@3|{\"id\":1}|column \"k\": the message has no key");
    sources.stop();
}

#[test]
fn csv_messages_are_the_columns_in_their_order() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 1);
    send(
        &broker.producer(&[]),
        "clicks",
        0,
        ["1,a", "2,\"b,\nc\"", "3,\"open", "4,d\n", "5,e\n6,f"],
    );
    let shop = Shop::new();
    shop.run(&format!(
        "CREATE STREAM events (id BIGINT, off BIGINT METADATA FROM 'offset', name TEXT) \
         WITH (connector = 'kafka', brokers = '{}', topic = 'clicks', format = 'csv')",
        broker.address()
    ));
    let sources = shop.start().expect("starts");
    let rows = ["1|a|0", "2|b,\nc|1", "4|d|3"];
    wait_for(&shop, "SELECT id, name, off FROM events ORDER BY id", &rows);
    wait_for(
        &shop,
        "SELECT position FROM yeoul.dead_letters ORDER BY 1",
        &["clicks/0@2", "clicks/0@4"],
    );
    sources.stop();
}

/// A long as Avro writes it.
fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn text(value: &str) -> Vec<u8> {
    let length = i64::try_from(value.len()).expect("short");
    [long(length), value.as_bytes().to_vec()].concat()
}

const CLICK: &str = r#"{"type":"record","name":"Click","fields":[{"name":"id","type":"long"},{"name":"name","type":["null","string"]}]}"#;
/// The same with a field more, of a type that is defined elsewhere.
const CLICK_2: &str = r#"{"type":"record","name":"Click","fields":[{"name":"where","type":"shop.Place"},{"name":"id","type":"long"}]}"#;
const PLACE: &str = r#"{"type":"record","name":"Place","namespace":"shop","fields":[{"name":"slot","type":"int"}]}"#;

/// Answers as a schema registry does, while it is open; counts what it was asked.
struct Registry {
    port: u16,
    open: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (open, asked): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (is_open, count, log) = (Arc::clone(&open), Arc::clone(&asked), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                answer(stream, is_open.load(Ordering::Relaxed), &log);
            }
        });
        Self { port, open, asked, seen }
    }
}

fn answer(mut stream: TcpStream, open: bool, log: &Mutex<Vec<String>>) {
    let mut request = vec![0; 4096];
    let count = stream.read(&mut request).expect("a request");
    let request = String::from_utf8_lossy(&request[..count]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().expect("a list").push(request);
    let schema = |schema: &str, more: &str| {
        ("200 OK", format!("{{\"schema\":{}{more}}}", serde_json::Value::from(schema)))
    };
    let (status, body) = match path.as_str() {
        _ if !open => ("503 Service Unavailable", "later".to_owned()),
        "/schemas/ids/7" => schema(CLICK, ""),
        "/schemas/ids/300" => schema(
            CLICK_2,
            r#","references":[{"name":"shop.Place","subject":"a place","version":3}]"#,
        ),
        "/schemas/ids/8" => schema("{}", r#","schemaType":"JSON""#),
        "/subjects/a%20place/versions/3" => schema(PLACE, ""),
        _ => ("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned()),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).expect("is answered");
}

#[test]
fn avro_messages_by_the_registry() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 1);
    let registry = Registry::start();
    let framed = |id: u32, body: Vec<u8>| [vec![0], id.to_be_bytes().to_vec(), body].concat();
    let messages = [
        framed(7, [long(1), long(1), text("one")].concat()),
        framed(300, [long(-5), long(2)].concat()),
        framed(8, long(1)),
        framed(9, long(1)),
        b"{\"id\":1}".to_vec(),
        framed(7, [long(3), long(0)].concat()),
        framed(7, [long(4), long(1), long(99)].concat()),
    ];
    send_bytes(&broker.producer(&[]), "clicks", &messages);
    let shop = Shop::new();
    shop.run(&format!(
        "CREATE STREAM events (id BIGINT, name TEXT, slot INT, off BIGINT METADATA FROM 'offset') \
         WITH (connector = 'kafka', brokers = '{}', topic = 'clicks', format = 'avro', \
         schema_registry = 'http://127.0.0.1:{}/', schema_registry_username = 'me', \
         schema_registry_password = 'secret', mapping = 'slot: where.slot')",
        broker.address(),
        registry.port
    ));
    let sources = shop.start().expect("starts");
    // While the registry is away, messages wait, and it is said why.
    let waits =
        "SELECT count(*) FROM yeoul.sources WHERE error LIKE 'schema % is not known: %503%'";
    wait_for(&shop, waits, &["1"]);
    assert_eq!(shop.rows("SELECT count(*) FROM events"), ["0"]);
    registry.open.store(true, Ordering::Relaxed);
    let rows = ["1|one|-|0", "2|-|-5|1", "3|-|-|5"];
    wait_for(&shop, "SELECT id, name, slot, off FROM events ORDER BY id", &rows);
    let reasons = "SELECT position, reason FROM yeoul.dead_letters ORDER BY ordinal";
    wait_for(&shop, "SELECT count(*) FROM yeoul.dead_letters", &["4"]);
    let letters = shop.rows(reasons);
    assert_eq!(letters[0], "clicks/0@2|schema 8: it is JSON, not Avro");
    assert_eq!(letters[1], "clicks/0@3|schema 9: the registry does not have it");
    assert!(
        letters[2].starts_with("clicks/0@4|the message begins with the byte 123"),
        "{letters:?}"
    );
    assert!(letters[3].starts_with("clicks/0@6|"), "{letters:?}");
    let asked = registry.asked.load(Ordering::Relaxed);
    send_bytes(&broker.producer(&[]), "clicks", &messages[..2]);
    wait_for(&shop, "SELECT count(*) FROM events", &["5"]);
    assert_eq!(registry.asked.load(Ordering::Relaxed), asked, "what is known is not asked again");
    let seen = registry.seen.lock().expect("a list");
    // me:secret
    assert!(seen.iter().all(|request| request.contains("Basic bWU6c2VjcmV0")), "{seen:?}");
    drop(seen);
    sources.stop();
}

#[test]
fn avro_messages_of_one_schema() {
    let Some(broker) = Broker::start(Kind::Tansu) else { return };
    broker.create("clicks", 1);
    let messages = [[long(1), long(1), text("one")].concat(), long(2), [long(3), long(0)].concat()];
    send_bytes(&broker.producer(&[]), "clicks", &messages);
    let shop = Shop::new();
    shop.run(&format!(
        "CREATE STREAM events (id BIGINT, name TEXT) WITH (connector = 'kafka', brokers = '{}', \
         topic = 'clicks', format = 'avro', avro_schema = '{CLICK}')",
        broker.address()
    ));
    let sources = shop.start().expect("starts");
    wait_for(&shop, "SELECT id, name FROM events ORDER BY id", &["1|one", "3|-"]);
    wait_for(&shop, "SELECT position FROM yeoul.dead_letters", &["clicks/0@1"]);
    sources.stop();
}

/// What cannot be is said when the source is opened, before any broker is asked.
#[test]
fn options_that_cannot_stand_together() {
    let cases = [
        ("group = 'g', partitions = '1'", "\"partitions\" are fixed"),
        ("session_timeout = '1 minute'", "means nothing without a group"),
        ("start = 'group'", "start = 'group' needs the group"),
        ("start = '0:1', topic = 'a, b'", "offsets are those of one topic"),
        ("topic = '^a('", "\"topic\" is no regular expression: unclosed group"),
        ("topic = 'a,,b'", "a name in \"topic\" is empty"),
        ("tls_ca = 'x'", "\"tls_ca\" means nothing without TLS"),
        ("tls = 'true', tls_ca = '/nowhere/ca.pem'", "cannot read /nowhere/ca.pem"),
        ("username = 'u'", "need \"sasl_mechanism\""),
        ("sasl_mechanism = 'plain'", "needs \"username\" and \"password\""),
        ("properties = 'no.such.thing=1'", "no.such.thing"),
        ("properties = 'group.id=1'", "\"properties\" cannot set group.id"),
        ("format = 'avro'", "needs the schema of its messages"),
        ("avro_schema = '{}'", "are for format 'avro'"),
        ("format = 'avro', avro_schema = 'no'", "schema"),
        ("format = 'avro', schema_registry = 'here'", "is no address of a registry"),
        ("format = 'csv', header = 'true'", "option \"header\""),
    ];
    for (options, expected) in cases {
        let shop = Shop::new();
        let topic = if options.contains("topic") { "" } else { ", topic = 't'" };
        let created = shop.try_run(&format!(
            "CREATE STREAM events (id BIGINT) WITH (connector = 'kafka', brokers = 'localhost:1'{topic}, {options})"
        ));
        // What the options say by themselves is told at once, and what they name when it is opened.
        let error = match (created, shop.start()) {
            (Err(error), _) => error.report.clone().unwrap_or_default(),
            (Ok(_), Err(error)) => error.to_string(),
            (Ok(_), Ok(_)) => unreachable!("{options}: it was opened"),
        };
        assert!(error.contains(expected), "{options}: {error}");
        let formats = options.contains("header") || options.contains("'no'");
        assert!(error.contains("hint: ") || error.contains("cannot read") || formats, "{error}");
    }
}
