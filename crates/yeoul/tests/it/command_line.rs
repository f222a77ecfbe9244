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

const KEPT: &str = "\
CREATE STREAM clicks (item INT, kind VARCHAR, good BOOLEAN, at TIMESTAMPTZ, WATERMARK FOR at AS at);
CREATE STREAM orders (item INT, at TIMESTAMPTZ, WATERMARK FOR at AS at);
CREATE STREAM lonely (a INT);
CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR);
CREATE TABLE notes (id INT PRIMARY KEY);
CREATE FUNCTION called(x INT) RETURNS INT RETURN inner_one(x);
CREATE FUNCTION inner_one(x INT) RETURNS INT RETURN x + 1;
CREATE FUNCTION idle(x INT) RETURNS INT RETURN called(x);
-- Without a note: one group, three groups, as many as a table has, by the clock, windows that are closed.
CREATE MATERIALIZED VIEW v01 AS SELECT count(*) AS n, max(at) AS last FROM clicks;
CREATE MATERIALIZED VIEW v02 AS SELECT good, count(*) AS n FROM clicks GROUP BY good;
CREATE MATERIALIZED VIEW v03 AS SELECT name, count(*) AS n FROM items GROUP BY name;
CREATE MATERIALIZED VIEW v04 AS SELECT called(item) AS i, count(*) AS n FROM clicks WHERE at > now() - INTERVAL '1 hour' GROUP BY 1;
CREATE MATERIALIZED VIEW v05 AS SELECT window_start, item, count(*) AS n FROM TUMBLE(clicks, at, INTERVAL '1 minute') GROUP BY window_start, item EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW v06 AS SELECT item, at FROM clicks ORDER BY at DESC LIMIT 3;
CREATE MATERIALIZED VIEW v07 AS SELECT a.name, b.name AS other FROM items a JOIN items b ON a.id < b.id;
CREATE MATERIALIZED VIEW v08 AS SELECT n, count(*) AS views FROM v01 GROUP BY n;
CREATE MATERIALIZED VIEW v09 AS SELECT o.item, count(*) AS n FROM TUMBLE(orders, at, INTERVAL '1 minute') o JOIN TUMBLE(clicks, at, INTERVAL '1 minute') c ON o.item = c.item AND o.window_start = c.window_start AND o.window_end = c.window_end GROUP BY o.item, o.window_start, o.window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW v10 AS SELECT c.good, count(*) AS n FROM clicks c ASOF LEFT JOIN orders o ON c.good = (o.item > 7) AND c.at >= o.at GROUP BY c.good;
CREATE MATERIALIZED VIEW v11 AS SELECT item, window_start, count(*) AS n FROM SESSION(clicks PARTITION BY item, at, INTERVAL '1 minute') GROUP BY item, window_start, window_end EMIT ON WINDOW CLOSE;
CREATE MATERIALIZED VIEW v12 AS SELECT item, w, n, sum(n) OVER (PARTITION BY w) AS of_all FROM (SELECT item, window_end AS w, count(*) AS n FROM SESSION(clicks PARTITION BY item, at, INTERVAL '1 minute') GROUP BY item, window_end) s EMIT ON WINDOW CLOSE;
-- With one.
CREATE MATERIALIZED VIEW w01 AS SELECT item, kind, count(*) AS n FROM clicks GROUP BY item, kind, good;
CREATE MATERIALIZED VIEW w02 AS SELECT window_start, item, count(*) AS n FROM TUMBLE(clicks, at, INTERVAL '1 minute') GROUP BY window_start, item;
CREATE MATERIALIZED VIEW w03 AS SELECT c.item, o.at FROM clicks c JOIN orders o ON c.item = o.item;
CREATE MATERIALIZED VIEW w04 AS SELECT i.name, o.at FROM items i LEFT JOIN orders o ON i.id = o.item;
CREATE MATERIALIZED VIEW w05 AS SELECT item, at FROM (SELECT *, row_number() OVER (PARTITION BY item ORDER BY at DESC) AS r FROM clicks) AS t WHERE r = 1;
CREATE MATERIALIZED VIEW w06 AS SELECT item, lag(at) OVER (PARTITION BY kind ORDER BY at) AS before FROM clicks;
CREATE MATERIALIZED VIEW w07 AS SELECT item, window_start, count(*) AS n FROM SESSION(clicks PARTITION BY item, at, INTERVAL '1 minute') GROUP BY item, window_start, window_end;
CREATE MATERIALIZED VIEW w08 AS SELECT count(DISTINCT item) AS n FROM clicks;
CREATE MATERIALIZED VIEW w09 AS SELECT item, at FROM clicks WHERE good;
CREATE MATERIALIZED VIEW w11 AS SELECT c.item, count(*) AS n FROM clicks c JOIN orders o ON c.item = o.item AND o.at BETWEEN c.at AND c.at + INTERVAL '1 hour' GROUP BY c.item;
CREATE MATERIALIZED VIEW w12 AS SELECT c.good, count(*) AS n FROM clicks c JOIN orders o ON c.item = o.item AND o.at >= c.at GROUP BY c.good;
CREATE MATERIALIZED VIEW w13 AS SELECT c.good, count(*) AS n FROM clicks c ASOF JOIN orders o ON c.item = o.item AND c.at >= o.at GROUP BY c.good;
CREATE MATERIALIZED VIEW w14 AS SELECT c.good, count(*) AS n FROM clicks c ASOF JOIN orders o ON c.item = o.item AND c.at < o.at GROUP BY c.good;
CREATE MATERIALIZED VIEW w10 AS SELECT n, count(*) AS keys FROM w01 GROUP BY n;
";

const TOLD: &str = "\
note: no view reads stream \"lonely\"
note: no view reads table \"notes\"
note: no view calls function idle(x int)
note: state of view \"w01\" grows with the number of distinct item, kind
      kept by: Aggregate by item, kind, good: [count(*)]
      ended by: a window among the keys with EMIT ON WINDOW CLOSE, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w02\" grows with the number of distinct window_start, item
      kept by: Aggregate by window_start, item: [count(*)]
      ended by: EMIT ON WINDOW CLOSE, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w03\" grows with the rows of clicks, orders
      kept by: Join by item = item
      ended by: bounds of the time of each input by that of the other, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days', in what is joined
note: state of view \"w04\" grows with the rows of orders
      kept by: Left join by id = item
      ended by: bounds of the time of each input by that of the other, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days', in what is joined
note: state of view \"w05\" grows with the number of distinct item
      kept by: Rows 1 by at DESC of each item
      ended by: a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w06\" grows with the rows of clicks
      kept by: Over by kind: [lag(\"at\") OVER (PARTITION BY kind ORDER BY \"at\" ASC NULLS LAST RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)]
      ended by: a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w07\" grows with the number of sessions
      kept by: Sessions of item over at, gap 1 min: [count(*)]
      ended by: EMIT ON WINDOW CLOSE, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w08\" grows with the number of distinct item
      kept by: Aggregate by one group: [count(DISTINCT item)]
      ended by: a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w09\" grows with the rows of clicks, each of which stays in it
      kept by: View of clicks
      ended by: a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w10\" grows with the number of distinct n
      kept by: Aggregate by n: [count(*)]
      ended by: a window among the keys with EMIT ON WINDOW CLOSE, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w11\" grows with the number of distinct item
      kept by: Aggregate by item: [count(*)]
      ended by: a window among the keys with EMIT ON WINDOW CLOSE, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w12\" grows with the rows of clicks
      kept by: Join by item = item and (\"at\" >= \"at\")
      ended by: bounds of the time of each input by that of the other, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days', in what is joined
note: state of view \"w13\" grows with the number of distinct item
      kept by: ASOF join by item = item, the last with at >= at
      ended by: a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days'
note: state of view \"w14\" grows with the rows of clicks, orders
      kept by: ASOF join by item = item, the first with at < at
      ended by: watermarks of streams on both sides of >= or >, or a condition on the clock, such as WHERE ts > now() - INTERVAL '7 days', in what is joined
DIR: 1 file checked, nothing wrong
";

/// What is kept for good is told of, with what it grows with and what would end it; so is what nobody uses.
#[test]
fn check_tells_of_state_that_is_never_released_and_of_what_is_not_used() {
    let dir = project(KEPT);
    let told = good(&["check", text(dir.path())]);
    let told = told.replace(text(dir.path()), "DIR");
    assert_eq!(told, TOLD);
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

/// What is stored of a password is the name of the variable that it is in.
#[test]
fn a_password_is_stored_by_its_name() {
    const NAME: &str = "YEOUL_TEST_PASSWORD";
    let dir = project(
        "CREATE STREAM clicks (item INT) WITH (connector = 'file', path = 'clicks.csv');\n\
         CREATE STREAM far (item INT) WITH (connector = 'kafka', brokers = '127.0.0.1:1', topic = 't', \
         sasl_mechanism = 'plain', username = 'me', password = '${YEOUL_TEST_PASSWORD}');",
    );
    fs::write(dir.path().join("clicks.csv"), "item\n7\n").expect("writes");
    let data = dir.path().join("data");
    let arguments = ["run", text(dir.path()), "--data", text(&data), "--until-drained"];
    let said = yeoul(&arguments);
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains(NAME) && said.err.contains("hint: "), "{}", said.err);
    let run = command(&arguments).env(NAME, "do not tell").output().expect("the program starts");
    let err = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(0), "{err}");
    let definition = "SELECT definition FROM yeoul.streams WHERE name = 'far'";
    let stored = rows(&data, definition).join("\n");
    assert!(stored.contains("password = '${YEOUL_TEST_PASSWORD}'"), "{stored}");
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry"))
        {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = fs::read(entry.path()).expect("a file");
                let told = bytes.windows(11).any(|window| window == b"do not tell");
                assert!(!told, "{}", entry.path().display());
            }
        }
    }
}
