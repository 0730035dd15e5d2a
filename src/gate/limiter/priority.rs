//! Who comes first while there is not enough for all.

use std::{fmt, time::Duration};

use super::came::Counts;

/// How much a call matters.
///
/// # Examples
/// ```
/// use leverframe::gate::limiter::Priority;
/// assert!(Priority::Critical > Priority::Low);
/// assert_eq!(Priority::default(), Priority::Normal);
/// assert_eq!("high".parse::<Priority>().unwrap(), Priority::High);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "complete by definition: the counts are laid out by it")]
pub enum Priority {
    /// The first to be refused.
    Low,
    /// What a call has that names none.
    #[default]
    Normal,
    /// Refused after the normal ones.
    High,
    /// The last to be refused.
    Critical,
}

impl Priority {
    /// All of them, the lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// Returns the word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Priority {
    type Err = crate::Error;

    fn from_str(word: &str) -> crate::Result<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == word).ok_or_else(|| {
            crate::Error::new(crate::ErrorKind::Invalid, "read the priority")
                .with("word", word)
                .hint("write `critical`, `high`, `normal` or `low`")
        })
    }
}

/// How fast what is kept for a priority goes down when it is no longer asked for.
const FORGET: f64 = 0.1;

/// An update after a long time counts for so many at most: calls that come in bursts are not forgotten in a pause.
const MOST_AT_ONCE: f64 = 10.0;

/// What is kept free for the calls that matter more: about as many places as they needed lately, and a few for a burst.
/// Where all calls have one priority nothing is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserves {
    /// How many calls of each priority there would be under way at once, if none were refused.
    wanted: [f64; 4],
    /// How many there were.
    there: [f64; 4],
}

impl Reserves {
    /// Takes in what came of each priority, within which time, and how long a call takes; `usually` is what that time
    /// is for most updates.
    pub(super) fn update(
        &mut self,
        lately: [Counts; 4],
        within: Duration,
        usually: Duration,
        latency: Duration,
    ) {
        let within = within.as_secs_f64().max(1e-9);
        let each = latency.as_secs_f64() / within;
        let updates = (within / usually.as_secs_f64()).clamp(1.0, MOST_AT_ONCE);
        let forgotten = 1.0 - (1.0 - FORGET).powf(updates);
        for ((wanted, there), came) in self.wanted.iter_mut().zip(&mut self.there).zip(lately) {
            let now = (came.admitted + came.denied) as f64 * each;
            let slower = *wanted + forgotten * (now - *wanted);
            *wanted = now.max(slower);
            *there += forgotten * (came.under_way as f64 - *there);
        }
    }

    /// Returns below which number of calls under way each priority is let in.
    pub(super) fn thresholds(&self, limit: u32) -> [u32; 4] {
        let mut thresholds = [limit; 4];
        let mut kept = 0.0;
        for (threshold, (wanted, there)) in
            thresholds.iter_mut().zip(self.wanted.into_iter().zip(self.there)).rev()
        {
            *threshold = limit.saturating_sub(kept as u32).max(1);
            let burst = |calls: f64| if calls > 0.01 { calls.sqrt().max(1.0) } else { 0.0 };
            // Of those that take longer than the others there are more than is wanted by what the others take. They
            // have their places, and keep them for long: what is kept is for those that come.
            kept += (wanted + burst(wanted)).max(burst(there));
        }
        thresholds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const EACH: Duration = Duration::from_millis(10);

    fn calls(admitted: u64) -> Counts {
        Counts { admitted, ..Counts::default() }
    }

    #[test]
    fn calls_of_one_priority_have_the_whole_limit() {
        for priority in 0..4 {
            let mut came = [0; 4];
            came[priority] = 5_000;
            let mut reserves = Reserves::default();
            reserves.update(came.map(calls), SECOND, SECOND, EACH);

            assert_eq!(reserves.thresholds(20)[priority], 20);
        }
    }

    #[test]
    fn as_many_places_are_kept_as_higher_priorities_used_lately() {
        let mut reserves = Reserves::default();
        reserves.update([5_000, 0, 900, 0].map(calls), SECOND, SECOND, EACH);

        assert_eq!(reserves.thresholds(20), [8, 8, 20, 20], "nine, and three for a burst");
        assert_eq!(reserves.thresholds(5), [1, 1, 5, 5], "an idle service takes any call");
    }

    #[test]
    fn where_calls_take_longer_than_the_others_places_are_kept_for_those_that_come() {
        let mut reserves = Reserves::default();
        let long = Counts { admitted: 1, denied: 0, under_way: 10 };
        for _ in 0..80 {
            reserves.update([calls(5_000), calls(0), long, calls(0)], SECOND, SECOND, EACH);
        }

        assert_eq!(reserves.thresholds(20), [17, 17, 20, 20]);
    }

    #[test]
    fn what_is_no_longer_asked_for_is_given_back() {
        let mut reserves = Reserves::default();
        reserves.update([100, 0, 0, 900].map(calls), SECOND, SECOND, EACH);
        for _ in 0..80 {
            reserves.update([100, 0, 0, 0].map(calls), SECOND, SECOND, EACH);
        }

        assert_eq!(reserves.thresholds(20), [20; 4]);
    }

    #[test]
    fn it_is_given_back_by_time_where_few_calls_come_but_not_all_of_it_after_a_pause() {
        let mut reserves = Reserves::default();
        reserves.update([100, 0, 0, 900].map(calls), SECOND, SECOND, EACH);
        reserves.update([100, 0, 0, 0].map(calls), 3_600 * SECOND, SECOND, EACH);
        assert_eq!(reserves.thresholds(20)[0], 16);
        for _ in 0..7 {
            reserves.update([1, 0, 0, 0].map(calls), 10 * SECOND, SECOND, EACH);
        }

        assert_eq!(reserves.thresholds(20), [20; 4]);
    }
}
