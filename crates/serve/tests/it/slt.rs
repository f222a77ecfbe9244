//! Runs the files of `tests/slt` through the Postgres wire, each on a data folder of its own.
//!
//! | pass | what a view is | its label in `skipif` and `onlyif` |
//! |---|---|---|
//! | [`Pass::Kept`] | a materialized view | `kept` |
//! | [`Pass::Asked`] | its query, which every query that reads it asks again | `batch` |
//! | [`Pass::Postgres`] | a view of a PostgreSQL, when `SLT_POSTGRES` says how to connect | `postgresql` |
//!
//! What must hold: a file gives the same answers in every pass. The second pass is the law (a view equals
//! its query), the third says that the answers are PostgreSQL's.
//!
//! Files under `slt/next` are about views that cannot be kept yet. Their queries must answer, and
//! the first statement that is refused when they are kept must be refused; a file that passes
//! belongs one folder up.
//!
//! `SLT=part/of/a/path` runs only the files whose path contains it. With `SLT_POSTGRES` and `SLT_WRITE` the answers
//! of PostgreSQL are written into the files.
//!
//! `SLT_DIR=a/folder` runs the files of another folder instead, such as suites that were written for another engine, in the first pass: all
//! statements of a file, also those after one that fails. A refusal may be told in any words, and what is sorted is so on both sides.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqllogictest::{
    DefaultColumnType, ExpectedError, QueryExpect, Record, Runner, SortMode, StatementExpect,
    TestErrorKind,
};

use crate::fixture::Fixture;
use crate::slt_wire::{Views, Wire, connect};

/// How many files run at once: each has an engine with its threads.
const RUNS_MAX: usize = 4;

/// How the views of a file are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Kept,
    Asked,
    Postgres,
}

impl Pass {
    pub(crate) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Kept => &["yeoul", "risingwave", "kept"],
            Self::Asked => &["yeoul", "risingwave", "batch"],
            Self::Postgres => &["postgresql"],
        }
    }
}

/// The `.slt` files below `folder`.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

/// Whether the views of a file cannot be kept yet.
fn is_next(file: &Path) -> bool {
    file.starts_with("tests/slt/next")
}

/// Runs one file; gives what is wrong.
fn run_own(file: &Path, pass: Pass) -> Option<String> {
    let Err(error) = outcome(file, pass) else {
        let early = is_next(file) && pass == Pass::Kept;
        return early.then(|| format!("{} passes now: move it to tests/slt", file.display()));
    };
    let refused = matches!(error.kind(), TestErrorKind::Fail { .. });
    if is_next(file) && pass == Pass::Kept && refused {
        return None;
    }
    Some(format!("{pass:?}: {error}"))
}

/// Runs one file of another suite; gives all that is wrong.
fn run_foreign(file: &Path, pass: Pass) -> Option<String> {
    let fixture = Fixture::new();
    let address = format!("host=127.0.0.1 port={} user=me dbname=yeoul", fixture.pg.port());
    let views = Views::default();
    let wrong: Vec<String> = fixture.runtime.block_on(async {
        let records = match sqllogictest::parse_file::<DefaultColumnType>(file) {
            Ok(records) => records,
            Err(error) => return vec![error.to_string()],
        };
        let mut runner: Runner<Wire, _> = Runner::new(|| connect(&address, pass, views.clone()));
        for label in pass.labels() {
            runner.add_label(label);
        }
        let mut wrong = Vec::new();
        for record in records {
            if let Err(error) = runner.run_async(in_any_words(record)).await {
                wrong.push(error.to_string());
            }
        }
        runner.shutdown_async().await;
        wrong
    });
    fixture.stop();
    let of = format!("{pass:?} {}: {} wrong", file.display(), wrong.len());
    (!wrong.is_empty()).then(|| format!("{of}\n{}", wrong.join("\n")))
}

/// `record`, where it must be refused, refused in any words, and where its rows are sorted, with sorted rows.
fn in_any_words(mut record: Record<DefaultColumnType>) -> Record<DefaultColumnType> {
    match &mut record {
        Record::Statement { expected: StatementExpect::Error(words), .. }
        | Record::Query { expected: QueryExpect::Error(words), .. } => {
            *words = ExpectedError::Empty
        }
        Record::Query {
            expected: QueryExpect::Results { sort_mode: Some(SortMode::RowSort), results, .. },
            ..
        } => {
            let words = |row: &String| row.split_whitespace().collect::<Vec<_>>().join(" ");
            results.sort_by_key(words);
        }
        _ => {}
    }
    record
}

fn outcome(file: &Path, pass: Pass) -> Result<(), sqllogictest::TestError> {
    let fixture = Fixture::new();
    let views = Views::default();
    let address = match pass {
        Pass::Postgres => postgres_database(&fixture),
        _ => format!("host=127.0.0.1 port={} user=me dbname=yeoul", fixture.pg.port()),
    };
    let outcome = fixture.runtime.block_on(async {
        let mut runner: Runner<Wire, _> = Runner::new(|| connect(&address, pass, views.clone()));
        for label in pass.labels() {
            runner.add_label(label);
        }
        if pass == Pass::Postgres && std::env::var_os("SLT_WRITE").is_some() {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(!text.contains(" error ("), "errors told by their code would be written over");
            let accept = |_: &Vec<DefaultColumnType>, _: &Vec<DefaultColumnType>| true;
            let (valid, normal) =
                (sqllogictest::default_validator, sqllogictest::default_normalizer);
            runner.update_test_file(file, " ", valid, normal, accept).await.unwrap();
            return Ok(());
        }
        let outcome = runner.run_file_async(file).await;
        runner.shutdown_async().await;
        outcome
    });
    fixture.stop();
    outcome
}

/// A new database of the PostgreSQL that is compared with.
fn postgres_database(fixture: &Fixture) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let server = std::env::var("SLT_POSTGRES").unwrap();
    let name = format!("slt_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    fixture.runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&server, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    });
    format!("{server} dbname={name}")
}

#[test]
fn slt() {
    let mut found = Vec::new();
    let foreign = std::env::var_os("SLT_DIR");
    files(Path::new(foreign.as_deref().unwrap_or("tests/slt".as_ref())), &mut found);
    let run = if foreign.is_some() { run_foreign } else { run_own };
    found.sort();
    if let Ok(part) = std::env::var("SLT") {
        found.retain(|file| file.to_string_lossy().contains(&part));
    }
    assert!(!found.is_empty(), "there are no such files");
    let mut passes = vec![Pass::Kept, Pass::Asked];
    if std::env::var_os("SLT_POSTGRES").is_some() {
        passes = vec![Pass::Postgres];
    }
    if foreign.is_some() {
        passes = vec![Pass::Kept];
    }
    let runs: Vec<(&PathBuf, Pass)> =
        found.iter().flat_map(|file| passes.iter().map(move |pass| (file, *pass))).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..RUNS_MAX.min(runs.len()) {
            scope.spawn(|| {
                while let Some((file, pass)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(what) = run(file, *pass) {
                        wrong.lock().unwrap().push(what);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {} runs failed\n\n{}",
        wrong.len(),
        runs.len(),
        wrong.join("\n")
    );
}
