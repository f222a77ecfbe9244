//! The law: at every commit a view equals the same query run in batch.
//!
//! Each seed makes streams and tables, views over them and over each other, and does at random what
//! users and machines do: deliver, insert, update, delete, create and drop views, checkpoint,
//! restart, crash. At random commits every view is compared with its query as a multiset, in one
//! statement that sees one commit, and the books of every source are added up.
//!
//! `YEOUL_LAW_SEED=S` runs one seed, `YEOUL_LAW_CASES=N` that many; else [`CASES`].
//!
//! Not here: numbers that do not fit, of which there is no answer to compare (`numbers.rs`),
//! retention, and answers that depend on the order of reading.

mod base;
mod case;
mod chance;
mod compare;
mod exprs;
mod related;
mod views;

use self::case::Tally;

/// How many cases there are when nothing else is said: about forty seconds.
const CASES: u64 = 20;
/// From so many on, a run must have compared something.
const CASES_MIN: usize = 4;
const FIRST_SEED: u64 = 1;

#[test]
fn a_view_equals_its_query_at_every_commit() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
    };
    let (only, cases) = (number("YEOUL_LAW_SEED"), number("YEOUL_LAW_CASES"));
    let first = only.unwrap_or(FIRST_SEED);
    let cases = cases.or(only.map(|_| 1)).unwrap_or(CASES);
    let tallies: Vec<Tally> = (first..first + cases).map(case::run).collect();
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    eprintln!(
        "{} cases: {} views, {} comparisons of {} rows, {} restarts, {} crashes, {} changes",
        tallies.len(),
        sum(|t| t.views),
        sum(|t| t.comparisons),
        sum(|t| t.rows),
        sum(|t| t.restarts),
        sum(|t| t.crashes),
        sum(|t| t.changes),
    );
    // A run that compares nothing proves nothing.
    if tallies.len() >= CASES_MIN {
        let cases = tallies.len();
        assert!(sum(|t| t.views) >= cases, "too few views");
        assert!(sum(|t| t.comparisons) >= 10 * cases, "too few comparisons");
        assert!(sum(|t| t.rows) >= 100 * cases, "too few rows");
        assert!(sum(|t| t.restarts) >= cases, "too few restarts");
    }
}

/// The shortest forms of what random cases have found.
#[test]
fn what_was_found_stays_mended() {
    use crate::support::{ok, open, settle};
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE STREAM e (id BIGINT, ts TIMESTAMPTZ, x DOUBLE PRECISION, b BOOLEAN, \
         WATERMARK FOR ts AS ts)",
    );
    let queries = [
        // A row without a time has a window without bounds.
        "SELECT window_start AS w, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY 1",
        // The value is the time that it is ordered by.
        "SELECT b, first_value(ts) AS first, last_value(ts) AS last FROM e GROUP BY b",
        // The planner finds a common part, and takes it for one that may be null.
        "SELECT (b IS NOT TRUE OR b IS NOT TRUE) AS c, \
         count(*) FILTER (WHERE (NOT (b IS NOT TRUE) OR b IS NOT TRUE)) AS n FROM e \
         GROUP BY (b IS NOT TRUE OR b IS NOT TRUE)",
    ];
    for (number, query) in queries.iter().enumerate() {
        ok(&engine, &format!("CREATE MATERIALIZED VIEW v{number} AS {query}"));
    }
    ok(
        &engine,
        "INSERT INTO e VALUES (1, TIMESTAMPTZ '2026-01-01 00:00:07Z', 0.5, true), \
         (2, NULL, 'NaN', false), (3, TIMESTAMPTZ '2026-01-01 00:00:01Z', 0.25, NULL)",
    );
    settle(&engine);
    for (number, query) in queries.iter().enumerate() {
        let sorted = |sql: &str| {
            let mut lines = ok(&engine, sql);
            lines.sort();
            lines
        };
        let batch = sorted(query);
        assert!(!batch.is_empty(), "{query}");
        assert_eq!(sorted(&format!("SELECT * FROM v{number}")), batch, "{query}");
    }
    // NaN is greater than every number, also in a part whose greatest number is smaller.
    engine.checkpoint().expect("writes");
    assert_eq!(ok(&engine, "SELECT id FROM e WHERE x > 1"), ["2"]);
    engine.shutdown().expect("stops");
}
