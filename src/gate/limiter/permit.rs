//! A call that is under way.

use std::{fmt, sync::Arc, thread};

use super::{Priority, adaptive::Shared};
use crate::traits::Tick;

/// A call that is under way, until this is dropped; then its latency counts.
///
/// # Examples
/// ```
/// use leverframe::gate::limiter::AdaptiveLimiter;
/// let limiter = AdaptiveLimiter::builder().build()?;
/// let mut permit = limiter.acquire(None, None).unwrap();
/// let outcome: Result<(), &str> = Err("timed out");
/// if outcome.is_err() {
///     permit.failed();
/// }
/// drop(permit);
/// assert_eq!(limiter.snapshot().in_flight, 0);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[must_use = "the call is over when it is dropped"]
pub struct Permit {
    shared: Arc<Shared>,
    priority: Priority,
    /// `None` for a call that is not timed.
    began: Option<Tick>,
    outcome: Outcome,
}

/// What a call tells about the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    CutOff,
    Failed,
    Ignored,
}

impl Permit {
    #[inline]
    pub(super) fn new(shared: Arc<Shared>, priority: Priority, began: Option<Tick>) -> Self {
        Self { shared, priority, began, outcome: Outcome::Answered }
    }

    /// Marks the call as one that failed for too much load: it timed out or was refused. Its latency does not count,
    /// and the more calls fail, the more the limit falls. An error that the caller made is no such failure.
    pub fn failed(&mut self) {
        self.mark(Outcome::Failed);
    }

    /// Marks the call as one that tells nothing, because it was answered without any work, say. This stays, whatever
    /// else the call is marked as.
    pub fn ignore(&mut self) {
        self.mark(Outcome::Ignored);
    }

    /// Marks the call as cut off before its end. The time that it had counts if it is longer than calls take; of a
    /// shorter one it is not known how long it would have taken.
    pub fn cut_off(&mut self) {
        self.mark(Outcome::CutOff);
    }

    fn mark(&mut self, outcome: Outcome) {
        if self.outcome != Outcome::Ignored {
            self.outcome = outcome;
        }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        // A call that panics says nothing of the load.
        let outcome = if thread::panicking() { Outcome::Ignored } else { self.outcome };
        self.shared.leave(self.priority, self.began, outcome);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("priority", &self.priority)
            .field("began", &self.began)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
