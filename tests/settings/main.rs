//! The settings client against a service on loopback that misbehaves when told to.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod highlights;
mod stage;
mod streams;
