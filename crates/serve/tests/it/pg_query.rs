//! Queries over the Postgres wire, as drivers send them.

use std::error::Error;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::fixture::Fixture;

/// The bytes of any value.
#[derive(Debug, PartialEq)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

const COLUMNS: &str = "b BOOLEAN, i2 SMALLINT, i4 INT, i8 BIGINT, f4 REAL, f8 DOUBLE PRECISION, \
    n NUMERIC(10,2), t VARCHAR, d DATE, tm TIME, ts TIMESTAMP, tz TIMESTAMPTZ, j JSONB, u UUID, \
    a BIGINT[], y BYTEA";

const ROW: &str = "true, 2, 4, 8, 1.5, 0.1, 1234.56, 'text', DATE '2000-01-02', TIME '00:00:01', \
    TIMESTAMP '2000-01-01 00:00:01', TIMESTAMPTZ '2000-01-01 00:00:02+00', '{\"x\":1}', \
    '00000000-0000-0000-0000-0000000000ff', ARRAY[1, 2], decode('00ff', 'hex')";

async fn with_types(fixture: &Fixture) -> tokio_postgres::Client {
    let client = fixture.connect().await;
    client.batch_execute(&format!("CREATE STREAM types ({COLUMNS})")).await.unwrap();
    client.batch_execute(&format!("INSERT INTO types VALUES ({ROW})")).await.unwrap();
    client
}

#[test]
fn types_in_binary() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = with_types(&fixture).await;
        let row = client.query_one("SELECT * FROM types", &[]).await.unwrap();
        let types: Vec<_> = row.columns().iter().map(|c| c.type_().name().to_owned()).collect();
        assert_eq!(
            types,
            [
                "bool",
                "int2",
                "int4",
                "int8",
                "float4",
                "float8",
                "numeric",
                "text",
                "date",
                "time",
                "timestamp",
                "timestamptz",
                "jsonb",
                "uuid",
                "_int8",
                "bytea"
            ]
        );
        assert!(row.get::<_, bool>(0));
        assert_eq!(row.get::<_, i16>(1), 2);
        assert_eq!(row.get::<_, i32>(2), 4);
        assert_eq!(row.get::<_, i64>(3), 8);
        assert_eq!(row.get::<_, f32>(4), 1.5);
        assert_eq!(row.get::<_, f64>(5), 0.1);
        let numeric: Vec<u8> =
            [2_i16, 0, 0, 2, 1234, 5600].iter().flat_map(|f| f.to_be_bytes()).collect();
        assert_eq!(row.get::<_, Raw>(6), Raw(numeric));
        assert_eq!(row.get::<_, &str>(7), "text");
        assert_eq!(row.get::<_, Raw>(8), Raw(1_i32.to_be_bytes().to_vec()));
        assert_eq!(row.get::<_, Raw>(9), Raw(1_000_000_i64.to_be_bytes().to_vec()));
        assert_eq!(row.get::<_, Raw>(10), Raw(1_000_000_i64.to_be_bytes().to_vec()));
        assert_eq!(row.get::<_, Raw>(11), Raw(2_000_000_i64.to_be_bytes().to_vec()));
        assert_eq!(row.get::<_, Raw>(12).0.split_first().unwrap().0, &1);
        assert_eq!(row.get::<_, Raw>(13).0[15], 0xff);
        assert_eq!(row.get::<_, Vec<i64>>(14), [1, 2]);
        assert_eq!(row.get::<_, Vec<u8>>(15), [0, 0xff]);
    });
}

#[test]
fn types_in_text() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = with_types(&fixture).await;
        let answer = client.simple_query("SELECT * FROM types").await.unwrap();
        let row = answer
            .iter()
            .find_map(|m| match m {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .unwrap();
        let texts: Vec<_> = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect();
        assert_eq!(texts[..6], ["t", "2", "4", "8", "1.5", "0.1"]);
        assert_eq!(texts[6..10], ["1234.56", "text", "2000-01-02", "00:00:01"]);
        assert_eq!(texts[10..12], ["2000-01-01 00:00:01", "2000-01-01 00:00:02+00"]);
        assert_eq!(texts[13..], ["00000000-0000-0000-0000-0000000000ff", "{1,2}", "\\x00ff"]);
    });
}

#[test]
fn parameters_come_in_binary_and_nulls_go_out() {
    let fixture = Fixture::new();
    fixture.runtime.block_on(async {
        let client = with_types(&fixture).await;
        let types = [Type::INT8, Type::TEXT, Type::FLOAT8];
        let insert = "INSERT INTO types (i8, t, f8) VALUES ($1, $2, $3)";
        let insert = client.prepare_typed(insert, &types).await.unwrap();
        for i in 0..10_i64 {
            let name: Option<String> = (i % 2 == 0).then(|| format!("n{i}"));
            client.execute(&insert, &[&(100 + i), &name, &0.5_f64]).await.unwrap();
        }
        let query = client
            .prepare("SELECT i8, t FROM types WHERE i8 >= $1 ORDER BY i8 LIMIT 3")
            .await
            .unwrap();
        assert_eq!(query.params()[0], Type::INT8);
        for from in [100_i64, 103] {
            let rows = client.query(&query, &[&from]).await.unwrap();
            assert_eq!(rows.len(), 3);
            assert_eq!(rows[0].get::<_, i64>(0), from);
            let odd = rows.iter().find(|row| row.get::<_, i64>(0) % 2 == 1).unwrap();
            assert_eq!(odd.get::<_, Option<&str>>(1), None);
        }
    });
}

#[test]
fn several_statements_are_answered_in_order() {
    let fixture = Fixture::with_events();
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let answer = client
            .simple_query("SELECT 1; ; SHOW server_version; BEGIN; COMMIT; SELECT ';' AS semi")
            .await
            .unwrap();
        let rows: Vec<_> = answer
            .iter()
            .filter_map(|m| match m {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect();
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert_eq!((rows[0].as_str(), rows[2].as_str()), ("1", ";"));
        assert!(rows[1].starts_with("16.6 (Yeoul "), "{}", rows[1]);
    });
}

#[test]
fn errors_tell_everything_and_the_connection_goes_on() {
    let fixture = Fixture::with_events();
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        for sql in ["SELECT prce FROM events", "SELECT 1; SELECT prce FROM events"] {
            let error = client.batch_execute(sql).await.unwrap_err();
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code(), &SqlState::UNDEFINED_COLUMN);
            assert_eq!(error.severity(), "ERROR");
            let at = u32::try_from(sql.find("prce").unwrap()).unwrap() + 1;
            let position = tokio_postgres::error::ErrorPosition::Original(at);
            assert_eq!(error.position(), Some(&position), "{sql}");
        }
        let error = client.prepare("SELECT * FROM nothing").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));
        assert_eq!(client.query_one("SELECT 1::bigint", &[]).await.unwrap().get::<_, i64>(0), 1);
    });
}

#[test]
fn transactions_are_kept_as_postgres_keeps_them() {
    let fixture = Fixture::with_events();
    fixture.runtime.block_on(async {
        let mut client = fixture.connect().await;
        let transaction = client.transaction().await.unwrap();
        transaction.batch_execute("SELECT 1").await.unwrap();
        transaction.batch_execute("SELECT wrong").await.unwrap_err();
        let error = transaction.batch_execute("SELECT 1").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
        transaction.rollback().await.unwrap();
        client.batch_execute("SELECT 1").await.unwrap();
    });
}

#[test]
fn portals_give_rows_in_portions() {
    let fixture = Fixture::new();
    let body: String = (0..20_000).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    fixture.sql("CREATE STREAM n (id BIGINT)");
    fixture.post("/v1/ingest/n", &[], body.as_bytes());
    fixture.runtime.block_on(async {
        let mut client = fixture.connect().await;
        let transaction = client.transaction().await.unwrap();
        let portal = transaction.bind("SELECT id FROM n ORDER BY id", &[]).await.unwrap();
        let mut next = 0;
        for _ in 0..3 {
            let rows = transaction.query_portal(&portal, 1_000).await.unwrap();
            assert_eq!(rows.len(), 1_000);
            for row in rows {
                assert_eq!(row.get::<_, i64>(0), next);
                next += 1;
            }
        }
        assert_eq!(transaction.query_portal(&portal, 0).await.unwrap().len(), 17_000);
        assert_eq!(transaction.query_portal(&portal, 0).await.unwrap().len(), 0);
        transaction.commit().await.unwrap();
    });
}

#[test]
fn cursors_give_rows_in_portions() {
    let fixture = Fixture::new();
    let body: String = (0..100).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    fixture.sql("CREATE STREAM n (id BIGINT)");
    fixture.post("/v1/ingest/n", &[], body.as_bytes());
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let ids = async |sql: &str| -> Vec<i64> {
            let answer = client.simple_query(sql).await.unwrap();
            let row = |message: &SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().parse().unwrap()),
                _ => None,
            };
            answer.iter().filter_map(row).collect()
        };
        let declare = "DECLARE c CURSOR FOR SELECT id FROM n ORDER BY id";
        let error = client.batch_execute(declare).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION));
        client.batch_execute(&format!("BEGIN; {declare}")).await.unwrap();
        assert_eq!(ids("FETCH FORWARD 2 FROM c").await, [0, 1]);
        assert_eq!(ids("FETCH c").await, [2]);
        // By the extended protocol, in binary.
        let rows = client.query("FETCH 1 FROM c", &[]).await;
        assert!(rows.is_err(), "a cursor keeps the form of its first rows");
        client.batch_execute("ROLLBACK; BEGIN").await.unwrap();
        client.batch_execute(declare).await.unwrap();
        let rows = client.query("FETCH 3 FROM c", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(client.query("FETCH ALL FROM c", &[]).await.unwrap().len(), 97);
        assert_eq!(client.query("FETCH ALL FROM c", &[]).await.unwrap().len(), 0);
        client.batch_execute("COMMIT").await.unwrap();
        assert!(client.batch_execute("FETCH c").await.is_err(), "it ended with its transaction");
        // A cursor that is held sees what there was.
        client.batch_execute("DECLARE h CURSOR WITH HOLD FOR SELECT id FROM n").await.unwrap();
        client.batch_execute("INSERT INTO n VALUES (1000)").await.unwrap();
        assert_eq!(ids("FETCH ALL FROM h").await.len(), 100);
        client.batch_execute("CLOSE h; CLOSE ALL; UNLISTEN *; RESET ALL").await.unwrap();
    });
}

/// Queries that go on for hours: with rows, and without a pause on every query thread.
const LONG: [&str; 2] =
    ["SELECT a.id FROM n a, n b, n c", "SELECT a.id FROM n a, n b, n c ORDER BY 1"];

#[test]
fn a_running_query_is_cancelled() {
    let fixture = Fixture::new();
    let body: String = (0..10_000).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    fixture.sql("CREATE STREAM n (id BIGINT)");
    fixture.post("/v1/ingest/n", &[], body.as_bytes());
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let token = client.cancel_token();
        for long in LONG {
            let begin = Instant::now();
            let (result, ()) = tokio::join!(client.batch_execute(long), async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                token.cancel_query(NoTls).await.unwrap();
            });
            let error = result.unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error:?}");
            assert!(begin.elapsed() < Duration::from_secs(5), "{long}");
            client.batch_execute("BEGIN; COMMIT").await.unwrap();
        }
    });
}
