//! What a failure of the database means.

use std::{error::Error as _, io};

use deadpool_postgres::{HookError, PoolError, tokio_postgres};
use leverframe::{Error, ErrorKind, Retry};

/// Work that failed, and whether it may have been committed all the same.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: Error,
    pub(super) perhaps_committed: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, perhaps_committed: false }
    }
}

/// Says what a failure means. Of the database's own words only the message is taken: the detail quotes values.
pub(super) fn failure(operation: &'static str, error: &tokio_postgres::Error) -> Error {
    let Some(refusal) = error.as_db_error() else { return lost(operation, error) };
    let (kind, retry, hint) = meaning(refusal.code().code());
    let error = Error::new(kind, operation)
        .with("engine", "PostgreSQL")
        .with("sqlstate", refusal.code().code())
        .with("message", refusal.message())
        .retry(retry);
    if hint.is_empty() { error } else { error.hint(hint) }
}

/// Says what it means that there is no connection to be had.
pub(super) fn pool_failure(error: &PoolError) -> Error {
    match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            failure("connect to the database", error)
        }
        PoolError::Closed => {
            Error::new(ErrorKind::Unavailable, "use the database").with("reason", "the store was closed")
        }
        other => Error::new(ErrorKind::Unavailable, "connect to the database")
            .with("engine", "PostgreSQL")
            .with("reason", other)
            .retry(Retry::Now),
    }
}

/// Without an answer: the connection broke, or there was none.
fn lost(operation: &'static str, error: &tokio_postgres::Error) -> Error {
    let io = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let untrusted = io.and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<rustls::Error>());
    let reason = error.source().map(ToString::to_string);
    let text = reason.map_or_else(|| error.to_string(), |reason| format!("{error}: {reason}"));
    let lost = Error::new(ErrorKind::Unavailable, operation).with("engine", "PostgreSQL").source(text);
    if untrusted {
        return lost.hint(
            "the server's certificate is not trusted: name its authority with `sslrootcert=FILE` in the URL, and the \
             host as the certificate has it",
        );
    }
    // Whatever else there is fails in the same way again: no TLS on the other side, a password that is missing.
    if error.is_closed() || io.is_some() { lost.retry(Retry::Now) } else { lost }
}

/// Returns what an SQLSTATE stands for.
fn meaning(state: &str) -> (ErrorKind, Retry, &'static str) {
    match state {
        "23503" => (ErrorKind::NotFound, Retry::Never, ""),
        "23505" => (ErrorKind::Conflict, Retry::Never, ""),
        "28000" | "28P01" => (
            ErrorKind::Unauthenticated,
            Retry::Never,
            "check user and password of the database's URL, and `pg_hba.conf`",
        ),
        "3D000" => {
            (ErrorKind::NotFound, Retry::Never, "create the database, which the server does not do by itself")
        }
        "42501" => (
            ErrorKind::PermissionDenied,
            Retry::Never,
            "make the user the owner of the database, or grant it CREATE and USAGE on the schema",
        ),
        "57014" => (ErrorKind::Timeout, Retry::Never, ""),
        // Serialisation, deadlock: rolled back, and likely to go well the next time.
        "40001" | "40P01" => (ErrorKind::Unavailable, Retry::Now, ""),
        // A lock that is held for long; a standby that is not to be written to, which another is about to replace.
        "55P03" | "25006" => (ErrorKind::Unavailable, Retry::Now, ""),
        // Too many connections; out of memory; shutting down or starting up.
        "53300" | "53200" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => {
            (ErrorKind::Unavailable, Retry::Now, "")
        }
        "53100" => (ErrorKind::Io, Retry::Never, "free space on the disk of the database"),
        "XX001" | "XX002" => (ErrorKind::Corrupt, Retry::Never, "restore a backup into a new database"),
        state if state.starts_with("08") => (ErrorKind::Unavailable, Retry::Now, ""),
        _ => (ErrorKind::Io, Retry::Never, ""),
    }
}
