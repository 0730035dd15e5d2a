//! See `leverframe_fuzz::config_environment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::config_environment(data));
