//! The thread that wakes sleepers.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    task::Waker,
    thread,
};

use super::SystemClock;
use crate::traits::{Clock, Tick};

/// Sleepers by deadline, and the thread that waits for the first of them.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleepers: Mutex<Sleepers>,
    earlier: Condvar,
}

#[derive(Debug, Default)]
struct Sleepers {
    /// The number tells sleepers of one deadline apart.
    by_deadline: BTreeMap<(Tick, u64), Waker>,
    next: u64,
    running: bool,
}

/// A place in the timer, given up when dropped.
#[derive(Debug)]
pub(super) struct Sleeper {
    timer: Arc<Timer>,
    key: (Tick, u64),
}

impl Timer {
    /// Returns the process's timer.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Timer>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(Arc::default))
    }

    /// Wakes `waker` at `deadline`, unless the sleeper is dropped before.
    pub(super) fn register(self: &Arc<Self>, deadline: Tick, waker: Waker) -> Sleeper {
        let mut sleepers = self.lock();
        let key = (deadline, sleepers.next);
        sleepers.next += 1;
        sleepers.by_deadline.insert(key, waker);
        if !sleepers.running {
            sleepers.running = self
                .start()
                .inspect_err(|error| tracing::error!(%error, "no thread to wake sleepers"))
                .is_ok();
        } else if sleepers.by_deadline.first_key_value().is_some_and(|(first, _)| *first == key) {
            self.earlier.notify_one();
        }
        Sleeper { timer: Arc::clone(self), key }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let timer = Arc::clone(self);
        thread::Builder::new().name("leverframe-timer".to_owned()).spawn(move || timer.run()).map(drop)
    }

    fn run(&self) {
        let clock = SystemClock::new();
        let mut sleepers = self.lock();
        loop {
            let now = clock.now();
            while let Some(first) = sleepers.by_deadline.first_entry().filter(|first| first.key().0 <= now) {
                // Waking under the lock would deadlock with a waker that registers a sleeper at once.
                let waker = first.remove();
                drop(sleepers);
                waker.wake();
                sleepers = self.lock();
            }
            sleepers = match sleepers.by_deadline.first_key_value() {
                Some(((deadline, _), _)) => {
                    let wait = *deadline - now;
                    self.earlier.wait_timeout(sleepers, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.earlier.wait(sleepers).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        // Only whole insertions and removals happen under the lock.
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.timer.lock().by_deadline.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_sleeper_leaves_nothing_behind() {
        let timer = Arc::new(Timer::default());
        let far = Tick::ORIGIN + std::time::Duration::from_secs(3600);

        let sleeper = timer.register(far, Waker::noop().clone());
        assert_eq!(timer.lock().by_deadline.len(), 1);
        drop(sleeper);

        assert!(timer.lock().by_deadline.is_empty());
    }
}
