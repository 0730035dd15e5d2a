//! How a client is put together.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::task;

use super::ExdClient;
use crate::{
    HttpBackend, Secret, UriAuth,
    error::chain,
    flags::{ExdError, LoadError, LoadOptions, Namespace, product::FlagProduct, remote::Remote},
    live::{Feed, Keep, Schedule, StalePolicy, block_on},
    traits::{Clock, Source},
};

/// How often a source is looked at where the builder does not say.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// Collects what a client needs; exactly one namespace source and an environment are required.
///
/// | source | refresh |
/// |---|---|
/// | [`namespace_dir`](Self::namespace_dir), [`namespace_inline`](Self::namespace_inline) | none |
/// | [`namespace_uri`](Self::namespace_uri), [`namespace_source`](Self::namespace_source), [`server`](Self::server) | every `poll_interval`, and at once when the source tells of a change |
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ExdClientBuilder {
    place: Result<Option<Place>, ExdError>,
    remote: Remote,
    environment: Option<String>,
    poll_interval: Duration,
    dry_run: bool,
    load: LoadOptions,
}

#[derive(Debug)]
enum Place {
    Directory(PathBuf),
    Inline(Namespace),
    Server,
    Source(Arc<dyn Source>),
    Uri(String),
}

impl ExdClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            place: Ok(None),
            remote: Remote::default(),
            environment: None,
            poll_interval: POLL_INTERVAL,
            dry_run: false,
            load: LoadOptions::new(),
        }
    }

    /// Reads the directory at `path` once.
    pub fn namespace_dir(self, path: impl Into<PathBuf>) -> Self {
        self.place(Place::Directory(path.into()))
    }

    /// Takes a namespace that was built elsewhere. It is not refreshed by this client; whoever refreshes it,
    /// refreshes the client with it.
    pub fn namespace_inline(self, namespace: Namespace) -> Self {
        self.place(Place::Inline(namespace))
    }

    /// Loads and keeps current what a URI names; [`Namespace::from_uri`] lists the schemes.
    pub fn namespace_uri(self, uri: impl Into<String>) -> Self {
        self.place(Place::Uri(uri.into()))
    }

    /// Loads from a source of any kind, one's own included, and keeps it current.
    pub fn namespace_source(self, source: Arc<dyn Source>) -> Self {
        self.place(Place::Source(source))
    }

    /// Loads from a server and keeps current, by its base URL without `/api/v1`. Pair it with
    /// [`namespace`](Self::namespace), [`api_token`](Self::api_token) and, unless it is the token's own,
    /// [`tenant`](Self::tenant).
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.remote.server = Some(url.into());
        self.place(Place::Server)
    }

    /// Sets the slug of the tenant on the server. Left out, it is that of the token.
    pub fn tenant(mut self, slug: impl Into<String>) -> Self {
        self.remote.tenant = Some(slug.into());
        self
    }

    /// Sets the slug of the namespace on the server. Required with [`server`](Self::server).
    pub fn namespace(mut self, slug: impl Into<String>) -> Self {
        self.remote.namespace = Some(slug.into());
        self
    }

    /// Sets the token for the server. Required with [`server`](Self::server).
    pub fn api_token(mut self, token: impl Into<String>) -> Self {
        self.remote.api_token = Some(Secret::new(token));
        self
    }

    /// Sets the environment to evaluate in. Required.
    pub fn environment(mut self, environment: impl Into<String>) -> Self {
        self.environment = Some(environment.into());
        self
    }

    /// Sets how often the source is looked at. Default: 30 s. Without effect on sources that are not refreshed.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Makes every evaluation give its default without looking at the manifest. Loading and refreshing go on.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets the credentials for the URI. Sources without credentials ignore them; see [`UriAuth`].
    pub fn uri_auth(mut self, auth: UriAuth) -> Self {
        self.load = self.load.with_auth(auth);
        self
    }

    /// Keeps the archive of the URI in a file; see [`LoadOptions::with_cache_path`].
    pub fn manifest_cache_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.load = self.load.with_cache_path(path);
        self
    }

    /// Chooses the transport of `https` and `http` URIs. Default: [`HttpBackend::from_env_or_default`].
    pub fn http_backend(mut self, backend: HttpBackend) -> Self {
        self.load = self.load.with_http_backend(backend);
        self
    }

    /// Keeps generations of what the source brings, for when it fails; see [`Keep`].
    pub fn keep(mut self, keep: Keep) -> Self {
        self.load = self.load.with_keep(keep);
        self
    }

    /// Serves this archive when nothing else can be had; see [`LoadOptions::with_baseline`].
    pub fn baseline(mut self, archive: impl Into<Bytes>) -> Self {
        self.load = self.load.with_baseline(archive);
        self
    }

    /// Sets what to do about a state that the source has not confirmed for longer than `oldest`.
    pub fn stale_policy(mut self, policy: StalePolicy, oldest: Duration) -> Self {
        self.load = self.load.with_stale_policy(policy, oldest);
        self
    }

    /// Serves only what these keys have signed, wherever it comes from.
    #[cfg(feature = "signed")]
    pub fn trust(mut self, trust: crate::manifest::signature::Trust) -> Self {
        self.load = self.load.with_trust(trust);
        self
    }

    /// Sets everything about loading at once; what was set before is replaced.
    pub fn load_options(mut self, options: LoadOptions) -> Self {
        self.load = options;
        self
    }

    /// Goes by another clock than the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.load = self.load.with_clock(clock);
        self
    }

    /// Loads the namespace and starts the refresh task, if the source is refreshed. Runs on a Tokio runtime.
    ///
    /// # Errors
    /// `ConflictingNamespaceSources` when more than one source was given, `MissingField` for a missing environment
    /// or source, `Load` when the first load fails, `TaskJoin` when it panicked.
    pub async fn build(self) -> Result<ExdClient, ExdError> {
        let place = self.place?.ok_or(ExdError::MissingField("namespace source"))?;
        let environment =
            self.environment.filter(|e| !e.is_empty()).ok_or(ExdError::MissingField("environment"))?;
        let options = self.load;
        let (namespace, refreshed) = match place {
            Place::Inline(namespace) => (namespace, false),
            Place::Directory(path) => (load(move || Namespace::from_dir(path)).await?, false),
            Place::Uri(uri) => (load(move || Namespace::from_uri_with_options(uri, &options)).await?, true),
            Place::Server => {
                let remote = self.remote.complete(ExdError::MissingField)?;
                (load(move || remote.load(options)).await?, true)
            }
            Place::Source(source) => (load(move || Namespace::from_source(source, &options)).await?, true),
        };
        let client = ExdClient::assemble(namespace.feed, &environment, self.dry_run);
        if refreshed {
            client.start_refresh(Schedule::every(self.poll_interval).jittered());
        }
        Ok(client)
    }

    /// Setters do not fail, so a second source is remembered as the error that `build` reports.
    fn place(mut self, place: Place) -> Self {
        self.place = match self.place {
            Ok(None) => Ok(Some(place)),
            Ok(Some(_)) | Err(_) => Err(ExdError::ConflictingNamespaceSources),
        };
        self
    }
}

impl ExdClient {
    fn start_refresh(&self, schedule: Schedule) {
        // The task holds the feed and the signal, not the client, so that dropping the last client ends it.
        let feed = self.shared.feed.clone();
        let stop = self.shared.stop.clone();
        let task =
            task::spawn(async move { feed.run(schedule, &stop, poll_where_blocking_is_allowed).await });
        *self.shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }
}

/// Loading reads files and compiling takes milliseconds, so both leave the runtime's own threads alone.
async fn load(
    work: impl FnOnce() -> Result<Namespace, LoadError> + Send + 'static,
) -> Result<Namespace, ExdError> {
    match task::spawn_blocking(work).await {
        Ok(loaded) => loaded.map_err(ExdError::Load),
        Err(error) => Err(ExdError::TaskJoin(error.to_string())),
    }
}

async fn poll_where_blocking_is_allowed(feed: Feed<FlagProduct>) -> Result<crate::live::Outcome, LoadError> {
    match task::spawn_blocking(move || block_on(feed.poll())).await {
        Ok(outcome) => outcome,
        Err(error) => Err(LoadError::Builder(format!("the refresh stopped half-way: {}", chain(&error)))),
    }
}
