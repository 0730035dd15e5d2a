//! Starts the gate's client as `[gate]` says.

use std::sync::Arc;

use super::State;
use crate::{Result, config::Config, traits::CacheStore, wiring::Wiring};

/// The client of the gate, where the configuration has one.
#[derive(Clone, Default)]
pub(super) struct Gate {
    #[cfg(feature = "async-tokio")]
    client: Option<crate::gate::WaitState>,
}

impl Gate {
    /// Takes over the client of `before` if the settings are the same, or else starts one.
    pub(super) fn open(wiring: &Wiring, cache: &Arc<dyn CacheStore>, before: Option<&State>) -> Result<Self> {
        if !is_configured(&wiring.config) {
            return Ok(Self::default());
        }
        match before {
            Some(before) if before.config.says_the_same(&wiring.config, TABLE) => Ok(before.gate.clone()),
            _ => Self::start(wiring, cache),
        }
    }

    #[cfg(not(feature = "async-tokio"))]
    fn start(_: &Wiring, _: &Arc<dyn CacheStore>) -> Result<Self> {
        Err(crate::Error::new(crate::ErrorKind::Unsupported, "start the gate")
            .with("key", TABLE)
            .hint("build with the cargo feature `async-tokio`"))
    }

    #[cfg(not(feature = "async-tokio"))]
    pub(super) fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(feature = "async-tokio")]
mod running {
    use std::sync::Arc;

    use super::{Gate, TABLE};
    use crate::{
        Error, ErrorKind, Result,
        backends::cache_memory,
        config::GateSettings,
        gate::{SafeModeStrategy, WaitState, WaitStateConfig},
        live::block_on,
        manifest::lint::did_you_mean,
        traits::CacheStore,
        wiring::Wiring,
    };

    impl Gate {
        pub(super) fn start(wiring: &Wiring, cache: &Arc<dyn CacheStore>) -> Result<Self> {
            let settings: GateSettings = wiring.config.read(TABLE)?;
            let config = WaitStateConfig {
                safe_mode_strategy: strategy(&settings.safe_mode_strategy)?,
                publish_key: settings.publish_key,
                secret_key: settings.secret_key.expose().to_owned(),
                base_url: settings.base_url,
                site_id: Some(settings.site_id).filter(|site| !site.is_empty()),
                pulse_interval_secs: settings.pulse_interval_secs,
                sync_interval_secs: settings.sync_interval_secs,
                safe_mode_max_rps: settings.safe_mode_max_rps,
            };
            let mut builder = WaitState::builder()
                .config(config)
                .transport(wiring.transport()?)
                .clock(Arc::clone(&wiring.clock));
            if cache.name() != cache_memory::NAME {
                builder = builder.cache(Arc::clone(cache));
            }
            let client = builder.build().map_err(|error| error.with("key", TABLE))?;
            Ok(Self { client: Some(client) })
        }

        pub(in super::super) fn client(&self) -> Result<WaitState> {
            self.client.clone().ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "find the gate")
                    .with("key", TABLE)
                    .hint("add `[gate]` with `publish_key`, and `secret_key` from the environment")
            })
        }

        /// Reports what was counted, and waits until the control plane has it.
        pub(in super::super) fn close(&self) -> Result<()> {
            self.client.as_ref().map_or(Ok(()), |client| block_on(client.close()))
        }
    }

    fn strategy(word: &str) -> Result<SafeModeStrategy> {
        const ALL: [SafeModeStrategy; 3] =
            [SafeModeStrategy::Open, SafeModeStrategy::FixedRps, SafeModeStrategy::LastPolicy];
        let words = ALL.map(|strategy| strategy.to_string());
        let known = || words.iter().map(String::as_str);
        ALL.into_iter()
            .zip(known())
            .find(|(_, known)| *known == word)
            .map(|(strategy, _)| strategy)
            .ok_or_else(|| {
                Error::new(ErrorKind::Config, "read the configuration")
                    .with("key", format!("{TABLE}.safe_mode_strategy"))
                    .with("reason", format!("it must be one of {}", words.join(", ")))
                    .hint(did_you_mean(word, known()).unwrap_or_else(|| "write one of them".to_owned()))
            })
    }
}

/// Returns true if the configuration has a gate.
pub(super) fn is_configured(config: &Config) -> bool {
    config.has(TABLE)
}

/// The gate's table.
pub(super) const TABLE: &str = "gate";
