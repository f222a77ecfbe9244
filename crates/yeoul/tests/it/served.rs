//! A running instance: events over HTTP, questions over the Postgres wire, an orderly end and a sudden one.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::program::{command, good, project, rows, text, yeoul};

const SHOP: &str = "CREATE STREAM events (id VARCHAR NOT NULL, item INT, ts TIMESTAMPTZ) \
    WITH (unique_key = 'id');\n\
    CREATE MATERIALIZED VIEW items AS SELECT item, count(*) AS n FROM events GROUP BY item;\n";

/// An instance on ports that the system chose.
pub(crate) struct Running {
    child: Child,
    pub(crate) http: String,
    postgres: String,
}

fn arguments<'a>(dir: &'a Path, data: &'a Path) -> [&'a str; 9] {
    let any = "127.0.0.1:0";
    ["--log=info", "run", text(dir), "--data", text(data), "--http", any, "--pg", any]
}

impl Running {
    pub(crate) fn start(dir: &Path, data: &Path) -> Self {
        Self::of(command(&arguments(dir, data)))
    }

    /// One that may have `files` open.
    fn start_with_files(dir: &Path, data: &Path, files: u32) -> Self {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]);
        shell.arg(env!("CARGO_BIN_EXE_yeoul")).args(arguments(dir, data));
        Self::of(shell)
    }

    fn of(mut command: std::process::Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        // The addresses are in the log.
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (mut http, mut postgres) = (None, None);
        let mut lines = stderr.lines();
        while http.is_none() || postgres.is_none() {
            let line = lines.next().expect("it says where it listens").expect("text");
            let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.trim().to_owned());
            http = http.or_else(|| after("HTTP on "));
            postgres = postgres.or_else(|| after("Postgres on "));
        }
        // Somebody must read on, or it would wait for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, http: http.expect("found"), postgres: postgres.expect("found") }
    }

    fn send(&self, lines: &str) -> serde_json::Value {
        self.send_to("events", lines)
    }

    pub(crate) fn send_to(&self, stream: &str, lines: &str) -> serde_json::Value {
        let mut response = ureq::post(format!("{}/v1/ingest/{stream}", self.http))
            .header("content-type", "application/x-ndjson")
            .send(lines)
            .expect("it takes events");
        let body = response.body_mut().read_to_string().expect("an answer");
        serde_json::from_str(&body).expect("a receipt")
    }

    /// Where Postgres clients connect.
    pub(crate) fn url(&self) -> &str {
        &self.postgres
    }

    pub(crate) fn ask(&self, sql: &str) -> String {
        good(&["sql", "--url", &self.postgres, "--format", "csv", "-c", sql])
    }

    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill is there").success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it did not stop after SIGTERM");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: u32, to: u32) -> String {
    (from..to).map(|n| format!("{{\"id\":\"e{n}\",\"item\":{}}}\n", n % 3)).collect()
}

#[test]
fn events_are_taken_kept_and_asked() {
    let dir = project(SHOP);
    let data = dir.path().join("data");
    let instance = Running::start(dir.path(), &data);
    let receipt = instance.send(&lines(0, 300));
    assert_eq!((&receipt["accepted"], &receipt["duplicates"]), (&300.into(), &0.into()));
    let receipt = instance.send(&lines(200, 400));
    assert_eq!((&receipt["accepted"], &receipt["duplicates"]), (&100.into(), &100.into()));
    let items = "SELECT item, n FROM items ORDER BY item";
    assert_eq!(instance.ask(items), "item,n\n0,134\n1,133\n2,133\n");
    let json = ["sql", "--url", &instance.postgres, "--format", "json", "-c", items];
    assert!(good(&json).starts_with("{\"item\":0,\"n\":134}\n"));

    // A number is one in JSON whatever stands before the query.
    for sql in ["SELECT 1 AS x", "/* why */ SELECT 1 AS x", "(SELECT 1 AS x)"] {
        let json = ["sql", "--url", &instance.postgres, "--format", "json", "-c", sql];
        assert_eq!(good(&json), "{\"x\":1}\n", "{sql}");
    }
    for sql in ["COPY events FROM STDIN", "COPY events TO STDOUT"] {
        let said = yeoul(&["sql", "--url", &instance.postgres, "-c", sql]);
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains("COPY is not possible here"), "{}", said.err);
    }

    // A second instance on the same data is refused.
    let said = yeoul(&["run", text(dir.path()), "--data", text(&data), "--until-drained"]);
    assert_eq!(said.code, Some(4), "{}", said.err);

    // An error over the wire points at its place.
    let said = yeoul(&["sql", "--url", &instance.postgres, "-c", "SELECT nothing FROM items"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("nothing"), "{}", said.err);

    assert_eq!(instance.terminate(), Some(0));
    assert_eq!(rows(&data, "SELECT count(*) FROM events"), ["400"]);
}

#[test]
fn what_was_acknowledged_survives_a_sudden_end() {
    let dir = project(SHOP);
    let data = dir.path().join("data");
    let instance = Running::start(dir.path(), &data);
    assert_eq!(instance.send(&lines(0, 500))["accepted"], 500);
    drop(instance);
    let instance = Running::start(dir.path(), &data);
    let receipt = instance.send(&lines(0, 600));
    assert_eq!((&receipt["accepted"], &receipt["duplicates"]), (&100.into(), &500.into()));
    assert_eq!(
        instance.ask("SELECT item, n FROM items ORDER BY item"),
        "item,n\n0,200\n1,200\n2,200\n"
    );
    assert_eq!(instance.terminate(), Some(0));
    good(&["audit", "--data", text(&data)]);
}

#[test]
fn connections_leave_files_to_the_store() {
    let dir = project(SHOP);
    let instance = Running::start_with_files(dir.path(), &dir.path().join("data"), 128);
    let address = instance.http.strip_prefix("http://").expect("an address");
    let connect = |_| std::net::TcpStream::connect(address).expect("connects");
    let _held: Vec<_> = (0..150).map(connect).collect();
    std::thread::sleep(Duration::from_millis(1_500));
    let open = std::fs::read_dir(format!("/proc/{}/fd", instance.child.id())).expect("a process");
    let open = open.count();
    assert!(open < 100, "{open} of 128 files are open");
}
