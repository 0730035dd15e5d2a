//! See `leverframe_fuzz::sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::sse(data));
