//! What callers did, counted without their waiting for each other.
//!
//! Each tag has a row of shards, each on cache lines of its own; a thread always adds to the same shard, so that
//! threads which use one tag do not pass its lines back and forth. A harvest takes the counts out, shard by shard:
//! what is added meanwhile is in this harvest or the next, never in both, never in none.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

/// How many latency buckets travel: the last bound of [`HISTOGRAM_BOUNDS`](super::HISTOGRAM_BOUNDS) is not one of theirs.
const BUCKETS: usize = 8;

/// The bounds that tell the buckets apart, in microseconds.
const BOUNDS_MICROS: [u64; BUCKETS - 1] =
    [50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000];

/// A latency above this is counted as this, so that no sum overflows.
const LONGEST_MICROS: u64 = 86_400_000_000;

/// A tag has at most this many custom metrics; values of further ones are folded into one.
pub(super) const MOST_METRICS: usize = 32;

/// The custom metric that takes the values of those beyond [`MOST_METRICS`].
pub(super) const OTHER: &str = "__other__";

/// Counts of one tag.
#[derive(Debug)]
pub(super) struct Counters {
    shards: Box<[Shard]>,
    custom: Mutex<BTreeMap<Box<str>, Aggregate>>,
}

/// On lines of its own: adjacent lines are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    allowed: AtomicU64,
    denied: AtomicU64,
    errors: AtomicU64,
    latency_micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Shard {
    fn is_zero(&self) -> bool {
        let Self { allowed, denied, errors, latency_micros, buckets } = self;
        let mut all = [allowed, denied, errors, latency_micros].into_iter().chain(buckets);
        all.all(|counter| counter.load(Ordering::Relaxed) == 0)
    }
}

/// What one harvest took out of a tag's counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) errors: u64,
    pub(super) latency_micros: u64,
    pub(super) buckets: [u64; BUCKETS],
    pub(super) custom: BTreeMap<Box<str>, Aggregate>,
}

/// The values of a custom metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aggregate {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    pub(super) count: u64,
}

impl Aggregate {
    fn of(value: f64) -> Self {
        Self { min: value, max: value, sum: value, count: 1 }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        // Bounded, because JSON has no endless number.
        self.sum = (self.sum + other.sum).clamp(f64::MIN, f64::MAX);
        self.count += other.count;
    }
}

impl Totals {
    pub(super) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// How many latencies were reported.
    pub(super) fn samples(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.merge_counts(other);
        for (name, aggregate) in &other.custom {
            add(&mut self.custom, name, aggregate);
        }
    }

    /// Adds everything but the custom metrics.
    pub(super) fn merge_counts(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.errors += other.errors;
        self.latency_micros = self.latency_micros.saturating_add(other.latency_micros);
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }
}

/// Adds to a metric, or where there are too many of them to the one that takes the rest.
fn add(custom: &mut BTreeMap<Box<str>, Aggregate>, name: &str, aggregate: &Aggregate) {
    let name = if custom.len() < MOST_METRICS || custom.contains_key(name) { name } else { OTHER };
    match custom.get_mut(name) {
        Some(held) => held.merge(aggregate),
        None => {
            custom.insert(name.into(), *aggregate);
        }
    }
}

impl Counters {
    pub(super) fn new() -> Self {
        Self { shards: (0..shard_count()).map(|_| Shard::default()).collect(), custom: Mutex::default() }
    }

    /// Counts a call.
    #[inline]
    pub(super) fn call(&self, allowed: bool) {
        if let Some(shard) = self.shard() {
            let counter = if allowed { &shard.allowed } else { &shard.denied };
            // Nothing is ordered by a count: a harvest only has to see each addition once.
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a latency; what is no time counts as none, what is endless as a day.
    #[inline]
    pub(super) fn latency(&self, milliseconds: f64) {
        // A cast of a float saturates, and makes 0 of NaN.
        let micros = ((milliseconds * 1_000.0) as u64).min(LONGEST_MICROS);
        let bucket = BOUNDS_MICROS.iter().map(|bound| usize::from(micros > *bound)).sum::<usize>();
        if let Some(shard) = self.shard()
            && let Some(counter) = shard.buckets.get(bucket)
        {
            shard.latency_micros.fetch_add(micros, Ordering::Relaxed);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an error.
    pub(super) fn error(&self) {
        if let Some(shard) = self.shard() {
            shard.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds a value of a custom metric.
    pub(super) fn custom(&self, name: &str, value: f64) {
        // Poison means that an allocation failed half-way; the map itself is whole.
        let mut custom = self.custom.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut custom, name, &Aggregate::of(value));
    }

    /// Takes out what was counted since the last harvest.
    pub(super) fn harvest(&self) -> Totals {
        let mut totals = Totals {
            custom: std::mem::take(&mut *self.custom.lock().unwrap_or_else(PoisonError::into_inner)),
            ..Totals::default()
        };
        let take = |counter: &AtomicU64| match counter.load(Ordering::Relaxed) {
            // A line that is only read stays where it is used.
            0 => 0,
            _ => counter.swap(0, Ordering::Relaxed),
        };
        for shard in &self.shards {
            totals.allowed += take(&shard.allowed);
            totals.denied += take(&shard.denied);
            totals.errors += take(&shard.errors);
            totals.latency_micros = totals.latency_micros.saturating_add(take(&shard.latency_micros));
            for (total, counter) in totals.buckets.iter_mut().zip(&shard.buckets) {
                *total += take(counter);
            }
        }
        totals
    }

    /// Returns true if nothing was counted since the last harvest.
    pub(super) fn is_zero(&self) -> bool {
        let no_custom = self.custom.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        no_custom && self.shards.iter().all(Shard::is_zero)
    }

    #[inline]
    fn shard(&self) -> Option<&Shard> {
        self.shards.get(own_number() & (self.shards.len() - 1))
    }
}

/// A power of two, so that a mask finds a shard; more than there are cores, so that few threads share one.
fn shard_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(4, usize::from);
        (cores * 2).next_power_of_two().clamp(8, 32)
    })
}

/// The number of this thread, counted from 0 in the order they first asked.
#[inline]
fn own_number() -> usize {
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_the_buckets_of_the_protocol() {
        let counters = Counters::new();
        for milliseconds in [0.0, 50.0, 50.9, 100.0, 100.1, 5_000.0, 5_000.1, f64::INFINITY, f64::NAN, -3.0] {
            counters.latency(milliseconds);
        }

        let totals = counters.harvest();

        assert_eq!(totals.buckets, [4, 2, 1, 0, 0, 0, 1, 2]);
        assert_eq!(totals.samples(), 10);
        assert_eq!(
            totals.latency_micros,
            (50_000 + 50_900 + 100_000 + 100_100 + 5_000_000 + 5_000_100) + LONGEST_MICROS
        );
    }

    #[test]
    fn a_harvest_takes_everything_once_while_threads_count() {
        const EACH: u64 = 20_000;
        let counters = Counters::new();
        let mut sum = Totals::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let counters = &counters;
                    scope.spawn(move || {
                        for i in 0..EACH {
                            counters.call(i % 4 != thread);
                            counters.latency(1.0);
                        }
                    })
                })
                .collect();
            while threads.iter().any(|t| !t.is_finished()) {
                sum.merge(&counters.harvest());
            }
        });
        sum.merge(&counters.harvest());

        assert_eq!((sum.allowed, sum.denied), (3 * EACH, EACH));
        assert_eq!((sum.samples(), sum.latency_micros), (4 * EACH, 4 * EACH * 1_000));
        assert!(counters.harvest().is_zero());
    }

    #[test]
    fn metrics_beyond_the_most_are_folded_into_one() {
        let counters = Counters::new();
        for i in 0..MOST_METRICS + 10 {
            counters.custom(&format!("m{i:02}"), i as f64);
        }
        counters.custom("m00", 7.0);

        let custom = counters.harvest().custom;

        assert_eq!(custom.len(), MOST_METRICS + 1);
        assert_eq!(custom.get(OTHER).map(|a| (a.count, a.min, a.max)), Some((10, 32.0, 41.0)));
        assert_eq!(custom.get("m00").copied(), Some(Aggregate { min: 0.0, max: 7.0, sum: 7.0, count: 2 }));
    }
}
