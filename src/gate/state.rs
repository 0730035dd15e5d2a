//! How a client stands.

use std::time::SystemTime;

use super::SafeModeStrategy;

/// How a client stands.
///
/// # Examples
/// ```
/// use leverframe::gate::{GateMode, WaitState};
/// let ws = WaitState::builder().publish_key("pk").secret_key("sk").base_url("http://127.0.0.1:9").build()?;
/// assert_eq!(ws.state().mode, GateMode::NeverSynced);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateState {
    /// What calls are decided by.
    pub mode: GateMode,
    /// Since when.
    pub since: SystemTime,
    /// When the control plane last gave or confirmed a policy.
    pub last_success: Option<SystemTime>,
    /// Why the policy could not be had the last time it was asked for; `None` if it could.
    pub last_error: Option<String>,
    /// Why the last report did not arrive; `None` if it did. What it said is kept and sent again.
    pub last_report_error: Option<String>,
    /// How far the control plane's clock is ahead of this machine's, in milliseconds, where it refused reports for
    /// their time; they are written by its clock since.
    pub clock_offset_ms: Option<i64>,
}

/// What calls are decided by.
///
/// # Examples
/// ```
/// use leverframe::gate::{GateMode, SafeModeStrategy};
/// assert_ne!(GateMode::SafeMode(SafeModeStrategy::Open), GateMode::InForce);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateMode {
    /// Nothing: no control plane has given a policy yet, and everything may pass.
    NeverSynced,
    /// The policy.
    InForce,
    /// The safe mode: the policy was not confirmed for as long as it holds.
    SafeMode(SafeModeStrategy),
}
