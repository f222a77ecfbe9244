//! Views of every kind of query equal the query, whatever comes, changes and goes, before and after they
//! are made, and after a restart.

use super::support::{ok, open, run, settle};
use yeoul_engine::Engine;

/// No row of the streams is later than their lateness: joins that are bounded in time take no such rows.
pub(crate) const RELATIONS: &str = "
  CREATE STREAM events (id BIGINT, ts TIMESTAMPTZ, who BIGINT, ad BIGINT, kind VARCHAR,
                        price DOUBLE PRECISION, WATERMARK FOR ts AS ts - INTERVAL '5 seconds')
    WITH (lateness = '1 hour');
  CREATE STREAM clicks (id BIGINT, ts TIMESTAMPTZ, who BIGINT, ad BIGINT, WATERMARK FOR ts AS ts)
    WITH (lateness = '1 hour');
  CREATE TABLE ads (ad BIGINT PRIMARY KEY, campaign BIGINT, active BOOLEAN, cap INT);
  CREATE TABLE users (who BIGINT PRIMARY KEY, age INT, city VARCHAR);
  CREATE TABLE prices (ad BIGINT, since TIMESTAMPTZ, cents INT, PRIMARY KEY (ad, since))";

/// Queries that are kept, and their names.
fn queries() -> Vec<(&'static str, &'static str)> {
    let blocks = include_str!("select.sql").split("\n-- ").skip(1);
    blocks
        .map(|block| {
            let (name, query) = block.split_once('\n').expect("a name, then the query");
            (name.trim(), query.trim())
        })
        .collect()
}

/// A small generator (Knuth's multiplier), so that a failure repeats.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn some(&mut self, bound: u64) -> String {
        if self.below(9) == 0 { "NULL".to_owned() } else { self.below(bound).to_string() }
    }

    pub(crate) fn pick<const N: usize>(&mut self, of: [&'static str; N]) -> &'static str {
        of[usize::try_from(self.below(N as u64)).expect("few")]
    }

    fn time(&mut self) -> String {
        let seconds = self.below(600);
        format!("TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL '{seconds} seconds'")
    }
}

/// Changes the rows of one relation.
pub(crate) fn change(engine: &Engine, draw: &mut Draw, id: &mut u64) {
    let mut rows = |make: &mut dyn FnMut(u64) -> String, count: u64| -> String {
        let rows: Vec<String> = (0..count)
            .map(|_| {
                *id += 1;
                make(*id)
            })
            .collect();
        rows.join(", ")
    };
    let count = 1 + draw.below(12);
    let sql = match draw.below(10) {
        0..=2 => {
            let mut make = |id| {
                let kind = draw.pick(["view", "click", "cart"]);
                let (time, who, ad) = (draw.time(), draw.some(12), draw.some(9));
                format!("({id}, {time}, {who}, {ad}, '{kind}', {}.25)", draw.below(40))
            };
            format!("INSERT INTO events VALUES {}", rows(&mut make, count))
        }
        3 => {
            let mut make =
                |id| format!("({id}, {}, {}, {})", draw.time(), draw.some(12), draw.some(9));
            format!("INSERT INTO clicks VALUES {}", rows(&mut make, count))
        }
        4 => {
            let (ad, campaign, cap) = (draw.below(9), draw.some(5), draw.some(60));
            let active = draw.pick(["true", "false", "NULL"]);
            format!(
                "INSERT INTO ads VALUES ({ad}, {campaign}, {active}, {cap}) ON CONFLICT (ad) DO \
                 UPDATE SET campaign = excluded.campaign, active = excluded.active, cap = excluded.cap"
            )
        }
        5 => {
            let (who, age) = (draw.below(12), draw.some(60));
            let city = draw.pick(["'Seoul'", "'Busan'", "NULL"]);
            format!(
                "INSERT INTO users VALUES ({who}, {age}, {city}) ON CONFLICT (who) DO \
                 UPDATE SET age = excluded.age, city = excluded.city"
            )
        }
        8 => format!(
            "INSERT INTO prices VALUES ({}, {}, {}) ON CONFLICT (ad, since) DO UPDATE SET cents = excluded.cents",
            draw.below(9),
            draw.time(),
            draw.below(90)
        ),
        9 => format!("DELETE FROM prices WHERE cents = {}", draw.below(90)),
        6 => format!("DELETE FROM ads WHERE ad = {}", draw.below(9)),
        _ => format!("UPDATE users SET age = age + 1 WHERE who > {}", draw.below(12)),
    };
    ok(engine, &sql);
}

/// Every view `v_name` equals its query.
pub(crate) fn compare(engine: &Engine, names: &[(&str, &str)], when: &str) {
    settle(engine);
    for (name, query) in names {
        let sorted = |sql: &str| {
            let mut lines = ok(engine, sql);
            lines.sort();
            lines
        };
        let (kept, batch) = (sorted(&format!("SELECT * FROM v_{name}")), sorted(query));
        assert_eq!(kept, batch, "{when}: {name}: {query}");
    }
}

#[test]
fn every_query_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    ok(&engine, RELATIONS);
    let mut draw = Draw(7);
    let mut id = 0;
    let create = |engine: &Engine, (name, query): &(&str, &str)| {
        let sql = format!("CREATE MATERIALIZED VIEW v_{name} AS {query}");
        if let Err(error) = run(engine, &sql) {
            panic!("{name}: {sql}\n{error}");
        }
    };
    // Half of the views come before the rows, half are built from them.
    let queries = queries();
    let (early, late): (Vec<_>, Vec<_>) =
        queries.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    early.iter().for_each(|(_, query)| create(&engine, query));
    for _ in 0..75 {
        change(&engine, &mut draw, &mut id);
    }
    late.iter().for_each(|(_, query)| create(&engine, query));
    compare(&engine, &queries, "built");
    for round in 0..4 {
        for _ in 0..50 {
            change(&engine, &mut draw, &mut id);
        }
        if round % 2 == 1 {
            engine.checkpoint().expect("writes");
        }
        compare(&engine, &queries, &format!("round {round}"));
        if round == 2 {
            engine.shutdown().expect("stops");
            drop(engine);
            engine = open(dir.path());
            compare(&engine, &queries, "after a restart");
        }
    }
    let is_empty = |name: &str| ok(&engine, &format!("SELECT * FROM v_{name} LIMIT 1")).is_empty();
    let empty: Vec<&str> = queries.iter().map(|(name, _)| *name).filter(|n| is_empty(n)).collect();
    assert!(empty.len() <= 3, "too many views are empty to prove anything: {empty:?}");
    engine.shutdown().expect("stops");
}
