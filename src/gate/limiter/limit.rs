//! The algorithm: how many calls may be under way, learned from how long they take.
//!
//! Pure: it is told what happened and when a window ended, and has neither a clock nor a lock nor a thread.

use std::time::Duration;

use super::{Window, window::Mean};
use crate::{Error, ErrorKind, Result};

/// No limit is above this.
pub(super) const MOST: u32 = 1_000_000;

/// A window halves the limit at most, however slow the answers.
const STEEPEST: f64 = 0.5;

/// How far the limit goes, in one window, towards what the window asks for. One odd window moves it by half of half.
const SMOOTHING: f64 = 0.5;

/// By how much of itself the baseline may have changed from one window to the next. It decides how soon the baseline
/// follows: as fast down as up, or chance would take it down.
const DRIFT: f64 = 0.01;

/// How fast it follows a latency that is far lower, and what far is: after an outage it must not stay behind for long.
const FOLLOW_FAR: f64 = 0.3;
const FAR: f64 = 1.5;

/// How fast it is learned how different calls are.
const VARIATION_PACE: f64 = 0.1;

/// What is so much slower than the baseline is slow, whatever chance does.
const CLEARLY_SLOW: f64 = 2.0;

/// How far the baseline follows upward by itself. Beyond that a drain has to show that the calls are not waiting for
/// each other: a load that creeps up would otherwise take the baseline along.
const CREEP: f64 = 1.25;

/// A limit of which so much is in use is in the way of calls.
const FULL: f64 = 0.9;

/// After this many slow windows the limit is lowered for a moment, to see whether it is to blame.
const DRAIN_AFTER: u32 = 20;

/// A drain that shows that the calls were waiting for each other doubles the pause to the next, up to this.
const DRAIN_AFTER_MOST: u32 = 640;

/// If calls wait only for each other, halving them halves their latency; if for anything else, it changes nothing.
/// Between the two, this much of the change tells them apart.
const BLAME: f64 = 0.4;

/// A limit that has fallen below so much of what it was is another one.
const MUCH_LOWER: f64 = 0.6;

/// A drain tells something if so much is left of the calls under way, or less; or so much has come to them, or more.
const CLEARLY_FEWER: f64 = 0.75;
const CLEARLY_MORE: f64 = 1.25;

/// So many times the calls of the smallest window are looked at before a drain ends: with fewer, chance would decide.
const DRAIN_SAMPLES: u64 = 4;

/// A drain ends after this many windows at the latest.
const DRAIN_WINDOWS: u32 = 8;

/// How much of the latency that a drain compares with comes from the last slow window.
const RECENT: f64 = 0.2;

/// The first windows tell what is usual, before the limit moves.
const FIRST_WINDOWS: u64 = 2;

/// With so few failures a limit that starts slowly goes on.
const FEW_FAILURES: f64 = 0.05;

/// The longest window, for calls that take many seconds.
const LONGEST_WINDOW: Duration = Duration::from_secs(5);

/// How a [`Limit`] learns.
///
/// # Examples
/// ```
/// use leverframe::gate::limiter::LimitOptions;
/// let options = LimitOptions { initial: 4, max: 64, ..Default::default() };
/// assert_eq!((options.min, options.min_samples), (1, 20));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "written as a literal with `..Default::default()`")]
pub struct LimitOptions {
    /// What to start from; better too small than too large. Default: 10.
    pub initial: u32,
    /// The limit never falls below. Default: 1.
    pub min: u32,
    /// The limit never rises above. Default: 1,000.
    pub max: u32,
    /// How many times the baseline a latency may be before the limit falls. Default: 1.25.
    pub tolerance: f64,
    /// Baselines below this count as this, so that the jitter of very short calls is not taken for a queue. Default:
    /// 200 µs.
    pub baseline_floor: Duration,
    /// Baselines above this count as this: no such latency is ever healthy. Default: none.
    pub baseline_ceiling: Option<Duration>,
    /// How long a window is at least; it is as long as two calls if that is more. Default: 100 ms.
    pub window: Duration,
    /// A window with fewer calls than this changes nothing. Default: 20.
    pub min_samples: u64,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            initial: 10,
            min: 1,
            max: 1_000,
            tolerance: 1.25,
            baseline_floor: Duration::from_micros(200),
            baseline_ceiling: None,
            window: Duration::from_millis(100),
            min_samples: 20,
        }
    }
}

impl LimitOptions {
    /// # Errors
    /// `Config`, for options that contradict each other.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |setting: &'static str, hint: &'static str| {
            Err(Error::new(ErrorKind::Config, "set up the limiter").with("setting", setting).hint(hint))
        };
        if self.min == 0 || self.min > self.max || self.max > MOST {
            return refuse("min, max", "set 1 ≤ min ≤ max ≤ 1,000,000");
        }
        if !(self.min..=self.max).contains(&self.initial) {
            return refuse("initial", "set it to a number from min to max");
        }
        if !(1.0..=10.0).contains(&self.tolerance) {
            return refuse("tolerance", "set it to a number from 1 to 10");
        }
        if self.window.is_zero() || self.window > LONGEST_WINDOW {
            return refuse("window", "set it to at most 5 seconds, and more than none");
        }
        if !(1..=u64::from(MOST)).contains(&self.min_samples) {
            return refuse("min_samples", "set it to a number from 1 to 1,000,000");
        }
        if self.baseline_ceiling.is_some_and(|ceiling| ceiling < self.baseline_floor) {
            return refuse("baseline_floor, baseline_ceiling", "set the ceiling above the floor");
        }
        Ok(())
    }
}

/// A limit on calls under way, learned from their latency.
///
/// It is told of one [`Window`] after the other. While calls take about as long as the baseline and the limit is in
/// use, it grows; when they take longer it shrinks by as much (the gradient), down to about as many as are served at
/// once, and a few that wait. [`AdaptiveLimiter`](super::AdaptiveLimiter) does the counting and timing.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use leverframe::gate::limiter::{Limit, LimitOptions, Window};
/// let mut limit = Limit::new(LimitOptions { initial: 4, ..Default::default() })?;
/// let mut window = Window::new();
/// window.most_in_flight = 4;
/// (0..100).for_each(|_| window.record(Duration::from_millis(10)));
/// limit.update(&window); // the first tells what is usual
/// limit.update(&window);
/// assert!(limit.current() > 4, "it is in use and calls do not wait");
/// let before = limit.current();
/// window.clear();
/// window.most_in_flight = before;
/// (0..100).for_each(|_| window.record(Duration::from_millis(40)));
/// limit.update(&window);
/// assert!(limit.current() < before);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Limit {
    options: LimitOptions,
    limit: f64,
    /// What a call takes that does not wait, with how far that may be off.
    baseline: Option<Mean>,
    /// The lowest that the baseline was since a drain last showed where it is.
    anchor: f64,
    starting: bool,
    /// How many windows were looked at.
    windows: u64,
    /// How different calls are: the variance of their latency over its square.
    variation: f64,
    /// Slow windows lately, and their latency.
    slow: u32,
    slow_latency: f64,
    drain_after: u32,
    /// The limit when a drain last showed that the calls were waiting for each other; 0 if none has.
    blamed_at: f64,
    drain: Option<Drain>,
}

/// The limit is lowered for a moment, to see what that does to the latency; or raised, where a bound does not let it
/// be lowered.
#[derive(Clone, Copy, Debug)]
struct Drain {
    limit: u32,
    in_flight_before: f64,
    latency_before: f64,
    /// Seconds until all calls that end began within the drain, and at its limit. The windows before do not count,
    /// and neither does the first.
    settling: f64,
    windows: u32,
    samples: f64,
    /// Of all samples together.
    latency: Mean,
    most_in_flight: u32,
}

impl Limit {
    /// Makes a limit that has learned nothing yet.
    ///
    /// # Errors
    /// `Config`, for options that contradict each other.
    pub fn new(options: LimitOptions) -> Result<Self> {
        options.check()?;
        Ok(Self {
            limit: f64::from(options.initial),
            baseline: None,
            anchor: f64::INFINITY,
            starting: true,
            windows: 0,
            variation: 0.0,
            slow: 0,
            slow_latency: 0.0,
            drain_after: DRAIN_AFTER,
            blamed_at: 0.0,
            drain: None,
            options,
        })
    }

    /// Returns how many calls may be under way.
    #[must_use]
    pub fn current(&self) -> u32 {
        match self.drain {
            Some(drain) => drain.limit,
            None => (self.limit as u32).clamp(self.options.min, self.options.max),
        }
    }

    /// Returns what a call takes that does not wait, as far as it is known.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        self.baseline.map(|baseline| Duration::from_secs_f64(baseline.seconds))
    }

    /// Returns how long the next window should be.
    #[must_use]
    pub fn window(&self) -> Duration {
        let two_calls = 2 * self.baseline().unwrap_or_default();
        two_calls.clamp(self.options.window, LONGEST_WINDOW)
    }

    /// Returns the options.
    #[must_use]
    pub const fn options(&self) -> &LimitOptions {
        &self.options
    }

    /// Changes the bounds. What was learned stays, also where the new bounds are in its way: when they go again, it
    /// holds again.
    ///
    /// # Errors
    /// `Config`, unless 1 ≤ min ≤ max.
    pub fn set_bounds(&mut self, min: u32, max: u32) -> Result<()> {
        let initial = self.options.initial.clamp(min, max.max(min));
        let options = LimitOptions { initial, min, max, ..self.options };
        options.check()?;
        self.options = options;
        self.drain = None;
        Ok(())
    }

    /// Takes in what happened. A window with fewer than `min_samples` calls changes nothing that was learned.
    pub fn update(&mut self, window: &Window) {
        let answered = window.answered();
        if answered + window.failures < self.options.min_samples {
            self.drain = None;
            return;
        }
        // A latency of a few calls among many failures says nothing.
        let enough = 2 * answered >= self.options.min_samples;
        let latency = window.mean().filter(|_| enough).map(|latency| self.doubted(latency, answered));
        if window.fixed {
            self.drain = None;
        }
        if let Some(drain) = self.drain {
            return self.go_on_with_drain(drain, window, latency);
        }
        self.windows += 1;
        let ratio = latency.map_or(1.0, |latency| self.ratio(latency));
        // A latency that is less than it and the baseline may be off makes a ratio below zero: as fast as can be.
        let slow = ratio > self.options.tolerance;
        let gradient = if slow { (self.options.tolerance / ratio).max(STEEPEST) } else { 1.0 };
        if let Some(latency) = latency {
            self.follow(latency, gradient, window);
        }
        self.adjust(ratio, gradient, window);
        self.watch(gradient, window, latency);
    }

    /// Doubts a latency as much as those before it: a window that by chance has no slow call in it looks surer of
    /// itself than it is.
    fn doubted(&mut self, latency: Mean, answered: u64) -> Mean {
        let variation = (latency.error / latency.seconds).powi(2) * answered as f64;
        let pace = if self.variation == 0.0 { 1.0 } else { VARIATION_PACE };
        self.variation += pace * (variation - self.variation);
        let usual = (self.variation / answered as f64).sqrt() * latency.seconds;
        Mean { error: latency.error.max(usual), ..latency }
    }

    /// Returns how many times the baseline a latency is, at least: what chance can explain is not held against it,
    /// and may be more than all of it.
    fn ratio(&self, latency: Mean) -> f64 {
        let Some(baseline) = self.baseline else { return 1.0 };
        let floor = self.options.baseline_floor.as_secs_f64();
        let ceiling = self.options.baseline_ceiling.map_or(f64::INFINITY, |ceiling| ceiling.as_secs_f64());
        let chance = latency.error.hypot(baseline.error);
        (latency.seconds - chance) / baseline.seconds.max(floor).min(ceiling)
    }

    fn is_full(&self, window: &Window) -> bool {
        window.denied || f64::from(window.most_in_flight) >= FULL * self.limit
    }

    /// Has the baseline follow the latency, as far as the latency is that of calls that do not wait: by the more, the
    /// surer the latency is and the less sure the baseline.
    fn follow(&mut self, latency: Mean, gradient: f64, window: &Window) {
        let Some(baseline) = self.baseline else {
            return self.learn(latency);
        };
        let variance = baseline.error.powi(2) + (DRIFT * baseline.seconds).powi(2);
        // Not the window's own error: those that happen to be fast have less, and would count for more.
        let error = (self.variation / window.answered() as f64).sqrt() * baseline.seconds;
        let mut gain = variance / (variance + error.powi(2));
        if (latency.seconds + latency.error) * FAR < baseline.seconds {
            gain = gain.max(FOLLOW_FAR);
        }
        // Few calls are let in at the start: then their latency counts even where all that may come do.
        let free = gradient >= 1.0 && (!self.is_full(window) || self.windows <= FIRST_WINDOWS);
        if latency.seconds < baseline.seconds || free {
            let seconds = baseline.seconds + gain * (latency.seconds - baseline.seconds);
            let seconds = if seconds > baseline.seconds && self.windows > FIRST_WINDOWS {
                seconds.min(CREEP * self.anchor).max(baseline.seconds)
            } else {
                seconds
            };
            self.baseline = Some(Mean { seconds, error: ((1.0 - gain) * variance).sqrt() });
            self.anchor = if self.windows > FIRST_WINDOWS { self.anchor.min(seconds) } else { seconds };
        }
    }

    fn learn(&mut self, latency: Mean) {
        self.baseline = Some(latency);
        self.anchor = latency.seconds;
    }

    fn adjust(&mut self, ratio: f64, gradient: f64, window: &Window) {
        let failing = window.failing();
        // A limit that was not in the way need not be more than twice what was in use.
        let needed = 2.0 * f64::from(window.most_in_flight);
        let needed = if window.denied { f64::INFINITY } else { needed.max(self.limit) };
        let kept = self.limit * gradient * (1.0 - failing.min(STEEPEST));
        if self.starting && failing < FEW_FAILURES {
            if gradient >= 1.0 {
                if self.windows >= FIRST_WINDOWS {
                    self.limit = self.clamped((2.0 * self.limit).min(needed));
                }
                return;
            }
            if ratio < CLEARLY_SLOW && self.slow == 0 {
                // Perhaps by chance: the next window decides.
                return;
            }
        }
        if self.starting {
            // It went beyond what is served at once, and by how much is known: there at once, not bit by bit.
            self.starting = false;
            self.limit = self.clamped(kept);
            return;
        }
        // The root lets a few calls wait, so that none who serve them ever do, and is what the limit grows by.
        let target = (kept + self.limit.sqrt() * (1.0 - failing)).min(needed);
        let step = if gradient >= 1.0 && failing < FEW_FAILURES { 1.0 } else { SMOOTHING };
        self.limit = self.clamped(self.limit + step * (target - self.limit));
        if failing >= FEW_FAILURES && self.limit <= f64::from(self.options.min) {
            // What comes back after an outage is found as at the start.
            self.starting = true;
        }
    }

    /// Keeps a new limit within the bounds, but does not move it there if the bounds were changed: see `set_bounds`.
    fn clamped(&self, limit: f64) -> f64 {
        let (min, max) = (f64::from(self.options.min), f64::from(self.options.max));
        limit.clamp(min.min(self.limit), max.max(self.limit))
    }

    /// Counts slow windows, and begins a drain when they do not end.
    fn watch(&mut self, gradient: f64, window: &Window, latency: Option<Mean>) {
        let Some(latency) = latency else { return };
        if gradient >= 1.0 {
            if self.slow == 0 {
                self.drain_after = DRAIN_AFTER;
            }
            // Twice as fast down as up: where slow windows and others take turns there is nothing to look into.
            self.slow = self.slow.saturating_sub(2);
            return;
        }
        self.slow_latency = match self.slow {
            0 => latency.seconds,
            _ => self.slow_latency + RECENT * (latency.seconds - self.slow_latency),
        };
        // So slow that the limit falls as steeply as it can: it is found out sooner whether that is right.
        self.slow += if gradient <= STEEPEST { 2 } else { 1 };
        if self.limit < MUCH_LOWER * self.blamed_at {
            // What was shown at another limit does not hold here.
            (self.blamed_at, self.drain_after) = (0.0, DRAIN_AFTER);
        }
        if self.slow < self.drain_after {
            return;
        }
        if window.fixed {
            // Nothing can be tried; it can as soon as the limit is no longer fixed.
            self.slow = self.drain_after;
            return;
        }
        self.slow = 0;
        let in_flight = f64::from(window.most_in_flight.min(self.current()));
        // Of few, more is taken away: behind one worker even half of them would wait.
        let lower = if in_flight > 8.0 { in_flight / 2.0 } else { in_flight / 3.0 };
        let lower = (lower as u32).max(self.options.min);
        let limit = if f64::from(lower) <= CLEARLY_FEWER * in_flight {
            lower
        } else if in_flight < 2.0 {
            // One call does not wait for another: this is what it takes.
            return self.learn(latency);
        } else if window.denied {
            // The bound is in the way; whether calls wait for each other shows as well when there are more of them.
            ((in_flight * 1.5).ceil() as u32).clamp(self.options.min, self.options.max)
        } else {
            return;
        };
        // Where more are let in, they have to come first, and take longer.
        let latencies = if f64::from(limit) > in_flight { 2.0 } else { 1.0 };
        self.drain = Some(Drain {
            limit,
            settling: latencies * self.slow_latency,
            in_flight_before: in_flight,
            latency_before: self.slow_latency,
            windows: 0,
            samples: 0.0,
            latency: Mean { seconds: 0.0, error: 0.0 },
            most_in_flight: 0,
        });
    }

    fn go_on_with_drain(&mut self, mut drain: Drain, window: &Window, latency: Option<Mean>) {
        let settled = drain.windows > 0 && drain.settling <= 0.0;
        drain.settling -= window.length.max(self.window()).as_secs_f64();
        if !settled {
            drain.windows = 1;
            self.drain = Some(drain);
            return;
        }
        drain.windows += 1;
        if let Some(latency) = latency {
            drain.add(latency, window);
        }
        if drain.samples < (DRAIN_SAMPLES * self.options.min_samples) as f64 && drain.windows < DRAIN_WINDOWS
        {
            self.drain = Some(drain);
            return;
        }
        self.drain = None;
        let change = f64::from(drain.most_in_flight) / drain.in_flight_before;
        let clear = change <= CLEARLY_FEWER || change >= CLEARLY_MORE;
        if drain.samples < self.options.min_samples as f64 || !clear {
            return;
        }
        let latency = drain.latency;
        let between = drain.latency_before * (1.0 + BLAME * (change - 1.0));
        if (latency.seconds < between) == (change < 1.0) {
            // They were waiting for each other. With fewer of them the latency is nearer to the truth.
            self.blamed_at = self.limit;
            if self.baseline.is_some_and(|baseline| latency.seconds < baseline.seconds) {
                self.learn(latency);
            } else {
                self.drain_after = (2 * self.drain_after).min(DRAIN_AFTER_MOST);
            }
        } else {
            self.drain_after = DRAIN_AFTER;
            self.learn(latency);
        }
    }
}

impl Drain {
    fn add(&mut self, latency: Mean, window: &Window) {
        let before = self.samples;
        self.samples += window.answered() as f64;
        let (old, new) = (before / self.samples, 1.0 - before / self.samples);
        self.latency = Mean {
            seconds: old * self.latency.seconds + new * latency.seconds,
            error: (old * self.latency.error).hypot(new * latency.error),
        };
        self.most_in_flight = self.most_in_flight.max(window.most_in_flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(calls: u64, failures: u64) -> Window {
        let mut window = Window { failures, most_in_flight: 10, ..Window::new() };
        (0..calls).for_each(|_| window.record(Duration::from_millis(10)));
        window
    }

    #[test]
    fn a_window_with_few_calls_changes_nothing() {
        let mut limit = Limit::new(LimitOptions::default()).unwrap();
        limit.update(&window(100, 0));
        let learned = (limit.current(), limit.baseline());
        for few in [window(0, 0), window(19, 0), window(0, 19), window(10, 9)] {
            (0..50).for_each(|_| limit.update(&few));
        }

        assert_eq!((limit.current(), limit.baseline()), learned);
        limit.update(&window(20, 0));
        assert_eq!(limit.current(), 20);
    }

    #[test]
    fn while_the_limit_is_fixed_nothing_is_tried_and_afterwards_at_once() {
        let mut limit = Limit::new(LimitOptions::default()).unwrap();
        (0..5).for_each(|_| limit.update(&window(100, 0)));
        let mut slow = Window { most_in_flight: 10, ..Window::new() };
        (0..100).for_each(|_| slow.record(Duration::from_millis(90)));
        for _ in 0..100 {
            limit.update(&Window { fixed: true, ..slow.clone() });
            assert!(limit.drain.is_none());
        }
        limit.update(&slow);

        assert!(limit.drain.is_some());
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let usual = LimitOptions::default();
        let floor_above = Some(Duration::from_micros(1));
        for options in [
            LimitOptions { min: 0, ..usual },
            LimitOptions { min: 11, max: 10, ..usual },
            LimitOptions { max: MOST + 1, ..usual },
            LimitOptions { initial: 1_001, ..usual },
            LimitOptions { tolerance: 0.9, ..usual },
            LimitOptions { tolerance: f64::NAN, ..usual },
            LimitOptions { window: Duration::ZERO, ..usual },
            LimitOptions { min_samples: 0, ..usual },
            LimitOptions { min_samples: u64::MAX, ..usual },
            LimitOptions { baseline_ceiling: floor_above, ..usual },
        ] {
            let refused = Limit::new(options).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Config, "{options:?}");
        }
    }
}
