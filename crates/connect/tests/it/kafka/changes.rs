//! Changes of tables from topics: what Debezium's connectors tell, and rows with tombstones.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use rdkafka::producer::{BaseRecord, Producer as _};
use yeoul_trials::{Broker, Kind};

use super::sink::registry;
use super::source::wait_for;
use crate::shop::Shop;

/// Sends messages with their keys; one without a value is a tombstone.
fn send(broker: &Broker, topic: &str, messages: &[(Option<&str>, Option<&str>)]) {
    let producer = broker.producer(&[]);
    for (key, value) in messages {
        let mut record = BaseRecord::<str, str>::to(topic).partition(0);
        (record.key, record.payload) = (*key, *value);
        producer.send(record).expect("is taken");
    }
    producer.flush(Duration::from_secs(10)).expect("is sent");
}

/// Keys and values.
type Messages = &'static [(Option<&'static str>, Option<&'static str>)];

/// 12.50 is 04e2, 3.00 is 012c, -1.00 is 9c.
const BEFORE: Messages = &[
    (
        Some("{\"id\":1}"),
        Some(
            r#"{"before":null,"after":{"id":1,"name":"tea","price":"BOI=","story":"long"},"op":"r"}"#,
        ),
    ),
    (
        Some("{\"id\":2}"),
        Some(
            r#"{"schema":{"type":"struct"},"payload":{"before":null,"after":{"id":2,"name":"pot","price":"ASw="},"op":"c","source":{"lsn":1}}}"#,
        ),
    ),
    (
        Some("{\"id\":3}"),
        Some(r#"{"before":null,"after":{"id":3,"name":"cup","price":"nA=="},"op":"c"}"#),
    ),
    (Some("{\"id\":3}"), Some(r#"{"before":null,"after":null,"op":"t"}"#)),
    (Some("{\"id\":3}"), Some("{")),
];

const BEHIND: Messages = &[
    // What was not logged stays; there is no row 4 to keep it of.
    (
        Some("{\"id\":1}"),
        Some(
            r#"{"before":null,"after":{"id":1,"name":"green tea","price":"BOI=","story":"__debezium_unavailable_value"},"op":"u"}"#,
        ),
    ),
    (
        Some("{\"id\":4}"),
        Some(
            r#"{"before":null,"after":{"id":4,"name":"mug","price":"ASw=","story":"__debezium_unavailable_value"},"op":"u"}"#,
        ),
    ),
    // Another key.
    (
        Some("{\"id\":2}"),
        Some(
            r#"{"before":{"id":2,"name":""},"after":{"id":20,"name":"pot","price":"ASw="},"op":"u"}"#,
        ),
    ),
    (Some("{\"id\":3}"), Some(r#"{"before":{"id":3,"name":""},"after":null,"op":"d"}"#)),
    (Some("{\"id\":3}"), None),
    (None, None),
];

#[test]
fn debezium_makes_the_table_of_the_database() {
    for kind in [Kind::Noida, Kind::Tansu] {
        let Some(broker) = Broker::start(kind) else { return };
        broker.create("shop.public.products", 1);
        let mut shop = Shop::new();
        shop.run(&format!(
            "CREATE TABLE products (id BIGINT PRIMARY KEY, name TEXT NOT NULL, price NUMERIC(10,2), \
             story TEXT, off BIGINT METADATA FROM 'offset') \
             WITH (connector = 'kafka', brokers = '{}', topic = 'shop.public.products', \
             format = 'debezium-json', decimal_format = 'base64')",
            broker.address()
        ));
        shop.run(
            "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(price) AS s FROM products",
        );
        let sources = shop.start().expect("starts");
        send(&broker, "shop.public.products", BEFORE);
        wait_for(
            &shop,
            "SELECT id, name, price, story, off FROM products ORDER BY id",
            &["1|tea|12.50|long|0", "2|pot|3.00|-|1", "3|cup|-1.00|-|2"],
        );
        wait_for(&shop, "SELECT n, s FROM total", &["3|14.50"]);
        sources.stop();
        shop.restart();
        send(&broker, "shop.public.products", BEHIND);
        let sources = shop.start().expect("starts");
        wait_for(
            &shop,
            "SELECT id, name, price, story FROM products ORDER BY id",
            &["1|green tea|12.50|long", "20|pot|3.00|-"],
        );
        wait_for(&shop, "SELECT n, s FROM total", &["2|15.50"]);
        wait_for(
            &shop,
            "SELECT position || ' ' || reason FROM yeoul.dead_letters WHERE format LIKE '%debezium-json%' ORDER BY commit, ordinal",
            &[
                "shop.public.products/0@3 op \"t\" says that the table was truncated: DELETE its rows here too",
                "shop.public.products/0@4 not JSON at byte 1: expected a key",
                "shop.public.products/0@10 the message says that a row is gone, and has no key that says which",
                "shop.public.products/0@6 column \"story\": its value stays as it is, and no row with this key is stored",
            ],
        );
        sources.stop();
    }
}

#[test]
fn a_table_is_known_by_the_keys_of_messages() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    broker.create("names", 1);
    let shop = Shop::new();
    shop.run(&format!(
        "CREATE TABLE names (key TEXT METADATA, name TEXT, PRIMARY KEY (key)) \
         WITH (connector = 'kafka', brokers = '{}', topic = 'names')",
        broker.address()
    ));
    let sources = shop.start().expect("starts");
    let name = |name: &str| format!("{{\"name\":\"{name}\"}}");
    let (a, b) = (name("a"), name("b"));
    send(&broker, "names", &[(Some("x"), Some(&a)), (Some("y"), Some(&b)), (Some("x"), None)]);
    wait_for(&shop, "SELECT key, name FROM names", &["y|b"]);
    sources.stop();
}

#[test]
fn options_of_changes_that_mean_nothing() {
    let shop = Shop::new();
    let cases = [
        ("STREAM t (id BIGINT)", "format = 'debezium-json'", "a stream only grows"),
        ("TABLE t (id BIGINT)", "format = 'debezium-json'", "needs the primary key"),
        ("STREAM t (id BIGINT)", "key_format = 'text'", "\"key_format\" is for tables"),
        ("TABLE t (id BIGINT PRIMARY KEY)", "key_format = 'avro'", "needs the registry"),
        (
            "TABLE t (id BIGINT PRIMARY KEY)",
            "format = 'csv', decimal_format = 'base64'",
            "means nothing for format 'csv'",
        ),
    ];
    for (what, options, reason) in cases {
        let sql = format!(
            "CREATE {what} WITH (connector = 'kafka', brokers = '127.0.0.1:1', topic = 't', {options})"
        );
        let error = shop.try_run(&sql).err().expect(&sql);
        assert!(error.message.contains(reason), "{sql}: {error:?}");
    }
}

/// One statement that changes the table `a`.
fn change(rng: &mut StdRng) -> String {
    let id = rng.random_range(0..30);
    let name = match rng.random_range(0..4) {
        0 => "NULL".to_owned(),
        n => format!("'n{n}, \"{}\"'", rng.random_range(0..100)),
    };
    match rng.random_range(0..6) {
        0 => format!("DELETE FROM a WHERE id % 7 = {}", rng.random_range(0..7)),
        1 => format!("UPDATE a SET name = {name} WHERE id % 5 = {}", rng.random_range(0..5)),
        2 => format!("DELETE FROM a WHERE id = {id}"),
        _ => format!(
            "INSERT INTO a VALUES ({id}, {name}, {}.25), ({}, {name}, NULL)",
            rng.random_range(-99..99),
            30 + rng.random_range(0..5)
        ),
    }
}

#[test]
fn what_sinks_tell_makes_the_same_table() {
    let Some(broker) = Broker::start(Kind::Noida) else { return };
    let (port, _) = registry();
    let registry = format!("schema_registry = 'http://127.0.0.1:{port}'");
    // The topic, options of the sink, and options of the table that is made of it.
    let ways = [
        ("rows", "format = 'json'".to_owned(), "format = 'json'".to_owned()),
        ("texts", "key_format = 'text'".to_owned(), "key_format = 'text'".to_owned()),
        ("told", "envelope = 'debezium'".to_owned(), "format = 'debezium-json'".to_owned()),
        (
            "bare",
            "envelope = 'debezium', tombstones = 'false'".to_owned(),
            "format = 'debezium-json'".to_owned(),
        ),
        ("avro", format!("format = 'avro', {registry}"), format!("format = 'avro', {registry}")),
    ];
    let seed = std::env::var("YEOUL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut shop = Shop::new();
    let columns = "(id BIGINT PRIMARY KEY, name TEXT, price NUMERIC(10,2))";
    shop.run(&format!("CREATE TABLE a {columns}"));
    shop.run("INSERT INTO a SELECT g, 'first', g FROM generate_series(0, 20) AS t(g)");
    for (topic, of_sink, of_table) in &ways {
        broker.create(topic, 2);
        let to =
            format!("connector = 'kafka', brokers = '{}', topic = '{topic}'", broker.address());
        shop.run(&format!("CREATE SINK to_{topic} FROM a WITH ({to}, {of_sink})"));
        shop.run(&format!("CREATE TABLE {topic} {columns} WITH ({to}, {of_table})"));
        shop.run(&format!(
            "CREATE MATERIALIZED VIEW of_{topic} AS SELECT name, count(*) AS n, sum(price) AS s FROM {topic} GROUP BY name"
        ));
    }
    for _ in 0..4 {
        let (sources, sinks) = (shop.start().expect("starts"), shop.start_sinks());
        for _ in 0..60 {
            let sql = change(&mut rng);
            shop.run(&sql);
        }
        let all = |of: &str| format!("SELECT id, name, price FROM {of} ORDER BY id");
        let expected = shop.rows(&all("a"));
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let groups = shop.rows("SELECT name, count(*), sum(price) FROM a GROUP BY name ORDER BY 1");
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        for (topic, ..) in &ways {
            wait_for(&shop, &all(topic), &expected);
            wait_for(&shop, &format!("SELECT name, n, s FROM of_{topic} ORDER BY 1"), &groups);
        }
        sources.stop();
        sinks.stop();
        shop.restart();
    }
    assert_eq!(shop.rows("SELECT count(*) FROM yeoul.dead_letters"), ["0"], "seed {seed}");
}
