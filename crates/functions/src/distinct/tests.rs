//! Distinct counts: any order gives the same bytes, and the error is within its bound.

use super::*;
use crate::group::random::Random;

fn of(hashes: impl IntoIterator<Item = u64>) -> Distinct {
    let mut set = Distinct::new();
    hashes.into_iter().for_each(|h| set.add_hash(h));
    set
}

#[test]
fn state_depends_on_the_set_of_values_alone() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let size = 1 + random.below(3000);
        let values: Vec<u64> = (0..size).map(|_| random.below(2 * size)).collect();
        let whole = of(values.iter().copied()).to_bytes();
        let groups = 1 + random.below(6);
        let mut parts = vec![Distinct::new(); usize::try_from(groups).unwrap()];
        for &value in &values {
            // Some values go to several parts.
            for _ in 0..=random.below(2) {
                parts[usize::try_from(random.below(groups)).unwrap()].add_hash(value);
            }
        }
        let stored: Vec<Vec<u8>> = parts.iter().map(Distinct::to_bytes).collect();
        let mut merged = Distinct::from_bytes(&[]).unwrap();
        for bytes in stored.iter().rev() {
            merged.merge(&Distinct::from_bytes(bytes).unwrap());
        }
        assert_eq!(merged.to_bytes(), whole, "seed {seed}");
        let column = BinaryArray::from_iter_values(&stored);
        let column = merge(&column, &vec![0; stored.len()], 1).unwrap();
        assert_eq!(column.value(0), whole, "seed {seed}");
    }
}

#[test]
fn columns_agree_with_their_scalar_twins() {
    let mut random = Random::new(7);
    let rows = 20_000;
    let hashes: Vec<u64> = (0..rows).map(|_| random.below(4000)).collect();
    // Group 0 becomes dense, group 3 stays empty.
    let groups: Vec<u32> = (0..rows).map(|r| [0, 0, 0, 1, 2][r % 5]).collect();
    let nulls: NullBuffer = (0..rows).map(|r| r % 11 != 0).collect();
    let states = build(&hashes, Some(&nulls), &groups, 4);
    let counts = finish(&states).unwrap();
    for group in 0..4u32 {
        let rows = (0..rows).filter(|&r| groups[r] == group && nulls.is_valid(r));
        let twin = of(rows.map(|r| hashes[r]));
        assert_eq!(states.value(group as usize), twin.to_bytes());
        assert_eq!(counts.value(group as usize), i64::try_from(twin.estimate()).unwrap());
    }
    assert_eq!(counts.value(3), 0);
    assert_eq!(states.value(0).len(), REGISTERS + 1);
}

#[test]
fn error_is_what_the_header_says() {
    let mut sum_of_squares = 0.0;
    let mut sets = 0.0;
    for seed in 0..30u64 {
        let mut set = Distinct::new();
        let mut next = 1u64;
        for n in 1..=100_000u64 {
            set.add_hash(n ^ (seed << 40));
            if n == next {
                let off = set.estimate() as f64 / n as f64 - 1.0;
                if n <= 1000 {
                    assert!(off.abs() < 1e-9, "seed {seed}: {} of {n}", set.estimate());
                } else {
                    assert!(off.abs() < 0.08, "seed {seed}: {} of {n}", set.estimate());
                    sum_of_squares += off * off;
                    sets += 1.0;
                }
                next = (next * 3 / 2).max(next + 1);
            }
        }
    }
    let error = (sum_of_squares / sets).sqrt();
    assert!(error < 0.018, "standard error {error}");
}

#[test]
fn refuses_damaged_states() {
    let mut bytes = of(0..5).to_bytes();
    bytes.pop();
    assert!(Distinct::from_bytes(&bytes).is_err());
    assert!(Distinct::from_bytes(&[9]).is_err());
    assert!(Distinct::from_bytes(&[DENSE, 1, 2]).is_err());
    assert!(Distinct::from_bytes(&[SPARSE, 2, 0, 0, 0, 1, 0, 0, 0]).is_err());
    let all = vec![u8::MAX; REGISTERS];
    assert!(Distinct::from_bytes(&[&[DENSE][..], &all].concat()).is_err());
}

#[test]
fn bytes_are_the_same_in_every_process() {
    // A change here breaks stored states.
    assert_eq!(of([1, 2, 3]).to_bytes(), FIXTURE);
}

const FIXTURE: &[u8] = &[1, 196, 129, 81, 11, 1, 42, 191, 58, 193, 188, 86, 180];
