//! The hub: which namespaces are read, and what happens when the store says that something changed.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use leverframe::{Result, flags::events::FlagFilter, traits::Clock};
use tokio::sync::{OnceCell, broadcast, watch};

use super::{
    channel::Channel,
    closures::{Closures, PackedClosure},
    lease::{BEAT_TICKS, Lease, Leases},
    reader::{EventStream, Peer, Reader},
    signing::Signer,
    subscription::Subscription,
};
use crate::{
    heads::Heads,
    metrics::Metrics,
    model::TokenRecord,
    problem::Problem,
    store::{Notice, Store},
};

/// Tells readers of changes. Clones share it.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    store: Arc<dyn Store>,
    heads: Arc<Heads>,
    pub(super) clock: Arc<dyn Clock>,
    signer: OnceCell<Arc<Signer>>,
    channels: Mutex<HashMap<Key, Pinned>>,
    leases: Arc<Leases>,
    closures: Closures,
    pub(super) metrics: Arc<Metrics>,
}

type Key = (Arc<str>, Arc<str>);

struct Pinned {
    channel: Arc<Channel>,
    pins: usize,
}

/// Keeps a channel in the registry as long as somebody needs it.
pub(super) struct ChannelPin {
    shared: Arc<Shared>,
    channel: Arc<Channel>,
}

/// Tells when a namespace has a new version, and nothing else.
#[derive(Debug)]
pub struct Watch {
    version: watch::Receiver<u64>,
    _pin: ChannelPin,
}

/// What is known of a connected reader.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderReport {
    /// The stream's number in this process; later ones have higher numbers.
    pub id: u64,
    /// The id of its token.
    pub token_id: String,
    /// The name of its token.
    pub token_name: String,
    /// Where it connects from.
    pub address: Option<IpAddr>,
    /// What it says it is.
    pub user_agent: Option<String>,
    /// Since when it is connected.
    pub connected_at: SystemTime,
    /// The flags it reads.
    pub filter: FlagFilter,
    /// The last version that was handed to it; 0 before the first.
    pub delivered_version: u64,
    /// How many versions ago that was, if there has been a change that concerns it since; 0 otherwise.
    pub versions_behind: u64,
    /// How many events wait for it, of all its namespaces.
    pub queued: usize,
}

impl Hub {
    /// Tells of what is in a store. Until [`start`](Self::start), readers are told where their namespaces stand and
    /// no more.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        heads: Arc<Heads>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Shared {
            store,
            heads,
            clock,
            signer: OnceCell::new(),
            channels: Mutex::default(),
            leases: Arc::default(),
            closures: Closures::default(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins to follow what changes in the store, until the last clone of the hub and the last stream are gone.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(&self) {
        tokio::spawn(follow(Arc::downgrade(&self.shared), self.shared.store.notices()));
        tokio::spawn(tick(Arc::downgrade(&self.shared), Arc::clone(&self.shared.clock)));
    }

    /// Reads what the first reader needs, so that what is wrong with it is found at the start.
    ///
    /// # Errors
    /// When the store has no signing key and cannot make one.
    pub async fn prepare(&self) -> Result<()> {
        self.shared.signer().await.map(drop)
    }

    /// Opens a stream for the holder of a token, who may read all of these namespaces: that is checked already. The
    /// subscriptions are of distinct namespaces, by slug.
    ///
    /// # Errors
    /// `rate_limited` for a token with 16 streams; `unauthenticated` for a token that was revoked a moment ago;
    /// `unavailable` when a namespace cannot be read.
    pub async fn subscribe(
        &self,
        token: Arc<TokenRecord>,
        peer: Peer,
        tenant: &str,
        subscriptions: &[Subscription],
    ) -> std::result::Result<EventStream, Problem> {
        let shared = &self.shared;
        let signer = shared.signer().await?;
        let lease = self.admit(&token, CONNECTIONS)?;
        // After the lease is out: a token revoked before is seen here, one revoked later ends the lease. What the
        // database does not say for now it says when it is back: then all tokens are looked at.
        if !shared.is_live(&token.id).await.unwrap_or(true) {
            return Err(Problem::unauthenticated());
        }
        let names = subscriptions.iter().map(|one| shared.pin(tenant, &one.namespace));
        let pins: Vec<ChannelPin> = names.collect();
        let names = pins.iter().map(|pin| Arc::clone(&pin.channel.namespace)).collect();
        let reader = Reader::new(lease.id(), token, peer, shared.clock.wall(), names);
        let stream = EventStream::new(Arc::new(reader), lease, Arc::clone(shared), signer, pins);
        for (slot, (pin, one)) in stream.pins().iter().zip(subscriptions).enumerate() {
            pin.channel.join(&shared.heads, stream.reader(), slot as u16, &one.filter).await?;
        }
        Ok(stream)
    }

    /// Counts a stream of a token, of whatever kind, until the lease is dropped.
    ///
    /// # Errors
    /// `rate_limited` for a token that has `most` streams already.
    pub fn admit(&self, token: &TokenRecord, most: usize) -> std::result::Result<Lease, Problem> {
        self.admit_as(&token.id, token.expires_at, most)
    }

    /// Counts a stream of whoever proves who they are with what has this id, a token or something else.
    ///
    /// # Errors
    /// `rate_limited` if they have `most` streams already.
    pub(crate) fn admit_as(
        &self,
        id: &str,
        expires_at: Option<SystemTime>,
        most: usize,
    ) -> std::result::Result<Lease, Problem> {
        self.shared.leases.admit(id, expires_at, most).ok_or_else(|| {
            let message = format!("the token has {most} open streams, as many as it may have");
            Problem::rate_limited(message, Duration::from_secs(1))
        })
    }

    /// Ends the streams of whoever was admitted by this id.
    pub(crate) fn end(&self, id: &str) {
        self.shared.leases.end_token(id);
    }

    /// Watches for new versions of a namespace, from the current one on.
    ///
    /// # Errors
    /// When the namespace cannot be read.
    pub async fn watch(&self, tenant: &str, namespace: &str) -> Result<Watch> {
        let pin = self.shared.pin(tenant, namespace);
        // What is current is not news.
        pin.channel.advance(&self.shared.heads).await?;
        Ok(Watch { version: pin.channel.watch(), _pin: pin })
    }

    /// Returns the closure of these flags in a version, or in the current one; `None` if there is no such version.
    ///
    /// # Errors
    /// When the store fails, and `Corrupt` for a version that does not read any more.
    pub async fn closure(
        &self,
        tenant: &str,
        namespace: &str,
        version: Option<u64>,
        filter: &FlagFilter,
    ) -> Result<Option<Arc<PackedClosure>>> {
        let Shared { store, heads, closures, .. } = &*self.shared;
        closures.get((&**store, heads), (tenant, namespace), version, filter).await
    }

    /// Returns what snapshot URLs are signed with.
    ///
    /// # Errors
    /// When the store has no signing key and cannot make one.
    pub async fn signer(&self) -> Result<Arc<Signer>> {
        self.shared.signer().await
    }

    /// Lists the readers of a namespace that are connected to this process, after the stream of that number, in the
    /// order they came.
    #[must_use]
    pub fn readers(
        &self,
        tenant: &str,
        namespace: &str,
        after: Option<u64>,
        limit: usize,
    ) -> Vec<ReaderReport> {
        let Some(channel) = self.shared.channel(tenant, namespace) else { return Vec::new() };
        let current = channel.version();
        let readers = channel.readers(after, limit).into_iter();
        readers.map(|(reader, slot, filter)| report(&reader, slot, filter, current)).collect()
    }

    /// Returns true if somebody reads the namespace from this process.
    #[must_use]
    pub fn is_read(&self, tenant: &str, namespace: &str) -> bool {
        self.shared.channel(tenant, namespace).is_some_and(|channel| channel.version() > 0)
    }

    /// Returns how many streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.shared.leases.count()
    }

    /// Ends all streams, those that are being opened included: the server shuts down.
    pub fn close(&self) {
        self.shared.leases.close();
    }
}

impl Watch {
    /// Waits for a version that is newer than the last one returned; returns its number.
    pub async fn changed(&mut self) -> u64 {
        if self.version.changed().await.is_err() {
            // The sender is in the channel, which is pinned.
            std::future::pending::<()>().await;
        }
        *self.version.borrow_and_update()
    }
}

impl Shared {
    async fn signer(&self) -> Result<Arc<Signer>> {
        let made = self.signer.get_or_try_init(|| async {
            let key = self.store.signing_key().await?;
            Ok(Arc::new(Signer::new(key)))
        });
        made.await.map(Arc::clone)
    }

    async fn is_live(&self, token: &str) -> Result<bool> {
        let token = self.store.token(token).await;
        let token = token.inspect_err(|error| {
            tracing::warn!(error = %error.chain(), "a token of an open stream cannot be looked up");
        })?;
        Ok(token.is_some_and(|token| token.is_live(self.clock.wall())))
    }

    fn heed(self: &Arc<Self>, notice: Notice) {
        match notice {
            Notice::Manifest { tenant, namespace, version } => {
                self.heads.expect(&tenant, &namespace, version);
                if let Some(channel) = self.channel(&tenant, &namespace) {
                    self.advance(channel);
                }
            }
            Notice::TokenRevoked { id } => self.leases.end_token(&id),
            // No stream of these tells of it.
            Notice::Gate { .. } | Notice::Settings { .. } => {}
            Notice::Everything => {
                self.heads.doubt_all();
                for channel in self.all_channels() {
                    self.advance(channel);
                }
                tokio::spawn(Arc::clone(self).check_tokens());
            }
        }
    }

    fn advance(self: &Arc<Self>, channel: Arc<Channel>) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            match channel.advance(&shared.heads).await {
                Ok(()) => channel.succeeded(),
                Err(error) => {
                    let (tenant, namespace) = (&channel.tenant, &channel.namespace);
                    tracing::warn!(%tenant, %namespace, error = %error.chain(), "readers wait for a version");
                    channel.failed(shared.clock.now());
                }
            }
        });
    }

    async fn check_tokens(self: Arc<Self>) {
        // What else there are leases for, others look after.
        for token in self.leases.tokens().into_iter().filter(|id| id.starts_with("tok_")) {
            // Where the store fails again, it tells of everything again when it is back.
            if !self.is_live(&token).await.unwrap_or(true) {
                self.leases.end_token(&token);
            }
        }
    }

    fn pin(self: &Arc<Self>, tenant: &str, namespace: &str) -> ChannelPin {
        let mut channels = self.channels();
        let pinned = channels
            .entry((tenant.into(), namespace.into()))
            .or_insert_with(|| Pinned { channel: Arc::new(Channel::new(tenant, namespace)), pins: 0 });
        pinned.pins += 1;
        ChannelPin { shared: Arc::clone(self), channel: Arc::clone(&pinned.channel) }
    }

    fn channel(&self, tenant: &str, namespace: &str) -> Option<Arc<Channel>> {
        let key = (tenant.into(), namespace.into());
        self.channels().get(&key).map(|pinned| Arc::clone(&pinned.channel))
    }

    fn all_channels(&self) -> Vec<Arc<Channel>> {
        self.channels().values().map(|pinned| Arc::clone(&pinned.channel)).collect()
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<Key, Pinned>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("namespaces", &self.channels().len())
            .field("streams", &self.leases.count())
            .finish_non_exhaustive()
    }
}

impl ChannelPin {
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for ChannelPin {
    fn drop(&mut self) {
        let key = (Arc::clone(&self.channel.tenant), Arc::clone(&self.channel.namespace));
        let mut channels = self.shared.channels();
        if let Some(pinned) = channels.get_mut(&key) {
            pinned.pins -= 1;
            if pinned.pins == 0 {
                channels.remove(&key);
            }
        }
    }
}

impl fmt::Debug for ChannelPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChannelPin").field(&self.channel.namespace).finish()
    }
}

/// Passes on what the store tells, until the hub is gone.
async fn follow(hub: Weak<Shared>, mut notices: broadcast::Receiver<Notice>) {
    loop {
        let notice = match notices.recv().await {
            Ok(notice) => notice,
            Err(broadcast::error::RecvError::Lagged(_)) => Notice::Everything,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let Some(shared) = hub.upgrade() else { return };
        shared.heed(notice);
    }
}

/// Does once a second, for all streams, what would else be a timer for each.
async fn tick(hub: Weak<Shared>, clock: Arc<dyn Clock>) {
    let start = clock.now();
    let mut done = 0;
    loop {
        clock.sleep_until(start + Duration::from_secs(done + 1)).await;
        let Some(shared) = hub.upgrade() else { return };
        let now = clock.now();
        let reached = (now - start).as_secs();
        // After a jump, each stream has at most one turn.
        let first = (done + 1).max(reached.saturating_sub(BEAT_TICKS - 1));
        done = reached;
        shared.leases.tick(first..=reached, clock.wall());
        for channel in shared.all_channels().into_iter().filter(|channel| channel.is_due(now)) {
            shared.advance(channel);
        }
    }
}

fn report(reader: &Reader, slot: u16, filter: FlagFilter, current: u64) -> ReaderReport {
    let progress = reader.progress(slot);
    // A version that left the closure as it was is not sent, and nobody is behind because of it.
    let concerned = progress.delivered < progress.latest;
    ReaderReport {
        id: reader.id,
        token_id: reader.token.id.clone(),
        token_name: reader.token.name.clone(),
        address: reader.peer.address,
        user_agent: reader.peer.user_agent.as_deref().map(str::to_owned),
        connected_at: reader.since,
        filter,
        delivered_version: progress.delivered,
        versions_behind: if concerned { current.saturating_sub(progress.delivered) } else { 0 },
        queued: progress.queued,
    }
}

/// Streams of one token.
const CONNECTIONS: usize = 16;
