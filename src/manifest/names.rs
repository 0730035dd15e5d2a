//! The patterns of names in a manifest.

/// Returns true for `[a-z][a-z0-9_-]*` of at most 63 characters.
pub(crate) fn is_environment(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}
