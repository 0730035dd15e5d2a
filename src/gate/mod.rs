//! Adaptive traffic gating: whether a call may pass, under limits that a control plane sets for a whole fleet.
//!
//! [`gate`] decides from a [`Policy`] alone; it does no I/O, needs no runtime and allocates nothing.
//!
//! `WaitState` (feature `async-tokio`) keeps that policy current and reports what was called: calls go through
//! `client` → `rules` (one look-up for limit and counters) → `decide`; a thread sends what `counters` hold through the
//! `outbox`, and the answer to a report is the next policy (`source`, a feed's source). [`limiter`] learns limits on
//! the spot, [`reflex`] is how a control plane decides.

#[cfg(feature = "async-tokio")]
mod client;
#[cfg(feature = "async-tokio")]
mod config;
#[cfg(feature = "async-tokio")]
mod counters;
mod decide;
#[cfg(feature = "async-tokio")]
mod entry;
#[cfg(feature = "tower")]
mod layer;
pub mod limiter;
#[cfg(feature = "async-tokio")]
mod outbox;
mod policy;
#[cfg(feature = "async-tokio")]
mod product;
pub mod reflex;
#[cfg(feature = "async-tokio")]
mod rules;
#[cfg(feature = "async-tokio")]
mod safe_mode;
#[cfg(feature = "async-tokio")]
pub mod signing;
#[cfg(feature = "async-tokio")]
mod source;
#[cfg(feature = "async-tokio")]
mod state;
mod strategy;
#[cfg(feature = "async-tokio")]
mod timer;
mod wire;

/// What travels between a client and the control plane.
pub mod types {
    pub use super::wire::{
        AuthTokenResponse, CustomMetricAggregate, HISTOGRAM_BOUNDS, LONGEST_TAG, PulseMetrics, PulsePayload,
        TagMetric, is_valid_metric_name,
    };
}

#[cfg(feature = "tower")]
pub use self::layer::{GateFuture, GateLayer, GateService, TagOf, WeightOf};
#[cfg(feature = "async-tokio")]
pub use self::{
    client::WaitState,
    config::{WaitStateBuilder, WaitStateConfig},
    entry::Entry,
    state::{GateMode, GateState},
    timer::Timer,
};
pub use self::{
    decide::{DEFAULT_TAG, GateReason, GateResult, gate},
    policy::{Policy, TagWeights},
    strategy::SafeModeStrategy,
    wire::HISTOGRAM_BOUNDS,
};
