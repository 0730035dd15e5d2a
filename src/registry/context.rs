//! What a backend is made with.

use std::{fmt, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{
    Result, UriAuth,
    config::Config,
    traits::{Clock, Transport},
};

/// A backend's own settings, and the parts of the framework that it may use.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use leverframe::{config::Config, backends::{cache_memory::MemoryConfig, clock_system::SystemClock}, registry::BuildContext};
/// let config = Config::builder().set("cache.memory.max_entries", 5).build()?;
/// let context = BuildContext::new(&config, "cache.memory", Arc::new(SystemClock::new()));
/// assert_eq!(context.settings::<MemoryConfig>()?.max_entries, 5);
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct BuildContext<'c> {
    config: &'c Config,
    table: String,
    uri: Option<String>,
    auth: Option<UriAuth>,
    transport: Option<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
}

impl<'c> BuildContext<'c> {
    /// Makes the context of the backend whose settings stand in `table`, such as `cache.file`.
    #[must_use]
    pub fn new(config: &'c Config, table: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { config, table: table.into(), uri: None, auth: None, transport: None, clock }
    }

    /// Adds the place that a source is to read from.
    #[must_use]
    pub fn with_uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = Some(uri.into());
        self
    }

    /// Adds the credentials for that place.
    #[must_use]
    pub fn with_auth(mut self, auth: UriAuth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Adds the transport that a source's requests travel by.
    #[must_use]
    pub fn with_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Reads the backend's settings, defaults where nothing is set.
    ///
    /// # Errors
    /// `Config` for a value of the wrong type, with its full key and the layer it came from.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        self.config.read(&self.table)
    }

    /// Returns the place that a source is to read from.
    #[must_use]
    pub fn uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    /// Returns the credentials for that place.
    #[must_use]
    pub fn auth(&self) -> Option<&UriAuth> {
        self.auth.as_ref()
    }

    /// Returns the transport that a source's requests travel by.
    #[must_use]
    pub fn transport(&self) -> Option<&Arc<dyn Transport>> {
        self.transport.as_ref()
    }

    /// Returns the clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl fmt::Debug for BuildContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext").field("table", &self.table).finish_non_exhaustive()
    }
}
