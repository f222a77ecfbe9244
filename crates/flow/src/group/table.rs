//! An open-addressing table from words to group ids.

use super::Groups;

/// A key of the table.
pub(super) trait Word: Copy + PartialEq + Default {
    /// A hash whose high bits are good.
    fn hash(self) -> u64;
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
}

impl Word for u128 {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    fn hash(self) -> u64 {
        let high = (self >> 64) as u64;
        let mixed = fold(self as u64 ^ 0xa076_1d64_78bd_642f, high ^ 0xe703_7ed1_a0b4_28db);
        mixed.wrapping_mul(MULTIPLIER)
    }
}

const FREE: u32 = u32::MAX;
const SLOTS_MIN: usize = 1 << 10;

#[derive(Clone, Copy, Default)]
struct Slot<K> {
    key: K,
    id: u32,
}

/// Numbers words in the order they are first met.
pub(super) fn number<K: Word>(keys: &[K]) -> Groups {
    let mut bits = SLOTS_MIN.ilog2();
    let empty = Slot { key: K::default(), id: FREE };
    let mut slots = vec![empty; 1 << bits];
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
            slots = grown(&slots, bits, empty);
        }
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
