//! See `leverframe_fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::manifest(data));
