//! The digest of a namespace's files (M11).

use std::fmt;

use sha2::{Digest, Sha256};

use super::layout::Layout;
use crate::{
    document::{Entry, Tree},
    encoding::hex,
};

/// SHA-256 over paths and contents, in byte order of the paths.
///
/// The digest covers, for each path: the path, a zero byte, the lower-case hex SHA-256 of the content, a line feed.
///
/// # Examples
/// ```
/// use leverframe::{document::Tree, manifest::Fingerprint};
/// let tree: Tree = [("flags/a.toml", "x")].into_iter().collect();
/// let fingerprint = Fingerprint::of(&tree);
/// assert!(fingerprint.as_str().starts_with("sha256:"));
/// assert!(fingerprint.short("shop").starts_with("shop@"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Digests the files that an archive of the namespace holds.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        Self::over(Layout::of(tree).packaged().iter())
    }

    /// Digests the files of a closure: what stands in `tree` under `paths`.
    #[must_use]
    pub fn of_paths<'a>(tree: &Tree, paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut paths: Vec<&str> = paths.into_iter().collect();
        paths.sort_unstable();
        paths.dedup();
        Self::over(paths.into_iter().filter_map(|path| tree.get(path).map(|entry| (path, entry))))
    }

    fn over<'a>(entries: impl Iterator<Item = (&'a str, &'a Entry)>) -> Self {
        let mut whole = Sha256::new();
        for (path, entry) in entries {
            if let Entry::File(content) = entry {
                whole.update(Self::line(path, content));
            }
        }
        Self::from_digest(&whole.finalize())
    }

    /// Returns the line that stands for a file.
    pub(super) fn line(path: &str, content: &[u8]) -> String {
        format!("{path}\0{}\n", hex(&Sha256::digest(content)))
    }

    pub(super) fn from_digest(digest: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(digest)))
    }

    /// Returns `sha256:` and 64 lower-case hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the form for people: the slug, `@` and the first six hex digits.
    #[must_use]
    pub fn short(&self, slug: &str) -> String {
        let digits = self.0.trim_start_matches("sha256:");
        format!("{slug}@{}", &digits[..6])
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_that_the_format_describes() {
        // python3: h=lambda b:hashlib.sha256(b); h(b"flags/a.toml\0"+h(b"x").hexdigest().encode()+b"\n"
        //   +b"namespace.toml\0"+h(b"y").hexdigest().encode()+b"\n").hexdigest()
        let tree: Tree =
            [("flags/a.toml", "x"), ("namespace.toml", "y"), ("README.md", "z")].into_iter().collect();

        assert_eq!(Fingerprint::of(&tree).as_str(), EXPECTED);
        assert_eq!(Fingerprint::of_paths(&tree, ["namespace.toml", "flags/a.toml"]).as_str(), EXPECTED);
    }

    #[test]
    fn content_and_path_both_count() {
        let of = |path, text| Fingerprint::of(&[(path, text)].into_iter().collect());

        assert_ne!(of("flags/a.toml", "x"), of("flags/b.toml", "x"));
        assert_ne!(of("flags/a.toml", "x"), of("flags/a.toml", "y"));
    }

    const EXPECTED: &str = "sha256:2227f0d454ca38cf7e83ef82e003109cbec1d56df71c75672efaa434bbc0ebac";
}
