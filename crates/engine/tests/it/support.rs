//! An engine in a temporary folder, and its answers as text.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::TryStreamExt;
use yeoul_engine::{Answer, Clock, Engine, EngineError, EngineOptions};

/// A clock that moves a microsecond with every look.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        1_800_000_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Small limits and two workers, so that everything happens.
pub(crate) fn options() -> EngineOptions {
    EngineOptions { workers: 2, query_threads: 2, ..EngineOptions::default() }
}

/// An engine over `dir`.
pub(crate) fn open(dir: &Path) -> Engine {
    Engine::open(dir, Arc::new(TestClock::default()), options(), &mut |_| {}).expect("opens")
}

/// A runtime for the async calls.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs statements; the last one's rows as lines of `a|b|c`, or its tag.
pub(crate) fn run(engine: &Engine, sql: &str) -> Result<Vec<String>, EngineError> {
    runtime().block_on(async {
        let mut last = Vec::new();
        for answer in engine.session().execute(sql).await {
            last = lines(answer?).await?;
        }
        Ok(last)
    })
}

/// As [`run`], for statements that must work.
pub(crate) fn ok(engine: &Engine, sql: &str) -> Vec<String> {
    run(engine, sql).unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

async fn lines(answer: Answer) -> Result<Vec<String>, EngineError> {
    match answer {
        Answer::Done { tag, .. } => Ok(vec![tag]),
        Answer::CopyIn(_) => Ok(vec!["COPY".to_owned()]),
        Answer::Rows { rows, .. } | Answer::CopyOut { rows, .. } => {
            let batches: Vec<_> = rows.try_collect().await?;
            let mut out = Vec::new();
            for batch in &batches {
                let columns: Vec<_> = batch
                    .columns()
                    .iter()
                    .map(|c| {
                        arrow::util::display::ArrayFormatter::try_new(c, &Default::default())
                            .expect("a shown type")
                    })
                    .collect();
                for row in 0..batch.num_rows() {
                    let cells: Vec<String> =
                        columns.iter().map(|c| c.value(row).to_string()).collect();
                    out.push(cells.join("|"));
                }
            }
            Ok(out)
        }
    }
}

/// Waits until no view is being built.
pub(crate) fn settle(engine: &Engine) {
    for _ in 0..2_000 {
        if engine.health().building.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("views are still being built: {:?}", engine.health());
}
