//! The newest keys: an open-addressing set in memory, in the order of the hashes.
//!
//! A key's home is its high half spread over the slots, collisions go to the next slot, so slots are
//! nearly in key order. At most three quarters are taken.
//!
//! Limits: 20 bytes per slot; times up to 49 days after the table's first.

use super::filter::{halves, high_product};

const SLOTS_MIN: usize = 1024;

/// An empty slot. The key that really is zero is kept apart.
const EMPTY: u128 = 0;

/// Keys with the time each was accepted.
#[derive(Debug)]
pub(super) struct Table {
    keys: Vec<u128>,
    /// Milliseconds after `base_ms`, per slot.
    times: Vec<u32>,
    zero: Option<u32>,
    taken: usize,
    base_ms: i64,
    /// The newest time.
    to_ms: i64,
}

impl Table {
    /// A table for times from `base_ms` on, with room for `keys` keys.
    pub(super) fn new(base_ms: i64, keys: usize) -> Self {
        let slots = if keys == 0 { 0 } else { slots_for(keys) };
        Self {
            keys: vec![EMPTY; slots],
            times: vec![0; slots],
            zero: None,
            taken: 0,
            base_ms,
            to_ms: base_ms,
        }
    }

    /// Begins anew at `base_ms`, while it is empty.
    pub(super) fn restart(&mut self, base_ms: i64) {
        debug_assert_eq!(self.len(), 0, "seen: only an empty table is restarted");
        (self.base_ms, self.to_ms) = (base_ms, base_ms);
    }

    /// How many keys.
    pub(super) fn len(&self) -> usize {
        self.taken + usize::from(self.zero.is_some())
    }

    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * 16 + self.times.capacity() * 4
    }

    /// The times of its keys, oldest and newest possible.
    pub(super) fn span_ms(&self) -> (i64, i64) {
        (self.base_ms, self.to_ms)
    }

    /// Whether a key of time `at_ms` can be kept beside the others.
    pub(super) fn takes(&self, at_ms: i64) -> bool {
        u32::try_from(at_ms - self.base_ms).is_ok()
    }

    /// Makes room for `more` keys, doubling up to what `keys_max` keys need.
    pub(super) fn reserve(&mut self, more: usize, keys_max: usize) {
        let needed = slots_for(self.taken + more);
        if needed <= self.keys.len() {
            return;
        }
        let slots = (self.keys.len() * 2).min(slots_for(keys_max)).max(needed).max(SLOTS_MIN);
        let old_keys = std::mem::replace(&mut self.keys, vec![EMPTY; slots]);
        let old_times = std::mem::replace(&mut self.times, vec![0; slots]);
        for (key, time) in old_keys.into_iter().zip(old_times) {
            if key != EMPTY {
                let slot = self.slot_of(key);
                self.keys[slot] = key;
                self.times[slot] = time;
            }
        }
    }

    /// When `key` was accepted last.
    #[inline]
    pub(super) fn time_ms(&self, key: u128) -> Option<i64> {
        let time = if key == EMPTY {
            self.zero?
        } else {
            if self.keys.is_empty() {
                return None;
            }
            let slot = self.slot_of(key);
            if self.keys[slot] == EMPTY {
                return None;
            }
            self.times[slot]
        };
        Some(self.base_ms + i64::from(time))
    }

    /// Something of the slot where `key` lives: asking for many keys' words first brings their
    /// memory in side by side.
    #[inline]
    pub(super) fn touch(&self, key: u128) -> u64 {
        if self.keys.is_empty() { 0 } else { halves(self.keys[self.home(key)]).1 }
    }

    /// Accepts `key` at `at_ms` unless it is there with a time after `horizon_ms`; says whether
    /// it was accepted. There must be room ([`Table::reserve`]).
    #[inline]
    pub(super) fn accept(&mut self, key: u128, at_ms: i64, horizon_ms: i64) -> bool {
        let time = u32::try_from(at_ms - self.base_ms)
            .expect("a table is frozen before its times run out");
        self.to_ms = self.to_ms.max(at_ms);
        if key == EMPTY {
            let known = self.zero.is_some_and(|t| self.base_ms + i64::from(t) > horizon_ms);
            self.zero = if known { self.zero } else { Some(time) };
            return !known;
        }
        let slot = self.slot_of(key);
        if self.keys[slot] == key {
            if self.base_ms + i64::from(self.times[slot]) > horizon_ms {
                return false;
            }
        } else {
            self.keys[slot] = key;
            self.taken += 1;
        }
        self.times[slot] = time;
        true
    }

    /// Forgets all keys; the memory stays.
    pub(super) fn clear(&mut self) {
        self.keys.fill(EMPTY);
        (self.taken, self.zero) = (0, None);
    }

    /// Gives all keys in order, with their times in milliseconds after the base.
    ///
    /// A stretch of taken slots holds all keys whose homes are in it, so only stretches are sorted.
    pub(super) fn for_each<E>(
        &self,
        mut each: impl FnMut(u128, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stretch: Vec<(u128, u32)> = Vec::new();
        let mut give = |stretch: &mut Vec<(u128, u32)>| {
            stretch.sort_unstable();
            stretch.drain(..).try_for_each(|(key, time)| each(key, time))
        };
        stretch.extend(self.zero.map(|time| (EMPTY, time)));
        give(&mut stretch)?;
        // Keys that found no slot before the end are at the beginning: they are the last.
        let first_empty = self.keys.iter().position(|&key| key == EMPTY).unwrap_or(0);
        let is_wrapped = |slot: usize| slot < first_empty && self.home(self.keys[slot]) > slot;
        for (slot, (&key, &time)) in self.keys.iter().zip(&self.times).enumerate() {
            if key == EMPTY {
                give(&mut stretch)?;
            } else if !is_wrapped(slot) {
                stretch.push((key, time));
            }
        }
        let wrapped = (0..first_empty).filter(|&slot| is_wrapped(slot));
        stretch.extend(wrapped.map(|slot| (self.keys[slot], self.times[slot])));
        give(&mut stretch)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below the number of slots")]
    fn home(&self, key: u128) -> usize {
        high_product(halves(key).0, self.keys.len() as u64) as usize
    }

    /// The slot of `key`, or the empty one where it belongs.
    #[inline]
    fn slot_of(&self, key: u128) -> usize {
        let mut slot = self.home(key);
        loop {
            let found = self.keys[slot];
            if found == key || found == EMPTY {
                return slot;
            }
            slot += 1;
            if slot == self.keys.len() {
                slot = 0;
            }
        }
    }
}

/// At most three quarters are taken, so there is always an empty slot to stop at.
fn slots_for(keys: usize) -> usize {
    keys + keys / 3 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::tests::Random;
    use std::collections::BTreeMap;

    #[test]
    fn equals_a_map() {
        for seed in 0..4 {
            let mut random = Random::new(seed);
            let mut table = Table::new(1000, 0);
            let mut twin: BTreeMap<u128, i64> = BTreeMap::new();
            // Few keys, the zero among them, some at the very end so that they wrap.
            let pool: Vec<u128> = (0..900u64)
                .map(|n| match n % 3 {
                    0 => u128::from(n) << 64,
                    1 => u128::MAX - u128::from(n),
                    _ => random.key(),
                })
                .collect();
            for step in 0..6000i64 {
                let at = 1000 + step / 10;
                let horizon = at - 200;
                let key = pool[usize::try_from(random.below(900)).unwrap()];
                table.reserve(1, 4000);
                let known = twin.get(&key).is_some_and(|&t| t > horizon);
                if !known {
                    twin.insert(key, at);
                }
                assert_eq!(table.accept(key, at, horizon), !known, "seed {seed}");
                assert_eq!(table.time_ms(key), twin.get(&key).copied(), "seed {seed}");
            }
            assert_eq!(table.len(), twin.len());
            let mut sorted: Vec<(u128, i64)> = Vec::new();
            let all = table.for_each(|key, time| {
                sorted.push((key, 1000 + i64::from(time)));
                Ok::<_, ()>(())
            });
            all.unwrap();
            assert_eq!(sorted, twin.into_iter().collect::<Vec<_>>(), "seed {seed}");
            table.clear();
            table.restart(1000);
            assert_eq!((table.len(), table.time_ms(pool[0])), (0, None));
        }
    }
}
