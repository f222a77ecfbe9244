//! Exit codes and messages.

use std::fs;
use std::process::Stdio;

use crate::program::{command, good, project, rows, text, yeoul};

const CLICKS: &str = "CREATE STREAM clicks (item INT NOT NULL, at TIMESTAMPTZ) \
    WITH (connector = 'file', path = 'clicks.csv', format = 'csv');\n\
    CREATE MATERIALIZED VIEW by_item AS SELECT item, count(*) AS clicks FROM clicks GROUP BY item;\n";

#[test]
fn wrong_words_are_refused_with_the_right_ones() {
    let said = yeoul(&["runn"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("'run'"), "{}", said.err);

    let said = yeoul(&["run", "there-is-no-such-folder"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("is not a folder"), "{}", said.err);

    let dir = project(CLICKS);
    fs::write(dir.path().join("yeoul.toml"), "[limits]\ncommit_row = 10\n").expect("writes");
    let said = yeoul(&["check", text(dir.path())]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("yeoul.toml:2: there is no setting \"limits.commit_row\""),
        "{}",
        said.err
    );
    assert!(said.err.contains("did you mean \"limits.commit_rows\"?"), "{}", said.err);
}

#[test]
fn a_mistake_in_the_sql_is_shown_where_it_is() {
    let dir = project("CREATE STREAM a (x INT);\nCREATE MATERIALIZED VIEW b AS SELECT y FROM a;\n");
    let said = yeoul(&["check", text(dir.path())]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains('y') && said.err.contains("project.sql"), "{}", said.err);
}

#[test]
fn refused_rows_have_a_code_of_their_own() {
    let dir = project(CLICKS);
    fs::write(dir.path().join("clicks.csv"), "item,at\n1,2026-01-01T00:00:00Z\nx,\n2,\n1,\n")
        .expect("writes");
    let data = dir.path().join("data");
    let said = yeoul(&["run", text(dir.path()), "--data", text(&data), "--until-drained"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert_eq!(rows(&data, "SELECT item, clicks FROM by_item ORDER BY item"), ["1,2", "2,1"]);
    assert_eq!(rows(&data, "SELECT count(*) FROM yeoul.dead_letters"), ["1"]);
    good(&["audit", "--data", text(&data)]);
}

#[test]
fn formats_of_answers() {
    let dir = project(CLICKS);
    fs::write(dir.path().join("clicks.csv"), "item,at\n7,2026-01-01T00:00:00Z\n8,\n")
        .expect("writes");
    let data = dir.path().join("data");
    good(&["run", text(dir.path()), "--data", text(&data), "--until-drained"]);
    let ask = |format: &str, sql: &str| {
        good(&["sql", "--data", text(&data), "--format", format, "-c", sql])
    };
    let sql = "SELECT item, at FROM clicks ORDER BY item";
    assert_eq!(ask("csv", sql), "item,at\n7,2026-01-01 00:00:00+00\n8,\n");
    assert_eq!(
        ask("json", sql),
        "{\"item\":7,\"at\":\"2026-01-01 00:00:00+00\"}\n{\"item\":8,\"at\":null}\n"
    );
    assert!(ask("table", sql).contains("(2 rows)"));
    assert!(ask("table", "\\d clicks").contains("item"));
    // Two statements, one after the other.
    assert_eq!(ask("csv", "SELECT 1 AS a; SELECT 2 AS b"), "a\n1\nb\n2\n");
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let dir = project(CLICKS);
    let clicks: String = (0..20_000).map(|n| format!("{n},\n")).collect();
    fs::write(dir.path().join("clicks.csv"), format!("item,at\n{clicks}")).expect("writes");
    let data = dir.path().join("data");
    let path = text(&data);
    good(&["run", text(dir.path()), "--data", path, "--until-drained"]);
    for arguments in [
        &["inspect", path][..],
        &["audit", "--data", path],
        &["sql", "--data", path, "-c", "SELECT * FROM clicks"],
        &["sql", "--data", path, "--format", "csv", "-c", "SELECT * FROM clicks"],
        &["sql", "--data", path, "-c", "\\?"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let run = command(arguments).stdout(writer).stderr(Stdio::piped()).output();
        let run = run.expect("the program starts");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!((run.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_run_that_was_stopped_before_the_end_did_not_do_what_it_was_asked() {
    let dir = project(
        "CREATE STREAM clicks (at TIMESTAMPTZ, WATERMARK FOR at AS at) \
         WITH (connector = 'file', path = 'clicks.csv', speed = '1x');",
    );
    // The second is due a year after the first.
    fs::write(dir.path().join("clicks.csv"), "at\n2024-01-01\n2025-01-01\n").expect("writes");
    let mut run = command(&["run", text(dir.path()), "--until-drained"]);
    let run = run.stderr(Stdio::piped()).spawn().expect("the program starts");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let kill = std::process::Command::new("kill").args(["-TERM", &run.id().to_string()]).status();
    assert!(kill.expect("kill is there").success());
    let said = run.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{err}");
    assert!(err.contains("stopped before"), "{err}");
}

/// Editors of Windows put a byte order mark in front of a text.
#[test]
fn a_byte_order_mark_is_no_part_of_the_sql() {
    let dir = project(&format!("\u{feff}{CLICKS}"));
    fs::write(dir.path().join("clicks.csv"), "item,at\n7,\n").expect("writes");
    fs::write(dir.path().join("yeoul.toml"), "\u{feff}data = 'd'\n").expect("writes");
    let data = dir.path().join("d");
    good(&["run", text(dir.path()), "--until-drained"]);
    let script = dir.path().join("ask");
    fs::write(&script, "\u{feff}SELECT item FROM clicks;").expect("writes");
    let ask = ["sql", "--data", text(&data), "--format", "csv", "-f", text(&script)];
    assert_eq!(good(&ask), "item\n7\n");
    // An address that the environment has for every day is not one that was asked for.
    let run = command(&ask).env("YEOUL_URL", "postgres://nobody@127.0.0.1:1/yeoul").output();
    assert_eq!(run.expect("the program starts").stdout, b"item\n7\n");
}

#[test]
fn reading_writes_nothing() {
    let dir = project(CLICKS);
    fs::write(dir.path().join("clicks.csv"), "item,at\n7,\n").expect("writes");
    let data = dir.path().join("data");
    good(&["run", text(dir.path()), "--data", text(&data), "--until-drained"]);
    let said = yeoul(&["sql", "--data", text(&data), "-c", "DROP STREAM clicks CASCADE"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(rows(&data, "SELECT count(*) FROM clicks"), ["1"]);
}

#[test]
fn a_folder_without_a_log_does_not_balance() {
    let dir = project(CLICKS);
    for command in [
        &["audit", "--data", text(dir.path())][..],
        &["sql", "--data", text(dir.path()), "-c", "SELECT 1"],
    ] {
        let said = yeoul(command);
        assert_eq!(said.code, Some(2), "{command:?}: {}", said.out);
        assert!(said.err.contains("is not a data folder"), "{}", said.err);
    }
}

#[test]
fn what_is_not_ours_is_not_inspected() {
    let dir = project(CLICKS);
    let said = yeoul(&["inspect", text(&dir.path().join("project.sql"))]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("is not a data folder"), "{}", said.err);
}
