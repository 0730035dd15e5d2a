//! What managing manifests can report.

use std::{error::Error as StdError, fmt};

use crate::Error;

/// Why a manifest could not be pulled, pushed, listed or compared.
///
/// Texts of the server are shortened, and hold neither control characters nor the token.
///
/// # Examples
/// ```
/// use leverframe::ManifestError;
/// let error = ManifestError::VersionConflict { current_version: 9 };
/// assert_eq!(error.to_string(), "version conflict: version 9 is current");
/// assert_eq!(error.hint(), Some("pull the current version, bring the change into it, and push that"));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ManifestError {
    /// The request cannot be made: address, tenant, namespace or token is malformed.
    Invalid(Error),
    /// A local file cannot be read or written.
    Io(Error),
    /// The manifest has lint errors.
    LintFailed {
        /// The first of them, and how many more there are.
        message: String,
    },
    /// The server's answer is not what the contract says.
    Malformed(Error),
    /// The server refuses.
    Server {
        /// The HTTP status.
        status: u16,
        /// The code, such as `forbidden`; made of the status where the answer has none.
        code: String,
        /// The server's own words; empty where it said nothing.
        message: String,
        /// What the server's log knows the request by.
        request_id: Option<String>,
    },
    /// The request or its answer did not get through.
    Transport(Error),
    /// Another version is current than the one that was to be replaced.
    VersionConflict {
        /// The current version.
        current_version: u64,
    },
}

impl ManifestError {
    /// Returns the person's next step, if one is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Invalid(error) | Self::Io(error) | Self::Malformed(error) | Self::Transport(error) => {
                error.hint_text()
            }
            Self::LintFailed { .. } => {
                Some("run `leverframe lint` on the directory for every finding with its place")
            }
            Self::VersionConflict { .. } => {
                Some("pull the current version, bring the change into it, and push that")
            }
            Self::Server { status, .. } => match status {
                401 => Some("give a token that exists, is not expired and was not revoked"),
                403 => Some(
                    "give a token that is bound to this tenant and namespace, with write access to write",
                ),
                404 => {
                    Some("check tenant, namespace and version; before the first push there is no manifest")
                }
                413 => Some("an archive has at most 5,000,000 bytes, 50,000,000 unpacked"),
                429 => Some("the server limits requests: try again later"),
                500.. => Some("try again; the server's log has the cause under the request's id"),
                _ => None,
            },
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) | Self::Io(error) | Self::Malformed(error) | Self::Transport(error) => {
                fmt::Display::fmt(error, f)
            }
            Self::LintFailed { message } => write!(f, "the manifest has lint errors: {message}"),
            Self::Server { status, code, message, request_id } => {
                write!(f, "the server refuses: {code}")?;
                if !message.is_empty() {
                    write!(f, ", {message}")?;
                }
                write!(f, " (status {status}")?;
                if let Some(id) = request_id {
                    write!(f, ", request {id}")?;
                }
                f.write_str(")")
            }
            Self::VersionConflict { current_version } => {
                write!(f, "version conflict: version {current_version} is current")
            }
        }
    }
}

impl StdError for ManifestError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // `Display` printed the error itself; what follows in the chain is its cause.
            Self::Invalid(error) | Self::Io(error) | Self::Malformed(error) | Self::Transport(error) => {
                StdError::source(error)
            }
            Self::LintFailed { .. } | Self::Server { .. } | Self::VersionConflict { .. } => None,
        }
    }
}
