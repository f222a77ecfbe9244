//! An engine in a folder of its own, with files beside it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt as _;
use tempfile::TempDir;
use yeoul_connect::{ConnectError, Sinks, Sources};
use yeoul_engine::{Answer, Clock, Engine, EngineError, EngineOptions, Session};

/// The columns of the streams here.
pub(crate) const COLUMNS: &str =
    "(id BIGINT, name VARCHAR, ts TIMESTAMPTZ, WATERMARK FOR ts AS ts - INTERVAL '1 second')";

struct Stopped;

impl Clock for Stopped {
    fn now_us(&self) -> i64 {
        1_800_000_000_000_000
    }
}

pub(crate) struct Shop {
    dir: TempDir,
    /// The engine and a session, whose end would cancel its queries. None only while it restarts.
    open: Option<(Engine, Session)>,
    runtime: tokio::runtime::Runtime,
}

fn open(dir: &Path) -> Option<(Engine, Session)> {
    let options =
        EngineOptions { connectors: yeoul_connect::CONNECTORS, ..EngineOptions::default() };
    let engine = Engine::open(&dir.join("data"), Arc::new(Stopped), options, &mut |_| {});
    let engine = engine.expect("opens");
    let session = engine.session();
    Some((engine, session))
}

impl Shop {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let open = open(dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { dir, open, runtime: runtime.expect("a runtime") }
    }

    /// The engine again, as after the process began anew.
    pub(crate) fn restart(&mut self) {
        self.engine().shutdown().expect("shuts down");
        self.open = None;
        self.open = open(self.dir.path());
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.open.as_ref().expect("it is open").0
    }

    pub(crate) fn session(&self) -> &Session {
        &self.open.as_ref().expect("it is open").1
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("writes");
    }

    pub(crate) fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(self.path(name));
        file.expect("opens").write_all(bytes.as_ref()).expect("writes");
    }

    /// A stream `events` of [`COLUMNS`] with these options besides the connector.
    pub(crate) fn create(&self, options: &str) {
        self.run(&format!("CREATE STREAM events {COLUMNS} WITH (connector = 'file', {options})"));
    }

    pub(crate) fn run(&self, sql: &str) -> Vec<Answer> {
        self.try_run(sql).expect(sql)
    }

    pub(crate) fn try_run(&self, sql: &str) -> Result<Vec<Answer>, EngineError> {
        self.runtime.block_on(self.session().execute(sql)).into_iter().collect()
    }

    fn batches(&self, sql: &str) -> Vec<RecordBatch> {
        let Some(Answer::Rows { rows, .. }) = self.run(sql).pop() else {
            unreachable!("{sql}: no rows")
        };
        self.runtime.block_on(rows.try_collect()).expect(sql)
    }

    /// The rows of a query, columns divided by `|`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let batches = self.batches(sql);
        let mut lines = Vec::new();
        for batch in batches {
            let texts = batch.columns().iter().map(|c| {
                arrow::compute::cast(c, &arrow::datatypes::DataType::Utf8).expect("casts")
            });
            let texts: Vec<_> = texts.collect();
            for row in 0..batch.num_rows() {
                let value = |c: &Arc<dyn Array>| {
                    if c.is_null(row) {
                        "-".to_owned()
                    } else {
                        c.as_string::<i32>().value(row).to_owned()
                    }
                };
                lines.push(texts.iter().map(value).collect::<Vec<_>>().join("|"));
            }
        }
        lines
    }

    pub(crate) fn count(&self) -> i64 {
        let batches = self.batches("SELECT count(*) FROM events");
        let batch = &batches[0];
        batch.column(0).as_primitive::<Int64Type>().value(0)
    }

    pub(crate) fn start(&self) -> Result<Sources, ConnectError> {
        Sources::start(self.engine(), self.dir.path())
    }

    pub(crate) fn start_sinks(&self) -> Sinks {
        Sinks::start(self.engine()).expect("starts")
    }

    /// Reads everything to its end.
    pub(crate) fn drain(&self) -> Result<(), ConnectError> {
        let sources = self.start()?;
        let outcome = sources.run_until_drained();
        sources.stop();
        outcome
    }

    /// Waits until there are `count` rows.
    pub(crate) fn wait_for(&self, count: i64) {
        let begin = Instant::now();
        while self.count() != count {
            assert!(
                begin.elapsed() < Duration::from_secs(15),
                "{} rows, not {count}",
                self.count()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A line of JSON.
pub(crate) fn line(id: usize) -> String {
    format!("{{\"id\":{id},\"name\":\"n{id}\",\"ts\":{}}}\n", 1_769_900_400_000_u64 + id as u64)
}
