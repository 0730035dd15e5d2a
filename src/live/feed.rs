//! Keeps a snapshot of a source current.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use super::pulse::{Pulse, Stop};
use crate::{
    Error, ErrorKind,
    backoff::Backoff,
    document::{Document, Revision},
    error::chain,
    traits::{Clock, Load, Source, Tick},
};

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause after failures is longer, whatever their number.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How documents become snapshots.
///
/// Implemented by flags (here), settings and gate. `build` is pure work: no I/O, no waiting.
pub trait Product: fmt::Debug + Send + Sync + 'static {
    /// What is served: checked, compiled, immutable.
    type Snapshot: fmt::Debug + Send + Sync + 'static;
    /// Why a document is refused, or could not be had.
    type Error: StdError + From<Error> + Send + Sync + 'static;
    /// The word for log lines.
    const NAME: &'static str;

    /// Checks and compiles a document. `previous` is what is being served, for rules about succession.
    ///
    /// # Errors
    /// When the document is refused; what is served stays.
    fn build(
        &self,
        document: Document,
        previous: Option<&Self::Snapshot>,
    ) -> Result<Self::Snapshot, Self::Error>;
}

/// A snapshot with its place in the history of its feed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded<S> {
    /// What is served.
    pub snapshot: S,
    /// 1 for the first, one more for each that replaced it.
    pub version: u64,
    /// The source's name for the state, where there is a source.
    pub revision: Option<Revision>,
    /// When it was swapped in.
    pub loaded_at: Tick,
}

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A new snapshot is served, under this version.
    Swapped(u64),
    /// The source has nothing new, or a load that began later has already settled.
    Unchanged,
}

/// How a feed stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The version being served.
    pub version: u64,
    /// The source's name for the state being served.
    pub revision: Option<Revision>,
    /// How long ago the source last confirmed that what is served is current.
    pub staleness: Duration,
    /// Why the last refresh failed; `None` if it did not.
    pub last_error: Option<String>,
    /// How many refreshes failed since the last that did not.
    pub consecutive_failures: u64,
}

/// When a running feed refreshes without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// The longest time between two looks at the source.
    pub poll_interval: Duration,
}

impl Schedule {
    /// Looks at the source at least this often. An interval under a millisecond counts as one.
    #[must_use]
    pub fn every(poll_interval: Duration) -> Self {
        Self { poll_interval: poll_interval.max(Duration::from_millis(1)) }
    }
}

/// Keeps the snapshot of a [`Product`] current; clones share it.
///
/// Reading is one atomic load. A refresh loads, checks and compiles beside what is served and swaps last, so a
/// failure at any point leaves what is served as it was.
pub struct Feed<P: Product> {
    inner: Arc<Inner<P>>,
}

struct Inner<P: Product> {
    product: P,
    source: Option<Arc<dyn Source>>,
    clock: Arc<dyn Clock>,
    current: ArcSwap<Loaded<P::Snapshot>>,
    /// Numbers the loads in the order they begin.
    tickets: AtomicU64,
    state: Mutex<State>,
    settled: Pulse,
}

#[derive(Debug)]
struct State {
    /// The latest begun of the loads that have settled; one that began earlier no longer counts.
    ticket: u64,
    confirmed_at: Tick,
    last_error: Option<String>,
    failures: u64,
}

impl<P: Product> Feed<P> {
    /// Loads from `source` and serves the result.
    ///
    /// # Errors
    /// When the source cannot be read or the document is refused.
    pub async fn open(product: P, source: Arc<dyn Source>, clock: Arc<dyn Clock>) -> Result<Self, P::Error> {
        let document = whole(&*source).await?;
        let revision = document.revision().clone();
        let snapshot = product.build(document, None)?;
        Ok(Self::assemble(product, Some(source), clock, snapshot, Some(revision)))
    }

    /// Serves `snapshot` for ever.
    pub fn fixed(product: P, snapshot: P::Snapshot, clock: Arc<dyn Clock>) -> Self {
        Self::assemble(product, None, clock, snapshot, None)
    }

    fn assemble(
        product: P,
        source: Option<Arc<dyn Source>>,
        clock: Arc<dyn Clock>,
        snapshot: P::Snapshot,
        revision: Option<Revision>,
    ) -> Self {
        let now = clock.now();
        let current = ArcSwap::from_pointee(Loaded { snapshot, version: 1, revision, loaded_at: now });
        let state = State { ticket: 0, confirmed_at: now, last_error: None, failures: 0 };
        Self {
            inner: Arc::new(Inner {
                product,
                source,
                clock,
                current,
                tickets: AtomicU64::new(0),
                state: Mutex::new(state),
                settled: Pulse::default(),
            }),
        }
    }

    /// Returns what is served now, for one operation: holding it keeps the operation on one snapshot.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Loaded<P::Snapshot>>> {
        self.inner.current.load()
    }

    /// Returns what is served now, to keep.
    #[must_use]
    pub fn load_full(&self) -> Arc<Loaded<P::Snapshot>> {
        self.inner.current.load_full()
    }

    /// Returns the version being served.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.load().version
    }

    /// Returns the clock that the feed goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Returns true if there is a source to refresh from.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.inner.source.is_some()
    }

    /// Returns how the feed stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let current = self.load_full();
        let now = self.inner.clock.now();
        let state = self.state();
        let staleness = if self.is_live() { now - state.confirmed_at } else { Duration::ZERO };
        Status {
            version: current.version,
            revision: current.revision.clone(),
            staleness,
            last_error: state.last_error.clone(),
            consecutive_failures: state.failures,
        }
    }

    /// Returns how many refreshes have settled, well or not.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.inner.settled.count()
    }

    /// Waits until more than `seen` refreshes have settled, and returns how many have.
    pub async fn settled_beyond(&self, seen: u64) -> u64 {
        self.inner.settled.beyond(seen).await
    }

    /// Loads the whole state again and serves it, changed or not. Without a source this does nothing.
    ///
    /// Refreshes may overlap: the one that began last wins.
    ///
    /// # Errors
    /// When the source cannot be read or the document is refused; what is served stays.
    pub async fn refresh(&self) -> Result<Outcome, P::Error> {
        self.refresh_since(None).await
    }

    /// Asks the source for news and serves them, if any. Without a source this does nothing.
    ///
    /// # Errors
    /// When the source cannot be read or the document is refused; what is served stays.
    pub async fn poll(&self) -> Result<Outcome, P::Error> {
        let since = self.load().revision.clone();
        self.refresh_since(since).await
    }

    async fn refresh_since(&self, since: Option<Revision>) -> Result<Outcome, P::Error> {
        let Some(source) = &self.inner.source else { return Ok(Outcome::Unchanged) };
        let ticket = self.inner.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        let built = self.build_from(&**source, since.as_ref()).await;
        let result = self.settle(ticket, built);
        self.inner.settled.beat();
        result
    }

    async fn build_from(
        &self,
        source: &dyn Source,
        since: Option<&Revision>,
    ) -> Result<Option<(P::Snapshot, Revision)>, P::Error> {
        let document = match source.load(since).await? {
            Load::Unchanged => return Ok(None),
            Load::Snapshot(document) => document,
            // The feed keeps snapshots, not documents, so a change is the word that there is a new whole state.
            Load::Delta(_) => whole(source).await?,
        };
        let revision = document.revision().clone();
        let previous = self.load_full();
        let snapshot = self.inner.product.build(document, Some(&previous.snapshot))?;
        Ok(Some((snapshot, revision)))
    }

    fn settle(
        &self,
        ticket: u64,
        built: Result<Option<(P::Snapshot, Revision)>, P::Error>,
    ) -> Result<Outcome, P::Error> {
        let mut state = self.state();
        if ticket < state.ticket {
            return built.map(|_| Outcome::Unchanged);
        }
        state.ticket = ticket;
        match built {
            Ok(news) => {
                let now = self.inner.clock.now();
                if state.failures > 0 {
                    tracing::info!(product = P::NAME, failures = state.failures, "refresh works again");
                }
                state.confirmed_at = now;
                state.last_error = None;
                state.failures = 0;
                let Some((snapshot, revision)) = news else { return Ok(Outcome::Unchanged) };
                let version = self.load().version + 1;
                let loaded = Loaded { snapshot, version, revision: Some(revision), loaded_at: now };
                // Under the lock, so that versions are swapped in the order they are counted.
                self.inner.current.store(Arc::new(loaded));
                Ok(Outcome::Swapped(version))
            }
            Err(error) => {
                state.last_error = Some(chain(&error));
                state.failures += 1;
                Err(error)
            }
        }
    }

    /// Refreshes on `schedule` and whenever the source says that it changed, until `stop` is given.
    ///
    /// `poll` runs one conditional refresh: plain `Feed::poll` on a thread of its own, or one that moves it to where
    /// blocking is allowed. Failures are recorded and retried with growing pauses, never longer than the interval.
    /// Without a source this returns at once.
    pub async fn run<F>(&self, schedule: Schedule, stop: &Stop, poll: impl Fn(Self) -> F + Send)
    where
        F: Future<Output = Result<Outcome, P::Error>> + Send,
    {
        let Some(source) = &self.inner.source else { return };
        let clock = &self.inner.clock;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut listen = true;
        loop {
            let pause = backoff.pause().map_or(schedule.poll_interval, |p| p.min(schedule.poll_interval));
            let woken = self.wait(&**source, clock.now() + pause, stop, listen).await;
            let told = matches!(woken, Wake::Changed(_));
            match woken {
                Wake::Stop => return,
                Wake::Due => listen = true,
                Wake::Changed(Ok(())) => {}
                Wake::Changed(Err(error)) => {
                    // Listening again at once could spin on a notifier that stays broken; the next poll tries it.
                    tracing::warn!(product = P::NAME, error = %error.chain(), "change notification failed, polling");
                    listen = false;
                    continue;
                }
            }
            let outcome = poll(self.clone()).await;
            let fruitless = !matches!(outcome, Ok(Outcome::Swapped(_)));
            match outcome {
                Ok(_) => backoff.reset(),
                Err(error) => {
                    backoff.fail();
                    tracing::warn!(product = P::NAME, error = %chain(&error), "refresh failed, serving what was loaded before");
                }
            }
            if told && fruitless {
                // A notifier may cry wolf (S6), even without end; this keeps the loop from spinning on it.
                if let Wake::Stop = self.wait(&**source, clock.now() + LULL, stop, false).await {
                    return;
                }
            }
        }
    }

    async fn wait(&self, source: &dyn Source, due: Tick, stop: &Stop, listen: bool) -> Wake {
        let mut stopped = pin!(stop.stopped());
        let mut changed = pin!(source.changed());
        let mut timer = self.inner.clock.sleep_until(due);
        poll_fn(|cx| {
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Wake::Stop);
            }
            if listen && let Poll::Ready(result) = changed.as_mut().poll(cx) {
                return Poll::Ready(Wake::Changed(result));
            }
            timer.as_mut().poll(cx).map(|()| Wake::Due)
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The lock is held for plain assignments only, which leave the state whole wherever they stop.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Product> Clone for Feed<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<P: Product> fmt::Debug for Feed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("product", &self.inner.product)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// The pause after a notification that brought nothing new.
const LULL: Duration = Duration::from_millis(20);

enum Wake {
    Changed(Result<(), Error>),
    Due,
    Stop,
}

/// Asks for the whole state, and refuses any other answer.
async fn whole(source: &dyn Source) -> Result<Document, Error> {
    match source.load(None).await? {
        Load::Snapshot(document) => Ok(document),
        Load::Unchanged | Load::Delta(_) => {
            Err(Error::new(ErrorKind::Invalid, "load the whole state of a source")
                .with("source", source.name())
                .hint("a source must answer `load(None)` with a snapshot (clause S1)"))
        }
    }
}
