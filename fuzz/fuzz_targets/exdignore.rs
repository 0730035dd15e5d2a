//! See `leverframe_fuzz::exdignore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::exdignore(data));
