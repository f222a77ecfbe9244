//! Dead letters mended and put back, an audit that finds wrong books, a recovery that can be watched.

use std::fs;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use yeoul_store::{DiskMedia, Manifest};

use crate::program::{command, good, project, rows, text, yeoul};
use crate::served::Running;

const CLICKS: &str = "CREATE STREAM clicks (item INT NOT NULL, at TIMESTAMPTZ) \
    WITH (connector = 'file', path = '*.csv', format = 'csv', delimiter = ';', mapping = 'item = key');\n";

fn address(instance: &Running) -> &str {
    instance.http.strip_prefix("http://").expect("an address")
}

#[test]
fn letters_of_a_file_are_exported_mended_and_put_back() {
    let dir = project(CLICKS);
    fs::write(dir.path().join("a.csv"), "at;key\n;1\n;x\n;2\nsoon;3\n").expect("writes");
    let data = dir.path().join("data");
    let said = yeoul(&["run", text(dir.path()), "--data", text(&data), "--until-drained"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    let instance = Running::start(dir.path(), &data);
    let http = address(&instance).to_owned();
    let letters =
        |action: &[&str]| yeoul(&[&["dead-letters"], action, &["--http", &http]].concat());
    let said = letters(&["list", "clicks"]);
    assert!(said.out.contains("a.csv:3") && said.out.contains("(2 dead letters"), "{}", said.out);

    let file = dir.path().join("bad.ndjson");
    let said = letters(&["export", "clicks", text(&file)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        letters(&["export", "clicks", text(&file)]).code,
        Some(1),
        "a file is not written over"
    );
    let mended = fs::read_to_string(&file).expect("reads").replace("\";x\"", "\";7\"");
    fs::write(&file, &mended).expect("writes");
    let said = letters(&["replay", "clicks", text(&file)]);
    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("1 put back: 1 stored, 0 duplicates; 0 had been"), "{}", said.out);
    assert!(said.out.contains("line 2: ") && said.out.contains("column \"at\""), "{}", said.out);
    fs::write(&file, mended.replace("soon;3", "2026-01-01T00:00:00Z;3")).expect("writes");
    let said = letters(&["replay", "clicks", text(&file)]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("1 put back: 1 stored, 0 duplicates; 1 had been"), "{}", said.out);
    let said = letters(&["replay", "clicks"]);
    assert!(said.out.starts_with("0 put back"), "{}", said.out);
    assert_eq!(letters(&["list", "nothing"]).code, Some(1));
    fs::write(&file, "{\"id\":\"1-0\"}\n").expect("writes");
    let said = letters(&["replay", "clicks", text(&file)]);
    assert!(said.err.contains("line 1: \"raw\" is missing"), "{}", said.err);

    let state =
        "SELECT source, partition, state, bytes, error FROM yeoul.sources WHERE source = 'file'";
    assert_eq!(instance.ask(state), "source,partition,state,bytes,error\nfile,a.csv,finished,,\n");
    assert_eq!(instance.terminate(), Some(0));
    assert_eq!(rows(&data, "SELECT item FROM clicks ORDER BY item"), ["1", "2", "3", "7"]);
    good(&["audit", "--data", text(&data)]);
    // Nothing is refused any more: a run of what is there ends well.
    good(&["run", text(dir.path()), "--data", text(&data), "--until-drained"]);
}

/// 4,000 letters are put back, a thousand a commit, while the program is killed again and again.
#[test]
fn letters_are_put_back_once_however_often_it_is_killed() {
    const LETTERS: usize = 4_000;
    let sql = |kind: &str| format!("CREATE STREAM prices (n {kind});\n");
    let dir = project(&sql("BIGINT"));
    let data = dir.path().join("data");
    let instance = Running::start(dir.path(), &data);
    let lines: String = (0..LETTERS).map(|n| format!("{{\"n\":\"{n}.5\"}}\n")).collect();
    let sent = ureq::post(format!("{}/v1/ingest/prices", instance.http)).send(&lines);
    assert_eq!(sent.expect("is taken").status(), 200);
    instance.ask("DROP STREAM prices");
    instance.ask("CREATE STREAM prices (n DOUBLE PRECISION)");
    fs::write(dir.path().join("project.sql"), sql("DOUBLE PRECISION")).expect("writes");
    drop(instance);
    let mut chance = StdRng::seed_from_u64(7);
    for _ in 0..6 {
        let instance = Running::start(dir.path(), &data);
        let arguments = ["dead-letters", "replay", "prices", "--http", address(&instance)];
        let mut replay = command(&arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the program starts");
        std::thread::sleep(Duration::from_millis(chance.random_range(20..500)));
        drop(instance);
        let _ = replay.kill();
        let _ = replay.wait();
        good(&["audit", "--data", text(&data)]);
    }
    let instance = Running::start(dir.path(), &data);
    good(&["dead-letters", "replay", "prices", "--http", address(&instance)]);
    assert_eq!(instance.terminate(), Some(0));
    assert_eq!(
        rows(&data, "SELECT count(*), count(DISTINCT n), min(n), max(n) FROM prices"),
        [format!("{LETTERS},{LETTERS},0.5,{}.5", LETTERS - 1)]
    );
    let states = "SELECT state, count(*) FROM yeoul.dead_letters GROUP BY state";
    assert_eq!(rows(&data, states), [format!("replayed,{LETTERS}")]);
    good(&["audit", "--data", text(&data)]);
}

#[test]
fn wrong_books_end_an_audit_with_the_name_of_the_source() {
    let dir = project(CLICKS);
    fs::write(dir.path().join("a.csv"), "key\n1\nx\n").expect("writes");
    let data = dir.path().join("data");
    let said = yeoul(&["run", text(dir.path()), "--data", text(&data), "--until-drained"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    let out = good(&["audit", "--data", text(&data)]);
    assert!(out.contains("equal") && out.contains("every source balances"), "{out}");
    let damage = |from: &str, to: &str| {
        let media = DiskMedia::open(&data).expect("opens");
        let mut manifest = Manifest::load(&media).expect("is read").expect("is there");
        let meta = std::str::from_utf8(&manifest.meta).expect("JSON").replacen(from, to, 1);
        assert_ne!(meta.as_bytes(), &manifest.meta[..], "{meta}");
        manifest.meta = meta.into_bytes().into();
        manifest.store(&media).expect("writes");
    };
    damage("\"stored\":1", "\"stored\":2");
    let said = yeoul(&["audit", "--data", text(&data)]);
    assert_eq!(said.code, Some(6), "{}{}", said.out, said.err);
    assert!(said.out.contains("NOT EQUAL"), "{}", said.out);
    assert!(
        said.err.contains(
            "source \"file\" of \"clicks\", partition \"a.csv\": received 2 is not stored 2 + \
             duplicates 0 + dead letters 1"
        ),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("stream \"clicks\": its sources say that 2 rows are stored (\"file\" 2)"),
        "{}",
        said.err
    );
}
