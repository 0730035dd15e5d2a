//! Things at hand that the store has, until somebody says that they may have changed.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use leverframe::{Result, traits::Tick};
use tokio::sync::{Mutex, MutexGuard};

/// How long something is believed without asking again: a backstop, since changes are told at once.
const BELIEVED: Duration = Duration::from_secs(30);

/// Holds one thing.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    /// Counts the times that what is held was put in doubt.
    doubts: AtomicU64,
    held: ArcSwapOption<Held<T>>,
    turn: Mutex<()>,
}

/// Something that was read, and how far it is to be believed.
#[derive(Debug)]
pub(crate) struct Held<T> {
    /// The doubts there were when it was asked for: whatever came after may not be in it.
    doubts: u64,
    read_at: Tick,
    value: Arc<T>,
}

impl<T> Held<T> {
    pub(crate) fn value(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { doubts: AtomicU64::new(0), held: ArcSwapOption::empty(), turn: Mutex::new(()) }
    }
}

impl<T: Send + Sync> Slot<T> {
    /// Holds something that was just read.
    pub(crate) fn holding(value: Arc<T>, now: Tick) -> Self {
        let slot = Self::default();
        slot.held.store(Some(Arc::new(Held { doubts: 0, read_at: now, value })));
        slot
    }

    /// Says that there may be something newer.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns what is held if nothing speaks against it.
    pub(crate) fn fresh(&self, now: Tick) -> Option<Arc<T>> {
        self.within(now, BELIEVED)
    }

    /// Returns what was read not longer ago than that, if nobody has put it in doubt since.
    pub(crate) fn within(&self, now: Tick, longest: Duration) -> Option<Arc<T>> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| self.is_believed(held, now, longest))?;
        Some(Arc::clone(&held.value))
    }

    fn is_believed(&self, held: &Held<T>, now: Tick, longest: Duration) -> bool {
        held.doubts == self.doubts.load(Ordering::Acquire) && now - held.read_at < longest
    }

    /// Returns what was read last, however long ago.
    pub(crate) fn last(&self) -> Option<Arc<T>> {
        self.held.load().as_ref().map(|held| Arc::clone(&held.value))
    }

    /// Returns what is held, or else reads it: of many who ask at once, one for all.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) async fn get<F>(&self, now: Tick, read: impl FnOnce() -> F + Send) -> Result<Arc<T>>
    where
        F: Future<Output = Result<T>> + Send,
    {
        if let Some(held) = self.fresh(now) {
            return Ok(held);
        }
        let held = self.turn().await.get(now, read).await?;
        Ok(Arc::clone(&held.value))
    }

    /// Waits for the turn to read: as long as it is held, nobody else reads.
    pub(crate) async fn turn(&self) -> Turn<'_, T> {
        Turn { slot: self, _turn: self.turn.lock().await }
    }
}

/// The turn to read what a slot holds.
#[derive(Debug)]
pub(crate) struct Turn<'s, T> {
    slot: &'s Slot<T>,
    _turn: MutexGuard<'s, ()>,
}

impl<T: Send + Sync> Turn<'_, T> {
    /// Returns what is held if nothing speaks against it, or else reads it.
    ///
    /// # Errors
    /// Those of `read`; then everything stays as it was.
    pub(crate) async fn get<F>(&self, now: Tick, read: impl FnOnce() -> F + Send) -> Result<Arc<Held<T>>>
    where
        F: Future<Output = Result<T>> + Send,
    {
        match self.slot.held.load_full() {
            Some(held) if self.slot.is_believed(&held, now, BELIEVED) => Ok(held),
            _ => self.read(now, read).await,
        }
    }

    /// Reads, and holds what is read.
    ///
    /// # Errors
    /// Those of `read`; then everything stays as it was.
    pub(crate) async fn read<F>(&self, now: Tick, read: impl FnOnce() -> F + Send) -> Result<Arc<Held<T>>>
    where
        F: Future<Output = Result<T>> + Send,
    {
        // Before the store is asked, so that a doubt which arises meanwhile counts.
        let doubts = self.slot.doubts.load(Ordering::Acquire);
        let value = Arc::new(read().await?);
        let held = Arc::new(Held { doubts, read_at: now, value });
        self.slot.held.store(Some(Arc::clone(&held)));
        Ok(held)
    }

    /// Holds what was made of something that was held, and believes it no longer than that: what has not been read
    /// again is neither younger for it, nor beyond the doubts that have arisen since.
    pub(crate) fn replace(&self, held: &Held<T>, value: T) {
        let Held { doubts, read_at, .. } = *held;
        self.slot.held.store(Some(Arc::new(Held { doubts, read_at, value: Arc::new(value) })));
    }
}

#[cfg(test)]
mod tests {
    use leverframe::{Error, ErrorKind};

    use super::*;

    async fn get(slot: &Slot<u32>, now: Tick, value: u32) -> u32 {
        *slot.get(now, || async move { Ok(value) }).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_held_is_read_again_only_in_doubt_or_after_a_while() {
        let slot = Slot::default();

        assert_eq!(get(&slot, Tick::ORIGIN, 1).await, 1);
        assert_eq!(get(&slot, Tick::ORIGIN, 2).await, 1);
        slot.doubt();
        assert_eq!(get(&slot, Tick::ORIGIN, 3).await, 3);
        assert_eq!(get(&slot, Tick::ORIGIN + BELIEVED, 4).await, 4);
    }

    #[tokio::test]
    async fn a_doubt_that_arises_while_it_is_read_counts() {
        let slot = Slot::default();
        slot.get(Tick::ORIGIN, || async {
            slot.doubt();
            Ok(1)
        })
        .await
        .unwrap();

        assert_eq!(slot.fresh(Tick::ORIGIN), None);
        assert_eq!(get(&slot, Tick::ORIGIN, 2).await, 2);
    }

    #[tokio::test]
    async fn what_was_made_of_something_held_is_believed_no_longer_than_that() {
        let slot = Slot::default();
        let turn = slot.turn().await;
        let later = Tick::ORIGIN + BELIEVED / 2;

        let held = turn.get(Tick::ORIGIN, || async { Ok(1) }).await.unwrap();
        turn.replace(&held, 2);
        let held = turn.get(later, || async { Ok(3) }).await.unwrap();
        turn.replace(&held, *held.value().as_ref() * 10);
        assert_eq!(slot.fresh(later), Some(Arc::new(20)));
        assert_eq!(slot.fresh(Tick::ORIGIN + BELIEVED), None, "it has not been read since");

        // While something is made of what is held, somebody hears of something newer.
        let held = turn.get(later, || async { Ok(4) }).await.unwrap();
        slot.doubt();
        turn.replace(&held, 30);
        drop(turn);
        assert_eq!((slot.fresh(later), slot.last()), (None, Some(Arc::new(30))));
        assert_eq!(get(&slot, later, 5).await, 5);
    }

    #[tokio::test]
    async fn what_cannot_be_read_leaves_the_last_one() {
        let slot = Slot::default();
        get(&slot, Tick::ORIGIN, 1).await;
        slot.doubt();

        let failed =
            slot.get(Tick::ORIGIN, || async { Err(Error::new(ErrorKind::Unavailable, "read")) }).await;

        assert!(failed.is_err());
        assert_eq!((slot.fresh(Tick::ORIGIN), slot.last()), (None, Some(Arc::new(1))));
    }
}
