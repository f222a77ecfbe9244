//! `JOIN t FOR SYSTEM_TIME AS OF PROCTIME()`: every event is joined with the table as it was when the
//! event came. The slow twin joins the events of each insert by a query right after it.

use super::path::copy_dir;
use super::support::{ok, open, run, settle};
use yeoul_engine::Engine;

const TABLES: &str =
    "CREATE STREAM events (id BIGINT, ad VARCHAR, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts);
  CREATE TABLE ads (ad VARCHAR PRIMARY KEY, campaign BIGINT, active BOOLEAN)";

/// Name, the part that is kept in a view, and how its rows are asked for.
const VIEWS: [(&str, &str); 3] = [
    (
        "inside",
        "SELECT e.id, a.campaign FROM events e JOIN ads{AS OF} a ON a.ad = e.ad WHERE a.active",
    ),
    (
        "outside",
        "SELECT e.id, e.ad, ads.campaign FROM events e LEFT JOIN ads{AS OF} ON e.ad = ads.ad",
    ),
    (
        "residual",
        "SELECT e.id, x.campaign + 1 AS next FROM events AS e JOIN ads{AS OF} AS x ON e.ad = x.ad AND x.campaign > e.id % 3",
    ),
];

const AS_OF: &str = " FOR SYSTEM_TIME AS OF PROCTIME()";

/// A small generator (Knuth's multiplier), so that a failure repeats.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn insert_events(draw: &mut Draw, from: u64, count: u64) -> String {
    let rows: Vec<String> = (from..from + count)
        .map(|id| {
            let ad = match draw.below(12) {
                0 => "NULL".to_owned(),
                n => format!("'ad-{}'", n * draw.below(3)),
            };
            format!("({id}, {ad}, TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL '{id} seconds')")
        })
        .collect();
    format!("INSERT INTO events VALUES {}", rows.join(", "))
}

fn change_ads(draw: &mut Draw) -> String {
    let ad = format!("'ad-{}'", draw.below(24));
    match draw.below(3) {
        0 => format!("DELETE FROM ads WHERE ad = {ad}"),
        1 => {
            format!("UPDATE ads SET campaign = campaign + 1, active = NOT active WHERE ad >= {ad}")
        }
        _ => format!(
            "INSERT INTO ads VALUES ({ad}, {}, {}) ON CONFLICT DO NOTHING",
            draw.below(5),
            draw.below(4) > 0
        ),
    }
}

/// What the views should hold of the events from `from` on.
fn expect(engine: &Engine, from: u64, expected: &mut [Vec<String>]) {
    for ((_, query), rows) in VIEWS.iter().zip(expected) {
        let joined = query
            .replace("{AS OF}", "")
            .replace("FROM events", &format!("FROM (SELECT * FROM events WHERE id >= {from})"));
        rows.extend(ok(engine, &joined));
    }
}

fn compare(engine: &Engine, expected: &mut [Vec<String>], seed: u64) {
    for ((name, _), rows) in VIEWS.iter().zip(expected) {
        let mut kept = ok(engine, &format!("SELECT * FROM {name}"));
        kept.sort();
        rows.sort();
        assert_eq!(&kept, rows, "{name}, seed {seed}");
    }
}

#[test]
fn events_are_joined_with_the_table_of_their_time() {
    for seed in 0..6 {
        let mut draw = Draw(seed);
        let mut dir = tempfile::tempdir().expect("a folder");
        let mut engine = open(dir.path());
        ok(&engine, TABLES);
        let mut next = 0;
        let mut expected = vec![Vec::new(); VIEWS.len()];
        // Some seeds build the views over events that are stored already.
        if seed % 2 == 1 {
            ok(&engine, "INSERT INTO ads VALUES ('ad-0', 3, true), ('ad-4', 1, false)");
            ok(&engine, &insert_events(&mut draw, 0, 40));
            next = 40;
            expect(&engine, 0, &mut expected);
        }
        for (name, query) in VIEWS {
            let query = query.replace("{AS OF}", AS_OF);
            ok(&engine, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"));
        }
        settle(&engine);
        for _ in 0..30 {
            match draw.below(8) {
                0..3 => {
                    let count = 1 + draw.below(50);
                    ok(&engine, &insert_events(&mut draw, next, count));
                    expect(&engine, next, &mut expected);
                    next += count;
                }
                3..6 => drop(ok(&engine, &change_ads(&mut draw))),
                6 => engine.checkpoint().expect("writes"),
                // What a kill leaves: the files as they are now.
                _ => {
                    let copy = tempfile::tempdir().expect("a folder");
                    copy_dir(dir.path(), copy.path());
                    engine.shutdown().expect("stops");
                    dir = copy;
                    engine = open(dir.path());
                    settle(&engine);
                }
            }
        }
        compare(&engine, &mut expected, seed);
        engine.shutdown().expect("stops");
    }
}

#[test]
fn a_lookup_below_an_aggregate() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, TABLES);
    ok(
        &engine,
        "INSERT INTO ads SELECT 'ad-' || n, n % 4, true FROM generate_series(0, 30) AS g(n)",
    );
    const QUERY: &str = "SELECT ads.campaign, window_start, count(*) AS n
      FROM TUMBLE(events, ts, INTERVAL '10 seconds') e
      JOIN ads FOR SYSTEM_TIME AS OF PROCTIME() ON ads.ad = e.ad
      WHERE e.id % 2 = 0 GROUP BY ads.campaign, window_start";
    ok(&engine, &format!("CREATE MATERIALIZED VIEW campaigns AS {QUERY}"));
    let mut draw = Draw(7);
    for from in (0..2_000).step_by(500) {
        ok(&engine, &insert_events(&mut draw, from, 500));
    }
    let sorted = |sql: &str| {
        let mut rows = ok(&engine, sql);
        rows.sort();
        rows
    };
    // The table did not change, so the batch query says the same.
    let kept = sorted("SELECT * FROM campaigns");
    assert_eq!(kept, sorted(QUERY));
    assert!(kept.len() > 100, "{}", kept.len());
    let table = run(&engine, "DROP TABLE ads").expect_err("a view looks it up");
    assert!(table.message.contains("ads"), "{table}");
    engine.shutdown().expect("stops");
}

#[test]
fn what_cannot_be_looked_up_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, TABLES);
    let refused = |query: &str| {
        let sql = format!("CREATE MATERIALIZED VIEW v AS {query}");
        let error = run(&engine, &sql).expect_err(query);
        format!("{} ({})", error.message, error.detail.unwrap_or_default())
    };
    let as_of = AS_OF;
    let lookup = "this lookup join cannot be kept in a view";
    assert_eq!(
        refused(&format!("SELECT id FROM events e JOIN ads{as_of} a ON a.campaign = e.id")),
        format!("{lookup} (the primary key of \"ads\" is ad)")
    );
    assert_eq!(
        refused(&format!("SELECT a.ad FROM ads a JOIN ads{as_of} b ON a.ad = b.ad")),
        format!("{lookup} (its rows can change after they were looked up)")
    );
    assert_eq!(
        refused(&format!("SELECT id FROM events e FULL JOIN ads{as_of} a ON a.ad = e.ad")),
        format!("{lookup} (only JOIN and LEFT JOIN look a row up)")
    );
    assert_eq!(
        refused(&format!("SELECT e.id FROM events e JOIN events{as_of} f ON f.ad = e.ad")),
        format!("{lookup} (\"events\" has no primary key to go by)")
    );
    assert_eq!(
        refused(&format!("SELECT ad FROM ads{as_of}")),
        "FOR SYSTEM_TIME AS OF PROCTIME() stands behind the table of a JOIN (the rows of a stream on \
         the left are looked up in the table on the right)"
    );
    assert_eq!(
        refused("SELECT id FROM events e JOIN ads FOR SYSTEM_TIME AS OF e.ts a ON a.ad = e.ad"),
        "\"ads\" has no version of a time (its primary key is ad, and not what is compared and a time)"
    );
    engine.shutdown().expect("stops");
}
