//! What the store promises, kept by both of its engines.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod backup;
mod conformance;
mod gate;
mod killed;
mod lists;
mod place;
#[path = "../../../tests/support/ports.rs"]
mod ports;
#[path = "../support/postgres.rs"]
mod postgres;
mod proxy;
mod replicas;
mod settings;
mod sqlite;
mod victim;
