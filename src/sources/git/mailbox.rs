//! Hands what a thread made to a future that waits for it.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Holds one thing at a time.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    content: Option<T>,
    closed: bool,
    waiting: Option<Waker>,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { content: None, closed: false, waiting: None }) }
    }
}

impl<T> Mailbox<T> {
    /// Waits for the next thing; `None` where the one who puts has gone.
    pub(super) async fn take(&self) -> Option<T> {
        poll_fn(|cx| {
            let mut state = self.state();
            match state.content.take() {
                None if !state.closed => {
                    state.waiting = Some(cx.waker().clone());
                    Poll::Pending
                }
                content => Poll::Ready(content),
            }
        })
        .await
    }

    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        let waiting = {
            let mut state = self.state();
            change(&mut state);
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Plain assignments only happen under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's end of a mailbox; dropping it, by a panic too, ends the waiting.
#[derive(Debug)]
pub(super) struct Putter<T>(Arc<Mailbox<T>>);

impl<T> Putter<T> {
    pub(super) fn new(mailbox: &Arc<Mailbox<T>>) -> Self {
        Self(Arc::clone(mailbox))
    }

    pub(super) fn put(&self, content: T) {
        self.0.change(|state| state.content = Some(content));
    }
}

impl<T> Drop for Putter<T> {
    fn drop(&mut self) {
        self.0.change(|state| state.closed = true);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::live::block_on;

    #[test]
    fn what_is_put_arrives_and_an_end_without_it_is_seen() {
        let mailbox = Arc::new(Mailbox::default());
        let putter = Putter::new(&mailbox);

        let thread = thread::spawn(move || putter.put(1));

        assert_eq!(block_on(mailbox.take()), Some(1));
        thread.join().unwrap();
        assert_eq!(block_on(mailbox.take()), None);
    }
}
