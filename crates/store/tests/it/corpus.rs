//! The inputs of the fuzz targets, replayed.

#[expect(unreachable_pub, reason = "the file is shared with the fuzz targets")]
#[path = "../../../../fuzz/src/targets/store.rs"]
mod targets;

/// Runs a target over its corpus and over every input cut short and bent.
fn replay(name: &str, target: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut inputs = 0;
    for entry in std::fs::read_dir(dir).expect("a corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        inputs += 1;
        target(&bytes);
        let steps = bytes.len().div_ceil(97).max(1);
        for at in (0..bytes.len()).step_by(steps) {
            target(&bytes[..at]);
            let mut bent = bytes.clone();
            bent[at] ^= 0x81;
            target(&bent);
        }
    }
    assert!(inputs > 1, "the corpus of {name} is not there");
}

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
