//! A counter that tasks and threads can wait on, and the stop signal made of it.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
};

/// A counter that only grows, with those who wait for it to pass a value.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    count: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Pulse {
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Adds one and wakes everybody.
    pub(crate) fn beat(&self) {
        let waiting = {
            // Poison means that a waker's clone panicked; the list itself is whole.
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.count.fetch_add(1, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until the count is beyond `seen`; dropping the future is safe.
    pub(crate) async fn beyond(&self, seen: u64) -> u64 {
        poll_fn(|cx| {
            let count = self.count();
            if count > seen {
                return Poll::Ready(count);
            }
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            // Again under the lock: a beat between the first look and here has already taken the list.
            let count = self.count();
            if count > seen {
                return Poll::Ready(count);
            }
            // A future polled often, or dropped and made anew, must not grow the list for ever.
            if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// Tells a running feed to end. Clones are one signal.
///
/// # Examples
/// ```
/// use leverframe::live::Stop;
/// let stop = Stop::new();
/// let seen_by_the_loop = stop.clone();
/// stop.stop();
/// assert!(seen_by_the_loop.is_stopped());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop {
    pulse: Arc<Pulse>,
}

impl Stop {
    /// Makes a signal that is not given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; giving it again changes nothing.
    pub fn stop(&self) {
        self.pulse.beat();
    }

    /// Returns true once the signal was given.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.pulse.count() > 0
    }

    /// Waits for the signal.
    pub async fn stopped(&self) {
        self.pulse.beyond(0).await;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::live::block_on;

    #[test]
    fn a_waiter_on_another_thread_sees_the_beat() {
        let pulse = Arc::new(Pulse::default());
        let waiter = thread::spawn({
            let pulse = Arc::clone(&pulse);
            move || block_on(pulse.beyond(0))
        });

        pulse.beat();

        assert!(waiter.join().unwrap() >= 1);
    }

    #[test]
    fn waiting_again_and_again_does_not_grow_the_list() {
        struct Nobody;
        impl std::task::Wake for Nobody {
            fn wake(self: Arc<Self>) {}
        }
        let pulse = Pulse::default();
        let waker = Waker::from(Arc::new(Nobody));
        let mut context = std::task::Context::from_waker(&waker);

        for _ in 0..100 {
            let wait = std::pin::pin!(pulse.beyond(0));
            assert!(wait.poll(&mut context).is_pending());
        }

        assert_eq!(pulse.waiting.lock().unwrap().len(), 1);
    }
}
