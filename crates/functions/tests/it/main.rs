//! The inputs of the fuzz targets, replayed.

#[expect(unreachable_pub, reason = "the file is shared with the fuzz targets")]
#[path = "../../../../fuzz/src/targets/functions.rs"]
mod targets;

fn replay(name: &str, target: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut inputs = 0;
    for entry in std::fs::read_dir(dir).expect("a corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        inputs += 1;
        target(&bytes);
        for at in 0..bytes.len().min(200) {
            target(&bytes[..at]);
            let mut bent = bytes.clone();
            bent[at] ^= 0x81;
            target(&bent);
        }
    }
    assert!(inputs > 1, "the corpus of {name} is not there");
}

#[test]
fn distinct_state() {
    replay("distinct_state", targets::distinct_state);
}

#[test]
fn percentile_state() {
    replay("percentile_state", targets::percentile_state);
}
