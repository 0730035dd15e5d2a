//! Streams that are open, by token: how many there are, when they have to end, when they say that they are alive.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use futures_util::task::AtomicWaker;

/// How often a stream says that it is alive, in turns of the hub's ticker, which come every second.
pub(super) const BEAT_TICKS: u64 = 15;

/// A permission to keep a stream open: held as long as the stream is, given back by dropping it.
#[derive(Debug)]
pub struct Lease {
    line: Arc<Line>,
    token: Arc<str>,
    all: Arc<Leases>,
}

/// What a stream has to do, besides what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// Say that it is alive: send a comment. Every 15 seconds.
    Beat,
    /// End: the token was revoked or expired, or the server shuts down.
    End,
}

#[derive(Debug, Default)]
struct Line {
    id: u64,
    beat: AtomicBool,
    ended: AtomicBool,
    waker: AtomicWaker,
}

/// The leases that are out. One waker and two flags each, no timer.
#[derive(Debug, Default)]
pub(super) struct Leases {
    next: AtomicU64,
    tokens: Mutex<HashMap<Arc<str>, OfToken>>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct OfToken {
    expires_at: Option<SystemTime>,
    lines: HashMap<u64, Arc<Line>>,
}

impl Lease {
    /// Returns what has to be done; pending when nothing has.
    pub fn poll_signal(&self, cx: &mut Context<'_>) -> Poll<Signal> {
        // Registered before the flags are read: a flag raised in between wakes the task again.
        self.line.waker.register(cx.waker());
        if self.line.ended.load(Ordering::Acquire) {
            return Poll::Ready(Signal::End);
        }
        if self.line.beat.swap(false, Ordering::AcqRel) {
            return Poll::Ready(Signal::Beat);
        }
        Poll::Pending
    }

    /// Returns the number of the stream in this process, which no other has or had.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.line.id
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut tokens = self.all.lock();
        if let Some(of_token) = tokens.get_mut(&self.token) {
            of_token.lines.remove(&self.line.id);
            if of_token.lines.is_empty() {
                tokens.remove(&self.token);
            }
        }
    }
}

impl Line {
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Leases {
    /// Hands out a lease, unless the token has `most` of them already.
    pub(super) fn admit(
        self: &Arc<Self>,
        id: &str,
        expires_at: Option<SystemTime>,
        most: usize,
    ) -> Option<Lease> {
        let token_id: Arc<str> = id.into();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let line = Arc::new(Line { id, ..Line::default() });
        {
            let mut tokens = self.lock();
            if tokens.get(&token_id).is_some_and(|of_token| of_token.lines.len() >= most) {
                return None;
            }
            let of_token = tokens.entry(Arc::clone(&token_id)).or_default();
            of_token.expires_at = expires_at;
            of_token.lines.insert(id, Arc::clone(&line));
        }
        // After it was entered: whoever closes the hub in between has either seen it or is seen here.
        if self.closed.load(Ordering::Acquire) {
            line.end();
        }
        Some(Lease { line, token: token_id, all: Arc::clone(self) })
    }

    /// Ends the streams of a token.
    pub(super) fn end_token(&self, id: &str) {
        if let Some(of_token) = self.lock().get(id) {
            of_token.lines.values().for_each(|line| line.end());
        }
    }

    /// Ends all streams, also those that are still to come.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.lock().values().flat_map(|of_token| of_token.lines.values()).for_each(|line| line.end());
    }

    /// Makes the streams whose turns are among these ticks say that they are alive, and ends those of tokens that
    /// have expired.
    pub(super) fn tick(&self, ticks: std::ops::RangeInclusive<u64>, wall: SystemTime) {
        // In turns, so that 5,000 streams are not 5,000 writes at once.
        let (first, count) = (*ticks.start(), ticks.count() as u64);
        let due = |id: u64| (id + BEAT_TICKS - first % BEAT_TICKS) % BEAT_TICKS < count;
        for of_token in self.lock().values() {
            let expired = of_token.expires_at.is_some_and(|at| at <= wall);
            for line in of_token.lines.values() {
                if expired {
                    line.end();
                } else if due(line.id) {
                    line.beat.store(true, Ordering::Release);
                    line.waker.wake();
                }
            }
        }
    }

    /// Returns the ids of the tokens that have streams.
    pub(super) fn tokens(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    /// Returns how many streams are open.
    pub(super) fn count(&self) -> usize {
        self.lock().values().map(|of_token| of_token.lines.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, OfToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
