//! W10: state that memory cannot hold: a group for every key of many, and a join of which each side keeps many rows.
//!
//! Keys come in an order without a pattern, so that whatever is looked for is somewhere else than what
//! was looked for before. Both answers are known beforehand.

use std::path::{Path, PathBuf};

use yeoul_engine::SyncPolicy;

use super::events::{put_number, written};
use super::{Figures, Place, batch, tables};
use crate::failure::Failure;

/// Every so many groups, one comes again.
const AGAIN: u64 = 5;
/// Values are below this.
const VALUES: u64 = 1000;

/// All numbers below `count`, each once, in an order without a pattern.
#[derive(Clone, Copy, Debug)]
struct Shuffled {
    count: u64,
    bits: u32,
    seed: u64,
}

impl Shuffled {
    fn new(count: u64, seed: u64) -> Self {
        let bits = (u64::BITS - count.saturating_sub(1).leading_zeros()).max(2);
        Self { count, bits, seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) }
    }

    /// The number at position `at`, which is below the count.
    fn at(self, at: u64) -> u64 {
        let mut number = self.mixed(at);
        // Numbers that are too great lie on the way to one that is not.
        while number >= self.count {
            number = self.mixed(number);
        }
        number
    }

    /// One to one over all numbers of this many bits: each step can be undone.
    fn mixed(self, number: u64) -> u64 {
        let mask = u64::MAX >> (u64::BITS - self.bits);
        let half = self.bits.div_ceil(2);
        let mut mixed = number ^ (self.seed & mask);
        for odd in [0xD6E8_FEB8_6659_FD93_u64, 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB] {
            mixed = mixed.wrapping_mul(odd) & mask;
            mixed ^= mixed >> half;
        }
        mixed
    }
}

/// Keys and values, as lines of CSV: all keys below `keys`, then some of them again.
fn rows_file(dir: &Path, name: &str, seed: u64, keys: u64, rows: u64) -> Result<PathBuf, Failure> {
    let path = dir.join(format!("{name}-{seed}-{rows}.csv"));
    let shuffled = Shuffled::new(keys, seed);
    let mut number = 0;
    written(&path, rows, &mut |out| {
        if number == 0 {
            out.extend_from_slice(b"k,v\n");
        }
        put_number(shuffled.at(number % keys), out);
        out.push(b',');
        put_number(number % VALUES, out);
        out.push(b'\n');
        number += 1;
    })?;
    Ok(path)
}

fn stream(name: &str, path: &Path) -> String {
    let path = path.display().to_string().replace('\'', "''");
    format!(
        "CREATE STREAM {name} (k BIGINT NOT NULL, v BIGINT NOT NULL)
           WITH (connector = 'file', path = '{path}', format = 'csv', retention = '0 seconds');\n"
    )
}

/// The sum of the values of the first `rows` rows.
fn total(rows: u64) -> u64 {
    let whole = rows / VALUES * (VALUES * (VALUES - 1) / 2);
    whole + (0..rows % VALUES).sum::<u64>()
}

fn proven(mut figures: Figures, wanted: &str) -> Result<Figures, Failure> {
    if figures.check != wanted {
        let message = format!("{}: {} instead of {wanted}", figures.workload, figures.check);
        return Err(Failure::new(message));
    }
    figures.note = "as it should be".into();
    Ok(figures)
}

/// As many groups as events, and a fifth of them once more.
pub(super) fn groups(place: &Place) -> Result<Figures, Failure> {
    let (keys, rows) = (place.events, place.events + place.events / AGAIN);
    let file = rows_file(&place.dir, "groups", place.seed, keys, rows)?;
    let sql = format!("{}{}", stream("numbers", &file), tables::GROUPS);
    let check =
        "SELECT count(*), CAST(sum(rows) AS BIGINT), CAST(sum(total) AS BIGINT) FROM by_key";
    let place = Place { events: rows, ..place.clone() };
    let mut figures = batch::drained(&place, "W10", sql, check, SyncPolicy::Os)?;
    figures.workload = "W10 groups".into();
    proven(figures, &format!("{keys} {rows} {}", total(rows)))
}

/// A join of two sides of two fifths as many rows as events, one match for each.
pub(super) fn sides(place: &Place) -> Result<Figures, Failure> {
    let rows = (place.events * 2 / 5).max(1);
    let left = rows_file(&place.dir, "left", place.seed, rows, rows)?;
    let right = rows_file(&place.dir, "right", place.seed + 1, rows, rows)?;
    let sql = format!("{}{}{}", stream("l", &left), stream("r", &right), tables::SIDES);
    let check = "SELECT CAST(sum(pairs) AS BIGINT), CAST(sum(left_total) AS BIGINT),
      CAST(sum(right_total) AS BIGINT) FROM joined";
    let place = Place { events: 2 * rows, ..place.clone() };
    let mut figures = batch::drained(&place, "W10", sql, check, SyncPolicy::Os)?;
    figures.workload = "W10 join".into();
    proven(figures, &format!("{rows} {} {}", total(rows), total(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once() {
        for count in [1, 2, 3, 10, 1000, 1024, 70_001] {
            let shuffled = Shuffled::new(count, 42);
            let mut all: Vec<u64> = (0..count).map(|at| shuffled.at(at)).collect();
            if count > 100 {
                let ordered = all.windows(2).filter(|pair| pair[0] < pair[1]).count();
                let half = all.len() / 2;
                assert!(ordered.abs_diff(half) < half / 5, "{ordered} of {count} rise");
            }
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count), "{count}");
        }
    }

    #[test]
    fn totals_are_sums() {
        for rows in [0, 1, 999, 1000, 1001, 12_345] {
            assert_eq!(total(rows), (0..rows).map(|row| row % VALUES).sum::<u64>());
        }
    }

    #[test]
    fn small_states_are_measured_and_proven() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = Place { dir: dir.path().into(), events: 5000, seed: 1 };
        let groups = groups(&place).expect("groups");
        assert_eq!(groups.check, format!("5000 6000 {}", total(6000)));
        let sides = sides(&place).expect("sides");
        assert_eq!(sides.check, format!("2000 {0} {0}", total(2000)));
        assert_eq!((groups.events, sides.events), (6000, 4000));
    }
}
