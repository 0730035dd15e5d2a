//! Turns a choice of backends into backends: for one URI, or for a whole configuration.

use std::sync::{Arc, OnceLock};

use crate::{
    HttpBackend, Result, UriAuth,
    backends::layers,
    config::{CacheSettings, Config, TransportSettings, process_environment},
    registry::{BuildContext, Kind, Registry},
    traits::{CacheStore, Clock, Source, Transport},
};

/// The backends that may be chosen, what was chosen, and the time they go by.
pub(crate) struct Wiring {
    registry: Registry,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    /// Made once, when the first source asks for it.
    transport: OnceLock<Arc<dyn Transport>>,
}

impl Wiring {
    pub(crate) fn new(registry: Registry, config: Config, clock: Arc<dyn Clock>) -> Self {
        Self { registry, config, clock, transport: OnceLock::new() }
    }

    /// Goes by what is linked in and by the process's environment, as those do who have no configuration file.
    pub(crate) fn of_process(clock: Arc<dyn Clock>) -> Result<Self> {
        // Of the rest nothing is needed here, so nothing in it can be wrong.
        let needed = |name: &str| {
            let tables = [
                "LEVERFRAME_SOURCE__",
                "LEVERFRAME_TRANSPORT__",
                "LEVERFRAME_SERVER_URL",
                "LEVERFRAME_API_TOKEN",
            ];
            tables.iter().any(|table| name.starts_with(table)) || !name.starts_with("LEVERFRAME_")
        };
        let variables = process_environment().into_iter().filter(|(name, _)| needed(name));
        let config = Config::builder().environment(variables).build()?;
        Ok(Self::new(Registry::discover()?, config, clock))
    }

    /// Chooses among these backends instead of those that are linked in.
    pub(crate) fn with_registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }

    /// Uses this transport instead of the one that is configured.
    pub(crate) fn with_transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { transport: OnceLock::from(transport), ..self }
    }

    /// Uses this kind of transport instead of the one that is configured.
    pub(crate) fn with_backend(self, backend: HttpBackend) -> Result<Self> {
        let transport = self.make_transport(backend.name())?;
        Ok(self.with_transport(transport))
    }

    /// Makes the backend of that kind and name.
    pub(crate) fn make<T: Kind + ?Sized>(&self, name: &str) -> Result<Arc<T>> {
        let context = BuildContext::new(&self.config, format!("{}.{name}", T::WORD), Arc::clone(&self.clock));
        self.registry.find::<T>(name)?.build(&context)
    }

    /// Makes the source for a URI: the one that is named, or else the one that serves the URI's scheme.
    pub(crate) fn source(&self, named: &str, uri: &str, auth: Option<UriAuth>) -> Result<Arc<dyn Source>> {
        let plugin = match named {
            "" => self.registry.source_of(uri)?,
            named => self.registry.find::<dyn Source>(named)?,
        };
        let table = format!("{}.{}", <dyn Source as Kind>::WORD, plugin.name());
        let mut context = BuildContext::new(&self.config, table, Arc::clone(&self.clock)).with_uri(uri);
        if let Some(auth) = auth {
            context = context.with_auth(auth);
        }
        if plugin.uses_transport() {
            context = context.with_transport(self.transport()?);
        }
        plugin.build(&context)
    }

    /// Makes the cache that `[cache]` chooses.
    pub(crate) fn cache(&self) -> Result<Arc<dyn CacheStore>> {
        let chosen = self.config.value::<String>("cache.use")?;
        self.make(&chosen.unwrap_or_else(|| CacheSettings::default().r#use))
    }

    /// Returns the transport that `[transport]` chooses, in its layers.
    pub(crate) fn transport(&self) -> Result<Arc<dyn Transport>> {
        if let Some(transport) = self.transport.get() {
            return Ok(Arc::clone(transport));
        }
        let chosen = self.config.value::<String>("transport.use")?;
        let chosen = chosen.filter(|name| *name != TransportSettings::default().r#use);
        let made = match chosen {
            Some(name) => self.make_transport(&name)?,
            None => self.make_transport(HttpBackend::from_env_or_default().name())?,
        };
        Ok(Arc::clone(self.transport.get_or_init(|| made)))
    }

    fn make_transport(&self, name: &str) -> Result<Arc<dyn Transport>> {
        Ok(layers::standard(self.make::<dyn Transport>(name)?, Arc::clone(&self.clock)))
    }
}
