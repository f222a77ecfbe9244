//! Rankings of rows that only come: a view that ends in one has no other tree than what the ranking keeps, and
//! its rows are numbered when they are read.

use std::sync::Arc;

use yeoul_engine::{Engine, EngineOptions};

use super::support::{TestClock, ok, open, options, settle};

/// A view and the query that it keeps.
const VIEWS: [(&str, &str); 3] = [
    (
        "numbered",
        "SELECT name, k, price, nth FROM
         (SELECT *, row_number() OVER (PARTITION BY k ORDER BY price DESC) AS nth FROM s) q WHERE nth <= 3",
    ),
    (
        "later",
        "SELECT * FROM (SELECT *, rank() OVER (PARTITION BY k ORDER BY price) AS nth FROM s) q
         WHERE nth BETWEEN 2 AND 4",
    ),
    (
        "first",
        "SELECT price, k FROM
         (SELECT *, row_number() OVER (PARTITION BY k ORDER BY price, name) AS nth FROM s) q WHERE nth <= 2",
    ),
];
/// What may be left out before rows are numbered, and what may not.
const FILTERS: [&str; 5] =
    ["true", "k = 7", "k BETWEEN 100 AND 220", "price > 500", "k < 3000 AND price % 3 = 0"];

fn insert(engine: &Engine, rows: usize, factor: usize) {
    let sql = format!(
        "INSERT INTO s SELECT 'x' || g % 5000, g % 20011, g * {factor} % 1009
         FROM generate_series(1, {rows}) AS t(g)"
    );
    ok(engine, &sql);
}

fn check(engine: &Engine, what: &str) {
    for (view, query) in VIEWS {
        for filter in FILTERS {
            let sums = "count(*), sum(price), sum(k * price)";
            let asked = ok(engine, &format!("SELECT {sums} FROM {view} WHERE {filter}"));
            let twin = ok(engine, &format!("SELECT {sums} FROM ({query}) q WHERE {filter}"));
            assert_eq!(asked, twin, "{view} where {filter}, {what}");
        }
    }
    let nth = |of: &str| {
        let sql = format!("SELECT nth, count(*), sum(k) FROM {of} GROUP BY nth ORDER BY nth");
        ok(engine, &sql)
    };
    for (view, query) in &VIEWS[..2] {
        assert_eq!(nth(view), nth(&format!("({query}) q")), "{view}, {what}");
    }
}

#[test]
fn rows_are_numbered_when_they_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = EngineOptions { merge_rows: 4_000, ..options() };
    let clock = Arc::new(TestClock::default());
    let engine = Engine::open(dir.path(), clock, options, &mut |_| {}).expect("opens");
    ok(&engine, "CREATE STREAM s (name TEXT, k BIGINT, price BIGINT)");
    for (view, query) in VIEWS {
        ok(&engine, &format!("CREATE MATERIALIZED VIEW {view} AS {query}"));
    }
    insert(&engine, 60_000, 7_919);
    check(&engine, "in memory");
    engine.checkpoint().expect("writes parts");
    check(&engine, "in parts");
    insert(&engine, 50_000, 104_729);
    check(&engine, "in both");
    // Built from stored rows, whose batches end within a partition.
    ok(
        &engine,
        "CREATE MATERIALIZED VIEW followed AS SELECT nth, count(*) AS n, sum(k) AS keys FROM numbered GROUP BY nth",
    );
    settle(&engine);
    insert(&engine, 9_000, 331);
    check(&engine, "followed");
    let now = "SELECT nth, count(*), sum(k) FROM numbered GROUP BY nth ORDER BY nth";
    assert_eq!(ok(&engine, "SELECT * FROM followed ORDER BY nth"), ok(&engine, now));
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    check(&engine, "again");
    engine.shutdown().expect("stops");
}
