//! What an idempotent producer must not have stored twice, and not with a gap.
//!
//! ```text
//!   producer 4711, epoch 0   0 ──▶ 500 ──▶ 1000 ──▶ …        base sequences of its batches for one topic
//!                                   ▲ again: dropped by its key      ▲ without 500 before it: refused
//! ```
//!
//! A repeated batch is found by the engine, which is given a key for each batch and remembers keys for an hour, in the
//! commits themselves, so over `kill -9` too. It is not found by a position per producer: every producer that ever
//! came would leave one for ever. An hour is far more than any client goes on trying (`delivery.timeout.ms`,
//! `message.timeout.ms`: minutes).
//!
//! The key has a hash of the values in it. Sequences begin anew after 2³¹ records, which a producer of 600,000 records a
//! second has sent within the hour: without the hash, a batch could be taken for the one of a lap before.
//!
//! A gap is found here, among the batches of one connection: a batch that comes after one that was refused with
//! "try again" must wait for it, or the order would be lost. Clients send what is not acknowledged again, in
//! order, after they connect anew, so the first batch of a connection may have any sequence.
//!
//! Limits: [`PRODUCERS_MAX`] of one connection, of which clients have one.

use std::collections::HashMap;
use std::fmt::Write;

use xxhash_rust::xxh3::Xxh3;
use yeoul_format::Messages;

use super::batch::Origin;

/// Producers and topics whose next sequence is known of a connection. Beyond it all are forgotten, and gaps with them.
const PRODUCERS_MAX: usize = 10_000;

/// How many sequences there are: then they begin anew.
const LAP: u32 = 1 << 31;

/// How the key of a batch begins: no key of an HTTP client can have this in it.
const KEY_PREFIX: &str = "\u{1f}kafka";

/// The next sequence of each producer and topic of a connection.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    next: HashMap<(i64, i16, String), u32>,
}

/// The sequence of a batch, which is never negative.
fn first(origin: Origin) -> u32 {
    origin.sequence.unsigned_abs()
}

impl Sequences {
    /// The sequence that was expected, when a batch leaves a gap behind it.
    pub(super) fn gap(&self, topic: &str, origin: Origin) -> Option<u32> {
        let next = *self.next.get(&(origin.producer, origin.epoch, topic.to_owned()))?;
        let ahead = first(origin).wrapping_sub(next) % LAP;
        // What is half a lap ahead or more is behind.
        (1..LAP / 2).contains(&ahead).then_some(next)
    }

    /// The batch was queued.
    pub(super) fn took(&mut self, topic: &str, origin: Origin, count: i32) {
        let after = first(origin).wrapping_add(count.unsigned_abs()) % LAP;
        let next = self.of(topic, origin, after);
        let ahead = after.wrapping_sub(*next) % LAP;
        if ahead < LAP / 2 {
            *next = after;
        }
    }

    /// The batch was refused: those behind it wait for it.
    pub(super) fn refused(&mut self, topic: &str, origin: Origin) {
        self.of(topic, origin, first(origin));
    }

    fn of(&mut self, topic: &str, origin: Origin, unless: u32) -> &mut u32 {
        if self.next.len() >= PRODUCERS_MAX {
            self.next.clear();
        }
        self.next.entry((origin.producer, origin.epoch, topic.to_owned())).or_insert(unless)
    }
}

/// What tells a batch from all others of its stream.
pub(super) fn key(origin: Origin, messages: &Messages, keys: Option<&Messages>) -> String {
    let mut hash = Xxh3::new();
    for value in messages.iter().chain(keys.into_iter().flat_map(Messages::iter)) {
        // A value that is null has another length than any that is there.
        let length = value.map_or(u64::MAX, |value| value.len() as u64);
        hash.update(&length.to_le_bytes());
        hash.update(value.unwrap_or_default());
    }
    let (count, hash) = (messages.len(), hash.digest());
    let mut key = String::from(KEY_PREFIX);
    let Origin { producer, epoch, sequence } = origin;
    // Writing to a string cannot fail.
    let _ = write!(key, "/{producer}/{epoch}/{sequence}/{count}/{hash:016x}");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(sequence: i32) -> Origin {
        Origin { producer: 7, epoch: 0, sequence }
    }

    #[test]
    fn gaps_are_seen_and_repetitions_are_none() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.gap("t", origin(400)), None, "the first of a connection");
        sequences.took("t", origin(400), 100);
        assert_eq!(sequences.gap("t", origin(500)), None);
        assert_eq!(sequences.gap("t", origin(501)), Some(500));
        assert_eq!(sequences.gap("t", origin(400)), None, "again");
        assert_eq!(sequences.gap("u", origin(9)), None, "another topic");
        sequences.took("t", origin(400), 100);
        assert_eq!(sequences.gap("t", origin(600)), Some(500), "a repetition moves nothing");
        sequences.refused("t", origin(500));
        assert_eq!(sequences.gap("t", origin(600)), Some(500));
        sequences.refused("v", origin(50));
        assert_eq!(sequences.gap("v", origin(60)), Some(50));
        assert_eq!(sequences.gap("v", origin(50)), None);
    }

    #[test]
    fn sequences_begin_anew_after_the_last() {
        let mut sequences = Sequences::default();
        sequences.took("t", origin(i32::MAX - 1), 5);
        assert_eq!(sequences.gap("t", origin(3)), None);
        assert_eq!(sequences.gap("t", origin(4)), Some(3));
        assert_eq!(sequences.gap("t", origin(i32::MAX)), None, "behind");
        sequences.took("t", origin(i32::MAX - 1), 5);
        assert_eq!(sequences.gap("t", origin(4)), Some(3));
    }

    #[test]
    fn a_key_is_of_one_batch() {
        let of = |values: &[Option<&str>]| {
            let mut messages = Messages::default();
            for value in values {
                match value {
                    Some(value) => messages.push(value.as_bytes()),
                    None => messages.push_null(),
                }
            }
            key(origin(3), &messages, None)
        };
        let one = of(&[Some("a"), Some("b")]);
        assert!(one.starts_with("\u{1f}kafka/7/0/3/2/"), "{one}");
        assert_eq!(one, of(&[Some("a"), Some("b")]));
        assert_ne!(one, of(&[Some("ab"), Some("")]));
        assert_ne!(of(&[None]), of(&[Some("")]));
    }
}
