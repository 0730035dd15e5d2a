//! Has sessions: by what proves an identity, and in exchange for it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Surroundings, WifProvider, Wishes, checked,
    detect::{Proof, find},
};
use crate::{
    Error, ErrorKind, Result, Secret,
    settings::{NexusError, service::read_wiped, standing::Standing},
    traits::{Clock, Request, Response, Transport, redacted},
};

/// How long an exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const MOST: u64 = 1 << 20;
/// What is believed of how long a session lasts; nothing said is the shortest that services give.
const LASTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
const UNSAID: Duration = Duration::from_secs(600);

/// A session as it was given.
pub(crate) struct Session {
    pub(super) token: Secret,
    pub(super) lasts: Duration,
}

/// Knows the platform and the service, and keeps no session.
pub(super) struct Exchanger {
    provider: WifProvider,
    wishes: Wishes,
    around: Surroundings,
    /// Found at the first exchange, and kept: the platform does not change under a process.
    found: Mutex<Option<Proof>>,
    uri: Uri,
    transport: Arc<dyn Transport>,
    standing: Arc<Standing>,
}

#[derive(Deserialize)]
struct Answer {
    session_token: Secret,
    #[serde(default)]
    expires_in: Option<i64>,
}

impl Exchanger {
    pub(super) fn new(
        provider: WifProvider,
        proof: Option<Proof>,
        wishes: Wishes,
        around: Surroundings,
        transport: Arc<dyn Transport>,
        standing: Arc<Standing>,
    ) -> Result<Self> {
        let uri = format!("{}/v1/auth/token-exchange", wishes.endpoint.trim_end_matches('/'));
        let uri = uri.parse().map_err(|_| {
            Error::new(ErrorKind::Config, "set up workload identity")
                .with("setting", "endpoint")
                .hint("write it as `https://host` or `https://host:port`")
        })?;
        Ok(Self { provider, wishes, around, found: Mutex::new(proof), uri, transport, standing })
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.around.clock
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Has a session. That may read a disk, and call functions that block.
    ///
    /// # Errors
    /// What the service has against whoever asks; `WifTokenExchangeFailed` for all else.
    pub(super) async fn session(&self) -> std::result::Result<Session, NexusError> {
        let payload = match self.proof().await.map_err(|error| unproven(&error))? {
            Proof::Developer(developer) => {
                return developer.session(self.around.clock.wall()).map_err(|error| unproven(&error));
            }
            Proof::Exchange(source) => source.exchange_payload().await.map_err(|error| unproven(&error))?,
        };
        let mut request = Request::new(Method::POST, self.uri.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .deadline(DEADLINE)
            .body_limit(MOST)
            .attempts(1)
            .without_redirects();
        request.body = Bytes::from_owner(Zeroizing::new(payload.expose().as_bytes().to_vec()));
        drop(payload);
        let response = self.transport.send(request).await.map_err(|error| unproven(&error))?;
        if !response.status.is_success() {
            return Err(self.refusal(response).await);
        }
        let body = read_wiped(response, MOST).await.map_err(|error| unproven(&error.into()))?;
        self.read(&body).map_err(|error| unproven(&error))
    }

    async fn proof(&self) -> Result<Proof> {
        if let Some(proof) = self.found().clone() {
            return Ok(proof);
        }
        let proof = find(self.provider, &self.around, &self.wishes).await?;
        let provider = match &proof {
            Proof::Exchange(source) => source.provider(),
            Proof::Developer(_) => "developer",
        };
        tracing::info!(provider, "a workload identity was found");
        *self.found() = Some(proof.clone());
        Ok(proof)
    }

    fn found(&self) -> MutexGuard<'_, Option<Proof>> {
        // Assigned whole.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, body: &[u8]) -> Result<Session> {
        let wrong = |reason: &'static str| {
            Error::new(ErrorKind::Invalid, "read the session")
                .with("uri", redacted(&self.uri))
                .with("reason", reason)
        };
        // The cause is left out: it may quote the token.
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| wrong("the answer is not of its form"))?;
        let token = checked(answer.session_token.expose(), "read the session")?;
        let lasts = match answer.expires_in.map(u64::try_from) {
            None => UNSAID,
            Some(Ok(seconds)) if seconds > 0 => Duration::from_secs(seconds).clamp(LASTS.0, LASTS.1),
            Some(_) => return Err(wrong("the session has ended already")),
        };
        Ok(Session { token, lasts })
    }

    async fn refusal(&self, response: Response) -> NexusError {
        let status = response.status;
        let (kind, hint) = match status {
            StatusCode::UNAUTHORIZED => (
                ErrorKind::Unauthenticated,
                "see which issuer, audience and subject the service trusts, and whether the clocks agree",
            ),
            StatusCode::FORBIDDEN => {
                (ErrorKind::PermissionDenied, "allow workload identity for this service")
            }
            // That says nothing of the workload: the service means whoever asks, whatever they ask for.
            StatusCode::PAYMENT_REQUIRED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                return self.standing.refused("token exchange", response).await;
            }
            status if status.is_server_error() => {
                return self.standing.refused("token exchange", response).await;
            }
            _ => (ErrorKind::Invalid, "check that the endpoint is that of the service"),
        };
        let error = Error::new(kind, "exchange the token for a session")
            .with("uri", redacted(&self.uri))
            .with("status", status.as_u16())
            .hint(hint);
        unproven(&error)
    }
}

impl fmt::Debug for Exchanger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanger").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Says that there is no session, where it is not that the service refuses whoever asks.
pub(super) fn unproven(error: &Error) -> NexusError {
    NexusError::WifTokenExchangeFailed(error.chain())
}
