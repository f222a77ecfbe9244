//! The law: at every commit a view equals the same query run in batch.
//!
//! Each seed makes streams and tables, views over them and over each other, and does at random what
//! users and machines do: deliver, insert, update, delete, create and drop views, checkpoint,
//! restart, crash. At random commits every view is compared with its query as a multiset, in one
//! statement that sees one commit, and the books of every source are added up.
//!
//! `YEOUL_LAW_SEED=S` runs one seed, `YEOUL_LAW_CASES=N` that many; else as many as fit in [`TIME`].
//!
//! Not here: sums that overflow (the view has the exact answer where it fits, the batch query
//! wraps), retention, and answers that depend on the order of reading.

mod base;
mod case;
mod chance;
mod compare;
mod exprs;
mod views;

use std::time::{Duration, Instant};

use self::case::Tally;

/// How long it takes when nothing else is said.
const TIME: Duration = Duration::from_secs(40);
/// The fewest cases a run has, however slow the machine.
const CASES_MIN: u64 = 4;
const FIRST_SEED: u64 = 1;

#[test]
fn a_view_equals_its_query_at_every_commit() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
    };
    let (only, cases) = (number("YEOUL_LAW_SEED"), number("YEOUL_LAW_CASES"));
    let first = only.unwrap_or(FIRST_SEED);
    let cases = cases.or(only.map(|_| 1));
    let started = Instant::now();
    let goes_on = |done: u64| match cases {
        Some(cases) => done < cases,
        None => done < CASES_MIN || started.elapsed() < TIME,
    };
    let mut tallies: Vec<Tally> = Vec::new();
    while goes_on(tallies.len() as u64) {
        tallies.push(case::run(first + tallies.len() as u64));
    }
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
    if tallies.len() as u64 >= CASES_MIN {
        let cases = tallies.len();
        assert!(sum(|t| t.views) >= cases, "too few views");
        assert!(sum(|t| t.comparisons) >= 10 * cases, "too few comparisons");
        assert!(sum(|t| t.rows) >= 100 * cases, "too few rows");
        assert!(sum(|t| t.restarts) >= cases, "too few restarts");
    }
}
