//! The allocator's one setting.
//!
//! mimalloc gives freed memory back to the system after 10 ms. Batches live for about that long, so
//! every batch would be paid for with fresh, zeroed pages: a fifth of the processor time of ingest.

#![expect(unsafe_code, reason = "the allocator is set through its C interface")]

/// `mi_option_purge_delay` of the C header.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// How long freed memory is kept, in milliseconds; ten times as long for large blocks.
const PURGE_DELAY_MS: std::ffi::c_long = 500;

/// Sets it. Called first in `main`, before there are threads.
pub(crate) fn configure() {
    // SAFETY: the function only writes a number; it is not thread safe, and there is one thread.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}
