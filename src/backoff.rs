//! How long to wait after failures: doubling with a ceiling, and jitter so that a fleet does not march in step.
//!
//! For whatever tries again: the refresh of a feed, and the retries of a request.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Pauses that double up to a ceiling, each shortened by up to a half at random.
///
/// # Examples
/// ```
/// use leverframe::Backoff;
/// use std::time::Duration;
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// assert_eq!(backoff.pause(), None);
/// backoff.fail();
/// assert!(backoff.pause().is_some_and(|pause| pause <= Duration::from_secs(1)));
/// backoff.reset();
/// assert_eq!(backoff.pause(), None);
/// ```
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    failures: u32,
    /// How many intervals were drawn.
    drawn: u64,
    // Seeded by the operating system once, which is all the randomness that jitter needs.
    random: RandomState,
}

impl Backoff {
    /// Starts without failures.
    ///
    /// # Examples
    /// ```
    /// let backoff = leverframe::Backoff::new(std::time::Duration::ZERO, std::time::Duration::MAX);
    /// assert_eq!(backoff.pause(), None);
    /// ```
    #[must_use]
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling, failures: 0, drawn: 0, random: RandomState::new() }
    }

    /// Forgets the failures.
    ///
    /// # Examples
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let mut backoff = leverframe::Backoff::new(second, second);
    /// backoff.fail();
    /// backoff.reset();
    /// assert_eq!(backoff.pause(), None);
    /// ```
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure.
    ///
    /// # Examples
    /// ```
    /// # let second = std::time::Duration::from_secs(1);
    /// let mut backoff = leverframe::Backoff::new(second, second);
    /// backoff.fail();
    /// assert!(backoff.pause().is_some());
    /// ```
    pub fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Returns the interval less up to a tenth of it, another share each time.
    pub(crate) fn jittered(&mut self, interval: Duration) -> Duration {
        self.drawn = self.drawn.wrapping_add(1);
        let share = self.random.hash_one((self.drawn, "interval")) % 1024;
        interval - interval.mul_f64(share as f64 / 10_240.0)
    }

    /// Returns the pause before the next attempt; `None` while nothing failed.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let mut backoff = leverframe::Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
    /// (0..9).for_each(|_| backoff.fail());
    /// assert!(backoff.pause().is_some_and(|pause| (Duration::from_secs(2)..=Duration::from_secs(4)).contains(&pause)));
    /// ```
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        let doublings = self.failures.checked_sub(1)?.min(16);
        let whole = self.first.saturating_mul(2_u32.pow(doublings)).min(self.ceiling);
        let share = self.random.hash_one(self.failures) % 1024;
        // At most half of it is taken off, so the cast cannot lose anything that matters.
        Some(whole - whole.mul_f64(share as f64 / 2048.0))
    }

    /// Returns the pause before the next attempt, but none shorter than what the other side asked for: that and up to
    /// a half of it more at random, so that those who were all asked the same do not march in step.
    pub(crate) fn pause_of_at_least(&self, asked: Duration) -> Option<Duration> {
        let pause = self.pause()?;
        if pause >= asked {
            return Some(pause);
        }
        let share = self.random.hash_one((self.failures, "asked")) % 1024;
        Some(asked + asked.mul_f64(share as f64 / 2048.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_shortened_by_less_than_a_tenth_and_not_all_alike() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let interval = Duration::from_secs(30);

        let drawn: std::collections::BTreeSet<_> = (0..50).map(|_| backoff.jittered(interval)).collect();

        assert!(drawn.len() > 10);
        assert!(drawn.iter().all(|d| *d <= interval && *d > interval.mul_f64(0.899)));
    }

    #[test]
    fn pauses_grow_to_the_ceiling_and_reset() {
        let ceiling = Duration::from_secs(60);
        let mut backoff = Backoff::new(Duration::from_secs(1), ceiling);
        assert_eq!(backoff.pause(), None);

        for failures in 1..100_u32 {
            backoff.fail();
            let pause = backoff.pause().unwrap();
            let whole = Duration::from_secs(1 << (failures - 1).min(6)).min(ceiling);
            assert!(pause <= whole && pause >= whole / 2, "{failures}: {pause:?}");
        }

        backoff.reset();
        assert_eq!(backoff.pause(), None);
    }

    #[test]
    fn no_pause_is_shorter_than_what_was_asked_for() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let asked = Duration::from_secs(3);
        assert_eq!(backoff.pause_of_at_least(asked), None);

        for _ in 1..20_u32 {
            backoff.fail();
            let pause = backoff.pause_of_at_least(asked).unwrap();
            assert!(pause >= asked && pause <= Duration::from_secs(30), "{pause:?}");
        }
    }
}
