//! See `leverframe_fuzz::file_uri`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::file_uri(data));
