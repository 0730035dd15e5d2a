//! What callers may choose for the time without a control plane.

use std::fmt;

/// What passes once the lease of the policy is over. The kill signal holds in any case.
///
/// # Examples
/// ```
/// use leverframe::gate::SafeModeStrategy;
/// assert_eq!(SafeModeStrategy::default(), SafeModeStrategy::FixedRps);
/// assert_eq!(SafeModeStrategy::LastPolicy.to_string(), "last_policy");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SafeModeStrategy {
    /// Everything.
    Open,
    /// So many calls a second, whatever their tag and weight.
    #[default]
    FixedRps,
    /// What the last policy lets through.
    LastPolicy,
}

impl fmt::Display for SafeModeStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::FixedRps => "fixed_rps",
            Self::LastPolicy => "last_policy",
        })
    }
}
