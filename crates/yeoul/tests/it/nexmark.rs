//! The queries of Nexmark (`bench/nexmark`): kept while events come in several deliveries and over a
//! restart, each view is what its query gives over the stored stream.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::program::{checkout, good, project, text};
use crate::served::Running;

const QUERIES: u32 = 23;
const EVENTS: usize = 20_000;

fn sql(name: &str) -> String {
    let path = checkout().join("bench/nexmark/yeoul").join(format!("{name}.sql"));
    fs::read_to_string(path).expect("the queries are in the checkout")
}

/// What a query stands for: itself behind the three kinds of events.
fn query(name: &str) -> String {
    format!("\n{}{}", sql("events"), sql(name))
}

fn view(name: &str) -> String {
    format!("CREATE MATERIALIZED VIEW {name} AS{};\n", query(name))
}

/// The stream, which takes events over HTTP, and the table of q13.
fn sources(side_input: &str) -> String {
    let side_input = format!("connector = 'file', path = '{side_input}', format = 'csv'");
    let stream = sql("stream").replace("{options}", "");
    stream + &sql("side_input").replace("{side_input}", &side_input)
}

/// The files of the events and of the side input.
fn made(dir: &Path) -> (PathBuf, String) {
    let events = EVENTS.to_string();
    let said = good(&["bench", "nexmark-events", "--events", &events, "--dir", text(dir)]);
    let mut paths = said.lines();
    let mut next = || paths.next().expect("two paths").to_owned();
    (next().into(), next())
}

/// The rows of an answer, in an order that depends on them alone.
fn answer(instance: &Running, sql: &str) -> Vec<String> {
    let mut rows: Vec<_> = instance.ask(sql).lines().skip(1).map(str::to_owned).collect();
    rows.sort_unstable();
    rows
}

fn all_equal(instance: &Running, names: &[String], when: &str) {
    for name in names {
        let kept = answer(instance, &format!("SELECT * FROM {name}"));
        let asked = answer(instance, &query(name));
        assert!(!kept.is_empty(), "{name} is empty {when}");
        assert_eq!(kept.len(), asked.len(), "rows of {name} {when}");
        let other = kept.iter().zip(&asked).find(|(kept, asked)| kept != asked);
        assert_eq!(other, None, "{name} {when}");
    }
}

/// Views look up in the table from their first event on, so all of it must be there.
fn until_loaded(instance: &Running) {
    let begun = Instant::now();
    while instance.ask("SELECT count(*) FROM side_input").lines().nth(1) != Some("10000") {
        assert!(begun.elapsed() < Duration::from_secs(30), "the side input was not read");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn views_are_their_queries_over_deliveries_and_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (events, side_input) = made(folder.path());
    let sources = sources(&side_input);
    let kept: Vec<String> = (0..QUERIES).map(|number| format!("q{number}")).collect();
    let views: String = kept.iter().map(|name| view(name)).collect();
    let project = project(&format!("{sources}{views}"));
    let data = folder.path().join("data");
    let events = fs::read_to_string(events).expect("reads");
    let lines: Vec<&str> = events.split_inclusive('\n').collect();
    assert_eq!(lines.len(), EVENTS);
    let deliver = |instance: &Running, from: usize, to: usize| {
        let receipt = instance.send_to("nexmark", &lines[from..to].concat());
        assert_eq!(receipt["accepted"], to - from);
    };

    let instance = Running::start(project.path(), &data);
    until_loaded(&instance);
    for (from, to) in [(0, 1), (1, 5000), (5000, 5050), (5050, 12_000)] {
        deliver(&instance, from, to);
    }
    all_equal(&instance, &kept, "after four deliveries");
    assert_eq!(instance.terminate(), Some(0));

    let instance = Running::start(project.path(), &data);
    all_equal(&instance, &kept, "after a restart");
    deliver(&instance, 12_000, 12_007);
    deliver(&instance, 12_007, EVENTS);
    all_equal(&instance, &kept, "after deliveries behind a restart");
    assert_eq!(answer(&instance, "SELECT count(*) FROM q0"), ["18400"]);

    // A sudden end: what is in the log makes the views again.
    drop(instance);
    let instance = Running::start(project.path(), &data);
    all_equal(&instance, &kept, "after a sudden end");
}
