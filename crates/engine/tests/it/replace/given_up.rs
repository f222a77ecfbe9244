//! Builds that end without a swap.

use yeoul_engine::Engine;

use super::super::support::{ok, run, settle};
use super::{
    DEEP, NEW, OLD, STREAM, consistent, deliver, replace, replaced, slow, sorted, trees, views,
};

#[test]
fn a_build_is_cancelled_and_superseded_without_a_trace() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = slow(dir.path(), 128);
    ok(&engine, STREAM);
    deliver(&engine, 0..20_000).expect("stored");
    views(&engine);
    settle(&engine);
    let before = trees(&engine, dir.path());
    ok(&engine, &replace(NEW));
    let error = |sql: &str| run(&engine, sql).expect_err(sql);
    assert_eq!(error("CREATE MATERIALIZED VIEW x AS SELECT odd FROM below").sqlstate, "55006");
    assert_eq!(
        error("CREATE OR REPLACE MATERIALIZED VIEW below AS SELECT n % 3 AS odd FROM v").sqlstate,
        "55006"
    );
    let why = error("ALTER MATERIALIZED VIEW below CANCEL REPLACE");
    assert_eq!(why.detail.as_deref(), Some("it is built anew because it reads v"));
    // Asked for again it goes on as it is.
    let built = || ok(&engine, "SELECT built_rows FROM yeoul.views WHERE name = 'v'");
    while built() == ["0"] {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let at = built();
    ok(&engine, &replace(NEW));
    let now = built();
    let rows = |lines: &[String]| lines[0].parse::<u64>().expect("a number");
    assert!(rows(&now) >= rows(&at), "{at:?} {now:?}");
    assert_eq!(
        ok(&engine, "ALTER MATERIALIZED VIEW v CANCEL REPLACE"),
        ["ALTER MATERIALIZED VIEW"]
    );
    assert_eq!(
        ok(&engine, "SELECT name FROM yeoul.views WHERE replacement <> ''"),
        [] as [&str; 0]
    );
    assert_eq!(trees(&engine, dir.path()), before);
    assert_eq!(consistent(&engine), "old");
    // The second takes the place of the first, and the first definition again that of the second.
    ok(&engine, &replace("SELECT k, count(*) AS n, min(id) AS total FROM e GROUP BY k"));
    ok(&engine, &replace(NEW));
    replaced(&engine);
    assert_eq!(consistent(&engine), "new");
    ok(&engine, &replace("SELECT k, count(*) AS n, min(id) AS total FROM e GROUP BY k"));
    ok(&engine, &replace(NEW));
    assert_eq!(trees(&engine, dir.path()), before);
    engine.shutdown().expect("stops");
}

/// Waits until a replacement of `v` has failed.
fn until_failed(engine: &Engine) {
    for _ in 0..2_000 {
        let lines = ok(engine, "SELECT replacement FROM yeoul.views WHERE name = 'v'");
        if lines[0].starts_with("failed") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("it does not fail");
}

#[test]
fn a_build_that_fails_leaves_the_old_version_and_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = slow(dir.path(), 128);
    ok(&engine, STREAM);
    deliver(&engine, 0..20_000).expect("stored");
    views(&engine);
    settle(&engine);
    let before = trees(&engine, dir.path());
    // A query that fails on what is stored; then one that fails on what comes.
    ok(
        &engine,
        &replace("SELECT k, count(*) AS n, sum(1 / (id - 19990)) AS total FROM e GROUP BY k"),
    );
    let failed = || ok(&engine, "SELECT replacement FROM yeoul.views WHERE name = 'v'");
    until_failed(&engine);
    assert_eq!(failed(), ["failed: view \"v\": division by zero"]);
    assert_eq!(trees(&engine, dir.path()), before);
    ok(
        &engine,
        &replace("SELECT k, count(*) AS n, sum(1 / (id - 900000)) AS total FROM e GROUP BY k"),
    );
    deliver(&engine, 899_990..900_010).expect("stored");
    until_failed(&engine);
    assert_eq!(failed(), ["failed: view \"v\": division by zero"]);
    assert_eq!((consistent(&engine), trees(&engine, dir.path())), ("old", before));
    // It is told of until the next try, or until the view is another one.
    ok(&engine, "DROP MATERIALIZED VIEW v CASCADE");
    views(&engine);
    settle(&engine);
    let told = ok(&engine, "SELECT replacement FROM yeoul.views WHERE name = 'v'");
    assert_eq!(told, [""]);
    engine.shutdown().expect("stops");
}

#[test]
fn what_is_dropped_takes_its_version_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = slow(dir.path(), 128);
    ok(&engine, STREAM);
    deliver(&engine, 0..20_000).expect("stored");
    views(&engine);
    settle(&engine);
    let before = trees(&engine, dir.path());
    // Dropping a view drops its version, and dropping what is replaced ends it.
    ok(&engine, &replace(NEW));
    ok(&engine, "DROP MATERIALIZED VIEW deep");
    replaced(&engine);
    assert_eq!(ok(&engine, "SELECT name FROM yeoul.views ORDER BY name"), ["below", "v"]);
    ok(&engine, &format!("CREATE MATERIALIZED VIEW deep AS {DEEP}"));
    settle(&engine);
    assert_eq!((consistent(&engine), trees(&engine, dir.path())), ("new", before));
    ok(&engine, &replace(OLD));
    ok(&engine, "DROP MATERIALIZED VIEW v CASCADE");
    assert_eq!(ok(&engine, "SELECT name FROM yeoul.views"), [] as [&str; 0]);
    let left = trees(&engine, dir.path());
    views(&engine);
    settle(&engine);
    assert!(left < before && trees(&engine, dir.path()) == before);
    engine.shutdown().expect("stops");
}

#[test]
fn what_is_complete_without_the_dropped_view_is_swapped_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = slow(dir.path(), 16);
    ok(&engine, STREAM);
    ok(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY)");
    ok(&engine, "INSERT INTO t VALUES (1), (2)");
    deliver(&engine, 0..20_000).expect("stored");
    // One of the two is built in a step, and the other takes its time.
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT k FROM t");
    ok(&engine, "CREATE MATERIALIZED VIEW below AS SELECT k FROM e UNION ALL SELECT k FROM v");
    settle(&engine);
    ok(&engine, "CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k + 10 AS k FROM t");
    let words = || ok(&engine, "SELECT replacement FROM yeoul.views ORDER BY name DESC");
    while words() != ["complete", "building"] {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    ok(&engine, "DROP MATERIALIZED VIEW below");
    replaced(&engine);
    assert_eq!(sorted(&engine, "SELECT k FROM v"), ["11", "12"]);
    engine.shutdown().expect("stops");
}
