//! Adaptive traffic gating: whether a call may pass, under limits that a control plane sets for a whole fleet.
//!
//! [`gate`] decides from a [`Policy`] alone; it does no I/O, needs no runtime and allocates nothing.

mod decide;
mod policy;

pub use self::{
    decide::{DEFAULT_TAG, GateReason, GateResult, gate},
    policy::{Policy, TagWeights},
};
