//! The console in a real browser, against a real server with its database in a file.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administration;
mod browser;
mod changes;
mod gate;
mod house;
mod looks;
mod model;
mod playground;
#[allow(dead_code, unreachable_pub, reason = "only its ports are used here")]
#[path = "../../../tests/support/real/process.rs"]
mod ports;
mod reading;
mod served;
mod settings;
mod wire;
