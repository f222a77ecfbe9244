//! How many different values: HyperLogLog whose state is a function of the set of values alone.
//!
//! ```text
//!   64-bit hash ─mix─▶ bucket (26 bits) | rank of the rest: 1 + leading zeros of 38 bits
//!
//!   sparse: up to 1,024 distinct buckets, sorted                     counts almost exactly
//!   dense:  4,096 registers, the largest rank seen by each           standard error 1.6 %
//! ```
//!
//! A register is addressed by the bucket's first 12 bits, and its rank continues through the
//! bucket's other 14, so a sparse state turns into exactly the dense state that its values would
//! have made. It does so when it has more than 1,024 distinct buckets, and by nothing else. Hence:
//!
//! - **merging in any order and grouping gives identical bytes**, in every process;
//! - the answer is the same for the same values, however they were divided.
//!
//! Error: dense 1.04/√4096 = 1.6 % (one standard deviation); sparse below 10⁻⁵. The estimator is
//! O. Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm
//! 6): no tables, no bias correction by range.
//!
//! Limits: a state is at most 4,098 bytes; values cannot be taken back.

use arrow::array::{Array, BinaryArray, BinaryBuilder, Int64Array};
use arrow::buffer::NullBuffer;

use crate::error::StateError;
use crate::group::ByGroup;

const BUCKET_BITS: u32 = 26;
const REST_BITS: u32 = 64 - BUCKET_BITS;
const RANK_BITS: u32 = 6;
const REGISTER_BITS: u32 = 12;
const REGISTERS: usize = 1 << REGISTER_BITS;
/// The bits of a bucket that are not the register's address.
const BUCKET_REST_BITS: u32 = BUCKET_BITS - REGISTER_BITS;
/// As many four-byte entries as fit the bytes of the registers.
const SPARSE_MAX: usize = REGISTERS / 4;
/// The largest rank of a register: 52 zeros and a one.
const RANK_MAX: usize = (64 - REGISTER_BITS) as usize + 1;

const SPARSE: u8 = 1;
const DENSE: u8 = 2;

/// A hash as `bucket << 6 | rank`: entries of one bucket are neighbours when sorted.
#[inline]
fn coupon(hash: u64) -> u32 {
    // The caller's hash may be weak in some bits; murmur3's finalizer spreads them (a bijection).
    let mut h = hash;
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^= h >> 33;
    let rank = ((h << BUCKET_BITS).leading_zeros() + 1).min(REST_BITS + 1);
    let bucket = (h >> REST_BITS) as u32;
    bucket << RANK_BITS | rank
}

/// The register of a coupon and the rank it asks for.
#[inline]
fn register(coupon: u32) -> (usize, u8) {
    let bucket = coupon >> RANK_BITS;
    let address = bucket >> BUCKET_REST_BITS;
    let rest = bucket << (32 - BUCKET_REST_BITS);
    let rank = if rest == 0 {
        BUCKET_REST_BITS + (coupon & ((1 << RANK_BITS) - 1))
    } else {
        rest.leading_zeros() + 1
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most 53")]
    let rank = rank as u8;
    (address as usize, rank)
}

/// Sorts coupons and keeps the highest rank of each bucket.
fn settle(coupons: &mut Vec<u32>) {
    coupons.sort_unstable();
    keep_last_of_bucket(coupons);
}

/// Of sorted coupons, keeps the last of each bucket.
fn keep_last_of_bucket(coupons: &mut Vec<u32>) {
    // `dedup_by` keeps the first of equals, so the higher rank is moved into it.
    coupons.dedup_by(|next, kept| {
        let same = *next >> RANK_BITS == *kept >> RANK_BITS;
        if same {
            *kept = *next;
        }
        same
    });
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Sorted, one per bucket, at most [`SPARSE_MAX`].
    Sparse(Vec<u32>),
    /// [`REGISTERS`] ranks.
    Dense(Box<[u8]>),
}

/// A set of values, remembered just well enough to say how many they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    form: Form,
}

impl Default for Distinct {
    fn default() -> Self {
        Self::new()
    }
}

impl Distinct {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self { form: Form::Sparse(Vec::new()) }
    }

    /// Adds the value with this 64-bit hash (the same in every process).
    pub fn add_hash(&mut self, hash: u64) {
        self.add_coupon(coupon(hash));
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        match &other.form {
            Form::Sparse(coupons) => coupons.iter().for_each(|&c| self.add_coupon(c)),
            Form::Dense(theirs) => raise(self.registers_mut(), theirs),
        }
    }

    /// How many different values, rounded.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        match &self.form {
            Form::Sparse(coupons) => estimate_sparse(coupons.len()),
            Form::Dense(registers) => estimate_dense(registers),
        }
    }

    /// The state to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.form {
            Form::Sparse(coupons) => write_sparse(coupons, &mut bytes),
            Form::Dense(registers) => write_dense(registers, &mut bytes),
        }
        bytes
    }

    /// Reads a stored state.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let form = match Stored::parse(bytes)? {
            Stored::Sparse(entries) => Form::Sparse(entries.iter().map(read_entry).collect()),
            Stored::Dense(registers) => Form::Dense(registers.into()),
        };
        Ok(Self { form })
    }

    fn add_coupon(&mut self, coupon: u32) {
        match &mut self.form {
            Form::Dense(registers) => add_to_registers(registers, coupon),
            Form::Sparse(coupons) => {
                let bucket = coupon >> RANK_BITS;
                let at = coupons.partition_point(|c| c >> RANK_BITS < bucket);
                match coupons.get_mut(at) {
                    Some(found) if *found >> RANK_BITS == bucket => *found = coupon.max(*found),
                    _ => coupons.insert(at, coupon),
                }
                if coupons.len() > SPARSE_MAX {
                    self.registers_mut();
                }
            }
        }
    }

    fn registers_mut(&mut self) -> &mut [u8] {
        if let Form::Sparse(coupons) = &self.form {
            self.form = Form::Dense(to_registers(coupons));
        }
        match &mut self.form {
            Form::Dense(registers) => registers,
            Form::Sparse(_) => unreachable!("made dense above"),
        }
    }
}

fn to_registers(coupons: &[u32]) -> Box<[u8]> {
    let mut registers = vec![0u8; REGISTERS].into_boxed_slice();
    coupons.iter().for_each(|&c| add_to_registers(&mut registers, c));
    registers
}

#[inline]
fn add_to_registers(registers: &mut [u8], coupon: u32) {
    let (address, rank) = register(coupon);
    registers[address] = registers[address].max(rank);
}

/// Register by register the larger of the two.
fn raise(registers: &mut [u8], others: &[u8]) {
    registers.iter_mut().zip(others).for_each(|(mine, &theirs)| *mine = theirs.max(*mine));
}

/// Linear counting over 2²⁶ buckets.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most 1,024 entries"
)]
fn estimate_sparse(entries: usize) -> u64 {
    let buckets = f64::from(1u32 << BUCKET_BITS);
    (-buckets * (-(entries as f64) / buckets).ln_1p()).round() as u64
}

/// Ertl's improved raw estimator.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of 4,096 registers; the estimate is positive, and saturates"
)]
fn estimate_dense(registers: &[u8]) -> u64 {
    let mut counts = [0u32; RANK_MAX + 1];
    registers.iter().for_each(|&rank| counts[usize::from(rank)] += 1);
    let m = REGISTERS as f64;
    let mut z = m * tau(1.0 - f64::from(counts[RANK_MAX]) / m);
    for &count in counts[1..RANK_MAX].iter().rev() {
        z = 0.5 * (z + f64::from(count));
    }
    z += m * sigma(f64::from(counts[0]) / m);
    (0.5 / std::f64::consts::LN_2 * m * m / z).round() as u64
}

/// x + Σ x^(2ᵏ)·2^(k−1), k ≥ 1.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

/// ⅓ (1 − x − Σ (1 − x^(2⁻ᵏ))²·2⁻ᵏ), k ≥ 1.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

/// A stored state, looked at where it lies. No bytes at all are the empty set.
enum Stored<'a> {
    Sparse(&'a [[u8; 4]]),
    Dense(&'a [u8]),
}

impl<'a> Stored<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, StateError> {
        let damaged = |reason: String| StateError { function: "approx_count_distinct", reason };
        let Some((&kind, payload)) = bytes.split_first() else { return Ok(Self::Sparse(&[])) };
        match kind {
            SPARSE => {
                let (entries, rest) = payload.as_chunks::<4>();
                let sorted = entries
                    .windows(2)
                    .all(|w| read_entry(&w[0]) >> RANK_BITS < read_entry(&w[1]) >> RANK_BITS);
                let ranks = 1..=REST_BITS + 1;
                let ranked = entries
                    .iter()
                    .all(|e| ranks.contains(&(read_entry(e) & ((1 << RANK_BITS) - 1))));
                if rest.is_empty() && entries.len() <= SPARSE_MAX && sorted && ranked {
                    Ok(Self::Sparse(entries))
                } else {
                    Err(damaged(format!("{} bytes of sorted entries expected", payload.len())))
                }
            }
            DENSE => {
                let ranked = payload.iter().all(|&rank| usize::from(rank) <= RANK_MAX);
                if payload.len() == REGISTERS && ranked {
                    Ok(Self::Dense(payload))
                } else {
                    Err(damaged(format!("{REGISTERS} registers expected")))
                }
            }
            other => Err(damaged(format!("unknown form {other}"))),
        }
    }
}

fn read_entry(entry: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*entry)
}

fn write_sparse(coupons: &[u32], out: &mut Vec<u8>) {
    out.push(SPARSE);
    out.extend(coupons.iter().flat_map(|c| c.to_le_bytes()));
}

fn write_dense(registers: &[u8], out: &mut Vec<u8>) {
    out.push(DENSE);
    out.extend_from_slice(registers);
}

/// Writes the state of sorted, bucket-wise unique coupons in the form that their number asks for.
fn write(coupons: &[u32], out: &mut Vec<u8>) {
    if coupons.len() > SPARSE_MAX {
        write_dense(&to_registers(coupons), out);
    } else {
        write_sparse(coupons, out);
    }
}

/// One state per group from the values' hashes. Rows where `nulls` says null are left out.
///
/// # Panics
/// When lengths differ or a group is not below `group_count`: a caller's mistake.
#[must_use]
pub fn build(
    hashes: &[u64],
    nulls: Option<&NullBuffer>,
    groups: &[u32],
    group_count: usize,
) -> BinaryArray {
    assert_eq!(hashes.len(), groups.len(), "approx_count_distinct: one group per row");
    let by_group =
        ByGroup::new(groups, group_count, |row| nulls.is_none_or(|nulls| nulls.is_valid(row)));
    let mut states = BinaryBuilder::with_capacity(group_count, hashes.len() * 4 + group_count);
    let (mut coupons, mut bytes) = (Vec::new(), Vec::new());
    for rows in by_group.iter() {
        coupons.clear();
        coupons.extend(rows.iter().map(|&row| coupon(hashes[row as usize])));
        settle(&mut coupons);
        bytes.clear();
        write(&coupons, &mut bytes);
        states.append_value(&bytes);
    }
    states.finish()
}

/// One state per group from stored states; a null state is the empty set.
///
/// # Panics
/// When lengths differ or a group is not below `group_count`: a caller's mistake.
pub fn merge(
    stored: &BinaryArray,
    groups: &[u32],
    group_count: usize,
) -> Result<BinaryArray, StateError> {
    assert_eq!(stored.len(), groups.len(), "approx_count_distinct: one group per state");
    let by_group = ByGroup::new(groups, group_count, |row| stored.is_valid(row));
    let mut states = BinaryBuilder::with_capacity(group_count, stored.value_data().len());
    let (mut coupons, mut bytes) = (Vec::new(), Vec::new());
    let mut registers = vec![0u8; REGISTERS];
    for rows in by_group.iter() {
        if let &[only] = rows {
            states.append_value(stored.value(only as usize));
            continue;
        }
        coupons.clear();
        let mut dense = false;
        for &row in rows {
            match Stored::parse(stored.value(row as usize))? {
                Stored::Sparse(entries) => coupons.extend(entries.iter().map(read_entry)),
                Stored::Dense(theirs) if dense => raise(&mut registers, theirs),
                Stored::Dense(theirs) => {
                    registers.copy_from_slice(theirs);
                    dense = true;
                }
            }
        }
        bytes.clear();
        if dense {
            coupons.iter().for_each(|&c| add_to_registers(&mut registers, c));
            write_dense(&registers, &mut bytes);
        } else {
            settle(&mut coupons);
            write(&coupons, &mut bytes);
        }
        states.append_value(&bytes);
    }
    Ok(states.finish())
}

/// How many different values each stored state holds; 0 for a null state.
pub fn finish(stored: &BinaryArray) -> Result<Int64Array, StateError> {
    let mut values = Vec::with_capacity(stored.len());
    for row in 0..stored.len() {
        let estimate = if stored.is_null(row) {
            0
        } else {
            match Stored::parse(stored.value(row))? {
                Stored::Sparse(entries) => estimate_sparse(entries.len()),
                Stored::Dense(registers) => estimate_dense(registers),
            }
        };
        values.push(i64::try_from(estimate).unwrap_or(i64::MAX));
    }
    Ok(values.into())
}

#[cfg(test)]
mod tests;
