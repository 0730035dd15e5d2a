//! A namespace on a server, told of by its event stream.
//!
//! The source is pulled like any other: `changed` drives the connection and is ready when the stream told something,
//! `load` brings it, as a change where the event held one that fits and as a snapshot otherwise. Where the stream told
//! nothing, `load` asks for the manifest conditionally: that is the safety net, and what is left where no stream can be
//! opened.

mod hub;
mod inbox;
mod tree;

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};

use self::{
    hub::Hub,
    inbox::{Inbox, Told},
    tree::Mirrored,
};
pub(crate) use self::{
    hub::flags_text,
    tree::{Mirror, WorkingTree},
};
use super::{
    NAME, ServerConfig, ServerPlace,
    api::{Api, Refusal},
    closed,
};
use crate::{
    Error, ErrorKind, Result, Retry, UriAuth,
    document::{Content, Delta, Document, Revision, Tree},
    flags::{FlagFilter, events::VersionEvent},
    manifest::{Fingerprint, LintOptions, archive, lint_tree, names},
    sse::StreamStatus,
    traits::{Clock, Load, Source, Transport, redacted},
};

/// How long the first load waits for the stream before it asks for the manifest.
const FIRST_EVENT: Duration = Duration::from_secs(10);
/// How long the feed leaves the server alone when a new connection has to bring a new URL first.
const UNTIL_REOPENED: Duration = Duration::from_secs(60);

/// One namespace of a connection.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) place: ServerPlace,
    pub(crate) filter: FlagFilter,
    /// Where the closure is mirrored on disk.
    pub(crate) tree: Option<WorkingTree>,
}

/// A source over an event stream; see the [module](self).
pub(crate) struct StreamSource {
    api: Arc<Api>,
    filter: FlagFilter,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    tree: Mutex<Option<WorkingTree>>,
    /// What was handed over last, until it is known whether it is served.
    handed: Mutex<Option<Handed>>,
    begun: AtomicBool,
    closed: AtomicBool,
}

struct Handed {
    version: u64,
    hash: String,
    what: What,
}

enum What {
    Change(Delta),
    Whole(Tree),
}

impl StreamSource {
    /// Opens the sources of namespaces that share one connection; nothing is connected yet.
    ///
    /// # Errors
    /// `Config` for a token that no header can carry, `LimitExceeded` for more flags than a URL can hold.
    pub(crate) fn open(
        config: &ServerConfig,
        auth: Option<&UriAuth>,
        transport: &Arc<dyn Transport>,
        clock: &Arc<dyn Clock>,
        subscriptions: Vec<Subscription>,
    ) -> Result<Vec<Arc<Self>>> {
        let api =
            |place: &ServerPlace| Api::new(config, place.clone(), auth, Arc::clone(transport)).map(Arc::new);
        let Some(first) = subscriptions.first() else { return Ok(Vec::new()) };
        let members = subscriptions.iter().map(|s| (s.place.namespace(), &s.filter));
        let hub = Hub::new(api(&first.place)?, members, Arc::clone(clock))?;
        let open = |subscription: Subscription| {
            Ok(Arc::new(Self {
                api: api(&subscription.place)?,
                filter: subscription.filter,
                hub: Arc::clone(&hub),
                clock: Arc::clone(clock),
                tree: Mutex::new(subscription.tree),
                handed: Mutex::new(None),
                begun: AtomicBool::new(false),
                closed: AtomicBool::new(false),
            }))
        };
        let sources: Vec<_> = subscriptions.into_iter().map(open).collect::<Result<_>>()?;
        for source in &sources {
            if let Some(mirrored) = lock(&source.tree).as_ref().and_then(WorkingTree::mirrored) {
                hub.applied(source.slug(), mirrored.version, &mirrored.hash);
            }
        }
        Ok(sources)
    }

    /// Returns how the stream stands.
    pub(crate) fn status(&self) -> StreamStatus {
        self.hub.status(self.slug())
    }

    /// Learns what is served after a load that went well: what was handed over is mirrored if it is, and forgotten if
    /// not.
    ///
    /// Writes files, so it belongs on a thread that may block.
    pub(crate) fn settle(&self, served: &Revision) {
        let handed = lock(&self.handed).take().filter(|handed| handed.hash == served.as_str());
        let now = self.clock.wall();
        if let Some(handed) = &handed {
            self.hub.applied(self.slug(), handed.version, &handed.hash);
        }
        let mut tree = lock(&self.tree);
        let Some(tree) = &mut *tree else { return };
        let written = match handed {
            Some(Handed { version, hash, what }) => {
                let mirrored = Mirrored { version, hash, confirmed_at: now };
                match what {
                    What::Change(delta) => tree.apply(&mirrored, &delta),
                    What::Whole(files) => tree.replace(&mirrored, &files),
                }
            }
            None => tree.confirm(served.as_str(), now),
        };
        if let Err(error) = written {
            tracing::warn!(
                namespace = self.slug(),
                error = %error.chain(),
                "the working tree was not written; what is served is not affected"
            );
        }
    }

    fn slug(&self) -> &str {
        self.api.place.namespace()
    }

    /// Waits for the first word of the stream, unless there will be none for now.
    async fn first_event(&self) {
        let mut due = self.clock.sleep_until(self.clock.now() + FIRST_EVENT);
        poll_fn(|cx| {
            let told = self.hub.poll(cx, self.slug(), |look| {
                let there = look.inbox.has_any() || look.attempts_lost > 0;
                if there { Poll::Ready(()) } else { Poll::Pending }
            });
            if told.is_ready() { told } else { due.as_mut().poll(cx) }
        })
        .await;
    }

    /// Brings what the stream told.
    async fn bring(&self, told: Told, generation: u64, since: Option<&Revision>) -> Result<Load> {
        if since.is_some_and(|since| since.as_str() == told.hash()) {
            // Confirmed without a transfer: after a reconnect, or where a poll was quicker.
            self.hub.applied(self.slug(), told.version(), told.hash());
            self.hub.with_inbox(self.slug(), |inbox| inbox.fetched());
            return Ok(Load::Unchanged);
        }
        let told = match told {
            Told::Inline(event) => match change(&event, since) {
                Ok(delta) => {
                    self.hand(event.version, &event.closure_hash, What::Change(delta.clone()));
                    return Ok(Load::Delta(delta));
                }
                Err(reason) => {
                    tracing::info!(
                        namespace = self.slug(),
                        version = event.version,
                        reason,
                        "a change does not apply, fetching the whole"
                    );
                    let newest = self.hub.with_inbox(self.slug(), |inbox| inbox.take_newest()).flatten();
                    newest.map_or_else(|| Told::Inline(event).whole(), |newest| newest.whole())
                }
            },
            fetch @ Told::Fetch { .. } => fetch,
        };
        self.fetch(told, generation).await
    }

    /// Fetches a snapshot; what fails is tried again after the pauses of the contract.
    async fn fetch(&self, told: Told, generation: u64) -> Result<Load> {
        let mut fetching = Fetching::begin(self, told.clone(), generation);
        let outcome = self.snapshot(&told).await;
        fetching.told = None;
        drop(fetching);
        match outcome {
            Ok(tree) => {
                self.hub.with_inbox(self.slug(), |inbox| inbox.fetched());
                Ok(self.whole(told.version(), told.hash(), tree))
            }
            Err(Failed { error, signature_refused: true }) => {
                // The next connection begins with another URL.
                self.hub.reopen();
                Err(error.retry(Retry::After(UNTIL_REOPENED)))
            }
            Err(Failed { error, .. }) => {
                let put_back = |inbox: &mut Inbox| inbox.put_back(told, generation, self.clock.now());
                let pause = self.hub.with_inbox(self.slug(), put_back).unwrap_or_default();
                Err(error.retry(Retry::After(pause)))
            }
        }
    }

    async fn snapshot(&self, told: &Told) -> Result<Tree, Failed> {
        let Told::Fetch { version, hash, url } = told else {
            return Err(Error::new(ErrorKind::Invalid, "fetch a change").into());
        };
        let (uri, signed) = match url {
            Some(url) => (self.api.place.named_by_server(url)?, true),
            None => {
                let flags = flags_text(&self.filter);
                (self.api.place.of_namespace(&format!("closure?flags={flags}&version={version}"))?, false)
            }
        };
        // What is signed needs no token, and gets none.
        let request = if signed { self.api.plain(uri.clone()) } else { self.api.authorized(uri.clone()) };
        let response = self.api.send(request.attempts(1)).await?;
        if response.status != StatusCode::OK {
            let refusal = Refusal::read(&uri, response).await;
            let signature_refused = signed && refusal.status == StatusCode::UNAUTHORIZED;
            return Err(Failed { error: refusal.error, signature_refused });
        }
        let archive = self.api.read(&uri, response).await?;
        let tree = archive::unpack(&archive)?.tree;
        let found = Fingerprint::of(&tree);
        if found.as_str() != hash {
            return Err(Error::new(ErrorKind::Corrupt, "verify a snapshot")
                .with("uri", redacted(&uri))
                .with("promised", short(hash))
                .with("found", &found)
                .hint("it is fetched again; if this goes on, look whether a cache on the way is stale")
                .into());
        }
        Ok(tree)
    }

    /// Asks for the manifest, unless it is the version being served.
    async fn poll(&self, since: Option<&Revision>) -> Result<Load> {
        let version = since.and_then(|since| self.hub.version_of(self.slug(), since.as_str()));
        let etag = version.and_then(|version| HeaderValue::from_str(&format!("\"v{version}\"")).ok());
        let conditional = etag.is_some();
        let uri = self.api.place.of_namespace("manifest")?;
        let mut request = self.api.authorized(uri.clone()).attempts(1);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let response = self.api.send(request).await?;
        match response.status {
            StatusCode::NOT_MODIFIED if conditional => return Ok(Load::Unchanged),
            StatusCode::OK => {}
            _ => return Err(Refusal::read(&uri, response).await.error),
        }
        let version = response.headers.get(header::ETAG).and_then(version_of_etag).unwrap_or_default();
        let tree = archive::unpack(&self.api.read(&uri, response).await?)?.tree;
        let linted = lint_tree(&tree, &LintOptions::new().with_slug(self.slug()));
        let (closure, hash) = match &linted.manifest {
            Some(manifest) => self.filter.closure(&tree, manifest),
            // Whoever checks it says what is wrong.
            None => (tree.clone(), Fingerprint::of(&tree)),
        };
        if since.is_some_and(|since| since.as_str() == hash.as_str()) {
            self.hub.applied(self.slug(), version, hash.as_str());
            return Ok(Load::Unchanged);
        }
        Ok(self.whole(version, hash.as_str(), closure))
    }

    fn whole(&self, version: u64, hash: &str, tree: Tree) -> Load {
        self.hand(version, hash, What::Whole(tree.clone()));
        Load::Snapshot(Document::new(Revision::new(hash), Content::Tree(tree)))
    }

    fn hand(&self, version: u64, hash: &str, what: What) {
        *lock(&self.handed) = Some(Handed { version, hash: hash.to_owned(), what });
    }
}

#[async_trait]
impl Source for StreamSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(&self.api.place));
        }
        if !self.begun.swap(true, Ordering::AcqRel) {
            self.first_event().await;
        }
        let handed = lock(&self.handed).take();
        if let (None, Some(Handed { version, hash, what: What::Change(_) })) = (since, &handed) {
            // The change was refused: what it leads to is fetched as a whole.
            let told = Told::Fetch { version: *version, hash: hash.clone(), url: None };
            let generation = self.hub.with_inbox(self.slug(), |inbox| inbox.generation()).unwrap_or_default();
            return self.fetch(told, generation).await;
        }
        match self.hub.with_inbox(self.slug(), Inbox::take).flatten() {
            Some((told, generation)) => self.bring(told, generation, since).await,
            None => self.poll(since).await,
        }
    }

    async fn changed(&self) -> Result<()> {
        poll_fn(|cx| {
            self.hub.poll(cx, self.slug(), |look| {
                if look.inbox.is_due(self.clock.now()) { Poll::Ready(Ok(())) } else { Poll::Pending }
            })
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.hub.leave(self.slug());
            // A tree of this process's own goes with it.
            lock(&self.tree).take();
        }
        Ok(())
    }
}

impl Drop for StreamSource {
    fn drop(&mut self) {
        self.hub.leave(self.slug());
    }
}

impl fmt::Debug for StreamSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSource")
            .field("place", &self.api.place.to_string())
            .field("filter", &self.filter)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A snapshot that is being fetched; dropped half-way, it is put back.
struct Fetching<'s> {
    source: &'s StreamSource,
    told: Option<Told>,
    generation: u64,
}

impl<'s> Fetching<'s> {
    fn begin(source: &'s StreamSource, told: Told, generation: u64) -> Self {
        source.hub.set_fetching(source.slug(), true);
        Self { source, told: Some(told), generation }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let Self { source, told, generation } = self;
        source.hub.set_fetching(source.slug(), false);
        if let Some(told) = told.take() {
            source.hub.with_inbox(source.slug(), |inbox| inbox.keep(told, *generation));
        }
    }
}

/// Why there is no snapshot.
struct Failed {
    error: Error,
    signature_refused: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, signature_refused: false }
    }
}

/// Makes the change of an event, if it fits what is served and its files are what it says.
///
/// What the whole must come to is promised with it, and checked where it is applied.
fn change(event: &VersionEvent, since: Option<&Revision>) -> Result<Delta, &'static str> {
    let base = event.prev_closure_hash.as_deref().ok_or("it names no state that it starts from")?;
    if since.is_none_or(|since| since.as_str() != base) {
        return Err("it starts from another state");
    }
    let paths = event.files.keys().chain(&event.removed);
    if !paths.clone().all(|path| is_path_of_closure(path)) {
        return Err("it names a path that no closure has");
    }
    if !event.files.values().all(|file| file.is_intact()) {
        return Err("a file is not what its digest says");
    }
    let delta =
        Delta::new(Revision::new(base), Revision::new(&event.closure_hash)).promising(&event.closure_hash);
    let delta =
        event.files.iter().fold(delta, |delta, (path, file)| delta.changing(path, file.content.clone()));
    Ok(event.removed.iter().fold(delta, |delta, path| delta.removing(path)))
}

/// Closures hold nothing else; what is written to disk goes by this.
fn is_path_of_closure(path: &str) -> bool {
    let key = path.strip_prefix("flags/").or_else(|| path.strip_prefix("segments/"));
    path == "namespace.toml" || key.and_then(|file| file.strip_suffix(".toml")).is_some_and(names::is_key)
}

fn version_of_etag(etag: &HeaderValue) -> Option<u64> {
    etag.to_str().ok()?.strip_prefix("\"v")?.strip_suffix('"')?.parse().ok()
}

/// Shows a digest from outside.
fn short(hash: &str) -> String {
    hash.chars().take(80).filter(|c| c.is_ascii_graphic()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values only are put in and taken out.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
