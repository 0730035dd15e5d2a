//! A call that is under way.

use std::{fmt, sync::Arc};

use super::adaptive::Shared;
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
    /// `None` for a call that is not timed.
    began: Option<Tick>,
    outcome: Outcome,
}

/// What a call tells about the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Failed,
    Ignored,
}

impl Permit {
    #[inline]
    pub(super) fn new(shared: Arc<Shared>, began: Option<Tick>) -> Self {
        Self { shared, began, outcome: Outcome::Answered }
    }

    /// Marks the call as one that failed for too much load: it timed out or was refused. Its latency does not count,
    /// and the more calls fail, the more the limit falls. An error that the caller made is no such failure.
    pub fn failed(&mut self) {
        self.outcome = Outcome::Failed;
    }

    /// Marks the call as one that tells nothing: it was cancelled, say, or answered without any work.
    pub fn ignore(&mut self) {
        self.outcome = Outcome::Ignored;
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.shared.leave(self.began, self.outcome);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("began", &self.began)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
