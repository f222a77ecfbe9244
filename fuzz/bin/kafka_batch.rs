//! The fuzz target "kafka_batch": its body is in `src/targets`.

#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| yeoul_fuzz::serve::kafka_batch(bytes));
