//! See `leverframe_fuzz::semver`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leverframe_fuzz::semver(data));
