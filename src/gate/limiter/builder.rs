//! How a limiter is put together.

use std::{fmt, sync::Arc, time::Duration};

use super::{AdaptiveLimiter, Limit, LimitOptions, LimitSource, Priority};
use crate::{Result, backends::clock_system::SystemClock, text_table::TextTable, traits::Clock};

/// Puts a limiter together.
///
/// # Examples
/// ```
/// use leverframe::gate::limiter::{AdaptiveLimiter, Priority};
/// let limiter = AdaptiveLimiter::builder()
///     .initial(20)
///     .min(4)
///     .max(200)
///     .priorities([("checkout", Priority::Critical), ("crawl", Priority::Low)])
///     .build()?;
/// assert_eq!(limiter.priority_of(Some("crawl")), Priority::Low);
/// assert!(AdaptiveLimiter::builder().min(5).max(4).build().is_err());
/// # Ok::<(), leverframe::Error>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct AdaptiveLimiterBuilder {
    options: LimitOptions,
    initial: Option<u32>,
    priorities: TextTable<Priority>,
    clock: Option<Arc<dyn Clock>>,
    source: Option<Box<dyn LimitSource>>,
}

impl AdaptiveLimiterBuilder {
    pub(super) fn new() -> Self {
        Self {
            options: LimitOptions::default(),
            initial: None,
            priorities: TextTable::default(),
            clock: None,
            source: None,
        }
    }

    /// Sets everything that [`LimitOptions`] has.
    pub fn options(mut self, options: LimitOptions) -> Self {
        self.options = options;
        self.initial = Some(options.initial);
        self
    }

    /// Sets what to start from. Default: 10, or the bound that is nearest.
    pub fn initial(mut self, initial: u32) -> Self {
        self.initial = Some(initial);
        self
    }

    /// Sets what the limit never falls below. Default: 1.
    pub fn min(mut self, min: u32) -> Self {
        self.options.min = min;
        self
    }

    /// Sets what the limit never rises above. Default: 1,000.
    pub fn max(mut self, max: u32) -> Self {
        self.options.max = max;
        self
    }

    /// Sets how many times the baseline a latency may be before the limit falls. Default: 1.25.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.options.tolerance = tolerance;
        self
    }

    /// Sets the latency above which nothing is ever healthy, whatever was learned. Default: none.
    pub fn baseline_ceiling(mut self, ceiling: Duration) -> Self {
        self.options.baseline_ceiling = Some(ceiling);
        self
    }

    /// Sets the priority of calls with a tag; others are normal.
    pub fn priority(mut self, tag: &str, priority: Priority) -> Self {
        self.priorities.insert(tag, priority);
        self
    }

    /// Sets the priorities of several tags.
    pub fn priorities<T: AsRef<str>>(self, all: impl IntoIterator<Item = (T, Priority)>) -> Self {
        all.into_iter().fold(self, |builder, (tag, priority)| builder.priority(tag.as_ref(), priority))
    }

    /// Takes bounds from a source: [`FlagLimit`](super::FlagLimit), a closure, or one's own.
    pub fn source(mut self, source: impl LimitSource) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Takes the time from this clock. Default: the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Makes the limiter. A source that has no bounds yet does not keep it from being made.
    ///
    /// # Errors
    /// `Config`, for settings that contradict each other.
    pub fn build(self) -> Result<AdaptiveLimiter> {
        let (min, max) = (self.options.min, self.options.max);
        let usual = LimitOptions::default().initial.clamp(min, max.max(min));
        let limit = Limit::new(LimitOptions { initial: self.initial.unwrap_or(usual), ..self.options })?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        Ok(AdaptiveLimiter::assemble(limit, self.priorities, clock, self.source))
    }
}

impl fmt::Debug for AdaptiveLimiterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimiterBuilder")
            .field("options", &self.options)
            .field("priorities", &self.priorities.len())
            .finish_non_exhaustive()
    }
}
