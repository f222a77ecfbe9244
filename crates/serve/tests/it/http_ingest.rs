//! `POST /v1/ingest/{stream}`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures::SinkExt;
use serde_json::json;
use yeoul_serve::{HttpOptions, PgOptions};

use crate::fixture::Fixture;

fn event(id: usize) -> String {
    format!(
        "{{\"event_id\":\"e{id}\",\"ts\":\"2023-11-14T22:13:20Z\",\"user_id\":\"u\",\"price\":1.5}}\n"
    )
}

fn events(ids: std::ops::Range<usize>) -> Vec<u8> {
    ids.map(event).collect::<String>().into_bytes()
}

#[test]
fn rows_in_every_form_are_stored_once() {
    let fixture = Fixture::with_events();
    let path = "/v1/ingest/events";
    let answer = fixture.post(path, &[], &events(0..1000));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt = answer.json();
    assert_eq!((&receipt["accepted"], &receipt["duplicates"]), (&json!(1000), &json!(0)));
    assert!(receipt["commit"].as_u64().unwrap() > 0);
    assert!(receipt["took_us"].as_u64().unwrap() > 0);

    let again = fixture.post(path, &[("content-type", "application/x-ndjson")], &events(990..1010));
    assert_eq!(again.json()["accepted"], 10);
    assert_eq!(again.json()["duplicates"], 10);

    let array = format!("[{}]", event(2000).trim_end());
    let got = fixture.post(path, &[("content-type", "application/json")], array.as_bytes());
    assert_eq!(got.json()["accepted"], 1, "{}", got.text());

    let csv = "ts,event_id,price\n2023-11-14 22:13:20+00,c1,2\n2023-11-14 22:13:21+00,c2,\n";
    let got = fixture.post(path, &[("content-type", "text/csv")], csv.as_bytes());
    assert_eq!(got.json()["accepted"], 2, "{}", got.text());

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&events(3000..3100)).unwrap();
    let got = fixture.post(path, &[("content-encoding", "gzip")], &gzip.finish().unwrap());
    assert_eq!(got.json()["accepted"], 100, "{}", got.text());

    let zstd = zstd::encode_all(&events(4000..4100)[..], 1).unwrap();
    let got = fixture.post(path, &[("content-encoding", "zstd")], &zstd);
    assert_eq!(got.json()["accepted"], 100, "{}", got.text());

    assert_eq!(fixture.one("SELECT count(*) FROM events"), 1000 + 10 + 1 + 2 + 100 + 100);
}

#[test]
fn bad_events_become_dead_letters() {
    let fixture = Fixture::with_events();
    let mut body = events(0..2);
    body.extend_from_slice(b"{\"event_id\": 1\nnothing\n");
    body.extend_from_slice(&events(2..3));
    let receipt = fixture.post("/v1/ingest/events", &[], &body).json();
    assert_eq!(receipt["accepted"], 3, "{receipt}");
    assert_eq!(receipt["dead_letters"], 2, "{receipt}");
    assert_eq!(fixture.one("SELECT count(*) FROM yeoul.dead_letters"), 2);
}

#[test]
fn a_request_with_a_key_counts_once() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM plain (id BIGINT)");
    let send = || {
        let body = b"{\"id\":1}\n{\"id\":2}\n";
        fixture.post("/v1/ingest/plain", &[("idempotency-key", "k1")], body).json()
    };
    assert_eq!(send()["accepted"], 2);
    let again = send();
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(2)), "{again}");
    assert_eq!(fixture.one("SELECT count(*) FROM plain"), 2);
}

#[test]
fn large_bodies_come_in_pieces() {
    let options = HttpOptions { delivery_bytes_max: 200_000, ..HttpOptions::default() };
    let fixture = Fixture::with(options, PgOptions::default());
    fixture.create_events();
    for key in ["first", "first"] {
        let answer =
            fixture.post("/v1/ingest/events", &[("idempotency-key", key)], &events(0..20_000));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 20_000);
}

#[test]
fn limits_are_told() {
    let options = HttpOptions {
        body_bytes_max: 100_000,
        unpacked_bytes_max: 300_000,
        ..HttpOptions::default()
    };
    let fixture = Fixture::with(options, PgOptions::default());
    fixture.create_events();
    let answer = fixture.post("/v1/ingest/events", &[], &events(0..5_000));
    assert_eq!(answer.status, 413);
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().unwrap().contains("100000 bytes"), "{error}");

    let bomb = zstd::encode_all(&events(0..5_000)[..], 3).unwrap();
    let answer = fixture.post("/v1/ingest/events", &[("content-encoding", "zstd")], &bomb);
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("300000 bytes"), "{}", answer.text());

    let answer = fixture.post("/v1/ingest/events", &[("content-type", "image/png")], b"x");
    assert_eq!(answer.status, 415);
    let answer = fixture.post("/v1/ingest/events", &[("content-encoding", "br")], b"x");
    assert_eq!(answer.status, 415);
    let answer = fixture.post("/v1/ingest/nothing", &[], b"{}");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("events"), "{}", answer.text());
    assert_eq!(answer.json()["error"]["hint"], "CREATE STREAM nothing (…) makes one");
    // Names in an address are not folded.
    for near in ["event", "EVENTS"] {
        let answer = fixture.post(&format!("/v1/ingest/{near}"), &[], b"{}");
        assert_eq!(answer.json()["error"]["hint"], "did you mean \"events\"?");
    }
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 0);
}

#[test]
fn too_much_in_flight_is_told_with_a_time() {
    let options = HttpOptions {
        body_bytes_max: 100_000,
        bodies_bytes_max: 100_000,
        queue_timeout: Duration::from_millis(50),
        ..HttpOptions::default()
    };
    let fixture = Fixture::with(options, PgOptions::default());
    fixture.create_events();
    // Takes all the room there is and does not go on.
    let mut slow = TcpStream::connect(fixture.http).unwrap();
    let head = "POST /v1/ingest/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let answer = fixture.post("/v1/ingest/events", &[], &events(0..100));
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    drop(slow);
    std::thread::sleep(Duration::from_millis(100));
    let answer = fixture.post("/v1/ingest/events", &[], &events(0..100));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// A few bytes become many: what they become has a bound too.
#[test]
fn too_much_unpacked_at_once_is_told_with_a_time() {
    let options = HttpOptions {
        bodies_bytes_max: 100_000,
        delivery_bytes_max: 100_000,
        queue_timeout: Duration::from_millis(20),
        ..HttpOptions::default()
    };
    let fixture = Fixture::with(options, PgOptions::default());
    fixture.create_events();
    let send = |text: &[u8]| {
        let packed = zstd::encode_all(text, 3).unwrap();
        assert!(packed.len() < 40_000, "{}", packed.len());
        fixture.post("/v1/ingest/events", &[("content-encoding", "zstd")], &packed)
    };
    std::thread::scope(|scope| {
        // As many commits as pieces.
        let long = scope.spawn(|| send(&b"{\"user_id\":\"u\"}\n".repeat(300_000)));
        std::thread::sleep(Duration::from_millis(200));
        let answer = send(&events(0..10));
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
        let answer = long.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    assert_eq!(send(&events(0..10)).status, 200);
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 300_010);
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let fixture = Fixture::with_events();
    let mut stream = TcpStream::connect(fixture.http).unwrap();
    for i in 0..3 {
        let body = event(i);
        let length = body.len();
        let head = format!(
            "POST /v1/ingest/events HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 3);
}

#[test]
fn full_servers_say_so_and_stopping_ones_end() {
    let options = HttpOptions { connections_max: 1, ..HttpOptions::default() };
    let fixture = Fixture::with(options, PgOptions::default());
    let _held = TcpStream::connect(fixture.http).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let mut second = TcpStream::connect(fixture.http).unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
    // An idle connection does not keep a server from ending.
    assert!(fixture.stop() < Duration::from_secs(5));
}

#[test]
fn a_table_without_a_key_takes_rows_every_way_and_keeps_them_all() {
    let fixture = Fixture::new();
    fixture.sql("CREATE TABLE t (a BIGINT, b VARCHAR)");
    fixture.sql("CREATE MATERIALIZED VIEW n AS SELECT b, count(*) AS n FROM t GROUP BY b");
    let body = "{\"a\":1,\"b\":\"x\"}\n{\"a\":1,\"b\":\"x\"}\n{\"a\":\"bad\"}\n".as_bytes();
    let got = fixture.post("/v1/ingest/t", &[], body).json();
    assert_eq!((&got["accepted"], &got["dead_letters"]), (&json!(2), &json!(1)));
    fixture.sql("INSERT INTO t VALUES (1, 'x') ON CONFLICT DO NOTHING");
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let sink = client.copy_in("COPY t (b, a) FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(bytes::Bytes::from_static(b"x\t1\ny\t2\n")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);
        // Prepared, with parameters.
        let sql = "UPDATE t SET b = $1 WHERE b = $2";
        assert_eq!(client.execute(sql, &[&"z", &"x"]).await.unwrap(), 4);
        assert_eq!(client.execute("DELETE FROM t WHERE a = $1", &[&2i64]).await.unwrap(), 1);
        let prepared = client.prepare("SELECT * FROM t").await.unwrap();
        let names: Vec<&str> = prepared.columns().iter().map(|column| column.name()).collect();
        assert_eq!(names, ["a", "b"]);
    });
    assert_eq!(fixture.sql("SELECT * FROM n")["rows"], json!([{"b": "z", "n": 4}]));
}
