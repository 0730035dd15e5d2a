//! The gate's control plane, over the wire.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod ours;
mod policies;
mod protocol;
mod rules;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
