//! What a service said of being left alone, whichever request it said that to: one of settings, or one for a session.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::{
    NexusError,
    error::{BILLING_HOLD, quarantine},
};
use crate::{
    backends::layers::retry_after,
    traits::{Body, Clock, Response, Tick},
};

/// What a refusal says fits into this.
const REFUSAL_LIMIT: u64 = 16 * 1024;
/// However long a service asks to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// How a client stands with its service. Only a success and another refusal change it: that a request got no answer says
/// nothing of what the service thinks.
#[derive(Debug)]
pub(crate) struct Standing {
    clock: Arc<dyn Clock>,
    owes: AtomicBool,
    hold: Mutex<Option<Hold>>,
}

/// Why, and until when, nothing is asked without somebody calling for it.
#[derive(Debug)]
struct Hold {
    until: Tick,
    why: Why,
}

#[derive(Clone, Debug)]
enum Why {
    Billing,
    Quarantine { reason: String, expires_at: String },
    RateLimit,
    Unavailable(u16),
}

impl Why {
    fn error(&self, left: Duration) -> NexusError {
        match self {
            Self::Billing => NexusError::Billing,
            Self::Quarantine { reason, expires_at } => {
                NexusError::Quarantined { reason: reason.clone(), expires_at: expires_at.clone() }
            }
            Self::RateLimit => NexusError::RateLimited,
            Self::Unavailable(status) => NexusError::Unavailable { status: *status, retry_after: Some(left) },
        }
    }
}

impl Standing {
    /// Nothing was said yet.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, owes: AtomicBool::new(false), hold: Mutex::default() }
    }

    /// Returns true from a 402 to the next success.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::Acquire)
    }

    /// Returns why nothing is asked now; `None` where it may be.
    pub(super) fn held(&self) -> Option<NexusError> {
        let now = self.clock.now();
        self.hold().as_ref().filter(|hold| now < hold.until).map(|hold| hold.why.error(hold.until - now))
    }

    /// Returns until when nothing is asked.
    pub(super) fn held_until(&self) -> Option<Tick> {
        let now = self.clock.now();
        self.hold().as_ref().map(|hold| hold.until).filter(|until| now < *until)
    }

    /// Returns for how long nothing is asked.
    pub(crate) fn held_for(&self) -> Option<Duration> {
        self.held_until().map(|until| until - self.clock.now())
    }

    /// Notes that the service answered as it should.
    pub(super) fn succeeded(&self) {
        self.owes.store(false, Ordering::Release);
        *self.hold() = None;
    }

    /// Says what a refusal means, and notes for how long nothing more is asked.
    pub(crate) async fn refused(&self, what: &'static str, response: Response) -> NexusError {
        let Response { status, headers, body, .. } = response;
        let asked = self.asked_pause(&headers);
        let said = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN => said(body).await,
            _ => Said::default(),
        };
        match status {
            StatusCode::BAD_REQUEST => NexusError::BadRequest,
            StatusCode::UNAUTHORIZED => NexusError::Unauthorized,
            StatusCode::PAYMENT_REQUIRED => {
                self.owes.store(true, Ordering::Release);
                self.hold_for(BILLING_HOLD, Why::Billing)
            }
            StatusCode::FORBIDDEN if said.error == "ab_addon_not_active" => NexusError::AbAddonNotAvailable,
            StatusCode::FORBIDDEN => NexusError::Forbidden,
            StatusCode::NOT_FOUND => NexusError::NotFound,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => NexusError::Conflict,
            StatusCode::TOO_MANY_REQUESTS if said.error == "quarantined" => {
                let until = quarantine(&said.expires_at, self.clock.wall());
                let reason = if said.reason.is_empty() { "unknown".to_owned() } else { said.reason };
                self.hold_for(until, Why::Quarantine { reason, expires_at: said.expires_at })
            }
            StatusCode::TOO_MANY_REQUESTS => match asked {
                Some(pause) => self.hold_for(pause, Why::RateLimit),
                None => NexusError::RateLimited,
            },
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => match asked {
                Some(pause) => self.hold_for(pause, Why::Unavailable(status.as_u16())),
                None => NexusError::Unavailable { status: status.as_u16(), retry_after: None },
            },
            status if status.is_redirection() => NexusError::SyncFailed(format!(
                "{what}: the service redirects elsewhere (status {}), which is not followed",
                status.as_u16()
            )),
            status => NexusError::SyncFailed(format!("{what}: unexpected status {}", status.as_u16())),
        }
    }

    fn hold_for(&self, pause: Duration, why: Why) -> NexusError {
        let error = why.error(pause);
        *self.hold() = Some(Hold { until: self.clock.now() + pause, why });
        error
    }

    fn asked_pause(&self, headers: &HeaderMap) -> Option<Duration> {
        let value = headers.get(header::RETRY_AFTER)?;
        let pause = retry_after::asked_pause(value, self.clock.wall())?;
        Some(pause.min(LONGEST_ASKED)).filter(|pause| !pause.is_zero())
    }

    fn hold(&self) -> MutexGuard<'_, Option<Hold>> {
        // Plain assignments only.
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a refusal's body may say; nothing else of it is looked at.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    error: String,
    reason: String,
    expires_at: String,
}

/// The longest word of a service that an error repeats.
const LONGEST_WORD: usize = 64;

async fn said(body: Body) -> Said {
    // Without the body the status still says what matters.
    let bytes = body.read_all(REFUSAL_LIMIT).await.unwrap_or_default();
    let mut said: Said = serde_json::from_slice(&bytes).unwrap_or_default();
    // Text from outside is a word or a time, or it is not repeated.
    for text in [&mut said.error, &mut said.reason, &mut said.expires_at] {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:+ ".contains(&b);
        if text.len() > LONGEST_WORD || !text.bytes().all(plain) {
            text.clear();
        }
    }
    said
}
