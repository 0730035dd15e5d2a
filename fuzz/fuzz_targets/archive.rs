//! See `leverframe_fuzz::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::archive(data));
