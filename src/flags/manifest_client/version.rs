//! Which version is meant.

use std::{fmt, str::FromStr};

use crate::{Error, ErrorKind};

/// One version of a namespace on a server.
///
/// Complete by definition: a version is named by its number or by being the newest.
///
/// # Examples
/// ```
/// use leverframe::VersionRef;
/// assert_eq!("latest".parse::<VersionRef>()?, VersionRef::Latest);
/// assert_eq!("v8".parse::<VersionRef>()?, VersionRef::Version(8));
/// assert_eq!(VersionRef::Version(8).to_string(), "8");
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "complete by definition")]
pub enum VersionRef {
    /// The one that was accepted last.
    Latest,
    /// The one of this number.
    Version(u64),
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Version(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for VersionRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let number = text.strip_prefix('v').unwrap_or(text);
        match number.parse() {
            Ok(number) if number > 0 => Ok(Self::Version(number)),
            _ => Err(Error::new(ErrorKind::Config, "read the version")
                .with("text", text.escape_debug())
                .hint("write a number such as 8, or `latest`")),
        }
    }
}

/// The version that has to be current for an upload to be accepted; 0 before the first.
///
/// # Examples
/// ```
/// use leverframe::IfVersion;
/// let nobody_was_faster = IfVersion(8);
/// assert_eq!(nobody_was_faster.0, 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "the public contract constructs it")]
pub struct IfVersion(pub u64);
