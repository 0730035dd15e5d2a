//! What happened within one window: latencies by size, failures, and how far the limit was used.

use std::time::Duration;

/// Each doubling of the latency has this many buckets: they are 1/16 wide, so a mean is right to about 3 %.
const PER_DOUBLING: usize = 16;
const SUB_BITS: u32 = PER_DOUBLING.trailing_zeros();

/// Latencies are counted in units of 2^10 ns: about a microsecond, made by a shift.
const UNIT_BITS: u32 = 10;

/// Doublings beyond the first buckets: the last reaches to some 19 hours, and takes what is longer.
const DOUBLINGS: usize = 32;

/// How many buckets there are.
pub(super) const BUCKETS: usize = (DOUBLINGS + 1) * PER_DOUBLING;

/// Of the samples, one in this many is left out at either end before the mean is taken.
const TRIM: u64 = 20;

/// What a [`Limit`](super::Limit) is told about a stretch of time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use leverframe::gate::limiter::Window;
/// let mut window = Window::new();
/// for _ in 0..99 {
///     window.record(Duration::from_millis(10));
/// }
/// window.record(Duration::from_micros(3)); // answered from a cache
/// let latency = window.latency().unwrap();
/// assert!(latency > Duration::from_micros(9_700) && latency < Duration::from_micros(10_300));
/// ```
#[derive(Clone, Debug)]
pub struct Window {
    pub(super) buckets: Box<[u64]>,
    /// Calls that failed in a way that speaks of overload: timeouts, refusals.
    pub failures: u64,
    /// Whether a call was refused because of the limit.
    pub denied: bool,
    /// The most calls that were under way at once.
    pub most_in_flight: u32,
    /// How long it was. One that is shorter than [`Limit::window`](super::Limit::window) asks for counts as that long.
    pub length: Duration,
    /// Whether another limit was in force than the learned one.
    pub(super) fixed: bool,
}

impl Window {
    /// Makes a window in which nothing happened.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into(),
            failures: 0,
            denied: false,
            most_in_flight: 0,
            length: Duration::ZERO,
            fixed: false,
        }
    }

    /// Adds a call that was answered.
    pub fn record(&mut self, latency: Duration) {
        if let Some(count) = self.buckets.get_mut(bucket_of(latency)) {
            *count += 1;
        }
    }

    /// Forgets everything, for the next window.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        (self.failures, self.denied, self.most_in_flight) = (0, false, 0);
        (self.length, self.fixed) = (Duration::ZERO, false);
    }

    /// Returns how many calls were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the share of the calls that failed, from 0 to 1.
    #[must_use]
    pub fn failing(&self) -> f64 {
        let all = self.answered() + self.failures;
        if all == 0 { 0.0 } else { self.failures as f64 / all as f64 }
    }

    /// Returns the mean latency of the calls that were answered, without the fastest and slowest twentieth; `None`
    /// if none was.
    ///
    /// A mean, not a minimum or a percentile: of a mixture of fast and slow calls it says the same whether or not a
    /// lucky one is among them. Without the ends, because one answer from a cache, or one pause, says nothing about
    /// the others.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.mean().map(|mean| Duration::from_secs_f64(mean.seconds))
    }

    /// The same in seconds, with how far chance takes it from the truth.
    pub(super) fn mean(&self) -> Option<Mean> {
        let answered = self.answered();
        let ends = if answered < 3 { 0 } else { answered.div_ceil(TRIM) };
        let (mut skip, mut left) = (ends, answered - 2 * ends);
        let taken = left as f64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let skipped = skip.min(*count);
            let count = (count - skipped).min(left);
            skip -= skipped;
            left -= count;
            let seconds = middle_of(bucket) / 1e9;
            sum += count as f64 * seconds;
            squares += count as f64 * seconds * seconds;
        }
        (taken > 0.0).then(|| {
            let seconds = sum / taken;
            let variance = (squares / taken - seconds * seconds).max(0.0);
            Mean { seconds, error: (variance / taken).sqrt() }
        })
    }
}

/// A mean latency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean {
    pub(super) seconds: f64,
    /// The standard error: two of three times the truth is no further off than this.
    pub(super) error: f64,
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

/// Finds the bucket of a latency.
#[inline]
pub(super) fn bucket_of(latency: Duration) -> usize {
    let units = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX) >> UNIT_BITS;
    if units < PER_DOUBLING as u64 {
        return units as usize;
    }
    let doubling = units.ilog2() - SUB_BITS;
    let within = (units >> doubling) as usize - PER_DOUBLING;
    ((doubling as usize + 1) * PER_DOUBLING + within).min(BUCKETS - 1)
}

/// The middle of a bucket, in nanoseconds.
fn middle_of(bucket: usize) -> f64 {
    let (doubling, within) = (bucket / PER_DOUBLING, bucket % PER_DOUBLING);
    let units = match doubling {
        0 => within as f64 + 0.5,
        _ => ((PER_DOUBLING + within) as f64 + 0.5) * f64::powi(2.0, doubling as i32 - 1),
    };
    units * f64::from(1_u32 << UNIT_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_into_a_bucket_that_is_near_it() {
        for exponent in 14..60 {
            for nanos in [1_u64 << exponent, (1 << exponent) + (1 << (exponent - 1)), (1 << exponent) - 1] {
                let bucket = bucket_of(Duration::from_nanos(nanos));
                let off = (middle_of(bucket) - nanos as f64).abs() / nanos as f64;

                assert!(off < 0.04 || bucket == BUCKETS - 1 || nanos < 20_000, "{nanos} ns, {off}");
            }
        }
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_are_in_the_order_of_their_latencies() {
        let mut last = 0;
        for nanos in (0..10_000_000).step_by(509) {
            let bucket = bucket_of(Duration::from_nanos(nanos));
            assert!(bucket == last || bucket == last + 1, "{nanos} ns");
            last = bucket;
        }
    }

    #[test]
    fn neither_a_lucky_call_nor_an_unlucky_one_moves_the_mean() {
        let mut window = Window::new();
        for _ in 0..20 {
            window.record(Duration::from_millis(20));
        }
        let without = window.latency();
        window.record(Duration::from_micros(1));
        window.record(Duration::from_secs(60));

        assert_eq!(window.latency(), without);
        assert_eq!(Window::new().latency(), None);
    }
}
