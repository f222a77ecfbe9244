//! Streams and tables change while rows come in: what is stored is read under the columns of now.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use yeoul_engine::{Delivery, Engine, EngineError, EngineOptions};
use yeoul_store::{Fault, TrialMedia};

use super::path::copy_dir;
use super::support::{TestClock, ok, open, options, run, settle};

const STREAM: &str = "CREATE STREAM s (id BIGINT, n SMALLINT, word VARCHAR(3), ts TIMESTAMPTZ, gone VARCHAR, \
     WATERMARK FOR ts AS ts - INTERVAL '90 seconds') \
     WITH (unique_key = 'id', mapping = 'word: w, gone: g', lateness = '1 minute')";

fn insert(engine: &Engine, ids: std::ops::Range<i64>) {
    let rows: Vec<String> = ids
        .map(|i| format!("({i}, {}, 'w{}', '2026-01-01T00:00:{:02}Z', 'g')", i % 7, i % 5, i % 60))
        .collect();
    ok(engine, &format!("INSERT INTO s (id, n, word, ts, gone) VALUES {}", rows.join(", ")));
}

fn sorted(engine: &Engine, sql: &str) -> Vec<String> {
    let mut lines = ok(engine, sql);
    lines.sort();
    lines
}

/// Through memory, parts, the log and a start.
fn everywhere(dir: &Path, mut engine: Engine, check: impl Fn(&Engine, &str)) -> Engine {
    check(&engine, "as it is");
    engine.shutdown().expect("stops");
    drop(engine);
    engine = open(dir);
    check(&engine, "started again");
    let copy = tempfile::tempdir().expect("a folder");
    copy_dir(dir, copy.path());
    let killed = open(copy.path());
    check(&killed, "killed");
    killed.shutdown().expect("stops");
    engine
}

#[test]
fn old_rows_have_the_columns_of_now() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    const COUNTS: &str =
        "SELECT n % 2 AS odd, count(*) AS c, max(ts) AS last FROM s GROUP BY n % 2";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW v AS {COUNTS}"));
    insert(&engine, 0..50);
    engine.checkpoint().expect("writes");
    insert(&engine, 50..60);
    for alter in [
        "ALTER STREAM s ADD COLUMN price NUMERIC(9,2) NOT NULL DEFAULT 1.5",
        "ALTER STREAM s ADD COLUMN IF NOT EXISTS price NUMERIC(9,2)",
        "ALTER TABLE s ADD COLUMN note VARCHAR",
        "ALTER STREAM s DROP COLUMN gone",
        "ALTER STREAM s RENAME COLUMN word TO label",
        "ALTER STREAM s RENAME label TO \"The Label\"",
        "ALTER STREAM s ALTER COLUMN \"The Label\" TYPE VARCHAR(5)",
        "ALTER STREAM s RENAME COLUMN id TO event",
        "ALTER STREAM s SET (lateness = '2 minutes', on_error = 'fail')",
    ] {
        ok(&engine, alter);
    }
    ok(
        &engine,
        "INSERT INTO s VALUES (60, 3, 'fiver', '2026-01-01T00:01:00Z', 2.5, 'new'), (59, 1, 'x', NULL, 1, 'again')",
    );
    assert_eq!(
        engine.definition("s").expect("is there"),
        "CREATE STREAM s (\n  event bigint,\n  n smallint,\n  \"The Label\" varchar(5),\n  ts timestamptz,\n  \
         price numeric(9,2) NOT NULL,\n  note varchar,\n  WATERMARK FOR ts AS ts - INTERVAL '90 seconds'\n) WITH (\n  \
         unique_key = 'event',\n  mapping = '\"The Label\": w',\n  lateness = '2 minutes',\n  on_error = 'fail'\n)"
    );
    let check = |engine: &Engine, when: &str| {
        let rows = ok(
            engine,
            "SELECT event, \"The Label\", price, note FROM s WHERE event IN (7, 55, 60) ORDER BY event",
        );
        assert_eq!(rows, ["7|w2|1.50|", "55|w0|1.50|", "60|fiver|2.50|new"], "{when}");
        for (query, answer) in [
            ("SELECT count(*) FROM s WHERE price = 1.5", "60"),
            ("SELECT count(*) FROM s WHERE note IS NULL", "60"),
            ("SELECT count(*) FROM s WHERE \"The Label\" = 'w2'", "12"),
            ("SELECT count(*) FROM s WHERE event < 10 AND price > 1", "10"),
            ("SELECT sum(price) FROM s", "92.50"),
        ] {
            assert_eq!(ok(engine, query), [answer], "{when}: {query}");
        }
        assert_eq!(sorted(engine, "SELECT * FROM v"), sorted(engine, COUNTS), "{when}");
        assert_eq!(engine.audit().expect("reads").problems, Vec::<String>::new(), "{when}");
    };
    let engine = everywhere(dir.path(), engine, check);
    engine.checkpoint().expect("writes");
    let engine = everywhere(dir.path(), engine, check);
    // A view over all of it is built from parts of both forms.
    const ALL: &str =
        "SELECT price, note, count(*) AS c, min(\"The Label\") AS l FROM s GROUP BY price, note";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW w AS {ALL}"));
    settle(&engine);
    assert_eq!(sorted(&engine, "SELECT * FROM w"), sorted(&engine, ALL));
    engine.shutdown().expect("stops");
}

#[test]
fn a_table_changes_its_columns() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE TABLE t (id INT, name VARCHAR, size INT, PRIMARY KEY (id))");
    ok(&engine, "CREATE STREAM e (id INT)");
    const BY: &str = "SELECT name, count(*) AS n FROM t GROUP BY name";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW v AS {BY}"));
    ok(
        &engine,
        "CREATE MATERIALIZED VIEW looked AS SELECT t.name, count(*) AS n FROM e \
         JOIN t FOR SYSTEM_TIME AS OF PROCTIME() ON t.id = e.id GROUP BY t.name",
    );
    ok(&engine, "INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30)");
    engine.checkpoint().expect("writes");
    ok(&engine, "UPDATE t SET size = 21 WHERE id = 2");
    ok(&engine, "ALTER TABLE t ALTER size TYPE BIGINT");
    ok(&engine, "ALTER TABLE t ADD COLUMN active BOOLEAN DEFAULT true");
    ok(&engine, "ALTER TABLE t RENAME COLUMN size TO \"Size\"");
    ok(&engine, "UPDATE t SET \"Size\" = 9000000000, active = false WHERE id = 1");
    ok(&engine, "INSERT INTO t VALUES (4, 'd', 1, NULL)");
    ok(&engine, "INSERT INTO e VALUES (1), (4), (2)");
    ok(&engine, "DELETE FROM t WHERE id = 3");
    let check = |engine: &Engine, when: &str| {
        assert_eq!(
            ok(engine, "SELECT * FROM t ORDER BY id"),
            ["1|a|9000000000|false", "2|b|21|true", "4|d|1|"],
            "{when}"
        );
        assert_eq!(ok(engine, "SELECT \"Size\" FROM t WHERE id = 2 AND active"), ["21"], "{when}");
        assert_eq!(sorted(engine, "SELECT * FROM v"), sorted(engine, BY), "{when}");
        assert_eq!(sorted(engine, "SELECT * FROM looked"), ["a|1", "b|1", "d|1"], "{when}");
    };
    let engine = everywhere(dir.path(), engine, check);
    engine.checkpoint().expect("writes");
    let engine = everywhere(dir.path(), engine, check);
    ok(&engine, "ALTER TABLE t DROP COLUMN \"Size\"");
    ok(&engine, "INSERT INTO t VALUES (5, 'e', true)");
    engine.checkpoint().expect("writes");
    let engine = everywhere(dir.path(), engine, |engine, when| {
        let rows = ok(engine, "SELECT * FROM t ORDER BY id");
        assert_eq!(rows, ["1|a|false", "2|b|true", "4|d|", "5|e|true"], "{when}");
        assert_eq!(sorted(engine, "SELECT * FROM v"), sorted(engine, BY), "{when}");
    });
    // What a table is keyed by has another name.
    ok(&engine, "CREATE TABLE k (a INT, b INT, n INT, PRIMARY KEY (b, a))");
    ok(&engine, "INSERT INTO k VALUES (1, 2, 3), (2, 1, 4)");
    engine.checkpoint().expect("writes");
    ok(&engine, "ALTER TABLE k RENAME COLUMN b TO c");
    ok(&engine, "ALTER TABLE k ADD COLUMN m INT");
    ok(&engine, "UPDATE k SET m = 5 WHERE c = 2");
    engine.checkpoint().expect("writes");
    ok(&engine, "INSERT INTO k VALUES (2, 1, 6, 7), (3, 3, 3, 3)");
    let engine = everywhere(dir.path(), engine, |engine, when| {
        let rows = ok(engine, "SELECT * FROM k ORDER BY a");
        assert_eq!(rows, ["1|2|3|5", "2|1|6|7", "3|3|3|3"], "{when}");
        assert_eq!(ok(engine, "SELECT n FROM k WHERE c = 2 AND a = 1"), ["3"], "{when}");
    });
    engine.shutdown().expect("stops");
}

#[test]
fn what_cannot_be_changed_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    ok(&engine, "CREATE TABLE t (id INT PRIMARY KEY, n BIGINT)");
    ok(&engine, "CREATE MATERIALIZED VIEW v AS SELECT n, count(*) AS c FROM s GROUP BY n");
    ok(&engine, "CREATE MATERIALIZED VIEW every AS SELECT * FROM s");
    ok(&engine, "CREATE MATERIALIZED VIEW free AS SELECT id FROM t");
    let before = ok(&engine, "SELECT commit FROM yeoul.commits");
    let refused = |sql: &str| {
        let error = run(&engine, sql).expect_err(sql);
        let detail = error.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{} {}{detail}", error.sqlstate, error.message)
    };
    let told: Vec<String> = [
        "ALTER STREAM s DROP COLUMN n",
        "ALTER STREAM s ADD COLUMN more INT",
        "ALTER STREAM s RENAME COLUMN n TO m",
        "ALTER STREAM s ALTER COLUMN n TYPE INT",
        "ALTER STREAM s DROP COLUMN ts",
        "ALTER STREAM s DROP COLUMN id",
        "ALTER TABLE t DROP COLUMN id",
        "ALTER STREAM s DROP COLUMN nothing",
        "ALTER TABLE t ALTER COLUMN n TYPE INT",
        "ALTER TABLE t ALTER COLUMN n TYPE DOUBLE PRECISION",
        "ALTER STREAM s ALTER COLUMN word TYPE VARCHAR(2)",
        "ALTER STREAM s ALTER COLUMN id TYPE NUMERIC(20,0)",
        "ALTER TABLE t ADD COLUMN n INT",
        "ALTER TABLE t ADD COLUMN m INT NOT NULL",
        "ALTER TABLE t ADD COLUMN m INT DEFAULT 'many'",
        "ALTER TABLE t ADD COLUMN m UUID DEFAULT 'x'",
        "ALTER TABLE t ADD COLUMN m VARCHAR(2) DEFAULT 'many'",
        "ALTER STREAM s SET (order_by = 'id')",
        "ALTER STREAM s SET (retention = '0 seconds')",
        "ALTER STREAM s SET (retenton = '1 day')",
        "ALTER STREAM s SET (retention = 'soon')",
        "ALTER STREAM s RENAME TO r",
        "ALTER TABLE t RENAME TO s",
        "ALTER STREAM t ADD COLUMN m INT",
        "ALTER VIEW v SET (a = 'b')",
        "ALTER STREAM nothing ADD COLUMN m INT",
        "ALTER TABLE yeoul.late_rows ADD COLUMN m INT",
    ]
    .iter()
    .map(|sql| format!("{sql}\n  {}", refused(sql)))
    .collect();
    assert_eq!(ok(&engine, "SELECT commit FROM yeoul.commits"), before);
    insta::assert_snapshot!("refused", told.join("\n"));
    ok(&engine, "ALTER STREAM IF EXISTS nothing ADD COLUMN m INT");
    // A name that was another column's is not given again.
    ok(&engine, "ALTER TABLE t DROP COLUMN n");
    assert!(
        refused("ALTER TABLE t ADD COLUMN n INT").starts_with("42701 another column was called")
    );
    ok(&engine, "ALTER TABLE t ADD COLUMN k INT");
    ok(&engine, "ALTER MATERIALIZED VIEW v RENAME TO \"V 2\"");
    ok(&engine, "ALTER MATERIALIZED VIEW free RENAME TO bound");
    ok(&engine, "DROP MATERIALIZED VIEW bound");
    ok(&engine, "ALTER TABLE t RENAME TO u");
    assert_eq!(refused("SELECT * FROM t").split(' ').next(), Some("42P01"));
    ok(&engine, "INSERT INTO u VALUES (1, 2)");
    let check = |engine: &Engine, when: &str| {
        assert_eq!(ok(engine, "SELECT * FROM u"), ["1|2"], "{when}");
        assert_eq!(ok(engine, "SELECT * FROM \"V 2\""), [] as [&str; 0], "{when}");
        let names = ok(engine, "SELECT name FROM yeoul.views ORDER BY name");
        assert_eq!(names, ["V 2", "every"], "{when}");
    };
    let engine = everywhere(dir.path(), engine, check);
    engine.shutdown().expect("stops");
}

#[test]
fn a_retention_that_is_set_drops_what_is_older() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE STREAM s (id BIGINT, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts) \
         WITH (retention = '30 days', lateness = '1 hour', future_skew = 'unlimited')",
    );
    let days: Vec<String> =
        (1..=20).map(|day| format!("({day}, '2026-01-{day:02}T12:00:00Z')")).collect();
    ok(&engine, &format!("INSERT INTO s VALUES {}", days.join(", ")));
    engine.checkpoint().expect("writes");
    ok(&engine, "ALTER STREAM s SET (retention = '3 days', lateness = '2 days')");
    ok(&engine, "INSERT INTO s VALUES (21, '2026-01-21T12:00:00Z')");
    engine.checkpoint().expect("writes");
    let check = |engine: &Engine, when: &str| {
        let rows = ok(engine, "SELECT min(id) >= 17, count(*) >= 4 FROM s");
        assert_eq!(rows, ["true|true"], "{when}");
        let lateness = ok(engine, "SELECT lateness_us FROM yeoul.streams");
        assert_eq!(lateness, ["172800000000"], "{when}");
        assert_eq!(engine.audit().expect("reads").problems, Vec::<String>::new(), "{when}");
    };
    ok(&engine, "INSERT INTO s VALUES (22, '2026-01-21T12:00:00Z')");
    let engine = everywhere(dir.path(), engine, check);
    // The watermark goes on from where it was.
    ok(&engine, "INSERT INTO s VALUES (23, '2026-01-20T12:00:00Z'), (24, '2026-01-18T12:00:00Z')");
    assert_eq!(ok(&engine, "SELECT late FROM yeoul.sources"), ["2"]);
    assert_eq!(ok(&engine, "SELECT rows FROM yeoul.late_rows"), ["1"]);
    engine.shutdown().expect("stops");
}

/// Rows that were decoded for the columns before a change, and come after it.
#[test]
fn rows_under_way_are_stored_under_the_columns_of_now() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE STREAM e (a BIGINT, b VARCHAR, c BIGINT) WITH (unique_key = 'c')");
    let old = engine.stream("e").expect("is there");
    let deliver = |from: i64| {
        let ids = from..from + 3;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ids.clone())),
            Arc::new(StringViewArray::from_iter_values(ids.clone().map(|id| format!("b{id}")))),
            Arc::new(Int64Array::from_iter_values(ids)),
        ];
        let rows = RecordBatch::try_new(Arc::clone(old.schema()), columns).expect("the stream's");
        engine.submit(Delivery::new(old.clone(), "test", rows)).expect("taken").wait()
    };
    deliver(0).expect("stored");
    ok(&engine, "ALTER STREAM e DROP COLUMN a");
    ok(&engine, "ALTER STREAM e ADD COLUMN d INT NOT NULL DEFAULT 7");
    ok(&engine, "ALTER STREAM e RENAME COLUMN c TO id");
    assert_eq!(deliver(2).expect("stored").accepted, 2);
    let check = |engine: &Engine, when: &str| {
        let rows = ok(engine, "SELECT id, b, d FROM e ORDER BY id");
        assert_eq!(rows, ["0|b0|7", "1|b1|7", "2|b2|7", "3|b3|7", "4|b4|7"], "{when}");
    };
    let engine = everywhere(dir.path(), engine, check);
    engine.shutdown().expect("stops");
}

#[test]
fn a_fault_at_any_step_leaves_the_columns_of_before_or_after() {
    let open = |disk: &TrialMedia| {
        let options = EngineOptions { commit_interval: std::time::Duration::ZERO, ..options() };
        let clock = Arc::new(TestClock::default());
        Engine::open_media(Arc::new(disk.clone()), clock, options, &mut |_| {})
    };
    let work = |engine: &Engine| -> Result<(), EngineError> {
        run(engine, "CREATE STREAM e (a BIGINT, b INT)")?;
        run(engine, "INSERT INTO e VALUES (1, 1), (2, 2)")?;
        engine.checkpoint()?;
        run(engine, "INSERT INTO e VALUES (3, 3)")?;
        run(engine, "ALTER STREAM e ADD COLUMN c INT DEFAULT 9")?;
        run(engine, "INSERT INTO e VALUES (4, 4, 4)")?;
        run(engine, "ALTER STREAM e DROP COLUMN b")?;
        run(engine, "ALTER STREAM e ALTER COLUMN c TYPE BIGINT")?;
        engine.checkpoint()?;
        run(engine, "ALTER STREAM e RENAME COLUMN c TO d").map(drop)
    };
    let disk = TrialMedia::new(1);
    let engine = open(&disk).expect("opens");
    work(&engine).expect("works");
    engine.shutdown().expect("stops");
    let all = disk.operations();
    let faults = [Fault::CrashBefore, Fault::CrashAfter, Fault::Io, Fault::ShortWrite];
    let mut forms = BTreeSet::new();
    for at in 1..all {
        let fault = faults[usize::try_from(at % 4).expect("small")];
        let disk = TrialMedia::with_fault(1, at, fault);
        if let Ok(engine) = open(&disk) {
            let _ = work(&engine);
            let _ = engine.shutdown();
        }
        let disk = disk.after_crash();
        let engine = open(&disk).unwrap_or_else(|error| panic!("{fault:?} at {at}: {error}"));
        if engine.definition("e").is_some() {
            let columns = ok(&engine, "SHOW COLUMNS FROM e");
            let names: Vec<&str> = columns.iter().filter_map(|c| c.split('|').next()).collect();
            let rows = sorted(&engine, "SELECT * FROM e");
            let whole: &[&str] = match names.join(",").as_str() {
                "a,b" => &["1|1", "2|2", "3|3"],
                "a,b,c" => &["1|1|9", "2|2|9", "3|3|9", "4|4|4"],
                "a,c" | "a,d" => &["1|9", "2|9", "3|9", "4|4"],
                other => panic!("{fault:?} at {at}: {other}"),
            };
            assert!(rows.iter().all(|row| whole.contains(&row.as_str())), "{at}: {rows:?}");
            forms.insert(names.join(","));
        }
        engine.shutdown().expect("stops");
    }
    assert_eq!(forms.into_iter().collect::<Vec<_>>(), ["a,b", "a,b,c", "a,c", "a,d"]);
}
