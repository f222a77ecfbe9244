//! From rows in to answers out, through a restart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use yeoul_engine::{Engine, EngineOptions};

use super::support::{TestClock, ok, open, options, run, settle};

const STREAM: &str = "CREATE STREAM events (id BIGINT, ts TIMESTAMPTZ, kind VARCHAR, item BIGINT, price DOUBLE PRECISION, \
     WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (unique_key = 'id', unique_within = '1 hour')";

const CTR: &str = "SELECT window_start, item, count(*) FILTER (WHERE kind = 'view') AS views, \
     count(*) FILTER (WHERE kind = 'click') AS clicks, ctr(clicks, views) AS rate \
     FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY window_start, item";

fn insert(from: i64, to: i64) -> String {
    let rows: Vec<String> = (from..to)
        .map(|i| {
            let kind = if i % 3 == 0 { "click" } else { "view" };
            format!(
                "({i}, TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL '{} seconds', '{kind}', {}, {}.5)",
                i * 7 % 300,
                i % 5,
                i % 11
            )
        })
        .collect();
    format!("INSERT INTO events VALUES {}", rows.join(", "))
}

fn same(engine: &Engine, view: &str, query: &str) {
    let order = |sql: &str| {
        let mut lines = ok(engine, sql);
        lines.sort();
        lines
    };
    assert_eq!(order(&format!("SELECT * FROM {view}")), order(query), "{view}");
}

#[test]
fn a_view_equals_its_query_through_commits_checkpoints_and_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    ok(&engine, &format!("CREATE MATERIALIZED VIEW ctr AS {CTR}"));
    assert_eq!(ok(&engine, &insert(0, 200)), ["INSERT 0 200"]);
    assert_eq!(ok(&engine, "SELECT count(*) FROM events"), ["200"]);
    same(&engine, "ctr", CTR);
    // The same ids again are dropped.
    assert_eq!(ok(&engine, &insert(100, 250)), ["INSERT 0 50"]);
    assert_eq!(ok(&engine, "SELECT count(*) FROM events"), ["250"]);
    same(&engine, "ctr", CTR);
    // A view over stored rows is built from them.
    const TOTALS: &str = "SELECT kind, sum(price) AS total, min(id), max(price), avg(price) FROM events GROUP BY kind";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW totals AS {TOTALS}"));
    settle(&engine);
    same(&engine, "totals", TOTALS);
    engine.checkpoint().expect("writes");
    same(&engine, "totals", TOTALS);
    ok(&engine, &insert(250, 300));
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(ok(&engine, "SELECT count(*) FROM events"), ["300"]);
    assert_eq!(ok(&engine, &insert(0, 320)), ["INSERT 0 20"]);
    settle(&engine);
    same(&engine, "ctr", CTR);
    same(&engine, "totals", TOTALS);
    assert_eq!(
        ok(&engine, "SELECT received, stored, duplicates, dead_letters FROM yeoul.sources"),
        ["720|320|400|0"]
    );
    engine.shutdown().expect("stops");
}

#[test]
fn tables_change_and_views_on_them_follow() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE TABLE products (id BIGINT PRIMARY KEY, category VARCHAR, price DOUBLE PRECISION)",
    );
    const BY: &str = "SELECT category, count(*) AS n, min(price) AS least, sum(price) AS total FROM products GROUP BY category";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW by_category AS {BY}"));
    const DEAR: &str = "SELECT category, n * 2 AS twice FROM by_category WHERE total > 10";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW dear AS {DEAR}"));
    ok(&engine, "INSERT INTO products VALUES (1, 'a', 5), (2, 'a', 7), (3, 'b', 1)");
    same(&engine, "by_category", BY);
    same(&engine, "dear", DEAR);
    assert_eq!(
        ok(&engine, "UPDATE products SET price = price + 10 WHERE category = 'b'"),
        ["UPDATE 1"]
    );
    same(&engine, "by_category", BY);
    same(&engine, "dear", DEAR);
    assert_eq!(ok(&engine, "DELETE FROM products WHERE id = 1"), ["DELETE 1"]);
    same(&engine, "by_category", BY);
    same(&engine, "dear", DEAR);
    assert_eq!(ok(&engine, "INSERT INTO products VALUES (2, 'c', 1)"), ["INSERT 0 1"]);
    same(&engine, "by_category", BY);
    same(&engine, "dear", DEAR);
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(ok(&engine, "SELECT * FROM products ORDER BY id"), ["2|c|1.0", "3|b|11.0"]);
    // Only the key and the wanted columns are read and merged.
    assert_eq!(ok(&engine, "SELECT price FROM products WHERE id > 2"), ["11.0"]);
    assert_eq!(ok(&engine, "SELECT price, id FROM products ORDER BY id"), ["1.0|2", "11.0|3"]);
    assert_eq!(ok(&engine, "SELECT count(*) FROM products WHERE category = 'c'"), ["1"]);
    assert_eq!(ok(&engine, "SELECT count(*) FROM products"), ["2"]);
    same(&engine, "by_category", BY);
    same(&engine, "dear", DEAR);
    assert_eq!(ok(&engine, "DELETE FROM products"), ["DELETE 2"]);
    assert_eq!(ok(&engine, "SELECT count(*) FROM by_category"), ["0"]);
    same(&engine, "dear", DEAR);
    engine.shutdown().expect("stops");
}

#[test]
fn errors_say_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    let error = |sql: &str| run(&engine, sql).expect_err(sql);
    assert_eq!(error("SELECT prise FROM events").sqlstate, "42703");
    assert_eq!(error("SELECT 1 FROM event").sqlstate, "42P01");
    assert_eq!(error("UPDATE events SET price = 1").sqlstate, "42809");
    assert_eq!(error(STREAM).sqlstate, "42P07");
    assert_eq!(error("DROP TABLE nothing").sqlstate, "42P01");
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT item FROM events");
    assert_eq!(error("DROP STREAM events").sqlstate, "2BP01");
    assert_eq!(ok(&engine, "DROP STREAM events CASCADE"), ["DROP STREAM"]);
    assert_eq!(ok(&engine, "SHOW VIEWS"), Vec::<String>::new());
    engine.shutdown().expect("stops");
}

#[test]
fn a_killed_engine_comes_back_with_everything_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let copy = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    ok(&engine, &format!("CREATE MATERIALIZED VIEW ctr AS {CTR}"));
    ok(&engine, &insert(0, 100));
    engine.checkpoint().expect("writes");
    ok(&engine, &insert(100, 150));
    // What a kill leaves: the files as they are now.
    copy_dir(dir.path(), copy.path());
    let again = open(copy.path());
    assert_eq!(ok(&again, "SELECT count(*) FROM events"), ["150"]);
    same(&again, "ctr", CTR);
    assert_eq!(ok(&again, &insert(0, 160)), ["INSERT 0 10"]);
    again.shutdown().expect("stops");
    engine.shutdown().expect("stops");
}

/// What a kill of the process leaves. A copy takes longer than a kill: it is made again until nothing
/// was written, merged or removed meanwhile.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for _ in 0..200 {
        let before = files(from);
        let copied = before.iter().try_for_each(|(name, ..)| {
            let target = to.join(name);
            std::fs::create_dir_all(target.parent().unwrap_or(to))?;
            std::fs::copy(from.join(name), target).map(drop)
        });
        if copied.is_ok() && files(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).expect("removes the copy");
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} never rests", from.display());
}

/// All files below a folder, with their sizes and times.
fn files(folder: &Path) -> BTreeSet<(PathBuf, u64, Option<SystemTime>)> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            // A file that goes meanwhile makes the next look different.
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            } else if let Ok(name) = entry.path().strip_prefix(folder) {
                found.insert((name.to_owned(), meta.len(), meta.modified().ok()));
            }
        }
    }
    found
}

#[test]
fn an_event_without_its_key_is_nobodys_duplicate() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    let rows = "INSERT INTO events (id, kind) VALUES (NULL, 'view'), (1, 'view'), (NULL, 'click')";
    assert_eq!(ok(&engine, rows), ["INSERT 0 3"]);
    assert_eq!(ok(&engine, rows), ["INSERT 0 2"]);
    engine.shutdown().expect("stops");
}

#[test]
fn a_stream_that_keeps_no_rows_feeds_its_views_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    let passing = STREAM
        .replace("STREAM events", "STREAM passing")
        .replace("'1 hour')", "'1 hour', retention = '0 seconds')");
    ok(&engine, &passing);
    let over = |name: &str| {
        format!("CREATE MATERIALIZED VIEW {name}_ctr AS {}", CTR.replace("events", name))
    };
    ok(&engine, &over("events"));
    ok(&engine, &over("passing"));
    let both = |from, to| {
        ok(&engine, &insert(from, to));
        ok(&engine, &insert(from, to).replace("events", "passing"))
    };
    assert_eq!(both(0, 200), ["INSERT 0 200"]);
    assert_eq!(both(150, 250), ["INSERT 0 50"]);
    engine.checkpoint().expect("writes");
    both(240, 300);
    same(&engine, "passing_ctr", "SELECT * FROM events_ctr");
    let refused = run(&engine, "SELECT count(*) FROM passing").expect_err("nothing to read");
    assert_eq!(refused.message, "stream \"passing\" keeps no rows");
    let mixed =
        "CREATE MATERIALIZED VIEW mixed AS SELECT id FROM events UNION ALL SELECT id FROM passing";
    let refused = run(&engine, mixed).expect_err("could not be built again");
    assert_eq!(
        refused.message,
        "a view cannot read stream \"passing\", which keeps no rows, together with stored rows"
    );
    // A view that comes later begins with what comes later.
    ok(&engine, "CREATE MATERIALIZED VIEW later AS SELECT count(*) AS n FROM passing");
    assert_eq!(ok(&engine, "SELECT n FROM later"), ["0"]);
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    same(&engine, "passing_ctr", "SELECT * FROM events_ctr");
    let again = |name: &str| ok(&engine, &insert(0, 320).replace("events", name));
    assert_eq!(again("events"), ["INSERT 0 20"]);
    assert_eq!(again("passing"), ["INSERT 0 20"]);
    same(&engine, "passing_ctr", "SELECT * FROM events_ctr");
    assert_eq!(ok(&engine, "SELECT n FROM later"), ["20"]);
    assert_eq!(engine.audit().expect("reads").problems, Vec::<String>::new());
    engine.shutdown().expect("stops");
}

#[test]
fn a_view_that_is_larger_than_the_memory_of_queries_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = EngineOptions { query_threads: 1, query_bytes_max: 8 << 20, ..options() };
    let clock = Arc::new(TestClock::default());
    let engine = Engine::open(dir.path(), clock, options, &mut |_| {}).expect("opens");
    ok(&engine, "CREATE STREAM s (id BIGINT)");
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT id, count(*) AS n FROM s GROUP BY id");
    ok(&engine, "INSERT INTO s SELECT g FROM generate_series(1, 400000) AS t(g)");
    // The states take some 10 MB.
    let all = "SELECT count(*), sum(n), sum(id) FROM v";
    assert_eq!(ok(&engine, all), ["400000|400000|80000200000"]);
    engine.checkpoint().expect("writes parts");
    assert_eq!(ok(&engine, all), ["400000|400000|80000200000"]);
    ok(&engine, "INSERT INTO s SELECT g * 4 FROM generate_series(1, 200000) AS t(g)");
    assert_eq!(ok(&engine, all), ["500000|600000|140000400000"]);
    assert_eq!(ok(&engine, "SELECT n FROM v WHERE id = 399996"), ["2"]);
    assert_eq!(ok(&engine, "SELECT sum(n) FROM v WHERE id BETWEEN 200001 AND 400000"), ["250000"]);
    engine.shutdown().expect("stops");
}

#[test]
fn a_stopped_view_over_a_stream_that_keeps_no_rows_stays_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE STREAM s (n BIGINT, WATERMARK FOR t AS t, t TIMESTAMPTZ) WITH (retention = '0 seconds')",
    );
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT sum(10 / n) AS total FROM s");
    ok(&engine, "INSERT INTO s VALUES (5, now()), (2, now())");
    assert_eq!(ok(&engine, "SELECT total FROM v"), ["7"]);
    ok(&engine, "INSERT INTO s VALUES (0, now())");
    let stopped = run(&engine, "SELECT total FROM v").expect_err("it divides by zero");
    assert!(stopped.message.contains("has stopped"), "{stopped}");
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    ok(&engine, "INSERT INTO s VALUES (1, now())");
    settle(&engine);
    // Not 10: that would be the answer over the rows since the start.
    let stopped = run(&engine, "SELECT total FROM v").expect_err("it cannot be built again");
    assert!(stopped.message.contains("\"s\" keeps no rows"), "{stopped}");
    engine.shutdown().expect("stops");
}

#[test]
fn a_view_stops_with_the_view_that_it_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    ok(&engine, "CREATE STREAM s (n BIGINT, k BIGINT)");
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT k, sum(10 / n) AS total FROM s GROUP BY k");
    ok(&engine, "CREATE MATERIALIZED VIEW w AS SELECT sum(total) AS total FROM v");
    ok(&engine, "CREATE MATERIALIZED VIEW other AS SELECT count(*) AS rows FROM s");
    ok(&engine, "INSERT INTO s VALUES (5, 1), (2, 2)");
    assert_eq!(ok(&engine, "SELECT total FROM w"), ["7"]);
    ok(&engine, "INSERT INTO s VALUES (0, 1)");
    for _ in 0..2 {
        settle(&engine);
        assert_eq!(engine.health().stopped, ["v", "w"]);
        assert_eq!(ok(&engine, "SELECT rows FROM other"), ["3"]);
        // Not 7, which is without the rows since v stopped.
        let stopped = run(&engine, "SELECT total FROM w").expect_err("v has stopped");
        assert!(stopped.message.contains("it reads view \"v\", which has stopped"), "{stopped}");
        let late = run(&engine, "CREATE MATERIALIZED VIEW x AS SELECT max(total) AS m FROM v")
            .expect_err("v has stopped");
        assert_eq!(late.message, "a view cannot read view \"v\", which has stopped");
        engine.shutdown().expect("stops");
        drop(engine);
        let clock = Arc::new(TestClock::default());
        let still = Engine::open_read_only(dir.path(), clock, options());
        let error = run(&still.expect("opens"), "SELECT total FROM w").expect_err("is not built");
        assert_eq!(error.message, "view \"w\" is not complete");
        assert_eq!(error.hint.as_deref(), Some("yeoul run builds it from the stored rows"));
        engine = open(dir.path());
    }
    engine.shutdown().expect("stops");
}

#[test]
fn columns_of_an_answer_may_have_the_same_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, n BIGINT)");
    ok(&engine, "INSERT INTO t VALUES (1, 10), (2, 20)");
    let rows = |sql: &str| ok(&engine, sql);
    assert_eq!(rows("SELECT k, k, n AS k FROM t ORDER BY n DESC"), ["2|2|20", "1|1|10"]);
    assert_eq!(rows("SELECT *, k FROM t ORDER BY k"), ["1|10|1", "2|20|2"]);
    assert_eq!(rows("SELECT sum(k), sum(n) FROM t HAVING sum(n) > 1"), ["3|30"]);
    assert_eq!(rows("SELECT n, n FROM t GROUP BY n ORDER BY n LIMIT 1"), ["10|10"]);
    assert_eq!(rows("SELECT DISTINCT 1, 1 FROM t"), ["1|1"]);
    let rounded =
        "SELECT round(100.0 * sum(n)::numeric / 7, 3), round(0.5::numeric(10,4), 1) FROM t";
    assert_eq!(rows(rounded), ["428.571|0.5"]);
    assert_eq!(rows("INSERT INTO t SELECT n, n FROM t"), ["INSERT 0 2"]);
    let twice = run(&engine, "CREATE MATERIALIZED VIEW v AS SELECT sum(k), sum(n) FROM t");
    let twice = twice.expect_err("a view's columns are asked for by name");
    assert_eq!(twice.message, "two columns of the view are called \"sum\"");
    engine.shutdown().expect("stops");
}

#[test]
fn a_view_that_fails_over_nothing_is_refused_and_the_log_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    ok(&engine, "CREATE STREAM s (n BIGINT)");
    let query =
        "SELECT count(*) AS high FROM s WHERE n >= (SELECT count(*) / count(DISTINCT n) FROM s)";
    for round in 0..3 {
        let refused = run(&engine, &format!("CREATE MATERIALIZED VIEW v AS {query}"))
            .expect_err("there are no rows");
        assert!(refused.message.contains("division by zero"), "{refused}");
        assert_eq!(ok(&engine, "SELECT count(*) FROM yeoul.views"), ["0"]);
        ok(&engine, "CREATE MATERIALIZED VIEW w AS SELECT count(*) AS rows FROM s");
        assert_eq!(ok(&engine, "SELECT rows FROM w"), ["0"]);
        ok(&engine, "DROP MATERIALIZED VIEW w");
        if round == 1 {
            engine.checkpoint().expect("writes parts");
        }
        engine.shutdown().expect("stops");
        drop(engine);
        engine = open(dir.path());
    }
    ok(&engine, "INSERT INTO s VALUES (1), (2)");
    assert_eq!(ok(&engine, "SELECT count(*) FROM s"), ["2"]);
    engine.shutdown().expect("stops");
}

#[test]
fn a_version_that_fails_over_nothing_is_given_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    ok(&engine, "CREATE STREAM s (n BIGINT)");
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS high FROM s");
    let query =
        "SELECT count(*) AS high FROM s WHERE n >= (SELECT count(*) / count(DISTINCT n) FROM s)";
    ok(&engine, &format!("CREATE OR REPLACE MATERIALIZED VIEW v AS {query}"));
    let why = || ok(&engine, "SELECT replacement FROM yeoul.views").concat();
    for _ in 0..1000 {
        if why().starts_with("failed") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(why(), "failed: view \"v\": division by zero");
    for _ in 0..2 {
        ok(&engine, "INSERT INTO s VALUES (1)");
        settle(&engine);
        assert!(engine.health().stopped.is_empty());
        engine.shutdown().expect("stops");
        drop(engine);
        engine = open(dir.path());
    }
    assert_eq!(ok(&engine, "SELECT high FROM v"), ["2"]);
    engine.shutdown().expect("stops");
}
