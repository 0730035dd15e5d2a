//! What ends a command, with its exit code and next step.

use std::{error::Error as StdError, io};

use leverframe::{Error, ErrorKind, EvalError, LoadError, ManifestError, NexusError};

/// The exit codes of every command.
pub(crate) mod exit {
    pub(crate) const OK: u8 = 0;
    /// The thing checked is bad.
    pub(crate) const BAD: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    /// Files or network.
    pub(crate) const IO: u8 = 3;
    /// The other side refuses.
    pub(crate) const REFUSED: u8 = 4;
}

/// An error as a person sees it.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
    broken_pipe: bool,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, broken_pipe: false }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Somebody closed the pipe we write to, as `head` does: not an error of ours.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => exit::REFUSED,
            ErrorKind::Config | ErrorKind::Unsupported => exit::USAGE,
            ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::LimitExceeded | ErrorKind::Corrupt => {
                exit::BAD
            }
            _ => exit::IO,
        };
        // Local permissions are a matter of files; 4 is kept for what a server refuses.
        let local = StdError::source(&error).is_some_and(<dyn StdError>::is::<io::Error>);
        let code = if local { exit::IO } else { code };
        Self { code, message: error.chain(), hint: error.hint_text().map(str::to_owned), broken_pipe: false }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Io(error) | LoadError::Fetch(error) => error.into(),
            other => {
                let failure = Self::new(exit::BAD, other.to_string());
                match other.hint() {
                    Some(hint) => failure.with_hint(hint),
                    None => failure,
                }
            }
        }
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let code = match &error {
            ManifestError::Invalid(_) | ManifestError::Server { status: 400, .. } => exit::USAGE,
            ManifestError::LintFailed { .. }
            | ManifestError::VersionConflict { .. }
            | ManifestError::Server { status: 409 | 413 | 422, .. } => exit::BAD,
            ManifestError::Server { status: 401 | 403, .. } => exit::REFUSED,
            _ => exit::IO,
        };
        let failure = Self::new(code, chain(&error));
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<NexusError> for Failure {
    fn from(error: NexusError) -> Self {
        let code = match &error {
            NexusError::BadRequest
            | NexusError::Conflict
            | NexusError::NotFound
            | NexusError::SecretNotFound(_) => exit::BAD,
            NexusError::Io(_) | NexusError::Transport(_) => exit::IO,
            error => match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => exit::REFUSED,
                ErrorKind::Config => exit::USAGE,
                _ => exit::IO,
            },
        };
        let failure = Self::new(code, chain(&error));
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        Self::new(exit::BAD, error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { broken_pipe, ..Self::new(exit::IO, error.to_string()) }
    }
}

/// Writes an error with its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
