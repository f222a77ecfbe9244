//! Filters that say "certainly not in this run" or "perhaps": binary fuse filters (T. M. Graf, D.
//! Lemire, "Binary fuse filters: fast and smaller than xor filters", JEA 27, 2022).
//!
//! ```text
//!   hash128 = high 64 ── top bits ──▶ segment (≈ 2¹⁷ keys)
//!             low 64 ── mix, seed ──▶ three slots of the segment; their xor is the fingerprint
//! ```
//!
//! A key costs 1.16 slots of `bits` bits each and a stranger passes with 2^−bits. Segments make
//! the construction small: a run's filter is built while the run is written, from one segment's
//! keys at a time. Since the xor holds bit by bit, a filter of b bits becomes one of b − 1 bits by
//! leaving out a bit of every slot: memory is given back without reading the run.
//!
//! What must hold: every key that was pushed passes, at every width.

use super::build::Slots;

/// The widest fingerprint.
pub(super) const BITS_MAX: u32 = 16;
/// Slots per key, with what small segments take more: used to plan memory.
pub(super) const SLOTS_PER_KEY: f64 = 1.17;
/// Bytes of a segment in the file.
const SEGMENT_LEN: usize = 24;
/// Bytes read behind the last slot.
pub(super) const PAD: usize = 4;

/// A segment without keys: nothing passes.
const EMPTY: u8 = 0;
/// A segment with slots.
pub(super) const SLOTS: u8 = 1;
/// A segment whose filter could not be built: everything passes.
pub(super) const ALL: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first slot in the filter.
    pub(super) start: u64,
    pub(super) seed: u64,
    /// The first of a key's three slots is below this.
    pub(super) first_slots: u32,
    /// The slots are in blocks of `1 << block_log2`; a key's slots are in three blocks in a row.
    pub(super) block_log2: u8,
    pub(super) state: u8,
}

impl Segment {
    pub(super) const EMPTY: Self =
        Self { start: 0, seed: 0, first_slots: 0, block_log2: 0, state: EMPTY };

    /// How many slots it has.
    pub(super) fn slots(&self) -> u64 {
        u64::from(self.first_slots) + (2 << self.block_log2)
    }

    #[inline]
    pub(super) fn places(&self, hash: u64) -> [u64; 3] {
        let block = 1u64 << self.block_log2;
        let mask = block - 1;
        let first = high_product(hash, u64::from(self.first_slots));
        [first, (first + block) ^ ((hash >> 18) & mask), (first + 2 * block) ^ (hash & mask)]
    }
}

/// The upper half of the product: `hash` spread over `0 .. range`.
#[inline]
pub(super) fn high_product(hash: u64, range: u64) -> u64 {
    ((u128::from(hash) * u128::from(range)) >> 64) as u64
}

/// Murmur3's finalizer: a bijection that spreads every bit.
#[inline]
pub(super) fn mix(key: u64, seed: u64) -> u64 {
    let mut h = key.wrapping_add(seed);
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[inline]
pub(super) fn fingerprint(hash: u64) -> u64 {
    hash ^ (hash >> 32)
}

/// The halves of a key.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
pub(super) fn halves(key: u128) -> (u64, u64) {
    ((key >> 64) as u64, key as u64)
}

/// The filter of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) bits: u32,
    pub(super) prefix_bits: u32,
    pub(super) segments: Vec<Segment>,
    /// Slot n is the `bits` bits from bit `n · bits`, little-endian.
    pub(super) slots: Vec<u8>,
}

impl Filter {
    /// Its width; at 0 it lets everything pass.
    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    /// The logarithm of its number of segments.
    pub(super) fn prefix_bits(&self) -> u32 {
        self.prefix_bits
    }

    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() + self.segments.capacity() * size_of::<Segment>()
    }

    /// Whether `key` may be in the run.
    #[inline]
    pub(super) fn passes(&self, key: u128) -> bool {
        if self.bits == 0 {
            return true;
        }
        let (high, low) = halves(key);
        let segment = &self.segments[segment_of(high, self.prefix_bits)];
        if segment.state != SLOTS {
            return segment.state == ALL;
        }
        let hash = mix(low, segment.seed);
        let [a, b, c] = segment.places(hash).map(|place| self.slot(segment.start + place));
        (a ^ b ^ c ^ fingerprint(hash)) & mask(self.bits) == 0
    }

    /// The slot, with whatever bits follow it.
    #[inline]
    fn slot(&self, number: u64) -> u64 {
        let bit = number * u64::from(self.bits);
        let at = (bit >> 3) as usize;
        let bytes = &self.slots[at..at + PAD];
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        u64::from(word >> (bit & 7))
    }

    /// The same filter with one bit less per slot.
    pub(super) fn narrower(&self) -> Self {
        let bits = self.bits.saturating_sub(1);
        let count = self.segments.iter().filter(|s| s.state == SLOTS).map(Segment::slots).sum();
        let mut slots = Slots::with_capacity(bits, count);
        if bits > 0 {
            (0..count).for_each(|n| slots.push(self.slot(n)));
        }
        Self {
            bits,
            prefix_bits: self.prefix_bits,
            segments: self.segments.clone(),
            slots: slots.finish(),
        }
    }

    /// The first of the bytes to store; [`Filter::slots`] follow.
    pub(super) fn encode_segments(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.segments.len() * SEGMENT_LEN);
        for segment in &self.segments {
            out.extend_from_slice(&segment.start.to_le_bytes());
            out.extend_from_slice(&segment.seed.to_le_bytes());
            out.extend_from_slice(&segment.first_slots.to_le_bytes());
            out.extend_from_slice(&[segment.block_log2, segment.state, 0, 0]);
        }
        out
    }

    /// The rest of the bytes to store.
    pub(super) fn slots(&self) -> &[u8] {
        &self.slots
    }

    /// Reads the two, one after the other; `None` when it is something else.
    pub(super) fn decode(bits: u32, prefix_bits: u32, bytes: &[u8]) -> Option<Self> {
        if bits > BITS_MAX || prefix_bits > 32 {
            return None;
        }
        let (head, slots) = bytes.split_at_checked(SEGMENT_LEN << prefix_bits)?;
        let (entries, _) = head.as_chunks::<SEGMENT_LEN>();
        let mut segments = Vec::with_capacity(entries.len());
        let mut next = 0u64;
        for entry in entries {
            let (words, _) = entry.as_chunks::<8>();
            let (narrow, _) = entry[16..].as_chunks::<4>();
            let segment = Segment {
                start: u64::from_le_bytes(words[0]),
                seed: u64::from_le_bytes(words[1]),
                first_slots: u32::from_le_bytes(narrow[0]),
                block_log2: entry[20],
                state: entry[21],
            };
            if segment.state > ALL || segment.block_log2 > 30 || entry[22..] != [0, 0] {
                return None;
            }
            if segment.state == SLOTS {
                // Only whole blocks keep a key's slots inside of the segment.
                let whole = segment.first_slots.is_multiple_of(1 << segment.block_log2);
                if segment.start != next || segment.first_slots == 0 || !whole {
                    return None;
                }
                next += segment.slots();
            }
            segments.push(segment);
        }
        let whole = slots_len(bits, next) == Some(slots.len());
        whole.then(|| Self { bits, prefix_bits, segments, slots: slots.to_vec() })
    }
}

#[inline]
pub(super) fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// Which of `1 << prefix_bits` segments a key belongs to, by the top bits of its high half.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
pub(super) fn segment_of(high: u64, prefix_bits: u32) -> usize {
    high.checked_shr(64 - prefix_bits).unwrap_or(0) as usize
}

/// The bytes of `count` slots with their padding.
pub(super) fn slots_len(bits: u32, count: u64) -> Option<usize> {
    if bits == 0 {
        return Some(0);
    }
    let bytes = count.checked_mul(u64::from(bits))?.div_ceil(8);
    usize::try_from(bytes).ok()?.checked_add(PAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::build::FilterBuilder;
    use crate::seen::tests::Random;

    fn keys(count: usize, seed: u64) -> Vec<u128> {
        let mut random = Random::new(seed);
        let mut keys: Vec<u128> = (0..count).map(|_| random.key()).collect();
        keys.sort_unstable();
        keys
    }

    fn build(keys: &[u128], bits: u32) -> Filter {
        let mut builder = FilterBuilder::new(keys.len() as u64, bits);
        keys.iter().for_each(|&k| builder.push(k));
        builder.finish()
    }

    #[test]
    fn every_key_passes_at_every_width_and_few_strangers_do() {
        for count in [1, 2, 3, 10, 100, 5_000, 300_000] {
            let own = keys(count, 1);
            let strangers = keys(20_000, 2);
            let mut filter = build(&own, 12);
            loop {
                assert!(own.iter().all(|&k| filter.passes(k)), "{count} at {}", filter.bits());
                let passed = strangers.iter().filter(|&&k| filter.passes(k)).count() as f64;
                let expected = 20_000.0 / f64::from(1u32 << filter.bits());
                let far = 6.0 * expected.sqrt() + 4.0;
                assert!((passed - expected).abs() <= far, "{count}, {}: {passed}", filter.bits());
                if filter.bits() == 0 {
                    break;
                }
                let bytes = [&filter.encode_segments(), filter.slots()].concat();
                let back = Filter::decode(filter.bits, filter.prefix_bits, &bytes).unwrap();
                assert_eq!(back, filter);
                assert_eq!(filter.narrower().bits(), build(&own, filter.bits() - 1).bits());
                filter = filter.narrower();
            }
        }
    }

    #[test]
    fn narrowing_is_the_same_as_building_narrow() {
        let own = keys(50_000, 3);
        assert_eq!(build(&own, 10).narrower().narrower(), build(&own, 8));
    }

    #[test]
    fn equal_low_halves_do_no_harm() {
        let own: Vec<u128> = (0..1000u128).map(|n| n << 96 | (n % 7)).collect();
        let filter = build(&own, 8);
        assert!(own.iter().all(|&k| filter.passes(k)));
    }

    #[test]
    fn size_is_as_planned() {
        let own = keys(400_000, 4);
        let filter = build(&own, 9);
        let per_key = filter.slots.len() as f64 * 8.0 / 9.0 / own.len() as f64;
        assert!(per_key < SLOTS_PER_KEY, "{per_key}");
    }

    #[test]
    fn refuses_other_bytes() {
        let own = keys(100, 5);
        let filter = build(&own, 8);
        let bytes = [&filter.encode_segments(), filter.slots()].concat();
        assert!(Filter::decode(8, 0, &bytes[1..]).is_none());
        assert!(Filter::decode(7, 0, &bytes).is_none());
        assert!(Filter::decode(8, 3, &bytes).is_none());
        assert!(Filter::decode(17, 0, &bytes).is_none());
        let mut reserved = bytes;
        reserved[22] = 1;
        assert!(Filter::decode(8, 0, &reserved).is_none());
    }

    #[test]
    fn refuses_a_segment_of_broken_blocks() {
        // Of one slot and two blocks of 16: the last slot of most keys would lie behind the end.
        let segment = Segment { first_slots: 1, block_log2: 4, state: SLOTS, ..Segment::EMPTY };
        let slots = slots_len(8, segment.slots()).unwrap();
        let filter =
            Filter { bits: 8, prefix_bits: 0, segments: vec![segment], slots: vec![0; slots] };
        let bytes = [&filter.encode_segments(), filter.slots()].concat();
        assert!(Filter::decode(8, 0, &bytes).is_none());
    }
}
