//! `POST /v1/sql` and the pages beside it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::json;
use yeoul_serve::{HttpOptions, PgOptions};

use crate::fixture::Fixture;

fn with_rows() -> Fixture {
    let fixture = Fixture::new();
    fixture
        .sql("CREATE STREAM t (id BIGINT, name VARCHAR, at TIMESTAMPTZ, n NUMERIC(10,2), j JSONB)");
    let rows = "{\"id\":1,\"name\":\"a\\\"b\",\"at\":\"2023-11-14T22:13:20.5Z\",\"n\":12.30,\"j\":{\"x\":[1]}}\n{\"id\":2}\n";
    let answer = fixture.post("/v1/ingest/t", &[], rows.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    fixture
}

#[test]
fn rows_as_json_csv_and_arrow() {
    let fixture = with_rows();
    let query = b"SELECT * FROM t ORDER BY id";
    let answer = fixture.post("/v1/sql", &[], query).json();
    assert_eq!(answer["columns"][0], json!({"name": "id", "type": "bigint"}));
    assert_eq!(answer["columns"][3]["type"], "numeric(10,2)");
    assert_eq!(answer["columns"][4]["type"], "jsonb");
    assert_eq!(answer["rows"][0]["name"], "a\"b");
    assert_eq!(answer["rows"][0]["j"], json!({"x": [1]}));
    assert_eq!(answer["rows"][1], json!({"id": 2, "name": null, "at": null, "n": null, "j": null}));
    assert_eq!(answer["row_count"], 2);
    assert!(answer["commit"].as_u64().unwrap() > 0);

    let csv = fixture.post("/v1/sql", &[("accept", "text/csv")], query);
    assert!(csv.kind.starts_with("text/csv"));
    assert!(csv.text().starts_with("id,name,at,n,j\n1,\"a\"\"b\","), "{}", csv.text());

    let arrow = fixture.post("/v1/sql?format=arrow", &[], query);
    assert_eq!(arrow.kind, "application/vnd.apache.arrow.stream");
    let reader = arrow::ipc::reader::StreamReader::try_new(&arrow.body[..], None).unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let ids: Vec<i64> = batches
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn answers_without_rows_are_whole_in_every_layout() {
    let fixture = with_rows();
    let query = b"SELECT id, name FROM t WHERE id > 100";
    let answer = fixture.post("/v1/sql", &[], query).json();
    assert_eq!((&answer["rows"], &answer["row_count"]), (&json!([]), &json!(0)));
    assert_eq!(fixture.post("/v1/sql?format=csv", &[], query).text(), "id,name\n");
    let arrow = fixture.post("/v1/sql?format=arrow", &[], query);
    let reader = arrow::ipc::reader::StreamReader::try_new(&arrow.body[..], None).unwrap();
    assert_eq!(reader.count(), 0);
}

#[test]
fn parameters_take_the_types_of_the_statement() {
    let fixture = with_rows();
    let ask = |body: &str| {
        fixture.post("/v1/sql", &[("content-type", "application/json")], body.as_bytes())
    };
    let answer = ask(r#"{"sql": "SELECT name FROM t WHERE id = $1", "parameters": [1]}"#);
    assert_eq!(answer.json()["rows"][0]["name"], "a\"b", "{}", answer.text());
    let answer = ask(r#"{"sql": "SELECT name FROM t WHERE id = $1", "parameters": ["one"]}"#);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("parameter $1"), "{}", answer.text());
    let answer = ask(r#"{"sql": "SELECT name FROM t WHERE id = $1", "parameters": []}"#);
    assert_eq!(answer.json()["error"]["code"], "08P01", "{}", answer.text());
}

#[test]
fn errors_have_a_status_a_code_and_a_place() {
    let fixture = with_rows();
    let answer = fixture.post("/v1/sql", &[], b"SELECT nme FROM t");
    assert_eq!(answer.status, 400, "{}", answer.text());
    let error = answer.json()["error"].clone();
    assert_eq!(error["code"], "42703", "{error}");
    assert_eq!(error["position"], 8, "{error}");
    assert!(error["message"].as_str().unwrap().contains("nme"), "{error}");
    assert_eq!(fixture.post("/v1/sql", &[], b"SELECT * FROM nothing").status, 404);
    assert_eq!(fixture.post("/v1/sql", &[], b"SELEC 1").status, 400);
    assert_eq!(fixture.post("/v1/sql", &[], b"  -- nothing\n").status, 400);
    assert_eq!(fixture.post("/v1/sql?format=xml", &[], b"SELECT 1").status, 400);
}

#[test]
fn changes_say_their_tag() {
    let fixture = with_rows();
    let answer = fixture.sql("INSERT INTO t (id) VALUES (7), (8)");
    assert_eq!(answer["tag"], "INSERT 0 2");
    assert!(answer["commit"].as_u64().unwrap() > 0);
    assert_eq!(fixture.one("SELECT count(*) FROM t"), 4);
}

#[test]
fn long_answers_come_in_pieces() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM n (id BIGINT)");
    let body: String = (0..50_000).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    assert_eq!(fixture.post("/v1/ingest/n", &[], body.as_bytes()).json()["accepted"], 50_000);
    let answer = fixture.sql("SELECT id FROM n ORDER BY id");
    assert_eq!(answer["row_count"], 50_000);
    let rows = answer["rows"].as_array().unwrap();
    assert!(rows.iter().enumerate().all(|(i, row)| row["id"] == i), "in order");
}

#[test]
fn health_and_metrics() {
    let fixture = with_rows();
    assert_eq!(fixture.get("/healthz").text(), "ok\n");
    let ready = fixture.get("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
    let page = fixture.get("/metrics");
    let metrics = page.text();
    let received = fixture.sql("SELECT stream, source, received FROM yeoul.sources");
    for source in received["rows"].as_array().unwrap() {
        let [stream, source, received] =
            ["stream", "source", "received"].map(|name| source[name].to_string().replace('"', ""));
        let line = format!(
            "\nyeoul_source_rows_received_total{{stream=\"{stream}\",source=\"{source}\",partition=\"\"}} {received}\n"
        );
        assert!(metrics.contains(&line), "{line}: {metrics}");
        assert!(metrics.contains("# TYPE yeoul_source_rows_received_total counter\n"));
    }
    assert!(fixture.get("/").text().contains("/v1/ingest/{stream}"));
    assert_eq!(fixture.get("/nowhere").status, 404);
    assert_eq!(fixture.get("/v1/sql").status, 405);
}

#[test]
fn an_address_that_says_something_else_is_refused_as_json() {
    let fixture = with_rows();
    let rows = b"{\"id\":3}";
    for (address, message) in [
        ("/v1/sql?fmt=csv", "parameter \"fmt\" does not exist"),
        ("/v1/sql?format=csv&format=json", "parameter \"format\" is given twice"),
        ("/v1/ingest/t?header=true&header=false", "parameter \"header\" is given twice"),
        ("/v1/ingest/%ff", "the name in the address is no text"),
        ("/v1/dead-letters/%ff/replay", "the name in the address is no text"),
    ] {
        let answer = fixture.post(address, &[], rows);
        assert_eq!(answer.status, 400, "{address}: {}", answer.text());
        assert_eq!(answer.json()["error"]["message"], message, "{address}");
    }
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let options =
        HttpOptions { write_timeout: Duration::from_millis(300), ..HttpOptions::default() };
    let fixture = Fixture::with(options, PgOptions::default());
    let mut stream = TcpStream::connect(fixture.http).unwrap();
    let query = "SELECT * FROM generate_series(1, 50000000)";
    let length = query.len();
    let request =
        format!("POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{query}");
    stream.write_all(request.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    // Nobody is busy any more, so that the end waits for nobody.
    assert!(fixture.stop() < Duration::from_secs(2));
}
