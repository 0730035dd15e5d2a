//! The client: serves what the service holds, and keeps it current.

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Poll,
    thread::{self, ThreadId},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Bound, Change, ConfigSource, NexusClientBuilder, NexusConfig, NexusError, Subscription, bind,
    files::Files,
    layers::Layers,
    model::{KeyType, SyncSnapshot},
    patches::{Now, Patch, Patches},
    product::SettingsProduct,
    service::Service,
    snapshot::Snapshot,
    source::SettingsSource,
    watch::Watchers,
};
use crate::{
    Backoff, Secret,
    live::{Feed, Ladder, Outcome, Schedule, Status, Stop, block_on},
    traits::{Clock, Source},
};

/// Configs, secrets and flags of one service, kept current.
///
/// `Clone + Send + Sync`; clones are one client. Reads look into a snapshot in memory: they never wait, fail only for
/// what is not there, and look at no clock. A thread of the client's own asks the service at every interval, under one
/// condition, and at once when the event stream says so; while the service fails it is asked with growing pauses, and
/// what was there before goes on to be served. No async runtime is needed.
///
/// The last clone to go ends the thread and removes the files of secrets; so does [`close`](Self::close).
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")]
/// # fn main() -> Result<(), leverframe::NexusError> {
/// # use std::sync::Arc;
/// # use http::{HeaderMap, StatusCode};
/// # use leverframe::{NexusClient, testing::{Answer, ScriptedTransport}};
/// # let service = ScriptedTransport::new();
/// # let answer = |json: &'static str| service.answer("/v1/sync", Answer::Whole(StatusCode::OK, HeaderMap::new(), json.into()));
/// # answer(r#"{"synced_at":"t","key_type":"sk","secrets":{"DB_PASSWORD":{"value":"s3cret","version":1,"source":"service"}},
/// #     "flags":{"new-checkout":{"is_active":true,"source":"service"}}}"#);
/// let client = NexusClient::builder().endpoint("https://settings.example.com").api_key("wxs_1")
/// #   .transport(Arc::new(service.clone()))
///     .build()?;
/// client.run_stream();
/// let password = client.get_secret("DB_PASSWORD")?;
/// assert_eq!(password.expose_secret(), "s3cret");
/// assert!(client.get_flag("new-checkout", false));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct NexusClient {
    pub(super) shared: Arc<Shared>,
    /// Ends everything when the last clone goes; the thread itself holds only `shared`.
    _last: Arc<EndOnDrop>,
}

pub(super) struct Shared {
    pub(super) service: Arc<Service>,
    source: Arc<SettingsSource>,
    feed: Feed<SettingsProduct>,
    /// What reads look into: what the feed has, with layers and own writes over it.
    view: ArcSwap<Snapshot>,
    adopted: Mutex<Adopted>,
    files: Files,
    layers: Layers,
    watchers: Arc<Watchers>,
    /// What is known of the key before the service says anything.
    key_type: Option<KeyType>,
    ttl: Duration,
    stop: Stop,
    /// Given when the thread has ended.
    ended: Stop,
    /// Which thread that is, once it runs.
    thread: OnceLock<ThreadId>,
    /// Says which process this is, and which one the thread is in.
    process: fn() -> u32,
    owner: u32,
}

/// The pauses before the client's thread goes on, should it panic.
const FIRST_RESTART: Duration = Duration::from_secs(1);
const LONGEST_RESTART: Duration = Duration::from_secs(60);

/// What the view was made of.
#[derive(Default)]
struct Adopted {
    version: u64,
    patches: Patches,
    /// Held until the next one comes, so that no reader is left to free what it read from.
    previous: Option<Arc<Snapshot>>,
}

struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a client is put together from.
pub(super) struct Parts {
    pub(super) service: Arc<Service>,
    pub(super) product: SettingsProduct,
    pub(super) ladder: Ladder,
    pub(super) layers: Layers,
    pub(super) files: Files,
    pub(super) key_type: Option<KeyType>,
    pub(super) ttl: Duration,
    pub(super) clock: Arc<dyn Clock>,
    /// Says which process this is.
    pub(super) process: fn() -> u32,
}

impl NexusClient {
    /// Asks the service for everything and starts to keep it current.
    ///
    /// # Errors
    /// `Config` for settings that cannot work; what the service refuses with, or what kept it from answering. A client
    /// that keeps what it last had (see [`NexusClientBuilder::cache`]) starts from that where the service fails.
    pub fn create(config: NexusConfig) -> Result<Self, NexusError> {
        NexusClientBuilder::new(config).build()
    }

    /// Returns a builder, for what [`NexusConfig`] has no place for.
    pub fn builder() -> NexusClientBuilder {
        NexusClientBuilder::new(NexusConfig::default())
    }

    pub(super) fn start(parts: Parts) -> Result<Self, NexusError> {
        let Parts { service, product, ladder, layers, files, key_type, ttl, clock, process } = parts;
        // What is kept are the service's answers, and so each change has to be one.
        let takes_patches = product.seal.is_none();
        let source = Arc::new(SettingsSource::new(Arc::clone(&service), Arc::clone(&clock), takes_patches));
        let opened = Feed::open_with(product, Arc::clone(&source) as Arc<dyn Source>, clock, ladder);
        let feed = block_on(opened)?;
        let shared = Arc::new(Shared {
            service,
            source,
            feed,
            view: ArcSwap::default(),
            adopted: Mutex::default(),
            files,
            layers,
            watchers: Arc::default(),
            key_type,
            ttl,
            stop: Stop::new(),
            ended: Stop::new(),
            thread: OnceLock::new(),
            process,
            owner: process(),
        });
        shared.adopt(None);
        let client = Self { _last: Arc::new(EndOnDrop(Arc::clone(&shared))), shared: Arc::clone(&shared) };
        thread::Builder::new().name("leverframe-settings".to_owned()).spawn(move || {
            // Also when the thread panics, so that nobody waits for it for ever.
            let _ended = StopOnDrop(shared.ended.clone());
            shared.thread.get_or_init(|| thread::current().id());
            shared.run_whatever_happens();
        })?;
        Ok(client)
    }

    /// Returns the value of a config; `None` where there is none.
    #[must_use]
    pub fn get_config(&self, key: &str) -> Option<Value> {
        self.shared.view.load().configs.get(key).map(|config| config.value.clone())
    }

    /// Returns the value of a config as a type, without copying what needs no copy; `None` where there is no config.
    ///
    /// # Errors
    /// `Mismatch` where the config is of another type.
    pub fn get_config_as<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, NexusError> {
        let view = self.shared.view.load();
        match view.configs.get(key) {
            Some(config) => bind::read(key, &config.value).map(Some),
            None => Ok(None),
        }
    }

    /// Returns every config.
    #[must_use]
    pub fn get_all_configs(&self) -> HashMap<String, Value> {
        let view = self.shared.view.load();
        view.configs.iter().map(|(key, config)| (key.to_owned(), config.value.clone())).collect()
    }

    /// Says where a config comes from; `None` where there is none.
    #[must_use]
    pub fn source_of(&self, key: &str) -> Option<ConfigSource> {
        let view = self.shared.view.load();
        view.configs.get(key).map(|config| self.shared.layers.source_of(key, config))
    }

    /// Returns a secret that is a text.
    ///
    /// # Errors
    /// `PublicKeyRestricted` with a public key, `ServiceKindMismatch` where the service is of kind `frontend`,
    /// `SecretNotFound` where there is none, or it is a file. No request is made.
    pub fn get_secret(&self, key: &str) -> Result<Secret, NexusError> {
        let view = self.shared.view.load();
        self.shared.may_read_secrets(&view)?;
        match view.secrets.get(key).filter(|secret| !secret.is_file()) {
            Some(secret) => Ok(secret.value.clone()),
            None => Err(NexusError::no_secret(key)),
        }
    }

    /// Returns the file that holds a secret. Its content follows the service; its name stays for as long as it is there.
    ///
    /// # Errors
    /// Those of [`get_secret`](Self::get_secret), with files and texts the other way round; `Io` where the file could
    /// not be written, which is tried again with every look at the service.
    pub fn get_secret_file_path(&self, key: &str) -> Result<PathBuf, NexusError> {
        let view = self.shared.view.load_full();
        self.shared.may_read_secrets(&view)?;
        self.shared.files.path(key, &view.secrets).unwrap_or_else(|| Err(NexusError::no_secret(key)))
    }

    /// Returns whether a flag is on; `default` where there is none.
    #[inline]
    #[must_use]
    pub fn get_flag(&self, key: &str, default: bool) -> bool {
        self.shared.view.load().flags.get(key).map_or(default, |flag| flag.is_active)
    }

    /// Returns whether a flag is on; `None` where there is none.
    #[must_use]
    pub fn find_flag(&self, key: &str) -> Option<bool> {
        self.shared.view.load().flags.get(key).map(|flag| flag.is_active)
    }

    /// Returns whether each flag is on.
    #[must_use]
    pub fn get_all_flags(&self) -> HashMap<String, bool> {
        let view = self.shared.view.load();
        view.flags.iter().map(|(key, flag)| (key.to_owned(), flag.is_active)).collect()
    }

    /// Returns everything that is served now, from one moment.
    #[must_use]
    pub fn snapshot(&self) -> SyncSnapshot {
        self.shared.view.load().to_maps()
    }

    /// Makes a value of one's own type from the configs at and below a prefix, and has it follow them.
    ///
    /// `db` takes the object `db`, if there is one, and over it `db.host`, `db.pool.size` and so on; the empty prefix
    /// takes every config.
    ///
    /// # Errors
    /// `Mismatch` where the configs as they are now do not fit the type.
    pub fn bind<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        prefix: &str,
    ) -> Result<Bound<T>, NexusError> {
        // Under the lock, so that no change comes between reading the configs and being told of changes.
        let _adopted = self.shared.adopted();
        let view = self.shared.view.load_full();
        let (bound, rebind) = Bound::new(prefix, &view.configs, self.clone())?;
        self.shared.watchers.bind(&rebind);
        Ok(bound)
    }

    /// Has a function called after each update that changed something, on the thread that brought it.
    ///
    /// The function should be quick: while it runs, nothing is updated. If it holds a clone of the client, the client
    /// does not end before the subscription does.
    pub fn on_change(&self, callback: impl Fn(&Change) + Send + Sync + 'static) -> Subscription {
        self.shared.watchers.add(Arc::new(callback))
    }

    /// Asks the service for news now, whatever it said about being left alone, and waits for the answer.
    ///
    /// # Errors
    /// What the service refuses with, or what kept it from answering; what was there before goes on to be served.
    /// `SyncFailed` once the client is closed.
    pub fn sync(&self) -> Result<(), NexusError> {
        self.shared.check_open()?;
        let _call = self.shared.source.call();
        block_on(self.shared.poll()).map(drop)
    }

    /// Has the service tell of changes, which are fetched at once; a connection that is lost is opened again, for ever.
    /// Calling it again changes nothing.
    pub fn run_stream(&self) {
        if !self.shared.stop.is_stopped() {
            self.shared.source.start_stream();
        }
    }

    /// Ends the event stream; the service is asked at every interval as before.
    pub fn stop_stream(&self) {
        self.shared.source.stream().stop();
    }

    /// Returns the kind of the service, `backend` or `frontend`; empty where the service does not say.
    #[must_use]
    pub fn kind(&self) -> String {
        self.shared.view.load().kind.to_string()
    }

    /// Returns what the key may do: `sk` for a secret key, `pk` for a public one; empty while nobody knows.
    #[must_use]
    pub fn key_type(&self) -> &str {
        let view = self.shared.view.load();
        view.key_type.or(self.shared.key_type).map_or("", KeyType::word)
    }

    /// Returns true while the service answers that the account is behind with payment.
    #[must_use]
    pub fn billing_overdue(&self) -> bool {
        self.shared.service.standing().owes()
    }

    /// Returns when the service last gave or confirmed what is served; `None` where that was before this process began.
    #[must_use]
    pub fn synced_at(&self) -> Option<SystemTime> {
        self.shared.feed.status().last_success
    }

    /// Returns how the client stands: how old what is served is, what failed, how the event stream does.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.shared.feed.status();
        status.stream = self.shared.source.stream().status();
        status
    }

    /// Returns for how long the service is left alone, as it asked for; `None` where it is not.
    #[must_use]
    pub fn held_for(&self) -> Option<Duration> {
        self.shared.service.standing().held_for()
    }

    /// Ends the client for all its clones: nothing is asked any more, and the files of secrets are gone. What is in
    /// memory can still be read.
    ///
    /// Waits for the client's thread, and so for a callback that it is running; but not where it is called from that
    /// callback, nor in a process that was forked off, where the thread is not.
    pub fn close(&self) {
        self.shared.end();
        if self.shared.may_wait_for_thread() {
            block_on(self.shared.ended.stopped());
        }
    }
}

impl fmt::Debug for NexusClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.shared.view.load();
        f.debug_struct("NexusClient")
            .field("source", &self.shared.source)
            .field("configs", &view.configs.len())
            .field("secrets", &view.secrets.len())
            .field("flags", &view.flags.len())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn adopted(&self) -> MutexGuard<'_, Adopted> {
        // After a panic the view is as before or as after; the next update makes it anew.
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the client's thread does from start to end, should a transport, a cache or a type of its user panic.
    fn run_whatever_happens(self: &Arc<Self>) {
        let mut backoff = Backoff::new(FIRST_RESTART, LONGEST_RESTART);
        // What is shared is whole at any point: counters, swaps, and locks that a panic gives back.
        while catch_unwind(AssertUnwindSafe(|| block_on(self.run()))).is_err() {
            tracing::error!("the thread of a settings client panicked; it goes on after a pause");
            self.source.recover();
            if self.feed.status().consecutive_failures == 0 {
                backoff.reset();
            }
            backoff.fail();
            self.feed.note_failure(&NexusError::SyncFailed(
                "the client's thread panicked; the message went to standard error".to_owned(),
            ));
            let clock = self.feed.clock();
            let pause = clock.sleep_until(clock.now() + backoff.pause().unwrap_or(FIRST_RESTART));
            block_on(until(self.stop.stopped(), pause));
        }
    }

    async fn run(self: &Arc<Self>) {
        let schedule = Schedule::every(self.ttl).jittered();
        let polling = self.feed.run(schedule, &self.stop, |_| {
            let shared = Arc::clone(self);
            async move {
                // A client that ends meanwhile does not wait for an answer.
                let polled = until(shared.stop.stopped(), shared.poll()).await;
                polled.unwrap_or(Ok(Outcome::Unchanged))
            }
        });
        polling.await;
    }

    /// Asks for news and takes them over.
    async fn poll(&self) -> Result<Outcome, NexusError> {
        let (written, unconfirmed) = {
            let adopted = self.adopted();
            (adopted.patches.last(), adopted.patches.len())
        };
        if unconfirmed > 0 {
            // What the stream told may be from before they were written, and confirms nothing.
            self.source.stream().look_anew();
        }
        let polled = self.feed.poll_to_confirm().await;
        let is_confirmed = polled.as_ref().is_ok_and(|polled| polled.is_confirmed);
        self.adopt(is_confirmed.then_some(written));
        polled.map(|polled| polled.outcome)
    }

    /// Takes over what the feed has, into files first, then into the view, then to those who want to know; and takes own
    /// writes for confirmed up to this one.
    fn adopt(&self, confirmed: Option<u64>) {
        let mut adopted = self.adopted();
        if let Some(number) = confirmed {
            adopted.patches.confirm(number);
        }
        let loaded = self.feed.load_full();
        let layers_changed = self.layers.refresh();
        if loaded.version != adopted.version || layers_changed || adopted.patches.take_news() {
            let next = Arc::new(self.over(&loaded.snapshot, &adopted.patches));
            self.files.settle(&next.secrets);
            let before = self.view.swap(Arc::clone(&next));
            // Not before: should anything panic, the next update takes it over.
            adopted.version = loaded.version;
            self.watchers.note(&before, &next);
            adopted.previous = Some(before);
        } else {
            // What could not be written before may be now, and what was taken away is put back.
            self.files.settle(&self.view.load_full().secrets);
        }
        drop(adopted);
        self.watchers.tell();
    }

    fn over(&self, served: &Snapshot, patches: &Patches) -> Snapshot {
        let mut next = served.clone();
        patches.apply(&mut next);
        next.configs = self.layers.over(&next.configs);
        next
    }

    /// Lets a write be seen at once: by what the service says of it, or else by what was written.
    pub(super) async fn after_write(&self, patch: Patch) {
        let number = self.adopted().patches.number();
        self.source.stream().look_anew();
        let polled = self.feed.poll_to_confirm().await;
        if let Err(error) = &polled {
            tracing::warn!(error = %crate::error::chain(error), "written, and not confirmed yet");
        }
        let is_confirmed = polled.is_ok_and(|polled| polled.is_confirmed);
        if !is_confirmed {
            self.adopted().patches.add(number, patch);
        }
        self.adopt(is_confirmed.then_some(number));
    }

    /// Returns what is known of an entry of the service's own once it is deleted: where anything is inherited, one of the
    /// same name may be, too.
    pub(super) fn deleted<V>(&self) -> Now<V> {
        if self.feed.load().snapshot.inherits() { Now::Unknown } else { Now::Gone }
    }

    pub(super) fn check_open(&self) -> Result<(), NexusError> {
        if self.stop.is_stopped() {
            return Err(NexusError::SyncFailed("the client is closed".to_owned()));
        }
        Ok(())
    }

    /// Refuses what a public key may not do, before anybody is asked.
    pub(super) fn check_key(&self) -> Result<(), NexusError> {
        let said = self.view.load().key_type;
        match said.or(self.key_type) {
            Some(KeyType::Public) => Err(NexusError::PublicKeyRestricted),
            _ => Ok(()),
        }
    }

    pub(super) fn check_kind(&self) -> Result<(), NexusError> {
        if self.view.load().is_frontend() { Err(NexusError::ServiceKindMismatch) } else { Ok(()) }
    }

    /// Returns the version of a secret that is served; 0 for none.
    pub(super) fn version_of(&self, key: &str) -> u32 {
        self.view.load().secrets.get(key).map_or(0, |secret| secret.version)
    }

    fn may_read_secrets(&self, view: &Snapshot) -> Result<(), NexusError> {
        match view.key_type.or(self.key_type) {
            Some(KeyType::Public) => Err(NexusError::PublicKeyRestricted),
            _ if view.is_frontend() => Err(NexusError::ServiceKindMismatch),
            _ => Ok(()),
        }
    }

    /// Returns false on the client's own thread, and in another process than the one that has it.
    pub(super) fn may_wait_for_thread(&self) -> bool {
        (self.process)() == self.owner && self.thread.get() != Some(&thread::current().id())
    }

    pub(super) fn end(&self) {
        self.stop.stop();
        self.source.stream().stop();
        self.files.close();
    }
}

/// Gives a signal, also when what holds it is dropped by a panic.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Polls both; `None` once the first is ready.
async fn until<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> Option<B> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| match second.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => first.as_mut().poll(cx).map(|_| None),
    })
    .await
}

#[cfg(test)]
mod tests;
