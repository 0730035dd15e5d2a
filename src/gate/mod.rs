//! Adaptive traffic gating: whether a call may pass, under limits that a control plane sets for a whole fleet.
//!
//! [`gate`] decides from a [`Policy`] alone; it does no I/O, needs no runtime and allocates nothing.

#[cfg(feature = "async-tokio")]
mod client;
#[cfg(feature = "async-tokio")]
mod config;
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
mod rules;
mod safe_mode;
#[cfg(feature = "async-tokio")]
pub mod signing;
#[cfg(feature = "async-tokio")]
mod source;
#[cfg(feature = "async-tokio")]
mod state;
#[cfg(feature = "async-tokio")]
mod timer;
mod wire;

/// What travels between a client and the control plane.
pub mod types {
    pub use super::{
        counters::HISTOGRAM_BOUNDS,
        wire::{
            AuthTokenResponse, CustomMetricAggregate, PulseMetrics, PulsePayload, TagMetric,
            is_valid_metric_name,
        },
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
    counters::HISTOGRAM_BOUNDS,
    decide::{DEFAULT_TAG, GateReason, GateResult, gate},
    policy::{Policy, TagWeights},
    safe_mode::SafeModeStrategy,
};
