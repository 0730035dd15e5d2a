//! Starts the client of the settings service as `[settings]` says.

use std::{sync::Arc, time::Duration};

use super::State;
use crate::{
    Error, ErrorKind, NexusClient, NexusConfig, Result, WifConfig,
    backends::cache_memory,
    config::{Config, SettingsSettings},
    live::Status,
    traits::CacheStore,
    wiring::Wiring,
};

/// The client of the settings service, where the configuration has one.
#[derive(Clone, Default)]
pub(super) struct Settings {
    client: Option<NexusClient>,
}

impl Settings {
    /// Takes over the client of `before` if the settings are the same, or else starts one.
    pub(super) fn open(wiring: &Wiring, cache: &Arc<dyn CacheStore>, before: Option<&State>) -> Result<Self> {
        if !is_configured(&wiring.config) {
            return Ok(Self::default());
        }
        match before {
            Some(before) if before.config.says_the_same(&wiring.config, TABLE) => Ok(before.settings.clone()),
            _ => Self::start(wiring, cache),
        }
    }

    fn start(wiring: &Wiring, cache: &Arc<dyn CacheStore>) -> Result<Self> {
        let settings: SettingsSettings = wiring.config.read(TABLE)?;
        if settings.endpoint.is_empty() {
            return Err(Error::new(ErrorKind::Config, "read the configuration")
                .with("key", format!("{TABLE}.endpoint"))
                .with("reason", "it is required")
                .hint("set it to the base URL of the settings service"));
        }
        let identity = WifConfig { enabled: true, provider: settings.wif, token_source: None };
        let config = NexusConfig {
            api_key: settings.api_key.expose().to_owned(),
            endpoint: settings.endpoint,
            ttl: Some(Duration::from_millis(settings.ttl_ms)),
            wif: Some(identity).filter(|identity| !identity.provider.is_empty()),
        };
        let mut builder = NexusClient::builder()
            .config(config)
            .stream(settings.event_stream)
            .deadline(Duration::from_millis(settings.timeout_ms))
            .transport(wiring.transport()?)
            .clock(Arc::clone(&wiring.clock));
        // The memory cache ends with the process, and with it what was kept.
        if !settings.cache_key.expose().is_empty() && cache.name() != cache_memory::NAME {
            builder = builder.cache(Arc::clone(cache), settings.cache_key);
        }
        if settings.max_stale_age_ms > 0 {
            builder = builder.max_stale(Duration::from_millis(settings.max_stale_age_ms));
        }
        if !settings.files_dir.as_os_str().is_empty() {
            builder = builder.files_dir(settings.files_dir);
        }
        if !settings.layer_file.as_os_str().is_empty() {
            builder = builder.layer_file(settings.layer_file);
        }
        if !settings.layer_environment.is_empty() {
            builder = builder.layer_environment(settings.layer_environment);
        }
        let client = builder.build().map_err(|error| Error::from(error).with("key", TABLE))?;
        Ok(Self { client: Some(client) })
    }

    pub(super) fn client(&self) -> Result<NexusClient> {
        self.client.clone().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find the settings")
                .with("key", TABLE)
                .hint("add `[settings]` with `endpoint`, and `api_key` from the environment")
        })
    }

    /// Returns how the client stands, under a name that no namespace has.
    pub(super) fn status(&self) -> Option<(&'static str, Status)> {
        self.client.as_ref().map(|client| ("[settings]", client.status()))
    }

    pub(super) fn close(&self) {
        if let Some(client) = &self.client {
            client.close();
        }
    }
}

/// Returns true if the configuration has settings.
pub(super) fn is_configured(config: &Config) -> bool {
    config.has(TABLE)
}

/// The table of settings.
pub(super) const TABLE: &str = "settings";
