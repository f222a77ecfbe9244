//! An open-addressing table from words to group ids.

use std::cell::RefCell;
use std::thread::LocalKey;

use super::Groups;

/// A key of the table.
pub(super) trait Word: Copy + PartialEq + Default + 'static {
    /// A hash whose high bits are good.
    fn hash(self) -> u64;

    /// The table of this thread.
    fn slots() -> &'static LocalKey<RefCell<Vec<Slot<Self>>>>;
}

thread_local! {
    static SLOTS64: RefCell<Vec<Slot<u64>>> = const { RefCell::new(Vec::new()) };
    static SLOTS128: RefCell<Vec<Slot<u128>>> = const { RefCell::new(Vec::new()) };
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// One 64×64→128 multiplication, the halves folded: every input bit reaches the high bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the product")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

impl Word for u64 {
    #[inline]
    fn hash(self) -> u64 {
        fold(self ^ 0xa076_1d64_78bd_642f, MULTIPLIER).wrapping_mul(MULTIPLIER)
    }

    fn slots() -> &'static LocalKey<RefCell<Vec<Slot<Self>>>> {
        &SLOTS64
    }
}

impl Word for u128 {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    fn hash(self) -> u64 {
        let high = (self >> 64) as u64;
        let mixed = fold(self as u64 ^ 0xa076_1d64_78bd_642f, high ^ 0xe703_7ed1_a0b4_28db);
        mixed.wrapping_mul(MULTIPLIER)
    }

    fn slots() -> &'static LocalKey<RefCell<Vec<Slot<Self>>>> {
        &SLOTS128
    }
}

const FREE: u32 = u32::MAX;
const SLOTS_MIN: usize = 1 << 10;
/// A table larger than this (4 MiB of words of 64 bits) is not kept.
const SLOTS_KEPT: usize = 1 << 18;

#[derive(Clone, Copy, Default)]
pub(super) struct Slot<K> {
    key: K,
    id: u32,
}

/// Numbers words in the order they are first met.
///
/// The memory of the table is kept by the thread: made anew for every batch it costs more in page
/// faults than in lookups.
pub(super) fn number<K: Word>(keys: &[K]) -> Groups {
    K::slots().with_borrow_mut(|slots| number_in(keys, slots))
}

fn number_in<K: Word>(keys: &[K], slots: &mut Vec<Slot<K>>) -> Groups {
    // Most batches have a group for every few rows.
    let mut bits = (keys.len() / 2).next_power_of_two().max(SLOTS_MIN).ilog2();
    let empty = Slot { key: K::default(), id: FREE };
    slots.clear();
    slots.resize(1 << bits, empty);
    let mut ids = Vec::with_capacity(keys.len());
    let mut firsts: Vec<u32> = Vec::new();
    for (row, &key) in (0u32..).zip(keys) {
        let mask = slots.len() - 1;
        let mut at = place(key, bits);
        let id = loop {
            let slot = &mut slots[at & mask];
            if slot.id == FREE {
                let id = u32::try_from(firsts.len()).expect("no more groups than rows");
                *slot = Slot { key, id };
                firsts.push(row);
                break id;
            }
            if slot.key == key {
                break slot.id;
            }
            at += 1;
        };
        ids.push(id);
        if firsts.len() * 2 > slots.len() {
            bits += 2;
            *slots = grown(slots, bits, empty);
        }
    }
    if slots.len() > SLOTS_KEPT {
        *slots = Vec::new();
    }
    Groups { ids, firsts }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "as many bits as the table has")]
fn place<K: Word>(key: K, bits: u32) -> usize {
    (key.hash() >> (64 - bits)) as usize
}

fn grown<K: Word>(slots: &[Slot<K>], bits: u32, empty: Slot<K>) -> Vec<Slot<K>> {
    let mut larger = vec![empty; 1 << bits];
    let mask = larger.len() - 1;
    for slot in slots.iter().filter(|slot| slot.id != FREE) {
        let mut at = place(slot.key, bits);
        while larger[at & mask].id != FREE {
            at += 1;
        }
        larger[at & mask] = *slot;
    }
    larger
}
