//! The inputs of the fuzz targets, replayed.

#[path = "../../../../fuzz/src/replay.rs"]
mod replay;
#[expect(unreachable_pub, reason = "the file is shared with the fuzz targets")]
#[path = "../../../../fuzz/src/targets/serve.rs"]
mod targets;

use replay::replay;

#[test]
fn postgres() {
    replay("postgres", targets::postgres);
}

#[test]
fn kafka_request() {
    replay("kafka_request", targets::kafka_request);
}

#[test]
fn kafka_batch() {
    replay("kafka_batch", targets::kafka_batch);
}
