//! `/v1/dead-letters/{stream}`: out, mended, in again.

use std::io::Write;

use serde_json::{Value, json};
use yeoul_serve::{HttpOptions, PgOptions};

use crate::fixture::{Answer, Fixture};

const PATH: &str = "/v1/dead-letters/events";
const REPLAY: &str = "/v1/dead-letters/events/replay";

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(lines: &[Value]) -> Vec<u8> {
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn letters_are_mended_and_put_back_once() {
    let fixture = Fixture::with_events();
    let body =
        b"{\"event_id\":\"a\",\"price\":\"dear\"}\n{\"event_id\":\"b\",\"price\":1}\nnothing\n";
    fixture.post("/v1/ingest/events", &[], body);
    let csv = b"price,event_id\nx,c\n2,d\ny,e\n";
    fixture.post("/v1/ingest/events", &[("content-type", "text/csv")], csv);
    let mut bytes = b"{\"event_id\":\"".to_vec();
    bytes.extend_from_slice(b"\xff\"}\n");
    fixture.post("/v1/ingest/events", &[], &bytes);

    let answer = fixture.get(PATH);
    assert_eq!(answer.kind, "application/x-ndjson");
    let mut letters = lines(&answer);
    assert_eq!(letters.len(), 5);
    assert_eq!(letters[0]["raw"], "{\"event_id\":\"a\",\"price\":\"dear\"}");
    assert_eq!(
        (&letters[0]["position"], &letters[0]["source"]),
        (&json!("line 1"), &json!("http"))
    );
    assert_eq!((&letters[2]["raw"], &letters[3]["raw"]), (&json!("x,c"), &json!("y,e")));
    assert!(letters[4]["raw_hex"].as_str().unwrap().contains("ff"), "{}", letters[4]);

    letters[0]["raw"] = "{\"event_id\":\"a\",\"price\":3}".into();
    // A letter of CSV is decoded with the header that it came with; and this one is a duplicate.
    letters[2]["raw"] = "2,b".into();
    letters[3]["raw"] = "4,e".into();
    let answer = fixture.post(REPLAY, &[], &text(&letters)).json();
    assert_eq!(answer["accepted"], 2, "{answer}");
    assert_eq!((&answer["duplicates"], &answer["replayed"]), (&json!(1), &json!(3)), "{answer}");
    assert_eq!((&answer["dead_letters"], &answer["replayed_before"]), (&json!(2), &json!(0)));
    assert_eq!(answer["failed"][0]["line"], 2, "{answer}");
    assert_eq!(answer["failed"][0]["id"], letters[1]["id"]);
    assert!(answer["failed"][0]["reason"].as_str().unwrap().starts_with("not JSON"), "{answer}");
    let stored = "SELECT sum(price) FROM events";
    assert_eq!(fixture.one(stored), 1.0 + 2.0 + 3.0 + 4.0);

    // The same file once more stores nothing and says so; what failed is not there twice.
    let again = fixture.post(REPLAY, &[], &text(&letters)).json();
    assert_eq!((&again["accepted"], &again["replayed_before"]), (&json!(0), &json!(3)), "{again}");
    assert_eq!(fixture.one(stored), 10.0);
    assert_eq!(lines(&fixture.get(PATH)).len(), 2);
    assert_eq!(fixture.one("SELECT count(*) FROM yeoul.dead_letters WHERE state = 'replayed'"), 3);
    let books = fixture.sql(
        "SELECT received, stored, duplicates, dead_letters FROM yeoul.sources WHERE source = 'dead_letters'",
    );
    assert_eq!(
        books["rows"][0],
        json!({"received": 3, "stored": 2, "duplicates": 1, "dead_letters": 0})
    );
    assert_eq!(fixture.engine.audit().unwrap().problems, Vec::<String>::new());
}

#[test]
fn all_letters_are_tried_again_when_the_stream_has_another_type() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM events (price BIGINT)");
    let body: String = (0..2_500).map(|n| format!("{{\"price\":\"{n}.5\"}}\n")).collect();
    let answer = fixture.post("/v1/ingest/events", &[], body.as_bytes()).json();
    assert_eq!(answer["dead_letters"], 2_500);
    assert_eq!(lines(&fixture.get(PATH)).len(), 2_500);
    let answer = fixture.post(REPLAY, &[], b"").json();
    assert_eq!((&answer["accepted"], &answer["dead_letters"]), (&json!(0), &json!(2_500)));
    assert_eq!(answer["failed"].as_array().unwrap().len(), 1_000);
    fixture.sql("DROP STREAM events");
    fixture.sql("CREATE STREAM events (price DOUBLE PRECISION)");
    let answer = fixture.post(REPLAY, &[], b"").json();
    assert_eq!((&answer["accepted"], &answer["dead_letters"]), (&json!(2_500), &json!(0)));
    assert_eq!(fixture.one("SELECT count(DISTINCT price) FROM events"), 2_500);
    assert!(lines(&fixture.get(PATH)).is_empty());
    assert_eq!(fixture.engine.audit().unwrap().problems, Vec::<String>::new());
}

#[test]
fn wrong_files_store_nothing() {
    let options = HttpOptions { body_bytes_max: 10_000, ..HttpOptions::default() };
    let fixture = Fixture::with(options, PgOptions::default());
    fixture.create_events();
    fixture.post("/v1/ingest/events", &[], b"{\"price\":\"dear\"}\n");
    let mut letters = lines(&fixture.get(PATH));
    letters[0]["raw"] = "{\"price\":1}".into();
    let good = text(&letters);
    let with = |more: &[u8]| fixture.post(REPLAY, &[], &[&good[..], more].concat());

    let answer = with(b"nothing\n");
    assert_eq!(answer.status, 400);
    assert!(message(&answer).starts_with("line 2: not a dead letter"), "{}", answer.text());
    let answer = with(b"{\"id\":\"99-0\",\"raw\":\"{}\"}");
    assert_eq!(answer.status, 404);
    assert_eq!(message(&answer), "line 2: \"events\" has no dead letter 99-0");
    assert_eq!(message(&with(&good)).split(": dead").next(), Some("line 2"));
    assert_eq!(fixture.post("/v1/dead-letters/event/replay", &[], &good).status, 404);
    assert_eq!(fixture.get("/v1/dead-letters/event").status, 404);
    assert_eq!(with(&[b' '; 10_000]).status, 413);
    let bomb = zstd::encode_all(&vec![b' '; 3 << 20][..], 3).unwrap();
    assert_eq!(fixture.post(REPLAY, &[("content-encoding", "zstd")], &bomb).status, 413);
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 0);

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&good).unwrap();
    let packed = gzip.finish().unwrap();
    let answer = fixture.post(REPLAY, &[("content-encoding", "gzip")], &packed);
    assert_eq!(answer.json()["accepted"], 1, "{}", answer.text());
    assert_eq!(fixture.one("SELECT count(*) FROM events"), 1);
}

#[test]
fn a_letter_that_is_still_ahead_of_now_stays_the_same_letter() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM events (id VARCHAR, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts)");
    let body = b"{\"id\":\"a\",\"ts\":\"9000-01-01T00:00:00Z\"}\n";
    fixture.post("/v1/ingest/events", &[], body);
    let letters = lines(&fixture.get(PATH));
    assert_eq!(letters.len(), 1, "{letters:?}");
    let answer = fixture.post(REPLAY, &[], &text(&letters)).json();
    assert_eq!((&answer["replayed"], &answer["dead_letters"]), (&json!(0), &json!(1)), "{answer}");
    assert_eq!(lines(&fixture.get(PATH)), letters);
    assert_eq!(fixture.one("SELECT count(*) FROM yeoul.dead_letters"), 1);
}
