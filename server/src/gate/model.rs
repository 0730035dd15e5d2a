//! What the control plane keeps.

use std::{collections::BTreeMap, time::SystemTime};

use leverframe::gate::reflex::{Aggregate, RuleState, Window};

/// The site of pulses that name none.
pub const DEFAULT_SITE: &str = "default";

/// An org has at most this many sites.
pub const MOST_SITES: u64 = 100;

/// Returns true if a site may have this name: 1 to 64 letters, digits, `.`, `_` and `-`.
#[must_use]
pub fn is_site(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A pair of keys, without the secret: the store keeps its SHA-256 beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateKey {
    /// The organisation that it reports for.
    pub org: String,
    /// What a client names itself by.
    pub publish_key: String,
    /// The one site that it may report for; `None` for any.
    pub site: Option<String>,
    /// Name for people.
    pub name: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// The id of the principal that made it.
    pub created_by: String,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
}

impl GateKey {
    /// Makes a key without a name that may report for every site of an org.
    #[must_use]
    pub fn new(org: impl Into<String>, publish_key: impl Into<String>, created_at: SystemTime) -> Self {
        Self {
            org: org.into(),
            publish_key: publish_key.into(),
            site: None,
            name: String::new(),
            created_at,
            created_by: String::new(),
            revoked_at: None,
        }
    }
}

/// What operators have set for an org or one of its sites.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Counts the changes; 0 as long as nothing was set.
    pub revision: u64,
    /// The heaviest call that may pass.
    pub global_max_weight: Option<f64>,
    /// The heaviest call of a tag that may pass.
    pub tag_max_weights: BTreeMap<String, f64>,
    /// Refuse everything.
    pub kill_signal: bool,
    /// What to tell clients of the fleet, for people.
    pub status: Option<String>,
    /// How long a policy holds without being confirmed, in seconds.
    pub lease_duration_seconds: Option<u64>,
    /// How often to report, in milliseconds.
    pub pulse_interval: Option<u64>,
    /// When it was last changed.
    pub updated_at: Option<SystemTime>,
    /// The id of the principal that changed it last.
    pub updated_by: Option<String>,
}

/// A part of an org.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct SiteId {
    /// The org.
    pub org: String,
    /// The site.
    pub site: String,
}

impl SiteId {
    /// Names a site.
    #[must_use]
    pub fn new(org: impl Into<String>, site: impl Into<String>) -> Self {
        Self { org: org.into(), site: site.into() }
    }
}

/// A pulse whose signature was found good, about to be counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pulse {
    /// Where it is counted.
    pub site: SiteId,
    /// The instance that sent it.
    pub instance: String,
    /// The id that it keeps when it is sent again; other clients send none.
    pub pulse_id: Option<String>,
    /// When it was written, in milliseconds since 1970; different in each pulse of an instance.
    pub ts: u64,
    /// What it adds.
    pub window: Window,
}

impl Pulse {
    /// Makes a pulse that is not sent again.
    #[must_use]
    pub fn new(site: SiteId, instance: impl Into<String>, ts: u64, window: Window) -> Self {
        Self { site, instance: instance.into(), pulse_id: None, ts, window }
    }
}

/// What became of a pulse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is counted, durably.
    Counted,
    /// A pulse of the same id is counted already.
    CountedBefore,
    /// A pulse of the same instance and time was seen already; nothing was counted.
    Replayed,
    /// The org has as many sites as it may have; nothing was counted.
    TooManySites,
}

/// How a site stands.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SiteState {
    /// Counts how often rules came into force, or ceased to be. What else changes of their states does not count: what
    /// was measured last, for one.
    pub revision: u64,
    /// The states of the rules, by their qualified name.
    pub rules: BTreeMap<String, RuleState>,
    /// When a pulse was last counted.
    pub last_pulse_at: Option<SystemTime>,
    /// How many pulses were counted.
    pub pulses: u64,
}

/// A site's counts since ever, by tag.
pub type Totals = BTreeMap<String, Aggregate>;
