//! Messages of one partition on their way to the decoder.

use std::sync::Arc;
use std::time::Instant;

use yeoul_format::Messages;

use super::beside::{Beside, Wanted};
use super::queue::Message;

/// Messages decoded at once, in bytes: some thousand rows, so that what a batch costs by itself does not count.
const BLOCK_BYTES: usize = 1 << 20;
/// And in messages.
const BLOCK_MESSAGES: usize = 8192;

/// A partition of a topic that is read.
#[derive(Debug)]
pub(super) struct Partition {
    /// As positions and messages name it: `clicks/2`.
    pub(super) name: Arc<str>,
    pub(super) topic: String,
    pub(super) number: i32,
}

/// The offsets of the messages of a block.
#[derive(Clone, Debug)]
pub(super) enum Offsets {
    /// From the first on, one after the other.
    Dense(u64),
    /// What lies between was compacted away, or is of transactions.
    Sparse(Vec<u64>),
}

impl Offsets {
    fn push(&mut self, count: usize, offset: u64) {
        match self {
            Self::Dense(first) => {
                let next = *first + count as u64;
                if next != offset {
                    let mut all: Vec<u64> = (*first..next).collect();
                    all.push(offset);
                    *self = Self::Sparse(all);
                }
            }
            Self::Sparse(all) => all.push(offset),
        }
    }

    /// The offset of the message `index`.
    pub(super) fn get(&self, index: u64) -> u64 {
        match self {
            Self::Dense(first) => first + index,
            Self::Sparse(all) => {
                let at = usize::try_from(index).ok().and_then(|index| all.get(index));
                at.copied().unwrap_or_default()
            }
        }
    }
}

/// Messages that are read together.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) messages: Messages,
    /// Their keys, where these are wanted.
    pub(super) keys: Option<Messages>,
    pub(super) offsets: Offsets,
    pub(super) beside: Beside,
    /// When the first came.
    pub(super) since: Instant,
}

impl Block {
    /// A block that begins with the message at `offset`, with room for as much as the one before had.
    pub(super) fn new(offset: u64, wanted: &Wanted, (messages, bytes): (usize, usize)) -> Self {
        Self {
            messages: Messages::with_capacity(messages, bytes),
            keys: wanted.keys.then(Messages::default),
            offsets: Offsets::Dense(offset),
            beside: Beside::new(wanted),
            since: Instant::now(),
        }
    }

    /// Adds a message.
    pub(super) fn push(&mut self, offset: u64, message: &Message) {
        self.offsets.push(self.messages.len(), offset);
        self.beside.push(message);
        if let Some(keys) = &mut self.keys {
            keys.push_option(message.key());
        }
        self.messages.push_option(message.payload());
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes_len() >= BLOCK_BYTES || self.messages.len() >= BLOCK_MESSAGES
    }

    /// How many bytes the messages and their keys have.
    pub(super) fn bytes_len(&self) -> usize {
        self.messages.bytes_len() + self.keys.as_ref().map_or(0, Messages::bytes_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_kept_one_by_one_only_where_some_are_missing() {
        let mut offsets = Offsets::Dense(5);
        (5..8).zip(0..).for_each(|(offset, count)| offsets.push(count, offset));
        assert!(matches!(offsets, Offsets::Dense(5)));
        offsets.push(3, 10);
        offsets.push(4, 11);
        let offsets: Vec<u64> = (0..5).map(|index| offsets.get(index)).collect();
        assert_eq!(offsets, [5, 6, 7, 10, 11]);
    }
}
