//! Version comparison by SemVer 2.0 precedence, tolerant in the ways M5 names.

use std::{cmp::Ordering, fmt};

/// A version as predicates compare it: build metadata is dropped, a leading `v` and a missing minor or patch are
/// accepted.
///
/// # Examples
/// ```
/// use leverframe::eval::Semver;
/// let a = Semver::parse("v1.2").unwrap();
/// let b = Semver::parse("1.2.0-rc.1+build.5").unwrap();
/// assert!(a > b);
/// assert!(Semver::parse("one.two").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Semver {
    core: [u64; 3],
    pre: Box<str>,
}

impl Semver {
    /// Reads a version; `None` where it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let view = View::parse(text)?;
        Some(Self { core: view.core, pre: view.pre.into() })
    }

    /// Compares the version that `text` holds with this one, without allocating; `None` where it holds none.
    #[inline]
    pub(crate) fn cmp_text(&self, text: &str) -> Option<Ordering> {
        let view = View::parse(text)?;
        Some(view.core.cmp(&self.core).then_with(|| cmp_pre(view.pre, &self.pre)))
    }
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.core;
        write!(f, "{major}.{minor}.{patch}")?;
        if self.pre.is_empty() { Ok(()) } else { write!(f, "-{}", self.pre) }
    }
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        self.core.cmp(&other.core).then_with(|| cmp_pre(&self.pre, &other.pre))
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A version that borrows its pre-release part.
struct View<'a> {
    core: [u64; 3],
    pre: &'a str,
}

impl<'a> View<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = split_at_char(text, '+');
        let (numbers, pre) = split_at_char(text, '-');
        if build.is_some_and(|b| !identifiers(b).all(is_identifier)) {
            return None;
        }
        if pre.is_some_and(|p| !identifiers(p).all(|i| is_identifier(i) && !has_leading_zero(i))) {
            return None;
        }
        let mut core = [0; 3];
        let mut parts = numbers.split('.');
        for (i, slot) in core.iter_mut().enumerate() {
            match parts.next() {
                Some(part) => *slot = number(part)?,
                None if i > 0 => break,
                None => return None,
            }
        }
        parts.next().is_none().then_some(Self { core, pre: pre.unwrap_or("") })
    }
}

fn split_at_char(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split('.')
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_numeric(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && is_numeric(text)
}

fn number(text: &str) -> Option<u64> {
    if !is_numeric(text) || has_leading_zero(text) {
        return None;
    }
    text.parse().ok()
}

/// Rule 11 of SemVer: no pre-release is higher; identifiers compare one by one; more identifiers are higher.
fn cmp_pre(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let (mut left, mut right) = (identifiers(a), identifiers(b));
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return Ordering::Equal,
                    (None, Some(_)) => return Ordering::Less,
                    (Some(_), None) => return Ordering::Greater,
                    (Some(x), Some(y)) => match cmp_identifier(x, y) {
                        Ordering::Equal => {}
                        other => return other,
                    },
                }
            }
        }
    }
}

fn cmp_identifier(a: &str, b: &str) -> Ordering {
    match (is_numeric(a), is_numeric(b)) {
        // Without leading zeros the longer number is the greater, however many digits it has.
        (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Semver {
        Semver::parse(text).unwrap()
    }

    #[test]
    fn precedence_follows_the_chain_of_the_specification() {
        let chain = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.1.0",
            "2.0.0",
            "10.0.0",
        ];

        for pair in chain.windows(2) {
            assert!(v(pair[0]) < v(pair[1]), "{} < {}", pair[0], pair[1]);
            assert_eq!(v(pair[1]).cmp_text(pair[0]), Some(Ordering::Less));
        }
    }

    #[test]
    fn build_metadata_leading_v_and_missing_parts_do_not_matter() {
        assert_eq!(v("1.2.0+a"), v("v1.2"));
        assert_eq!(v("3"), v("3.0.0"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in [
            "",
            "v",
            "1.",
            "1..2",
            "1.2.3.4",
            "01.2.3",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3+",
            "x",
            "1.2.3-ä",
            "-1.0.0",
            "1.2.99999999999999999999999",
        ] {
            assert_eq!(Semver::parse(bad), None, "{bad:?}");
        }
    }
}
