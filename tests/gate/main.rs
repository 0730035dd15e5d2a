//! The gate's client: against a control plane that fails in every way, on a clock that is moved by hand, and over
//! sockets.
#![cfg(all(feature = "async-tokio", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod conservation;
mod failures;
mod frame;
mod lease;
mod logs;
mod plane;
#[path = "../support/ports.rs"]
mod ports;
mod reports;
mod sockets;
mod start;
mod tags;
mod wire;
