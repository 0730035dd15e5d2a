//! What the control plane asks of the store.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use leverframe::{
    Result,
    gate::reflex::{RuleState, Window},
};

use super::model::{GateKey, Pulse, Settings, SiteId, SiteState, Totals, Verdict};
use crate::model::{Page, PageRequest, SecretHash};

/// Decides what becomes of a site's rules, from what was counted. Pure: it may be asked again.
pub trait Evaluate: fmt::Debug + Send + Sync + 'static {
    /// Returns the lengths of the windows that are looked at, in seconds.
    fn windows(&self) -> Vec<u32>;
    /// Returns the states that follow.
    fn evaluate(
        &self,
        states: &BTreeMap<String, RuleState>,
        windows: &BTreeMap<u32, Window>,
        now: SystemTime,
    ) -> BTreeMap<String, RuleState>;
}

/// Keeps gate keys, settings and counts.
///
/// As of [`Store`](crate::store::Store): every write is durable and whole when it returns; errors are of the kinds
/// named there; a list of what belongs to an org that does not exist is empty. Changes of keys, of settings and of the
/// rules' states are told as [`Notice::Gate`](crate::store::Notice::Gate).
#[async_trait]
pub trait GateStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps a key with the digest of its secret.
    async fn create_gate_key(&self, key: &GateKey, secret: &SecretHash) -> Result<()>;
    /// Returns the key, live or not, with the digest of its secret.
    async fn gate_key(&self, publish_key: &str) -> Result<Option<(GateKey, SecretHash)>>;
    /// Lists an org's keys by publish key.
    async fn gate_keys(&self, org: &str, page: &PageRequest) -> Result<Page<GateKey>>;
    /// Revokes a key of an org; false if there is none or it was revoked before.
    async fn revoke_gate_key(&self, org: &str, publish_key: &str, now: SystemTime) -> Result<bool>;

    /// Lists the orgs that have a key, settings or a site, by name.
    async fn gate_orgs(&self, page: &PageRequest) -> Result<Page<String>>;
    /// Returns an org's sites that have settings or have reported, by name.
    async fn gate_sites(&self, org: &str) -> Result<Vec<String>>;
    /// Returns what is set for an org (`None`), or for one of its sites; the default if nothing is.
    async fn gate_settings(&self, org: &str, site: Option<&str>) -> Result<Settings>;
    /// Replaces what is set, if the revision is still that of `settings`; returns what is set now, with the next
    /// revision, or `None` if another change came first. `Invalid` for weights that are no numbers and for more than 256
    /// KiB; `LimitExceeded` if the site is new and the org has as many as it may have.
    async fn put_gate_settings(
        &self,
        org: &str,
        site: Option<&str>,
        settings: &Settings,
    ) -> Result<Option<Settings>>;

    /// Counts pulses, all in one transaction; what became of each, in their order. Pulses of one instance in a batch
    /// are looked at one after the other. `Invalid` for the whole batch if a site's or org's name is empty, longer than
    /// 64 bytes or holds a NUL character: whoever takes pulses has looked at them before.
    ///
    /// Whatever else a pulse holds is counted: tags that are longer than 128 bytes, that hold a NUL character, or for
    /// which there is no room (1,000 within a second and within a minute, 10,000 in the totals), as `__other__`;
    /// likewise custom metrics (32 of a tag). Values of custom metrics that are no numbers are left out. Counts and sums
    /// stay at the largest number that there is.
    ///
    /// The last eight pulses of an instance are remembered, for a week after it was heard of last. One of the same
    /// `pulse_id` is `CountedBefore`; any other of the same `ts`, or one from before what is remembered where something
    /// was forgotten, is `Replayed`.
    async fn count_pulses(&self, pulses: &[Pulse], now: SystemTime) -> Result<Vec<Verdict>>;
    /// Returns how a site stands; the default if it never reported, and has no settings.
    async fn gate_site(&self, site: &SiteId) -> Result<SiteState>;
    /// Looks at what a site counted within windows that end now, decides, and keeps the states that follow, in one
    /// transaction: of processes that do this at once, one does it after the other. Nothing is asked, and the default
    /// is returned, where the site never reported and has no settings.
    async fn evaluate_gate_site(
        &self,
        site: &SiteId,
        evaluate: std::sync::Arc<dyn Evaluate>,
        now: SystemTime,
    ) -> Result<SiteState>;
    /// Returns what a site counted in a window that ends now, the current second included; at most an hour. Pulses
    /// count for the second in which they were counted.
    async fn gate_window(&self, site: &SiteId, seconds: u32, now: SystemTime) -> Result<Window>;
    /// Returns everything that a site counted.
    async fn gate_totals(&self, site: &SiteId) -> Result<Totals>;
    /// Returns how many instances of a site have reported within that long.
    async fn gate_instances(&self, site: &SiteId, within: Duration, now: SystemTime) -> Result<u64>;
    /// Forgets window cells older than an hour, instances that were silent for a week, and those beyond 100,000 of a
    /// site. To be asked about once a minute by one process or by all; counting goes on beside.
    async fn prune_gate(&self, now: SystemTime) -> Result<()>;
}
