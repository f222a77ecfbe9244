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

/// Runs a command again and again, kills it a little later each time, and has `holds` look at what is left.
fn killed(arguments: &[&str], holds: impl Fn(u64)) {
    for wait_ms in [5, 40, 80, 120, 160, 200, 250, 300] {
        let mut child = command(arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        let _ = child.kill();
        let _ = child.wait();
        holds(wait_ms);
    }
}

#[test]
fn an_apply_that_was_killed_is_finished_by_the_next() {
    let dir = project(FIRST);
    let data = dir.path().join("data");
    fill(dir.path(), &data);
    write(dir.path(), SECOND);
    let (folder, at) = (text(dir.path()), text(&data));
    killed(&["apply", folder, "--data", at, "--yes"], |wait_ms| {
        // Old or new, and never half.
        let count = rows(&data, "SELECT count(*) FROM by_item");
        assert_eq!(count, ["7"], "killed after {wait_ms} ms");
    });
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

const FUNCTIONS: &str = "CREATE MATERIALIZED VIEW halves AS SELECT half(item) AS h, count(*) AS n FROM clicks GROUP BY half(item);
CREATE MATERIALIZED VIEW many AS SELECT h FROM halves WHERE n > 1;
CREATE MATERIALIZED VIEW plain AS SELECT count(*) AS n FROM clicks;
CREATE FUNCTION half(x INT) RETURNS INT RETURN quarter(x * 2);
CREATE FUNCTION quarter(x INT) RETURNS INT LANGUAGE SQL AS 'SELECT x / 4';
CREATE STREAM clicks (item INT, n SMALLINT, old VARCHAR, at TIMESTAMPTZ, WATERMARK FOR at AS at);
";

const NOTHING: &str = "nothing to do: the instance is as the project says\n";

/// The order of the view and its functions in the file is that of nothing.
fn functions(dir: &Path, body: &str) {
    write(dir, &FUNCTIONS.replace("x / 4", body));
}

#[test]
fn functions_are_planned_with_the_views_that_call_them() {
    let dir = project(FUNCTIONS);
    let data = dir.path().join("data");
    let (folder, at) = (text(dir.path()), text(&data));
    let plan = || good(&["plan", folder, "--data", at]);
    assert_eq!(
        plan(),
        "create stream clicks\ncreate function quarter(x int)\ncreate function half(x int)\n\
         create view halves\ncreate view many\ncreate view plain\n6 to create\n"
    );
    good(&["apply", folder, "--data", at]);
    assert_eq!(plan(), NOTHING);
    fill_items(dir.path(), &data);
    // An unchanged project starts; a changed one says what to do.
    good(&["run", folder, "--data", at, "--until-drained"]);
    let listed = rows(&data, "SELECT name, arguments, returns FROM yeoul.functions ORDER BY name");
    assert_eq!(listed, ["half,x int,int", "quarter,x int,int"]);
    functions(dir.path(), "x / 2");
    let refused = yeoul(&["run", folder, "--data", at, "--until-drained"]);
    assert!(refused.err.contains("yeoul apply does it"), "{}", refused.err);
    let changed = "\
alter function quarter(x int)
    - quarter(x INT) RETURNS INT LANGUAGE SQL AS 'SELECT x / 4'
    + quarter(x INT) RETURNS INT LANGUAGE SQL AS 'SELECT x / 2'
rebuild view halves  (reads 1,000 rows, about 1 s)
    function quarter(x int) changes
rebuild view many  (reads 4 rows, about 1 s)
    what it reads changes
1 to alter, 2 to rebuild
";
    assert_eq!(plan(), changed);
    let done = good(&["apply", folder, "--data", at]);
    assert!(said(&done).starts_with(changed), "{done}");
    assert_eq!(plan(), NOTHING);
    let query = "SELECT item, count(*) FROM clicks GROUP BY item ORDER BY item";
    assert_eq!(rows(&data, "SELECT * FROM halves ORDER BY h"), rows(&data, query));
    good(&["run", folder, "--data", at, "--until-drained"]);
}

/// Another type of its value, which only fits a view that changes with it; one more, and one less.
#[test]
fn functions_that_fit_only_changed_views_change_with_them() {
    let dir = project(FUNCTIONS);
    let data = dir.path().join("data");
    let (folder, at) = (text(dir.path()), text(&data));
    let plan = || good(&["plan", folder, "--data", at]);
    fill_items(dir.path(), &data);
    let other = FUNCTIONS
        .replace("RETURNS INT RETURN quarter(x * 2)", "RETURNS TEXT RETURN 'h' || whole(x)")
        .replace(
            "FUNCTION quarter(x INT) RETURNS INT LANGUAGE SQL AS 'SELECT x / 4'",
            "FUNCTION whole(x INT) RETURNS INT RETURN x",
        )
        .replace(
            "SELECT h FROM halves WHERE n > 1",
            "SELECT h || '!' AS h FROM halves WHERE n > 1",
        );
    write(dir.path(), &other);
    let steps = plan();
    let steps: Vec<&str> = steps.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        steps,
        [
            "create function whole(x int)",
            "alter function half(x int)",
            "rebuild view halves  (reads 1,000 rows, about 1 s)",
            "rebuild view many  (reads 4 rows, about 1 s)",
            "drop function quarter(x int)",
            "1 to create, 1 to alter, 2 to rebuild, 1 to drop",
        ]
    );
    good(&["apply", folder, "--data", at]);
    assert_eq!(plan(), NOTHING);
    assert_eq!(rows(&data, "SELECT min(h), max(h), count(*) FROM many"), ["h0!,h6!,7"]);
    // What calls it goes first.
    write(
        dir.path(),
        "CREATE STREAM clicks (item INT, n SMALLINT, old VARCHAR, at TIMESTAMPTZ, WATERMARK FOR at AS at);",
    );
    good(&["apply", folder, "--data", at, "--yes"]);
    assert_eq!(rows(&data, "SELECT count(*) FROM yeoul.functions"), ["0"]);
    assert_eq!(plan(), NOTHING);
    write(dir.path(), &FUNCTIONS.replace("quarter(x INT) RETURNS", "half(x TEXT) RETURNS"));
    let twice = yeoul(&["plan", folder, "--data", at]);
    assert!(twice.err.contains("is defined twice"), "{}", twice.err);
}

fn fill_items(dir: &Path, data: &Path) {
    let instance = Running::start(dir, data);
    let values: Vec<String> = (0..1000).map(|i| format!("({})", i % 7)).collect();
    instance.ask(&format!("INSERT INTO clicks (item) VALUES {}", values.join(", ")));
    assert_eq!(instance.terminate(), Some(0));
}

#[test]
fn a_changed_function_is_finished_after_kills_and_in_a_running_instance() {
    let dir = project(FUNCTIONS);
    let data = dir.path().join("data");
    let (folder, at) = (text(dir.path()), text(&data));
    fill_items(dir.path(), &data);
    functions(dir.path(), "x / 2");
    killed(&["apply", folder, "--data", at], |wait_ms| {
        // Old or new, and the function with the view.
        let both = rows(&data, "SELECT half(6), max(h) FROM halves");
        assert!(both == ["3,3"] || both == ["6,6"], "killed after {wait_ms} ms: {both:?}");
    });
    good(&["apply", folder, "--data", at]);
    assert_eq!(good(&["plan", folder, "--data", at]), NOTHING);
    assert_eq!(rows(&data, "SELECT half(6), max(h) FROM halves"), ["6,6"]);
    let instance = Running::start(dir.path(), &data);
    functions(dir.path(), "x / 4");
    good(&["apply", folder, "--url", instance.url()]);
    assert_eq!(instance.ask("SELECT half(6), max(h) FROM halves"), "half,max\n3,3\n");
    assert_eq!(good(&["plan", folder, "--url", instance.url()]), NOTHING);
    assert_eq!(instance.terminate(), Some(0));
}
