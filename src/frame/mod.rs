//! One handle for everything that a configuration names.

mod gate;
mod limits;
mod open;
mod settings;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use self::{gate::Gate, open::Entry, settings::Settings};
use crate::{
    Error, ErrorKind, Result,
    backends::clock_system::SystemClock,
    config::{ClockSettings, Config, ConfigBuilder, Explained, process_environment},
    flags::Namespace,
    gate::limiter::AdaptiveLimiter,
    live::metrics_text,
    manifest::lint::did_you_mean,
    registry::Registry,
    traits::{CacheStore, Clock},
    wiring::Wiring,
};

/// Namespaces, gate, limiters, settings, cache and clock as a configuration names them.
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
    builder: LeverframeBuilder,
    state: ArcSwap<State>,
    /// Held while a reload builds, so that two of them do not overlap.
    reloading: Mutex<()>,
}

struct State {
    config: Config,
    cache: Arc<dyn CacheStore>,
    namespaces: BTreeMap<String, Arc<Entry>>,
    limits: BTreeMap<String, AdaptiveLimiter>,
    gate: Gate,
    settings: Settings,
}

/// What a reload did, by the names of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// Those that were not there before.
    pub added: Vec<String>,
    /// Those that are no longer there: their refresh has ended.
    pub removed: Vec<String>,
    /// Those whose settings, or those of their backends, changed: loaded anew.
    pub changed: Vec<String>,
    /// Those that go on as they were.
    pub kept: Vec<String>,
    /// Whether the gate was started, ended or replaced.
    pub gate_changed: bool,
    /// Whether the client of the settings service was started, ended or replaced.
    pub settings_changed: bool,
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
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        self.entry(name).map(|entry| entry.namespace.clone())
    }

    /// Returns the client of `[flags.<name>]`, in the environment that its table names.
    ///
    /// A client goes on to be kept current across a [`reload`](Self::reload) that leaves its settings alone; after
    /// one that changes or removes them it serves what it has, and the frame gives out another.
    ///
    /// # Errors
    /// `NotFound` where the configuration has none of that name: the error lists those it has.
    #[cfg(feature = "async-tokio")]
    pub fn flags(&self, name: &str) -> Result<crate::flags::ExdClient> {
        self.entry(name).map(|entry| entry.client.clone())
    }

    /// Returns the client of `[gate]`, which reports and fetches its policy in the background.
    ///
    /// A client goes on across a [`reload`](Self::reload) that leaves its settings alone; after one that changes or
    /// removes them, those who hold it may go on with it, and the last to let go of it has its last report sent.
    ///
    /// # Errors
    /// `NotFound` where the configuration has none.
    #[cfg(feature = "async-tokio")]
    pub fn gate(&self) -> Result<crate::gate::WaitState> {
        self.state.load().gate.client()
    }

    /// Returns the client of `[settings]`, which is kept current in the background.
    ///
    /// A client goes on across a [`reload`](Self::reload) that leaves its settings alone; after one that changes or
    /// removes them, those who hold it may go on with it.
    ///
    /// # Errors
    /// `NotFound` where the configuration has none.
    pub fn settings(&self) -> Result<crate::NexusClient> {
        self.state.load().settings.client()
    }

    /// Returns the limiter of `[limits.<name>]`.
    ///
    /// A limiter goes on across a [`reload`](Self::reload) that leaves alone its settings and those of the flags that
    /// its bounds come from; else it begins anew. A flag that changes needs no reload, and nothing begins anew.
    ///
    /// # Examples
    /// ```
    /// use leverframe::{Leverframe, config::Config};
    /// let config = Config::builder().set("limits.database.max", 64_i64).set("limits.database.initial", 8_i64);
    /// let frame = Leverframe::builder().config(config).build()?;
    /// assert_eq!(frame.limiter("database")?.snapshot().max, 64);
    /// # Ok::<(), leverframe::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` where the configuration has none of that name: the error lists those it has.
    pub fn limiter(&self, name: &str) -> Result<AdaptiveLimiter> {
        let state = self.state.load();
        state
            .limits
            .get(name)
            .cloned()
            .ok_or_else(|| not_found("find a limiter", "limits", name, state.limits.keys()))
    }

    /// Returns the names of the namespaces, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state.load().namespaces.keys().cloned().collect()
    }

    /// Returns the cache that `[cache]` chooses.
    #[must_use]
    pub fn cache(&self) -> Arc<dyn CacheStore> {
        Arc::clone(&self.state.load().cache)
    }

    /// Returns each effective key, its value with secrets as `***`, and the layer it came from.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        self.state.load().config.explain()
    }

    /// Writes the figures of every namespace, and of the settings as `[settings]`, in the text format that Prometheus and OpenMetrics scrapers read.
    #[must_use]
    pub fn metrics(&self) -> String {
        let state = self.state.load();
        let namespaces = state.namespaces.iter().map(|(name, e)| (name.as_str(), e.namespace.status()));
        let statuses: Vec<_> = namespaces.chain(state.settings.status()).collect();
        metrics_text(statuses.iter().map(|(name, status)| (*name, status)))
    }

    /// Reads the configuration's file again, builds what changed, and swaps it in.
    ///
    /// # Errors
    /// What reading, checking or loading reports; everything goes on as it was then.
    pub fn reload(&self) -> Result<Reloaded> {
        // Nothing is left half done by a panic under this lock: the swap is one store.
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state.load_full();
        let (after, reloaded) = self.builder.assemble(Some(&before))?;
        self.state.store(Arc::new(after));
        tracing::info!(
            added = reloaded.added.len(),
            changed = reloaded.changed.len(),
            removed = reloaded.removed.len(),
            gate_changed = reloaded.gate_changed,
            settings_changed = reloaded.settings_changed,
            "configuration reloaded"
        );
        Ok(reloaded)
    }

    /// Stops every background refresh and waits for it, and for the gate's last report.
    ///
    /// # Errors
    /// `Cancelled` where a refresh thread had panicked, and what the gate's last report failed of; the others are
    /// stopped all the same.
    pub fn close(self) -> Result<()> {
        let mut outcome = self.state.load().gate.close();
        self.state.load().settings.close();
        for (name, entry) in &self.state.load().namespaces {
            if entry.stop().is_err() {
                outcome = Err(Error::new(ErrorKind::Cancelled, "stop a background refresh")
                    .with("flags", name)
                    .hint("the panic's message went to standard error"));
            }
        }
        outcome
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>> {
        let state = self.state.load();
        state
            .namespaces
            .get(name)
            .cloned()
            .ok_or_else(|| not_found("find a namespace of flags", "flags", name, state.namespaces.keys()))
    }
}

/// The error about a name that the configuration does not have, with those that it has.
fn not_found<'n>(
    operation: &'static str,
    table: &str,
    name: &str,
    names: impl Iterator<Item = &'n String>,
) -> Error {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let hint = did_you_mean(name, names.iter().copied()).unwrap_or_else(|| format!("add `[{table}.{name}]`"));
    Error::new(ErrorKind::NotFound, operation)
        .with("asked", name.escape_debug())
        .with("configured", names.join(", "))
        .hint(hint)
}

impl fmt::Debug for Leverframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load();
        f.debug_struct("Leverframe")
            .field("flags", &state.namespaces.keys())
            .field("cache", &state.cache)
            .finish_non_exhaustive()
    }
}

/// Collects what a frame is made of.
#[derive(Clone, Debug, Default)]
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
        let (state, _) = self.assemble(None)?;
        Ok(Leverframe { builder: self, state: ArcSwap::from_pointee(state), reloading: Mutex::new(()) })
    }

    /// Builds what the layers name now, and takes over from `before` what they name unchanged.
    fn assemble(&self, before: Option<&State>) -> Result<(State, Reloaded)> {
        let registry = match &self.registry {
            Some(registry) => registry.clone(),
            None => Registry::discover()?,
        };
        let config = self.config.clone().build()?;
        config.check(&registry)?;
        let system: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut wiring = Wiring::new(registry, config, system);
        let chosen = wiring.config.value::<String>("clock.use")?;
        wiring.clock = match &self.clock {
            Some(clock) => Arc::clone(clock),
            None => wiring.make::<dyn Clock>(&chosen.unwrap_or_else(|| ClockSettings::default().r#use))?,
        };
        // Whatever backends are made of is the same as before, so what was made of it can stay.
        let same_parts = before.filter(|before| {
            ["transport", "cache", "clock", "source"]
                .iter()
                .all(|table| before.config.says_the_same(&wiring.config, table))
        });
        let cache = match same_parts {
            Some(before) => Arc::clone(&before.cache),
            None => wiring.cache()?,
        };
        let mut reloaded = Reloaded::default();
        let mut namespaces = BTreeMap::new();
        for name in wiring.config.tables("flags") {
            let key = format!("flags.{name}");
            let was = before.and_then(|before| before.namespaces.get(&name));
            let entry = match (was, same_parts) {
                (Some(was), Some(before)) if before.config.says_the_same(&wiring.config, &key) => {
                    reloaded.kept.push(name.clone());
                    Arc::clone(was)
                }
                _ => {
                    let list = if was.is_some() { &mut reloaded.changed } else { &mut reloaded.added };
                    list.push(name.clone());
                    Arc::new(Entry::open(&wiring, &cache, &name)?)
                }
            };
            namespaces.insert(name, entry);
        }
        let mut limits = BTreeMap::new();
        for name in wiring.config.tables("limits") {
            let key = format!("limits.{name}");
            let kept = same_parts.and_then(|before| {
                let flags = wiring.config.value::<String>(&format!("{key}.flags")).ok().flatten();
                let same_flags = flags.is_none_or(|flags| reloaded.kept.contains(&flags));
                let same = same_flags && before.config.says_the_same(&wiring.config, &key);
                before.limits.get(&name).filter(|_| same).cloned()
            });
            let limiter = kept.map_or_else(|| limits::open(&wiring, &namespaces, &name), Ok)?;
            limits.insert(name, limiter);
        }
        if let Some(before) = before {
            reloaded.removed =
                before.namespaces.keys().filter(|name| !namespaces.contains_key(*name)).cloned().collect();
        }
        let settings = Settings::open(&wiring, &cache, same_parts)?;
        let same_settings =
            before.is_some_and(|before| before.config.says_the_same(&wiring.config, settings::TABLE));
        reloaded.settings_changed =
            !same_settings || settings::is_configured(&wiring.config) && same_parts.is_none();
        // Last, because it speaks to its control plane at once: nothing is left to fail after it.
        let gate = Gate::open(&wiring, &cache, same_parts)?;
        let same_gate = before.is_some_and(|before| before.config.says_the_same(&wiring.config, gate::TABLE));
        reloaded.gate_changed = !same_gate || gate::is_configured(&wiring.config) && same_parts.is_none();
        Ok((State { config: wiring.config, cache, namespaces, limits, gate, settings }, reloaded))
    }
}
