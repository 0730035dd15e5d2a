//! Clients of a server: against a peer that speaks the contract, and that a test lets break it.
#![cfg(all(feature = "testing", feature = "async-tokio"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/shop.rs"]
mod shop;
mod stage;

mod failures;
mod following;
mod frames;
mod groups;
mod polls;
mod streams;
mod trees;
