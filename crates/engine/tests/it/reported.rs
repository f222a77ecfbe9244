//! What the engine says of its relations: counts are called what they are.

use super::support::{ok, open, run, settle};

#[test]
fn rows_are_counted_where_they_are_known_and_stored_rows_elsewhere() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE STREAM e (k INT)");
    ok(&engine, "CREATE TABLE t (k INT PRIMARY KEY, n INT)");
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM e GROUP BY k");
    for round in 0..4 {
        ok(&engine, "INSERT INTO e VALUES (1), (2)");
        ok(&engine, &format!("INSERT INTO t VALUES (1, {round}), (2, {round})"));
    }
    settle(&engine);
    assert_eq!(ok(&engine, "SELECT name, rows FROM yeoul.streams"), ["e|8"]);
    for (table, name) in [("yeoul.views", "v"), ("yeoul.tables", "t")] {
        assert_eq!(ok(&engine, &format!("SELECT count(*) FROM {name}")), ["2"]);
        // Two rows, each of them written four times; what is in memory is merged now and then.
        let stored = ok(&engine, &format!("SELECT stored_rows BETWEEN 2 AND 8 FROM {table}"));
        assert_eq!(stored, ["true"], "{table}");
        let error = run(&engine, &format!("SELECT rows FROM {table}")).expect_err("no such column");
        assert_eq!(error.sqlstate, "42703", "{table}: {error}");
    }
    engine.shutdown().expect("stops");
}
