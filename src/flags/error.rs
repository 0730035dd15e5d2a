//! What building and closing a client can report.

use std::{error::Error as StdError, fmt};

use super::LoadError;

/// Why a client could not be built or closed.
///
/// # Examples
/// ```
/// use leverframe::ExdError;
/// assert_eq!(ExdError::MissingField("environment").to_string(), "the builder needs `environment`");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ExdError {
    /// More than one namespace source was given.
    ConflictingNamespaceSources,
    /// The first load failed.
    Load(LoadError),
    /// A required field was not given.
    MissingField(&'static str),
    /// A background task panicked or was cancelled with its runtime.
    TaskJoin(String),
}

impl fmt::Display for ExdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConflictingNamespaceSources => {
                f.write_str("the builder was given more than one namespace source")
            }
            Self::Load(error) => fmt::Display::fmt(error, f),
            Self::MissingField(field) => write!(f, "the builder needs `{field}`"),
            Self::TaskJoin(message) => write!(f, "a background task ended early: {message}"),
        }
    }
}

impl StdError for ExdError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // `Display` printed the load error itself; what follows in the chain is its cause.
            Self::Load(error) => StdError::source(error),
            Self::ConflictingNamespaceSources | Self::MissingField(_) | Self::TaskJoin(_) => None,
        }
    }
}

impl From<LoadError> for ExdError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}
