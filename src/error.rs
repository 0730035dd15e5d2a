//! The error of the framework: a value with kind, operation, context, retry state and hint.
//!
//! `Display` prints one line and never the source: a reporter walks [`std::error::Error::source`] and prints
//! each cause once. Nothing here holds a secret; whoever adds context redacts it first.

use std::{borrow::Cow, error::Error as StdError, fmt, io, time::Duration};

/// A result whose error is [`enum@ErrorKind`]-classified.
///
/// # Examples
/// ```
/// fn port(text: &str) -> leverframe::Result<u16> {
///     use leverframe::{Error, ErrorKind};
///     text.parse().map_err(|e| Error::new(ErrorKind::Invalid, "read the port").with("text", text).source(e))
/// }
/// assert_eq!(port("80").unwrap(), 80);
/// assert!(port("http").is_err());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, so far as a caller can act on it.
///
/// # Examples
/// ```
/// use leverframe::ErrorKind;
/// assert_eq!(ErrorKind::NotFound.as_str(), "not found");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller or the framework gave up before the operation ended.
    Cancelled,
    /// A setting is missing, unknown or contradicts another.
    Config,
    /// The other side holds a state that the request did not expect.
    Conflict,
    /// Stored data exists and cannot be trusted.
    Corrupt,
    /// Input does not have the form that it must have.
    Invalid,
    /// The operating system refused or failed an operation.
    Io,
    /// A bound on size, count, depth or time was reached.
    LimitExceeded,
    /// The thing asked for does not exist.
    NotFound,
    /// The caller is known and may not do this.
    PermissionDenied,
    /// A deadline passed.
    Timeout,
    /// The caller is not known: a credential is missing, wrong or expired.
    Unauthenticated,
    /// The other side cannot be reached or cannot serve now.
    Unavailable,
    /// The backend declares that it does not do this.
    Unsupported,
}

impl ErrorKind {
    /// Returns the kind in words, as error lines print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Config => "configuration",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt data",
            Self::Invalid => "invalid input",
            Self::Io => "input/output",
            Self::LimitExceeded => "limit exceeded",
            Self::NotFound => "not found",
            Self::PermissionDenied => "permission denied",
            Self::Timeout => "timed out",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether trying again can help, and who decides.
///
/// # Examples
/// ```
/// use leverframe::{Error, ErrorKind, Retry};
/// let e = Error::new(ErrorKind::Unavailable, "fetch").retry(Retry::After(std::time::Duration::from_secs(2)));
/// assert!(e.retry_state().may_retry());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// The same call would fail the same way.
    #[default]
    Never,
    /// Trying again at once is reasonable.
    Now,
    /// The other side asked for a pause of this length.
    After(Duration),
    /// A wrapper tried again and gave up; outer wrappers leave it alone.
    Exhausted,
}

impl Retry {
    /// Returns true where a wrapper may try again.
    #[must_use]
    pub const fn may_retry(self) -> bool {
        matches!(self, Self::Now | Self::After(_))
    }
}

/// An error of the framework or of a backend.
///
/// # Examples
/// ```
/// use leverframe::{Error, ErrorKind};
///
/// let e = Error::new(ErrorKind::Config, "select transport")
///     .with("asked", "crul")
///     .with("available", "curl, reqwest")
///     .hint("did you mean `curl`?");
/// assert_eq!(e.kind(), ErrorKind::Config);
/// assert_eq!(e.to_string(), "failed to select transport (asked: crul, available: curl, reqwest)");
/// assert_eq!(e.hint_text(), Some("did you mean `curl`?"));
/// ```
pub struct Error {
    // Boxed so that `Result<T, Error>` stays one pointer wide on the paths that succeed.
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    retry: Retry,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of `kind` while doing `operation`: a lower-case fragment that fits after "failed to".
    #[must_use]
    pub fn new(kind: ErrorKind, operation: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                operation: operation.into(),
                context: Vec::new(),
                retry: Retry::Never,
                hint: None,
                source: None,
            }),
        }
    }

    /// Classifies an I/O error while doing `operation`.
    #[must_use]
    pub fn from_io(operation: impl Into<Cow<'static, str>>, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Io,
        };
        Self::new(kind, operation).source(error)
    }

    /// Adds a fact; `value` must not be or hold a secret.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.inner.context.push((key, value.to_string()));
        self
    }

    /// Sets the person's next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Sets whether trying again can help.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.inner.retry = retry;
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn source(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(cause.into());
        self
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns what was being done, as a fragment that fits after "failed to".
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.inner.operation
    }

    /// Returns the facts in the order they were added.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.inner.context.iter().map(|(k, v)| (*k, v.as_str()))
    }

    /// Returns whether trying again can help.
    #[must_use]
    pub fn retry_state(&self) -> Retry {
        self.inner.retry
    }

    /// Returns the person's next step, if one is known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// Returns this error and its causes as one line, each cause once, separated by `: `.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// Returns an error and its causes as one line, each cause once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        line.push_str(": ");
        line.push_str(&e.to_string());
        cause = e.source();
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.inner.operation)?;
        for (i, (key, value)) in self.inner.context.iter().enumerate() {
            f.write_str(if i == 0 { " (" } else { ", " })?;
            write!(f, "{key}: {value}")?;
        }
        if self.inner.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("operation", &self.inner.operation)
            .field("context", &self.inner.context)
            .field("retry", &self.inner.retry)
            .field("hint", &self.inner.hint)
            .field("source", &self.inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_prints_operation_and_context_and_not_the_source() {
        let e = Error::new(ErrorKind::Io, "read file").with("path", "a.toml").source("disk on fire");

        assert_eq!(e.to_string(), "failed to read file (path: a.toml)");
        assert_eq!(e.chain(), "failed to read file (path: a.toml): disk on fire");
    }

    #[test]
    fn io_errors_keep_the_kind_a_caller_can_act_on() {
        let e = Error::from_io("open", io::Error::from(io::ErrorKind::NotFound));

        assert_eq!(e.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn the_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
