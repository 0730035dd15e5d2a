//! A clock that stands still until it is told to move.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{Duration, SystemTime},
};

use crate::traits::{BoxFuture, Clock, Tick};

/// A clock moved by hand; clones share its time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use leverframe::{testing::ManualClock, traits::Clock};
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(30));
/// assert_eq!(clock.now() - before, Duration::from_secs(30));
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    now: Tick,
    wall: SystemTime,
    sleepers: BTreeMap<(Tick, u64), Waker>,
    next: u64,
}

impl Default for Shared {
    fn default() -> Self {
        // A day in 2026: old enough for every timestamp that code may compare it with.
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000);
        Self { now: Tick::ORIGIN, wall, sleepers: BTreeMap::new(), next: 0 }
    }
}

impl ManualClock {
    /// Makes a clock at its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves both times on, and wakes the sleepers that are due, in the order of their deadlines.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut shared = self.lock();
            shared.now = shared.now + by;
            shared.wall += by;
            // The next free number is above every sleeper's, so this splits behind the last that is due.
            let later = shared.now;
            let rest = shared.sleepers.split_off(&(later, u64::MAX));
            std::mem::replace(&mut shared.sleepers, rest)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Sets the time of day, which may jump either way; the monotonic time stays.
    pub fn set_wall(&self, wall: SystemTime) {
        self.lock().wall = wall;
    }

    /// Returns how many sleeps wait: a test that must not move the clock too early looks here.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.len()
    }

    /// Returns when the sleeps that wait end, in order: a test that moves the clock by what is waited for looks here.
    #[must_use]
    pub fn deadlines(&self) -> Vec<Tick> {
        self.lock().sleepers.keys().map(|(deadline, _)| *deadline).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Tick {
        self.lock().now
    }

    fn wall(&self) -> SystemTime {
        self.lock().wall
    }

    fn sleep_until(&self, deadline: Tick) -> BoxFuture<'static, ()> {
        let mut place = Place { clock: self.clone(), key: None };
        Box::pin(poll_fn(move |cx| {
            let mut shared = place.clock.lock();
            if let Some(key) = place.key.take() {
                shared.sleepers.remove(&key);
            }
            if shared.now >= deadline {
                return Poll::Ready(());
            }
            let key = (deadline, shared.next);
            shared.next += 1;
            shared.sleepers.insert(key, cx.waker().clone());
            drop(shared);
            place.key = Some(key);
            Poll::Pending
        }))
    }
}

/// A sleeper's place, given up when its future is dropped.
struct Place {
    clock: ManualClock,
    key: Option<(Tick, u64)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.clock.lock().sleepers.remove(&key);
        }
    }
}
