//! What came of the calls of one priority: counted by every call, read once a window.

use std::{
    ops::Sub,
    sync::atomic::{AtomicU64, Ordering},
};

/// On lines of its own: adjacent lines are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Came {
    pub(super) admitted: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) left: AtomicU64,
}

/// The counts at a moment, or between two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) admitted: u64,
    pub(super) denied: u64,
    /// At the moment, also where the others are between two.
    pub(super) under_way: u64,
}

impl Came {
    pub(super) fn counts(&self) -> Counts {
        // In this order: none leaves before it is admitted.
        let left = self.left.load(Ordering::Acquire);
        let admitted = self.admitted.load(Ordering::Relaxed);
        let denied = self.denied.load(Ordering::Relaxed);
        Counts { admitted, denied, under_way: admitted.saturating_sub(left) }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            admitted: self.admitted.saturating_sub(before.admitted),
            denied: self.denied.saturating_sub(before.denied),
            ..self
        }
    }
}
