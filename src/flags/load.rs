//! Where a namespace comes from, and what can go wrong on the way.

use std::{error::Error as StdError, fmt, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;

use super::product::FlagProduct;
#[cfg(feature = "signed")]
use crate::manifest::signature::Trust;
use crate::{
    Error, ErrorKind, HttpBackend, UriAuth,
    backends::clock_system::SystemClock,
    document::{Content, Document, Revision},
    live::{Keep, Ladder, StalePolicy},
    manifest::LintReport,
    registry::Registry,
    sources::file::{FileConfig, FileSource},
    traits::{Clock, Source, Transport},
    wiring::Wiring,
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
    /// Returns what went wrong, so far as a caller can act on it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Builder(_) => ErrorKind::Config,
            Self::Fetch(error) | Self::Io(error) => error.kind(),
            Self::Lint(_) => ErrorKind::Invalid,
            Self::SlugMismatch { .. } => ErrorKind::Conflict,
        }
    }

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
/// use leverframe::{HttpBackend, LoadOptions, UriAuth};
/// let options = LoadOptions::new()
///     .with_http_backend(HttpBackend::Curl)
///     .with_auth(UriAuth::Bearer("s3cret".to_owned()));
/// assert!(!format!("{options:?}").contains("s3cret"));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are handed over"]
pub struct LoadOptions {
    slug: Option<String>,
    clock: Option<Arc<dyn Clock>>,
    auth: Option<UriAuth>,
    http_backend: Option<HttpBackend>,
    transport: Option<Arc<dyn Transport>>,
    registry: Option<Registry>,
    cache_path: Option<PathBuf>,
    keep: Option<Keep>,
    baseline: Option<Bytes>,
    stale: Option<(StalePolicy, Duration)>,
    takes_changes: bool,
    #[cfg(feature = "signed")]
    trust: Option<Trust>,
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

    /// Sets the credentials for the URI. Sources without credentials ignore them; see [`UriAuth`].
    pub fn with_auth(mut self, auth: UriAuth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Chooses the transport of `https` and `http` URIs among the built-in ones. Every refresh uses it as well.
    pub fn with_http_backend(mut self, backend: HttpBackend) -> Self {
        self.http_backend = Some(backend);
        self
    }

    /// Sends the requests of `https` and `http` URIs by this transport, as it is: without the layers that retry.
    pub fn with_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Looks for sources and transports here instead of among those that are linked in.
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Keeps the archive in a file. A start within five minutes of its last write takes it and asks nobody; a start
    /// without the network takes it at any age. `file` and `git` URIs ignore this: they have nothing to keep, or keep
    /// it themselves.
    pub fn with_cache_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache_path = Some(path.into());
        self
    }

    /// Keeps what the source brings, whatever the source; goes before a cache path.
    pub fn with_keep(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Serves this archive (`.tar.gz`) when neither the source nor what is kept can be had. `include_bytes!` makes one.
    pub fn with_baseline(mut self, archive: impl Into<Bytes>) -> Self {
        self.baseline = Some(archive.into());
        self
    }

    /// Sets what to do about a state that the source has not confirmed for longer than `oldest`.
    pub fn with_stale_policy(mut self, policy: StalePolicy, oldest: Duration) -> Self {
        self.stale = Some((policy, oldest));
        self
    }

    /// Applies the changes that a source brings instead of loading the whole for each: less work a change, more memory
    /// a flag, since the files stay with what is served. Sources that bring no changes make no use of it.
    pub fn with_changes_applied(mut self) -> Self {
        self.takes_changes = true;
        self
    }

    /// Serves only what these keys have signed, wherever it comes from.
    #[cfg(feature = "signed")]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()))
    }

    pub(super) fn product(&self) -> FlagProduct {
        let mut product = FlagProduct::new(self.slug.clone());
        if self.takes_changes {
            product = product.taking_changes();
        }
        #[cfg(feature = "signed")]
        if let Some(trust) = &self.trust {
            return product.trusting(trust.clone(), self.clock());
        }
        product
    }

    pub(super) fn ladder(&self) -> Ladder {
        let mut ladder = Ladder::new();
        if let Some(keep) = &self.keep {
            ladder = ladder.with_keep(keep.clone());
        }
        if let Some(baseline) = &self.baseline {
            let document = Document::new(Revision::new("baseline"), Content::Bytes(baseline.clone()));
            ladder =
                ladder.with_baseline(self.slug.iter().fold(document, |document, slug| document.named(slug)));
        }
        match self.stale {
            Some((policy, oldest)) => ladder.with_stale_policy(policy, oldest),
            None => ladder,
        }
    }

    /// Opens the source that a URI names, with these credentials and this transport; nothing is loaded yet.
    ///
    /// # Errors
    /// `Fetch` for a scheme that no source serves and for settings that a backend refuses; `Io` for a malformed
    /// `file` URI.
    pub fn source_of(&self, uri: &str) -> Result<Arc<dyn Source>, LoadError> {
        let wiring = self.wiring().map_err(LoadError::Fetch)?;
        wiring.source("", uri, self.auth.clone()).map_err(|error| match error.kind() {
            ErrorKind::Invalid if uri.starts_with("file://") => LoadError::Io(error),
            _ => LoadError::Fetch(error),
        })
    }

    /// Returns true if only what somebody has signed is served.
    pub(super) fn asks_for_signature(&self) -> bool {
        #[cfg(feature = "signed")]
        return self.trust.is_some();
        #[cfg(not(feature = "signed"))]
        false
    }

    /// Puts together what sources are made of, as these options and the process's environment say.
    pub(super) fn wiring(&self) -> Result<Wiring, Error> {
        let mut wiring = Wiring::of_process(self.clock())?;
        if let Some(registry) = &self.registry {
            wiring = wiring.with_registry(registry.clone());
        }
        match (&self.transport, self.http_backend) {
            (Some(transport), _) => Ok(wiring.with_transport(Arc::clone(transport))),
            (None, Some(backend)) => wiring.with_backend(backend),
            (None, None) => Ok(wiring),
        }
    }

    /// Settles where the archive is kept, now that the source is known.
    pub(crate) fn keeping_archive_of(mut self, source: &dyn Source, uri: &str) -> Self {
        if !matches!(source.name(), "file" | "git") {
            let name =
                uri.split(['?', '#']).next().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
            self.keep_archive_named(name);
        }
        self
    }

    /// Keeps archives under the cache path, unless they are kept elsewhere.
    pub(super) fn keep_archive_named(&mut self, name: &str) {
        if let (None, Some(path)) = (&self.keep, &self.cache_path) {
            self.keep = Some(Keep::in_file(path).named(name));
        }
    }
}

/// Opens a directory or an archive by its path.
pub(super) fn source_of_path(path: &std::path::Path, clock: Arc<dyn Clock>) -> Arc<dyn Source> {
    Arc::new(FileSource::open_with_clock(FileConfig::at(path), clock))
}
