//! Statements that are as deep and as long as they may be run; deeper ones are refused.

use yeoul_engine::{Engine, STACK_BYTES};

use super::support::{ok, open, run};

fn check(engine: &Engine, what: &str, statement: impl Fn(usize) -> String, most: usize) {
    run(engine, &statement(most)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let error = run(engine, &statement(most + 1)).expect_err(what);
    assert_eq!(error.sqlstate, "54001", "{what}: {error}");
    // What no stack could take.
    let error = run(engine, &statement(100_000)).expect_err(what);
    assert_eq!(error.sqlstate, "54001", "{what}: {error}");
}

/// `first` and `n` times `next`, with another number for every `#`.
fn row(first: &str, next: &str, n: usize) -> String {
    (1..=n).fold(first.to_owned(), |text, i| text + &next.replace('#', &i.to_string()))
}

#[test]
fn a_statement_is_refused_before_it_is_too_deep() {
    let dir = tempfile::tempdir().expect("a folder");
    let body = || {
        let engine = open(dir.path());
        let e = &engine;
        ok(e, "CREATE TABLE t (a BIGINT PRIMARY KEY, b VARCHAR)");
        ok(e, "INSERT INTO t VALUES (1, 'x')");
        check(e, "sum", |n| row("SELECT a", " + 1", n) + " FROM t", 250);
        check(e, "text", |n| row("SELECT b", " || b", n) + " FROM t", 250);
        check(e, "cast", |n| row("SELECT a", "::BIGINT", n) + " FROM t", 250);
        check(e, "is", |n| row("SELECT a", " IS NULL", n) + " FROM t", 250);
        check(e, "delete", |n| row("DELETE FROM t WHERE a", " + 1", n - 1) + " = 0", 250);
        check(e, "update", |n| row("UPDATE t SET b = b", " || ''", n - 1), 250);
        check(e, "or", |n| row("SELECT a FROM t WHERE a = 0", " OR a = #", n), 2_000);
        check(
            e,
            "or of texts",
            |n| row("SELECT a FROM t WHERE b = 'y'", " OR b LIKE 'x%#'", n),
            2_000,
        );
        check(e, "and", |n| row("SELECT a FROM t WHERE a = 1", " AND b <> 'y#'", n), 2_000);
        check(e, "union", |n| row("SELECT 1", " UNION ALL SELECT #", n), 2_000);
        check(e, "tables", |n| row("SELECT 1 FROM t", ", t t#", n), 250);

        let conditions = row("a = 0", " OR b LIKE 'x%#' AND a > 0", 1_000);
        let sum = row("a", " + 1", 240);
        ok(e, "CREATE STREAM s (a BIGINT, b VARCHAR)");
        ok(
            e,
            &format!("CREATE MATERIALIZED VIEW v AS SELECT {sum} AS n FROM s WHERE {conditions}"),
        );
        ok(e, "INSERT INTO s VALUES (1, 'x7')");
        assert_eq!(ok(e, "SELECT n FROM v"), ["241"]);
        engine.shutdown().expect("stops");
        drop(engine);
        assert_eq!(ok(&open(dir.path()), "SELECT n FROM v"), ["241"]);
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, body).expect("a thread").join().expect("no panic");
    });
}
