//! The event stream, read over plain TCP as any client would.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod access;
mod closure;
mod connected;
mod end;
mod heartbeat;
#[path = "../support/postgres.rs"]
mod postgres;
mod replicas;
mod slow;
mod sse;
mod stage;
mod stream;
#[path = "../support/mod.rs"]
mod support;
mod watch;
