//! The patterns of names in a manifest.

/// Names are file stems and identifiers in other systems; this is what DNS labels allow.
const LONGEST: usize = 63;

/// Returns true for the key of a flag or segment: `[a-z][a-z0-9_-]*`, at most 63 characters.
///
/// # Examples
/// ```
/// use leverframe::manifest::is_key;
/// assert!(is_key("new-checkout_2") && !is_key("2fast"));
/// ```
#[must_use]
pub fn is_key(name: &str) -> bool {
    is(name, |first| first.is_ascii_lowercase(), true)
}

/// Returns true for an environment (M12): `[a-z][a-z0-9_-]*`, at most 63 characters.
///
/// # Examples
/// ```
/// use leverframe::manifest::is_environment;
/// assert!(is_environment("production") && !is_environment("Production"));
/// ```
#[must_use]
pub fn is_environment(name: &str) -> bool {
    is_key(name)
}

/// Returns true for a variant key (M7): `[a-z0-9][a-z0-9_-]*`, at most 63 characters.
pub(crate) fn is_variant_key(name: &str) -> bool {
    is(name, |first| first.is_ascii_lowercase() || first.is_ascii_digit(), true)
}

/// Returns true for the slug of a namespace (M13) or a tenant: `[a-z][a-z0-9-]*`, at most 63 characters.
///
/// # Examples
/// ```
/// use leverframe::manifest::is_slug;
/// assert!(is_slug("payments") && !is_slug("team_a"));
/// ```
#[must_use]
pub fn is_slug(name: &str) -> bool {
    is(name, |first| first.is_ascii_lowercase(), false)
}

fn is(name: &str, first: impl Fn(u8) -> bool, underscore: bool) -> bool {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || underscore && b == b'_';
    name.len() <= LONGEST && name.bytes().next().is_some_and(first) && name.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_differ_in_the_first_character_and_the_underscore() {
        assert!(is_key("new-checkout_2") && is_variant_key("50-50") && is_slug("team-a"));
        assert!(!is_key("2fast") && !is_slug("team_a") && !is_variant_key("-x"));
        for bad in ["", "Upper", "ä", "a.b", "a b"] {
            assert!(!is_key(bad) && !is_slug(bad) && !is_variant_key(bad) && !is_environment(bad), "{bad:?}");
        }
        assert!(is_key(&"a".repeat(63)) && !is_key(&"a".repeat(64)));
    }
}
