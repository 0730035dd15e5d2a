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
    flags::{
        ExdError, FlagFilter, LoadError, LoadOptions, Namespace,
        remote::{Remote, Streamed, filter_of, load_polled, open_streams},
    },
    live::{Keep, Outcome, Schedule, StalePolicy},
    traits::{Clock, Source},
};

/// How often a source is looked at where the builder does not say.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// How often a server is asked beside its event stream where the builder does not say.
pub(in crate::flags) const SAFETY_NET_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Collects what a client needs; exactly one namespace source and an environment are required.
///
/// | source | refresh |
/// |---|---|
/// | [`namespace_dir`](Self::namespace_dir), [`namespace_inline`](Self::namespace_inline) | none |
/// | [`server`](Self::server) with [`event_stream`](Self::event_stream) | when the server tells of a change, and every `safety_net_interval` |
/// | [`namespace_uri`](Self::namespace_uri), [`namespace_source`](Self::namespace_source), [`server`](Self::server) | every `poll_interval`, and at once when the source tells of a change |
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ExdClientBuilder {
    place: Result<Option<Place>, ExdError>,
    remote: Remote,
    event_stream: bool,
    filter: FlagFilter,
    working_tree: Option<PathBuf>,
    safety_net_interval: Duration,
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
            event_stream: false,
            filter: FlagFilter::All,
            working_tree: None,
            safety_net_interval: SAFETY_NET_INTERVAL,
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

    /// Is told of changes by the server's event stream instead of asking for them every `poll_interval`. Needs
    /// [`server`](Self::server). Default: false.
    ///
    /// Whatever goes wrong with the stream, evaluation goes on with what was applied last;
    /// [`status`](ExdClient::status) says how it stands.
    pub fn event_stream(mut self, event_stream: bool) -> Self {
        self.event_stream = event_stream;
        self
    }

    /// Subscribes to these flags only, and what their rules need. Default: all. Without effect where there is no
    /// event stream.
    pub fn event_stream_flags<F: Into<String>>(mut self, flags: impl IntoIterator<Item = F>) -> Self {
        self.filter = filter_of(flags);
        self
    }

    /// Mirrors what the event stream brings in this folder, so that the next start has it: with nothing to transfer
    /// if it is still current, and without the server if that is away. Default: a folder of this client's own, which
    /// goes with it. Without effect where there is no event stream.
    ///
    /// A folder serves one client at a time. It is made if it is missing, and what it holds of another server,
    /// namespace, environment or subscription is replaced.
    pub fn working_tree(mut self, path: impl Into<PathBuf>) -> Self {
        self.working_tree = Some(path.into());
        self
    }

    /// Sets how often the server is asked beside the event stream. Default: 30 minutes.
    pub fn safety_net_interval(mut self, interval: Duration) -> Self {
        self.safety_net_interval = interval;
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
        let place = self.place?;
        if self.event_stream && !matches!(place, Some(Place::Server)) {
            return Err(ExdError::MissingField("server (event_stream requires a server source)"));
        }
        let place = place.ok_or(ExdError::MissingField("namespace source"))?;
        let environment =
            self.environment.filter(|e| !e.is_empty()).ok_or(ExdError::MissingField("environment"))?;
        let options = self.load;
        let polled = Some(self.poll_interval);
        let (namespace, refreshed) = match place {
            Place::Inline(namespace) => (namespace, None),
            Place::Directory(path) => (load(move || Namespace::from_dir(path)).await?, None),
            Place::Uri(uri) => (load(move || Namespace::from_uri_with_options(uri, &options)).await?, polled),
            Place::Source(source) => (load(move || Namespace::from_source(source, &options)).await?, polled),
            Place::Server => {
                let (place, token) = self.remote.complete(ExdError::MissingField)?;
                if self.event_stream {
                    let member = Streamed {
                        place,
                        environment: environment.clone(),
                        filter: self.filter,
                        working_tree: self.working_tree,
                    };
                    let namespace = load(move || {
                        let wiring = options.wiring().map_err(LoadError::Fetch)?;
                        let opened = open_streams(&wiring, Some(&token), &options, vec![member])?;
                        let opened = opened.into_iter().next();
                        opened
                            .ok_or_else(|| LoadError::Builder("nothing was opened".to_owned()))?
                            .load(&options)
                    });
                    (namespace.await?, Some(self.safety_net_interval))
                } else {
                    let namespace = load(move || {
                        let wiring = options.wiring().map_err(LoadError::Fetch)?;
                        load_polled(&wiring, place, Some(&token), &options)
                    });
                    (namespace.await?, polled)
                }
            }
        };
        let client = ExdClient::assemble(namespace, &environment, self.dry_run);
        if let Some(interval) = refreshed {
            client.start_refresh(Schedule::every(interval).jittered());
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
    pub(in crate::flags) fn start_refresh(&self, schedule: Schedule) {
        // The task holds the feed and the signal, not the client, so that dropping the last client ends it.
        let namespace = self.namespace();
        let stop = self.shared.stop.clone();
        let task = task::spawn(async move {
            let poll = |_| poll_where_blocking_is_allowed(namespace.clone());
            namespace.feed.run(schedule, &stop, poll).await;
        });
        *self.shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }
}

/// Loading reads files and compiling takes milliseconds, so both leave the runtime's own threads alone.
pub(in crate::flags) async fn load<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, ExdError> {
    match task::spawn_blocking(work).await {
        Ok(loaded) => loaded.map_err(ExdError::Load),
        Err(error) => Err(ExdError::TaskJoin(error.to_string())),
    }
}

async fn poll_where_blocking_is_allowed(namespace: Namespace) -> Result<Outcome, LoadError> {
    match task::spawn_blocking(move || namespace.poll()).await {
        Ok(outcome) => outcome,
        Err(error) => Err(LoadError::Builder(format!("the refresh stopped half-way: {}", chain(&error)))),
    }
}
