//! How long to wait after failures: doubling with a ceiling, and jitter so that a fleet does not march in step.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);
/// No pause is longer, whatever the number of failures.
const CEILING: Duration = Duration::from_secs(60);

/// Pauses that double from one second to sixty, each shortened by up to a half at random.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// How many intervals were drawn.
    drawn: u64,
    // Seeded by the operating system once per feed, which is all the randomness that jitter needs.
    random: RandomState,
}

impl Backoff {
    /// Forgets the failures.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure.
    pub(super) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Returns the interval less up to a tenth of it, another share each time.
    pub(super) fn jittered(&mut self, interval: Duration) -> Duration {
        self.drawn = self.drawn.wrapping_add(1);
        let share = self.random.hash_one((self.drawn, "interval")) % 1024;
        interval - interval.mul_f64(share as f64 / 10_240.0)
    }

    /// Returns the pause before the next attempt; `None` while nothing failed.
    pub(super) fn pause(&self) -> Option<Duration> {
        let doublings = self.failures.checked_sub(1)?.min(16);
        let whole = (FIRST * 2_u32.pow(doublings)).min(CEILING);
        let share = self.random.hash_one(self.failures) % 1024;
        // At most half of it is taken off, so the cast cannot lose anything that matters.
        Some(whole - whole.mul_f64(share as f64 / 2048.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_shortened_by_less_than_a_tenth_and_not_all_alike() {
        let mut backoff = Backoff::default();
        let interval = Duration::from_secs(30);

        let drawn: std::collections::BTreeSet<_> = (0..50).map(|_| backoff.jittered(interval)).collect();

        assert!(drawn.len() > 10);
        assert!(drawn.iter().all(|d| *d <= interval && *d > interval.mul_f64(0.899)));
    }

    #[test]
    fn pauses_grow_to_the_ceiling_and_reset() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.pause(), None);

        for failures in 1..100_u32 {
            backoff.fail();
            let pause = backoff.pause().unwrap();
            let whole = Duration::from_secs(1 << (failures - 1).min(6)).min(CEILING);
            assert!(pause <= whole && pause >= whole / 2, "{failures}: {pause:?}");
        }

        backoff.reset();
        assert_eq!(backoff.pause(), None);
    }
}
