//! The inputs of the fuzz targets, replayed.

#[path = "../../../../fuzz/src/replay.rs"]
mod replay;
#[expect(unreachable_pub, reason = "the file is shared with the fuzz targets")]
#[path = "../../../../fuzz/src/targets/store.rs"]
mod targets;

use replay::replay;

#[test]
fn manifest() {
    replay("manifest", targets::manifest);
}

#[test]
fn log() {
    replay("log", targets::log);
}

#[test]
fn batch() {
    replay("batch", targets::batch);
}

#[test]
fn seen_run() {
    replay("seen_run", targets::seen_run);
}
