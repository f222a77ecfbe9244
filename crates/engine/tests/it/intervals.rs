//! Intervals in streams, tables and views, from memory, from parts, from both and after a restart.

use yeoul_engine::Engine;

use super::support::{ok, open, run, settle};

/// Months, days and clocks, negative ones and nulls; `'24 hours'` is not `'1 day'`, as in the key.
const VALUES: [&str; 7] = [
    "'1 day 2 hours 3 minutes 4 seconds'",
    "NULL",
    "'-3 months'",
    "'1 year 2 mons -3 days 4 hours 5 mins 6.789 secs'",
    "'24 hours'",
    "'1 day'",
    "'-1 microseconds'",
];

fn define(engine: &Engine) {
    for statement in [
        "CREATE STREAM s (id BIGINT, i INTERVAL, list INTERVAL[], a TIMESTAMPTZ, b TIMESTAMPTZ, \
         WATERMARK FOR b AS b)",
        "CREATE STREAM o (i INTERVAL, id BIGINT) WITH (order_by = 'i')",
        "CREATE TABLE t (id BIGINT PRIMARY KEY, i INTERVAL)",
        "CREATE TABLE k (i INTERVAL PRIMARY KEY, id BIGINT)",
        "CREATE TABLE p (i INTERVAL, n BIGINT, id BIGINT, PRIMARY KEY (n, i))",
        "CREATE MATERIALIZED VIEW kept AS SELECT id, i, b - a AS gap FROM s WHERE i IS NOT NULL",
        "CREATE MATERIALIZED VIEW grouped AS SELECT i, count(*) AS n FROM s GROUP BY i",
        "CREATE MATERIALIZED VIEW hidden AS SELECT count(*) AS n, max(id) AS id FROM s GROUP BY b - a",
        "CREATE MATERIALIZED VIEW most AS SELECT id % 2 AS odd, min(i) AS least, max(i) AS most, \
         max(b - a) AS gap, count(DISTINCT i) AS n, last_value(i ORDER BY id) AS last, \
         array_agg(i ORDER BY id) AS every FROM s GROUP BY 1",
        "CREATE MATERIALIZED VIEW of_all AS SELECT min(i) AS least, count(DISTINCT i) AS n, \
         last_value(i ORDER BY i, id) AS last, array_agg(DISTINCT i ORDER BY i) AS some FROM t",
        "CREATE MATERIALIZED VIEW of_table AS SELECT i, count(*) AS n, max(i) AS most FROM t GROUP BY i",
    ] {
        ok(engine, statement);
    }
    settle(engine);
}

/// The rows of `round`, in all relations.
fn insert(engine: &Engine, round: usize) {
    let rows = |row: &dyn Fn(usize, usize, &str) -> String| {
        let rows = VALUES.iter().enumerate();
        rows.map(|(number, value)| row(round * 10 + number, number, value))
            .filter(|row| !row.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let of = |relation: &str, row: &dyn Fn(usize, usize, &str) -> String| {
        ok(engine, &format!("INSERT INTO {relation} VALUES {}", rows(row)));
    };
    of("s", &|id, number, value| {
        let list = format!("[CAST({value} AS INTERVAL), INTERVAL '1 day', NULL]");
        let day = 1 + number % 3;
        format!("({id}, {value}, {list}, '2026-01-01', '2026-01-0{day} 00:00:07')")
    });
    of("o", &|id, _, value| format!("({value}, {id})"));
    of("t", &|_, number, value| format!("({number}, {value})"));
    of("t", &|id, _, value| format!("({id}, {value})"));
    let not_null = |value: &str, row: String| if value == "NULL" { String::new() } else { row };
    of("k", &|id, _, value| not_null(value, format!("({value}, {id})")));
    of("p", &|id, number, value| not_null(value, format!("({value}, {}, {id})", number % 2)));
    ok(engine, &format!("UPDATE t SET i = i + INTERVAL '1 month' WHERE id = {}", round * 10));
    ok(engine, &format!("DELETE FROM t WHERE id = {}", round * 10 + 3));
    ok(engine, "DELETE FROM k WHERE i = INTERVAL '24 hours'");
}

/// Everything that is there, as lines.
fn read(engine: &Engine) -> Vec<Vec<String>> {
    let queries = [
        "SELECT * FROM s ORDER BY id",
        "SELECT list FROM s WHERE list[1] = INTERVAL '1 day' ORDER BY id",
        "SELECT id FROM s WHERE i = INTERVAL '1 day' ORDER BY id",
        "SELECT id FROM s WHERE i < INTERVAL '0 days' ORDER BY id",
        "SELECT id FROM s WHERE i IS NULL OR i > INTERVAL '1 year' ORDER BY id",
        "SELECT i, id FROM s ORDER BY i DESC, id LIMIT 3",
        "SELECT i FROM o ORDER BY i, id",
        "SELECT id FROM o WHERE i BETWEEN INTERVAL '1 hour' AND INTERVAL '1 day' ORDER BY id",
        "SELECT * FROM t ORDER BY id",
        "SELECT id, i FROM k ORDER BY id",
        "SELECT id FROM k WHERE i = INTERVAL '1 day'",
        "SELECT id FROM k WHERE i IN (INTERVAL '-3 months', INTERVAL '7 days')",
        "SELECT * FROM p ORDER BY id",
        "SELECT id FROM p WHERE n = 1 AND i = INTERVAL '1 day'",
        "SELECT * FROM kept ORDER BY id",
        "SELECT i, n FROM grouped ORDER BY i",
        "SELECT n FROM grouped WHERE i = INTERVAL '24 hours'",
        "SELECT * FROM hidden ORDER BY id",
        "SELECT * FROM most ORDER BY odd",
        "SELECT i, n, most FROM of_table ORDER BY i",
        "SELECT * FROM of_all",
    ];
    queries.iter().map(|query| ok(engine, query)).collect()
}

/// Every view equals its query.
fn check_law(engine: &Engine) {
    for (view, query) in [
        ("SELECT i, n FROM grouped", "SELECT i, count(*) AS n FROM s GROUP BY i"),
        ("SELECT * FROM hidden", "SELECT count(*) AS n, max(id) AS id FROM s GROUP BY b - a"),
        (
            "SELECT * FROM most",
            "SELECT id % 2, min(i), max(i), max(b - a), count(DISTINCT i), \
             last_value(i ORDER BY id), array_agg(i ORDER BY id) \
             FROM s GROUP BY 1",
        ),
        ("SELECT * FROM of_table", "SELECT i, count(*), max(i) FROM t GROUP BY i"),
        (
            "SELECT * FROM of_all",
            "SELECT min(i), count(DISTINCT i), last_value(i ORDER BY i, id), \
             array_agg(DISTINCT i ORDER BY i) FROM t",
        ),
        ("SELECT * FROM kept", "SELECT id, i, b - a FROM s WHERE i IS NOT NULL"),
    ] {
        let sorted = |sql: &str| {
            let mut lines = ok(engine, sql);
            lines.sort();
            lines
        };
        assert_eq!(sorted(view), sorted(query), "{view}");
    }
}

#[test]
fn intervals_are_the_same_in_memory_in_parts_and_after_a_restart() {
    let dirs = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    // One stays in memory, the other goes to parts between.
    let memory = open(dirs[0].path());
    let mut stored = open(dirs[1].path());
    define(&memory);
    define(&stored);
    for round in 0..12 {
        insert(&memory, round);
        insert(&stored, round);
        let wanted = read(&memory);
        assert_eq!(read(&stored), wanted, "round {round}, parts and memory");
        check_law(&stored);
        // Enough rounds that parts are merged.
        stored.checkpoint().expect("writes");
        assert_eq!(read(&stored), wanted, "round {round}, parts");
        check_law(&stored);
        if round % 4 == 1 {
            stored.shutdown().expect("a checkpoint");
            drop(stored);
            stored = open(dirs[1].path());
            assert_eq!(read(&stored), wanted, "round {round}, restarted");
        }
    }
    check_law(&memory);
    assert_eq!(
        ok(&stored, "SELECT i FROM t WHERE id < 7 ORDER BY id"),
        [
            "1 days 2 hours 3 mins 4.000000000 secs",
            "",
            "-3 mons",
            "14 mons -3 days 4 hours 5 mins 6.789000000 secs",
            "24 hours",
            "1 days",
            "-0.000001000 secs"
        ]
    );
    ok(&stored, "CREATE MATERIALIZED VIEW later AS SELECT i, count(*) AS n FROM s GROUP BY i");
    settle(&stored);
    let counts = ok(&stored, "SELECT n FROM later");
    assert_eq!(counts, vec!["12"; VALUES.len()]);
    stored.shutdown().expect("a checkpoint");
    memory.shutdown().expect("a checkpoint");
}

#[test]
fn seconds_of_intervals_are_added_up_in_views() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, "CREATE STREAM s (id BIGINT, i INTERVAL)");
    let query = "SELECT id, sum(extract(epoch FROM i)) AS seconds FROM s GROUP BY id";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW v AS {query}"));
    ok(&engine, "INSERT INTO s VALUES (1, '1 day 00:00:01'), (1, '-00:00:03.5'), (1, NULL)");
    engine.checkpoint().expect("writes");
    assert_eq!(ok(&engine, "SELECT * FROM v"), ["1|86397.5"]);
    assert_eq!(ok(&engine, query), ["1|86397.5"]);
    let error = run(&engine, "CREATE MATERIALIZED VIEW w AS SELECT sum(i) AS x FROM s");
    assert_eq!(error.expect_err("refused").sqlstate, "0A000");
}
