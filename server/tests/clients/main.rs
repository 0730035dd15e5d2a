//! Clients of the library against the real server, with a way between them that fails.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod failures;
mod following;
mod groups;
mod lives;
#[allow(dead_code, reason = "each test binary uses its part")]
mod proxy;
#[path = "../support/mod.rs"]
mod support;
