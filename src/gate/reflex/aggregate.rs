//! What a fleet counted under a tag.

use std::collections::BTreeMap;

use super::Metric;
use crate::gate::{
    HISTOGRAM_BOUNDS,
    types::{CustomMetricAggregate, PulsePayload, TagMetric},
};

/// Counts by tag; untagged calls have the tag `__default__`. Errors that a pulse names without a tag stand under the
/// tag `""`, and count for all traffic only.
pub type Window = BTreeMap<String, Aggregate>;

/// What was counted under a tag.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Aggregate {
    /// Calls, refused ones included.
    pub calls: u64,
    /// Refused calls.
    pub denied: u64,
    /// Errors.
    pub errors: u64,
    /// All latencies together, in microseconds.
    pub latency_micros: u64,
    /// How many latencies fell into each bucket; see [`HISTOGRAM_BOUNDS`].
    pub buckets: [u64; 8],
    /// The values of custom metrics.
    pub custom: BTreeMap<String, CustomMetricAggregate>,
}

impl Aggregate {
    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.denied = self.denied.saturating_add(other.denied);
        self.errors = self.errors.saturating_add(other.errors);
        self.latency_micros = self.latency_micros.saturating_add(other.latency_micros);
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine = mine.saturating_add(*theirs);
        }
        for (name, theirs) in &other.custom {
            match self.custom.get_mut(name) {
                None => {
                    self.custom.insert(name.clone(), *theirs);
                }
                Some(mine) => {
                    mine.min = mine.min.min(theirs.min);
                    mine.max = mine.max.max(theirs.max);
                    mine.sum += theirs.sum;
                    mine.count = mine.count.saturating_add(theirs.count);
                }
            }
        }
    }

    /// Returns how many latencies were reported.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.saturating_add(*bucket))
    }

    /// Returns the mean latency in milliseconds; `None` without samples.
    #[must_use]
    pub fn mean_ms(&self) -> Option<f64> {
        let samples = self.samples();
        (samples > 0).then(|| self.latency_micros as f64 / 1_000.0 / samples as f64)
    }

    /// Returns the latency in milliseconds that `share` (0 to 1) of the samples do not exceed, as far as the buckets
    /// tell: linear within a bucket, the last of which is taken to end at ten seconds.
    #[must_use]
    pub fn percentile_ms(&self, share: f64) -> Option<f64> {
        let rank = share.clamp(0.0, 1.0) * self.samples() as f64;
        let mut below = 0.0;
        let filled = self.buckets.iter().zip(HISTOGRAM_BOUNDS).filter(|(count, _)| **count > 0);
        let mut last = None;
        for (count, to) in filled {
            let lower = HISTOGRAM_BOUNDS.iter().rev().find(|bound| **bound < to).copied().unwrap_or(0);
            let from = lower as f64;
            let count = *count as f64;
            if below + count >= rank {
                return Some(from + (to as f64 - from) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
            last = Some(to as f64);
        }
        last
    }

    /// Returns what a rule measures; `None` without samples.
    #[must_use]
    pub fn value(&self, metric: &Metric) -> Option<f64> {
        match metric {
            Metric::Latency => self.mean_ms(),
            Metric::Errors => Some(self.errors as f64),
            Metric::P50Latency => self.percentile_ms(0.50),
            Metric::P95Latency => self.percentile_ms(0.95),
            Metric::P99Latency => self.percentile_ms(0.99),
            Metric::Custom(name) => {
                let values = self.custom.get(name).filter(|values| values.count > 0)?;
                Some(values.sum / values.count as f64)
            }
        }
    }
}

/// Returns what one pulse adds.
///
/// Clients that send only the mean of a tag's latencies are taken to have had that latency in every sample. Denials
/// and errors that are known only for the pulse as a whole stand under the tag `""`.
#[must_use]
pub fn pulse_window(pulse: &PulsePayload) -> Window {
    let mut window = Window::new();
    let (mut denied, mut errors) = (0_u64, 0_u64);
    for tag in &pulse.tag_metrics {
        let added = of_tag(tag);
        denied = denied.saturating_add(added.denied);
        errors = errors.saturating_add(added.errors);
        window.entry(tag.tag.clone()).or_default().merge(&added);
    }
    let calls = pulse.tag_metrics.iter().fold(0_u64, |sum, tag| sum.saturating_add(tag.count));
    let rest = Aggregate {
        // After a report that failed, other clients know their calls only as a whole.
        calls: pulse.usage_delta.saturating_sub(calls),
        denied: pulse.bounced_units.saturating_sub(denied),
        // A cast of a float saturates, and makes 0 of NaN.
        errors: (pulse.metrics.errors as u64).saturating_sub(errors),
        ..Aggregate::default()
    };
    if rest != Aggregate::default() {
        window.insert(String::new(), rest);
    }
    window
}

fn of_tag(tag: &TagMetric) -> Aggregate {
    let buckets = tag.latency_buckets.unwrap_or_default();
    let samples = buckets.iter().fold(0_u64, |sum, bucket| sum.saturating_add(*bucket));
    let latency_micros = match tag.latency_sum {
        0 => (tag.latency * 1_000.0 * samples as f64) as u64,
        sum => sum,
    };
    Aggregate {
        calls: tag.count,
        denied: tag.denied,
        errors: tag.errors,
        latency_micros,
        buckets,
        custom: tag.custom_metrics.clone().unwrap_or_default(),
    }
}
