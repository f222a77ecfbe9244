#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| yeoul_fuzz::store::manifest(bytes));
