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
#[path = "../../../tests/support/ports.rs"]
mod ports;
mod reading;
mod served;
mod settings;
mod wire;
