//! Limits on calls under way that are learned from how long the calls take.
//!
//! [`AdaptiveLimiter`] is what calls ask; [`Limit`] is the algorithm alone. Neither needs a feature, a runtime or a
//! thread. Bounds may come from a flag ([`FlagLimit`]), so that they ramp, target and roll back as flags do.

mod adaptive;
mod builder;
mod came;
mod limit;
mod permit;
mod priority;
mod source;
mod window;

pub use self::{
    adaptive::{AdaptiveLimiter, PrioritySnapshot, Snapshot},
    builder::AdaptiveLimiterBuilder,
    limit::{Limit, LimitOptions},
    permit::Permit,
    priority::Priority,
    source::{FlagLimit, LimitBounds, LimitSource},
    window::Window,
};
