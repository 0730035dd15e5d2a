//! See `leverframe_fuzz::fixtures`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::fixtures(data));
