//! The adaptive limiter: each known fault of such limiters in a simulator, its flags, its permits under threads.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[cfg(feature = "async-tokio")]
mod entries;
mod faults;
#[cfg(feature = "async-tokio")]
mod flags;
mod overrides;
mod permits;
mod reserves;
mod sim;
