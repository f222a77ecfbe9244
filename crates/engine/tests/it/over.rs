//! Views of window functions equal the batch query, whatever the function, the frame and the order, over
//! rows that come and rows that go.

use super::select::{Draw, RELATIONS, change, compare};
use super::support::{ok, open, run};

/// What rows are taken from: those that only come, those that go with the rows of a table, and a table.
/// Each has a unique `id`, a time, two small numbers and a price.
const BASES: [&str; 3] = [
    "events",
    "(SELECT e.id, e.ts, e.who, a.campaign AS ad, e.price FROM events e JOIN ads a ON a.ad = e.ad)",
    "(SELECT who AS id, to_timestamp_micros(age * 3000000) AS ts, length(city) AS who, \
     who % 3 AS ad, age * 0.25 AS price FROM users)",
];

fn frame(draw: &mut Draw, unit: &dyn Fn(u64) -> String) -> String {
    let kind = draw.pick(["ROWS", "RANGE", "GROUPS"]);
    let (a, b) = (draw.below(9), draw.below(9));
    // 0: unbounded before, 1 to 3: before, 4: the row, 5 to 7: behind, 8: unbounded behind.
    let bound = |place: u64| {
        let away = place.abs_diff(4);
        let away = if kind == "RANGE" { unit(away) } else { away.to_string() };
        match place {
            0 => "UNBOUNDED PRECEDING".to_owned(),
            1..=3 => format!("{away} PRECEDING"),
            4 => "CURRENT ROW".to_owned(),
            5..=7 => format!("{away} FOLLOWING"),
            _ => "UNBOUNDED FOLLOWING".to_owned(),
        }
    };
    let (first, last) = (a.min(b).min(7), a.max(b).max(1));
    format!("{kind} BETWEEN {} AND {}", bound(first), bound(last))
}

/// A call whose answer does not depend on how rows tie.
fn call(draw: &mut Draw) -> String {
    let partition =
        draw.pick(["", "PARTITION BY ad", "PARTITION BY who", "PARTITION BY ad, who % 2"]);
    let way = draw.pick(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
    let aggregate = draw.pick([
        "sum(price)",
        "sum(who)",
        "count(ad)",
        "count(*)",
        "min(id)",
        "max(price)",
        "avg(who)",
        "avg(price)",
    ]);
    let (name, order, frame) = match draw.below(9) {
        0 | 1 => {
            let name = draw.pick(["lag(id)", "lead(id)", "lag(who, 3)", "lead(price, 2, -1.0)"]);
            (name, format!("ORDER BY id{way}"), String::new())
        }
        2 => {
            let places = ["rank()", "dense_rank()", "percent_rank()", "cume_dist()"];
            (draw.pick(places), format!("ORDER BY ts{way}"), String::new())
        }
        3 => {
            let name = draw.pick(["row_number()", "ntile(4)", "row_number()"]);
            (name, format!("ORDER BY ts{way}, id"), String::new())
        }
        4 => {
            let name = draw.pick(["first_value(price)", "last_value(who)", "nth_value(id, 2)"]);
            (name, format!("ORDER BY id{way}"), frame(draw, &|n| n.to_string()))
        }
        5 => (aggregate, format!("ORDER BY id{way}"), frame(draw, &|n| (3 * n).to_string())),
        6 => {
            let times = |n| format!("INTERVAL '{} seconds'", 20 * n);
            let frame = frame(draw, &times);
            // Which of the rows that tie are within so many rows is anybody's choice.
            let rows = frame.starts_with("ROWS");
            (aggregate, format!("ORDER BY ts{way}{}", if rows { ", id" } else { "" }), frame)
        }
        7 => {
            // Sums that round, and so depend on what the frame has passed over.
            let (a, b) = (draw.below(4), draw.below(3));
            let frame = format!("ROWS BETWEEN {a} PRECEDING AND {b} FOLLOWING");
            (
                draw.pick(["sum(price / 3)", "avg(price / 7)"]),
                format!("ORDER BY ts{way}, id"),
                frame,
            )
        }
        _ => (aggregate, draw.pick(["", "ORDER BY ts"]).to_owned(), String::new()),
    };
    format!("{name} OVER ({partition} {order} {frame})")
}

fn query(draw: &mut Draw) -> String {
    let calls: Vec<String> = (0..1 + draw.below(2)).map(|_| call(draw)).collect();
    let calls = calls.iter().enumerate().map(|(at, call)| format!("{call} AS o{at}"));
    let base = draw.pick(BASES);
    format!("SELECT id, {} FROM {base} AS b", calls.collect::<Vec<_>>().join(", "))
}

#[test]
fn window_functions_are_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, RELATIONS);
    let mut draw = Draw(11);
    let mut id = 0;
    let queries: Vec<(String, String)> =
        (0..90).map(|at| (format!("w{at}"), query(&mut draw))).collect();
    let queries: Vec<(&str, &str)> = queries.iter().map(|(n, q)| (&**n, &**q)).collect();
    let create = |queries: &[(&str, &str)]| {
        for (name, query) in queries {
            let sql = format!("CREATE MATERIALIZED VIEW v_{name} AS {query}");
            if let Err(error) = run(&engine, &sql) {
                panic!("{name}: {sql}\n{error}");
            }
        }
    };
    let (early, late) = queries.split_at(60);
    create(early);
    for _ in 0..40 {
        change(&engine, &mut draw, &mut id);
    }
    create(late);
    compare(&engine, &queries, "built");
    for round in 0..4 {
        for _ in 0..12 {
            change(&engine, &mut draw, &mut id);
        }
        if round == 1 {
            engine.checkpoint().expect("writes");
        }
        compare(&engine, &queries, &format!("round {round}"));
    }
    engine.shutdown().expect("stops");
}

/// Calls in the orders of `o`, which may be null, and of `o` and `id`.
fn in_order() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for way in ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"] {
        let by = format!("PARTITION BY g ORDER BY o{way}");
        let (ties, unique) = (format!("OVER ({by})"), format!("OVER ({by}, id)"));
        let rows = |frame: &str| format!("OVER ({by}, id ROWS {frame})");
        let running = rows("UNBOUNDED PRECEDING");
        let near = rows("BETWEEN 3 PRECEDING AND 1 FOLLOWING");
        for calls in [
            format!("lag(v) {unique} AS a, lag(s, 3) {unique} AS b, lead(v, 2) {unique} AS c"),
            format!("row_number() {unique} AS a, lag(v, 2) {unique} AS b, lead(d) {unique} AS c"),
            format!(
                "rank() {ties} AS a, dense_rank() {ties} AS b, count(*) {ties} AS c, count(v) {ties} AS e"
            ),
            format!(
                "sum(v) {ties} AS a, avg(v) {ties} AS b, min(v) {ties} AS c, max(s) {ties} AS e"
            ),
            format!(
                "sum(p) {ties} AS a, avg(p) {ties} AS b, min(p) {ties} AS c, sum(d) {ties} AS e"
            ),
            format!(
                "sum(p / 3) {running} AS a, avg(d) {running} AS b, max(d) {running} AS c, avg(v) {running} AS e"
            ),
            format!(
                "first_value(s) {unique} AS a, last_value(v) {unique} AS b, sum(v) {unique} AS c"
            ),
            format!(
                "sum(v) {near} AS a, min(s) {near} AS b, first_value(d) {near} AS c, avg(i) {near} AS e"
            ),
            // Evaluated over the whole partition.
            format!(
                "sum(v) FILTER (WHERE v > 3) {ties} AS a, percent_rank() {ties} AS b, nth_value(v, 2) {unique} AS c"
            ),
        ] {
            queries.push((format!("w{}", queries.len()), format!("SELECT id, {calls} FROM t")));
        }
    }
    queries
}

/// A row that has the place `o`, or none.
fn placed(draw: &mut Draw, id: u64, o: u64) -> String {
    let o = if draw.below(20) == 0 { "NULL".to_owned() } else { o.to_string() };
    let v = if draw.below(9) == 0 { "NULL".to_owned() } else { draw.below(40).to_string() };
    let (g, p, s) = (draw.below(20) / 18, draw.below(900), draw.below(30));
    format!("({id}, {g}, {o}, {v}, {p} / 8.0, 's{s}', {p} / 4.0, {s})")
}

/// Partitions that are longer than what a change reaches: rows are appended, come late, change and go, tie, and have no
/// place.
#[test]
fn long_partitions_change_in_places() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE TABLE t (id BIGINT PRIMARY KEY, g BIGINT, o BIGINT, v BIGINT, p DOUBLE PRECISION, s VARCHAR, d NUMERIC(9, 2), i INT)",
    );
    let queries = in_order();
    for (name, query) in &queries {
        ok(&engine, &format!("CREATE MATERIALIZED VIEW v_{name} AS {query}"));
    }
    let queries: Vec<(&str, &str)> = queries.iter().map(|(n, q)| (&**n, &**q)).collect();
    let mut draw = Draw(5);
    let mut id = 0;
    let rows: Vec<String> = (0..250).map(|at| placed(&mut draw, at, at / 3)).collect();
    ok(&engine, &format!("INSERT INTO t VALUES {}", rows.join(", ")));
    id += 250;
    compare(&engine, &queries, "filled");
    for step in 0..16 {
        for _ in 0..1 + draw.below(2) {
            match draw.below(6) {
                0 | 1 => {
                    let rows = [placed(&mut draw, id, id / 3), placed(&mut draw, id + 1, id / 3)];
                    ok(&engine, &format!("INSERT INTO t VALUES {}", rows.join(", ")));
                    id += 2;
                }
                2 => {
                    let behind = draw.below(30);
                    let late = placed(&mut draw, id, (id / 3).saturating_sub(behind));
                    ok(&engine, &format!("INSERT INTO t VALUES {late}"));
                    id += 1;
                }
                3 => {
                    let gone = id - 1 - draw.below(60);
                    ok(&engine, &format!("DELETE FROM t WHERE id IN ({gone}, {})", gone + 1));
                }
                4 => {
                    let at = id - 1 - draw.below(20);
                    ok(&engine, &format!("UPDATE t SET v = v + 1, p = p + 1 WHERE id = {at}"));
                }
                _ => {
                    let at = id - 1 - draw.below(40);
                    ok(&engine, &format!("UPDATE t SET o = o + 5, s = 'moved' WHERE id = {at}"));
                }
            }
        }
        if step == 8 {
            engine.checkpoint().expect("writes");
        }
        compare(&engine, &queries, &format!("step {step}"));
    }
    engine.shutdown().expect("stops");
}

/// Rows that tie are put into an order by columns of every type, and every type is partitioned by.
#[test]
fn rows_of_every_type_are_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    let columns = [
        ("b", "BOOLEAN", "true", "false"),
        ("s", "SMALLINT", "1", "2"),
        ("i", "BIGINT", "1", "-2"),
        ("r", "REAL", "1.5", "-0.5"),
        ("n", "NUMERIC(12, 2)", "1.25", "2.5"),
        ("v", "VARCHAR", "'a'", "'a long text of many letters'"),
        ("d", "DATE", "'2026-01-01'", "'2026-01-02'"),
        ("t", "TIME", "'10:00:00'", "'11:00:00'"),
        ("p", "TIMESTAMP", "'2026-01-01 10:00:00'", "'2026-01-02 10:00:00'"),
        ("z", "TIMESTAMPTZ", "'2026-01-01 10:00:00Z'", "'2026-01-02 10:00:00Z'"),
        ("l", "INTERVAL", "'1 day'", "'1 month'"),
        ("j", "JSONB", "'{\"a\": 1}'", "'[]'"),
        ("u", "UUID", "'01010101-0101-0101-0101-010101010101'", "NULL"),
        ("y", "BYTEA", "'\\x00ff'", "'\\x01'"),
        ("a", "BIGINT[]", "ARRAY[1, 2]", "ARRAY[3]"),
    ];
    let row = |value: &dyn Fn(usize) -> String| {
        (0..columns.len()).map(value).collect::<Vec<_>>().join(", ")
    };
    let declared = row(&|at| format!("{} {}", columns[at].0, columns[at].1));
    ok(&engine, &format!("CREATE TABLE t (id BIGINT PRIMARY KEY, {declared})"));
    let queries: Vec<(String, String)> = columns
        .iter()
        .map(|(name, ..)| {
            let over = format!("PARTITION BY {name} ORDER BY id / 100");
            let calls =
                format!("count(*) OVER ({over}) AS o0, row_number() OVER ({over}, id) AS o1");
            ((*name).to_owned(), format!("SELECT *, {calls} FROM t"))
        })
        .collect();
    for (name, query) in &queries {
        ok(&engine, &format!("CREATE MATERIALIZED VIEW v_{name} AS {query}"));
    }
    let (first, second) = (row(&|at| columns[at].2.into()), row(&|at| columns[at].3.into()));
    let nulls = row(&|_| "NULL".into());
    let queries: Vec<(&str, &str)> = queries.iter().map(|(n, q)| (&**n, &**q)).collect();
    ok(&engine, &format!("INSERT INTO t VALUES (1, {first}), (2, {second}), (3, {first})"));
    compare(&engine, &queries, "first");
    ok(&engine, &format!("INSERT INTO t VALUES (4, {nulls}), (5, {second}), (6, {nulls})"));
    ok(&engine, "DELETE FROM t WHERE id = 1");
    compare(&engine, &queries, "second");
    engine.shutdown().expect("stops");
}
