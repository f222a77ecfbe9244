//! `yeoul plan` and `yeoul apply`, against a stopped folder and a running instance, and killed on the way.

use std::fs;
use std::path::Path;

use crate::program::{command, good, project, rows, text, yeoul};
use crate::served::Running;

const FIRST: &str = "CREATE STREAM clicks (item INT, n SMALLINT, old VARCHAR, at TIMESTAMPTZ,
  WATERMARK FOR at AS at - INTERVAL '5 seconds') WITH (lateness = '1 minute', unique_key = 'item, at');
CREATE TABLE shops (id INT PRIMARY KEY, name VARCHAR);
CREATE MATERIALIZED VIEW by_item AS
SELECT item,
       count(*) AS clicks
FROM clicks
GROUP BY item;
CREATE MATERIALIZED VIEW top AS SELECT item, clicks FROM by_item WHERE clicks > 1;
CREATE MATERIALIZED VIEW olds AS SELECT old, count(*) AS n FROM clicks GROUP BY old;
CREATE STREAM unread (a INT);
";

/// `by_item` counts otherwise, `top` reads a new column of it, `olds` and `old` go, a view and a column come.
const SECOND: &str = "CREATE STREAM clicks (item INT, n BIGINT, at TIMESTAMPTZ, device VARCHAR,
  WATERMARK FOR at AS at - INTERVAL '5 seconds') WITH (lateness = '2 minutes', unique_key = 'item, at');
CREATE TABLE shops (id INT PRIMARY KEY, name VARCHAR);
CREATE MATERIALIZED VIEW by_item AS
SELECT item,
       sum(n) AS clicks, max(at) AS last
FROM clicks
GROUP BY item;
CREATE MATERIALIZED VIEW top AS SELECT item, last FROM by_item WHERE clicks > 1;
CREATE MATERIALIZED VIEW devices AS SELECT device, count(*) AS n FROM clicks GROUP BY device;
CREATE STREAM unread (a INT);
";

fn write(dir: &Path, sql: &str) {
    fs::write(dir.join("project.sql"), sql).expect("writes");
}

fn fill(dir: &Path, data: &Path) -> String {
    let instance = Running::start(dir, data);
    let values: Vec<String> = (0..1000)
        .map(|i| {
            format!(
                "({}, {}, 'o', TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL '{i} seconds')",
                i % 7,
                i % 3
            )
        })
        .collect();
    instance.ask(&format!("INSERT INTO clicks VALUES {}", values.join(", ")));
    let before = instance.ask("SELECT item, clicks FROM by_item ORDER BY item");
    assert_eq!(instance.terminate(), Some(0));
    before
}

/// What is said, without the lines of progress.
fn said(out: &str) -> String {
    out.lines().filter(|line| !line.contains("under way")).map(|line| format!("{line}\n")).collect()
}

const PLAN: &str = "\
drop view olds  (what it holds is lost)
    the project does not name it
alter stream clicks
    n smallint → bigint
alter stream clicks
    + device varchar
alter stream clicks
    lateness = '1 minute' → '2 minutes'
rebuild view by_item  (reads 1,000 rows, about 1 s)
    - count(*) AS clicks
    + sum(n) AS clicks, max(at) AS last
rebuild view top  (reads 7 rows, about 1 s)
    - SELECT item, clicks FROM by_item WHERE clicks > 1
    + SELECT item, last FROM by_item WHERE clicks > 1
create view devices  (reads 1,000 rows, about 1 s)
alter stream clicks  (the values of the column are lost)
    - old varchar
1 to create, 4 to alter, 2 to rebuild, 1 to drop
";

#[test]
fn a_stopped_folder_becomes_what_the_project_says() {
    let dir = project(FIRST);
    let data = dir.path().join("data");
    let (folder, at) = (text(dir.path()), text(&data));
    let new = good(&["plan", folder, "--data", at]);
    assert!(new.ends_with("6 to create\n") && new.starts_with("create stream clicks\n"), "{new}");
    fill(dir.path(), &data);
    let same = "nothing to do: the instance is as the project says\n";
    assert_eq!(good(&["plan", folder, "--data", at]), same);
    write(dir.path(), SECOND);
    assert_eq!(good(&["plan", folder, "--data", at]), PLAN);
    // The instance starts with the project only when the two agree.
    let refused = yeoul(&["run", folder, "--data", at, "--until-drained"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("exists with another definition"), "{}", refused.err);
    assert!(refused.err.contains("yeoul apply does it"), "{}", refused.err);
    // What is stored is not let go unasked.
    let refused = yeoul(&["apply", folder, "--data", at]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(good(&["plan", folder, "--data", at]), PLAN);
    let done = good(&["apply", folder, "--data", at, "--yes"]);
    assert!(said(&done).starts_with(PLAN) && done.ends_with("as the project says\n"), "{done}");
    assert_eq!(good(&["plan", folder, "--data", at]), same);
    assert_eq!(rows(&data, "SELECT * FROM devices"), [",1000"]);
    let query = "SELECT item, sum(n), max(at) FROM clicks GROUP BY item ORDER BY item";
    assert_eq!(rows(&data, "SELECT * FROM by_item ORDER BY item"), rows(&data, query));
    assert_eq!(rows(&data, "SELECT count(*) FROM top"), ["7"]);
    good(&["run", folder, "--data", at, "--until-drained"]);
    good(&["audit", "--data", at]);
}

#[test]
fn a_running_instance_is_changed_while_it_answers() {
    let dir = project(FIRST);
    let data = dir.path().join("data");
    let before = fill(dir.path(), &data);
    let instance = Running::start(dir.path(), &data);
    let url = instance.url();
    let folder = text(dir.path());
    write(dir.path(), SECOND);
    assert_eq!(good(&["plan", folder, "--url", url]), PLAN);
    assert_eq!(instance.ask("SELECT item, clicks FROM by_item ORDER BY item"), before);
    good(&["apply", folder, "--url", url, "--yes"]);
    assert_eq!(instance.ask("SELECT count(*) FROM top WHERE last IS NOT NULL"), "count\n7\n");
    let again = good(&["apply", folder, "--url", url]);
    assert_eq!(again, "nothing to do: the instance is as the project says\n");
    assert_eq!(instance.terminate(), Some(0));
    good(&["audit", "--data", text(&data)]);
}

#[test]
fn an_apply_that_was_killed_is_finished_by_the_next() {
    let dir = project(FIRST);
    let data = dir.path().join("data");
    fill(dir.path(), &data);
    write(dir.path(), SECOND);
    let (folder, at) = (text(dir.path()), text(&data));
    for wait_ms in [5, 40, 80, 120, 160, 200, 250, 300] {
        let mut child = command(&["apply", folder, "--data", at, "--yes"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        let _ = child.kill();
        let _ = child.wait();
        // Old or new, and never half.
        let count = rows(&data, "SELECT count(*) FROM by_item");
        assert_eq!(count, ["7"], "killed after {wait_ms} ms");
    }
    good(&["apply", folder, "--data", at, "--yes"]);
    let left = good(&["plan", folder, "--data", at]);
    assert_eq!(left, "nothing to do: the instance is as the project says\n");
    let query = "SELECT item, sum(n), max(at) FROM clicks GROUP BY item ORDER BY item";
    assert_eq!(rows(&data, "SELECT * FROM by_item ORDER BY item"), rows(&data, query));
    good(&["audit", "--data", at]);
}

#[test]
fn what_cannot_be_reached_is_said() {
    let dir = project(FIRST);
    let data = dir.path().join("data");
    fill(dir.path(), &data);
    let (folder, at) = (text(dir.path()), text(&data));
    let refused = |sql: &str| {
        write(dir.path(), sql);
        let said = yeoul(&["plan", folder, "--data", at]);
        assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
        said.err
    };
    let text = refused(&FIRST.replace("n SMALLINT", "n SMALLINT NOT NULL").replace("'5 s", "'6 s"));
    assert!(text.contains("stream \"clicks\" cannot become what the project says"), "{text}");
    assert!(
        text.contains("n: whether it may be NULL: stored rows are not looked through"),
        "{text}"
    );
    assert!(text.contains("the watermark: "), "{text}");
    let text = refused(&FIRST.replace("count(*) AS clicks", "count(*) AS c"));
    assert!(text.contains("would break 1 view"), "{text}");
    assert!(text.contains("view \"top\": column \"clicks\" does not exist"), "{text}");
    let text = refused(&FIRST.replace("old, count(*)", "olt, count(*)"));
    assert!(text.contains("olt") && text.contains("project.sql"), "{text}");
    // Streams that nobody reads are told of by check.
    write(dir.path(), FIRST);
    let checked = good(&["check", folder]);
    assert!(checked.contains("note: no view reads stream \"unread\""), "{checked}");
}
