//! A string that must not be seen: redacted, never serialised, wiped when dropped.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A secret read from configuration or handed in by code.
///
/// `Debug` prints `Secret(***)`; there is no `Display` and no `Serialize`; [`Secret::expose`] is the one way out,
/// so that a search for `expose` finds every use. The memory is wiped on drop.
///
/// # Examples
/// ```
/// use leverframe::Secret;
/// let token = Secret::new("exd_read_abc");
/// assert_eq!(format!("{token:?}"), "Secret(***)");
/// assert_eq!(token.expose(), "exd_read_abc");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `value`.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// Returns the cleartext: the caller must not log, print or store it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the cleartext; the other name of [`expose`](Self::expose).
    ///
    /// # Examples
    /// ```
    /// assert_eq!(leverframe::Secret::new("s3cret").expose_secret(), "s3cret");
    /// ```
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        self.expose()
    }

    /// Returns true if both hold the same text, in time that depends only on the lengths.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        // Folding over every byte instead of stopping at the first difference keeps the position of it unknown.
        let difference = a.iter().zip(b).fold(a.len() ^ b.len(), |acc, (x, y)| acc | usize::from(x ^ y));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Returns a URI, well-formed or not, without what may be secret in it: user-info, and whatever follows a `?`.
pub(crate) fn without_credentials(uri: &str) -> String {
    let (uri, query) = uri.split_once('?').map_or((uri, ""), |(uri, _)| (uri, "?…"));
    let (scheme, rest) = uri.split_at(uri.find("://").map_or(0, |at| at + "://".len()));
    let authority = &rest[..rest.find(['/', '#']).unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) => format!("{scheme}***{}{query}", &rest[at..]),
        None => format!("{scheme}{rest}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_cleartext() {
        let secret = Secret::new("hunter2");

        assert!(!format!("{secret:?} {secret:#?}").contains("hunter2"));
    }

    #[test]
    fn uris_lose_user_info_and_query_and_nothing_else() {
        for (uri, shown) in [
            ("https://ann:hunter2@host:1/a@b", "https://***@host:1/a@b"),
            ("https://ann@hunter2@host", "https://***@host"),
            ("file:///a%2?token=hunter2#x", "file:///a%2?…"),
            ("ann:hunter2@host/a", "***@host/a"),
            ("git+https://host/flags.git#main:payments", "git+https://host/flags.git#main:payments"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(uri), shown);
        }
    }

    #[test]
    fn comparison_sees_content_and_length() {
        assert!(Secret::new("abc").same_as(&Secret::new("abc")));
        assert!(!Secret::new("abc").same_as(&Secret::new("abd")));
        assert!(!Secret::new("abc").same_as(&Secret::new("abcd")));
    }
}
