//! The settings client against a service on loopback that misbehaves when told to.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(unix)]
mod again;
#[cfg(feature = "async-tokio")]
mod asynchronous;
#[cfg(all(target_os = "linux", feature = "signed", feature = "http-in-process"))]
mod canary;
mod cost;
mod exchanges;
mod failures;
mod files;
mod frame;
mod highlights;
mod identity;
#[cfg(feature = "signed")]
mod kept;
#[cfg(feature = "signed")]
mod leaks;
#[cfg(target_os = "linux")]
mod memory;
mod panics;
#[path = "../support/ports.rs"]
mod ports;
#[cfg(target_os = "linux")]
mod processes;
mod stage;
mod streams;
mod typed;
mod writes;
