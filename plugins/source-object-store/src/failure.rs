//! Why a load failed, and what that means to a caller.
//!
//! The library's own errors stay out of ours: they quote addresses with their queries, and answers of servers.

use std::error::Error as StdError;

use leverframe::{Error, ErrorKind, Retry};
use object_store::client::{HttpError, HttpErrorKind};

use crate::observed::Refusal;

/// What kept an object from being read.
#[derive(Debug)]
pub(crate) enum Failure {
    /// More than the settings allow.
    Oversize { limit: u64 },
    /// The store refused or broke.
    Store(object_store::Error),
    /// The connection ended before the object did.
    Truncated,
}

impl From<object_store::Error> for Failure {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

const OPERATION: &str = "load an object";

impl Failure {
    pub(crate) fn into_error(self, refusal: Option<Refusal>) -> Error {
        match self {
            Self::Oversize { limit } => Error::new(ErrorKind::LimitExceeded, OPERATION)
                .with("limit", format!("{limit} bytes"))
                .hint("raise `source.object_store.max_object_bytes`"),
            Self::Truncated => broken("the object ended early"),
            Self::Store(error) => of_store(&error, refusal),
        }
    }
}

pub(crate) fn timeout() -> Error {
    Error::new(ErrorKind::Timeout, OPERATION)
        .retry(Retry::Now)
        .hint("is the store reachable from here? the limit is `source.object_store.timeout_ms`")
}

fn broken(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, OPERATION).with("reason", reason.into()).retry(Retry::Now)
}

fn of_store(error: &object_store::Error, refusal: Option<Refusal>) -> Error {
    if let Some(refusal) = refusal {
        return of_refusal(refusal);
    }
    match error {
        object_store::Error::NotFound { .. } => not_found(),
        object_store::Error::PermissionDenied { .. } => denied(),
        object_store::Error::Unauthenticated { .. } => unauthenticated(),
        _ => of_transport(error),
    }
}

fn of_refusal(refusal: Refusal) -> Error {
    let error = match refusal.status.as_u16() {
        401 => unauthenticated(),
        403 => denied(),
        404 => not_found(),
        408 | 429 | 500.. => Error::new(ErrorKind::Unavailable, OPERATION)
            .retry(refusal.retry_after.map_or(Retry::Now, Retry::After))
            .hint("the store cannot serve now; see its provider's status"),
        300..=399 => Error::new(ErrorKind::Config, OPERATION)
            .hint("the bucket is elsewhere: mend `source.object_store.region` or `endpoint`"),
        _ => Error::new(ErrorKind::Invalid, OPERATION)
            .hint("have temporary credentials expired? do bucket, region and endpoint belong together?"),
    };
    error.with("status", refusal.status.as_u16())
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, OPERATION).hint("is it there, under this very name, in this bucket?")
}

fn denied() -> Error {
    Error::new(ErrorKind::PermissionDenied, OPERATION).hint(
        "check the credentials and their right to read; a store may answer so for an object that is not there, too",
    )
}

fn unauthenticated() -> Error {
    Error::new(ErrorKind::Unauthenticated, OPERATION).hint(
        "set credentials in `[source.object_store]`, or in the environment as the provider's tools read them",
    )
}

fn of_transport(error: &object_store::Error) -> Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(http) = current.downcast_ref::<HttpError>() {
            return match http.kind() {
                HttpErrorKind::Timeout => timeout(),
                // The innermost cause is the system's or TLS's own word, and quotes no address.
                _ => broken(innermost(http))
                    .hint("is the store reachable from here, and its certificate trusted?"),
            };
        }
        cause = current.source();
    }
    broken("the answer cannot be used, or no credentials could be had")
        .hint("do `endpoint` and the URI's scheme belong together? are credentials set?")
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
