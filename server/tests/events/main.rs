//! The event stream, read over plain TCP as any client would.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod access;
mod closure;
mod connected;
mod end;
mod heartbeat;
mod slow;
mod sse;
mod stage;
mod stream;
mod watch;
#[path = "../support/mod.rs"]
mod support;
