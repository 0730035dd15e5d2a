//! The real binary as a server, and the commands that work on it and with it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod admin;
mod child;
mod crash;
mod demo;
mod manifest;
mod serve;
