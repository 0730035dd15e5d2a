//! See `leverframe_fuzz::context`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::context(data));
