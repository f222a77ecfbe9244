//! Filters that say "certainly not in this run" or "perhaps": binary fuse filters (T. M. Graf, D.
//! Lemire, "Binary fuse filters: fast and smaller than xor filters", JEA 27, 2022).
//!
//! ```text
//!   hash128 = high 64 ── top bits ──▶ segment (≈ 2¹⁶ keys)
//!             low 64 ── mix, seed ──▶ three slots of the segment; their xor is the fingerprint
//! ```
//!
//! A key costs 1.18 slots of `bits` bits each and a stranger passes with 2^−bits. Segments make
//! the construction small: a run's filter is built while the run is written, from one segment's
//! keys at a time. Since the xor holds bit by bit, slots of b bits become slots of b − 1 bits by
//! leaving out a bit of each: memory is given back without reading the run.
//!
//! In memory the slots of a large filter are in 16 parts by the top bits of the keys. A part is narrowed
//! in some milliseconds and takes no more memory meanwhile than it has itself; and a merge hands
//! over what it has written part by part, so that old and new filters are never both there.
//!
//! What must hold: every key that was pushed passes, at every width.

use bytes::Bytes;

use super::GROUP;
use super::build::Slots;
use super::memory::Memory;

/// The widest fingerprint.
pub(super) const BITS_MAX: u32 = 16;
/// Slots per key, with what small segments take more: used to plan memory.
pub(super) const SLOTS_PER_KEY: f64 = 1.2;
/// Bytes of a segment in the file.
const SEGMENT_LEN: usize = 24;
/// The logarithm of the most parts.
pub(super) const PART_BITS_MAX: u32 = 4;
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
    /// The number of its first slot in its part; in the file, in the filter.
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

    /// Reads a segment; `None` when it is something else.
    fn decode(entry: &[u8; SEGMENT_LEN]) -> Option<Self> {
        let (words, _) = entry.as_chunks::<8>();
        let (narrow, _) = entry[16..].as_chunks::<4>();
        let segment = Self {
            start: u64::from_le_bytes(words[0]),
            seed: u64::from_le_bytes(words[1]),
            first_slots: u32::from_le_bytes(narrow[0]),
            block_log2: entry[20],
            state: entry[21],
        };
        if segment.state > ALL || segment.block_log2 > 30 || entry[22..] != [0, 0] {
            return None;
        }
        // Only whole blocks keep a key's slots inside of the segment.
        let whole = segment.first_slots.is_multiple_of(1 << segment.block_log2);
        let sound = segment.state != SLOTS || (segment.first_slots > 0 && whole);
        sound.then_some(segment)
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

/// Slots packed one after the other, of the segments with the same first [`PART_BITS_MAX`] bits (or of
/// all). It is shared with the run being written; whoever narrows it makes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// At 0 it lets everything pass.
    pub(super) bits: u32,
    /// How many slots.
    pub(super) count: u64,
    /// Slot n is the `bits` bits from bit `n · bits`, little-endian; [`PAD`] bytes follow.
    pub(super) slots: Bytes,
}

impl Part {
    pub(super) const EMPTY: Self = Self { bits: 0, count: 0, slots: Bytes::new() };

    /// The slot, with whatever bits follow it.
    #[inline]
    fn slot(&self, number: u64) -> u64 {
        let bit = number * u64::from(self.bits);
        let at = (bit >> 3) as usize;
        let bytes = &self.slots[at..at + PAD];
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        u64::from(word >> (bit & 7))
    }

    /// The same slots with one bit less.
    fn narrower(&self) -> Self {
        let bits = self.bits.saturating_sub(1);
        let mut slots = Slots::with_capacity(bits, self.count);
        if bits == 0 || self.count == 0 {
            return Self { bits, slots: Bytes::new(), ..*self };
        }
        (0..self.count).for_each(|n| slots.push(self.slot(n)));
        Self { bits, slots: slots.finish(), ..*self }
    }
}

/// Where the fingerprint of one key of a group is.
#[derive(Clone, Copy, Default)]
struct Asked {
    at: u32,
    part: u32,
    places: [u64; 3],
    fingerprint: u64,
}

/// The filter of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) prefix_bits: u32,
    pub(super) segments: Vec<Segment>,
    /// `1 << part_bits` of them.
    pub(super) part_bits: u32,
    pub(super) parts: Vec<Part>,
}

impl Filter {
    /// The width of its widest part; at 0 it lets everything pass.
    pub(super) fn bits(&self) -> u32 {
        self.parts.iter().map(|p| p.bits).max().unwrap_or(0)
    }

    /// The logarithm of its number of segments.
    pub(super) fn prefix_bits(&self) -> u32 {
        self.prefix_bits
    }

    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.parts.iter().map(|p| p.slots.len()).sum();
        slots + self.segments.capacity() * size_of::<Segment>()
    }

    /// Which of the keys at the positions `asked` may be in the run: their positions are put into
    /// `passed`, their number is the answer. There are at most [`GROUP`] of them.
    ///
    /// First all places are worked out and then all slots are read, without a branch that depends on
    /// them: so the memory of many keys is under way together.
    pub(super) fn pass(&self, keys: &[u128], asked: &[u32], passed: &mut [u32; GROUP]) -> usize {
        let mut count = 0;
        let mut places = [Asked::default(); GROUP];
        let mut placed = 0;
        for &at in asked {
            let (high, low) = halves(keys[at as usize]);
            let segment = &self.segments[segment_of(high, self.prefix_bits)];
            let part = segment_of(high, self.part_bits);
            if self.parts[part].bits == 0 || segment.state != SLOTS {
                passed[count] = at;
                count += usize::from(self.parts[part].bits == 0 || segment.state == ALL);
                continue;
            }
            let hash = mix(low, segment.seed);
            places[placed] = Asked {
                at,
                part: u32::try_from(part).unwrap_or(0),
                places: segment.places(hash).map(|place| segment.start + place),
                fingerprint: fingerprint(hash),
            };
            placed += 1;
        }
        for asked in &places[..placed] {
            let part = &self.parts[asked.part as usize];
            let [a, b, c] = asked.places.map(|place| part.slot(place));
            passed[count] = asked.at;
            count += usize::from((a ^ b ^ c ^ asked.fingerprint) & mask(part.bits) == 0);
        }
        count
    }

    /// Gives up a bit of one of the widest parts. False when there is nothing to give.
    pub(super) fn narrow(&mut self) -> bool {
        let widest = self.bits();
        match self.parts.iter_mut().find(|p| p.bits == widest) {
            Some(part) if widest > 0 => *part = part.narrower(),
            _ => return false,
        }
        true
    }

    /// Forgets the parts that only have keys whose high half is below `high`: nobody may ask it
    /// about such keys any more.
    pub(super) fn forget_below(&mut self, high: u64) {
        let whole = segment_of(high, self.part_bits);
        self.parts[..whole].fill(Part::EMPTY);
    }

    /// The first of the bytes to store; [`Filter::slots`] follow.
    pub(super) fn encode_segments(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.segments.len() * SEGMENT_LEN);
        let mut start = 0u64;
        for segment in &self.segments {
            let slots = if segment.state == SLOTS { segment.slots() } else { 0 };
            out.extend_from_slice(&(if slots > 0 { start } else { 0 }).to_le_bytes());
            out.extend_from_slice(&segment.seed.to_le_bytes());
            out.extend_from_slice(&segment.first_slots.to_le_bytes());
            out.extend_from_slice(&[segment.block_log2, segment.state, 0, 0]);
            start += slots;
        }
        out
    }

    /// The rest of the bytes to store, of a filter of one width. All parts but the last end with a
    /// whole byte.
    pub(super) fn slots(&self) -> impl Iterator<Item = &[u8]> {
        let parts = self.parts.iter().filter(|p| !p.slots.is_empty());
        let pad: &[u8] = if self.bits() > 0 { &[0; PAD] } else { &[] };
        parts.map(|p| &p.slots[..p.slots.len() - PAD]).chain([pad])
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
            let segment = Segment::decode(entry)?;
            if segment.state == SLOTS {
                if segment.start != next {
                    return None;
                }
                next += segment.slots();
            }
            segments.push(segment);
        }
        if slots_len(bits, next) != Some(slots.len()) {
            return None;
        }
        Some(Self::divided(bits, prefix_bits, segments, slots))
    }

    /// Divides what was read into parts, or makes it one when a part would begin within a byte.
    fn divided(bits: u32, prefix_bits: u32, mut segments: Vec<Segment>, slots: &[u8]) -> Self {
        let counts = |part_bits: u32| -> Vec<u64> {
            let parts = segments.chunks(1 << (prefix_bits - part_bits));
            let used = |s: &&Segment| s.state == SLOTS;
            parts.map(|part| part.iter().filter(used).map(Segment::slots).sum()).collect()
        };
        let mut part_bits = prefix_bits.min(PART_BITS_MAX);
        let mut each = counts(part_bits);
        if each.iter().any(|count| !count.is_multiple_of(8)) {
            part_bits = 0;
            each = counts(part_bits);
        }
        let mut parts = Vec::with_capacity(each.len());
        let mut start = 0u64;
        for (count, own) in each.iter().zip(segments.chunks_mut(1 << (prefix_bits - part_bits))) {
            own.iter_mut().filter(|s| s.state == SLOTS).for_each(|s| s.start -= start);
            let bytes = |count| slots_len(bits, count).unwrap_or(0).saturating_sub(PAD);
            let used = &slots[bytes(start)..bytes(start + count)];
            let pad: &[u8] = if bits > 0 && *count > 0 { &[0; PAD] } else { &[] };
            let mut memory = Memory::with_capacity(used.len() + pad.len());
            memory.extend(used);
            memory.extend(pad);
            // A part without keys has no slots to ask, but is no part that lets everything pass.
            parts.push(Part { bits, count: *count, slots: memory.finish() });
            start += count;
        }
        Self { prefix_bits, segments, part_bits, parts }
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
    use crate::seen::build::{FilterBuilder, SEGMENT_KEYS};
    use crate::seen::tests::Random;

    fn keys(count: usize, seed: u64) -> Vec<u128> {
        let mut random = Random::new(seed);
        let mut keys: Vec<u128> = (0..count).map(|_| random.key()).collect();
        keys.sort_unstable();
        keys
    }

    /// Whether a key passes, asked alone.
    fn passes(filter: &Filter, key: u128) -> bool {
        filter.pass(&[key], &[0], &mut [0; GROUP]) == 1
    }

    fn narrower(filter: &Filter) -> Filter {
        let mut filter = filter.clone();
        let width = filter.bits();
        while filter.bits() == width && filter.narrow() {}
        filter
    }

    fn encode(filter: &Filter) -> Vec<u8> {
        let slots: Vec<&[u8]> = filter.slots().collect();
        [filter.encode_segments(), slots.concat()].concat()
    }

    fn build(keys: &[u128], bits: u32) -> Filter {
        let mut builder = FilterBuilder::new(keys.len() as u64, bits, SEGMENT_KEYS);
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
                assert!(own.iter().all(|&k| passes(&filter, k)), "{count} at {}", filter.bits());
                let passed = strangers.iter().filter(|&&k| passes(&filter, k)).count() as f64;
                let expected = 20_000.0 / f64::from(1u32 << filter.bits());
                let far = 6.0 * expected.sqrt() + 4.0;
                assert!((passed - expected).abs() <= far, "{count}, {}: {passed}", filter.bits());
                if filter.bits() == 0 {
                    break;
                }
                let bytes = encode(&filter);
                let back = Filter::decode(filter.bits(), filter.prefix_bits, &bytes).unwrap();
                assert_eq!(back, filter);
                assert_eq!(narrower(&filter).bits(), build(&own, filter.bits() - 1).bits());
                filter = narrower(&filter);
            }
        }
    }

    #[test]
    fn a_group_is_answered_like_its_keys_one_by_one() {
        let own = keys(200_000, 6);
        let mut builder = FilterBuilder::new(own.len() as u64, 6, 5_000);
        own.iter().for_each(|&k| builder.push(k));
        let mut filter = builder.finish();
        let asked = [keys(64, 7), own.iter().copied().step_by(3200).collect()].concat();
        let places: Vec<u32> = (0..u32::try_from(asked.len()).unwrap()).collect();
        for narrowed in 0..6 * 16 {
            let mut passed = [0; GROUP];
            let count = filter.pass(&asked, &places, &mut passed);
            let mut passed = passed[..count].to_vec();
            passed.sort_unstable();
            let one_by_one = |&at: &u32| passes(&filter, asked[at as usize]);
            let expected: Vec<u32> = places.iter().copied().filter(one_by_one).collect();
            assert_eq!(passed, expected, "{narrowed} parts narrowed");
            assert!(filter.narrow());
        }
        assert!(!filter.narrow() && filter.bits() == 0);
    }

    #[test]
    fn slots_that_do_not_end_with_a_byte_are_one_part() {
        let segment = Segment { first_slots: 4, block_log2: 2, state: SLOTS, ..Segment::EMPTY };
        let segments = vec![segment, Segment { start: 12, ..segment }];
        let slots: Vec<u8> = (0..21).chain([0; PAD]).collect();
        let parts = vec![Part { bits: 7, count: 24, slots: slots.into() }];
        let filter = Filter { prefix_bits: 1, segments, part_bits: 0, parts };
        assert_eq!(Filter::decode(7, 1, &encode(&filter)), Some(filter));
    }

    #[test]
    fn narrowing_is_the_same_as_building_narrow() {
        let own = keys(50_000, 3);
        assert_eq!(narrower(&narrower(&build(&own, 10))), build(&own, 8));
    }

    #[test]
    fn equal_low_halves_do_no_harm() {
        let own: Vec<u128> = (0..1000u128).map(|n| n << 96 | (n % 7)).collect();
        let filter = build(&own, 8);
        assert!(own.iter().all(|&k| passes(&filter, k)));
    }

    #[test]
    fn size_is_as_planned() {
        let own = keys(400_000, 4);
        let filter = build(&own, 9);
        let per_key = encode(&filter).len() as f64 * 8.0 / 9.0 / own.len() as f64;
        assert!(per_key < SLOTS_PER_KEY, "{per_key}");
    }

    #[test]
    fn refuses_other_bytes() {
        let own = keys(100, 5);
        let filter = build(&own, 8);
        let bytes = encode(&filter);
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
        let parts = vec![Part { bits: 8, count: segment.slots(), slots: vec![0; slots].into() }];
        let filter = Filter { prefix_bits: 0, segments: vec![segment], part_bits: 0, parts };
        let bytes = encode(&filter);
        assert!(Filter::decode(8, 0, &bytes).is_none());
    }
}
