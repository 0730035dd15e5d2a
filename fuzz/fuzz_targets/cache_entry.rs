//! See `leverframe_fuzz::cache_entry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::cache_entry(data));
