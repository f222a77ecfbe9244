//! Replacing a view through kills and faults.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use yeoul_engine::{Engine, EngineError, EngineOptions};
use yeoul_store::{Fault, TrialMedia};

use super::super::path::copy_dir;
use super::super::support::{TestClock, ok, open, options, run, settle};
use super::{
    BELOW, DEEP, NEW, OLD, STREAM, consistent, deliver, replace, replaced, slow, trees, views,
};

/// At so many of its operations the disk fails.
const TRIALS: u64 = 24;

#[test]
fn a_kill_while_it_is_built_is_no_matter() {
    let mut random = StdRng::seed_from_u64(7);
    let (dir, mut random_ids) = (tempfile::tempdir().expect("a folder"), 500_000);
    let engine = slow(dir.path(), 48);
    ok(&engine, STREAM);
    deliver(&engine, 0..20_000).expect("stored");
    views(&engine);
    settle(&engine);
    engine.checkpoint().expect("writes");
    ok(&engine, &replace(NEW));
    let mut copies = Vec::new();
    let mut steps = BTreeSet::new();
    for _ in 0..400 {
        let states = ok(&engine, "SELECT replacement FROM yeoul.views ORDER BY name").join(" ");
        // On a fast machine there are few states to be seen.
        if steps.insert(states) || copies.len() < 4 || random.random_bool(0.02) {
            let copy = tempfile::tempdir().expect("a folder");
            copy_dir(dir.path(), copy.path());
            copies.push(copy);
        }
        deliver(&engine, random_ids..random_ids + 10).expect("stored");
        random_ids += 10;
        if random.random_bool(0.02) {
            engine.checkpoint().expect("writes");
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
        // A moment behind the end is one too, where it came too soon.
        let done = ok(&engine, "SELECT replacement FROM yeoul.views") == [""; 3];
        if done && copies.len() >= 3 {
            break;
        }
    }
    replaced(&engine);
    assert_eq!(consistent(&engine), "new");
    engine.shutdown().expect("stops");
    assert!(copies.len() >= 3, "too few moments: {steps:?}");
    for copy in copies {
        let engine = open(copy.path());
        // At once, before anything is built.
        consistent(&engine);
        deliver(&engine, 900_000..900_100).expect("stored");
        consistent(&engine);
        replaced(&engine);
        assert_eq!(consistent(&engine), "new", "{steps:?}");
        let there = trees(&engine, copy.path());
        engine.shutdown().expect("stops");
        drop(engine);
        let engine = open(copy.path());
        assert_eq!((consistent(&engine), trees(&engine, copy.path())), ("new", there));
        engine.shutdown().expect("stops");
    }
}

/// The machine stops, or an operation fails, at any operation of the disk.
#[test]
fn a_fault_at_any_step_leaves_the_old_or_the_new() {
    let options = || EngineOptions { commit_interval: std::time::Duration::ZERO, ..options() };
    let open = |disk: &TrialMedia| {
        let clock = Arc::new(TestClock::default());
        Engine::open_media(Arc::new(disk.clone()), clock, options(), &mut |_| {})
    };
    let prepare = |engine: &Engine| -> Result<(), EngineError> {
        run(engine, STREAM)?;
        deliver(engine, 0..500)?;
        for (name, query) in [("v", OLD), ("below", BELOW), ("deep", DEEP)] {
            run(engine, &format!("CREATE MATERIALIZED VIEW IF NOT EXISTS {name} AS {query}"))?;
        }
        // The writer of parts and its merges are quiet, so that operations count the same every time.
        wait(engine);
        engine.checkpoint()
    };
    let change = |engine: &Engine| -> Result<(), EngineError> {
        run(engine, &replace(NEW))?;
        deliver(engine, 500..600)?;
        wait(engine);
        engine.checkpoint()?;
        run(engine, &replace(OLD))?;
        run(engine, "ALTER MATERIALIZED VIEW v CANCEL REPLACE")?;
        deliver(engine, 600..700)
    };
    let disk = TrialMedia::new(1);
    let engine = open(&disk).expect("opens");
    prepare(&engine).expect("works");
    let from = disk.operations();
    change(&engine).expect("works");
    let _ = engine.shutdown();
    let to = disk.operations();
    let faults = [Fault::CrashBefore, Fault::CrashAfter, Fault::Io, Fault::ShortWrite];
    let mut ends = BTreeSet::new();
    println!("{} operations", to - from);
    let step = (to - from).div_ceil(TRIALS).max(1);
    for (number, at) in (from..to + 2).step_by(usize::try_from(step).expect("small")).enumerate() {
        let fault = faults[number % faults.len()];
        let disk = TrialMedia::with_fault(1, at, fault);
        let engine = open(&disk).expect("opens");
        let done = prepare(&engine).and_then(|()| change(&engine));
        let _ = engine.shutdown();
        drop(engine);
        let disk = disk.after_crash();
        let engine = open(&disk).unwrap_or_else(|e| panic!("{fault:?} at {at}: {e}"));
        if engine.definition("deep").is_none() {
            engine.shutdown().expect("stops");
            continue;
        }
        settle(&engine);
        let now = consistent(&engine);
        ends.insert(now);
        wait(&engine);
        assert_eq!(consistent(&engine), if done.is_ok() { "new" } else { consistent(&engine) });
        ok(&engine, &replace(NEW));
        deliver(&engine, 700..800).expect("stored");
        wait(&engine);
        assert_eq!(consistent(&engine), "new", "{fault:?} at {at}");
        engine.shutdown().expect("stops");
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), ["new", "old"]);
}

/// Until nothing is built any more, or the disk has failed.
fn wait(engine: &Engine) {
    const LEFT: &str = "SELECT name FROM yeoul.views WHERE status IN ('building', 'waiting') \
                        OR replacement IN ('building', 'waiting', 'complete', 'moves')";
    for _ in 0..2_000 {
        let left = run(engine, LEFT);
        if engine.health().poisoned.is_some() || left.is_ok_and(|left| left.is_empty()) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
