//! How a client is put together.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::{
    Policy, SafeModeStrategy, WaitState,
    outbox::unique_id,
    product::NONE_YET,
    rules::Rules,
    source::{GateSource, Identity, may_carry_secrets},
};
use crate::{
    Error, ErrorKind, HttpBackend, Result, Secret,
    backends::{clock_system::SystemClock, layers::Timeout},
    document::{Content, Document, Revision},
    encoding::hex,
    live::{Keep, Ladder, StalePolicy},
    traits::{CacheStore, Clock, Transport},
    wiring::Wiring,
};

/// A report takes at most this long.
const DEADLINE: Duration = Duration::from_secs(10);

/// How far the age of a kept policy may be off: a lease is seldom shorter than a minute.
const CONFIRM_EVERY: Duration = Duration::from_secs(15);

/// A site's name is at most this long.
const LONGEST_SITE: usize = 64;

/// The settings of a client.
///
/// # Examples
/// ```
/// use leverframe::gate::WaitStateConfig;
/// let config = WaitStateConfig { publish_key: "pk".into(), secret_key: "sk_s3cret".into(), ..Default::default() };
/// assert_eq!((config.pulse_interval_secs, config.sync_interval_secs, config.safe_mode_max_rps), (20, 30, 50));
/// assert!(!format!("{config:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "written as a literal with `..Default::default()`")]
pub struct WaitStateConfig {
    /// Names the client to the control plane. Required.
    pub publish_key: String,
    /// Signs the reports. Required.
    pub secret_key: String,
    /// Where the control plane is.
    pub base_url: String,
    /// The part of the organisation that this client serves.
    pub site_id: Option<String>,
    /// How often to report until the control plane says how often, in seconds.
    pub pulse_interval_secs: u64,
    /// How often to ask for the policy while reports do not get through, in seconds.
    pub sync_interval_secs: u64,
    /// What passes while the policy was not confirmed for as long as it holds.
    pub safe_mode_strategy: SafeModeStrategy,
    /// How many calls a second pass in the safe mode [`SafeModeStrategy::FixedRps`].
    pub safe_mode_max_rps: u64,
}

impl Default for WaitStateConfig {
    fn default() -> Self {
        Self {
            publish_key: String::new(),
            secret_key: String::new(),
            base_url: "https://api.waitstate.io".to_owned(),
            site_id: None,
            pulse_interval_secs: 20,
            sync_interval_secs: 30,
            safe_mode_strategy: SafeModeStrategy::default(),
            safe_mode_max_rps: 50,
        }
    }
}

impl fmt::Debug for WaitStateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitStateConfig")
            .field("publish_key", &self.publish_key)
            .field("secret_key", &"***")
            .field("base_url", &crate::secret::without_credentials(&self.base_url))
            .field("site_id", &self.site_id)
            .field("pulse_interval_secs", &self.pulse_interval_secs)
            .field("sync_interval_secs", &self.sync_interval_secs)
            .field("safe_mode_strategy", &self.safe_mode_strategy)
            .field("safe_mode_max_rps", &self.safe_mode_max_rps)
            .finish()
    }
}

/// Puts a client together.
///
/// # Examples
/// ```
/// use leverframe::gate::WaitState;
/// let refused = WaitState::builder().publish_key("pk").secret_key("").build().unwrap_err();
/// assert_eq!(refused.kind(), leverframe::ErrorKind::Config);
/// let ws = WaitState::builder().publish_key("pk").secret_key("sk").base_url("http://127.0.0.1:9").build()?;
/// assert!(ws.gate(None, None).allowed);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct WaitStateBuilder {
    config: WaitStateConfig,
    transport: Option<Arc<dyn Transport>>,
    http_backend: Option<HttpBackend>,
    clock: Option<Arc<dyn Clock>>,
    cache: Option<Arc<dyn CacheStore>>,
    deadline: Duration,
}

impl WaitStateBuilder {
    pub(super) fn new(config: WaitStateConfig) -> Self {
        Self { config, transport: None, http_backend: None, clock: None, cache: None, deadline: DEADLINE }
    }

    /// Sets everything that [`WaitStateConfig`] has.
    pub fn config(mut self, config: WaitStateConfig) -> Self {
        self.config = config;
        self
    }

    /// Names the client to the control plane. Required.
    pub fn publish_key(mut self, key: impl Into<String>) -> Self {
        self.config.publish_key = key.into();
        self
    }

    /// Sets the key that signs the reports. Required.
    pub fn secret_key(mut self, key: impl Into<String>) -> Self {
        self.config.secret_key = key.into();
        self
    }

    /// Sets where the control plane is.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.config.base_url = url.into();
        self
    }

    /// Sets the part of the organisation that this client serves.
    pub fn site_id(mut self, site: impl Into<String>) -> Self {
        self.config.site_id = Some(site.into());
        self
    }

    /// Sets what passes while the policy was not confirmed for as long as it holds.
    pub fn safe_mode(mut self, strategy: SafeModeStrategy) -> Self {
        self.config.safe_mode_strategy = strategy;
        self
    }

    /// Sends by this transport. Reports are not idempotent for every control plane: it must not retry them.
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

    /// Keeps the policy here: a start without the control plane goes by it, as long as it holds.
    pub fn cache(mut self, cache: Arc<dyn CacheStore>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Sets how long a report may take. Default: 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the client.
    ///
    /// # Errors
    /// `Config` for a missing key or one that no header holds, a base URL that is none, a site that is none, or an
    /// interval of 0; what the transport's settings are refused with.
    pub fn build(self) -> Result<WaitState> {
        check(&self.config)?;
        let clock = self.time();
        let parts = self.parts(&clock)?;
        Ok(self.assemble(parts, clock, None))
    }

    /// Starts the client, whatever its settings.
    pub(super) fn start(self) -> WaitState {
        let clock = self.time();
        let parts = check(&self.config).and_then(|()| self.parts(&clock));
        match parts {
            Ok(parts) => self.assemble(parts, clock, None),
            Err(error) => {
                tracing::error!(error = %error.chain(), "the gate cannot reach its control plane and lets everything pass");
                let nowhere = (Arc::new(Nowhere) as Arc<dyn Transport>, Ladder::new());
                self.assemble(nowhere, clock, Some(error))
            }
        }
    }

    fn time(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()))
    }

    fn parts(&self, clock: &Arc<dyn Clock>) -> Result<(Arc<dyn Transport>, Ladder)> {
        let transport = match &self.transport {
            Some(transport) => Arc::clone(transport),
            None => {
                let wiring = Wiring::of_process(Arc::clone(clock))?;
                match self.http_backend {
                    Some(backend) => wiring.with_backend(backend)?.transport()?,
                    None => wiring.transport()?,
                }
            }
        };
        // Whatever the transport does, a report ends at its deadline.
        let transport: Arc<dyn Transport> = Arc::new(Timeout::new(transport, Arc::clone(clock)));
        let allow_all = serde_json::json!({ "globalMaxWeight": null }).to_string();
        let baseline = Document::new(Revision::new(NONE_YET), Content::Bytes(allow_all.into()));
        let mut ladder =
            Ladder::new().with_baseline(baseline).with_stale_policy(StalePolicy::Serve, Duration::MAX);
        if let Some(cache) = &self.cache {
            let keep = Keep::in_store(Arc::clone(cache), &self.place_of_keep())?;
            // Served before anybody is asked, so that an answer that takes its time does not leave the gate open.
            let keep = keep.generations(1).fresh_for(Duration::MAX).confirm_every(CONFIRM_EVERY);
            ladder = ladder.with_keep(keep);
        }
        Ok((transport, ladder))
    }

    /// Another control plane, key or site has another policy.
    fn place_of_keep(&self) -> String {
        let WaitStateConfig { base_url, publish_key, site_id, .. } = &self.config;
        let place = format!("{base_url}\n{publish_key}\n{}", site_id.as_deref().unwrap_or_default());
        format!("gate.{}", &hex(&Sha256::digest(place))[..32])
    }

    fn assemble(
        self,
        (transport, ladder): (Arc<dyn Transport>, Ladder),
        clock: Arc<dyn Clock>,
        broken: Option<Error>,
    ) -> WaitState {
        let mut config = self.config;
        let secret_key = Secret::new(&config.secret_key);
        config.secret_key.zeroize();
        let identity = Identity {
            base_url: config.base_url.clone(),
            publish_key: config.publish_key.clone(),
            secret_key,
            site_id: config.site_id.clone(),
            instance_id: uuid(),
            sync_interval: Duration::from_secs(config.sync_interval_secs.max(1)),
            deadline: self.deadline,
        };
        let rules = Arc::new(ArcSwap::from_pointee(Rules::new(Arc::new(Policy::default()))));
        let source = GateSource::new(identity, transport, Arc::clone(&clock), Arc::clone(&rules));
        WaitState::assemble(config, source, rules, ladder, clock, broken)
    }
}

fn check(config: &WaitStateConfig) -> Result<()> {
    let refuse = |setting: &'static str, hint: &'static str| {
        Err(Error::new(ErrorKind::Config, "start the gate").with("setting", setting).hint(hint))
    };
    let is_written_plainly = |key: &str| key.bytes().all(|b| b.is_ascii_graphic());
    if config.publish_key.is_empty() || !is_written_plainly(&config.publish_key) {
        return refuse("publish_key", "set it to the key that the control plane gave");
    }
    if config.secret_key.is_empty() {
        return refuse(
            "secret_key",
            "set it to the secret that the control plane gave, from the environment",
        );
    }
    if config.pulse_interval_secs == 0 || config.sync_interval_secs == 0 {
        return refuse("pulse_interval_secs, sync_interval_secs", "set them to a second or more");
    }
    let uri: Option<http::Uri> = config.base_url.parse().ok();
    if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none()) {
        return refuse("base_url", "write it as `https://host` or `https://host:port`");
    }
    let is_site = |site: &str| {
        (1..=LONGEST_SITE).contains(&site.len())
            && site.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if config.site_id.as_deref().is_some_and(|site| !is_site(site)) {
        return refuse("site_id", "name it with letters, digits, `.`, `_` and `-`, at most 64 of them");
    }
    if !may_carry_secrets(&config.base_url) {
        tracing::warn!(
            "the base URL is not of `https`: whoever is on the way can read reports and change policies"
        );
    }
    Ok(())
}

/// An id in the form of a random UUID.
fn uuid() -> String {
    let id = unique_id();
    let part = |from: usize, to: usize| id.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// The transport of a client that cannot have one.
#[derive(Debug)]
struct Nowhere;

#[async_trait::async_trait]
impl Transport for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }

    async fn send(&self, _request: crate::traits::Request) -> Result<crate::traits::Response> {
        Err(Error::new(ErrorKind::Config, "report to the control plane")
            .with("reason", "the settings do not allow it"))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
