//! A call that the gate let in.

use super::{Timer, limiter::Permit};

/// A call that the gate let in, until this is dropped; then its latency is reported, and counts for the limiter.
///
/// # Examples
/// ```
/// use leverframe::gate::{Entry, GateReason, GateResult, WaitState, limiter::AdaptiveLimiter};
/// # let ws = WaitState::builder().publish_key("pk").secret_key("sk").base_url("http://127.0.0.1:9").build()?;
/// let ws = ws.limited(AdaptiveLimiter::builder().initial(1).build()?);
/// let first: Result<Entry, GateResult> = ws.enter(Some("checkout"), None);
/// assert_eq!(ws.enter(Some("checkout"), None).unwrap_err().reason, GateReason::OverLimit);
/// drop(first);
/// assert!(ws.enter(Some("checkout"), None).is_ok());
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the call is over when it is dropped"]
pub struct Entry {
    timer: Timer,
    permit: Option<Permit>,
}

impl Entry {
    #[inline]
    pub(super) fn new(timer: Timer, permit: Option<Permit>) -> Self {
        Self { timer, permit }
    }

    /// Marks the call as failed: it is reported as an error, and speaks of too much load as a timeout does.
    ///
    /// Where it says nothing of the load, as most errors of the caller's do not, [`ignore`](Self::ignore) it as well.
    pub fn failed(&mut self) {
        self.timer.failed();
        if let Some(permit) = &mut self.permit {
            permit.failed();
        }
    }

    /// Has the limiter learn nothing from the call. It is reported all the same.
    pub fn ignore(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.ignore();
        }
    }

    /// Marks the call as cut off before its end: it is reported with the time that it had, and the limiter learns
    /// from it only if that was longer than calls take.
    pub fn cut_off(&mut self) {
        if let Some(permit) = &mut self.permit {
            permit.cut_off();
        }
    }
}
