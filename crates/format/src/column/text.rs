//! Text while it is being gathered, in the layout of Arrow's string views: a 16-byte view per
//! value, which holds up to 12 bytes itself or points into a heap.
//!
//! ```text
//!   view, least significant first:  length u32 | up to 12 bytes of text
//!                                   length u32 | first 4 bytes | heap number u32 | offset u32
//! ```
//!
//! What must hold: only `&str` comes in, views are only made here and never outlive the bytes they
//! point to. That is why the array can be made without checking every value again, which would cost
//! a third of decoding; it is the reason for the one `unsafe` of this crate.
#![expect(unsafe_code, reason = "string views are built from checked text, not checked twice")]

use arrow::array::StringViewArray;
use arrow::buffer::{Buffer, NullBuffer};

/// Bytes a view can hold itself.
const INLINE: usize = 12;
/// A heap buffer is closed before it is longer than this (offsets have 32 bits).
const HEAP_BYTES_MAX: usize = 1 << 30;

/// The texts of a column.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextValues {
    views: Vec<u128>,
    closed: Vec<Buffer>,
    heap: Vec<u8>,
}

/// `INLINE_MASK[n]` keeps the lowest `n` bytes.
const INLINE_MASK: [u128; INLINE + 1] = {
    let mut masks = [0; INLINE + 1];
    let mut n = 1;
    while n <= INLINE {
        masks[n] = (masks[n - 1] << 8) | 0xff;
        n += 1;
    }
    masks
};

impl TextValues {
    /// Appends a text.
    pub(crate) fn push(&mut self, text: &str) {
        let bytes = text.as_bytes();
        if bytes.len() <= INLINE {
            let mut view = [0; 16];
            view[4..4 + bytes.len()].copy_from_slice(bytes);
            self.views.push(u128::from_le_bytes(view) | bytes.len() as u128);
        } else {
            self.push_long(bytes);
        }
    }

    /// Appends `text[start .. end]`.
    ///
    /// Faster than `push` for short values, because it may look beyond their end.
    ///
    /// # Panics
    /// When the bounds are not those of characters.
    #[inline]
    pub(crate) fn push_span(&mut self, text: &str, start: usize, end: usize) {
        let value = &text[start..end];
        if value.len() <= INLINE
            && let Some(chunk) = text.as_bytes()[start..].first_chunk::<16>()
        {
            let inline = u128::from_le_bytes(*chunk) & INLINE_MASK[value.len()];
            self.views.push((inline << 32) | value.len() as u128);
        } else if value.len() <= INLINE {
            self.push(value);
        } else {
            self.push_long(value.as_bytes());
        }
    }

    /// Appends a text that is a part of `bytes`. Faster than `push` for short texts, because it may
    /// look behind their end.
    #[inline]
    pub(crate) fn push_within(&mut self, text: &str, bytes: &[u8]) {
        let start = text.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        // Whether it is a part of them is seen by its address: what is read is the text itself.
        if text.len() <= INLINE
            && let Some(chunk) = bytes.get(start..).and_then(|rest| rest.first_chunk::<16>())
        {
            let inline = u128::from_le_bytes(*chunk) & INLINE_MASK[text.len()];
            self.views.push((inline << 32) | text.len() as u128);
        } else {
            self.push(text);
        }
    }

    #[inline]
    fn push_long(&mut self, bytes: &[u8]) {
        if self.heap.len() + bytes.len() > HEAP_BYTES_MAX {
            self.close();
        }
        let prefix: [u8; 4] = bytes.first_chunk().copied().unwrap_or_default();
        let view = bytes.len() as u128
            | (u128::from(u32::from_le_bytes(prefix)) << 32)
            | ((self.closed.len() as u128) << 64)
            | ((self.heap.len() as u128) << 96);
        self.heap.extend_from_slice(bytes);
        self.views.push(view);
    }

    fn close(&mut self) {
        if !self.heap.is_empty() {
            self.closed.push(Buffer::from_vec(std::mem::take(&mut self.heap)));
        }
    }

    /// Appends an empty text.
    pub(crate) fn push_empty(&mut self) {
        self.views.push(0);
    }

    /// Forgets the texts from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        let Some(gone) = self.views.get(len..) else { return };
        let open = self.closed.len() as u128;
        let first_long = gone.iter().find(|&&view| {
            (view & 0xffff_ffff) > INLINE as u128 && ((view >> 64) & 0xffff_ffff) == open
        });
        if let Some(offset) = first_long.and_then(|view| usize::try_from(view >> 96).ok()) {
            self.heap.truncate(offset);
        }
        self.views.truncate(len);
    }

    /// The texts as an array; empty afterwards.
    pub(crate) fn finish(&mut self, nulls: Option<NullBuffer>) -> StringViewArray {
        let next_heap = Vec::with_capacity(self.heap.len());
        let next_views = Vec::with_capacity(self.views.len());
        self.close();
        self.heap = next_heap;
        let views = std::mem::replace(&mut self.views, next_views);
        let heaps = std::mem::take(&mut self.closed);
        // SAFETY: every view was made in this module: an inline one holds its length, the bytes of a
        // `&str` and zeros; a long one points to the bytes of a `&str` copied whole into the heap
        // numbered `closed.len()` at that time. `close` keeps that number, and `truncate` cuts a heap
        // only behind the views it removes.
        unsafe { StringViewArray::new_unchecked(views.into(), heaps, nulls) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_every_length_come_back() {
        let text = "abcdefghijklmnopqrstuvwxyz-여울-0123456789";
        let mut values = TextValues::default();
        let mut expected = Vec::new();
        for start in 0..text.len() {
            for end in start..=text.len() {
                if let Some(span) = text.get(start..end) {
                    values.push_span(text, start, end);
                    values.push(span);
                    values.push_within(span, text.as_bytes());
                    values.push_within(span, b"another text that is long enough");
                    expected.extend([span; 4]);
                }
            }
        }
        let array = values.finish(None);
        assert!(array.iter().flatten().eq(expected.iter().copied()));
        let checked =
            StringViewArray::try_new(array.views().clone(), array.data_buffers().to_vec(), None);
        assert!(checked.is_ok(), "Arrow finds the views valid: {checked:?}");
    }

    #[test]
    fn taking_back_frees_the_heap() {
        let mut values = TextValues::default();
        values.push("a text that is long enough");
        values.push("short");
        values.push("another text that is long enough");
        values.truncate(1);
        values.push("x");
        assert_eq!(values.heap.len(), "a text that is long enough".len());
        let array = values.finish(None);
        assert_eq!(array.iter().flatten().collect::<Vec<_>>(), ["a text that is long enough", "x"]);
    }
}
