//! The program as it runs beside a test, and how it is ended without a warning.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::program::{command, text};

/// How long anything may take before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A client that gives up nothing but waits for nobody.
pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(10)))
        .http_status_as_error(false);
    config.build().into()
}

/// Sets what it is made of when it goes, also in a panic.
pub(crate) struct AtTheEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A program that is started, ended and started again on one folder.
pub(crate) struct Running {
    dir: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) address: String,
    agent: ureq::Agent,
    child: Option<Child>,
    /// How long the last start took until it was ready.
    pub(crate) ready_after: Duration,
}

impl Running {
    /// The project in `dir`, to be served at `address`.
    pub(crate) fn new(dir: &Path, address: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            data: dir.join("data"),
            address: address.to_owned(),
            agent: agent(),
            child: None,
            ready_after: Duration::from_millis(100),
        }
    }

    pub(crate) fn start(&mut self) {
        let errors = File::create(self.dir.join("stderr.txt")).expect("a file");
        let address = self.address.trim_start_matches("http://");
        let (dir, data) = (text(&self.dir), text(&self.data));
        let child =
            command(&["run", dir, "--data", data, "--http", address, "--pg", "127.0.0.1:0"])
                .stderr(Stdio::from(errors))
                .spawn();
        self.child = Some(child.expect("the program starts"));
    }

    pub(crate) fn wait_ready(&mut self) {
        let begun = Instant::now();
        let url = format!("{}/readyz", self.address);
        loop {
            if let Ok(response) = self.agent.get(&url).call()
                && response.status() == 200
            {
                break;
            }
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "it does not start again: {ended:?}\n{}", self.said());
            assert!(begun.elapsed() < PATIENCE, "it does not get ready\n{}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.ready_after = begun.elapsed();
    }

    /// What it has written to standard error since it was started last.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.dir.join("stderr.txt")).unwrap_or_default()
    }

    /// The most memory that it has had since it was started, in MiB, where the system says it.
    pub(crate) fn peak_mib(&self) -> Option<u64> {
        let id = self.child.as_ref().expect("it was started").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024)
    }

    /// Not asked, not warned: SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it was started");
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", self.said());
        child.kill().expect("SIGKILL");
        child.wait().expect("a child");
    }

    /// Asks the running program; lines of CSV.
    pub(crate) fn ask(&self, sql: &str) -> Vec<String> {
        let url = format!("{}/v1/sql?format=csv", self.address);
        let mut response = self.agent.post(url).send(sql).expect("it answers");
        let text = response.body_mut().read_to_string().expect("text");
        assert_eq!(response.status(), 200, "{sql}\n{text}");
        text.lines().skip(1).map(str::to_owned).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A query for the views that are not what their queries give, in one snapshot.
pub(crate) fn differences(views: &[(&str, &str)]) -> String {
    let one = |(view, query): &(&str, &str)| {
        format!(
            "SELECT '{view}' WHERE EXISTS (SELECT * FROM {view} EXCEPT {query}) \
             OR EXISTS ({query} EXCEPT SELECT * FROM {view}) \
             OR (SELECT count(*) FROM {view}) <> (SELECT count(*) FROM ({query}) AS batch)"
        )
    };
    views.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}
