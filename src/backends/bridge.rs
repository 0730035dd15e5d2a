//! A bounded channel from threads to a future.
//!
//! It needs no async runtime. Threads wait while it is full, a future waits while it is empty, and either side learns
//! when the other is gone.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    backends::clock_system::SystemClock,
    traits::{Clock, Tick},
};

/// Makes a channel for `capacity` values; `notify` is called, on the receiver's thread, about what senders may want
/// to know without waiting for it.
pub(crate) fn bridge<T>(
    capacity: usize,
    notify: impl Fn(Notice) + Send + Sync + 'static,
) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State { queue: VecDeque::new(), waker: None, senders: 1, receiver: true }),
        room: Condvar::new(),
        capacity: capacity.max(1),
        notify: Box::new(notify),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// What the receiver did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It took a value while the channel was full.
    Room,
    /// It was dropped.
    Gone,
}

/// Why a value was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The channel is full.
    Full,
    /// The receiver was dropped.
    Gone,
    /// There was no room by the deadline.
    Late,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    room: Condvar,
    capacity: usize,
    notify: Box<dyn Fn(Notice) + Send + Sync>,
}

struct State<T> {
    queue: VecDeque<T>,
    waker: Option<Waker>,
    senders: usize,
    receiver: bool,
}

/// The threads' end.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Puts a value in, waiting for room until `deadline`.
    pub(crate) fn send(&self, value: T, deadline: Tick) -> Result<(), Refused> {
        let clock = SystemClock::new();
        let mut state = self.shared.lock();
        while state.receiver && state.queue.len() >= self.shared.capacity {
            let left = deadline - clock.now();
            if left.is_zero() {
                return Err(Refused::Late);
            }
            // The longest wait is bounded, because not every platform takes any duration.
            let (again, _) = self
                .shared
                .room
                .wait_timeout(state, left.min(LONGEST_WAIT))
                .unwrap_or_else(PoisonError::into_inner);
            state = again;
        }
        self.shared.put(state, value)
    }

    /// Puts a value in if there is room at once.
    pub(crate) fn try_send(&self, value: T) -> Result<(), Refused> {
        let state = self.shared.lock();
        if state.receiver && state.queue.len() >= self.shared.capacity {
            return Err(Refused::Full);
        }
        self.shared.put(state, value)
    }

    /// Puts a value in beyond the capacity: for what is few and must not be held up by what is many.
    pub(crate) fn push(&self, value: T) -> Result<(), Refused> {
        self.shared.put(self.shared.lock(), value)
    }

    /// Returns true where `try_send` would not be refused for want of room.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.lock().queue.len() < self.shared.capacity
    }

    /// Returns true once nobody will receive any more.
    pub(crate) fn is_gone(&self) -> bool {
        !self.shared.lock().receiver
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.shared.lock();
            state.senders -= 1;
            if state.senders == 0 { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender(…)")
    }
}

/// Ends a channel from a third side.
pub(crate) struct Ender<T> {
    shared: Weak<Shared<T>>,
}

impl<T> Ender<T> {
    /// Lets the receiver find `last` behind what it has not yet taken, and the senders nobody any more.
    pub(crate) fn end(&self, last: T) {
        let Some(shared) = self.shared.upgrade() else { return };
        let state = shared.lock();
        if shared.put(state, last).is_ok() {
            shared.lock().receiver = false;
            shared.room.notify_all();
            (shared.notify)(Notice::Gone);
        }
    }

    /// Returns true where there is nothing left to end.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.upgrade().is_none_or(|shared| !shared.lock().receiver)
    }
}

/// The future's end.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Returns what can end the channel while the receiver is held elsewhere.
    pub(crate) fn ender(&self) -> Ender<T> {
        Ender { shared: Arc::downgrade(&self.shared) }
    }

    /// Takes the next value; `None` once every sender is gone and nothing is left.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.shared.lock();
        let was_full = state.queue.len() >= self.shared.capacity;
        if let Some(value) = state.queue.pop_front() {
            let has_room = state.queue.len() < self.shared.capacity;
            drop(state);
            if was_full && has_room {
                self.shared.room.notify_all();
                (self.shared.notify)(Notice::Room);
            }
            return Poll::Ready(Some(value));
        }
        if state.senders == 0 || !state.receiver {
            return Poll::Ready(None);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let leftover = {
            let mut state = self.shared.lock();
            state.receiver = false;
            state.waker = None;
            std::mem::take(&mut state.queue)
        };
        // What is left may have destructors of its own, which must not run under the lock.
        drop(leftover);
        self.shared.room.notify_all();
        (self.shared.notify)(Notice::Gone);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver(…)")
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Only whole insertions and removals happen under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut state: MutexGuard<'_, State<T>>, value: T) -> Result<(), Refused> {
        if !state.receiver {
            return Err(Refused::Gone);
        }
        state.queue.push_back(value);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;
    use crate::live::block_on;

    fn soon() -> Tick {
        SystemClock::new().now() + Duration::from_secs(20)
    }

    #[test]
    fn values_arrive_in_order_although_the_channel_is_smaller() {
        let (sender, mut receiver) = bridge(2, |_| {});

        let thread = thread::spawn(move || (0..1_000).all(|n| sender.send(n, soon()).is_ok()));
        let received: Vec<i32> = block_on(async {
            let mut all = Vec::new();
            while let Some(n) = poll_fn(|cx| receiver.poll_next(cx)).await {
                all.push(n);
            }
            all
        });

        assert!(thread.join().unwrap());
        assert_eq!(received, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_waiting_thread_learns_that_the_receiver_is_gone() {
        let (sender, receiver) = bridge(1, |_| {});
        sender.try_send(1).unwrap();

        let thread = thread::spawn(move || sender.send(2, soon()));
        drop(receiver);

        assert_eq!(thread.join().unwrap(), Err(Refused::Gone));
    }

    #[test]
    fn a_thread_waits_no_longer_than_its_deadline() {
        let (sender, _receiver) = bridge(1, |_| {});
        sender.try_send(1).unwrap();

        let late = sender.send(2, SystemClock::new().now() + Duration::from_millis(5));

        assert_eq!(late, Err(Refused::Late));
    }

    #[test]
    fn notices_tell_of_room_and_of_the_end() {
        let rooms = Arc::new(AtomicUsize::new(0));
        let gone = Arc::new(AtomicUsize::new(0));
        let (in_rooms, in_gone) = (Arc::clone(&rooms), Arc::clone(&gone));
        let (sender, mut receiver) = bridge(2, move |notice| {
            let count = if notice == Notice::Room { &in_rooms } else { &in_gone };
            count.fetch_add(1, Ordering::AcqRel);
        });
        for n in [1, 2] {
            sender.try_send(n).unwrap();
        }

        let full = sender.try_send(3);
        sender.push(3).unwrap();
        for _ in 0..3 {
            let _ = block_on(poll_fn(|cx| receiver.poll_next(cx)));
        }
        drop(receiver);

        assert_eq!(full, Err(Refused::Full));
        // Taken from three to two is no room yet; from two to one is.
        assert_eq!((rooms.load(Ordering::Acquire), gone.load(Ordering::Acquire)), (1, 1));
        assert!(sender.is_gone());
    }

    #[test]
    fn a_third_side_can_end_it() {
        let (sender, mut receiver) = bridge(1, |_| {});
        let ender = receiver.ender();
        sender.try_send(1).unwrap();
        let waiting = thread::spawn(move || sender.send(2, soon()));

        ender.end(3);

        let mut next = || block_on(poll_fn(|cx| receiver.poll_next(cx)));
        assert_eq!((next(), next(), next()), (Some(1), Some(3), None));
        assert_eq!(waiting.join().unwrap(), Err(Refused::Gone));
        assert!(ender.is_over());
    }

    #[test]
    fn the_end_comes_when_the_last_sender_goes() {
        let (sender, mut receiver) = bridge::<u8>(1, |_| {});
        let other = sender.clone();

        drop(sender);
        let thread = thread::spawn(move || drop(other));

        assert_eq!(block_on(poll_fn(|cx| receiver.poll_next(cx))), None);
        thread.join().unwrap();
    }
}
