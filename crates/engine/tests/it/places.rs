//! A name that is not there is told of alike by every statement: what there is, what was meant, and where.

use super::support::{ok, open, run};

#[test]
fn every_statement_says_what_there_is_and_where_it_looked() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    let nothing = run(&engine, "DROP TABLE x").expect_err("nothing is there");
    assert_eq!(nothing.detail.as_deref(), Some("there are no streams, tables or views yet"));
    ok(&engine, "CREATE STREAM events (id BIGINT)");
    ok(&engine, "CREATE MATERIALIZED VIEW counts AS SELECT count(*) AS n FROM events");
    ok(&engine, "CREATE FUNCTION half(x BIGINT) RETURNS BIGINT RETURN x / 2");
    for sql in [
        "SELECT 1 FROM evnts",
        "ALTER STREAM evnts ADD COLUMN b INT",
        "ALTER TABLE evnts DROP COLUMN id",
        "ALTER VIEW evnts RENAME TO other",
        "ALTER MATERIALIZED VIEW evnts CANCEL REPLACE",
        "DROP STREAM evnts",
        "DROP VIEW counts, evnts",
        "DROP MATERIALIZED VIEW /* ü */ evnts CASCADE",
        "DESCRIBE evnts",
        "SHOW CREATE STREAM evnts",
        "SHOW COLUMNS FROM evnts",
    ] {
        let error = run(&engine, sql).expect_err(sql);
        assert_eq!(error.sqlstate, "42P01", "{sql}: {error}");
        assert_eq!(error.message, "relation \"evnts\" does not exist", "{sql}");
        assert_eq!(error.detail.as_deref(), Some("there are counts, events"), "{sql}");
        assert_eq!(error.hint.as_deref(), Some("did you mean \"events\"?"), "{sql}");
        let at = sql.chars().collect::<String>().split("evnts").next().map(|b| b.chars().count());
        assert_eq!(error.position, at.map(|at| at + 1), "{sql}");
    }
    // What takes rows is what is meant where rows are given.
    for sql in [
        "INSERT INTO evnts VALUES (1)",
        "COPY evnts FROM STDIN",
        "DELETE FROM evnts",
        "UPDATE evnts SET id = 1",
    ] {
        let error = run(&engine, sql).expect_err(sql);
        assert_eq!(error.sqlstate, "42P01", "{sql}: {error}");
        assert_eq!(error.hint.as_deref(), Some("did you mean \"events\"?"), "{sql}");
        assert_eq!(error.position, sql.find("evnts").map(|at| at + 1), "{sql}");
    }
    for (sql, state, at) in [
        ("DROP FUNCTION haalf(BIGINT)", "42883", 15),
        ("DROP VIEW events", "42809", 11),
        ("ALTER TABLE counts DROP COLUMN n", "42809", 13),
        ("CREATE OR REPLACE MATERIALIZED VIEW events AS SELECT 1 AS one", "42809", 37),
        ("INSERT INTO counts VALUES (1)", "42809", 13),
    ] {
        let error = run(&engine, sql).expect_err(sql);
        assert_eq!((error.sqlstate.as_str(), error.position), (state, Some(at)), "{sql}: {error}");
        assert!(error.hint.is_some(), "{sql}: {error}");
    }
    let function = run(&engine, "DROP FUNCTION haalf").expect_err("there is none");
    assert_eq!(function.detail.as_deref(), Some("yours are half(x bigint)"));
    assert_eq!(function.hint.as_deref(), Some("did you mean \"half\"?"));
    engine.shutdown().expect("stops");
}
