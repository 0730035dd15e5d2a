//! Adaptive traffic gating: whether a call may pass, under limits that a control plane sets for a whole fleet.
//!
//! [`gate`] decides from a [`Policy`] alone; it does no I/O, needs no runtime and allocates nothing.

mod counters;
mod decide;
mod policy;
mod rules;
mod safe_mode;

pub use self::{
    counters::HISTOGRAM_BOUNDS,
    decide::{DEFAULT_TAG, GateReason, GateResult, gate},
    policy::{Policy, TagWeights},
    safe_mode::SafeModeStrategy,
};
