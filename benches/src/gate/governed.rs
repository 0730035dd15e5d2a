//! `governor`: rate limiters in this process, one for each tag.
//!
//! It knows no policy, no weights and no counts, so this is what is left of the work: find the tag's limiter and ask
//! it. The limiters stand in a map that nobody locks, since the tags are known; a keyed limiter would look them up in a
//! concurrent one. Their quotas are so wide that everything passes.

use std::{collections::HashMap, num::NonZeroU32};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{Gate, LIMITS, TAGS};

/// A limiter by tag.
#[derive(Debug)]
pub struct Governor(HashMap<&'static str, (DefaultDirectRateLimiter, f64)>);

impl Governor {
    /// Makes the limiters.
    ///
    /// # Panics
    /// Never: the quota is a constant.
    #[must_use]
    pub fn unlimited() -> Self {
        let rate = NonZeroU32::new(500_000_000).expect("it is not zero");
        let limiter = || RateLimiter::direct(Quota::per_second(rate));
        Self(TAGS.iter().zip(LIMITS).map(|(tag, limit)| (*tag, (limiter(), limit))).collect())
    }
}

impl Gate for Governor {
    const NAME: &'static str = "governor 0.10";

    #[inline]
    fn passes(&self, tag: &str, weight: f64) -> bool {
        // The comparison with the limit is ours, so that it can be told that the work is the same.
        self.0.get(tag).is_none_or(|(limiter, limit)| weight <= *limit && limiter.check().is_ok())
    }
}
