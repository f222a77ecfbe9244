//! Views over each other are replaced, cancelled and dropped at random, while rows come, go and change, and the
//! machine stops: whenever nothing is being built, every view equals its query, and its query is the one that was
//! asked for last.
//!
//! `YEOUL_REPLACE_SEED=S` runs one seed, `YEOUL_REPLACE_CASES=N` that many.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use yeoul_engine::{Engine, EngineError, EngineOptions};
use yeoul_store::TrialMedia;

use super::super::support::{TestClock, ok, options, run};
use super::{replaced, sorted, trees_of};

const CASES: u64 = 12;
const VIEWS: usize = 5;

struct Case {
    name: String,
    /// The changes of views that were tried, with what became of them.
    done: Vec<String>,
    random: StdRng,
    disk: TrialMedia,
    engine: Option<Engine>,
    /// What each view was last asked to be, while that is known.
    wanted: BTreeMap<usize, String>,
    columns: usize,
    rows: i64,
    swaps: usize,
}

fn opened(disk: &TrialMedia, random: &mut StdRng) -> Engine {
    let options = EngineOptions {
        commit_interval: Duration::ZERO,
        build_rows: [3, 40, 32_768][random.random_range(0..3)],
        memory_bytes_max: [60 << 10, 64 << 20][random.random_range(0..2)],
        ..options()
    };
    let clock = Arc::new(TestClock::default());
    Engine::open_media(Arc::new(disk.clone()), clock, options, &mut |_| {}).expect("opens")
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = TrialMedia::new(seed);
        let engine = opened(&disk, &mut random);
        ok(&engine, "CREATE STREAM e (k BIGINT, n BIGINT, total BIGINT)");
        ok(&engine, "CREATE TABLE t (k BIGINT PRIMARY KEY, n BIGINT, total BIGINT)");
        let name = format!("YEOUL_REPLACE_SEED={seed}");
        let engine = Some(engine);
        Self {
            name,
            done: Vec::new(),
            random,
            disk,
            engine,
            wanted: BTreeMap::new(),
            columns: 0,
            rows: 0,
            swaps: 0,
        }
    }

    /// Runs a statement and notes it.
    fn run(&mut self, sql: &str) -> Result<Vec<String>, EngineError> {
        let outcome = run(self.engine(), sql);
        let said = outcome
            .as_ref()
            .map_or_else(|e| format!("{} {}", e.sqlstate, e.message), |_| "ok".to_owned());
        self.done.push(format!("{sql}: {said}"));
        outcome
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it runs between the steps")
    }

    /// Something that the view `number` may read.
    fn source(&mut self, number: usize) -> String {
        let views: Vec<usize> =
            (0..number).filter(|n| self.engine().definition(&format!("v{n}")).is_some()).collect();
        match self.random.random_range(0..views.len() + 2) {
            0 => "e".to_owned(),
            1 => "t".to_owned(),
            at => format!("v{}", views[at - 2]),
        }
    }

    fn query(&mut self, number: usize) -> String {
        let (from, other, c) =
            (self.source(number), self.source(number), self.random.random_range(0..4));
        match self.random.random_range(0..7) {
            0 => format!(
                "SELECT k, count(*) AS n, CAST(sum(total) AS BIGINT) AS total FROM {from} WHERE n > {c} GROUP BY k"
            ),
            1 => format!("SELECT k, n, total FROM {from} WHERE total % 5 <> {c}"),
            2 => format!("SELECT k % 5 AS k, n, total + {c} AS total FROM {from}"),
            3 => format!(
                "SELECT k, max(n) AS n, min(total) AS total FROM {from} GROUP BY k HAVING count(*) > {c}"
            ),
            4 => format!(
                "SELECT k, n, total FROM {from} UNION ALL SELECT k, n + {c} AS n, total FROM {other}"
            ),
            5 => format!("SELECT DISTINCT k, n % 3 AS n, total % 7 AS total FROM {from}"),
            _ => format!(
                "SELECT count(*) AS k, max(k) AS n, CAST(count(total) AS BIGINT) AS total FROM {from}"
            ),
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..20) {
            0..=5 => self.rows(),
            6..=11 => self.replace(),
            12 => self.cancel(),
            13 => {
                let number = self.random.random_range(0..VIEWS);
                let how = if self.random.random_bool(0.5) { "CASCADE" } else { "" };
                if self.run(&format!("DROP MATERIALIZED VIEW v{number} {how}")).is_ok() {
                    self.wanted.retain(|n, _| *n != number && how.is_empty());
                }
            }
            14 => self.alter(),
            15 | 16 => self.engine().checkpoint().expect("writes"),
            17 => self.check(),
            _ => {
                self.done.push("restart".to_owned());
                let engine = self.engine.take().expect("it runs between the steps");
                if self.random.random_bool(0.5) {
                    engine.shutdown().expect("stops");
                    drop(engine);
                } else {
                    // The engine that goes on writes to a disk that nobody looks at any more.
                    self.disk = self.disk.after_crash();
                }
                self.engine = Some(opened(&self.disk, &mut self.random));
            }
        }
    }

    fn rows(&mut self) {
        let from = self.rows;
        self.rows += self.random.random_range(1..60);
        let nulls = ", NULL".repeat(self.columns);
        let row = |i: i64| format!("({}, {}, {}{nulls})", i % 11, i * 7 % 6, i % 23);
        let events: Vec<String> = (from..self.rows).map(row).collect();
        ok(self.engine(), &format!("INSERT INTO e VALUES {}", events.join(", ")));
        let k = self.random.random_range(0..9);
        let change = match self.random.random_range(0..3) {
            0 => format!("DELETE FROM t WHERE k % 4 = {}", k % 4),
            1 => format!("UPDATE t SET n = n + 1, total = {from} WHERE k >= {k}"),
            _ => format!("INSERT INTO t VALUES ({k}, {from}, 3), ({}, 2, {from})", k + 1),
        };
        ok(self.engine(), &change);
    }

    fn replace(&mut self) {
        let number = self.random.random_range(0..VIEWS);
        let query = self.query(number);
        let there = self.engine().definition(&format!("v{number}")).is_some();
        let sql = format!("CREATE OR REPLACE MATERIALIZED VIEW v{number} AS {query}");
        match self.run(&sql) {
            Ok(_) => {
                self.wanted.insert(number, query);
                self.swaps += usize::from(there);
            }
            // Another build concerns it; a dropped view left one that reads it with another shape.
            Err(error) => assert!(
                ["55006", "42P01"].contains(&error.sqlstate.as_str()),
                "{}: {sql}\n{error}",
                self.name
            ),
        }
    }

    fn cancel(&mut self) {
        let number = self.random.random_range(0..VIEWS);
        let sql = format!("ALTER MATERIALIZED VIEW v{number} CANCEL REPLACE");
        if self.run(&sql).is_ok() {
            self.wanted.remove(&number);
        }
    }

    fn alter(&mut self) {
        let name = format!("c{}", self.columns);
        let added = self.run(&format!("ALTER STREAM e ADD COLUMN {name} INT DEFAULT 5"));
        match added {
            Ok(_) => self.columns += 1,
            Err(error) => assert_eq!(error.sqlstate, "55006", "{}: {error}", self.name),
        }
    }

    /// The query of a view with those of the views that it reads in their place.
    fn expanded(&self, number: usize) -> String {
        let sql = self.engine().definition(&format!("v{number}")).expect("is there");
        let (_, query) = sql.split_once(" AS ").expect("a view has a query");
        (0..number).fold(query.to_owned(), |query, below| {
            let name = format!("FROM v{below}");
            if !query.contains(&name) {
                return query;
            }
            query.replace(&name, &format!("FROM ({}) AS v{below}", self.expanded(below)))
        })
    }

    fn check(&mut self) {
        replaced(self.engine());
        let mut kept = 0;
        for number in 0..VIEWS {
            let Some(sql) = self.engine().definition(&format!("v{number}")) else { continue };
            if let Some(wanted) = self.wanted.get(&number) {
                assert!(
                    sql.ends_with(wanted.as_str()),
                    "{}: {sql}\nis not {wanted}\n{}",
                    self.name,
                    self.done.join("\n")
                );
            }
            let view = format!("SELECT * FROM v{number}");
            let query = self.expanded(number);
            assert_eq!(
                sorted(self.engine(), &view),
                sorted(self.engine(), &query),
                "{}: {sql}",
                self.name
            );
            kept += 1;
        }
        let failed = "SELECT name, error, replacement FROM yeoul.views WHERE status <> 'ready' OR replacement <> ''";
        assert_eq!(ok(self.engine(), failed), [] as [&str; 0], "{}", self.name);
        // A view has at most two trees here, the four others are e, t and those of the system.
        let trees = trees_of(self.engine(), &self.disk);
        assert!(trees <= 4 + 2 * kept, "{}: {trees} trees for {kept} views", self.name);
    }
}

#[test]
fn whatever_is_replaced_equals_its_query() {
    let number = |name: &str| {
        let text = std::env::var(name).ok();
        text.map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let only = number("YEOUL_REPLACE_SEED");
    let cases = number("YEOUL_REPLACE_CASES").unwrap_or(if only.is_some() { 1 } else { CASES });
    let first = only.unwrap_or(1);
    let mut swaps = 0;
    for seed in first..first + cases {
        let mut case = Case::new(seed);
        for _ in 0..60 {
            case.step();
        }
        case.check();
        case.engine().shutdown().expect("stops");
        swaps += case.swaps;
    }
    println!("{cases} cases, {swaps} replacements");
    assert!(swaps as u64 >= cases, "few replacements: {swaps}");
}
