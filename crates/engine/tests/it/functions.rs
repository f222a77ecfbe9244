//! Functions that people write: kept over restarts, and not dropped under those that use them.

use super::support::{ok, open, run, settle};
use yeoul_engine::Engine;

fn refused(engine: &Engine, sql: &str, sqlstate: &str) {
    match run(engine, sql) {
        Ok(rows) => panic!("{sql}: {rows:?}"),
        Err(error) => assert_eq!(error.sqlstate, sqlstate, "{sql}: {error}"),
    }
}

fn last_line(engine: &Engine, sql: &str) -> String {
    ok(engine, sql).pop().expect("an answer")
}

#[test]
fn a_function_outlives_restarts_and_guards_what_uses_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    ok(&engine, "CREATE TABLE t (id BIGINT PRIMARY KEY, a INT, b INT)");
    ok(&engine, "CREATE FUNCTION twice(x INT) RETURNS INT LANGUAGE SQL AS 'SELECT x * 2'");
    ok(&engine, "CREATE FUNCTION twice(x INT, y INT) RETURNS INT RETURN twice(x) + twice(y)");
    ok(
        &engine,
        "CREATE FUNCTION unused(INT) RETURNS TEXT IMMUTABLE LANGUAGE SQL AS $$ SELECT 'n' || $1 $$",
    );
    ok(&engine, "INSERT INTO t VALUES (1, 1, 10), (2, NULL, 20)");
    ok(
        &engine,
        "CREATE MATERIALIZED VIEW v AS SELECT id, twice(a, b) AS c FROM t WHERE twice(id) > 1",
    );
    for round in 0..3 {
        settle(&engine);
        let mut rows = ok(&engine, "SELECT id, c FROM v");
        rows.sort();
        let mut batch = ok(&engine, "SELECT id, twice(a, b) AS c FROM t");
        batch.sort();
        assert_eq!(rows, batch, "round {round}");
        refused(&engine, "DROP FUNCTION twice(INT, INT)", "2BP01");
        // Behind the other one.
        refused(&engine, "DROP FUNCTION twice(INT)", "2BP01");
        refused(&engine, "DROP FUNCTION twice", "42725");
        ok(&engine, &format!("INSERT INTO t VALUES ({}, {round}, 1)", 10 + round));
        if round == 1 {
            engine.checkpoint().expect("writes");
        }
        engine.shutdown().expect("stops");
        drop(engine);
        engine = open(dir.path());
    }
    assert_eq!(last_line(&engine, "SELECT unused(7)"), last_line(&engine, "SELECT 'n7'"));
    ok(&engine, "DROP FUNCTION unused");
    refused(&engine, "SELECT unused(7)", "42883");
    refused(&engine, "DROP FUNCTION unused", "42883");
    ok(&engine, "DROP FUNCTION IF EXISTS unused");
    ok(&engine, "DROP MATERIALIZED VIEW v");
    ok(&engine, "DROP FUNCTION twice(INT, INT)");
    ok(&engine, "CREATE OR REPLACE FUNCTION twice(x INT) RETURNS INT RETURN x * 3");
    assert_eq!(last_line(&engine, "SELECT twice(7)"), last_line(&engine, "SELECT 21"));
    // A function that leads back to itself.
    ok(&engine, "CREATE FUNCTION thrice(x INT) RETURNS INT RETURN twice(x) + x");
    engine.shutdown().expect("stops");
    drop(engine);
    engine = open(dir.path());
    ok(&engine, "DROP FUNCTION thrice");
    assert_eq!(ok(&engine, "SHOW FUNCTIONS").len(), ok(&engine, "SELECT 1").len());
    refused(&engine, "CREATE FUNCTION again(x INT) RETURNS INT RETURN again(x - 1)", "42P16");
    engine.shutdown().expect("stops");
}

#[test]
fn calls_within_calls_are_bounded() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE FUNCTION f0(x BIGINT) RETURNS BIGINT RETURN x + x");
    for level in 1..12 {
        let sql = format!(
            "CREATE FUNCTION f{level}(x BIGINT) RETURNS BIGINT RETURN f{0}(x) + f{0}(x)",
            level - 1
        );
        if let Err(error) = run(&engine, &sql) {
            assert_eq!(error.sqlstate, "54001", "{error}");
            assert!(level > 6, "{error}");
            engine.shutdown().expect("stops");
            return;
        }
    }
    panic!("a function became two thousand");
}
