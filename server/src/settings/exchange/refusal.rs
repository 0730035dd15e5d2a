//! Why nobody is believed.

use crate::problem::Problem;

/// A refusal, with the issuer that it concerns.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) kind: Refused,
    /// One of the configured ones, or `unknown`.
    pub(crate) issuer: String,
}

/// What is refused. Only the first two are told to whoever asks.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The request makes no sense, and says this of itself.
    Malformed(&'static str),
    /// Several services believe the proof, and the host names none.
    Ambiguous,
    /// It proves nothing here; why is the log's business.
    Rejected(&'static str),
    /// What it takes to judge it cannot be had now.
    Unavailable,
}

impl Refusal {
    /// The body is no request for a session.
    pub(crate) fn unreadable() -> Self {
        Self::malformed(
            "the body must be an object with `oidc_token`, or with `provider` and `aws_sts_request`",
        )
    }

    pub(super) fn malformed(message: &'static str) -> Self {
        Self { kind: Refused::Malformed(message), issuer: "unknown".to_owned() }
    }

    pub(super) fn rejected(issuer: &str, reason: &'static str) -> Self {
        Self { kind: Refused::Rejected(reason), issuer: issuer.to_owned() }
    }

    pub(super) fn ambiguous(issuer: &str) -> Self {
        Self { kind: Refused::Ambiguous, issuer: issuer.to_owned() }
    }

    pub(super) fn unavailable(issuer: &str) -> Self {
        Self { kind: Refused::Unavailable, issuer: issuer.to_owned() }
    }

    /// Returns the reason, for the log.
    pub(crate) fn reason(&self) -> &'static str {
        match self.kind {
            Refused::Malformed(reason) | Refused::Rejected(reason) => reason,
            Refused::Ambiguous => "several services believe it, and the host names none",
            Refused::Unavailable => "the issuer cannot be asked",
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal.kind {
            Refused::Malformed(message) => Self::bad_request(message),
            Refused::Ambiguous => Self::bad_request(
                "several services trust this identity: ask at the host name of the one that is meant, \
                 `<slug>.<domain>`",
            ),
            Refused::Rejected(_) => Self::new(
                http::StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "the identity was not accepted; the server's log says why",
            ),
            Refused::Unavailable => Self::busy(),
        }
    }
}
