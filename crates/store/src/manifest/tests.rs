//! A manifest is read as it was written, or refused.

use proptest::prelude::*;

use super::*;
use crate::{Fault, TrialMedia};

fn sample(commit: u64) -> Manifest {
    let part = |number: u64| PartMeta {
        number,
        partition: -3,
        rows: 1000 * number,
        bytes: 77,
        level: 2,
        first_key: vec![0, 1, 2],
        last_key: b"zebra".to_vec(),
    };
    let tree = |id: u32, rule, parts: u64| TreeManifest {
        id: TreeId(id),
        rule,
        expired_rows: (rule == RuleKind::Keep).then_some(5),
        parts: (1..=parts).map(part).collect(),
    };
    Manifest {
        commit: CommitId(commit),
        next_tree: 9,
        next_part: 1234,
        trees: vec![
            tree(1, RuleKind::Keep, 3),
            tree(2, RuleKind::Latest, 0),
            tree(5, RuleKind::Combine, 1),
        ],
        seen_runs: vec![SeenRunMeta { number: 4, from_us: -5, to_us: 6, keys: 7, bytes: 112 }],
        meta: Bytes::from_static(b"{\"catalog\":[]}"),
    }
}

fn same(a: &Manifest, b: &Manifest) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

#[test]
fn what_is_stored_is_loaded() {
    let media = TrialMedia::new(1);
    assert!(Manifest::load(&media).unwrap().is_none());
    for manifest in [Manifest::default(), sample(7), sample(8)] {
        manifest.store(&media).unwrap();
        assert!(same(&Manifest::load(&media).unwrap().unwrap(), &manifest));
    }
}

#[test]
fn every_operation_may_fail() {
    let clean = TrialMedia::new(1);
    sample(1).store(&clean).unwrap();
    let first = clean.operations();
    sample(2).store(&clean).unwrap();
    let faults =
        [Fault::CrashBefore, Fault::CrashAfter, Fault::ShortWrite, Fault::Io, Fault::NoSpace];
    for at in first + 1..=clean.operations() {
        for (fault, seed) in faults.iter().flat_map(|f| (0..40).map(move |seed| (*f, seed))) {
            let media = TrialMedia::with_fault(seed, at, fault);
            sample(1).store(&media).unwrap();
            sample(2).store(&media).unwrap_err();
            for media in [media.after_crash(), media] {
                if !media.has_crashed() {
                    let found = Manifest::load(&media).unwrap().unwrap();
                    assert!(same(&found, &sample(1)) || same(&found, &sample(2)));
                    sample(3).store(&media).unwrap();
                    assert!(same(&Manifest::load(&media).unwrap().unwrap(), &sample(3)));
                }
            }
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = sample(7).encode();
    for at in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(Manifest::decode(&damaged).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_newer_version_is_refused() {
    let mut bytes = sample(7).encode();
    bytes[8] = 3;
    let error = Manifest::decode(&bytes).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 3, known: 2, .. }));
}

#[test]
fn version_1_is_read() {
    let bytes = std::fs::read("tests/fixtures/manifest.v1").expect("the fixture is checked in");
    let mut expected = sample(7);
    // It did not count them.
    expected.trees.iter_mut().for_each(|tree| tree.expired_rows = None);
    assert!(same(&Manifest::decode(&bytes).unwrap(), &expected));
}

#[test]
fn version_2_is_read() {
    let bytes = crate::fixture("manifest.v2", || sample(7).encode());
    assert!(same(&Manifest::decode(&bytes).unwrap(), &sample(7)));
}

proptest! {
    /// The checksum hides the reader from chance: so here it is put right.
    #[test]
    fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = sample(7).encode();
        bytes.truncate(16);
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(body);
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let _ = Manifest::decode(&bytes);
    }

    #[test]
    fn any_damaged_body_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sample(7).encode();
        let at = 24 + at.index(bytes.len() - 24);
        bytes[at] = value;
        bytes.truncate(24 + keep.index(bytes.len() - 24));
        let len = bytes.len() as u64 - 24;
        bytes[16..24].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let _ = Manifest::decode(&bytes);
    }
}
