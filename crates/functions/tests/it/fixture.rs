//! States of version 1 stay readable. `docs/format/states.md`.
//!
//! The files in `tests/fixtures` are written anew with `YEOUL_WRITE_FIXTURES=1`, and only while the version has not
//! been released.

use yeoul_functions::{Distinct, Percentiles};

fn fixture(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    if std::env::var_os("YEOUL_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write to");
        std::fs::write(&path, make()).expect("a file to write to");
    }
    std::fs::read(&path).expect("the fixture is checked in")
}

/// The hashes 1, 2, 3, … times an odd number.
fn distinct(values: u64) -> Distinct {
    let mut state = Distinct::new();
    (1..=values).for_each(|n| state.add_hash(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    state
}

#[test]
fn distinct_sets() {
    for (name, form, values) in [("distinct.v1.sparse", 1, 20), ("distinct.v1.dense", 2, 100_000)] {
        let bytes = fixture(name, || distinct(values).to_bytes());
        assert_eq!(bytes[0], form, "{name}");
        let stored = Distinct::from_bytes(&bytes).expect("a state");
        // A set has one form: the bytes are those of today, and nothing is new to it.
        let mut today = distinct(values);
        assert_eq!(stored, today, "{name}");
        assert_eq!(today.to_bytes(), bytes, "{name}");
        today.merge(&stored);
        assert_eq!(today, stored, "{name}");
    }
}

#[test]
fn percentiles() {
    // In an order that has nothing to do with their size.
    let values = |count: u32| (0..count).map(move |n| f64::from(n * 7919 % count) / 4.0);
    for (name, form, count) in
        [("percentiles.v1.raw", 1, 100), ("percentiles.v1.digest", 2, 10_000)]
    {
        let bytes = fixture(name, || {
            let mut state = Percentiles::new();
            values(count).for_each(|value| state.add(value));
            state.to_bytes()
        });
        assert_eq!(bytes[0], form, "{name}");
        let mut state = Percentiles::from_bytes(&bytes).expect("a state");
        for twice in [false, true] {
            for rank in [0.0, 0.1, 0.5, 0.99, 1.0] {
                let exact = rank * f64::from(count - 1) / 4.0;
                let found = state.value(rank).expect("there are values");
                let allowed = if form == 1 && !twice { 1e-9 } else { f64::from(count) / 400.0 };
                assert!((found - exact).abs() <= allowed, "{name}, {rank}: {found}, not {exact}");
            }
            // The same values once more change no percentile.
            values(count).for_each(|value| state.add(value));
        }
    }
}
