//! Replacing functions: with them, in one commit, the views that call them become what they mean then.

use std::collections::BTreeSet;
use std::path::Path;

use yeoul_engine::Engine;

use super::super::path::copy_dir;
use super::super::support::{ok, open, run, settle};
use super::{STREAM, deliver, replaced, slow, trees};

/// `called` calls it, `through` does so through another function, `below` reads one that does, `finished`
/// calls it above its aggregate, `apart` does not at all.
const VIEWS: [(&str, &str); 5] = [
    ("called", "SELECT k, sum(weight(id)) AS total FROM e GROUP BY k"),
    ("through", "SELECT kind, count(*) AS n FROM e WHERE heavy(id) GROUP BY kind"),
    ("below", "SELECT count(*) AS n, max(total) AS most FROM called"),
    ("finished", "SELECT k, weight(count(*)) AS n FROM e GROUP BY k"),
    ("apart", "SELECT kind, count(*) AS n FROM e GROUP BY kind"),
];

fn weight(body: &str) -> String {
    format!("CREATE OR REPLACE FUNCTION weight(x BIGINT) RETURNS BIGINT RETURN {body}")
}

fn prepare(dir: &Path) -> Engine {
    let engine = slow(dir, 128);
    ok(&engine, STREAM);
    ok(&engine, &weight("x % 10"));
    ok(&engine, "CREATE FUNCTION heavy(x BIGINT) RETURNS BOOLEAN RETURN weight(x) > 5");
    deliver(&engine, 0..20_000).expect("stored");
    for (name, query) in VIEWS {
        ok(&engine, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"));
    }
    settle(&engine);
    engine
}

/// Each view is what its query says of the same commit, with the functions of that commit. Gives `weight(7)`.
fn consistent(engine: &Engine) -> String {
    let differences = VIEWS.map(|(name, query)| {
        format!(
            "(SELECT count(*) FROM (SELECT * FROM {name} EXCEPT ALL ({query})) AS x) \
             + (SELECT count(*) FROM (({query}) EXCEPT ALL SELECT * FROM {name}) AS y)"
        )
    });
    let lines = ok(engine, &format!("SELECT {}, weight(7)", differences.join(" + ")));
    let weight = lines[0].strip_prefix("0|");
    weight.unwrap_or_else(|| panic!("views are not their queries: {lines:?}")).to_owned()
}

#[test]
fn a_function_changes_in_the_commit_in_which_its_views_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = prepare(dir.path());
    assert_eq!(consistent(&engine), "7");
    engine.checkpoint().expect("writes");
    let before = trees(&engine, dir.path());
    assert_eq!(ok(&engine, &weight("x % 7 + 100")), ["CREATE FUNCTION"]);
    // The same again goes on.
    ok(&engine, &weight("x % 7 + 100"));
    let error = |sql: &str| run(&engine, sql).expect_err(sql);
    // What would change by itself at the swap, and what would be lost by it.
    for sql in [
        "CREATE MATERIALIZED VIEW late AS SELECT heavy(id) AS h FROM e",
        "CREATE FUNCTION double_weight(x BIGINT) RETURNS BIGINT RETURN weight(x) * 2",
        "CREATE OR REPLACE FUNCTION heavy(x BIGINT) RETURNS BOOLEAN RETURN weight(x) > 6",
        "CREATE OR REPLACE MATERIALIZED VIEW called AS SELECT k, sum(id) AS total FROM e GROUP BY k",
        "CREATE OR REPLACE MATERIALIZED VIEW apart AS SELECT weight(id) AS n FROM e",
    ] {
        assert_eq!(error(sql).sqlstate, "55006", "{sql}");
    }
    assert_eq!(error("DROP FUNCTION weight").sqlstate, "2BP01");
    let mut copies = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = 20_000;
    loop {
        let states = ok(&engine, "SELECT replacement FROM yeoul.views ORDER BY name").join(" ");
        if seen.insert(states) || copies.len() < 4 {
            let copy = tempfile::tempdir().expect("a folder");
            copy_dir(dir.path(), copy.path());
            copies.push(copy);
            engine.checkpoint().expect("writes");
        }
        deliver(&engine, next..next + 10).expect("stored");
        next += 10;
        if consistent(&engine) == "100" {
            break;
        }
    }
    replaced(&engine);
    assert_eq!(consistent(&engine), "100");
    assert_eq!(trees(&engine, dir.path()), before, "the old trees are gone");
    engine.shutdown().expect("stops");
    for copy in copies {
        let engine = open(copy.path());
        consistent(&engine);
        deliver(&engine, 900_000..900_100).expect("stored");
        replaced(&engine);
        consistent(&engine);
        ok(&engine, &weight("x % 7 + 100"));
        replaced(&engine);
        assert_eq!(consistent(&engine), "100", "{seen:?}");
        engine.shutdown().expect("stops");
        drop(engine);
        let engine = open(copy.path());
        assert_eq!(consistent(&engine), "100");
        engine.shutdown().expect("stops");
    }
}

#[test]
fn what_means_the_same_builds_nothing_and_what_would_break_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = prepare(dir.path());
    let built = |engine: &Engine| {
        ok(engine, "SELECT name FROM yeoul.views WHERE replacement NOT IN ('', 'moves')")
    };
    // Through a function that does nothing, which is guarded from then on.
    ok(&engine, "CREATE FUNCTION same(x BIGINT) RETURNS BIGINT RETURN x");
    ok(&engine, "CREATE OR REPLACE FUNCTION weight(y BIGINT)  RETURNS BIGINT RETURN y % 10");
    assert_eq!(built(&engine), [] as [&str; 0]);
    assert_eq!(consistent(&engine), "7");
    ok(&engine, &weight("same(x) % 10"));
    replaced(&engine);
    for round in 0..2 {
        let error = run(&engine, "DROP FUNCTION same").expect_err("it is called");
        let detail = error.detail.clone().unwrap_or_default();
        let users = ["function weight(x bigint)", "view called", "view finished", "view through"];
        assert!(users.iter().all(|user| detail.contains(user)), "{round}: {detail}");
        for (text, would) in [
            (
                "CREATE OR REPLACE FUNCTION weight(x BIGINT) RETURNS TEXT RETURN 'w' || x",
                "2BP01 changing function weight(x bigint) would break 1 view",
            ),
            (
                "CREATE OR REPLACE FUNCTION same(x BIGINT) RETURNS BOOLEAN RETURN x > 1",
                "2BP01 changing function same(x bigint) would break function weight(x bigint)",
            ),
        ] {
            let error = run(&engine, text).expect_err(text);
            assert_eq!(format!("{} {}", error.sqlstate, error.message), would);
        }
        let circle = run(&engine, &weight("CASE WHEN heavy(x) THEN 1 END")).expect_err("a circle");
        assert_eq!(circle.sqlstate, "42P16");
        assert_eq!(consistent(&engine), "7");
        engine.shutdown().expect("stops");
        drop(engine);
        engine = open(dir.path());
    }
    engine.shutdown().expect("stops");
}

#[test]
fn a_build_of_a_function_is_given_up_with_its_function() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = prepare(dir.path());
    ok(&engine, &weight("x % 3"));
    ok(&engine, "ALTER MATERIALIZED VIEW called CANCEL REPLACE");
    assert_eq!(ok(&engine, "SELECT name FROM yeoul.views WHERE replacement <> ''"), [""; 0]);
    assert_eq!(consistent(&engine), "7");
    // Without the views that call it nothing is left that would bring it; until then the others do.
    ok(&engine, &weight("x % 3"));
    ok(&engine, "DROP MATERIALIZED VIEW below");
    ok(&engine, "DROP MATERIALIZED VIEW called, through, finished");
    assert_eq!(ok(&engine, "SELECT weight(7)"), ["7"]);
    ok(&engine, &weight("x % 3"));
    assert_eq!(ok(&engine, "SELECT weight(7)"), ["1"]);
    ok(&engine, &weight("x % 10"));
    for (name, query) in VIEWS.iter().filter(|(name, _)| *name != "apart") {
        ok(&engine, &format!("CREATE MATERIALIZED VIEW {name} AS {query}"));
    }
    settle(&engine);
    // The second takes the place of the first, and the one that is there that of the second.
    ok(&engine, &weight("x % 3"));
    ok(&engine, &weight("x % 4"));
    ok(&engine, &weight("x % 10"));
    replaced(&engine);
    assert_eq!(consistent(&engine), "7");
    // One that fails on what is stored.
    ok(&engine, &weight("1000 / (x - 7777)"));
    let failed = "SELECT name FROM yeoul.views WHERE replacement LIKE 'failed%' ORDER BY name";
    for _ in 0..2_000 {
        if !ok(&engine, failed).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(ok(&engine, failed), ["called", "finished", "through"]);
    assert_eq!(consistent(&engine), "7");
    // Views and functions at once: neither could be replaced alone.
    let text = "CREATE OR REPLACE MATERIALIZED VIEWS $all$ \
        CREATE OR REPLACE FUNCTION weight(x BIGINT) RETURNS TEXT RETURN 'w' || (x % 10); \
        CREATE OR REPLACE FUNCTION heavy(x BIGINT) RETURNS BOOLEAN RETURN weight(x) > 'w5'; \
        CREATE OR REPLACE MATERIALIZED VIEW called AS SELECT k, count(weight(id)) AS total FROM e GROUP BY k \
        $all$";
    ok(&engine, text);
    replaced(&engine);
    assert_eq!(ok(&engine, "SELECT weight(7), heavy(7)"), ["w7|true"]);
    let counts = "SELECT (SELECT sum(total) FROM called), (SELECT sum(n) FROM through), \
                  (SELECT count(*) FROM finished WHERE n LIKE 'w%')";
    assert_eq!(ok(&engine, counts), ["20000|8000|101"]);
    engine.shutdown().expect("stops");
}
