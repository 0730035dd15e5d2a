//! How a client is put together.

use std::{
    fmt,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    NexusClient, NexusError, WifConfig,
    client::Parts,
    credentials::{ApiKey, Credentials},
    files::Files,
    identity,
    layers::Layers,
    model::KeyType,
    product::SettingsProduct,
    sealed::Seal,
    service::{Service, check_endpoint},
    standing::Standing,
    wif::{CredentialSource, Wishes},
};
use crate::{
    HttpBackend, Secret,
    backends::clock_system::SystemClock,
    config::{ambient_environment, environment_with_prefix},
    encoding::hex,
    live::{Keep, Ladder, StalePolicy},
    traits::{CacheStore, Clock, Transport},
    wiring::Wiring,
};

/// The variable that names the service where the configuration does not.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::settings::SERVICE_ENDPOINT_ENV, "WESTYX_SERVICE_ENDPOINT");
/// ```
pub const SERVICE_ENDPOINT_ENV: &str = "WESTYX_SERVICE_ENDPOINT";

/// How often the service is asked where nobody says.
const TTL: Duration = Duration::from_secs(60);
/// Asking more often than this is no refresh but a load; the event stream is quicker and costs nothing.
const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// A request takes at most this long.
const DEADLINE: Duration = Duration::from_secs(10);

/// The settings of a client.
///
/// # Examples
/// ```
/// use leverframe::NexusConfig;
/// let config = NexusConfig {
///     api_key: "sk_live_canary".to_string(),
///     endpoint: "https://swift-ocean-a5rx7.example.com".to_string(),
///     ttl: None,
///     wif: None,
/// };
/// assert!(!format!("{config:?}").contains("canary"));
/// ```
#[derive(Default)]
#[expect(clippy::exhaustive_structs, reason = "written as a literal by callers")]
pub struct NexusConfig {
    /// Says who asks: a secret key (`wxs_…`, `sk_live_…`) or a public one (`wxp_…`, `pk_live_…`). Empty where `wif` is
    /// enabled.
    pub api_key: String,
    /// The base URL of the service: `https`, or `http` on this machine. Empty: what the variable
    /// [`SERVICE_ENDPOINT_ENV`] says.
    pub endpoint: String,
    /// How often to ask the service; a second or more, 60 s for `None`.
    pub ttl: Option<Duration>,
    /// A workload's identity in place of a key.
    pub wif: Option<WifConfig>,
}

impl fmt::Debug for NexusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NexusConfig")
            .field("api_key", &if self.api_key.is_empty() { "unset" } else { "set" })
            .field("endpoint", &crate::secret::without_credentials(&self.endpoint))
            .field("ttl", &self.ttl)
            .field("wif", &self.wif)
            .finish()
    }
}

/// Puts a client together.
///
/// # Examples
/// ```
/// use leverframe::{NexusClient, NexusError};
/// let refused = NexusClient::builder().api_key("wxs_1").endpoint("http://settings.example.com").build();
/// assert!(matches!(refused, Err(NexusError::Config(reason)) if reason.contains("not encrypted")));
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct NexusClientBuilder {
    /// Wiped, also where nothing is built.
    api_key: Secret,
    endpoint: String,
    ttl: Option<Duration>,
    wif: Option<WifConfig>,
    transport: Option<Arc<dyn Transport>>,
    http_backend: Option<HttpBackend>,
    clock: Option<Arc<dyn Clock>>,
    cache: Option<(Arc<dyn CacheStore>, Secret)>,
    max_stale: Option<Duration>,
    files_dir: Option<PathBuf>,
    layers: Vec<Layer>,
    stream: bool,
    deadline: Duration,
    wishes: Wishes,
    source: Option<Arc<dyn CredentialSource>>,
}

enum Layer {
    File(PathBuf),
    Environment(String),
}

impl NexusClientBuilder {
    pub(super) fn new(config: NexusConfig) -> Self {
        let NexusConfig { api_key, endpoint, ttl, wif } = config;
        Self {
            api_key: Secret::new(api_key),
            endpoint,
            ttl,
            wif,
            transport: None,
            http_backend: None,
            clock: None,
            cache: None,
            max_stale: None,
            files_dir: None,
            layers: Vec::new(),
            stream: false,
            deadline: DEADLINE,
            wishes: Wishes::default(),
            source: None,
        }
    }

    /// Sets everything that [`NexusConfig`] has.
    pub fn config(self, config: NexusConfig) -> Self {
        let NexusConfig { api_key, endpoint, ttl, wif } = config;
        Self { api_key: Secret::new(api_key), endpoint, ttl, wif, ..self }
    }

    /// Sets who asks.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Secret::new(key);
        self
    }

    /// Sets the base URL of the service.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = url.into();
        self
    }

    /// Sets how often to ask the service. Default: 60 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets a workload's identity in place of a key.
    pub fn wif(mut self, wif: WifConfig) -> Self {
        self.wif = Some(wif);
        self
    }

    /// Sets what tokens of a workload's identity are made out for. Default: `westyx-nexus`; Azure needs one of its own.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.wishes.audience = Some(audience.into());
        self
    }

    /// Sets the region whose STS endpoint the provider `aws_iam` signs for. Default: what the platform says.
    pub fn aws_region(mut self, region: impl Into<String>) -> Self {
        self.wishes.aws_region = Some(region.into());
        self
    }

    /// Sets the file of a projected Kubernetes token, which goes before the one that every pod has: it can be made out
    /// for the service alone.
    pub fn kubernetes_token(mut self, file: impl Into<PathBuf>) -> Self {
        self.wishes.kubernetes_token = Some(file.into());
        self
    }

    /// Proves a workload's identity by a source of one's own.
    pub fn credential_source(mut self, source: Arc<dyn CredentialSource>) -> Self {
        self.source = Some(source);
        self.wif.get_or_insert_default().enabled = true;
        self
    }

    /// Opens the event stream from the start, as [`NexusClient::run_stream`] does.
    pub fn stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// Keeps what the service last sent in a cache, sealed with a key of 32 characters or more, so that a client starts
    /// while the service cannot be had. Clients of other services, or with another kind of key, keep theirs apart in the same
    /// cache. Whoever has the key reads what is kept. Cargo feature `signed`.
    pub fn cache(mut self, cache: Arc<dyn CacheStore>, cache_key: Secret) -> Self {
        self.cache = Some((cache, cache_key));
        self
    }

    /// Sets when what is served counts as [`expired`](crate::live::Status::expired); it goes on to be served. Default:
    /// never.
    pub fn max_stale(mut self, age: Duration) -> Self {
        self.max_stale = Some(age);
        self
    }

    /// Sets the folder in which the client makes the one for its files of secrets. Default: the user's runtime folder,
    /// or else the temporary one.
    pub fn files_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.files_dir = Some(dir.into());
        self
    }

    /// Lays the configs of a file over what is there so far: TOML if its name ends so, a JSON object otherwise. It is
    /// read again when it changes.
    pub fn layer_file(mut self, path: impl AsRef<Path>) -> Self {
        self.layers.push(Layer::File(path.as_ref().to_owned()));
        self
    }

    /// Lays the variables of this process whose names begin with `prefix` over what is there so far.
    ///
    /// `APP_DB__MAX_SIZE` gives the config `db.max_size`, or that of the same name in another spelling, such as
    /// `DB.MAX-SIZE`. Values are JSON where they are JSON and texts otherwise; what was a text stays one.
    pub fn layer_environment(mut self, prefix: impl Into<String>) -> Self {
        self.layers.push(Layer::Environment(prefix.into()));
        self
    }

    /// Sends by this transport, as it is.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Chooses among the built-in transports.
    pub fn http_backend(mut self, backend: HttpBackend) -> Self {
        self.http_backend = Some(backend);
        self
    }

    /// Goes by another clock than the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets how long a request may take. Default: 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Asks the service for everything and starts to keep it current.
    ///
    /// # Errors
    /// `Config` for settings that cannot work; what the service refuses with, or what kept it from answering, where
    /// nothing was kept.
    pub fn build(self) -> Result<NexusClient, NexusError> {
        let stream = self.stream;
        let client = NexusClient::start(self.parts()?)?;
        if stream {
            client.run_stream();
        }
        Ok(client)
    }

    pub(super) fn parts(self) -> Result<Parts, NexusError> {
        let (api_key, wif) = (self.api_key, self.wif);
        let endpoint = endpoint_of(self.endpoint)?;
        let ttl = self.ttl.unwrap_or(TTL);
        if ttl < SHORTEST_TTL {
            return Err(NexusError::Config("`ttl` is under a second: use the event stream".to_owned()));
        }
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let backend = self.http_backend.unwrap_or_else(HttpBackend::from_env_or_default);
                Wiring::of_process(Arc::clone(&clock))?.make::<dyn Transport>(backend.name())?
            }
        };
        let key = if api_key.expose().is_empty() { None } else { Some(ApiKey::new(&api_key)?) };
        let key = key.map(|key| Arc::new(key) as Arc<dyn Credentials>);
        let standing = Arc::new(Standing::new(Arc::clone(&clock)));
        let credentials = match (wif.filter(|wif| wif.enabled), key) {
            // There is no going on with the key where a session cannot be had.
            (Some(wif), _) => {
                let wishes = Wishes { endpoint: endpoint.clone(), ..self.wishes };
                identity::credentials(wif, wishes, self.source, &transport, &standing, &clock)?
            }
            (None, Some(key)) => key,
            (None, None) => {
                return Err(NexusError::Config("`api_key` is empty and `wif` is not enabled".to_owned()));
            }
        };
        let mut layers = Layers::default();
        for layer in self.layers {
            match layer {
                Layer::File(path) => layers.add_file(&path)?,
                Layer::Environment(prefix) => {
                    layers.add_environment(&prefix, environment_with_prefix(&prefix))
                }
            }
        }
        let policy = if self.max_stale.is_some() { StalePolicy::Warn } else { StalePolicy::Serve };
        let mut ladder = Ladder::new().with_stale_policy(policy, self.max_stale.unwrap_or(Duration::MAX));
        let mut seal = None;
        if let Some((cache, cache_key)) = self.cache {
            // What one kind of key is sent is not for another: a public key is sent no secrets.
            let kind = credentials.key_type().map_or("wif", KeyType::word);
            let owner = format!("{kind} {endpoint}");
            seal = Some(Seal::new(&cache_key, &owner)?);
            let place = &hex(&Sha256::digest(&owner))[..16];
            ladder = ladder.with_keep(Keep::in_store(cache, &format!("settings.{place}"))?);
        }
        let service = Service::new(&endpoint, transport, Arc::clone(&credentials), standing, self.deadline);
        Ok(Parts {
            service: Arc::new(service),
            product: SettingsProduct { seal },
            ladder,
            layers,
            files: Files::new(self.files_dir, Arc::clone(&clock)),
            key_type: credentials.key_type(),
            ttl,
            clock,
            process: process::id,
        })
    }
}

fn endpoint_of(endpoint: String) -> Result<String, NexusError> {
    if !endpoint.is_empty() {
        check_endpoint(&endpoint)?;
        return Ok(endpoint);
    }
    let named = ambient_environment(&[SERVICE_ENDPOINT_ENV]).into_iter().next();
    let named = named.map(|(_, value)| value.expose().trim().to_owned()).filter(|value| !value.is_empty());
    let Some(named) = named else {
        return Err(NexusError::Config(format!(
            "`endpoint` is empty, and so is the variable {SERVICE_ENDPOINT_ENV}"
        )));
    };
    check_endpoint(&named).map_err(|error| match error {
        NexusError::Config(reason) => {
            NexusError::Config(reason.replace("`endpoint`", &format!("the variable {SERVICE_ENDPOINT_ENV}")))
        }
        error => error,
    })?;
    Ok(named)
}

impl fmt::Debug for NexusClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NexusClientBuilder")
            .field("api_key", &if self.api_key.expose().is_empty() { "unset" } else { "set" })
            .field("endpoint", &crate::secret::without_credentials(&self.endpoint))
            .field("ttl", &self.ttl)
            .field("wif", &self.wif)
            .field("cache", &self.cache)
            .field("max_stale", &self.max_stale)
            .field("files_dir", &self.files_dir)
            .field("stream", &self.stream)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
