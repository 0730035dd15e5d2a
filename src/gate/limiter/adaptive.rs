//! The limiter that calls ask: counts, times, and has the algorithm look at it once a window.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    AdaptiveLimiterBuilder, Limit, LimitBounds, LimitSource, Permit, Priority, Window,
    came::{Came, Counts},
    limit::MOST,
    permit::Outcome,
    priority::Reserves,
    window::{BUCKETS, bucket_of},
};
use crate::{
    Error, ErrorKind,
    gate::{GateReason, GateResult},
    text_table::TextTable,
    traits::{Clock, Tick},
};

/// How often a source is asked at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A window that has too few calls is given up after this long, or ten windows.
const STALE: Duration = Duration::from_secs(10);

/// In a window that goes on for long, what is kept for the priorities is looked at so often.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// With so many timed calls in a window, half as many will do; with so few, all are needed.
const PLENTY: u64 = 512;
const SCARCE: u64 = 128;

/// At least one call in this many is timed.
const SPARSEST: u64 = 64;

/// Limits how many calls are under way, to as many as are served without waiting for each other.
///
/// `Clone + Send + Sync`; clones are one limiter. It learns from how long calls take, and needs neither a runtime nor a
/// thread. [`acquire`](Self::acquire) never waits, blocks or allocates.
///
/// # Examples
/// ```
/// use leverframe::gate::{GateReason, limiter::{AdaptiveLimiter, Priority}};
/// let limiter = AdaptiveLimiter::builder()
///     .initial(1)
///     .priority("checkout", Priority::Critical)
///     .priority("recommendations", Priority::Low)
///     .build()?;
/// let permit = limiter.acquire(Some("checkout"), None).unwrap();
/// let refused = limiter.acquire(Some("recommendations"), None).unwrap_err();
/// assert_eq!(refused.reason, GateReason::OverLimit);
/// drop(permit); // the call is over: its latency counts
/// assert!(limiter.acquire(Some("recommendations"), None).is_ok());
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone)]
pub struct AdaptiveLimiter {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    /// Written by every call.
    under_way: UnderWay,
    came: [Came; 4],
    /// Below which number of calls under way a priority is let in, the lowest first. Written once a window.
    thresholds: [AtomicU32; 4],
    /// A power of two less one: so many calls more than one are let pass for one that is timed.
    untimed: AtomicU64,
    window_ends: AtomicU64,
    next_look: AtomicU64,
    /// What calls take, in nanoseconds, with what the limit tolerates.
    usual: AtomicU64,
    denied: AtomicBool,
    failures: AtomicU64,
    buckets: Box<[AtomicU64]>,
    priorities: TextTable<Priority>,
    clock: Arc<dyn Clock>,
    learner: Mutex<Learner>,
    /// Held while it is asked.
    source: Mutex<Option<Box<dyn LimitSource>>>,
}

/// On lines of its own: adjacent lines are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct UnderWay {
    now: AtomicU32,
    most: AtomicU32,
}

/// What is behind the lock, which is taken once a window.
#[derive(Debug)]
struct Learner {
    limit: Limit,
    reserves: Reserves,
    fixed: Option<u32>,
    /// The builder's.
    min: u32,
    max: u32,
    window: Window,
    opened: Tick,
    /// When it was last looked at what to keep for each priority, and what had come of each by then.
    kept: Tick,
    came: [Counts; 4],
    windows: u64,
    samples: u64,
    source_error: Option<String>,
}

impl AdaptiveLimiter {
    /// Returns a builder.
    pub fn builder() -> AdaptiveLimiterBuilder {
        AdaptiveLimiterBuilder::new()
    }

    pub(super) fn assemble(
        limit: Limit,
        priorities: TextTable<Priority>,
        clock: Arc<dyn Clock>,
        source: Option<Box<dyn LimitSource>>,
    ) -> Self {
        let now = clock.now();
        let options = *limit.options();
        let learner = Learner {
            reserves: Reserves::default(),
            fixed: None,
            min: options.min,
            max: options.max,
            window: Window::new(),
            opened: now,
            kept: now,
            came: Default::default(),
            windows: 0,
            samples: 0,
            source_error: None,
            limit,
        };
        let shared = Arc::new(Shared {
            under_way: UnderWay::default(),
            came: Default::default(),
            thresholds: Default::default(),
            untimed: AtomicU64::new(0),
            window_ends: AtomicU64::new(nanos(now + learner.limit.window())),
            next_look: AtomicU64::new(if source.is_some() { 0 } else { u64::MAX }),
            usual: AtomicU64::new(u64::MAX),
            denied: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            priorities,
            clock,
            learner: Mutex::new(learner),
            source: Mutex::new(source),
        });
        shared.put_in_force(&shared.learner());
        shared.look(now);
        Self { shared }
    }

    /// Asks whether a call may begin; it is under way until the permit is dropped.
    ///
    /// Its priority is the one given, or that of its tag, or normal.
    ///
    /// # Errors
    /// [`GateReason::OverLimit`] while as many calls are under way as the priority is let in for.
    #[inline]
    pub fn acquire(&self, tag: Option<&str>, priority: Option<Priority>) -> Result<Permit, GateResult> {
        let shared = &*self.shared;
        let priority = priority.unwrap_or_else(|| shared.priority_of(tag));
        let number = shared.enter(priority)?;
        let timed = shared.is_timed(number);
        Ok(Permit::new(Arc::clone(&self.shared), priority, timed.then(|| shared.clock.now())))
    }

    /// Returns the priority of calls with a tag.
    #[must_use]
    pub fn priority_of(&self, tag: Option<&str>) -> Priority {
        self.shared.priority_of(tag)
    }

    /// Returns how the limiter stands, asking its source if that is due.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let now = self.shared.clock.now();
        self.shared.look(now);
        let learner = self.shared.learner();
        let options = learner.limit.options();
        Snapshot {
            limit: learner.effective(),
            learned: learner.limit.current(),
            min: options.min,
            max: options.max,
            in_flight: self.shared.under_way.now.load(Ordering::Relaxed),
            baseline: learner.limit.baseline(),
            windows: learner.windows,
            samples: learner.samples,
            priorities: Priority::ALL.map(|priority| {
                let came = self.shared.came[priority as usize].counts();
                PrioritySnapshot {
                    priority,
                    admitted: came.admitted,
                    denied: came.denied,
                    threshold: self.shared.thresholds[priority as usize].load(Ordering::Relaxed),
                }
            }),
            source_error: learner.source_error.clone(),
        }
    }
}

impl fmt::Debug for AdaptiveLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiter").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}

/// How a limiter stands.
///
/// # Examples
/// ```
/// use leverframe::gate::limiter::AdaptiveLimiter;
/// let limiter = AdaptiveLimiter::builder().initial(7).build()?;
/// let _permit = limiter.acquire(None, None);
/// let snapshot = limiter.snapshot();
/// assert_eq!((snapshot.limit, snapshot.in_flight, snapshot.baseline), (7, 1, None));
/// assert_eq!(snapshot.priorities.map(|priority| priority.admitted).iter().sum::<u64>(), 1);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many calls may be under way.
    pub limit: u32,
    /// How many it would be by what was learned: something else than the limit only where the source fixes that.
    pub learned: u32,
    /// The lower bound in force.
    pub min: u32,
    /// The upper bound in force.
    pub max: u32,
    /// How many calls are under way.
    pub in_flight: u32,
    /// What a call takes that does not wait, as far as it is known.
    pub baseline: Option<Duration>,
    /// How many windows were looked at that had enough calls.
    pub windows: u64,
    /// How many calls were timed in them. Not all are where there are very many.
    pub samples: u64,
    /// What came of each priority, the lowest first.
    pub priorities: [PrioritySnapshot; 4],
    /// Why the source had no bounds when it was last asked; those before hold.
    pub source_error: Option<String>,
}

/// What came of one priority.
///
/// # Examples
/// ```
/// use leverframe::gate::limiter::{AdaptiveLimiter, Priority};
/// let snapshot = AdaptiveLimiter::builder().build()?.snapshot();
/// let low = &snapshot.priorities[0];
/// assert_eq!((low.priority, low.admitted, low.denied), (Priority::Low, 0, 0));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrioritySnapshot {
    /// The priority.
    pub priority: Priority,
    /// How many calls were let in.
    pub admitted: u64,
    /// How many were refused.
    pub denied: u64,
    /// It is let in while fewer calls than this are under way: the limit, less what is kept for those before it.
    pub threshold: u32,
}

impl Shared {
    #[inline]
    fn priority_of(&self, tag: Option<&str>) -> Priority {
        match tag {
            Some(tag) if self.priorities.len() > 0 => self.priorities.get(tag).copied().unwrap_or_default(),
            _ => Priority::default(),
        }
    }

    /// Takes a place, and returns which call of its priority this is.
    #[inline]
    pub(super) fn enter(&self, priority: Priority) -> Result<u64, GateResult> {
        let threshold = self.thresholds[priority as usize].load(Ordering::Relaxed);
        let came = &self.came[priority as usize];
        let mut now = self.under_way.now.load(Ordering::Relaxed);
        loop {
            if now >= threshold {
                return Err(self.refuse(came));
            }
            // In one step with the comparison: between two, others would take the same place.
            let taken =
                self.under_way.now.compare_exchange_weak(now, now + 1, Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        if now + 1 > self.under_way.most.load(Ordering::Relaxed) {
            self.under_way.most.fetch_max(now + 1, Ordering::Relaxed);
        }
        Ok(came.admitted.fetch_add(1, Ordering::Relaxed))
    }

    #[cold]
    fn refuse(&self, came: &Came) -> GateResult {
        came.denied.fetch_add(1, Ordering::Relaxed);
        if !self.denied.load(Ordering::Relaxed) {
            self.denied.store(true, Ordering::Relaxed);
        }
        // Where no call ends for long, this is where a change of the bounds is seen.
        if self.next_look.load(Ordering::Relaxed) != u64::MAX {
            self.look(self.clock.now());
        }
        GateResult::denied(GateReason::OverLimit)
    }

    /// Says whether to time the call of this number: one in so many, in an order that no pattern of calls follows.
    #[inline]
    pub(super) fn is_timed(&self, number: u64) -> bool {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58 & self.untimed.load(Ordering::Relaxed) == 0
    }

    /// Gives a place back, with what is known of the call.
    #[inline]
    pub(super) fn leave(&self, priority: Priority, began: Option<Tick>, outcome: Outcome) {
        self.under_way.now.fetch_sub(1, Ordering::Relaxed);
        self.came[priority as usize].left.fetch_add(1, Ordering::Release);
        if let Some(began) = began {
            self.learn(began, self.clock.now(), outcome);
        }
    }

    #[inline]
    fn learn(&self, began: Tick, now: Tick, outcome: Outcome) {
        let took = now - began;
        let outcome = match outcome {
            // Of calls that callers no longer wait for, the slow ones must not go unseen.
            Outcome::CutOff if took.as_nanos() as u64 > self.usual.load(Ordering::Relaxed) => {
                Outcome::Answered
            }
            other => other,
        };
        let counter = match outcome {
            Outcome::Answered => self.buckets.get(bucket_of(took)),
            Outcome::Failed => Some(&self.failures),
            Outcome::CutOff | Outcome::Ignored => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = nanos(now);
        if nanos >= self.window_ends.load(Ordering::Relaxed) {
            self.close_window(now);
        }
        if nanos >= self.next_look.load(Ordering::Relaxed) {
            self.look(now);
        }
    }

    fn learner(&self) -> MutexGuard<'_, Learner> {
        // Under the lock there is arithmetic, and no code of others.
        self.learner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the algorithm look at what was counted, if nobody else does.
    #[cold]
    fn close_window(&self, now: Tick) {
        let Ok(mut learner) = self.learner.try_lock() else { return };
        if nanos(now) < self.window_ends.load(Ordering::Relaxed) {
            return;
        }
        let counted: u64 = self.buckets.iter().chain([&self.failures]).map(load).sum();
        let length = learner.limit.window();
        if counted < learner.limit.options().min_samples {
            self.untimed.store(0, Ordering::Relaxed);
            if now - learner.opened < STALE.max(10 * length).max(self.patience(&mut learner)) {
                // It stays open, and is looked at again a little later. Meanwhile what is kept for calls that no longer
                // come must not be what keeps it open.
                if self.denied.load(Ordering::Relaxed) && self.keep(&mut learner, now, false) {
                    self.put_in_force(&learner);
                }
                return self.window_ends.store(nanos(now + length / 4), Ordering::Relaxed);
            }
        }
        self.take_window(&mut learner, now);
        let untimed = self.untimed.load(Ordering::Relaxed);
        let untimed = match counted {
            PLENTY.. => (2 * untimed + 1).min(SPARSEST - 1),
            SCARCE.. => untimed,
            _ => untimed / 2,
        };
        self.untimed.store(untimed, Ordering::Relaxed);
        self.window_ends.store(nanos(now + learner.limit.window()), Ordering::Relaxed);
        self.put_in_force(&learner);
    }

    /// How long to wait for a window's calls where it is the limit that keeps them few: twice as long as they take
    /// at this limit, or at what the limit leaves to those who matter least. Otherwise a limit that is far too low
    /// would never learn that it is.
    fn patience(&self, learner: &mut Learner) -> Duration {
        if !self.denied.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        for (mine, counter) in learner.window.buckets.iter_mut().zip(&self.buckets) {
            *mine = load(counter);
        }
        let [lowest, ..] = &self.thresholds;
        let each = learner.window.latency().unwrap_or_default() / lowest.load(Ordering::Relaxed).max(1);
        each.saturating_mul(2 * learner.limit.options().min_samples as u32)
    }

    /// Looks at what to keep for each priority, if the last time was so long ago that what came since tells it: where
    /// not enough calls were timed, no sooner than they take.
    fn keep(&self, learner: &mut Learner, now: Tick, enough: bool) -> bool {
        let latency = learner.window.latency().or_else(|| learner.limit.baseline()).unwrap_or_default();
        let (within, length) = (now - learner.kept, learner.limit.window());
        let least = if enough { length } else { length.max(KEEP_EVERY).max(latency) };
        if within < least {
            return false;
        }
        let came = self.came.each_ref().map(Came::counts);
        let mut lately = came;
        for (lately, before) in lately.iter_mut().zip(learner.came) {
            *lately = *lately - before;
        }
        learner.reserves.update(lately, within, length.max(KEEP_EVERY), latency);
        (learner.kept, learner.came) = (now, came);
        true
    }

    fn take_window(&self, learner: &mut Learner, now: Tick) {
        for (mine, counter) in learner.window.buckets.iter_mut().zip(&self.buckets) {
            *mine = take(counter);
        }
        learner.window.failures = take(&self.failures);
        learner.window.length = now - learner.opened;
        // Where another limit refuses, that says nothing of the learned one.
        let learned = learner.limit.current();
        let denied = self.denied.swap(false, Ordering::Relaxed);
        learner.window.denied = denied && learner.fixed.is_none_or(|fixed| fixed >= learned);
        learner.window.fixed = learner.fixed.is_some();
        let now_under_way = self.under_way.now.load(Ordering::Relaxed);
        learner.window.most_in_flight = self.under_way.most.swap(now_under_way, Ordering::Relaxed);
        // What came was counted and not sampled: it tells what to keep also where there is too little to learn from.
        let answered = learner.window.answered();
        let enough = answered + learner.window.failures >= learner.limit.options().min_samples;
        self.keep(learner, now, enough);
        if enough {
            learner.windows += 1;
            learner.samples += answered;
        }
        learner.limit.update(&learner.window);
        learner.opened = now;
    }

    /// Asks the source for bounds, if it is time to and nobody else does.
    fn look(&self, now: Tick) {
        if nanos(now) < self.next_look.load(Ordering::Relaxed) {
            return;
        }
        // A source may look at the limiter that asks it: the learner is not locked meanwhile.
        let Ok(source) = self.source.try_lock() else { return };
        let Some(source) = &*source else { return };
        if nanos(now) < self.next_look.load(Ordering::Relaxed) {
            return;
        }
        self.next_look.store(nanos(now + LOOK_EVERY), Ordering::Relaxed);
        // It is the code of others, and runs where a call begins or ends: also while that unwinds.
        let bounds = catch_unwind(AssertUnwindSafe(|| source.bounds())).unwrap_or_else(|_| Err(panicked()));
        let mut learner = self.learner();
        let fixed = learner.fixed;
        let applied = bounds.and_then(|bounds| learner.apply(bounds));
        if learner.fixed != fixed {
            // Whoever was refused was refused by another limit.
            self.denied.store(false, Ordering::Relaxed);
        }
        match applied {
            Ok(()) => learner.source_error = None,
            Err(error) => {
                let error = error.chain();
                if learner.source_error.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the limit stays as it is");
                }
                learner.source_error = Some(error);
            }
        }
        self.put_in_force(&learner);
    }

    fn put_in_force(&self, learner: &Learner) {
        let thresholds = learner.reserves.thresholds(learner.effective());
        for (place, threshold) in self.thresholds.iter().zip(thresholds) {
            place.store(threshold, Ordering::Relaxed);
        }
        if let Some(baseline) = learner.limit.baseline() {
            let usual = baseline.mul_f64(learner.limit.options().tolerance);
            self.usual.store(usual.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

impl Learner {
    fn effective(&self) -> u32 {
        self.fixed.unwrap_or_else(|| self.limit.current())
    }

    fn apply(&mut self, bounds: LimitBounds) -> crate::Result<()> {
        if bounds.limit.is_some_and(|limit| !(1..=MOST).contains(&limit)) {
            return Err(Error::new(ErrorKind::Config, "fix the limit")
                .with("setting", "limit")
                .hint("set it to a number from 1 to 1,000,000"));
        }
        let (min, max) = match (bounds.min, bounds.max) {
            // A bound that comes alone moves the builder's out of its way.
            (Some(min), None) => (min, self.max.max(min)),
            (None, Some(max)) => (self.min.min(max), max),
            (min, max) => (min.unwrap_or(self.min), max.unwrap_or(self.max)),
        };
        let options = self.limit.options();
        if (min, max) != (options.min, options.max) {
            self.limit.set_bounds(min, max)?;
        }
        self.fixed = bounds.limit;
        Ok(())
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Invalid, "ask the source for bounds")
        .with("reason", "it panicked")
        .hint("the program's error output has the message")
}

fn nanos(tick: Tick) -> u64 {
    u64::try_from(tick.since_origin().as_nanos()).unwrap_or(u64::MAX)
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn take(counter: &AtomicU64) -> u64 {
    match load(counter) {
        // A line that is only read stays where it is used.
        0 => 0,
        _ => counter.swap(0, Ordering::Relaxed),
    }
}
