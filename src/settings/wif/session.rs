//! Sessions: had in exchange for a proof, renewed ahead of their end, one exchange at a time.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Surroundings, WifProvider, Wishes, checked,
    detect::{Proof, find},
};
use crate::{
    Backoff, Error, ErrorKind, Result, Retry, Secret,
    live::Turns,
    settings::{
        NexusError,
        credentials::{Credentials, wiped_header},
        service::read_wiped,
    },
    traits::{Clock, Request, Response, Tick, Transport, redacted},
};

/// How long an exchange may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const MOST: u64 = 1 << 20;
/// A session with less left is not sent any more.
const MARGIN: Duration = Duration::from_secs(60);
/// What is believed of how long a session lasts; nothing said is the shortest that services give.
const LASTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
const UNSAID: Duration = Duration::from_secs(600);

/// A session as it was given.
pub(crate) struct Session {
    pub(super) token: Secret,
    pub(super) lasts: Duration,
}

/// The sessions of a client.
pub(crate) struct Sessions {
    provider: WifProvider,
    wishes: Wishes,
    around: Surroundings,
    exchange: Uri,
    transport: Arc<dyn Transport>,
    /// One exchange at a time; whoever waited finds what it brought.
    turns: Turns,
    state: Mutex<State>,
}

struct State {
    /// Found at the first exchange, and kept: the platform does not change under a process.
    proof: Option<Proof>,
    held: Option<Held>,
    backoff: Backoff,
    /// Not tried ahead of the end again before this.
    again_at: Tick,
}

#[derive(Clone)]
struct Held {
    header: HeaderValue,
    renew_at: Tick,
    ends_at: Tick,
}

#[derive(Deserialize)]
struct Answer {
    session_token: Secret,
    #[serde(default)]
    expires_in: Option<i64>,
}

impl Sessions {
    /// Has no session yet; `proof` stands in for a provider.
    ///
    /// # Errors
    /// `Config` for an endpoint that is none.
    pub(crate) fn new(
        provider: WifProvider,
        proof: Option<Proof>,
        wishes: Wishes,
        around: Surroundings,
        transport: Arc<dyn Transport>,
    ) -> Result<Self> {
        let uri = format!("{}/v1/auth/token-exchange", wishes.endpoint.trim_end_matches('/'));
        let exchange = uri.parse().map_err(|_| {
            Error::new(ErrorKind::Config, "set up workload identity")
                .with("setting", "endpoint")
                .hint("write it as `https://host` or `https://host:port`")
        })?;
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let state = State { proof, held: None, backoff, again_at: Tick::ORIGIN };
        Ok(Self {
            provider,
            wishes,
            around,
            exchange,
            transport,
            turns: Turns::default(),
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Under the lock there are plain assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Tick {
        self.around.clock.now()
    }

    /// Returns the session that may be sent now, unless it is time for another.
    fn usable(&self) -> Option<Held> {
        let (state, now) = (self.state(), self.now());
        let due = |held: &Held| now >= held.renew_at && now >= state.again_at;
        state.held.clone().filter(|held| now < held.ends_at && !due(held))
    }

    /// Returns a session that is good for a while.
    async fn session(&self) -> Result<Held> {
        if let Some(held) = self.usable() {
            return Ok(held);
        }
        let _turn = self.turns.take().await;
        if let Some(held) = self.usable() {
            return Ok(held);
        }
        match self.renew().await {
            Ok(held) => Ok(held),
            Err(error) => {
                let (mut state, now) = (self.state(), self.now());
                state.backoff.fail();
                state.again_at = now + state.backoff.pause().unwrap_or_default();
                // Asked for ahead of the end: the one that is held is good for a while yet.
                let held = state.held.clone().filter(|held| now < held.ends_at);
                drop(state);
                let Some(held) = held else { return Err(error) };
                tracing::warn!(error = %error.chain(), "no new session could be had; the one before goes on");
                Ok(held)
            }
        }
    }

    async fn renew(&self) -> Result<Held> {
        let proof = self.proof().await?;
        let session = match &proof {
            Proof::Developer(developer) => developer.session(self.around.clock.wall())?,
            Proof::Exchange(source) => self.exchange(source.exchange_payload().await?).await?,
        };
        let header = wiped_header("Bearer ", &session.token).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "read the session").with("reason", "no header holds it")
        })?;
        let (mut state, now) = (self.state(), self.now());
        state.backoff.reset();
        state.again_at = Tick::ORIGIN;
        // A short one keeps half of its time for the exchange of the next.
        let margin = MARGIN.min(session.lasts / 2);
        // Between two thirds and three quarters of its time, not all of a fleet at once.
        let ahead = state.backoff.jittered(session.lasts * 3 / 4).min(session.lasts - margin);
        let held = Held { header, renew_at: now + ahead, ends_at: now + (session.lasts - margin) };
        state.held = Some(held.clone());
        Ok(held)
    }

    async fn proof(&self) -> Result<Proof> {
        if let Some(proof) = self.state().proof.clone() {
            return Ok(proof);
        }
        let proof = find(self.provider, &self.around, &self.wishes).await?;
        let provider = match &proof {
            Proof::Exchange(source) => source.provider(),
            Proof::Developer(_) => "developer",
        };
        tracing::info!(provider, "a workload identity was found");
        self.state().proof = Some(proof.clone());
        Ok(proof)
    }

    async fn exchange(&self, payload: Secret) -> Result<Session> {
        let mut request = Request::new(Method::POST, self.exchange.clone())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .deadline(DEADLINE)
            .body_limit(MOST)
            .attempts(1)
            .without_redirects();
        request.body = Bytes::from_owner(Zeroizing::new(payload.expose().as_bytes().to_vec()));
        drop(payload);
        let response = self.transport.send(request).await?;
        if !response.status.is_success() {
            return Err(self.refusal(&response));
        }
        let body = read_wiped(response, MOST).await?;
        let wrong = |reason: &'static str| {
            Error::new(ErrorKind::Invalid, "read the session")
                .with("uri", redacted(&self.exchange))
                .with("reason", reason)
        };
        // The cause is left out: it may quote the token.
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| wrong("the answer is not of its form"))?;
        let token = checked(answer.session_token.expose(), "read the session")?;
        let lasts = match answer.expires_in.map(u64::try_from) {
            None => UNSAID,
            Some(Ok(seconds)) if seconds > 0 => Duration::from_secs(seconds).clamp(LASTS.0, LASTS.1),
            Some(_) => return Err(wrong("the session has ended already")),
        };
        Ok(Session { token, lasts })
    }

    fn refusal(&self, response: &Response) -> Error {
        let status = response.status;
        let (kind, hint) = match status {
            StatusCode::UNAUTHORIZED => (
                ErrorKind::Unauthenticated,
                "see which issuer, audience and subject the service trusts, and whether the clocks agree",
            ),
            StatusCode::FORBIDDEN => {
                (ErrorKind::PermissionDenied, "allow workload identity for this service")
            }
            StatusCode::TOO_MANY_REQUESTS => (ErrorKind::Unavailable, "it is tried again after a while"),
            status if status.is_server_error() => {
                (ErrorKind::Unavailable, "it is tried again until the service recovers")
            }
            _ => (ErrorKind::Invalid, "check that the endpoint is that of the service"),
        };
        let after =
            response.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
        Error::new(kind, "exchange the token for a session")
            .with("uri", redacted(&self.exchange))
            .with("status", status.as_u16())
            .retry(after.map_or(Retry::Now, |seconds| Retry::After(Duration::from_secs(seconds))))
            .hint(hint)
    }

    /// Has the next who asks renew the session.
    fn renew_soon(&self) {
        let (mut state, now) = (self.state(), self.now());
        if let Some(held) = &mut state.held {
            held.renew_at = now;
        }
        state.again_at = Tick::ORIGIN;
    }

    /// Gives the session up that was refused. Of many who were refused with the same one, the first does; the others find
    /// what the first had in its place.
    fn give_up(&self, sent: &HeaderValue) {
        let mut state = self.state();
        if state.held.as_ref().is_some_and(|held| held.header == *sent) {
            state.held = None;
        }
    }
}

#[async_trait]
impl Credentials for Sessions {
    async fn header(&self) -> std::result::Result<(HeaderName, HeaderValue), NexusError> {
        let held = self.session().await.map_err(|error| failed(&error))?;
        Ok((header::AUTHORIZATION, held.header))
    }

    async fn refused(&self, sent: &HeaderValue) -> std::result::Result<bool, NexusError> {
        self.give_up(sent);
        self.session().await.map_err(|error| failed(&error))?;
        Ok(true)
    }

    async fn expiring(&self) {
        self.renew_soon();
        // Whoever asks next is told why it failed, if it does.
        let _ = self.session().await;
    }
}

fn failed(error: &Error) -> NexusError {
    NexusError::WifTokenExchangeFailed(error.chain())
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("provider", &self.provider).finish_non_exhaustive()
    }
}
