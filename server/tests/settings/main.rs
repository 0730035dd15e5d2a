//! Settings, over the wire and on the machine itself.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod exchange;
mod machine;
mod operators;
#[path = "../support/mod.rs"]
mod support;
