//! The law: at every commit a view equals the same query run in batch.
//!
//! A case is a random query kept over random changes and compared with its batch query several times. Each seed
//! makes a script of several cases: streams and tables, views over them and over each other, and what users and
//! machines do: deliver, insert, update, delete, create, replace and drop views, let time pass, checkpoint,
//! restart, crash; with many or few workers, in much or little memory. Views are compared as multisets, in one
//! statement that sees one commit, and the books of every source are added up.
//!
//! A script that fails is made small and printed: it can be kept as a file of `law/found`, which are played again by
//! `what_was_found_stays_mended`.
//!
//! `YEOUL_LAW_CASES=N` runs that many cases, else [`CASES`]; `YEOUL_LAW_SEED=S` begins at that seed, and is
//! one script unless a number of cases is given, too. With `YEOUL_LAW_GO_ON=1` every failure is told, not only the first, and one
//! of them made small. `YEOUL_LAW_SCRIPT=FILE` plays a printed script.
//!
//! Not here: numbers that do not fit, of which there is no answer to compare (`numbers.rs`),
//! retention, and answers that depend on the order of reading.

mod aggregates;
mod base;
mod cells;
mod chance;
mod checks;
mod compare;
mod duck;
mod exprs;
mod ordered;
mod plan;
mod play;
mod related;
mod script;
mod shrink;
mod timed;
mod tree;
mod views;
mod windows;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::play::{Breach, Failure, Oracle, Tally, honest, play};
use self::script::{Script, read, text};
use self::shrink::shrink;

/// How many cases there are when nothing else is said.
const CASES: usize = 2_000;
const FIRST_SEED: u64 = 1;
/// Scripts that are played at once.
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

#[test]
fn a_view_equals_its_query_at_every_commit() {
    if let Ok(path) = std::env::var("YEOUL_LAW_SCRIPT") {
        let text = std::fs::read_to_string(&path).expect("a script");
        return played_again(&path, &text);
    }
    let seed = number("YEOUL_LAW_SEED");
    let cases = number("YEOUL_LAW_CASES").map(|n| usize::try_from(n).expect("a count"));
    let cases = cases.unwrap_or(if seed.is_some() { 1 } else { CASES });
    let goes_on = number("YEOUL_LAW_GO_ON").is_some();
    let next = AtomicU64::new(seed.unwrap_or(FIRST_SEED));
    let (sum, failed) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let turn = || {
        while sum.lock().expect("no panic").views < cases
            && (goes_on || failed.lock().expect("no panic").is_empty())
        {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let script = plan::script(seed);
            match play(script.knobs, &script.acts(), honest, &mut |_, _| {}) {
                Ok(tally) => sum.lock().expect("no panic").add(&tally),
                Err(failure) => {
                    if goes_on {
                        eprintln!("seed {seed}, step {}: {}\n", failure.step, failure.text);
                    }
                    failed.lock().expect("no panic").push((seed, script, failure));
                }
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(turn))));
    let mut failed = failed.into_inner().expect("no panic");
    let seeds: Vec<u64> = failed.iter().map(|(seed, ..)| *seed).collect();
    if let Some((seed, script, failure)) = failed.pop() {
        panic!("{}\nseeds that fail: {seeds:?}", told(seed, script, failure, honest));
    }
    let sum = sum.into_inner().expect("no panic");
    eprintln!("{sum:?}");
    // A run that compares nothing proves nothing.
    if cases >= CASES {
        assert!(sum.comparisons >= 2 * cases, "too few comparisons");
        assert!(sum.rows >= 20 * cases, "too few rows");
        assert!(sum.restarts + sum.crashes >= cases / 8, "too few restarts");
        assert!(sum.refused <= cases / 50, "too many queries are refused");
    }
}

/// What a failure says: the seed, and the script made small.
fn told(seed: u64, script: Script, failure: Failure, oracle: Oracle) -> String {
    let first = failure.text.clone();
    let small = shrink(script, failure, oracle);
    let acts = small.script.acts();
    format!(
        "the law is broken\nagain: YEOUL_LAW_SEED={seed} cargo test -p yeoul-engine --test it -- law::a_view\n\
         {first}\n\nmade small in {} tries: a file of this is played by YEOUL_LAW_SCRIPT=FILE\n\n{}\n\n{}",
        small.tried,
        text(small.script.knobs, &acts),
        small.failure.text
    )
}

fn played_again(name: &str, script: &str) {
    let (knobs, acts) = read(script);
    assert!(!acts.is_empty(), "{name} is empty");
    if let Err(failure) = play(knobs, &acts, honest, &mut |_, _| {}) {
        panic!("{name}: act {}: {}", failure.step, failure.text);
    }
}

/// The shortest forms of what random cases have found.
#[test]
fn what_was_found_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/law/found");
    let mut played = 0;
    for file in std::fs::read_dir(folder).expect("the folder") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a script");
        played_again(&path.display().to_string(), &text);
        played += 1;
    }
    assert!(played > 0, "nothing was played");
}

/// An oracle that takes the least for the greatest.
fn mistaken(sql: &str) -> String {
    sql.replace("max(", "min(")
}

/// A fault that only some queries have is told by a script of a few lines.
#[test]
fn what_fails_is_made_small() {
    let failed = (FIRST_SEED..).find_map(|seed| {
        let script = plan::script(seed);
        let failure = play(script.knobs, &script.acts(), mistaken, &mut |_, _| {}).err()?;
        (failure.breach == Breach::Differs).then_some((script, failure))
    });
    let (script, failure) = failed.expect("some script has a max");
    let before = script.acts().len();
    let small = shrink(script, failure, mistaken);
    let acts = small.script.acts();
    let text = text(small.script.knobs, &acts);
    // A stream or two, a view or two, two rows, a comparison; what is read again is the same.
    assert!(text.contains("max("), "{text}");
    assert!(
        acts.len() <= 10 && acts.len() * 3 < before,
        "{before} acts became {}:\n{text}",
        acts.len()
    );
    assert!(text.matches("INSERT").count() <= 2 && text.len() < 4_000, "{text}");
    let (knobs, again) = read(&text);
    let again = play(knobs, &again, mistaken, &mut |_, _| {});
    assert!(again.is_err_and(|failure| failure.breach == small.failure.breach), "{text}");
}
