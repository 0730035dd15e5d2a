//! Several namespaces of one server over one event stream.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    client::{ExdClient, SAFETY_NET_INTERVAL, load},
    error::ExdError,
    events::FlagFilter,
    load::{LoadError, LoadOptions},
    remote::{Opened, Remote, Streamed, filter_of, open_streams},
};
use crate::{HttpBackend, Secret, live::Schedule, traits::Clock};

/// Clients of several namespaces that share one event stream.
///
/// What the stream tells is handed to the client that it concerns. Each applies it by itself: a change that is slow to
/// check, or makes no sense, keeps none of the others waiting and changes nothing of what they serve. The server's
/// bounds on connections and requests of a token are met once for all.
///
/// # Examples
/// ```no_run
/// use leverframe::{EvalContext, ExdClientGroup};
/// # async fn run() -> Result<(), leverframe::ExdError> {
/// let group = ExdClientGroup::builder()
///     .server("https://flags.example.com")
///     .api_token("exd_read_…") // reads every member
///     .member("billing", "production")
///     .member_with_flags("growth", "production", ["onboarding"])
///     .working_tree_root("/var/cache/exd")
///     .build()
///     .await?;
/// if let Some(billing) = group.client("billing") {
///     billing.bool_flag("checkout-redesign", &EvalContext::new(), false).await;
/// }
/// group.close().await?;
/// # Ok(()) }
/// ```
pub struct ExdClientGroup {
    members: BTreeMap<String, ExdClient>,
}

impl ExdClientGroup {
    /// Starts a group.
    pub fn builder() -> ExdClientGroupBuilder {
        ExdClientGroupBuilder::default()
    }

    /// Returns the client of a member.
    #[must_use]
    pub fn client(&self, slug: &str) -> Option<&ExdClient> {
        self.members.get(slug)
    }

    /// Returns every member's slug and client, in order of the slugs.
    pub fn clients(&self) -> impl Iterator<Item = (&str, &ExdClient)> {
        self.members.iter().map(|(slug, client)| (slug.as_str(), client))
    }

    /// Ends the stream and every member's refresh, and waits for that; evaluation goes on with what was applied last.
    ///
    /// # Errors
    /// `TaskJoin` when a refresh task panicked; the others are ended all the same.
    pub async fn close(&self) -> Result<(), ExdError> {
        let mut outcome = Ok(());
        for client in self.members.values() {
            outcome = outcome.and(client.close().await);
        }
        outcome
    }
}

impl fmt::Debug for ExdClientGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.members).finish()
    }
}

/// Collects what a group needs: a server, a token, and at least one member.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ExdClientGroupBuilder {
    remote: Remote,
    members: Vec<Member>,
    working_tree_root: Option<PathBuf>,
    safety_net_interval: Duration,
    dry_run: bool,
    load: LoadOptions,
}

#[derive(Clone, Debug)]
struct Member {
    slug: String,
    environment: String,
    filter: FlagFilter,
}

impl Default for ExdClientGroupBuilder {
    fn default() -> Self {
        Self {
            remote: Remote::default(),
            members: Vec::new(),
            working_tree_root: None,
            safety_net_interval: SAFETY_NET_INTERVAL,
            dry_run: false,
            load: LoadOptions::new(),
        }
    }
}

impl ExdClientGroupBuilder {
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

    /// Sets the token, which must be allowed to read every member. Required.
    pub fn api_token(mut self, token: impl Into<String>) -> Self {
        self.remote.api_token = Some(Secret::new(token));
        self
    }

    /// Adds a namespace with all of its flags, evaluated in this environment.
    pub fn member(self, slug: impl Into<String>, environment: impl Into<String>) -> Self {
        self.add(slug.into(), environment.into(), FlagFilter::All)
    }

    /// Adds a namespace with these of its flags, and what their rules need.
    pub fn member_with_flags<F: Into<String>>(
        self,
        slug: impl Into<String>,
        environment: impl Into<String>,
        flags: impl IntoIterator<Item = F>,
    ) -> Self {
        self.add(slug.into(), environment.into(), filter_of(flags))
    }

    /// Mirrors each member in a folder of its slug below this one; see
    /// [`working_tree`](super::ExdClientBuilder::working_tree).
    pub fn working_tree_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.working_tree_root = Some(path.into());
        self
    }

    /// Sets how often each member asks the server beside the event stream. Default: 30 minutes.
    pub fn safety_net_interval(mut self, interval: Duration) -> Self {
        self.safety_net_interval = interval;
        self
    }

    /// Makes every evaluation of every member give its default.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Chooses the transport. Default: [`HttpBackend::from_env_or_default`].
    pub fn http_backend(mut self, backend: HttpBackend) -> Self {
        self.load = self.load.with_http_backend(backend);
        self
    }

    /// Sets everything about loading at once; what was set before is replaced. What names one file or one baseline is
    /// of no use to more than one member.
    pub fn load_options(mut self, options: LoadOptions) -> Self {
        self.load = options;
        self
    }

    /// Goes by another clock than the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.load = self.load.with_clock(clock);
        self
    }

    /// Opens the stream, loads every member, and starts their refresh. Runs on a Tokio runtime.
    ///
    /// # Errors
    /// `MissingField` for a missing server, token, environment or the lack of members, `ConflictingNamespaceSources`
    /// for a slug that is there twice, `Load` when a member can be loaded from neither the server nor its working
    /// tree, `TaskJoin` when loading panicked.
    pub async fn build(self) -> Result<ExdClientGroup, ExdError> {
        let mut streamed = BTreeMap::new();
        let mut auth = None;
        for Member { slug, environment, filter } in self.members {
            if environment.is_empty() {
                return Err(ExdError::MissingField("environment"));
            }
            let remote = Remote { namespace: Some(slug.clone()), ..self.remote.clone() };
            let (place, token) = remote.complete(|field| match field {
                "namespace" => ExdError::MissingField("member"),
                field => ExdError::MissingField(field),
            })?;
            auth = Some(token);
            let working_tree = self.working_tree_root.as_deref().map(|root: &Path| root.join(&slug));
            let member = Streamed { place, environment, filter, working_tree };
            if streamed.insert(slug, member).is_some() {
                return Err(ExdError::ConflictingNamespaceSources);
            }
        }
        if streamed.is_empty() {
            // A server and a token are missed first, as with members.
            let remote = Remote { namespace: Some("member".to_owned()), ..self.remote };
            remote.complete(ExdError::MissingField)?;
            return Err(ExdError::MissingField("member"));
        }
        let environments: Vec<(String, String)> =
            streamed.iter().map(|(slug, member)| (slug.clone(), member.environment.clone())).collect();
        let options = self.load.clone();
        let opened = load(move || {
            let wiring = options.wiring().map_err(LoadError::Fetch)?;
            open_streams(&wiring, auth.as_ref(), &options, streamed.into_values().collect())
        })
        .await?;
        // All at once: each waits for its own first event, which come over one connection.
        let loading: Vec<_> =
            opened.into_iter().map(|opened| tokio::spawn(load_one(opened, self.load.clone()))).collect();
        let mut members = BTreeMap::new();
        for (loading, (slug, environment)) in loading.into_iter().zip(environments) {
            let namespace = loading.await.map_err(|e| ExdError::TaskJoin(e.to_string()))??;
            members.insert(slug, ExdClient::assemble(namespace, &environment, self.dry_run));
        }
        for client in members.values() {
            client.start_refresh(Schedule::every(self.safety_net_interval).jittered());
        }
        Ok(ExdClientGroup { members })
    }

    fn add(mut self, slug: String, environment: String, filter: FlagFilter) -> Self {
        self.members.push(Member { slug, environment, filter });
        self
    }
}

async fn load_one(opened: Opened, options: LoadOptions) -> Result<super::Namespace, ExdError> {
    load(move || opened.load(&options)).await
}
