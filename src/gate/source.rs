//! The control plane as a source of policies: every look at it is a report, and the answer is the policy.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use sha2::{Digest, Sha256};

use super::{outbox::Batch, rules::Rules, signing::sign_pulse, wire::AuthTokenResponse};
use crate::{
    Error, ErrorKind, Result, Retry, Secret,
    document::{Content, Document, Revision},
    encoding::hex,
    traits::{Clock, Load, Request, Response, Source, Tick, Transport, redacted},
};

/// The name of the source.
pub(super) const NAME: &str = "gate";

/// A policy is at most this many bytes.
const BODY_LIMIT: u64 = 256 * 1024;

/// A token is given up this long before it ends.
const TOKEN_MARGIN_MS: u64 = 60_000;

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
    outbox: tokio::sync::Mutex<Outbox>,
    /// Why the last report did not arrive.
    last_error: Mutex<Option<String>>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Outbox {
    /// What was sent, or tried to, and is not acknowledged.
    unacknowledged: Option<Batch>,
    token: Option<AuthTokenResponse>,
    /// When the policy was last asked for without a report.
    synced_at: Option<Tick>,
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
            outbox: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
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

    /// Sends what is not acknowledged, then what was counted since; returns the last answer's policy.
    async fn report(&self, outbox: &mut Outbox) -> Result<Bytes> {
        if let Some(batch) = &outbox.unacknowledged {
            self.pulse(batch).await?;
            outbox.unacknowledged = None;
        }
        // Put where it survives before anything can go wrong, dropping this future included.
        let batch = outbox.unacknowledged.insert(Batch::new(self.rules.load().harvest()));
        let policy = self.pulse(batch).await?;
        outbox.unacknowledged = None;
        Ok(policy)
    }

    async fn pulse(&self, batch: &Batch) -> Result<Bytes> {
        let identity = &self.identity;
        let ts = self.wall_ms();
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
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = body.into();
        self.exchange(request, "report to the control plane").await
    }

    /// Asks for the policy by token: for when reports do not get through.
    async fn sync(&self, outbox: &mut Outbox) -> Result<Bytes> {
        let now = self.wall_ms();
        let held = outbox.token.take().filter(|token| now + TOKEN_MARGIN_MS < token.expires_at);
        let fresh = held.is_none();
        let token = match held {
            Some(token) => token,
            None => self.token().await?,
        };
        match self.policy(&token).await {
            // A token may be revoked before it ends; another one is worth one try.
            Err(error) if error.kind() == ErrorKind::Unauthenticated && !fresh => {
                let token = self.token().await?;
                let policy = self.policy(&token).await?;
                outbox.token = Some(token);
                Ok(policy)
            }
            Err(error) => Err(error),
            Ok(policy) => {
                outbox.token = Some(token);
                Ok(policy)
            }
        }
    }

    async fn token(&self) -> Result<AuthTokenResponse> {
        let keys = serde_json::json!({
            "publishKey": self.identity.publish_key, "secretKey": self.identity.secret_key.expose(),
        });
        let mut request = self
            .request(Method::POST, "/v1/auth/token")?
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = keys.to_string().into();
        let body = self.exchange(request, "ask the control plane for a token").await?;
        let token: AuthTokenResponse = serde_json::from_slice(&body).map_err(|_| {
            Error::new(ErrorKind::Invalid, "read the control plane's token").with("reason", "it is not one")
        })?;
        if token.org_id.is_empty()
            || !token.org_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        {
            return Err(Error::new(ErrorKind::Invalid, "read the control plane's token")
                .with("reason", "the organisation is not a name"));
        }
        Ok(token)
    }

    async fn policy(&self, token: &AuthTokenResponse) -> Result<Bytes> {
        let mut bearer = value(&format!("Bearer {}", token.token))?;
        bearer.set_sensitive(true);
        let request = self
            .request(Method::GET, &format!("/v1/policy/{}", token.org_id))?
            .header(header::AUTHORIZATION, bearer);
        self.exchange(request, "ask the control plane for the policy").await
    }

    fn request(&self, method: Method, path: &str) -> Result<Request> {
        let uri = format!("{}{path}", self.identity.base_url.trim_end_matches('/'));
        let uri: Uri = uri.parse().map_err(|_| {
            Error::new(ErrorKind::Config, "reach the control plane")
                .with("base_url", crate::secret::without_credentials(&self.identity.base_url))
                .hint("write it as `https://host` or `https://host:port`")
        })?;
        Ok(Request::new(method, uri).deadline(self.identity.deadline).body_limit(BODY_LIMIT))
    }

    async fn exchange(&self, request: Request, operation: &'static str) -> Result<Bytes> {
        let uri = redacted(&request.uri).to_string();
        let response = self.transport.send(request).await?;
        if !response.status.is_success() {
            return Err(refusal(&response, operation, uri));
        }
        response.body.read_all(BODY_LIMIT).await
    }

    fn wall_ms(&self) -> u64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
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

fn refusal(response: &Response, operation: &'static str, uri: String) -> Error {
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
        StatusCode::TOO_MANY_REQUESTS => {
            (ErrorKind::LimitExceeded, "the control plane asks for fewer reports")
        }
        status if status.is_server_error() => {
            (ErrorKind::Unavailable, "nothing to do here: it is tried again until the control plane recovers")
        }
        _ => (ErrorKind::Invalid, "check that the base URL is that of a control plane"),
    };
    let after = response.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let retry = after.map_or(Retry::Now, |seconds| Retry::After(Duration::from_secs(seconds)));
    Error::new(kind, operation).with("uri", uri).with("status", status.as_u16()).retry(retry).hint(hint)
}

#[async_trait]
impl Source for GateSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "report to the control plane").retry(Retry::Never));
        }
        let mut outbox = self.outbox.lock().await;
        let reported = self.report(&mut outbox).await;
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
            reported.as_ref().err().map(Error::chain);
        let policy = match reported {
            Ok(policy) => policy,
            Err(error) => {
                let now = self.clock.now();
                let due = outbox.synced_at.is_none_or(|at| now - at >= self.identity.sync_interval);
                // A control plane that asks to be left alone is left alone.
                if !due || matches!(error.retry_state(), Retry::After(_)) {
                    return Err(error);
                }
                outbox.synced_at = Some(now);
                // Why reports fail is the better thing to tell.
                self.sync(&mut outbox).await.map_err(|_| error)?
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
