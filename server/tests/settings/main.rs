//! Settings, over the wire and on the machine itself.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod access;
mod exchange;
mod machine;
mod operators;
mod ours;
#[path = "../support/postgres.rs"]
mod postgres;
mod replicas;
mod stage;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod sync;
mod unopened;
mod writes;
