//! What the routes share.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use leverframe::{ErrorKind, Result, Secret, traits::Clock};
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, watch};

use crate::{
    events::Hub,
    finish::Unfinished,
    gate::Control,
    heads::Heads,
    limit::{PeerBuckets, Rate},
    metrics::Metrics,
    model::{SecretHash, TokenType},
    principal::{Permission, Principal},
    problem::Problem,
    request::{Ids, RequestInfo},
    settings::{Federation, Keyring, Settings, model::ServiceId},
    store::{Notice, Store},
    tokens::{Cached, TokenCache},
    work::Work,
};

/// The state of a running server; clones share it.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    heads: Arc<Heads>,
    hub: Hub,
    gate: Arc<Control>,
    settings: Arc<Settings>,
    federation: OnceLock<Federation>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    tokens: TokenCache,
    strangers: PeerBuckets,
    metrics: Arc<Metrics>,
    metrics_token: Option<Secret>,
    ids: Ids,
    work: Work,
    draining: watch::Sender<bool>,
    unfinished: Unfinished,
    document: OnceLock<Bytes>,
}

/// How much a client may ask for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Requests of one token. Default: 1,000 a second, 2,000 at once.
    pub token: Rate,
    /// Requests of one address whose token is not valid, or is not known yet. Default: 20 a second, 200 at once.
    pub stranger: Rate,
    /// Requests of one settings key, which all machines of a service share. Default: 5,000 a second, 20,000 at once.
    pub settings: Rate,
    /// Longest wait until a request is answered, its body included. Default: 60 seconds.
    pub answer_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token: Rate::new(1_000, 2_000),
            stranger: Rate::new(20, 200),
            settings: Rate::new(5_000, 20_000),
            answer_within: Duration::from_secs(60),
        }
    }
}

impl App {
    /// Puts a server's state together, with the limits of [`Limits::default`].
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self::with(store, clock, Limits::default(), None, None)
    }

    /// Puts a server's state together. With a token for metrics, they are read with it and only with it; without master
    /// keys, settings have no secrets.
    #[must_use]
    pub fn with(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        metrics_token: Option<Secret>,
        keyring: Option<Keyring>,
    ) -> Self {
        let heads = Arc::new(Heads::new(Arc::clone(&store)));
        let metrics = Arc::<Metrics>::default();
        let hub = Hub::new(Arc::clone(&store), Arc::clone(&heads), Arc::clone(&clock), Arc::clone(&metrics));
        let gate = Arc::new(Control::new(
            Arc::clone(&store),
            Arc::clone(&heads),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        ));
        let settings = Arc::new(Settings::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            hub.clone(),
            Arc::clone(&metrics),
            keyring,
        ));
        Self {
            inner: Arc::new(Inner {
                store,
                heads,
                hub,
                gate,
                settings,
                federation: OnceLock::new(),
                clock,
                limits,
                tokens: TokenCache::default(),
                strangers: PeerBuckets::default(),
                metrics,
                metrics_token,
                ids: Ids::new(),
                work: Work::new(),
                draining: watch::channel(false).0,
                unfinished: Unfinished::default(),
                document: OnceLock::new(),
            }),
        }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    /// Returns the current manifests.
    #[must_use]
    pub fn heads(&self) -> &Heads {
        &self.inner.heads
    }

    /// Returns who tells readers of changes.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// Returns the control plane of the gate.
    pub(crate) fn gate(&self) -> &Arc<Control> {
        &self.inner.gate
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.inner.settings
    }

    /// Returns whose tokens are taken for sessions of settings.
    pub(crate) fn federation(&self) -> Option<&Federation> {
        self.inner.federation.get()
    }

    pub(crate) fn set_federation(&self, federation: Federation) {
        // Once, before the first request.
        let _ = self.inner.federation.set(federation);
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Returns what is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Returns where work is done that takes long.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.inner.work
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Returns a new ULID.
    #[must_use]
    pub fn next_id(&self) -> String {
        self.inner.ids.next(self.clock().wall()).to_string()
    }

    /// Begins to answer a request. What it needs to know of the time is asked here, once.
    #[must_use]
    pub fn begin(&self, peer: Option<IpAddr>) -> RequestInfo {
        let wall = self.clock().wall();
        RequestInfo::new(self.inner.ids.next(wall), self.clock().now(), wall, peer)
    }

    /// Returns a signal that the server begins to stop, at which streams end at once.
    #[must_use]
    pub fn draining(&self) -> Draining {
        Draining(self.inner.draining.subscribe())
    }

    /// Tells everyone that the server begins to stop.
    pub fn drain(&self) {
        self.inner.draining.send_replace(true);
        self.hub().close();
    }

    /// Returns how many requests are answered apart from their connections.
    pub(crate) fn unfinished(&self) -> &Unfinished {
        &self.inner.unfinished
    }

    pub(crate) fn metrics_token(&self) -> Option<&Secret> {
        self.inner.metrics_token.as_ref()
    }

    pub(crate) fn document(&self) -> Bytes {
        self.inner.document.get().cloned().unwrap_or_default()
    }

    pub(crate) fn set_document(&self, document: Bytes) {
        // The routes are the same each time, and so is their document.
        let _ = self.inner.document.set(document);
    }

    /// Takes note of what changed, by whichever process, until the store is closed.
    pub(crate) async fn follow(self, mut notices: broadcast::Receiver<Notice>) {
        loop {
            match notices.recv().await {
                Ok(Notice::Manifest { tenant, namespace, version }) => {
                    // The hub, which follows the store as well, need not have heard of it yet.
                    self.heads().expect(&tenant, &namespace, version);
                    self.gate().doubt_rules(&tenant);
                }
                Ok(Notice::Gate { org }) => self.gate().doubt(&org),
                Ok(Notice::Settings { tenant, namespace, environment }) => {
                    self.settings().doubt(&ServiceId::new(tenant, namespace, environment));
                }
                Ok(Notice::TokenRevoked { id }) => self.inner.tokens.forget(&id),
                Ok(Notice::Everything) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.inner.tokens.forget_all();
                    self.heads().doubt_all();
                    self.gate().doubt_all();
                    self.settings().doubt_all();
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Stops believing a token that this process has just revoked.
    pub fn forget_token(&self, id: &str) {
        self.inner.tokens.forget(id);
    }

    /// Finds who sent these headers, and counts the request against the token's limit.
    ///
    /// # Errors
    /// `unauthenticated` unless they carry the secret of a live token; `rate_limited`; what the store failed with.
    pub async fn authenticate(&self, headers: &HeaderMap, info: &RequestInfo) -> Result<Principal, Problem> {
        let cached = self.token_of(headers, info).await.inspect_err(|problem| match problem.code() {
            "unauthenticated" => self.metrics().unauthenticated.add(1),
            "rate_limited" => self.metrics().rate_limited.add(1),
            _ => {}
        })?;
        cached.bucket.take(self.limits().token, info.begun()).map_err(|wait| {
            self.metrics().rate_limited.add(1);
            Problem::rate_limited("the token has made too many requests", wait)
        })?;
        let principal = Principal::of(Arc::clone(&cached.token));
        info.learn_principal(&principal);
        Ok(principal)
    }

    /// Counts a request of somebody who may be guessing against the limit of the address.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn doubt_stranger(&self, info: &RequestInfo) -> Result<(), Problem> {
        let Some(peer) = info.peer() else { return Ok(()) };
        self.inner.strangers.take(peer, self.limits().stranger, info.begun()).map_err(|wait| {
            self.metrics().rate_limited.add(1);
            Problem::rate_limited("the address has sent too many keys that are not valid", wait)
        })
    }

    async fn token_of(&self, headers: &HeaderMap, info: &RequestInfo) -> Result<Arc<Cached>, Problem> {
        let now = info.begun();
        let live = |cached: Arc<Cached>| {
            let is_live = cached.token.is_live(info.wall());
            is_live.then_some(cached).ok_or_else(Problem::unauthenticated)
        };
        let secret = bearer(headers).map(secret_hash);
        let held = secret.and_then(|secret| self.inner.tokens.get(&secret));
        let held = match held {
            Some(held) if held.is_fresh(now) => return live(held),
            stale_or_none => stale_or_none,
        };
        // Whoever is at hand already is known; anybody else may be guessing.
        if held.is_none()
            && let Some(peer) = info.peer()
        {
            self.inner.strangers.take(peer, self.limits().stranger, now).map_err(|wait| {
                Problem::rate_limited("the address has sent too many tokens that are not valid", wait)
            })?;
        }
        // Told apart before anything is looked up, so that garbage costs nothing.
        let secret = secret.ok_or_else(Problem::unauthenticated)?;
        let generation = self.inner.tokens.generation();
        // Looked up by its digest: how long that takes says nothing about a secret that exists.
        match self.store().token_by_secret(&secret).await {
            Ok(Some(token)) => live(self.inner.tokens.put(secret, Arc::new(token), now, generation)),
            Ok(None) => {
                self.inner.tokens.forget_secret(&secret);
                Err(Problem::unauthenticated())
            }
            // Who was let in moments ago is let in while the database restarts.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                let held = held.filter(|held| held.outlasts_the_store(now));
                held.map_or_else(|| Err(error.into()), live)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Tells when the server begins to stop.
#[derive(Clone, Debug)]
pub struct Draining(watch::Receiver<bool>);

impl Draining {
    /// Returns true once the server has begun to stop.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the server begins to stop.
    pub async fn begun(&mut self) {
        // An error means that the server is gone, which is later still.
        let _ = self.0.wait_for(|draining| *draining).await;
    }
}

/// Returns the digest that a secret is kept and found by.
#[must_use]
pub fn secret_hash(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// Returns what looks like a token's secret.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let secret = bearer_of(headers)?;
    let known = TokenType::ALL.iter().any(|kind| secret.starts_with(kind.prefix()));
    (secret.len() <= LONGEST_SECRET && known).then_some(secret)
}

/// Returns what a request is made with, whatever it is.
pub(crate) fn bearer_of(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret)
}

/// More than twice what ours have.
const LONGEST_SECRET: usize = 128;

impl FromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let info = RequestInfo::from_request_parts(parts, app).await?;
        app.authenticate(&parts.headers, &info).await
    }
}

/// Nobody where there is no `Authorization`; a token that is not valid is refused all the same.
impl OptionalFromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, Problem> {
        if !parts.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        <Self as FromRequestParts<App>>::from_request_parts(parts, app).await.map(Some)
    }
}

impl Principal {
    /// Returns the slug of the tenant that a path segment names: `-` stands for the token's own (S2).
    ///
    /// # Errors
    /// `bad_request` for `-` without a tenant of one's own.
    pub fn resolve_tenant<'a>(&'a self, segment: &'a str) -> Result<&'a str, Problem> {
        match segment {
            "-" => self.tenant().ok_or_else(|| {
                Problem::bad_request(
                    "`-` stands for the token's tenant, and this token has none; name the tenant",
                )
            }),
            named => Ok(named),
        }
    }

    /// Lets the principal through or refuses it.
    ///
    /// # Errors
    /// `forbidden`, in the same words whether the namespace exists or not.
    pub fn require(
        &self,
        permission: Permission,
        tenant: &str,
        namespace: Option<&str>,
    ) -> Result<(), Problem> {
        if self.may(permission, tenant, namespace) {
            return Ok(());
        }
        Err(Problem::forbidden("the token does not permit this here"))
    }
}
