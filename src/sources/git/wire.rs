//! What carries the conversation with a git server, and how long it may take.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Error, ErrorKind, Result, Retry,
    traits::{Clock, Tick},
};

/// Carries requests to a git server and its answers back, without understanding either.
#[async_trait]
pub(super) trait Wire: Send {
    /// Reaches the server; what is received next is its greeting.
    async fn greet(&mut self) -> Result<()>;

    /// Sends a request; what is received next answers it.
    async fn send(&mut self, request: Vec<u8>) -> Result<()>;

    /// Brings the next bytes; `None` at the end.
    async fn receive(&mut self) -> Result<Option<Bytes>>;

    /// Whether a greeting that was heard before still serves, so that it need not be asked for again.
    fn may_skip_greeting(&self) -> bool;
}

/// The time by which a load must have ended.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    clock: Arc<dyn Clock>,
    at: Tick,
}

impl Deadline {
    pub(super) fn within(clock: &Arc<dyn Clock>, time: Duration) -> Self {
        Self { clock: Arc::clone(clock), at: clock.now() + time }
    }

    pub(super) fn left(&self) -> Duration {
        self.at - self.clock.now()
    }

    pub(super) fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    pub(super) async fn passed(&self) {
        self.clock.sleep_until(self.at).await;
    }
}

/// The connection ended in the middle of something.
pub(super) fn cut_off() -> Error {
    Error::new(ErrorKind::Unavailable, "read the git server's answer")
        .with("reason", "the connection ended too early")
        .retry(Retry::Now)
}

/// The server said something that is not git's protocol.
pub(super) fn not_git(reason: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "read the git server's answer")
        .with("reason", reason)
        .hint("check that the URI names a git repository and that no proxy answers in its place")
}

/// Makes a server's words fit for an error line.
pub(super) fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim().chars().take(200).flat_map(char::escape_debug).collect()
}
