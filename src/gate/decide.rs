//! The decision itself: a policy, a tag, a weight; nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Policy;

/// The tag of calls that name none.
pub const DEFAULT_TAG: &str = "__default__";

/// Whether a call may pass, and why.
///
/// # Examples
/// ```
/// use leverframe::gate::{GateReason, Policy, gate};
/// let result = gate(&Policy::default(), None, None);
/// assert!(result.allowed);
/// assert_eq!(result.reason, GateReason::Allowed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "complete by definition")]
pub struct GateResult {
    /// Whether the call may pass.
    pub allowed: bool,
    /// Why.
    pub reason: GateReason,
}

/// Why a call may pass or not.
///
/// # Examples
/// ```
/// use leverframe::gate::GateReason;
/// assert_eq!(GateReason::TagBlocked.to_string(), "tag_blocked");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GateReason {
    /// No limit was in the way.
    Allowed,
    /// The control plane wants nothing to pass.
    KillSignal,
    /// The limit for all calls is 0 or less.
    GlobalBlock,
    /// The call is heavier than the limit of its tag.
    TagBlocked,
    /// The call is heavier than the limit for all calls, or its weight is no weight.
    OverWeight,
    /// The policy has not been confirmed for too long; what passes is what safe mode lets through.
    LeaseExpired,
    /// The tag is throttled, and this call is among those to refuse.
    Throttled,
    /// As many calls are under way as the adaptive limit allows.
    OverLimit,
}

impl GateReason {
    /// Returns the word for it, as it stands in JSON and in answers to callers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::KillSignal => "kill_signal",
            Self::GlobalBlock => "global_block",
            Self::TagBlocked => "tag_blocked",
            Self::OverWeight => "over_weight",
            Self::LeaseExpired => "lease_expired",
            Self::Throttled => "throttled",
            Self::OverLimit => "over_limit",
        }
    }
}

impl fmt::Display for GateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl GateResult {
    pub(crate) const ALLOWED: Self = Self { allowed: true, reason: GateReason::Allowed };

    pub(crate) const fn denied(reason: GateReason) -> Self {
        Self { allowed: false, reason }
    }
}

/// Decides whether a call may pass.
///
/// A weight that is left out is 1, a tag that is left out is `__default__`. Limits are inclusive. What refuses first
/// names the reason: a weight that is no weight (NaN, negative), the kill signal, a limit for all of 0 or less, the
/// tag's limit, the limit for all. Throttling needs a memory of earlier calls and is
/// the client's business.
///
/// Never fails, blocks or allocates.
///
/// # Examples
/// ```
/// use leverframe::gate::{GateReason, Policy, gate};
/// let policy = Policy { global_max_weight: 10.0, tag_max_weights: [("free", 0.5)].into(), ..Policy::default() };
/// assert!(gate(&policy, Some("paid"), Some(10.0)).allowed);
/// assert_eq!(gate(&policy, Some("free"), None).reason, GateReason::TagBlocked);
/// ```
#[inline]
#[must_use]
pub fn gate(policy: &Policy, tag: Option<&str>, weight: Option<f64>) -> GateResult {
    let limit = policy.tag_max_weights.get(tag.unwrap_or(DEFAULT_TAG)).unwrap_or(f64::NAN);
    decide(policy.kill_signal, policy.global_max_weight, limit, weight)
}

/// The order of the reasons. A tag without a limit has the limit NaN, which nothing is heavier than.
#[inline]
pub(super) fn decide(kill: bool, global: f64, tag_limit: f64, weight: Option<f64>) -> GateResult {
    let weight = weight.unwrap_or(1.0);
    if weight.is_nan() || weight < 0.0 {
        return GateResult::denied(GateReason::OverWeight);
    }
    if kill {
        return GateResult::denied(GateReason::KillSignal);
    }
    if global <= 0.0 {
        return GateResult::denied(GateReason::GlobalBlock);
    }
    if weight > tag_limit {
        return GateResult::denied(GateReason::TagBlocked);
    }
    if weight > global {
        return GateResult::denied(GateReason::OverWeight);
    }
    GateResult::ALLOWED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(global: f64, tags: &[(&str, f64)]) -> Policy {
        Policy {
            global_max_weight: global,
            tag_max_weights: tags.iter().copied().collect(),
            ..Policy::default()
        }
    }

    fn kill(policy: Policy) -> Policy {
        Policy { kill_signal: true, ..policy }
    }

    #[test]
    fn decisions_are_those_of_the_published_vectors() {
        use GateReason::{Allowed, GlobalBlock, KillSignal, OverWeight, TagBlocked};
        let any = f64::INFINITY;
        let none = || Policy::default();
        let vectors: &[(Policy, Option<&str>, Option<f64>, GateReason)] = &[
            (none(), None, None, Allowed),
            (none(), Some("api"), Some(5.0), Allowed),
            (none(), None, Some(999_999.0), Allowed),
            (kill(none()), None, None, KillSignal),
            (with(0.0, &[]), None, None, GlobalBlock),
            (with(-1.0, &[]), None, None, GlobalBlock),
            (with(any, &[("free", 0.5)]), Some("free"), Some(1.0), TagBlocked),
            (with(any, &[("free", 0.5)]), Some("paid"), Some(1.0), Allowed),
            (with(10.0, &[]), None, Some(11.0), OverWeight),
            (kill(with(0.0, &[])), None, None, KillSignal),
            (with(0.0, &[("free", 0.0)]), Some("free"), Some(1.0), GlobalBlock),
            (kill(none()), None, Some(f64::NAN), OverWeight),
            (with(0.0, &[]), None, Some(-1.0), OverWeight),
            (none(), None, Some(-0.0), Allowed),
            (none(), None, Some(any), Allowed),
            (with(1e308, &[]), None, Some(any), OverWeight),
            (with(1e-9, &[]), None, Some(0.0), Allowed),
            (with(5.0, &[]), None, Some(5.0), Allowed),
            (with(any, &[("a", 5.0)]), Some("a"), Some(5.0), Allowed),
            (with(5.0, &[("a", any)]), Some("a"), Some(10.0), OverWeight),
            (with(5.0, &[("a", 2.0)]), Some("a"), Some(10.0), TagBlocked),
            (with(any, &[("__default__", 2.0)]), None, Some(3.0), TagBlocked),
            (with(any, &[("__default__", 2.0)]), Some(""), Some(3.0), Allowed),
            (with(any, &[("a", -1.0)]), Some("a"), Some(0.0), TagBlocked),
            (with(50.0, &[("a", f64::NAN)]), Some("a"), Some(40.0), Allowed),
            (with(f64::NAN, &[]), None, Some(1e9), Allowed),
            (with(any, &[("free", 0.0)]), Some("Free"), None, Allowed),
        ];
        for (at, (policy, tag, weight, reason)) in vectors.iter().enumerate() {
            let result = gate(policy, *tag, *weight);
            assert_eq!((result.reason, result.allowed), (*reason, *reason == Allowed), "vector {at}");
        }
    }

    #[test]
    fn reasons_have_one_word_everywhere() {
        for reason in [GateReason::Allowed, GateReason::OverWeight, GateReason::Throttled] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
