//! Keeps a snapshot of a source current.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, Guard};

use super::{
    keep::Kept,
    ladder::{Failed, Ladder, News, Start},
    product::Product,
    pulse::{Pulse, Stop},
    state::State,
    status::{Origin, Outcome, Polled, StalePolicy, Status},
};
use crate::{
    Error, ErrorKind,
    backoff::Backoff,
    document::{Delta, Document, Revision},
    error::chain,
    traits::{Clock, Load, Source, Tick},
};

/// The pause after the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause after failures is longer, whatever their number.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

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

/// When a running feed refreshes without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// The longest time between two looks at the source.
    pub poll_interval: Duration,
    /// Whether looks come up to a tenth of the interval early, at random, so that a fleet does not march in step.
    pub jitter: bool,
}

impl Schedule {
    /// Looks at the source this often. An interval under a millisecond counts as one.
    #[must_use]
    pub fn every(poll_interval: Duration) -> Self {
        Self { poll_interval: poll_interval.max(Duration::from_millis(1)), jitter: false }
    }

    /// Takes up to a tenth off each interval, at random.
    #[must_use]
    pub fn jittered(mut self) -> Self {
        self.jitter = true;
        self
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
    ladder: Ladder,
    current: ArcSwap<Loaded<P::Snapshot>>,
    /// Numbers the loads in the order they begin.
    tickets: AtomicU64,
    state: Mutex<State>,
    settled: Pulse,
}

/// What a load brought.
enum Brought<S> {
    /// The word that nothing changed.
    Nothing,
    /// The state that is being served, under the name that it has now.
    Same(Revision),
    News(News<S>),
    /// What a change made of the state that is being served.
    Changed(News<S>),
}

impl<P: Product> Feed<P> {
    /// Loads from `source` and serves the result.
    ///
    /// # Errors
    /// When the source cannot be read or the document is refused.
    pub async fn open(product: P, source: Arc<dyn Source>, clock: Arc<dyn Clock>) -> Result<Self, P::Error> {
        Self::open_with(product, source, clock, Ladder::new()).await
    }

    /// Loads from `source`, or else from what `ladder` has, and serves the result.
    ///
    /// # Errors
    /// When the source cannot be read or its document is refused, and no step of the ladder bears either: what the
    /// source reported.
    pub async fn open_with(
        product: P,
        source: Arc<dyn Source>,
        clock: Arc<dyn Clock>,
        ladder: Ladder,
    ) -> Result<Self, P::Error> {
        let start = ladder.start(&product, &*source, &*clock).await?;
        let feed = Self::assemble(product, Some(source), clock, ladder, start);
        Ok(feed)
    }

    /// Serves `snapshot` for ever.
    pub fn fixed(product: P, snapshot: P::Snapshot, clock: Arc<dyn Clock>) -> Self {
        let start = Start::of(snapshot, Origin::Source);
        Self::assemble(product, None, clock, Ladder::new(), start)
    }

    fn assemble(
        product: P,
        source: Option<Arc<dyn Source>>,
        clock: Arc<dyn Clock>,
        ladder: Ladder,
        start: Start<P::Snapshot>,
    ) -> Self {
        let now = clock.now();
        let failures = u64::from(start.failure.is_some());
        let confirmed = start.failure.is_none() && start.confirmed && source.is_some();
        let state = State {
            ticket: 0,
            origin: start.origin,
            revision: start.revision.clone(),
            confirmed_at: now,
            age_at_start: start.age,
            last_success: confirmed.then(|| clock.wall()),
            last_error: start.failure,
            consecutive_failures: failures,
            failures,
            not_before: now + start.asked_to_wait.min(LONGEST_WAIT),
            bytes: start.bytes,
            quarantined: start.quarantined,
            warned_of_age: false,
            kept_at: start.kept_at,
        };
        let current = ArcSwap::from_pointee(Loaded {
            snapshot: start.snapshot,
            version: 1,
            revision: start.revision,
            loaded_at: now,
        });
        let feed = Self {
            inner: Arc::new(Inner {
                product,
                source,
                clock,
                ladder,
                current,
                tickets: AtomicU64::new(0),
                state: Mutex::new(state),
                settled: Pulse::default(),
            }),
        };
        feed.warn_of_age();
        feed
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
        let staleness = self.staleness(&state, now);
        let (last_error, last_error_kind) = state.last_error.clone().unzip();
        Status {
            version: current.version,
            revision: state.revision.clone(),
            origin: state.origin,
            staleness,
            expired: self.inner.ladder.is_too_old(staleness),
            last_success: state.last_success,
            last_error,
            last_error_kind,
            consecutive_failures: state.consecutive_failures,
            refreshes: self.inner.settled.count(),
            failures: state.failures,
            bytes: state.bytes,
            quarantined: state.quarantined.clone(),
            stream: None,
        }
    }

    fn staleness(&self, state: &State, now: Tick) -> Duration {
        if self.is_live() {
            (now - state.confirmed_at).saturating_add(state.age_at_start)
        } else {
            Duration::ZERO
        }
    }

    /// Says once that what is served is older than the policy likes.
    fn warn_of_age(&self) {
        let mut state = self.state();
        let staleness = self.staleness(&state, self.inner.clock.now());
        if !self.inner.ladder.is_too_old(staleness) {
            state.warned_of_age = false;
        } else if !state.warned_of_age && self.inner.ladder.policy() != StalePolicy::Serve {
            state.warned_of_age = true;
            tracing::warn!(
                product = P::NAME,
                staleness_seconds = staleness.as_secs(),
                "what is served is older than allowed, and the source does not confirm it"
            );
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

    /// Asks the source for news and serves them, if any. Without a source this does nothing.
    ///
    /// # Errors
    /// When the source cannot be read or the document is refused; what is served stays. A document that was refused
    /// once is not asked for again: as long as the source offers nothing else, polls bring `Unchanged` and the
    /// status keeps the error.
    pub async fn poll(&self) -> Result<Outcome, P::Error> {
        self.poll_to_confirm().await.map(|polled| polled.outcome)
    }

    /// Does what [`poll`](Self::poll) does, and says what that proves.
    pub(crate) async fn poll_to_confirm(&self) -> Result<Polled, P::Error> {
        let current = self.load_full();
        let since = {
            let state = self.state();
            state.quarantined.clone().or_else(|| state.revision.clone())
        };
        let since = since.filter(|_| self.inner.product.may_ask_since(&current.snapshot));
        self.refresh_from(since, true).await
    }

    /// Loads the whole state again and serves it, changed or not. Without a source this does nothing.
    ///
    /// Refreshes may overlap: the one that began last wins.
    ///
    /// # Errors
    /// When the source cannot be read or the document is refused; what is served stays.
    pub async fn refresh(&self) -> Result<Outcome, P::Error> {
        self.refresh_from(None, false).await.map(|polled| polled.outcome)
    }

    async fn refresh_from(&self, since: Option<Revision>, polling: bool) -> Result<Polled, P::Error> {
        let Some(source) = &self.inner.source else { return Ok(Polled::UNPROVEN) };
        let ticket = self.inner.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        let built = self.build_from(&**source, since.as_ref(), polling).await;
        let (result, keep) = self.settle(ticket, built);
        self.keep(keep).await;
        self.warn_of_age();
        self.inner.settled.beat();
        result
    }

    async fn build_from(
        &self,
        source: &dyn Source,
        since: Option<&Revision>,
        polling: bool,
    ) -> Result<Brought<P::Snapshot>, Failed<P::Error>> {
        let product = &self.inner.product;
        let not_loaded = |error| Failed { error: product.not_loaded(source, error), refused: None };
        let document = match source.load(since).await.map_err(not_loaded)? {
            Load::Unchanged => return Ok(Brought::Nothing),
            Load::Snapshot(document) => document,
            Load::Delta(delta) => match self.apply(&delta) {
                Some(news) => return Ok(Brought::Changed(news)),
                None => whole(source).await.map_err(not_loaded)?,
            },
        };
        let served = self.load_full();
        let now = self.inner.clock.wall();
        let news = self.inner.ladder.build(product, document, Some(&served.snapshot), now)?;
        // A source that cannot be asked for changes brings the same state at every poll.
        let same = polling && product.is_same(&served.snapshot, &news.snapshot);
        Ok(if same { Brought::Same(news.revision) } else { Brought::News(news) })
    }

    /// Applies a change to what is served; `None` where that cannot be done, so that the whole is needed.
    fn apply(&self, delta: &Delta) -> Option<News<P::Snapshot>> {
        let served = {
            let state = self.state();
            // The name asked about may be that of a document that was refused, or of a state replaced meanwhile.
            if state.revision.as_ref() != Some(delta.base()) {
                return None;
            }
            self.load_full()
        };
        self.inner.ladder.apply(&self.inner.product, delta, &served.snapshot, self.inner.clock.wall())
    }

    /// Takes the outcome over, and says what is to be kept.
    fn settle(
        &self,
        ticket: u64,
        built: Result<Brought<P::Snapshot>, Failed<P::Error>>,
    ) -> (Result<Polled, P::Error>, Option<Kept>) {
        let mut state = self.state();
        if ticket < state.ticket {
            return (built.map(|_| Polled::UNPROVEN).map_err(|failed| failed.error), None);
        }
        state.ticket = ticket;
        let asked_to_wait = built.as_ref().err().and_then(|failed| P::retry_after(&failed.error));
        state.not_before = self.inner.clock.now() + asked_to_wait.unwrap_or_default().min(LONGEST_WAIT);
        match built {
            // Unchanged since a document that was refused: what is served is still not what the source has.
            Ok(Brought::Nothing) if state.quarantined.is_some() => (Ok(Polled::UNPROVEN), None),
            Ok(brought) => {
                let now = self.inner.clock.now();
                if state.consecutive_failures > 0 {
                    let failures = state.consecutive_failures;
                    tracing::info!(product = P::NAME, failures, "refresh works again");
                }
                state.confirmed_at = now;
                state.age_at_start = Duration::ZERO;
                state.last_success = Some(self.inner.clock.wall());
                state.last_error = None;
                state.consecutive_failures = 0;
                state.quarantined = None;
                let unchanged = Polled { outcome: Outcome::Unchanged, is_confirmed: true };
                let (news, is_confirmed) = match brought {
                    Brought::News(news) => (news, true),
                    Brought::Changed(news) => (news, false),
                    Brought::Nothing => return (Ok(unchanged), None),
                    Brought::Same(revision) => {
                        // Else every further poll would ask by a name that the source no longer knows.
                        state.revision = Some(revision);
                        return (Ok(unchanged), None);
                    }
                };
                state.revision = Some(news.revision.clone());
                let version = self.load().version + 1;
                let loaded = Loaded {
                    snapshot: news.snapshot,
                    version,
                    revision: Some(news.revision),
                    loaded_at: now,
                };
                state.origin = Origin::Source;
                state.bytes = news.bytes;
                // Under the lock, so that versions are swapped in the order they are counted.
                self.inner.current.store(Arc::new(loaded));
                (Ok(Polled { outcome: Outcome::Swapped(version), is_confirmed }), news.kept)
            }
            Err(Failed { error, refused }) => {
                state.fail::<P>(&error);
                if refused.is_some() {
                    state.quarantined = refused;
                }
                (Err(error), None)
            }
        }
    }

    /// Notes that a refresh came to no end: what ran it panicked.
    pub(crate) fn note_failure(&self, error: &P::Error) {
        self.state().fail::<P>(error);
        self.inner.settled.beat();
    }

    /// Writes what is new to where last known good is kept, or notes now and then that it is still current.
    async fn keep(&self, news: Option<Kept>) {
        let Some(keep) = self.inner.ladder.keep() else { return };
        let now = self.inner.clock.wall();
        let is_new = news.is_some();
        let written = match news {
            Some(kept) => keep.put(&kept).await,
            None if !self.needs_confirmation(now, keep.is_to_be_confirmed_after()) => return,
            None => keep.confirm(now).await,
        };
        match written {
            Ok(()) => self.state().kept_at = Some(now),
            Err(error) => {
                if is_new {
                    // What is kept is an older state, whose age must not be taken for that of this one.
                    self.state().kept_at = None;
                }
                tracing::warn!(
                    product = P::NAME,
                    error = %error.chain(),
                    "last known good was not kept; what is served is not affected"
                );
            }
        }
    }

    fn needs_confirmation(&self, now: SystemTime, every: Duration) -> bool {
        let state = self.state();
        state.consecutive_failures == 0
            && state.quarantined.is_none()
            && state.kept_at.and_then(|at| now.duration_since(at).ok()).is_some_and(|age| age >= every)
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
        if self.state().consecutive_failures > 0 {
            backoff.fail();
        }
        let mut listen = true;
        loop {
            let interval =
                self.inner.product.interval(&self.load().snapshot).unwrap_or(schedule.poll_interval);
            let usual = if schedule.jitter { backoff.jittered(interval) } else { interval };
            let pause = backoff.pause().map_or(usual, |p| p.min(usual));
            let due = (clock.now() + pause).max(self.state().not_before);
            let woken = self.wait(&**source, due, stop, listen).await;
            let told = matches!(woken, Wake::Changed(_));
            match woken {
                Wake::Stop => return,
                // Somebody else was told meanwhile when to come back.
                Wake::Due if clock.now() < self.state().not_before => continue,
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

/// However long a server asks to be left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// The pause after a notification that brought nothing new.
const LULL: Duration = Duration::from_millis(20);

enum Wake {
    Changed(Result<(), Error>),
    Due,
    Stop,
}

/// Asks for the whole state, and refuses any other answer.
pub(super) async fn whole(source: &dyn Source) -> Result<Document, Error> {
    match source.load(None).await? {
        Load::Snapshot(document) => Ok(document),
        Load::Unchanged | Load::Delta(_) => {
            Err(Error::new(ErrorKind::Invalid, "load the whole state of a source")
                .with("source", source.name())
                .hint("a source must answer `load(None)` with a snapshot (clause S1)"))
        }
    }
}
