//! A point in time that sockets keep.

use std::{fmt, io, sync::Arc, time::Duration};

use leverframe::traits::{Clock, Tick};

/// A tick of a clock.
#[derive(Clone)]
pub(crate) struct Deadline {
    clock: Arc<dyn Clock>,
    at: Tick,
}

impl Deadline {
    pub(crate) fn new(clock: &Arc<dyn Clock>, at: Tick) -> Self {
        Self { clock: Arc::clone(clock), at }
    }

    /// The deadline that is this long from now, and this one at the latest.
    pub(crate) fn after(&self, pause: Duration) -> Self {
        Self { clock: Arc::clone(&self.clock), at: self.at.min(self.clock.now() + pause) }
    }

    /// Returns what is left, never zero: sockets take zero for "for ever".
    pub(crate) fn left(&self) -> io::Result<Duration> {
        let left = self.at - self.clock.now();
        if left < Duration::from_millis(1) { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.at).finish()
    }
}
