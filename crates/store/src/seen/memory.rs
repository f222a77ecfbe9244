//! Memory of filters: filled once from its beginning, then shared, then given back at once.
//!
//! Pieces of a megabyte and more are pages of the system's own: what is freed is gone (an allocator keeps
//! it for a while, and filters are most of what an index has), and large pages are asked for, since
//! every probe reads somewhere else. Smaller ones are the allocator's.

use bytes::Bytes;
use memmap2::{Advice, MmapMut};

/// From this size on a piece has pages of its own.
const MAPPED_MIN: usize = 1 << 20;

/// A piece being filled.
#[derive(Debug)]
pub(super) enum Memory {
    /// Of the allocator.
    Heap(Vec<u8>),
    /// Of the system, with how many bytes are filled.
    Mapped(MmapMut, usize),
}

impl Memory {
    /// Room for `capacity` bytes; it grows when there are more.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        if capacity < MAPPED_MIN {
            return Self::Heap(Vec::with_capacity(capacity));
        }
        let Ok(map) = MmapMut::map_anon(capacity) else {
            return Self::Heap(Vec::with_capacity(capacity));
        };
        // Where there are no large pages, small ones do.
        let _ = map.advise(Advice::HugePage);
        Self::Mapped(map, 0)
    }

    /// Adds bytes at the end.
    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::Heap(vec) => vec.extend_from_slice(bytes),
            Self::Mapped(map, len) if *len + bytes.len() <= map.len() => {
                map[*len..*len + bytes.len()].copy_from_slice(bytes);
                *len += bytes.len();
            }
            Self::Mapped(map, len) => {
                let mut larger = Self::with_capacity(map.len() + map.len() / 8 + bytes.len());
                larger.extend(&map[..*len]);
                larger.extend(bytes);
                *self = larger;
            }
        }
    }

    /// What was added.
    pub(super) fn finish(self) -> Bytes {
        match self {
            Self::Heap(mut vec) => {
                vec.shrink_to_fit();
                vec.into()
            }
            Self::Mapped(map, len) => Bytes::from_owner(Filled { map, len }),
        }
    }
}

/// Pages of which the first bytes are filled.
struct Filled {
    map: MmapMut,
    len: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.map[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_added_however_much_was_expected() {
        for (expected, added) in
            [(0, 0), (10, 1000), (MAPPED_MIN, 5), (MAPPED_MIN, 5 << 20), (1 << 23, 1 << 23)]
        {
            let mut memory = Memory::with_capacity(expected);
            let bytes: Vec<u8> = (0..added).map(|n: usize| n.to_le_bytes()[1]).collect();
            bytes.chunks(4099).for_each(|some| memory.extend(some));
            assert!(memory.finish() == bytes, "{expected} expected, {added} added");
        }
    }
}
