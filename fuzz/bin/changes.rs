//! The fuzz target "changes": its body is in `src/targets`.

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| yeoul_fuzz::format::changes(bytes));
