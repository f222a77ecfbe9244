//! Building filters: slots packed one after the other, segments peeled key by key.

use super::filter::{
    ALL, BITS_MAX, Filter, PAD, SLOTS, SLOTS_PER_KEY, Segment, fingerprint, halves, mask, mix,
    segment_of, slots_len,
};

/// A run is divided until segments have at most twice this many keys on average.
const SEGMENT_KEYS: u64 = 1 << 17;
/// Seeds tried before equal keys are looked for, and before a segment goes without a filter.
const SEEDS_PLAIN: u64 = 16;
const SEEDS_MAX: u64 = 64;

/// Slots being packed one after the other.
#[derive(Debug)]
pub(super) struct Slots {
    bits: u32,
    bytes: Vec<u8>,
    pending: u64,
    pending_bits: u32,
}

impl Slots {
    pub(super) fn with_capacity(bits: u32, count: u64) -> Self {
        let capacity = slots_len(bits, count).unwrap_or(0);
        Self { bits, bytes: Vec::with_capacity(capacity), pending: 0, pending_bits: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, value: u64) {
        self.pending |= (value & mask(self.bits)) << self.pending_bits;
        self.pending_bits += self.bits;
        while self.pending_bits >= 8 {
            self.bytes.push(self.pending.to_le_bytes()[0]);
            self.pending >>= 8;
            self.pending_bits -= 8;
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.bits == 0 {
            return Vec::new();
        }
        if self.pending_bits > 0 {
            self.bytes.push(self.pending.to_le_bytes()[0]);
        }
        self.bytes.extend_from_slice(&[0; PAD]);
        self.bytes.shrink_to_fit();
        self.bytes
    }
}

/// Builds the filter of a run from its keys in ascending order.
#[derive(Debug)]
pub(super) struct FilterBuilder {
    prefix_bits: u32,
    segments: Vec<Segment>,
    slots: Slots,
    slot_count: u64,
    /// The segment being gathered, and the low halves of its keys.
    current: usize,
    keys: Vec<u64>,
    scratch: Scratch,
}

impl FilterBuilder {
    /// A builder for about `keys` keys; the number only sets how the run is divided.
    pub(super) fn new(keys: u64, bits: u32) -> Self {
        let bits = bits.min(BITS_MAX);
        let prefix_bits = (keys / SEGMENT_KEYS).checked_ilog2().unwrap_or(0).min(32);
        #[expect(clippy::cast_precision_loss, reason = "a capacity need not be exact")]
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as above")]
        let expected = (keys as f64 * SLOTS_PER_KEY) as u64;
        Self {
            prefix_bits,
            segments: vec![Segment::EMPTY; 1 << prefix_bits],
            slots: Slots::with_capacity(bits, expected),
            slot_count: 0,
            current: 0,
            keys: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Adds the next key.
    #[inline]
    pub(super) fn push(&mut self, key: u128) {
        if self.slots.bits == 0 {
            return;
        }
        let (high, low) = halves(key);
        let segment = segment_of(high, self.prefix_bits);
        if segment != self.current {
            self.close_segment();
            self.current = segment;
        }
        self.keys.push(low);
    }

    /// The filter.
    pub(super) fn finish(mut self) -> Filter {
        self.close_segment();
        Filter {
            bits: self.slots.bits,
            prefix_bits: self.prefix_bits,
            segments: self.segments,
            slots: self.slots.finish(),
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

/// The number and the blocks of slots for `keys` keys, as in the paper's reference code.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a segment has fewer than 2^32 keys; the results are small and positive"
)]
fn shape(keys: usize) -> Segment {
    let n = (keys as f64).max(2.0);
    let block_log2 = ((n.ln() / 3.33f64.ln() + 2.25).floor() as u32).min(18);
    let factor = (0.875 + 0.25 * 1e6f64.ln() / n.ln()).max(1.125);
    let blocks = ((n * factor).round() as u64).div_ceil(1 << block_log2).max(3);
    let first_slots = u32::try_from((blocks - 2) << block_log2).unwrap_or(u32::MAX);
    Segment { first_slots, block_log2: block_log2 as u8, state: SLOTS, ..Segment::EMPTY }
}
