//! What can go wrong with settings.

use std::{
    error::Error as StdError,
    fmt, io,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{Error, ErrorKind, Retry, error::chain, from_rfc3339};

/// How long requests are held back after a 402.
pub(super) const BILLING_HOLD: Duration = Duration::from_secs(300);
/// How long a quarantine lasts whose end cannot be read.
const QUARANTINE: Duration = Duration::from_secs(600);
/// No quarantine is believed to last longer.
const LONGEST_QUARANTINE: Duration = Duration::from_secs(86_400);
/// How long a caller does well to wait after a 429 of which it knows no more.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(1);
/// Key names are cut to so many characters in errors.
const LONGEST_KEY: usize = 128;

/// Why settings could not be had or changed.
///
/// No variant holds what a server answered, a credential, or a value; names of keys are cut to 128 characters.
///
/// # Examples
/// ```
/// use leverframe::NexusError;
/// assert_eq!(NexusError::Unauthorized.status(), Some(401));
/// assert!(NexusError::RateLimited.retry_after().is_some());
/// assert_eq!(NexusError::NotFound.retry_after(), None);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum NexusError {
    /// The service evaluates no flags for single users.
    AbAddonNotAvailable,
    /// The service does not take the request as it is.
    BadRequest,
    /// The account is behind with payment; what is cached goes on to be served.
    Billing,
    /// A setting of the client cannot work; the text says which.
    Config(String),
    /// What is stored is not what the write expected.
    Conflict,
    /// A credential on this machine cannot be used; the text says why.
    DeveloperCredentials(String),
    /// The credential may not do this.
    Forbidden,
    /// A file could not be read or written.
    Io(io::Error),
    /// A document is not what it has to be; the text says where, and nothing of what stands there.
    Json(serde_json::Error),
    /// A config is not of the type that it is read as.
    Mismatch {
        /// The config's key; with what leads to the part inside it.
        key: String,
        /// What it has to be and what it is, without the value.
        reason: String,
    },
    /// What was asked for does not exist.
    NotFound,
    /// A public key reads no secrets and writes nothing.
    PublicKeyRestricted,
    /// The service is closed to this key until a time.
    Quarantined {
        /// Why, in the service's words; `unknown` where it says nothing.
        reason: String,
        /// Until when, in RFC 3339; empty where the service says nothing.
        expires_at: String,
    },
    /// Too many requests. Where the service says for how long, [`NexusClient::held_for`](crate::NexusClient::held_for)
    /// says it.
    RateLimited,
    /// The answer is larger than any answer has to be.
    ResponseTooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// There is no secret of this name and form.
    SecretNotFound(String),
    /// Services of kind `frontend` have no secrets.
    ServiceKindMismatch,
    /// The session is over and no other could be had.
    SessionExpired,
    /// The service did not give what was asked of it; the text says how.
    SyncFailed(String),
    /// No answer came.
    Transport(Box<dyn StdError + Send + Sync>),
    /// The credential is missing, wrong or expired.
    Unauthorized,
    /// The service cannot answer now.
    Unavailable {
        /// The status that it gave.
        status: u16,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// No workload identity is configured.
    WifNotConfigured,
    /// The workload's token was not exchanged for a session; the text says why.
    WifTokenExchangeFailed(String),
}

impl NexusError {
    /// Returns the status that the service answered with; `None` where it is not known, or where nobody was asked.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::BadRequest => Some(400),
            Self::Unauthorized => Some(401),
            Self::Billing => Some(402),
            Self::AbAddonNotAvailable | Self::Forbidden => Some(403),
            Self::NotFound => Some(404),
            Self::Conflict => Some(409),
            Self::RateLimited | Self::Quarantined { .. } => Some(429),
            Self::Unavailable { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns how long to wait before the same call may succeed; `None` where waiting does not help, or nobody knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        use crate::{backends::clock_system::SystemClock, traits::Clock};
        match self {
            Self::Billing => Some(BILLING_HOLD),
            Self::RateLimited => Some(RATE_LIMIT_PAUSE),
            Self::Quarantined { expires_at, .. } => Some(quarantine(expires_at, SystemClock::new().wall())),
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Transport(cause) => match cause.downcast_ref::<Error>()?.retry_state() {
                Retry::After(pause) => Some(pause),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the kind of error, as the rest of the library has them.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::AbAddonNotAvailable
            | Self::Forbidden
            | Self::PublicKeyRestricted
            | Self::Quarantined { .. }
            | Self::ServiceKindMismatch => ErrorKind::PermissionDenied,
            Self::BadRequest | Self::Json(_) | Self::Mismatch { .. } | Self::SyncFailed(_) => {
                ErrorKind::Invalid
            }
            Self::Billing | Self::RateLimited | Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Config(_) | Self::DeveloperCredentials(_) | Self::WifNotConfigured => ErrorKind::Config,
            Self::Conflict => ErrorKind::Conflict,
            Self::Io(_) => ErrorKind::Io,
            Self::NotFound | Self::SecretNotFound(_) => ErrorKind::NotFound,
            Self::ResponseTooLarge { .. } => ErrorKind::LimitExceeded,
            Self::SessionExpired | Self::Unauthorized | Self::WifTokenExchangeFailed(_) => {
                ErrorKind::Unauthenticated
            }
            Self::Transport(cause) => {
                cause.downcast_ref::<Error>().map_or(ErrorKind::Unavailable, Error::kind)
            }
        }
    }

    /// Returns what a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::AbAddonNotAvailable => "have evaluation for single users turned on for the service",
            Self::BadRequest => "check the names of keys, and that every attribute is a string",
            Self::Billing => "settle the account; what is cached is served meanwhile",
            Self::Config(_) => "correct the setting",
            Self::Conflict => "read the present version and write again",
            Self::DeveloperCredentials(_) => "log in again with the command-line tool",
            Self::Forbidden => "use a key that may do this",
            Self::Io(_) => {
                "check the folder that the error names: does it exist, is there space, who owns it?"
            }
            Self::Json(_) => "look at what the service sends; what was loaded before is served meanwhile",
            Self::Mismatch { .. } => "correct the config where `source_of` says that it comes from",
            Self::NotFound => "check the name, and the endpoint",
            Self::PublicKeyRestricted => "use the secret key of the service, where it is safe",
            Self::Quarantined { .. } => "wait until the time given, and find out what asked too much",
            Self::RateLimited => "send fewer requests",
            Self::ResponseTooLarge { .. } => {
                "is it the right endpoint? the service sends more than settings have"
            }
            Self::SecretNotFound(_) => "check the name, and whether the secret is a text or a file",
            Self::ServiceKindMismatch => "keep secrets in a service of kind `backend`",
            Self::SessionExpired => "check the workload's identity: no new session could be had",
            Self::SyncFailed(_) => "check that the endpoint is that of a settings service",
            Self::Transport(cause) => return cause.downcast_ref::<Error>().and_then(Error::hint_text),
            Self::Unauthorized => "check the key, and that the endpoint is that of its service",
            Self::Unavailable { .. } => "nothing to do here: it is tried again until the service recovers",
            Self::WifNotConfigured => "set `wif.enabled`, or give an `api_key`",
            Self::WifTokenExchangeFailed(_) => "check the workload's token and the service's trust rules",
        })
    }

    /// Says that there is no such secret.
    pub(crate) fn no_secret(key: &str) -> Self {
        Self::SecretNotFound(shown(key))
    }

    /// Says where a document is wrong, without what stands there: it may be a secret.
    pub(crate) fn malformed(what: &str, error: &serde_json::Error) -> Self {
        let text =
            format!("{what} is not as it has to be, at line {} column {}", error.line(), error.column());
        Self::Json(<serde_json::Error as serde::de::Error>::custom(text))
    }
}

/// Returns a key as errors show it.
pub(crate) fn shown(key: &str) -> String {
    key.chars().take(LONGEST_KEY).collect::<String>().escape_debug().to_string()
}

/// Returns how long a quarantine lasts from `now`, at most a day.
pub(super) fn quarantine(expires_at: &str, now: SystemTime) -> Duration {
    let left = from_rfc3339(expires_at).and_then(|end| end.duration_since(now).ok());
    left.filter(|left| !left.is_zero()).unwrap_or(QUARANTINE).min(LONGEST_QUARANTINE)
}

impl fmt::Display for NexusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AbAddonNotAvailable => {
                f.write_str("failed to evaluate flags for a user: the service does not do it")
            }
            Self::BadRequest => {
                f.write_str("failed to ask the settings service: the request is not as it has to be")
            }
            Self::Billing => {
                f.write_str("failed to ask the settings service: the account is behind with payment")
            }
            Self::Config(reason) => write!(f, "failed to set up the settings client: {reason}"),
            Self::Conflict => {
                f.write_str("failed to write a setting: another version is stored than expected")
            }
            Self::DeveloperCredentials(reason) => write!(f, "failed to read developer credentials: {reason}"),
            Self::Forbidden => {
                f.write_str("failed to ask the settings service: the credential may not do this")
            }
            Self::Io(_) => f.write_str("failed to read or write a file of settings"),
            Self::Json(_) => f.write_str("failed to read settings"),
            Self::Mismatch { key, reason } => write!(f, "failed to read the config `{key}`: {reason}"),
            Self::NotFound => {
                f.write_str("failed to ask the settings service: what was asked for does not exist")
            }
            Self::PublicKeyRestricted => {
                f.write_str("failed to use secrets or to write: a public key reads configs and flags only")
            }
            Self::Quarantined { reason, expires_at } => {
                write!(f, "failed to ask the settings service: the key is in quarantine ({reason})")?;
                if expires_at.is_empty() { Ok(()) } else { write!(f, " until {expires_at}") }
            }
            Self::RateLimited => f.write_str("failed to ask the settings service: too many requests"),
            Self::ResponseTooLarge { limit } => {
                write!(f, "failed to read the settings service's answer: it has more than {limit} bytes")
            }
            Self::SecretNotFound(key) => write!(f, "failed to find the secret `{key}`"),
            Self::ServiceKindMismatch => {
                f.write_str("failed to read a secret: a service of kind `frontend` has none")
            }
            Self::SessionExpired => f.write_str("failed to ask the settings service: the session is over"),
            Self::SyncFailed(reason) => write!(f, "failed to synchronise settings: {reason}"),
            Self::Transport(_) => f.write_str("failed to reach the settings service"),
            Self::Unauthorized => {
                f.write_str("failed to ask the settings service: the credential is not accepted")
            }
            Self::Unavailable { status, .. } => {
                write!(f, "failed to ask the settings service: it cannot answer now (status: {status})")
            }
            Self::WifNotConfigured => {
                f.write_str("failed to prove the workload's identity: none is configured")
            }
            Self::WifTokenExchangeFailed(reason) => {
                write!(f, "failed to exchange the workload's token for a session: {reason}")
            }
        }
    }
}

impl StdError for NexusError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Transport(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<io::Error> for NexusError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes the error of settings out of an error of the library that carries one.
impl From<Error> for NexusError {
    fn from(error: Error) -> Self {
        let carried = StdError::source(&error).and_then(|cause| cause.downcast_ref::<Carried>());
        match carried.and_then(Carried::take) {
            Some(error) => error,
            None if error.kind() == ErrorKind::Config => Self::Config(error.chain()),
            None => Self::Transport(Box::new(error)),
        }
    }
}

/// Makes an error of the library that carries this one.
impl From<NexusError> for Error {
    fn from(error: NexusError) -> Self {
        let retry = match error.retry_after() {
            Some(pause) => Retry::After(pause),
            None if matches!(error, NexusError::Transport(_) | NexusError::Unavailable { .. }) => Retry::Now,
            None => Retry::Never,
        };
        let carrier = Self::new(error.kind(), "ask the settings service").retry(retry);
        let carrier = match error.hint() {
            Some(hint) => carrier.hint(hint.to_owned()),
            None => carrier,
        };
        carrier.source(Carried::new(error))
    }
}

/// An error of settings on its way through code that knows only those of the library.
struct Carried {
    text: String,
    error: Mutex<Option<NexusError>>,
}

impl Carried {
    fn new(error: NexusError) -> Self {
        Self { text: chain(&error), error: Mutex::new(Some(error)) }
    }

    fn take(&self) -> Option<NexusError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Carried {}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn an_error_comes_back_out_of_what_carried_it() {
        let carrier =
            Error::from(NexusError::Quarantined { reason: "r".to_owned(), expires_at: String::new() });

        assert!(carrier.chain().contains("quarantine (r)"));
        assert!(matches!(NexusError::from(carrier), NexusError::Quarantined { reason, .. } if reason == "r"));
    }

    #[test]
    fn a_quarantine_is_believed_for_a_day_and_an_unreadable_one_for_ten_minutes() {
        let now = UNIX_EPOCH + Duration::from_secs(1_780_000_000);
        let at = |seconds| crate::rfc3339(now + Duration::from_secs(seconds));

        assert_eq!(quarantine(&at(30), now), Duration::from_secs(30));
        assert_eq!(quarantine(&at(90_000), now), Duration::from_secs(86_400));
        for unreadable in ["", "soon", "1970-01-02T00:00:00Z", &at(0)] {
            assert_eq!(quarantine(unreadable, now), Duration::from_secs(600), "{unreadable}");
        }
    }

    #[test]
    fn long_keys_are_cut_and_control_characters_escaped() {
        let error = NexusError::no_secret(&"k".repeat(10_000)).to_string();

        assert!(error.len() < 200, "{error}");
        assert!(!NexusError::no_secret("a\nb").to_string().contains('\n'));
    }
}
