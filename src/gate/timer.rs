//! Measures calls.

use std::{sync::Arc, thread};

use super::{WaitState, rules::Tag};
use crate::traits::Tick;

/// Reports, when it is dropped, how long it lived, and whether the call failed. A call that panics failed.
///
/// Making one allocates nothing, but for the first call of a tag.
///
/// # Examples
/// ```
/// # use leverframe::gate::{WaitState, WaitStateConfig};
/// # let ws = WaitState::start(WaitStateConfig { base_url: "http://127.0.0.1:9".into(), ..Default::default() });
/// let mut timer = ws.timer(Some("checkout"));
/// let outcome: Result<(), &str> = Err("declined");
/// if outcome.is_err() {
///     timer.failed();
/// }
/// ```
#[derive(Debug)]
#[must_use = "the time ends when it is dropped"]
pub struct Timer {
    client: WaitState,
    /// Found once: what is counted of a tag outlives every change of policy.
    tag: Arc<Tag>,
    began: Tick,
    failed: bool,
}

impl Timer {
    pub(super) fn new(client: WaitState, tag: Arc<Tag>, began: Tick) -> Self {
        Self { client, tag, began, failed: false }
    }

    /// Marks the call as failed.
    pub fn failed(&mut self) {
        self.failed = true;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let took = self.client.now() - self.began;
        self.tag.counters().latency(took.as_secs_f64() * 1_000.0);
        if self.failed || thread::panicking() {
            self.tag.counters().error();
        }
    }
}
