//! The gate's control plane, over the wire.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod conservation;
mod operators;
mod ours;
mod policies;
#[path = "../support/postgres.rs"]
mod postgres;
mod protocol;
#[allow(dead_code, reason = "each test binary uses its part")]
#[path = "../clients/proxy.rs"]
mod proxy;
mod replicas;
mod rules;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
