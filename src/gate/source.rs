//! The control plane as a source of policies: every look at it is a report, and the answer is the policy.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use sha2::{Digest, Sha256};

use super::{
    outbox::{Batch, Outbox},
    product::read_policy,
    rules::Rules,
    signing::sign_pulse,
    wire::AuthTokenResponse,
};
use crate::{
    Error, ErrorKind, Result, Retry, Secret,
    backends::layers::retry_after::{asked_pause, http_date},
    document::{Content, Document, Revision},
    encoding::hex,
    traits::{Clock, Load, Request, Response, Source, Tick, Transport, redacted},
};

/// The name of the source.
pub(super) const NAME: &str = "gate";

/// Tells a control plane that this client reads all of a policy, `throttle` included.
const OURS: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-leverframe-gate"), HeaderValue::from_static("1"));

/// A policy is at most this many bytes.
const BODY_LIMIT: u64 = 256 * 1024;

/// So much of a refusal is read to learn its code.
const REFUSAL_LIMIT: u64 = 16 * 1024;

/// A token is given up this long before it ends.
const TOKEN_MARGIN_MS: u64 = 60_000;

/// A clock that differs by more than this from that of a control plane which refuses reports is taken to be wrong.
const SKEW_MS: i64 = 60_000;

/// One look at the control plane goes on after at most this many reports that were refused for what they say.
const MOST_REFUSALS: usize = 4;

/// Whom to ask, as whom.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) base_url: String,
    pub(super) publish_key: String,
    pub(super) secret_key: Secret,
    pub(super) site_id: Option<String>,
    pub(super) instance_id: String,
    pub(super) sync_interval: Duration,
    pub(super) deadline: Duration,
}

/// Sends reports and brings policies.
#[derive(Debug)]
pub(super) struct GateSource {
    identity: Identity,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    rules: Arc<ArcSwap<Rules>>,
    /// One exchange at a time: reports are acknowledged in the order they are made.
    exchange: tokio::sync::Mutex<Exchange>,
    /// Why the last report did not arrive.
    last_error: Mutex<Option<String>>,
    /// What to add to the time of day to have that of the control plane, in milliseconds.
    clock_offset_ms: AtomicI64,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Exchange {
    outbox: Outbox,
    token: Option<Token>,
    /// When the policy was last asked for without a report.
    synced_at: Option<Tick>,
}

#[derive(Debug)]
struct Token {
    bearer: Secret,
    expires_at: u64,
    org_id: String,
}

/// What became of the reports of one look.
#[derive(Default)]
struct Reported {
    policy: Option<Bytes>,
    error: Option<Error>,
}

/// Why a report is not acknowledged.
enum Failed {
    /// The control plane does not take what it says, and has counted nothing of it; another report may do.
    Refused(Error),
    /// Anything else: whether it was counted is not known, so it is sent again as it is.
    Unknown(Error),
    /// It was refused, and by the control plane's clock it was not of the time it said.
    Skewed(Error),
    /// A report of this time, or of a later one, was seen before: this one perhaps.
    Replayed(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Unknown(error)
    }
}

impl GateSource {
    pub(super) fn new(
        identity: Identity,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        rules: Arc<ArcSwap<Rules>>,
    ) -> Self {
        Self {
            identity,
            transport,
            clock,
            rules,
            exchange: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
            clock_offset_ms: AtomicI64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn instance_id(&self) -> &str {
        &self.identity.instance_id
    }

    /// Returns why the last report did not arrive; `None` if it did.
    pub(super) fn report_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how far the control plane's clock is ahead of this machine's, where that kept reports from being
    /// taken.
    pub(super) fn clock_offset_ms(&self) -> Option<i64> {
        Some(self.clock_offset_ms.load(Ordering::Relaxed)).filter(|offset| *offset != 0)
    }

    /// Sends the last report; there are none after it.
    pub(super) async fn finish(&self) {
        let mut exchange = self.exchange.lock().await;
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let Reported { error, .. } = self.report(&mut exchange.outbox).await;
        self.note(error.as_ref());
    }

    fn note(&self, error: Option<&Error>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(Error::chain);
    }

    /// Sends what is not acknowledged, then what was counted since.
    async fn report(&self, outbox: &mut Outbox) -> Reported {
        let mut reported = Reported::default();
        let (mut harvests, mut refusals, mut chances) = (0, 0, 1);
        loop {
            let Some((batch, ts)) = outbox.next(self.wall_ms()) else {
                // Once more if all that is known is that there was nothing new to count: a policy comes with what is.
                if harvests > 0 && (harvests > 1 || reported.policy.is_some()) {
                    // What was refused before is tried again last, the more at a time the better it goes.
                    if refusals == 0 && outbox.reconsider(chances, self.wall_ms()) {
                        chances *= 2;
                        continue;
                    }
                    return reported;
                }
                harvests += 1;
                // Put where it survives before anything can go wrong, dropping this future included.
                outbox.add(self.rules.load().harvest(), self.wall_ms());
                continue;
            };
            let sent = match self.pulse(batch, ts).await {
                // It was this very one: somebody on the way has sent it twice.
                Err(Failed::Replayed(_)) if outbox.has_sent_the_latest() => Ok(None),
                sent => sent.map(Some),
            };
            let error = match sent {
                Ok(policy) => {
                    outbox.acknowledge();
                    // Only its time was wrong.
                    reported.error.take_if(|error| error.kind() == ErrorKind::Unauthenticated);
                    reported.policy = policy.or(reported.policy);
                    continue;
                }
                Err(Failed::Skewed(error)) => {
                    // The one that is sent next has the right time; a second refusal is for something else.
                    outbox.forget_times();
                    error
                }
                Err(Failed::Refused(error)) => {
                    outbox.divide(self.wall_ms());
                    error
                }
                // A replay of a later one, from before the clock went back, says nothing of this one: it is kept until
                // its time is late enough.
                Err(Failed::Unknown(error) | Failed::Replayed(error)) => {
                    return Reported { error: Some(error), ..reported };
                }
            };
            reported.error = Some(error);
            refusals += 1;
            if refusals > MOST_REFUSALS {
                return reported;
            }
        }
    }

    /// Sends one report, and returns the policy.
    async fn pulse(&self, batch: &Batch, ts: u64) -> Result<Bytes, Failed> {
        const OPERATION: &str = "report to the control plane";
        let identity = &self.identity;
        let payload = batch.payload(&identity.instance_id, identity.site_id.as_deref(), ts);
        let body = serde_json::to_vec(&payload)
            .map_err(|error| Error::new(ErrorKind::Invalid, "write the report").source(error))?;
        let timestamp = ts.to_string();
        let signature = sign_pulse(&body, &timestamp, identity.secret_key.expose());
        let mut request = self
            .request(Method::POST, "/v1/pulse")?
            .header(HeaderName::from_static("x-waitstate-id"), value(&identity.publish_key)?)
            .header(HeaderName::from_static("x-waitstate-signature"), value(&signature)?)
            .header(HeaderName::from_static("x-waitstate-timestamp"), value(&timestamp)?)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(OURS.0, OURS.1);
        request.body = body.into();
        let uri = redacted(&request.uri);
        let response = self.transport.send(request).await?;
        let status = response.status;
        if status.is_success() {
            let policy = response.body.read_all(BODY_LIMIT).await?;
            // Whatever else answers with a success, a proxy or a portal, has not counted anything.
            read_policy(&policy)?;
            return Ok(policy);
        }
        let error = self.refusal(&response, OPERATION, uri);
        if status == StatusCode::UNAUTHORIZED && self.correct_clock(&response, ts) {
            return Err(Failed::Skewed(error));
        }
        Err(match (status, said_by_an_api(response).await) {
            (StatusCode::CONFLICT, Some(answer)) if is_replayed(&answer) => Failed::Replayed(error),
            (
                StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY,
                Some(_),
            ) => Failed::Refused(error),
            _ => Failed::Unknown(error),
        })
    }

    /// Returns true if a report was refused that was written at another time than it is by the control plane's clock,
    /// and goes by that clock from here on if ours is far from it.
    fn correct_clock(&self, response: &Response, ts: u64) -> bool {
        let date = response.headers.get(header::DATE).and_then(|date| http_date(date.to_str().ok()?));
        let date_ms = date.and_then(|date| i64::try_from(date).ok()?.checked_mul(1_000));
        let is_far = |ours: i64, theirs: i64| ours.abs_diff(theirs) > SKEW_MS.unsigned_abs();
        let (Some(date_ms), Ok(ts)) = (date_ms, i64::try_from(ts)) else { return false };
        if !is_far(ts, date_ms) {
            return false;
        }
        // A report may be of another time than our clock's: later than those before, which were written while it was
        // ahead.
        let ours = i64::try_from(self.wall_ms()).unwrap_or(i64::MAX);
        if is_far(ours, date_ms) {
            let before = self.clock_offset_ms.load(Ordering::Relaxed);
            let offset = before.saturating_add(date_ms.saturating_sub(ours));
            // Ours may have been put right since.
            let offset = if offset.abs() <= SKEW_MS { 0 } else { offset };
            self.clock_offset_ms.store(offset, Ordering::Relaxed);
            tracing::warn!(offset_ms = offset, "the clock of this machine differs from the control plane's");
        }
        true
    }

    /// Asks for the policy by token: for when reports do not get through.
    async fn sync(&self, exchange: &mut Exchange) -> Result<Bytes> {
        let now = self.wall_ms();
        let held =
            exchange.token.take().filter(|token| now.saturating_add(TOKEN_MARGIN_MS) < token.expires_at);
        let fresh = held.is_none();
        let mut token = match held {
            Some(token) => token,
            None => self.token().await?,
        };
        let mut policy = self.policy(&token).await;
        // A token may be revoked before it ends; another one is worth one try.
        if !fresh && policy.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unauthenticated) {
            token = self.token().await?;
            policy = self.policy(&token).await;
        }
        let policy = policy?;
        exchange.token = Some(token);
        Ok(policy)
    }

    async fn token(&self) -> Result<Token> {
        const OPERATION: &str = "ask the control plane for a token";
        if !may_carry_secrets(&self.identity.base_url) {
            return Err(Error::new(ErrorKind::PermissionDenied, OPERATION)
                .with("reason", "a token is asked for with the secret key, which never travels unencrypted")
                .hint("use a base URL of `https`; reports do without tokens"));
        }
        let keys = serde_json::json!({
            "publishKey": self.identity.publish_key, "secretKey": self.identity.secret_key.expose(),
        });
        let mut request = self
            .request(Method::POST, "/v1/auth/token")?
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = keys.to_string().into();
        let body = self.exchange(request, OPERATION).await?;
        let no_token = || {
            Error::new(ErrorKind::Invalid, "read the control plane's token").with("reason", "it is not one")
        };
        let token: AuthTokenResponse = serde_json::from_slice(&body).map_err(|_| no_token())?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if token.org_id.is_empty() || !token.org_id.bytes().all(is_plain) {
            return Err(no_token());
        }
        Ok(Token { bearer: Secret::new(token.token), expires_at: token.expires_at, org_id: token.org_id })
    }

    async fn policy(&self, token: &Token) -> Result<Bytes> {
        let request = self
            .request(Method::GET, &format!("/v1/policy/{}", token.org_id))?
            .header(header::AUTHORIZATION, value(&format!("Bearer {}", token.bearer.expose()))?)
            .header(OURS.0, OURS.1);
        let policy = self.exchange(request, "ask the control plane for the policy").await?;
        read_policy(&policy)?;
        Ok(policy)
    }

    fn request(&self, method: Method, path: &str) -> Result<Request> {
        let uri = format!("{}{path}", self.identity.base_url.trim_end_matches('/'));
        let uri: Uri = uri.parse().map_err(|_| {
            Error::new(ErrorKind::Config, "reach the control plane")
                .with("base_url", crate::secret::without_credentials(&self.identity.base_url))
                .hint("write it as `https://host` or `https://host:port`")
        })?;
        // Once: what fails is tried again at the next report.
        Ok(Request::new(method, uri).deadline(self.identity.deadline).body_limit(BODY_LIMIT).attempts(1))
    }

    async fn exchange(&self, request: Request, operation: &'static str) -> Result<Bytes> {
        let uri = redacted(&request.uri);
        let response = self.transport.send(request).await?;
        if !response.status.is_success() {
            return Err(self.refusal(&response, operation, uri));
        }
        response.body.read_all(BODY_LIMIT).await
    }

    /// The time of day, as the control plane has it.
    fn wall_ms(&self) -> u64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        ours.saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed))
    }

    fn refusal(&self, response: &Response, operation: &'static str, uri: String) -> Error {
        let status = response.status;
        let (kind, hint) = match status {
            StatusCode::UNAUTHORIZED => (
                ErrorKind::Unauthenticated,
                "check the publish key, the secret key and the clock of this machine",
            ),
            StatusCode::FORBIDDEN => {
                (ErrorKind::PermissionDenied, "check that the keys belong to this organisation")
            }
            StatusCode::NOT_FOUND => (ErrorKind::NotFound, "check the base URL"),
            StatusCode::CONFLICT => (
                ErrorKind::Conflict,
                "nothing to do here: it is sent again, and counted once its time is later than those before",
            ),
            StatusCode::TOO_MANY_REQUESTS => {
                (ErrorKind::LimitExceeded, "the control plane asks for fewer reports")
            }
            status if status.is_server_error() => (
                ErrorKind::Unavailable,
                "nothing to do here: it is tried again until the control plane recovers",
            ),
            _ => (ErrorKind::Invalid, "check that the base URL is that of a control plane"),
        };
        let after = response.headers.get(header::RETRY_AFTER);
        let after = after.and_then(|after| asked_pause(after, self.clock.wall()));
        Error::new(kind, operation)
            .with("uri", uri)
            .with("status", status.as_u16())
            .retry(after.map_or(Retry::Now, Retry::After))
            .hint(hint)
    }
}

/// Reads a refusal, if it is that of a control plane: a JSON object, and no proxy's page.
async fn said_by_an_api(response: Response) -> Option<serde_json::Value> {
    let body = response.body.read_all(REFUSAL_LIMIT).await.ok()?;
    serde_json::from_slice(&body).ok().filter(serde_json::Value::is_object)
}

fn is_replayed(answer: &serde_json::Value) -> bool {
    answer.pointer("/error/code").is_some_and(|code| code == "replayed")
}

/// Returns true if nobody reads along on the way to the control plane.
pub(super) fn may_carry_secrets(base_url: &str) -> bool {
    let Ok(uri) = base_url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host.parse::<std::net::IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback());
    uri.scheme_str() == Some("https") || loopback
}

fn value(text: &str) -> Result<HeaderValue> {
    // The text is not told: it may be a key.
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::new(ErrorKind::Config, "write a header")
            .with("reason", "a key has characters that no header holds")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[async_trait]
impl Source for GateSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        let mut exchange = self.exchange.lock().await;
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "report to the control plane").retry(Retry::Never));
        }
        let Reported { policy, error } = self.report(&mut exchange.outbox).await;
        self.note(error.as_ref());
        let policy = match (policy, error) {
            (Some(policy), _) => policy,
            (None, error) => {
                let now = self.clock.now();
                let due = exchange.synced_at.is_none_or(|at| now - at >= self.identity.sync_interval);
                let error = error.unwrap_or_else(|| {
                    Error::new(ErrorKind::Unavailable, "report to the control plane")
                        .with("reason", "all that was reported had been counted before")
                });
                // A control plane that asks to be left alone is left alone.
                let busy = error.kind() == ErrorKind::LimitExceeded
                    || matches!(error.retry_state(), Retry::After(_));
                if !due || busy {
                    return Err(error);
                }
                exchange.synced_at = Some(now);
                // Why reports fail is the better thing to tell; how long to wait is what was said last.
                self.sync(&mut exchange).await.map_err(|sync| match sync.retry_state() {
                    Retry::After(pause) => error.retry(Retry::After(pause)),
                    _ => error,
                })?
            }
        };
        let revision = Revision::new(hex(&Sha256::digest(&policy)));
        if since == Some(&revision) {
            return Ok(Load::Unchanged);
        }
        Ok(Load::Snapshot(Document::new(revision, Content::Bytes(policy))))
    }

    async fn changed(&self) -> Result<()> {
        // Policies come with the answers to reports, and in no other way.
        std::future::pending().await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
