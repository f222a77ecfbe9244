//! A target over its corpus, as a test. Not part of the fuzz programs: the tests of each crate include this file
//! beside its targets.

/// Runs a target over the files of `corpus/NAME/`, and over each of them cut short and bent.
pub(crate) fn replay(name: &str, target: fn(&[u8])) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut inputs = 0;
    for entry in std::fs::read_dir(dir).expect("a corpus") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        inputs += 1;
        target(&bytes);
        let step = bytes.len().div_ceil(97).max(1);
        for at in (0..bytes.len()).step_by(step) {
            target(&bytes[..at]);
            let mut bent = bytes.clone();
            bent[at] ^= 0x81;
            target(&bent);
        }
    }
    assert!(inputs > 1, "the corpus of {name} is not there");
}
