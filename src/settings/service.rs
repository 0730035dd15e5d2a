//! One settings service: how it is asked, and what its answers mean for what is asked next.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::{
    NexusError,
    credentials::Credentials,
    error::{BILLING_HOLD, quarantine},
};
use crate::{
    Error, ErrorKind,
    traits::{Body, Clock, Request, Response, Tick, Transport, redacted},
};

/// No answer of settings is larger.
pub(super) const BODY_LIMIT: u64 = 8 * 1024 * 1024;
/// What a refusal says fits into this.
const REFUSAL_LIMIT: u64 = 16 * 1024;
/// However long a service asks to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// Where a service is and how requests get there.
#[derive(Debug)]
pub(super) struct Service {
    /// Without a slash at its end.
    base: String,
    transport: Arc<dyn Transport>,
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    deadline: Duration,
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

impl Service {
    /// Takes a base URL: `https`, or `http` on the loopback interface.
    pub(super) fn new(
        endpoint: &str,
        transport: Arc<dyn Transport>,
        credentials: Arc<dyn Credentials>,
        clock: Arc<dyn Clock>,
        deadline: Duration,
    ) -> Self {
        Self {
            base: endpoint.trim_end_matches('/').to_owned(),
            transport,
            credentials,
            clock,
            deadline,
            owes: AtomicBool::new(false),
            hold: Mutex::default(),
        }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn credentials(&self) -> &Arc<dyn Credentials> {
        &self.credentials
    }

    /// Returns true from a 402 to the next success.
    pub(super) fn owes(&self) -> bool {
        self.owes.load(Ordering::Acquire)
    }

    /// Returns why nothing is asked now; `None` where it may be.
    pub(super) fn held(&self) -> Option<NexusError> {
        let now = self.clock.now();
        let mut hold = self.hold();
        let held = hold.as_ref().filter(|hold| now < hold.until);
        let error = held.map(|hold| hold.why.error(hold.until - now));
        if error.is_none() {
            *hold = None;
        }
        error
    }

    /// Returns for how long nothing is asked.
    pub(super) fn held_for(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.hold().as_ref().map(|hold| hold.until - now).filter(|left| !left.is_zero())
    }

    /// Lets the next request out whatever was said before: somebody calls for it.
    pub(super) fn release(&self) {
        *self.hold() = None;
    }

    /// Makes a request; `path` begins with a slash and is escaped.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request, NexusError> {
        let uri: Uri = format!("{}{path}", self.base).parse().map_err(|_| {
            NexusError::Config("`endpoint` and the key make no URI: a key may be too long".to_owned())
        })?;
        Ok(Request::new(method, uri)
            .deadline(self.deadline)
            .body_limit(BODY_LIMIT)
            // The pauses are the feed's; and where the credential goes is not the answer's to say.
            .attempts(1)
            .without_redirects())
    }

    /// Sends a request with the credential, once more with another one where the first is not accepted, and returns
    /// what is no refusal.
    pub(super) async fn send(&self, what: &'static str, request: Request) -> Result<Response, NexusError> {
        let (mut response, sent) = self.send_once(request.clone()).await?;
        if response.status == StatusCode::UNAUTHORIZED && self.credentials.refused(&sent).await? {
            (response, _) = self.send_once(request).await?;
        }
        let status = response.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            self.owes.store(false, Ordering::Release);
            self.release();
            return Ok(response);
        }
        Err(self.refused(what, response).await)
    }

    /// Returns the answer, and what the credential was that it is the answer to.
    async fn send_once(&self, request: Request) -> Result<(Response, HeaderValue), NexusError> {
        let (name, value) = self.credentials.header().await?;
        let response = self.transport.send(request.header(name, value.clone())).await?;
        Ok((response, value))
    }

    /// Says what a refusal means, and for how long nothing more is asked.
    async fn refused(&self, what: &'static str, response: Response) -> NexusError {
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
        let pause = crate::backends::layers::retry_after::asked_pause(value, self.clock.wall())?;
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

/// Reads a body into memory that is wiped when the last who holds it lets go.
pub(super) async fn read_wiped(response: Response, limit: u64) -> Result<Bytes, NexusError> {
    let Response { headers, mut body, .. } = response;
    let too_large = || NexusError::ResponseTooLarge { limit };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large());
    }
    let start = declared.unwrap_or_default() as usize;
    let mut whole = Zeroizing::new(Vec::with_capacity(start));
    loop {
        let chunk = match body.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::LimitExceeded => return Err(too_large()),
            Err(error) => return Err(error.into()),
        };
        if (whole.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        if whole.len() + chunk.len() > whole.capacity() {
            // Not by growing in place, which leaves what was there before behind.
            let mut larger = Zeroizing::new(Vec::with_capacity((whole.len() + chunk.len()) * 2));
            larger.extend_from_slice(&whole);
            whole = larger;
        }
        whole.extend_from_slice(&chunk);
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.zeroize();
        }
    }
    Ok(Bytes::from_owner(whole))
}

/// Checks a base URL, and says what is wrong with it without showing it: it may hold a password.
pub(super) fn check_endpoint(endpoint: &str) -> Result<(), NexusError> {
    let refuse = |reason: &str| Err(NexusError::Config(format!("`endpoint` {reason}")));
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return refuse("is no URL: write it as `https://host`");
    };
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return refuse("has no host: write it as `https://host`");
    };
    if authority.as_str().contains('@') {
        return refuse("holds a user or a password: give the key as `api_key`");
    }
    if uri.query().is_some() || endpoint.contains('#') {
        return refuse("has a query or a fragment: write it as `https://host`");
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_loopback(authority.host()) => Ok(()),
        Some("http") => refuse("is not encrypted: use `https` for any host but this one"),
        _ => refuse("is neither `https` nor `http`"),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Says that an answer makes no sense as what it has to be.
pub(super) fn odd_answer(uri: &Uri, reason: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "ask the settings service")
        .with("uri", redacted(uri))
        .with("reason", reason)
        .hint("check that the endpoint is that of a settings service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_encrypted_or_on_this_machine() {
        for good in [
            "https://a-b.example.com",
            "https://h:8443/",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://LOCALHOST",
        ] {
            assert!(check_endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h",
            "http://h",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "https://",
            "https://u:canary@h",
            "http://127.0.0.1@h",
            "https://h/?k=canary",
            "https://h/#canary",
        ] {
            let error = check_endpoint(bad).err().unwrap_or_else(|| panic!("taken: {bad}"));
            assert!(
                matches!(error, NexusError::Config(_)) && !error.to_string().contains("canary"),
                "{error}"
            );
        }
    }
}
