//! Views of every kind of query equal the query, whatever comes, changes and goes, before and after they
//! are made, and after a restart.

use super::support::{ok, open, run, settle};
use yeoul_engine::Engine;

const RELATIONS: &str = "
  CREATE STREAM events (id BIGINT, ts TIMESTAMPTZ, who BIGINT, ad BIGINT, kind VARCHAR,
                        price DOUBLE PRECISION, WATERMARK FOR ts AS ts - INTERVAL '5 seconds');
  CREATE STREAM clicks (id BIGINT, ts TIMESTAMPTZ, who BIGINT, ad BIGINT, WATERMARK FOR ts AS ts);
  CREATE TABLE ads (ad BIGINT PRIMARY KEY, campaign BIGINT, active BOOLEAN, cap INT);
  CREATE TABLE users (who BIGINT PRIMARY KEY, age INT, city VARCHAR)";

/// Queries that are kept; by name, so that a failure says which.
const QUERIES: &[(&str, &str)] = &[
    ("inner", "SELECT e.id, a.campaign FROM events e JOIN ads a ON a.ad = e.ad"),
    (
        "inner_filtered",
        "SELECT e.id, a.campaign + 1 AS c FROM events e JOIN ads a ON a.ad = e.ad WHERE a.active AND e.kind <> 'view'",
    ),
    ("left", "SELECT e.id, a.campaign, a.active FROM events e LEFT JOIN ads a ON a.ad = e.ad"),
    ("right", "SELECT e.id, a.ad, a.campaign FROM events e RIGHT JOIN ads a ON a.ad = e.ad"),
    (
        "full",
        "SELECT e.id, a.ad AS ad, u.who FROM events e FULL JOIN ads a ON a.ad = e.ad FULL JOIN users u ON u.who = e.who",
    ),
    (
        "left_residual",
        "SELECT u.who, a.ad FROM users u LEFT JOIN ads a ON a.campaign = u.age % 5 AND a.cap > u.age - 30",
    ),
    (
        "full_residual",
        "SELECT u.who, a.ad FROM users u FULL JOIN ads a ON a.campaign = u.age % 5 AND a.cap > u.age - 30",
    ),
    (
        "left_filter_in_on",
        "SELECT u.who, a.ad FROM users u LEFT JOIN ads a ON a.ad = u.who AND a.active AND u.city = 'Seoul'",
    ),
    ("non_equi", "SELECT u.who, a.ad FROM users u JOIN ads a ON a.cap < u.age"),
    (
        "cross",
        "SELECT u.who, t.total FROM users u CROSS JOIN (SELECT count(*) AS total FROM ads) t",
    ),
    (
        "null_safe",
        "SELECT a.id, b.id AS other FROM clicks a JOIN events b ON a.who = b.who AND a.ad IS NOT DISTINCT FROM b.ad",
    ),
    (
        "multiway",
        "SELECT e.id, u.city, a.campaign, c.id AS click FROM events e JOIN users u ON u.who = e.who JOIN ads a ON a.ad = e.ad JOIN clicks c ON c.ad = a.ad AND c.who = u.who",
    ),
    (
        "self",
        "SELECT a.id, b.id AS next FROM events a JOIN events b ON a.who = b.who AND a.ad = b.ad AND a.id < b.id",
    ),
    (
        "aggregate_of_join",
        "SELECT a.campaign, count(*) AS n, sum(e.price) AS s, max(e.id) AS m FROM events e JOIN ads a ON a.ad = e.ad GROUP BY a.campaign",
    ),
    (
        "join_of_aggregates",
        "SELECT v.ad, v.n, c.n AS clicks FROM (SELECT ad, count(*) AS n FROM events GROUP BY ad) v LEFT JOIN (SELECT ad, count(*) AS n FROM clicks GROUP BY ad) c ON c.ad = v.ad",
    ),
    (
        "window_join",
        "SELECT v.window_start, v.ad, v.n, c.n AS clicks FROM (SELECT window_start, ad, count(*) AS n FROM TUMBLE(events, ts, INTERVAL '1 minute') GROUP BY 1, 2) v JOIN (SELECT window_start, ad, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY 1, 2) c ON v.window_start = c.window_start AND v.ad = c.ad",
    ),
    ("in_list", "SELECT id FROM events WHERE ad IN (SELECT ad FROM ads WHERE active)"),
    ("not_in", "SELECT id, ad FROM events WHERE ad NOT IN (SELECT campaign FROM ads WHERE active)"),
    (
        "exists",
        "SELECT who, city FROM users u WHERE EXISTS (SELECT 1 FROM clicks c WHERE c.who = u.who)",
    ),
    (
        "not_exists",
        "SELECT who, city FROM users u WHERE NOT EXISTS (SELECT 1 FROM clicks c WHERE c.who = u.who AND c.id > u.age)",
    ),
    (
        "exists_or",
        "SELECT who FROM users u WHERE u.age > 40 OR EXISTS (SELECT 1 FROM clicks c WHERE c.who = u.who)",
    ),
    ("scalar", "SELECT id FROM events WHERE price > (SELECT avg(price) FROM events)"),
    ("scalar_column", "SELECT ad, (SELECT max(id) FROM events) AS m FROM ads"),
    (
        "correlated",
        "SELECT e.id, e.ad FROM events e WHERE e.price >= (SELECT max(price) FROM events x WHERE x.ad = e.ad)",
    ),
    (
        "correlated_count",
        "SELECT u.who, (SELECT count(*) FROM clicks c WHERE c.who = u.who) AS n FROM users u",
    ),
    (
        "lateral",
        "SELECT u.who, l.n FROM users u, LATERAL (SELECT count(*) AS n FROM clicks c WHERE c.who = u.who) l",
    ),
    ("intersect", "SELECT ad FROM events INTERSECT SELECT ad FROM clicks"),
    ("except", "SELECT ad, who FROM events EXCEPT SELECT ad, who FROM clicks"),
    (
        "cte",
        "WITH hot AS (SELECT ad, count(*) AS n FROM clicks GROUP BY ad HAVING count(*) > 2) SELECT e.id, h.n FROM events e JOIN hot h USING (ad)",
    ),
    (
        "having_subquery",
        "SELECT ad, count(*) AS n FROM events GROUP BY ad HAVING count(*) > (SELECT count(*) / 20 FROM events)",
    ),
    (
        "nexmark_like_9",
        "SELECT a.ad, max(e.price) AS best FROM ads a JOIN events e ON a.ad = e.ad AND e.id >= a.cap GROUP BY a.ad",
    ),
];

/// A small generator (Knuth's multiplier), so that a failure repeats.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn some(&mut self, bound: u64) -> String {
        if self.below(9) == 0 { "NULL".to_owned() } else { self.below(bound).to_string() }
    }

    fn pick<const N: usize>(&mut self, of: [&'static str; N]) -> &'static str {
        of[usize::try_from(self.below(N as u64)).expect("few")]
    }

    fn time(&mut self) -> String {
        let seconds = self.below(600);
        format!("TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL '{seconds} seconds'")
    }
}

fn change(engine: &Engine, draw: &mut Draw, id: &mut u64) {
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
    let sql = match draw.below(8) {
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
        6 => format!("DELETE FROM ads WHERE ad = {}", draw.below(9)),
        _ => format!("UPDATE users SET age = age + 1 WHERE who > {}", draw.below(12)),
    };
    ok(engine, &sql);
}

fn compare(engine: &Engine, names: &[(&str, &str)], when: &str) {
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
    let (early, late): (Vec<_>, Vec<_>) =
        QUERIES.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    early.iter().for_each(|(_, query)| create(&engine, query));
    for _ in 0..60 {
        change(&engine, &mut draw, &mut id);
    }
    late.iter().for_each(|(_, query)| create(&engine, query));
    compare(&engine, QUERIES, "built");
    for round in 0..4 {
        for _ in 0..40 {
            change(&engine, &mut draw, &mut id);
        }
        if round % 2 == 1 {
            engine.checkpoint().expect("writes");
        }
        compare(&engine, QUERIES, &format!("round {round}"));
        if round == 2 {
            engine.shutdown().expect("stops");
            drop(engine);
            engine = open(dir.path());
            compare(&engine, QUERIES, "after a restart");
        }
    }
    let kept = QUERIES
        .iter()
        .filter(|(name, _)| !ok(&engine, &format!("SELECT * FROM v_{name} LIMIT 1")).is_empty());
    assert!(kept.count() + 3 >= QUERIES.len(), "too many views are empty to prove anything");
    engine.shutdown().expect("stops");
}
