//! Replacing views while events come in, and through crashes at every step.

mod crash;
mod functions;
mod given_up;
mod random;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use yeoul_engine::{Delivery, Engine, EngineError, EngineOptions};
use yeoul_store::{Manifest, Media};

use super::support::{TestClock, ok, open, options, run, settle};

const STREAM: &str = "CREATE STREAM IF NOT EXISTS e (id BIGINT, k BIGINT, kind VARCHAR)";

/// The view that is replaced: as it is, and as it will be.
const OLD: &str = "SELECT k, count(*) AS n, sum(id) AS total FROM e WHERE kind = 'view' GROUP BY k";
const NEW: &str = "SELECT k, count(*) AS n, sum(id) AS total FROM e GROUP BY k";
/// Reads what changes.
const BELOW: &str =
    "SELECT n % 2 AS odd, count(*) AS groups, sum(total) AS total FROM v GROUP BY n % 2";
/// Reads what reads it.
const DEEP: &str = "SELECT odd, groups * 2 AS twice FROM below WHERE odd = 1";

fn deliver(engine: &Engine, ids: std::ops::Range<i64>) -> Result<(), EngineError> {
    let stream = engine.stream("e")?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id * 7919 % 101))),
        Arc::new(StringViewArray::from_iter_values(
            ids.map(|id| if id % 3 == 0 { "click" } else { "view" }),
        )),
    ];
    let rows = RecordBatch::try_new(Arc::clone(stream.schema()), columns).expect("the stream's");
    engine.submit(Delivery::new(stream, "test", rows))?.wait().map(drop)
}

fn sorted(engine: &Engine, sql: &str) -> Vec<String> {
    let mut lines = ok(engine, sql);
    lines.sort();
    lines
}

/// Waits until nothing is being replaced.
fn replaced(engine: &Engine) {
    settle(engine);
    const LEFT: &str = "SELECT name, replacement FROM yeoul.views WHERE replacement IN \
                        ('building', 'waiting', 'complete', 'moves')";
    for _ in 0..4_000 {
        if ok(engine, LEFT).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("still being replaced: {:?}", ok(engine, "SELECT * FROM yeoul.views"));
}

fn replace(query: &str) -> String {
    format!("CREATE OR REPLACE MATERIALIZED VIEW v AS {query}")
}

/// `v` and what reads it, each compared with its query in one statement, which sees one commit. Says which
/// of the two definitions `v` had.
fn consistent(engine: &Engine) -> &'static str {
    let all = |v: &str| {
        let below = BELOW.replace("FROM v", &format!("FROM ({v}) AS v"));
        let deep = DEEP.replace("FROM below", &format!("FROM ({below}) AS below"));
        let pairs = [("v", v.to_owned()), ("below", below), ("deep", deep)];
        let differences = pairs.map(|(view, query)| {
            format!(
                "(SELECT count(*) FROM (SELECT * FROM {view} EXCEPT ALL ({query})) AS x) \
                 + (SELECT count(*) FROM (({query}) EXCEPT ALL SELECT * FROM {view}) AS y)"
            )
        });
        differences.join(" + ")
    };
    let lines = ok(engine, &format!("SELECT {}, {}", all(OLD), all(NEW)));
    let counts: Vec<&str> = lines[0].split('|').collect();
    match counts.as_slice() {
        ["0", _] => "old",
        [_, "0"] => "new",
        _ => panic!("neither the old views nor the new ones: {lines:?}"),
    }
}

fn views(engine: &Engine) {
    for (name, query) in [("v", OLD), ("below", BELOW), ("deep", DEEP)] {
        ok(engine, &format!("CREATE MATERIALIZED VIEW IF NOT EXISTS {name} AS {query}"));
    }
}

/// How many trees a folder's manifest names.
fn trees(engine: &Engine, dir: &Path) -> usize {
    trees_of(engine, &yeoul_store::DiskMedia::read_only(dir).expect("a folder"))
}

fn trees_of(engine: &Engine, media: &dyn Media) -> usize {
    engine.checkpoint().expect("writes");
    Manifest::load(media).expect("reads").expect("is there").trees.len()
}

/// An engine that builds in so small steps that a test can come between them.
fn slow(dir: &Path, build_rows: usize) -> Engine {
    let options = EngineOptions { build_rows, ..options() };
    Engine::open(dir, Arc::new(TestClock::default()), options, &mut |_| {}).expect("opens")
}

#[test]
fn a_view_is_built_beside_and_swapped_with_all_that_read_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = slow(dir.path(), 128);
    ok(&engine, STREAM);
    deliver(&engine, 0..20_000).expect("stored");
    views(&engine);
    settle(&engine);
    assert_eq!(consistent(&engine), "old");
    let before = trees(&engine, dir.path());
    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let (engine, stop) = (engine.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut next = 20_000;
            while !stop.load(Ordering::Acquire) {
                deliver(&engine, next..next + 37).expect("stored");
                next += 37;
            }
            next
        })
    };
    // Somebody looks all the time how far it is.
    let watcher = {
        let (engine, stop) = (engine.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut told = BTreeSet::new();
            while !stop.load(Ordering::Acquire) {
                told.extend(ok(
                    &engine,
                    "SELECT status, replacement, built_rows <= source_rows, eta_seconds >= 0 FROM yeoul.views \
                     WHERE name = 'v'",
                ));
            }
            told
        })
    };
    assert_eq!(ok(&engine, &replace(NEW)), ["CREATE MATERIALIZED VIEW"]);
    let mut seen = Vec::new();
    while seen.last() != Some(&"new") {
        let now = consistent(&engine);
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, ["old", "new"]);
    let last = consistent(&engine);
    stop.store(true, Ordering::Release);
    let told = watcher.join().expect("runs");
    assert!(told.contains("ready|building|true|true") && told.contains("ready||true|"), "{told:?}");
    let count = producer.join().expect("runs");
    assert_eq!(last, "new");
    assert!(count > 20_000);
    replaced(&engine);
    assert_eq!(trees(&engine, dir.path()), before, "the old trees are gone");
    let sql = engine.definition("v").expect("is there");
    assert_eq!(sql, format!("CREATE MATERIALIZED VIEW v AS {NEW}"));
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(consistent(&engine), "new");
    deliver(&engine, 1_000_000..1_000_500).expect("stored");
    assert_eq!(consistent(&engine), "new");
    engine.shutdown().expect("stops");
}

/// The number of the tree that a view is in.
fn tree(engine: &Engine, name: &str) -> u32 {
    engine.checkpoint().expect("writes");
    // The next commit shows the parts.
    ok(engine, "INSERT INTO e VALUES (0, 0, 'view')");
    let lines = ok(engine, &format!("SELECT path FROM yeoul.parts WHERE tree = '{name}'"));
    let trees: BTreeSet<_> = lines.iter().filter_map(|path| path.split('/').nth(1)).collect();
    assert_eq!(trees.len(), 1, "{name}: {lines:?}");
    trees.first().expect("one").parse().expect("a number")
}

/// Each view equals its query.
fn same(engine: &Engine, views: &[(&str, &str)]) {
    for (name, query) in views {
        let found = sorted(engine, &format!("SELECT * FROM {name}"));
        assert_eq!(found, sorted(engine, query), "{name}");
    }
}

#[test]
fn what_means_the_same_changes_nothing_and_what_reads_the_same_builds_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    deliver(&engine, 0..1_000).expect("stored");
    ok(&engine, &format!("CREATE MATERIALIZED VIEW v AS {OLD}"));
    settle(&engine);
    let v = tree(&engine, "v");
    let commit = || ok(&engine, "SELECT commit FROM yeoul.commits");
    let at = commit();
    ok(&engine, &replace(&OLD.replace("WHERE", "\n   WHERE")));
    assert_eq!(commit(), at);
    // What means the same is kept as it is written now.
    let remarked = format!("{} -- a remark", OLD.replace("WHERE", "where"));
    ok(&engine, &replace(&remarked));
    assert_eq!(tree(&engine, "v"), v, "v was built anew");
    let sql = engine.definition("v").expect("is there");
    assert!(sql.contains("where kind"), "{sql}");
    const READ: &str =
        "SELECT k, sum(id) AS total, count(*) AS n FROM e WHERE kind = 'view' GROUP BY k";
    for read in
        [format!("{OLD} HAVING count(*) > 6"), OLD.replace("count(*) AS n", "count(*) * 2 AS n")]
    {
        ok(&engine, &replace(&read));
        assert_eq!(ok(&engine, "SELECT replacement FROM yeoul.views WHERE name = 'v'"), [""]);
        assert_eq!(tree(&engine, "v"), v, "v was built anew");
        same(&engine, &[("v", &read)]);
    }
    // The aggregates in another order are other columns of the tree.
    ok(&engine, &replace(READ));
    replaced(&engine);
    same(&engine, &[("v", READ)]);
    engine.shutdown().expect("stops");
}

#[test]
fn what_reads_nothing_of_a_change_keeps_its_state() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    deliver(&engine, 0..1_000).expect("stored");
    const KEYS: &str = "SELECT k, n FROM v WHERE n > 3";
    const MANY: &str = "SELECT count(*) AS keys FROM keys";
    for (name, query) in [("v", OLD), ("keys", KEYS), ("many", MANY)] {
        ok(&engine, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"));
    }
    settle(&engine);
    let before = ["v", "keys", "many"].map(|name| tree(&engine, name));
    const MORE: &str =
        "SELECT max(id) AS last, k, count(*) AS n FROM e WHERE kind = 'view' GROUP BY k";
    ok(&engine, &replace(MORE));
    replaced(&engine);
    deliver(&engine, 1_000..1_200).expect("stored");
    let all = [("v", MORE), ("keys", KEYS), ("many", MANY)];
    same(&engine, &all);
    let after = ["v", "keys", "many"].map(|name| tree(&engine, name));
    assert_eq!(after[1..], before[1..], "what is the same was built anew");
    assert_ne!(after[0], before[0], "what changed was not built anew");
    engine.shutdown().expect("stops");
    drop(engine);
    let engine = open(dir.path());
    deliver(&engine, 1_200..1_300).expect("stored");
    same(&engine, &all);
    engine.shutdown().expect("stops");
}

#[test]
fn what_would_break_is_refused_with_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    deliver(&engine, 0..100).expect("stored");
    views(&engine);
    ok(&engine, "CREATE MATERIALIZED VIEW words AS SELECT k, total + 1 AS more FROM v");
    settle(&engine);
    let before = trees(&engine, dir.path());
    let refused = |sql: &str| {
        let error = run(&engine, sql).expect_err(sql);
        let detail = error.detail.clone().unwrap_or_default();
        format!("{} {}: {detail}", error.sqlstate, error.message)
    };
    let gone = refused(&replace("SELECT k, count(*) AS n FROM e GROUP BY k"));
    assert_eq!(
        gone,
        "2BP01 replacing view \"v\" would break 2 views: view \"below\": column \"total\" does not exist in \"v\"; \
         view \"words\": column \"total\" does not exist in \"v\""
    );
    let typed =
        refused(&replace("SELECT k, count(*) AS n, max(kind) || 'x' AS total FROM e GROUP BY k"));
    assert!(typed.starts_with("2BP01 replacing view \"v\" would break"), "{typed}");
    assert!(typed.contains("view \"below\":"), "{typed}");
    assert_eq!(refused(&replace("SELECT * FROM v")), "42P19 view \"v\" would read itself: ");
    assert_eq!(
        refused(&replace("SELECT odd AS k, groups AS n, total FROM below")),
        "42P19 view \"v\" would read itself: through below"
    );
    assert!(refused(&replace("SELECT nothing FROM e")).starts_with("42703"));
    assert!(refused("CREATE OR REPLACE MATERIALIZED VIEW e AS SELECT 1").starts_with("42809"));
    ok(&engine, "CREATE STREAM carried (k BIGINT) WITH (retention = '0 seconds')");
    ok(&engine, "CREATE MATERIALIZED VIEW c AS SELECT k, count(*) AS n FROM carried GROUP BY k");
    let lost =
        refused("CREATE OR REPLACE MATERIALIZED VIEW c AS SELECT count(*) AS n FROM carried");
    assert!(lost.starts_with("0A000 view \"c\" cannot be built again"), "{lost}");
    assert!(refused("ALTER MATERIALIZED VIEW v CANCEL REPLACE").starts_with("55000"));
    ok(&engine, "DROP STREAM carried CASCADE");
    assert_eq!(trees(&engine, dir.path()), before);
    assert_eq!(consistent(&engine), "old");
    // A name that is not there is created.
    ok(&engine, "CREATE OR REPLACE MATERIALIZED VIEW fresh AS SELECT count(*) AS n FROM e");
    settle(&engine);
    assert_eq!(ok(&engine, "SELECT n FROM fresh"), ["100"]);
    engine.shutdown().expect("stops");
}

#[test]
fn a_view_that_has_stopped_is_mended_by_replacing_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, STREAM);
    ok(
        &engine,
        &format!("CREATE MATERIALIZED VIEW v AS {}", OLD.replace("sum(id)", "sum(1 / (id - 5))")),
    );
    ok(&engine, &format!("CREATE MATERIALIZED VIEW below AS {BELOW}"));
    ok(&engine, &format!("CREATE MATERIALIZED VIEW deep AS {DEEP}"));
    deliver(&engine, 0..100).expect("stored");
    assert_eq!(engine.health().stopped, ["below", "deep", "v"]);
    ok(&engine, &replace(OLD));
    replaced(&engine);
    assert_eq!(engine.health().stopped, [] as [&str; 0]);
    assert_eq!(consistent(&engine), "old");
    engine.shutdown().expect("stops");
}
