//! `COPY` in both directions.

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::error::SqlState;

use crate::fixture::Fixture;

async fn copy_in(
    client: &tokio_postgres::Client,
    sql: &str,
    pieces: &[&'static str],
) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in::<_, Bytes>(sql).await?;
    let mut sink = std::pin::pin!(sink);
    for piece in pieces {
        sink.send(Bytes::from_static(piece.as_bytes())).await?;
    }
    sink.finish().await
}

async fn copy_out(client: &tokio_postgres::Client, sql: &str) -> String {
    let pieces: Vec<Bytes> = client.copy_out(sql).await.unwrap().try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[test]
fn rows_go_in_and_come_out() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM t (id BIGINT, name VARCHAR, price DOUBLE PRECISION)");
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let text = &["1\ta\\tb\t1.5\n2\t", "\\N\t\\N\n3\tlast\t0"];
        assert_eq!(copy_in(&client, "COPY t FROM STDIN", text).await.unwrap(), 3);
        let csv = &["price,id,name\n2.5,4,\"a,", "b\"\n,5,\n"];
        let sql = "COPY t FROM STDIN WITH (FORMAT csv, HEADER)";
        assert_eq!(copy_in(&client, sql, csv).await.unwrap(), 2);
        let some = &["6\tsix\n"];
        assert_eq!(copy_in(&client, "COPY t (id, name) FROM STDIN", some).await.unwrap(), 1);

        let out = copy_out(&client, "COPY (SELECT * FROM t ORDER BY id) TO STDOUT").await;
        assert_eq!(
            out,
            "1\ta\\tb\t1.5\n2\t\\N\t\\N\n3\tlast\t0\n4\ta,b\t2.5\n5\t\\N\t\\N\n6\tsix\t\\N\n"
        );
        let sql = "COPY (SELECT id, name FROM t WHERE id > 3 ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)";
        assert_eq!(copy_out(&client, sql).await, "id,name\n4,\"a,b\"\n5,\n6,six\n");
    });
}

#[test]
fn a_bad_row_ends_the_copy_and_names_its_line() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM t (id BIGINT, name VARCHAR)");
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let error = copy_in(&client, "COPY t FROM STDIN", &["1\ta\nx\tb\n"]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::INVALID_TEXT_REPRESENTATION);
        assert!(error.message().contains("line 2"), "{}", error.message());
        let sql = "COPY t FROM STDIN WITH (FORMAT csv, HEADER)";
        let error = copy_in(&client, sql, &["id,nme\n1,a\n"]).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("nme"));
        // The connection goes on.
        let row = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
    });
}

#[test]
fn many_rows_go_in_by_pieces() {
    let fixture = Fixture::new();
    fixture.sql("CREATE STREAM t (id BIGINT, name VARCHAR)");
    fixture.runtime.block_on(async {
        let client = fixture.connect().await;
        let sink = client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        for chunk in 0..100 {
            let rows: String = (0..4_000)
                .map(|i| format!("{}\tthe name of this row is not short\n", chunk * 4_000 + i))
                .collect();
            sink.send(Bytes::from(rows)).await.unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 400_000);
        let row = client.query_one("SELECT count(DISTINCT id) FROM t", &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 400_000);
    });
}
