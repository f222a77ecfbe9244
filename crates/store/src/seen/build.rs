//! Building filters: slots packed one after the other, segments peeled key by key.

use bytes::Bytes;

use super::filter::{
    ALL, BITS_MAX, Filter, PAD, PART_BITS_MAX, Part, SLOTS, SLOTS_PER_KEY, Segment, fingerprint,
    halves, mask, mix, segment_of, slots_len,
};
use super::memory::Memory;

/// A run is divided until segments have at most twice this many keys on average.
pub(super) const SEGMENT_KEYS: u64 = 1 << 16;
/// Segments are multiples of this many slots (2³), so that at every width they end with a whole byte.
const BLOCK_LOG2_MIN: u32 = 3;
/// Seeds tried before equal keys are looked for, and before a segment goes without a filter.
const SEEDS_PLAIN: u64 = 16;
const SEEDS_MAX: u64 = 64;

/// Slots being packed one after the other.
#[derive(Debug)]
pub(super) struct Slots {
    bits: u32,
    bytes: Memory,
    pending: u64,
    pending_bits: u32,
}

impl Slots {
    pub(super) fn with_capacity(bits: u32, count: u64) -> Self {
        let capacity = slots_len(bits, count).unwrap_or(0);
        Self { bits, bytes: Memory::with_capacity(capacity), pending: 0, pending_bits: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, value: u64) {
        self.pending |= (value & mask(self.bits)) << self.pending_bits;
        self.pending_bits += self.bits;
        if self.pending_bits >= 32 {
            self.bytes.extend(&self.pending.to_le_bytes()[..4]);
            self.pending >>= 32;
            self.pending_bits -= 32;
        }
    }

    pub(super) fn finish(mut self) -> Bytes {
        if self.bits == 0 {
            return Bytes::new();
        }
        let rest = self.pending_bits.div_ceil(8) as usize;
        self.bytes.extend(&self.pending.to_le_bytes()[..rest]);
        self.bytes.extend(&[0; PAD]);
        self.bytes.finish()
    }
}

/// Builds the filter of a run from its keys in ascending order.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    bits: u32,
    prefix_bits: u32,
    part_bits: u32,
    /// The keys that a part is expected to have.
    part_keys: u64,
    segments: Vec<Segment>,
    /// The parts that are closed, and the one being filled.
    parts: Vec<Part>,
    slots: Slots,
    slot_count: u64,
    /// The segment being gathered, and the low halves of its keys.
    current: usize,
    keys: Vec<u64>,
    scratch: Scratch,
}

impl FilterBuilder {
    /// A builder for about `keys` keys in segments of about `segment_keys`; the numbers only set how
    /// the run is divided.
    pub(super) fn new(keys: u64, bits: u32, segment_keys: u64) -> Self {
        let bits = bits.min(BITS_MAX);
        let prefix_bits = (keys / segment_keys).checked_ilog2().unwrap_or(0).min(32);
        let part_bits = prefix_bits.min(PART_BITS_MAX);
        let part_keys = keys >> part_bits;
        Self {
            bits,
            prefix_bits,
            part_bits,
            part_keys,
            segments: vec![Segment::EMPTY; 1 << prefix_bits],
            parts: Vec::with_capacity(1 << part_bits),
            slots: part_slots(bits, part_keys),
            slot_count: 0,
            current: 0,
            keys: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Adds the next key.
    #[inline]
    pub(super) fn push(&mut self, key: u128) {
        if self.bits == 0 {
            return;
        }
        let (high, low) = halves(key);
        let segment = segment_of(high, self.prefix_bits);
        if segment != self.current {
            self.close_segment();
            while self.parts.len() < segment_of(high, self.part_bits) {
                self.close_part();
            }
            self.current = segment;
        }
        self.keys.push(low);
    }

    /// How many parts are closed, of how many; none when there is only one.
    pub(super) fn parts(&self) -> (usize, usize) {
        (self.parts.len(), if self.part_bits == 0 { 0 } else { 1 << self.part_bits })
    }

    /// What of the filter is closed. The other parts are there and know nothing.
    pub(super) fn so_far(&self) -> Filter {
        let mut parts = self.parts.clone();
        parts.resize(1 << self.part_bits, Part::EMPTY);
        let (prefix_bits, part_bits) = (self.prefix_bits, self.part_bits);
        Filter { prefix_bits, segments: self.segments.clone(), part_bits, parts }
    }

    /// The filter.
    pub(super) fn finish(mut self) -> Filter {
        self.close_segment();
        while self.parts.len() < 1 << self.part_bits {
            self.close_part();
        }
        Filter {
            prefix_bits: self.prefix_bits,
            segments: self.segments,
            part_bits: self.part_bits,
            parts: self.parts,
        }
    }

    fn close_segment(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut segment = self.scratch.build(&mut self.keys);
        self.keys.clear();
        if segment.state == SLOTS {
            segment.start = self.slot_count;
            self.slot_count += segment.slots();
            self.scratch.fingerprints.iter().for_each(|&f| self.slots.push(u64::from(f)));
        }
        self.segments[self.current] = segment;
    }

    fn close_part(&mut self) {
        let count = std::mem::take(&mut self.slot_count);
        // The last part needs no room for another.
        let more = if self.parts.len() + 1 < 1 << self.part_bits { self.part_keys } else { 0 };
        let slots = std::mem::replace(&mut self.slots, part_slots(self.bits, more));
        let slots = if count == 0 { Bytes::new() } else { slots.finish() };
        self.parts.push(Part { bits: self.bits, count, slots });
    }
}

/// Room for the slots of a part: a little more than is planned, so that none has to grow. What is not
/// used is never touched.
fn part_slots(bits: u32, keys: u64) -> Slots {
    #[expect(clippy::cast_precision_loss, reason = "a capacity need not be exact")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as above")]
    let expected = (keys as f64 * SLOTS_PER_KEY * 1.02) as u64;
    Slots::with_capacity(bits, expected)
}

/// Room for building one segment, used again for the next.
#[derive(Debug, Default)]
struct Scratch {
    /// Per slot: four times how many keys want it, with the xor of which of their three it is.
    wanted: Vec<u8>,
    /// Per slot: the xor of the hashes of the keys that want it.
    hashes: Vec<u64>,
    /// Slots that one key wants.
    alone: Vec<u32>,
    /// The keys in the order they were taken off, each with the slot that was its own.
    order: Vec<(u64, u8)>,
    fingerprints: Vec<u16>,
}

impl Scratch {
    /// Finds a seed for which the keys can be taken off one by one, and fills the slots.
    fn build(&mut self, keys: &mut Vec<u64>) -> Segment {
        for attempt in 0..SEEDS_MAX {
            if attempt == SEEDS_PLAIN {
                // Two keys with equal low halves (made on purpose; by chance 1 in 10⁹) never peel.
                keys.sort_unstable();
                keys.dedup();
            }
            let mut segment = shape(keys.len());
            segment.seed = mix(attempt, 0x9e37_79b9_7f4a_7c15);
            if self.peel(keys, &segment) {
                self.fill(&segment);
                return segment;
            }
        }
        Segment { state: ALL, ..Segment::EMPTY }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a segment has fewer than 2^32 slots")]
    fn peel(&mut self, keys: &[u64], segment: &Segment) -> bool {
        let slots = segment.slots() as usize;
        self.wanted.clear();
        self.wanted.resize(slots, 0);
        self.hashes.clear();
        self.hashes.resize(slots, 0);
        for &key in keys {
            let hash = mix(key, segment.seed);
            for (which, place) in (0u8..).zip(segment.places(hash)) {
                let wanted = &mut self.wanted[place as usize];
                let Some(more) = wanted.checked_add(4) else { return false };
                *wanted = more ^ which;
                self.hashes[place as usize] ^= hash;
            }
        }
        self.alone.clear();
        self.alone.extend((0..slots as u32).filter(|&n| self.wanted[n as usize] >> 2 == 1));
        self.order.clear();
        while let Some(place) = self.alone.pop() {
            let wanted = self.wanted[place as usize];
            if wanted >> 2 != 1 {
                continue;
            }
            let (hash, own) = (self.hashes[place as usize], wanted & 3);
            self.order.push((hash, own));
            for (which, place) in (0u8..).zip(segment.places(hash)) {
                let wanted = &mut self.wanted[place as usize];
                *wanted = (*wanted - 4) ^ which;
                self.hashes[place as usize] ^= hash;
                if *wanted >> 2 == 1 {
                    self.alone.push(place as u32);
                }
            }
        }
        self.order.len() == keys.len()
    }

    #[expect(clippy::cast_possible_truncation, reason = "slots are 16 bits and fewer than 2^32")]
    fn fill(&mut self, segment: &Segment) {
        self.fingerprints.clear();
        self.fingerprints.resize(segment.slots() as usize, 0);
        for &(hash, own) in self.order.iter().rev() {
            let places = segment.places(hash).map(|p| p as usize);
            let own = places[usize::from(own)];
            // The own slot is still zero, so it may take part in the xor.
            let others = places.iter().fold(0, |xor, &p| xor ^ self.fingerprints[p]);
            self.fingerprints[own] = fingerprint(hash) as u16 ^ others;
        }
    }
}

/// The number and the blocks of slots for `keys` keys, as in the paper's reference code; blocks are not
/// smaller than [`BLOCK_LOG2_MIN`] says.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a segment has fewer than 2^32 keys; the results are small and positive"
)]
fn shape(keys: usize) -> Segment {
    let n = (keys as f64).max(2.0);
    let block_log2 = ((n.ln() / 3.33f64.ln() + 2.25).floor() as u32).clamp(BLOCK_LOG2_MIN, 18);
    let factor = (0.875 + 0.25 * 1e6f64.ln() / n.ln()).max(1.125);
    let blocks = ((n * factor).round() as u64).div_ceil(1 << block_log2).max(3);
    let first_slots = u32::try_from((blocks - 2) << block_log2).unwrap_or(u32::MAX);
    Segment { first_slots, block_log2: block_log2 as u8, state: SLOTS, ..Segment::EMPTY }
}
