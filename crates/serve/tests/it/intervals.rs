//! Intervals on every way in and out, before and after they are in parts.

use std::error::Error;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use serde_json::json;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::fixture::Fixture;

/// Microseconds, days and months: an interval as PostgreSQL sends it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval(i64, i32, i32);

impl<'a> FromSql<'a> for Interval {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let (us, rest) = raw.split_at(8);
        let (days, months) = rest.split_at(4);
        Ok(Self(
            i64::from_be_bytes(us.try_into()?),
            i32::from_be_bytes(days.try_into()?),
            i32::from_be_bytes(months.try_into()?),
        ))
    }

    fn accepts(data_type: &Type) -> bool {
        *data_type == Type::INTERVAL
    }
}

impl ToSql for Interval {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.0);
        out.put_i32(self.1);
        out.put_i32(self.2);
        Ok(IsNull::No)
    }

    fn accepts(data_type: &Type) -> bool {
        *data_type == Type::INTERVAL
    }

    to_sql_checked!();
}

const DAY_AND_CLOCK: &str = "1 day 02:03:04";

#[test]
fn intervals_come_in_and_go_out() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM s (id BIGINT, i INTERVAL)");
    fixture.sql("CREATE TABLE t (i INTERVAL PRIMARY KEY, id BIGINT)");
    fixture.sql("CREATE MATERIALIZED VIEW v AS SELECT i, count(*) AS n FROM s GROUP BY i");
    let body = br#"{"id":1,"i":"1 day 02:03:04"}
        {"id":2,"i":null}
        {"id":3,"i":"-3 months"}
        {"id":0,"i":"soon"}"#;
    let receipt = fixture.post("/v1/ingest/s", &[], body).json();
    assert_eq!(
        (&receipt["accepted"], &receipt["dead_letters"]),
        (&json!(3), &json!(1)),
        "{receipt}"
    );
    let csv = b"id,i\n4,1 year 2 mons -3 days 04:05:06.789\n5,P1DT2H\n";
    let receipt = fixture.post("/v1/ingest/s", &[("content-type", "text/csv")], csv).json();
    assert_eq!(receipt["accepted"], 2, "{receipt}");
    fixture.sql("INSERT INTO s VALUES (6, '-00:00:00.000001'), (7, '1 day 02:03:04')");
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let sink = client.copy_in::<_, Bytes>("COPY s FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from_static(b"8\t1 day 02:03:04\n9\t\\N\n")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);
        let insert = client.prepare_typed("INSERT INTO s VALUES (10, $1)", &[Type::INTERVAL]);
        let insert = insert.await.unwrap();
        client.execute(&insert, &[&Interval(-5, 6, -7)]).await.unwrap();
    });
    fixture.sql("INSERT INTO t SELECT i, id FROM s WHERE i IS NOT NULL AND id <> 1");
    let error = fixture.post("/v1/sql", &[], b"INSERT INTO s VALUES (1, '1:2:3:4')");
    assert!(error.text().contains("22P02") && error.text().contains("column"), "{}", error.text());
    check(&fixture);
    fixture.engine.checkpoint().unwrap();
    check(&fixture);
}

fn check(fixture: &Fixture) {
    let texts = [
        Some(DAY_AND_CLOCK),
        None,
        Some("-3 mons"),
        Some("1 year 2 mons -3 days +04:05:06.789"),
        Some("1 day 02:00:00"),
        Some("-00:00:00.000001"),
        Some(DAY_AND_CLOCK),
        Some(DAY_AND_CLOCK),
        None,
        Some("-7 mons +6 days -00:00:00.000005"),
    ];
    let answer = fixture.sql("SELECT i FROM s ORDER BY id");
    let rows = texts.map(|text| json!({ "i": text }));
    assert_eq!(answer["rows"], json!(rows));
    assert_eq!(answer["columns"][0]["type"], "interval");
    assert_eq!(
        fixture.one("SELECT n FROM v WHERE i = INTERVAL '1 day 2 hours 3 minutes 4 seconds'"),
        3
    );
    assert_eq!(fixture.one("SELECT n FROM v WHERE i IS NULL"), 2);
    assert_eq!(fixture.one("SELECT id FROM t WHERE i = INTERVAL '-3 months'"), 3);
    assert_eq!(fixture.one("SELECT count(*) FROM t"), 6);
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let copied = client.copy_out("COPY (SELECT i FROM s ORDER BY id) TO STDOUT").await.unwrap();
        let copied: Vec<Bytes> = copied.try_collect().await.unwrap();
        let lines = texts.map(|text| format!("{}\n", text.unwrap_or("\\N")));
        assert_eq!(String::from_utf8(copied.concat()).unwrap(), lines.concat());
        let shown = client.simple_query("SELECT i FROM s ORDER BY id").await.unwrap();
        let shown = shown.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0)),
            _ => None,
        });
        assert_eq!(shown.collect::<Vec<_>>(), texts);
        let rows = client.query("SELECT i FROM s ORDER BY id", &[]).await.unwrap();
        let rows: Vec<Option<Interval>> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(rows[0], Some(Interval(7_384_000_000, 1, 0)));
        assert_eq!(rows[1..3], [None, Some(Interval(0, 0, -3))]);
        assert_eq!(rows[9], Some(Interval(-5, 6, -7)));
    });
}
