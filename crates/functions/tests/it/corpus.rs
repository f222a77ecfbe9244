//! The inputs of the fuzz targets, replayed.

#[path = "../../../../fuzz/src/replay.rs"]
mod replay;
#[expect(unreachable_pub, reason = "the file is shared with the fuzz targets")]
#[path = "../../../../fuzz/src/targets/functions.rs"]
mod targets;

use replay::replay;

#[test]
fn distinct_state() {
    replay("distinct_state", targets::distinct_state);
}

#[test]
fn percentile_state() {
    replay("percentile_state", targets::percentile_state);
}
