//! Namespaces on a server: which one, with what token, and how it is opened.

use std::sync::Arc;

use super::{
    load::{LoadError, LoadOptions},
    namespace::Namespace,
};
use crate::{
    HttpBackend, Secret, UriAuth,
    sources::server::{ServerPlace, ServerSource},
    traits::Source,
};

/// The fields that name a namespace on a server, as the builders collect them.
#[derive(Clone, Debug, Default)]
pub(super) struct Remote {
    pub(super) server: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) api_token: Option<Secret>,
}

/// A [`Remote`] that lacks nothing.
#[derive(Clone, Debug)]
pub(super) struct Remoted {
    pub(super) place: ServerPlace,
    pub(super) token: UriAuth,
}

impl Remote {
    /// Checks that nothing is missing; `missing` makes the error of a field's name.
    pub(super) fn complete<E: From<LoadError>>(
        self,
        missing: impl Fn(&'static str) -> E,
    ) -> Result<Remoted, E> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let server = given(self.server).ok_or_else(|| missing("server"))?;
        let namespace = given(self.namespace).ok_or_else(|| missing("namespace"))?;
        let token = self.api_token.filter(|t| !t.expose().is_empty()).ok_or_else(|| missing("api_token"))?;
        let mut place = ServerPlace::new(&server, &namespace).map_err(LoadError::Fetch)?;
        if let Some(tenant) = given(self.tenant) {
            place = place.with_tenant(&tenant).map_err(LoadError::Fetch)?;
        }
        Ok(Remoted { place, token: UriAuth::Bearer(token.expose().to_owned()) })
    }
}

impl Remoted {
    /// Opens the source that polls.
    pub(super) fn source(&self, options: &LoadOptions) -> Result<Arc<dyn Source>, LoadError> {
        let open = || {
            let wiring = options.wiring()?;
            let config = wiring.config.read("source.server")?;
            ServerSource::open(&config, self.place.clone(), Some(&self.token), wiring.transport()?)
        };
        open().map(|source| Arc::new(source) as Arc<dyn Source>).map_err(LoadError::Fetch)
    }

    /// Loads the namespace by polling.
    pub(super) fn load(&self, options: LoadOptions) -> Result<Namespace, LoadError> {
        let source = self.source(&options)?;
        let mut options = options.with_slug(self.place.namespace());
        options.keep_archive_named(self.place.namespace());
        Namespace::from_source(source, &options)
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
        self.remote.complete(missing)?.load(self.options)
    }
}

impl Namespace {
    /// Starts a namespace on a server.
    pub fn builder() -> NamespaceBuilder {
        NamespaceBuilder::default()
    }
}
