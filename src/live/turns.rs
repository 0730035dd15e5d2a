//! One after the other, for futures on whatever drives them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::pulse::Pulse;

/// Lets one future through at a time; a lock that may be held while waiting.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: AtomicBool,
    given_back: Pulse,
}

/// Somebody's turn, until it is dropped.
#[must_use = "the turn ends when it is dropped"]
pub(crate) struct Turn<'t>(&'t Turns);

impl Turns {
    /// Waits for a turn.
    pub(crate) async fn take(&self) -> Turn<'_> {
        loop {
            // Before the look, so that a turn given back after it is not missed.
            let seen = self.given_back.count();
            if !self.taken.swap(true, Ordering::Acquire) {
                return Turn(self);
            }
            self.given_back.beyond(seen).await;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
        self.0.given_back.beat();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;
    use crate::live::block_on;

    #[test]
    fn one_is_inside_at_a_time_and_everybody_gets_in() {
        let (turns, inside, passed) = (Turns::default(), AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _turn = block_on(turns.take());
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        passed.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });

        assert_eq!(passed.into_inner(), 2_000);
    }

    #[test]
    fn a_turn_that_is_waited_for_and_given_up_is_nobodys() {
        let turns = Turns::default();
        let turn = block_on(turns.take());
        let mut waiting = Box::pin(turns.take());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(waiting);
        drop(turn);

        let _turn = block_on(turns.take());
    }
}
