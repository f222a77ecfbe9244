//! A `yeoul run` of its own, so that memory, processor time and a sudden end are those of an instance and
//! not of the benchmark.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::meter::Meter;
use crate::failure::Failure;
use crate::shell::Backend;

/// How long an instance may take to answer.
const START_MAX: Duration = Duration::from_secs(300);

/// Where an instance listens.
#[derive(Clone, Debug)]
struct Listeners {
    http: String,
    pg: String,
    kafka: Option<String>,
}

/// A running instance.
pub(super) struct Instance {
    child: Child,
    project: PathBuf,
    data: PathBuf,
    listeners: Listeners,
    /// From the start of the process to its first correct answer.
    pub(super) start_ms: f64,
}

impl Instance {
    /// Starts an instance with this SQL and waits until `question` is answered.
    pub(super) fn start(
        runtime: &Runtime,
        dir: &Path,
        sql: &str,
        question: &str,
    ) -> Result<Self, Failure> {
        let project = written(dir, sql)?;
        let listeners = Listeners { http: free_address()?, pg: free_address()?, kafka: None };
        Self::spawn(runtime, project, dir.join("data"), listeners, question)
    }

    /// The same with a listener for producers of Kafka.
    pub(super) fn with_kafka(runtime: &Runtime, dir: &Path, sql: &str) -> Result<Self, Failure> {
        let project = written(dir, sql)?;
        let kafka = Some(free_address()?);
        let listeners = Listeners { http: free_address()?, pg: free_address()?, kafka };
        Self::spawn(runtime, project, dir.join("data"), listeners, "SELECT 1")
    }

    /// Starts it again after its end.
    pub(super) fn again(self, runtime: &Runtime, question: &str) -> Result<Self, Failure> {
        let (project, data) = (self.project.clone(), self.data.clone());
        let listeners = self.listeners.clone();
        drop(self);
        Self::spawn(runtime, project, data, listeners, question)
    }

    fn spawn(
        runtime: &Runtime,
        project: PathBuf,
        data: PathBuf,
        listeners: Listeners,
        question: &str,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let begun = Instant::now();
        let child = Command::new(program)
            .args(["--log", "warn", "run"])
            .arg(&project)
            .args(["--http", &listeners.http, "--pg", &listeners.pg])
            .args(listeners.kafka.iter().flat_map(|kafka| ["--kafka", kafka]))
            .arg("--data")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut instance = Self { child, project, data, listeners, start_ms: 0.0 };
        while begun.elapsed() < START_MAX {
            if let Some(status) = instance.child.try_wait()? {
                return Err(Failure::new(format!("the instance ended at its start: {status}")));
            }
            let answered = runtime.block_on(async {
                let mut backend = Backend::connect(&instance.url()).await.ok()?;
                backend.ask(question).await.ok()
            });
            if answered.is_some() {
                instance.start_ms = begun.elapsed().as_secs_f64() * 1e3;
                return Ok(instance);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(Failure::new("the instance did not answer within five minutes"))
    }

    /// Where it answers SQL.
    pub(super) fn url(&self) -> String {
        format!("postgres://yeoul@{}/yeoul", self.listeners.pg)
    }

    /// Where it takes the events of a stream.
    pub(super) fn ingest_url(&self, stream: &str) -> String {
        format!("http://{}/v1/ingest/{stream}", self.listeners.http)
    }

    /// Where producers of Kafka send to.
    pub(super) fn kafka(&self) -> &str {
        self.listeners.kafka.as_deref().unwrap_or_default()
    }

    /// What it uses.
    pub(super) fn meter(&self) -> Meter {
        Meter::of(self.child.id())
    }

    /// Ends it as a power cut would: without a word.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Both fail when it has ended already, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A project with this SQL.
fn written(dir: &Path, sql: &str) -> Result<PathBuf, Failure> {
    let project = dir.join("project");
    fs::create_dir_all(&project).map_err(|e| Failure::file("create", &project, &e))?;
    fs::write(project.join("bench.sql"), sql)?;
    Ok(project)
}

/// A port of this machine that nobody listens on.
fn free_address() -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}
