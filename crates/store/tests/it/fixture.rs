//! A store written by version 1 of the part format stays readable. `docs/format/parts.md`.
//!
//! The files in `tests/fixtures/store-1` are written anew with `YEOUL_WRITE_FIXTURES=1`, and only while the
//! version has not been released.

use std::path::PathBuf;
use std::sync::Arc;

use yeoul_store::{Media, TrialMedia};

use crate::world::{Change, Engine, Model, Rng, check, rows, small};

/// The kinds of trees that there were when it was written.
const KINDS: u32 = 7;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-1")
}

fn history() -> Vec<Vec<Change>> {
    let mut rng = Rng::new(1);
    let create = (0..KINDS).map(|kind| Change::Create { id: kind + 1, kind }).collect();
    let mut all = vec![create];
    for commit in 2..5 {
        let commit = yeoul_batch::CommitId(commit);
        let changes = (0..KINDS)
            .map(|kind| Change::Rows { id: kind + 1, rows: rows(kind, &mut rng, commit, 40, 12) });
        all.push(changes.collect());
    }
    all
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).expect("the fixture is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = path.strip_prefix(dir()).expect("below it").to_string_lossy().into_owned();
            found.push((name, std::fs::read(&path).expect("reads")));
        }
    }
    found
}

#[test]
fn version_1_is_read() {
    if std::env::var_os("YEOUL_WRITE_FIXTURES").is_some() {
        write_fixture();
    }
    let media = TrialMedia::new(1);
    for (name, bytes) in files() {
        media.put(&name, bytes);
    }
    let engine = Engine::open(Arc::new(media), small()).expect("opens");
    let mut model = Model::default();
    history().iter().for_each(|changes| model.apply(changes));
    assert!(engine.store.snapshot().trees().iter().all(|tree| !tree.parts().is_empty()));
    check(&engine.store.snapshot(), &model, "version 1");
}

fn write_fixture() {
    let media = TrialMedia::new(1);
    let mut engine = Engine::open(Arc::new(media.clone()), small()).expect("opens");
    for changes in history() {
        engine.commit(&changes).expect("commits");
    }
    engine.store.checkpoint().expect("checkpoints");
    let mut names = vec!["manifest".to_owned()];
    for tree in media.list("parts").expect("lists") {
        for file in media.list(&format!("parts/{tree}")).expect("lists") {
            names.push(format!("parts/{tree}/{file}"));
        }
    }
    for name in names {
        let path = dir().join(&name);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes folders");
        std::fs::write(path, media.read(&name).expect("reads")).expect("writes");
    }
}
