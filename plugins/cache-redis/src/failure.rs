//! Why a call to the server failed, and what that means to a caller.

use std::io;

use leverframe::{Error, ErrorKind, Retry, traits::CacheKey};

use crate::tls;

/// A failed call.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: ErrorKind,
    retry: Retry,
    reason: String,
    hint: Option<&'static str>,
    cause: Option<io::Error>,
    /// Whether the connection ended under the call, as it does when the server was restarted in between.
    broken: bool,
}

impl Failure {
    fn new(kind: ErrorKind, retry: Retry, reason: impl Into<String>) -> Self {
        Self { kind, retry, reason: reason.into(), hint: None, cause: None, broken: false }
    }

    fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The time is up.
    pub(crate) fn timeout() -> Self {
        Self::new(ErrorKind::Timeout, Retry::Now, "the server did not answer in time")
            .hint("is the server overloaded or behind a firewall? the limits are `cache.redis.connect_timeout_ms` and `timeout_ms`")
    }

    /// The thread that was to do it ended first.
    pub(crate) fn gone() -> Self {
        Self::new(ErrorKind::Unavailable, Retry::Now, "the thread that speaks to the server ended")
    }

    /// The answer is none that the command has.
    pub(crate) fn unexpected() -> Self {
        Self::new(ErrorKind::Invalid, Retry::Never, "the answer is not one that Redis gives")
            .hint("does `cache.redis.url` name a Redis server?")
    }

    /// The answer is larger than an entry may be.
    pub(crate) fn too_large() -> Self {
        Self::new(ErrorKind::Corrupt, Retry::Never, "it is too large")
            .hint("remove the entry, or raise `cache.redis.max_entry_bytes`")
    }

    pub(crate) fn io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::timeout();
        }
        if tls::is_distrust(&error) {
            let failure =
                Self::new(ErrorKind::Unavailable, Retry::Never, "the server's certificate is not trusted");
            return Self { cause: Some(error), ..failure }
                .hint("name the authority that signed it in `cache.redis.ca_file`");
        }
        let failure = Self::new(ErrorKind::Unavailable, Retry::Now, "the connection failed");
        Self { cause: Some(error), broken: true, ..failure }
            .hint("is the server running, and does it listen there?")
    }

    /// Reads the code that begins an error's answer. The text behind it stays out: it may repeat arguments of the
    /// command, and so a password.
    pub(crate) fn server(code: &str) -> Self {
        let code: String = code.chars().filter(char::is_ascii_uppercase).take(16).collect();
        let (kind, retry, hint) = match code.as_str() {
            "NOAUTH" | "WRONGPASS" => {
                (ErrorKind::Unauthenticated, Retry::Never, "give user and password in `cache.redis.url`")
            }
            "NOPERM" => (
                ErrorKind::PermissionDenied,
                Retry::Never,
                "the user needs `get`, `set`, `del` and `select` on keys with the prefix",
            ),
            "DENIED" => (
                ErrorKind::PermissionDenied,
                Retry::Never,
                "the server runs in protected mode: give it a password or a bind address",
            ),
            "WRONGTYPE" => (
                ErrorKind::Corrupt,
                Retry::Never,
                "another application uses the key; choose another `cache.redis.prefix`, or remove the entry",
            ),
            "OOM" => (
                ErrorKind::Unavailable,
                Retry::Now,
                "the server's memory is full: raise `maxmemory`, or choose an eviction policy",
            ),
            "READONLY" => (
                ErrorKind::Unavailable,
                Retry::Now,
                "the server is a replica; name the primary in `cache.redis.url`",
            ),
            "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" => (
                ErrorKind::Unsupported,
                Retry::Never,
                "the server is part of a cluster, which this cache does not speak to",
            ),
            "LOADING" | "MASTERDOWN" | "BUSY" | "TRYAGAIN" | "MISCONF" | "NOREPLICAS" | "UNBLOCKED" => {
                (ErrorKind::Unavailable, Retry::Now, "see the server's log")
            }
            _ => (
                ErrorKind::Invalid,
                Retry::Never,
                "see the server's log; does it allow `GET`, `SET` and `DEL`?",
            ),
        };
        Self::new(kind, retry, format!("the server answered `{code}`")).hint(hint)
    }

    /// The log-in was refused, whatever the code: servers before version 6 say `ERR`.
    pub(crate) fn log_in(code: &str) -> Self {
        let failure = Self::server(code);
        if failure.kind == ErrorKind::Invalid {
            Self { kind: ErrorKind::Unauthenticated, ..failure }
                .hint("check user and password in `cache.redis.url`")
        } else {
            failure
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn into_error(self, operation: &'static str, address: &str, key: &CacheKey) -> Error {
        let mut error = Error::new(self.kind, operation)
            .with("server", address)
            .with("key", key)
            .with("reason", self.reason)
            .retry(self.retry);
        if let Some(hint) = self.hint {
            error = error.hint(hint);
        }
        match self.cause {
            Some(cause) => error.source(cause),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_kinds_that_a_caller_can_act_on() {
        for (code, kind, may_retry) in [
            ("LOADING", ErrorKind::Unavailable, true),
            ("MOVED", ErrorKind::Unsupported, false),
            ("NOAUTH", ErrorKind::Unauthenticated, false),
            ("NOPERM", ErrorKind::PermissionDenied, false),
            ("OOM", ErrorKind::Unavailable, true),
            ("READONLY", ErrorKind::Unavailable, true),
            ("WRONGTYPE", ErrorKind::Corrupt, false),
        ] {
            let failure = Failure::server(code);

            assert_eq!((failure.kind, failure.retry.may_retry()), (kind, may_retry), "{code}");
        }
    }

    #[test]
    fn a_code_that_is_none_does_not_bring_text_into_the_error() {
        assert_eq!(Failure::server("hunter2 'AUTH'").reason, "the server answered `AUTH`");
        assert_eq!(Failure::log_in("ERR").kind, ErrorKind::Unauthenticated);
    }
}
