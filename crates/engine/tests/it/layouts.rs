//! A folder that another version of the program wrote: views whose trees it kept in another form are built anew.

use std::path::Path;

use yeoul_engine::Engine;
use yeoul_store::{DiskMedia, Manifest};

use super::support::{ok, open, settle};

/// Has the folder say that the trees of a view were made by another program.
fn written_by_another(dir: &Path, view: &str) {
    let media = DiskMedia::open(dir).expect("the folder is free");
    let mut manifest = Manifest::load(&media).expect("reads").expect("is there");
    let text = String::from_utf8(manifest.meta.to_vec()).expect("is text");
    let (before, behind) = text.split_once(&format!("\"name\":\"{view}\"")).expect("is there");
    let (of_view, rest) = behind.split_once("\"layout\":\"").expect("says what it is like");
    let text = format!("{before}\"name\":\"{view}\"{of_view}\"layout\":\"another{rest}");
    manifest.meta = text.into_bytes().into();
    manifest.store(&media).expect("writes");
}

fn stop(engine: Engine) {
    engine.shutdown().expect("stops");
}

const VIEWS: &str = "
    CREATE STREAM e (k BIGINT, n BIGINT);
    CREATE MATERIALIZED VIEW sums AS SELECT k, sum(n) AS s FROM e GROUP BY k;
    CREATE MATERIALIZED VIEW over_sums AS SELECT count(*) AS c, max(s) AS m FROM sums;
    CREATE MATERIALIZED VIEW last AS SELECT k, n FROM (SELECT k, n, row_number() OVER (PARTITION BY k ORDER BY n DESC) AS r FROM e) t WHERE r = 1;
    INSERT INTO e SELECT v % 7, v FROM generate_series(1, 500) AS g(v)";

fn same(engine: &Engine) {
    settle(engine);
    for (view, query) in [
        ("sums", "SELECT k, sum(n) AS s FROM e GROUP BY k"),
        (
            "over_sums",
            "SELECT count(*) AS c, max(s) AS m FROM (SELECT sum(n) AS s FROM e GROUP BY k) t",
        ),
        ("last", "SELECT k, max(n) AS n FROM e GROUP BY k"),
    ] {
        let mut got = ok(engine, &format!("SELECT * FROM {view}"));
        let mut expected = ok(engine, query);
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "{view}");
    }
}

/// The files of views.
fn parts(engine: &Engine, tree: &str) -> Vec<String> {
    ok(engine, &format!("SELECT path FROM yeoul.parts WHERE tree LIKE '{tree}%' ORDER BY path"))
}

#[test]
fn what_was_kept_in_another_form_is_built_anew_with_what_reads_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(&engine, VIEWS);
    same(&engine);
    engine.checkpoint().expect("writes");
    ok(&engine, "INSERT INTO e VALUES (1, 1)");
    let before = ["sums", "over_sums", "last"].map(|tree| parts(&engine, tree));
    assert!(before.iter().all(|parts| !parts.is_empty()));
    stop(engine);
    // As it was: nothing is built.
    let engine = open(dir.path());
    same(&engine);
    assert!(parts(&engine, "sums").starts_with(&before[0]), "the state is kept");
    stop(engine);
    written_by_another(dir.path(), "sums");
    let engine = open(dir.path());
    same(&engine);
    let after = ["sums", "over_sums", "last"].map(|tree| parts(&engine, tree));
    assert!(before[0].iter().all(|part| !after[0].contains(part)), "{after:?}");
    assert!(before[1].iter().all(|part| !after[1].contains(part)), "{after:?}");
    assert!(after[2].starts_with(&before[2]), "what does not read it keeps its state");
    ok(&engine, "INSERT INTO e VALUES (1, 1000), (9, 9)");
    same(&engine);
    stop(engine);
    let engine = open(dir.path());
    same(&engine);
    stop(engine);
}

#[test]
fn what_cannot_be_built_anew_is_not_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = open(dir.path());
    ok(
        &engine,
        "CREATE STREAM e (k BIGINT, n BIGINT) WITH (retention = '0 seconds');
         CREATE MATERIALIZED VIEW sums AS SELECT k, sum(n) AS s FROM e GROUP BY k;
         INSERT INTO e VALUES (1, 2), (1, 3)",
    );
    stop(engine);
    written_by_another(dir.path(), "sums");
    let options = super::support::options();
    let clock = std::sync::Arc::new(super::support::TestClock::default());
    let refused = Engine::open(dir.path(), clock, options, &mut |_| {}).err().expect("is refused");
    assert_eq!(
        refused.message,
        "view \"sums\" was kept by another version of Yeoul in another form, and cannot be built again because stream \
         \"e\" keeps no rows"
    );
}
