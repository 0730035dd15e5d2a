//! One handle for everything that a configuration names.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use crate::{
    Error, ErrorKind, Result,
    config::{
        CacheSettings, ClockSettings, Config, ConfigBuilder, Explained, FlagsSettings, process_environment,
    },
    error::chain,
    flags::{LoadError, LoadOptions, Namespace, RefreshHandle},
    manifest::lint::did_you_mean,
    registry::{BuildContext, Kind, Registry},
    traits::{CacheStore, Clock, Source},
};

/// Namespaces, cache and clock as a configuration names them.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, Leverframe, config::Config};
/// let uri = format!("file://{}/examples/namespaces/payments", env!("CARGO_MANIFEST_DIR"));
/// let config = Config::builder()
///     .set("flags.payments.uri", uri)
///     .set("flags.payments.environment", "production");
/// let frame = Leverframe::builder().config(config).build()?;
/// let payments = frame.namespace("payments")?;
/// assert_eq!(payments.slug(), "payments");
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct Leverframe {
    config: Config,
    cache: Arc<dyn CacheStore>,
    namespaces: BTreeMap<String, Entry>,
}

struct Entry {
    namespace: Namespace,
    #[cfg(feature = "async-tokio")]
    client: crate::flags::ExdClient,
    refresh: RefreshHandle,
}

impl Leverframe {
    /// Reads the file at exactly this path, the process's environment over it, and builds what they name.
    ///
    /// # Errors
    /// What reading, checking or loading reports; nothing runs then.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder()
            .config(Config::builder().file(path.as_ref()).environment(process_environment()))
            .build()
    }

    /// Builds what the process's environment names.
    ///
    /// # Errors
    /// What reading, checking or loading reports; nothing runs then.
    pub fn from_env() -> Result<Self> {
        Self::builder().config(Config::builder().environment(process_environment())).build()
    }

    /// Starts a frame.
    pub fn builder() -> LeverframeBuilder {
        LeverframeBuilder::default()
    }

    /// Returns the namespace of `[flags.<name>]`, kept current in the background.
    ///
    /// # Errors
    /// `NotFound` where the configuration has none of that name: the error lists those it has.
    pub fn namespace(&self, name: &str) -> Result<&Namespace> {
        self.entry(name).map(|entry| &entry.namespace)
    }

    /// Returns the client of `[flags.<name>]`, in the environment that its table names.
    ///
    /// # Errors
    /// `NotFound` where the configuration has none of that name: the error lists those it has.
    #[cfg(feature = "async-tokio")]
    pub fn flags(&self, name: &str) -> Result<&crate::flags::ExdClient> {
        self.entry(name).map(|entry| &entry.client)
    }

    /// Returns the cache that `[cache]` chooses.
    #[must_use]
    pub fn cache(&self) -> &Arc<dyn CacheStore> {
        &self.cache
    }

    /// Returns each effective key, its value with secrets as `***`, and the layer it came from.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        self.config.explain()
    }

    /// Stops every background refresh and waits for it.
    ///
    /// # Errors
    /// `Cancelled` where a refresh thread had panicked; the others are stopped all the same.
    pub fn close(self) -> Result<()> {
        let mut outcome = Ok(());
        for (name, entry) in self.namespaces {
            if entry.refresh.stop().is_err() {
                outcome = Err(Error::new(ErrorKind::Cancelled, "stop a background refresh")
                    .with("flags", name)
                    .hint("the panic's message went to standard error"));
            }
        }
        outcome
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.namespaces.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.namespaces.keys().map(String::as_str).collect();
            let hint =
                did_you_mean(name, names.iter().copied()).unwrap_or_else(|| format!("add `[flags.{name}]`"));
            Error::new(ErrorKind::NotFound, "find a namespace of flags")
                .with("asked", name.escape_debug())
                .with("configured", names.join(", "))
                .hint(hint)
        })
    }
}

impl fmt::Debug for Leverframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leverframe")
            .field("flags", &self.namespaces.keys())
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// Collects what a frame is made of.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct LeverframeBuilder {
    config: ConfigBuilder,
    registry: Option<Registry>,
    clock: Option<Arc<dyn Clock>>,
}

impl LeverframeBuilder {
    /// Sets the configuration's layers.
    pub fn config(mut self, config: ConfigBuilder) -> Self {
        self.config = config;
        self
    }

    /// Uses these backends instead of those that are linked in.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Goes by this clock instead of the one that `[clock]` chooses.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds everything, and starts the refresh of every namespace.
    ///
    /// # Errors
    /// What reading, checking or loading reports; nothing runs then.
    pub fn build(self) -> Result<Leverframe> {
        let registry = match self.registry {
            Some(registry) => registry,
            None => Registry::discover()?,
        };
        let config = self.config.build()?;
        config.check(&registry)?;
        let system: Arc<dyn Clock> = Arc::new(crate::backends::clock_system::SystemClock::new());
        let clock = match self.clock {
            Some(clock) => clock,
            None => make::<dyn Clock>(&registry, &config, ClockSettings::default().r#use, &system)?,
        };
        let cache = make::<dyn CacheStore>(&registry, &config, CacheSettings::default().r#use, &clock)?;
        let mut namespaces = BTreeMap::new();
        for name in config.tables("flags") {
            let entry = open(&registry, &config, &name, &clock)?;
            namespaces.insert(name, entry);
        }
        Ok(Leverframe { config, cache, namespaces })
    }
}

/// Builds the backend that the configuration chooses for this kind.
fn make<T: Kind + ?Sized>(
    registry: &Registry,
    config: &Config,
    default: String,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<T>> {
    // The one key and not the table: that also holds the tables of the backends, which are theirs to read.
    let name: String = config.value(&format!("{}.use", T::WORD))?.unwrap_or(default);
    let table = format!("{}.{name}", T::WORD);
    registry.find::<T>(&name)?.build(&BuildContext::new(config, table, Arc::clone(clock)))
}

fn open(registry: &Registry, config: &Config, name: &str, clock: &Arc<dyn Clock>) -> Result<Entry> {
    let key = format!("flags.{name}");
    let settings: FlagsSettings = config.read(&key)?;
    let missing = |field: &str| {
        Error::new(ErrorKind::Config, "read the configuration")
            .with("key", format!("{key}.{field}"))
            .with("reason", "it is required")
    };
    if settings.uri.is_empty() {
        return Err(missing("uri").hint("set it to where the namespace is, such as `file:///etc/app/flags`"));
    }
    if settings.environment.is_empty() {
        return Err(missing("environment").hint("set it to the environment that this process runs in"));
    }
    // A scheme is the name of its source, so far as one source serves one scheme.
    let source = match settings.source.as_str() {
        "" => settings.uri.split_once("://").map_or("", |(scheme, _)| scheme),
        named => named,
    };
    let table = format!("{}.{source}", <dyn Source as Kind>::WORD);
    let context = BuildContext::new(config, table, Arc::clone(clock)).with_uri(&settings.uri);
    let source = registry.find::<dyn Source>(source)?.build(&context)?;
    let options = LoadOptions::new().with_clock(Arc::clone(clock));
    let namespace = Namespace::from_source(source, &options).map_err(|e| refused(&key, e))?;
    let refresh = namespace.start_periodic_refresh(Duration::from_millis(settings.poll_interval_ms));
    Ok(Entry {
        #[cfg(feature = "async-tokio")]
        client: crate::flags::ExdClient::over(&namespace, &settings.environment, settings.dry_run),
        namespace,
        refresh,
    })
}

fn refused(key: &str, error: LoadError) -> Error {
    let hint = error.hint().map(str::to_owned);
    let failed = Error::new(ErrorKind::Invalid, "load a namespace of flags")
        .with("key", key)
        .with("reason", chain(&error));
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
