//! Events over HTTP and the Postgres wire, under the options of their stream.

use serde_json::json;

use crate::fixture::Fixture;

#[test]
fn a_stream_says_how_its_events_are_written() {
    let fixture = Fixture::new();
    fixture.sql(
        "CREATE STREAM s (id BIGINT, name VARCHAR(4), at TIMESTAMP) WITH (delimiter = ';', null = 'NA', \
         mapping = 'id: item.id, name: \"n\"', timestamp_unit = 's', row_bytes_max = 100)",
    );
    let post = |path: &str, kind: &str, body: &str| {
        fixture.post(&format!("/v1/ingest/s{path}"), &[("content-type", kind)], body.as_bytes())
    };
    // So many seconds are no year that can be kept; the second name is too long.
    let json = "{\"item\":{\"id\":1},\"n\":\"a\",\"at\":1769900400123456}\n\
                {\"item\":{\"id\":2},\"n\":\"abcde\"}\n";
    let receipt = post("", "application/json", json).json();
    assert_eq!(
        (&receipt["accepted"], &receipt["dead_letters"]),
        (&json!(0), &json!(2)),
        "{receipt}"
    );
    let json = "{\"item\":{\"id\":1},\"n\":\"a\",\"at\":60}\n";
    assert_eq!(post("", "application/octet-stream", json).json()["accepted"], 1);
    let csv = "item.id;n;at\n2;NA;120\n";
    assert_eq!(post("", "text/csv", csv).json()["accepted"], 1);
    // Tabs stay tabs.
    let tsv = "item.id\tn\n3\ta;b\n";
    assert_eq!(post("", "text/tab-separated-values", tsv).json()["accepted"], 1);
    let bare = "4,-\n5,x\n";
    let path = "?format=csv&columns=item.id,n&delimiter=,&null=-&timestamp_unit=ms";
    let answer = post(path, "application/x-www-form-urlencoded", bare);
    assert_eq!(answer.json()["accepted"], 2, "{}", answer.text());
    let rows = fixture.sql("SELECT id, name, at FROM s ORDER BY id");
    assert_eq!(
        rows["rows"],
        json!([
            {"id": 1, "name": "a", "at": "1970-01-01T00:01:00"},
            {"id": 2, "name": null, "at": "1970-01-01T00:02:00"},
            {"id": 3, "name": "a;b", "at": null},
            {"id": 4, "name": null, "at": null},
            {"id": 5, "name": "x", "at": null},
        ])
    );
    assert_eq!(rows["columns"][1]["type"], "varchar(4)");
    // A request's own way of writing does not stay.
    assert_eq!(post("", "application/json", json).json()["accepted"], 1);
    for (path, message) in [
        ("?heder=false", "parameter \\\"heder\\\" does not exist"),
        ("?mapping=a:b", "it is an option of the stream"),
        ("?format=parquet", "format 'parquet' is for files"),
        ("?format=csv&columns=x", "option \\\"columns\\\" names none of the columns"),
    ] {
        let answer = post(path, "application/json", json);
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.text().contains(message), "{path}: {}", answer.text());
    }
}

#[test]
fn the_format_of_a_stream_is_for_requests_that_say_none() {
    let fixture = Fixture::new();
    fixture.sql(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR) \
         WITH (format = 'tsv', header = false, on_error = 'fail')",
    );
    let answer = fixture.post("/v1/ingest/t", &[], b"1\ta\n2\tb\n");
    assert_eq!(answer.json()["accepted"], 2, "{}", answer.text());
    let kind = [("content-type", "application/json")];
    let answer = fixture.post("/v1/ingest/t", &kind, b"{\"id\":2,\"name\":\"c\"}");
    assert_eq!(answer.json()["accepted"], 1, "{}", answer.text());
    let answer = fixture.post("/v1/ingest/t", &[], b"x\ta\n");
    assert_eq!(answer.status, 400, "a table refuses bad rows, too");
    assert_eq!(answer.json()["error"]["code"], "22P02");
    assert_eq!(fixture.one("SELECT count(*) FROM t"), 2);
}

#[test]
fn times_ahead_of_now_are_not_stored() {
    let fixture = Fixture::new();
    fixture.sql(
        "CREATE STREAM s (id BIGINT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) \
         WITH (retention = '30 days')",
    );
    // Now is 2027-01-15 08:00:00.
    let body = "{\"id\":1,\"ts\":\"2027-01-15T20:00:00Z\"}\n{\"id\":2,\"ts\":\"2027-02-15\"}\n";
    let receipt = fixture.post("/v1/ingest/s", &[], body.as_bytes()).json();
    assert_eq!(
        (&receipt["accepted"], &receipt["dead_letters"]),
        (&json!(1), &json!(1)),
        "{receipt}"
    );
    let letter = fixture.sql("SELECT position, reason FROM yeoul.dead_letters")["rows"][0].clone();
    assert_eq!(letter["position"], "line 2");
    assert_eq!(letter["reason"], "ts is 30 days ahead of now, more than future_skew = 1 day");
    let insert = "INSERT INTO s VALUES (3, '2027-01-17 00:00:00')";
    let answer = fixture.post("/v1/sql", &[], insert.as_bytes());
    assert_eq!(answer.json()["error"]["code"], "22008", "{}", answer.text());
    assert_eq!(fixture.one("SELECT count(*) FROM s"), 1);
}

#[test]
fn messages_of_decoders_name_types_as_sql_does() {
    let fixture = Fixture::new();
    let types = [
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "numeric(5,2)",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "uuid",
        "bytea",
        "bigint[]",
        "varchar[]",
    ];
    let columns: Vec<String> = types.iter().enumerate().map(|(i, t)| format!("c{i} {t}")).collect();
    fixture.sql(&format!("CREATE STREAM s ({})", columns.join(", ")));
    let answer = fixture.sql("SELECT * FROM s");
    for (i, written) in types.iter().enumerate() {
        assert_eq!(answer["columns"][i]["type"], *written);
        let body = format!("{{\"c{i}\":{{}}}}");
        let receipt = fixture.post("/v1/ingest/s", &[], body.as_bytes()).json();
        assert_eq!(receipt["dead_letters"], 1, "{written}: {receipt}");
        let sql = format!(
            "SELECT count(*) FROM yeoul.dead_letters WHERE reason = 'column \"c{i}\": {{}} is not a valid {written}'"
        );
        assert_eq!(fixture.one(&sql), 1, "{written}");
    }
}
