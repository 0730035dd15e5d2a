//! The settings client against a service on loopback that misbehaves when told to.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "async-tokio")]
mod asynchronous;
mod cost;
mod failures;
mod files;
mod frame;
mod highlights;
#[cfg(feature = "signed")]
mod kept;
#[cfg(feature = "signed")]
mod leaks;
mod stage;
mod streams;
mod typed;
mod writes;
