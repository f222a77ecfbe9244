//! The inputs of the fuzz targets, replayed.

#[path = "../../../../fuzz/src/replay.rs"]
mod replay;
#[expect(unreachable_pub, reason = "the file is shared with the fuzz targets")]
#[path = "../../../../fuzz/src/targets/format.rs"]
mod targets;

use replay::replay;

#[test]
fn avro() {
    replay("avro", targets::avro);
}

#[test]
fn changes() {
    replay("changes", targets::changes);
}

#[test]
fn json() {
    replay("json", targets::json);
}

#[test]
fn csv() {
    replay("csv", targets::csv);
}

#[test]
fn copy_text() {
    replay("copy_text", targets::copy_text);
}
