//! Where a namespace comes from, and what can go wrong on the way.

use std::{error::Error as StdError, fmt, sync::Arc};

use crate::{
    Error, ErrorKind,
    backends::clock_system::SystemClock,
    manifest::LintReport,
    secret::without_credentials,
    sources::file::{FileConfig, FileSource},
    traits::{Clock, Source},
};

/// Why a namespace could not be loaded or refreshed.
///
/// # Examples
/// ```
/// use leverframe::{LoadError, Namespace};
/// let error = Namespace::from_dir("/does/not/exist").unwrap_err();
/// assert!(matches!(error, LoadError::Io(_)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// A required part of a builder is missing.
    Builder(String),
    /// The place cannot be reached, refused us, or is of a kind that is not registered.
    Fetch(Error),
    /// A file, directory or archive cannot be read.
    Io(Error),
    /// The files were read and have lint errors.
    Lint(LintReport),
    /// The files declare another slug than the namespace that they would replace: another namespace, not a refresh.
    SlugMismatch {
        /// The slug first loaded.
        expected: String,
        /// The slug that the files declare now.
        found: String,
    },
}

impl LoadError {
    /// Returns the person's next step, if one is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Fetch(error) | Self::Io(error) => error.hint_text(),
            Self::Lint(_) => Some("run `leverframe lint` on the namespace for every finding with its place"),
            Self::SlugMismatch { .. } => {
                Some("load the other namespace under its own name instead of refreshing this one")
            }
            Self::Builder(_) => None,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builder(message) => f.write_str(message),
            Self::Fetch(error) | Self::Io(error) => fmt::Display::fmt(error, f),
            Self::Lint(report) => {
                write!(f, "namespace `{}` has lint errors", report.namespace)?;
                let mut errors = report.errors();
                if let Some(first) = errors.next() {
                    write!(f, ": {first}")?;
                }
                match errors.count() {
                    0 => Ok(()),
                    more => write!(f, " (and {more} more)"),
                }
            }
            Self::SlugMismatch { expected, found } => {
                write!(f, "the files declare namespace `{found}`, but `{expected}` was loaded")
            }
        }
    }
}

impl StdError for LoadError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // `Display` printed the error itself; what follows in the chain is its cause.
            Self::Fetch(error) | Self::Io(error) => StdError::source(error),
            Self::Builder(_) | Self::Lint(_) | Self::SlugMismatch { .. } => None,
        }
    }
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Io
            | ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::Invalid
            | ErrorKind::LimitExceeded
            | ErrorKind::Corrupt => Self::Io(error),
            _ => Self::Fetch(error),
        }
    }
}

/// How a namespace is loaded, besides where from.
///
/// # Examples
/// ```
/// use leverframe::LoadOptions;
/// let options = LoadOptions::new().with_slug("payments");
/// assert!(format!("{options:?}").contains("payments"));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are handed over"]
pub struct LoadOptions {
    pub(super) slug: Option<String>,
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl LoadOptions {
    /// Makes the options of the plain entry points.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the namespace where its files do not (no `namespace.toml`), instead of the location's own name.
    pub fn with_slug(mut self, slug: impl Into<String>) -> Self {
        self.slug = Some(slug.into());
        self
    }

    /// Goes by another clock than the system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()))
    }
}

/// Opens the source that a URI names.
pub(super) fn source_of_uri(uri: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Source>, LoadError> {
    match uri.split_once("://") {
        Some(("file", _)) => Ok(Arc::new(FileSource::open_with_clock(FileConfig::of_uri(uri)?, clock))),
        Some((scheme, _)) => Err(LoadError::Fetch(
            Error::new(ErrorKind::Unsupported, "choose a source for the URI")
                .with("scheme", scheme)
                .with("available", "file")
                .hint("use `file:///path/to/namespace` or `file:///path/to/archive.tar.gz`"),
        )),
        None => Err(LoadError::Fetch(
            Error::new(ErrorKind::Invalid, "read the namespace URI")
                .with("uri", without_credentials(uri))
                .hint("write it as `file:///absolute/path`; for a plain directory use `Namespace::from_dir`"),
        )),
    }
}

/// Opens a directory or an archive by its path.
pub(super) fn source_of_path(path: &std::path::Path, clock: Arc<dyn Clock>) -> Arc<dyn Source> {
    Arc::new(FileSource::open_with_clock(FileConfig::at(path), clock))
}
