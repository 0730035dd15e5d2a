//! Namespaces on a server: which one, with what token, polled or told of.

use std::{path::PathBuf, sync::Arc};

use super::{
    events::FlagFilter,
    load::{LoadError, LoadOptions},
    namespace::Namespace,
};
use crate::{
    HttpBackend, Secret, UriAuth,
    live::{Feed, block_on},
    manifest::names,
    sources::server::{
        ServerPlace, ServerSource,
        stream::{Mirror, StreamSource, Subscription, WorkingTree, flags_text},
    },
    traits::Source,
    wiring::Wiring,
};

/// The fields that name a namespace on a server, as the builders collect them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remote {
    pub(crate) server: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) api_token: Option<Secret>,
}

impl Remote {
    /// Checks that nothing is missing; `missing` makes the error of a field's name.
    pub(crate) fn complete<E: From<LoadError>>(
        self,
        missing: impl Fn(&'static str) -> E,
    ) -> Result<(ServerPlace, UriAuth), E> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let server = given(self.server).ok_or_else(|| missing("server"))?;
        let namespace = given(self.namespace).ok_or_else(|| missing("namespace"))?;
        let token = self.api_token.filter(|t| !t.expose().is_empty()).ok_or_else(|| missing("api_token"))?;
        let mut place = ServerPlace::new(&server, &namespace).map_err(LoadError::Fetch)?;
        if let Some(tenant) = given(self.tenant) {
            place = place.with_tenant(&tenant).map_err(LoadError::Fetch)?;
        }
        Ok((place, UriAuth::Bearer(token.expose().to_owned())))
    }
}

/// Loads a namespace that is polled.
pub(crate) fn load_polled(
    wiring: &Wiring,
    place: ServerPlace,
    token: Option<&UriAuth>,
    options: &LoadOptions,
) -> Result<Namespace, LoadError> {
    let mut options = options.clone().with_slug(place.namespace());
    options.keep_archive_named(place.namespace());
    let open = || {
        let config = wiring.config.read("source.server")?;
        ServerSource::open(&config, place, token, wiring.transport()?)
    };
    let source = open().map_err(LoadError::Fetch)?;
    Namespace::from_source(Arc::new(source), &options)
}

/// A namespace that is told of by an event stream.
#[derive(Clone, Debug)]
pub(crate) struct Streamed {
    pub(crate) place: ServerPlace,
    pub(crate) environment: String,
    pub(crate) filter: FlagFilter,
    /// Where the closure is mirrored; `None` for a folder that goes with the client.
    pub(crate) working_tree: Option<PathBuf>,
}

/// A source that is told of changes, with what its working tree held.
pub(crate) struct Opened {
    pub(crate) source: Arc<StreamSource>,
    slug: String,
    mirror: Option<Mirror>,
}

/// Opens the sources of namespaces that share one connection; nothing is connected yet.
pub(crate) fn open_streams(
    wiring: &Wiring,
    token: Option<&UriAuth>,
    options: &LoadOptions,
    members: Vec<Streamed>,
) -> Result<Vec<Opened>, LoadError> {
    if options.asks_for_signature() {
        return Err(LoadError::Builder(
            "a signature vouches for a whole namespace: trusted keys and `event_stream` exclude each other"
                .to_owned(),
        ));
    }
    let mut mirrors = Vec::new();
    let mut subscriptions = Vec::new();
    for member in members {
        check_flags(&member.filter)?;
        let (tree, mirror) = member.open_tree();
        mirrors.push((member.place.namespace().to_owned(), mirror));
        subscriptions.push(Subscription { place: member.place, filter: member.filter, tree });
    }
    let open = || {
        let config = wiring.config.read("source.server")?;
        StreamSource::open(&config, token, &wiring.transport()?, &wiring.clock, subscriptions)
    };
    let sources = open().map_err(LoadError::Fetch)?;
    let opened = sources.into_iter().zip(mirrors);
    Ok(opened.map(|(source, (slug, mirror))| Opened { source, slug, mirror }).collect())
}

/// Reads a list of keys as builders and configurations have it: none, or `*` among them, is all.
pub(crate) fn filter_of(flags: impl IntoIterator<Item = impl Into<String>>) -> FlagFilter {
    match FlagFilter::only(flags) {
        FlagFilter::Only(flags) if flags.is_empty() => FlagFilter::All,
        filter => filter,
    }
}

fn check_flags(filter: &FlagFilter) -> Result<(), LoadError> {
    let FlagFilter::Only(flags) = filter else { return Ok(()) };
    match flags.iter().find(|flag| !names::is_key(flag)) {
        Some(bad) => {
            let shown: String = bad.chars().take(80).collect();
            Err(LoadError::Builder(format!("`{}` is not the key of a flag", shown.escape_debug())))
        }
        None => Ok(()),
    }
}

impl Streamed {
    /// Opens the working tree. Without one the client only starts slower and never without the server, so what keeps
    /// it from being opened is no reason not to start.
    fn open_tree(&self) -> (Option<WorkingTree>, Option<Mirror>) {
        let flags = flags_text(&self.filter);
        let place = self.place.to_string();
        let parts = [place.as_str(), &self.environment, &flags];
        let opened = match &self.working_tree {
            Some(root) => WorkingTree::open(root, &parts),
            None => WorkingTree::temporary(self.place.namespace(), &parts).map(|tree| (tree, None)),
        };
        match opened {
            Ok((tree, mirror)) => (Some(tree), mirror),
            Err(error) => {
                tracing::warn!(
                    namespace = self.place.namespace(),
                    error = %error.chain(),
                    "there is no working tree, so nothing is left to start from when the server is away"
                );
                (None, None)
            }
        }
    }
}

impl Opened {
    /// Loads the namespace: what the stream tells of first, or what the working tree held where the server is away.
    pub(crate) fn load(self, options: &LoadOptions) -> Result<Namespace, LoadError> {
        let mut options = options.clone().with_slug(&self.slug).with_changes_applied();
        options.keep_archive_named(&self.slug);
        let mut ladder = options.ladder();
        if let Some(Mirror { document, confirmed_at }) = self.mirror {
            ladder = ladder.with_mirror(document, confirmed_at);
        }
        let source: Arc<dyn Source> = Arc::clone(&self.source) as _;
        let feed = block_on(Feed::open_with(options.product(), source, options.clock(), ladder))?;
        let namespace = Namespace { feed, stream: Some(self.source) };
        namespace.settle();
        Ok(namespace)
    }
}

/// Collects what a [`Namespace`] on a server needs.
///
/// The environment is not consulted for the token; a token from there is handed over by the caller.
///
/// # Examples
/// ```
/// use leverframe::{LoadError, Namespace};
/// let error = Namespace::builder().server("https://flags.example.com").namespace("payments").build().unwrap_err();
/// assert!(matches!(error, LoadError::Builder(_)));
/// assert_eq!(error.to_string(), "the builder needs `api_token`");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct NamespaceBuilder {
    remote: Remote,
    options: LoadOptions,
}

impl NamespaceBuilder {
    /// Sets the base URL of the server, without `/api/v1`. Required.
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.remote.server = Some(url.into());
        self
    }

    /// Sets the slug of the tenant. Left out, it is that of the token.
    pub fn tenant(mut self, slug: impl Into<String>) -> Self {
        self.remote.tenant = Some(slug.into());
        self
    }

    /// Sets the slug of the namespace. Required.
    pub fn namespace(mut self, slug: impl Into<String>) -> Self {
        self.remote.namespace = Some(slug.into());
        self
    }

    /// Sets the token. Required.
    pub fn api_token(mut self, token: impl Into<String>) -> Self {
        self.remote.api_token = Some(Secret::new(token));
        self
    }

    /// Chooses the transport. Default: [`HttpBackend::from_env_or_default`].
    pub fn http_backend(mut self, backend: HttpBackend) -> Self {
        self.options = self.options.with_http_backend(backend);
        self
    }

    /// Sets everything else about loading at once.
    pub fn load_options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Fetches the namespace and checks it. Every refresh asks the same server with the same token.
    ///
    /// # Errors
    /// `Builder` for a missing field, `Fetch` where the server cannot be reached or refuses, `Lint` when what it
    /// serves has lint errors.
    pub fn build(self) -> Result<Namespace, LoadError> {
        let missing = |field| LoadError::Builder(format!("the builder needs `{field}`"));
        let (place, token) = self.remote.complete(missing)?;
        let wiring = self.options.wiring().map_err(LoadError::Fetch)?;
        load_polled(&wiring, place, Some(&token), &self.options)
    }
}

impl Namespace {
    /// Starts a namespace on a server.
    pub fn builder() -> NamespaceBuilder {
        NamespaceBuilder::default()
    }
}
