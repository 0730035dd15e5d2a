//! What a fleet counted under a tag.

use std::collections::BTreeMap;

use super::Metric;
use crate::gate::{
    HISTOGRAM_BOUNDS,
    types::{CustomMetricAggregate, PulsePayload, TagMetric},
};

/// Counts by tag; untagged calls have the tag `__default__`. What a pulse names without a tag stands under the tag `""`
/// and counts for all traffic only.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::{Aggregate, Window, total};
/// let mut some = Aggregate::default();
/// some.calls = 3;
/// let window = Window::from([("free".to_owned(), some.clone()), ("pro".to_owned(), some)]);
/// assert_eq!(total(&window).calls, 6);
/// ```
pub type Window = BTreeMap<String, Aggregate>;

/// What was counted under a tag.
///
/// Counts saturate and values stay finite, whatever is added: what comes from outside can make a number wrong, but
/// none that is no number.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::{Aggregate, Metric};
/// let mut one = Aggregate::default();
/// (one.calls, one.latency_micros, one.buckets[1]) = (4, 320_000, 4);
/// let mut sum = one.clone();
/// sum.merge(&one);
/// assert_eq!((sum.calls, sum.samples(), sum.mean_ms()), (8, 8, Some(80.0)));
/// assert_eq!(sum.value(&Metric::P50Latency), Some(75.0));
/// ```
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
            let theirs = finite(theirs);
            match self.custom.get_mut(name) {
                None => {
                    self.custom.insert(name.clone(), theirs);
                }
                // Of nothing, least and greatest are no values.
                Some(mine) if mine.count == 0 => *mine = theirs,
                Some(_) if theirs.count == 0 => {}
                Some(mine) => {
                    mine.min = mine.min.min(theirs.min);
                    mine.max = mine.max.max(theirs.max);
                    mine.sum = (mine.sum + theirs.sum).clamp(f64::MIN, f64::MAX);
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

    /// Returns what a rule measures; `None` without samples. Where something was called and nothing failed, there are
    /// 0 errors.
    #[must_use]
    pub fn value(&self, metric: &Metric) -> Option<f64> {
        match metric {
            Metric::Latency => self.mean_ms(),
            Metric::Errors => {
                let is_silent = self.calls == 0 && self.errors == 0 && self.samples() == 0;
                (!is_silent).then_some(self.errors as f64)
            }
            Metric::P50Latency => self.percentile_ms(0.50),
            Metric::P95Latency => self.percentile_ms(0.95),
            Metric::P99Latency => self.percentile_ms(0.99),
            Metric::Custom(name) => {
                let values = self.custom.get(name).filter(|values| values.count > 0)?;
                Some(values.sum / values.count as f64).filter(|mean| mean.is_finite())
            }
        }
    }
}

/// Returns the counts of all tags together.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::{Aggregate, Window, total};
/// assert_eq!(total(&Window::new()), Aggregate::default());
/// ```
#[must_use]
pub fn total(window: &Window) -> Aggregate {
    let mut sum = Aggregate::default();
    for aggregate in window.values() {
        sum.merge(aggregate);
    }
    sum
}

/// Returns what one pulse adds.
///
/// Clients that send only the mean of a tag's latencies are taken to have had that latency in every sample. Calls,
/// denials and errors that are known only for the pulse as a whole stand under the tag `""`.
///
/// # Examples
/// ```
/// use leverframe::gate::{reflex::pulse_window, types::PulsePayload};
/// let pulse: PulsePayload = serde_json::from_str(
///     r#"{"instanceId":"i","usageDelta":10,"bouncedUnits":0,"metrics":{"latency":20,"errors":3},"ts":1,
///         "tagMetrics":[{"tag":"free","latency":20,"count":10,"latencyBuckets":[5,0,0,0,0,0,0,0]}]}"#,
/// )?;
/// let window = pulse_window(&pulse);
/// assert_eq!((window["free"].calls, window["free"].mean_ms()), (10, Some(20.0)));
/// assert_eq!(window[""].errors, 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
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
        // A tag of no letters is one as well, and keeps what was counted under it.
        window.entry(String::new()).or_default().merge(&rest);
    }
    window
}

/// JSON has no infinity and no NaN, but whoever calls may have.
fn finite(values: &CustomMetricAggregate) -> CustomMetricAggregate {
    let finite = |value: f64| if value.is_nan() { 0.0 } else { value.clamp(f64::MIN, f64::MAX) };
    CustomMetricAggregate {
        min: finite(values.min),
        max: finite(values.max),
        sum: finite(values.sum),
        count: values.count,
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_buckets(buckets: [u64; 8]) -> Aggregate {
        Aggregate { buckets, ..Aggregate::default() }
    }

    fn custom(min: f64, max: f64, sum: f64, count: u64) -> Aggregate {
        let values = CustomMetricAggregate { min, max, sum, count };
        Aggregate { custom: [("depth".to_owned(), values)].into(), ..Aggregate::default() }
    }

    #[test]
    fn percentiles_are_linear_within_a_bucket_and_the_last_ends_at_ten_seconds() {
        let vectors = [
            ([10, 0, 0, 0, 0, 0, 0, 0], 0.50, 25.0),
            ([10, 0, 0, 0, 0, 0, 0, 0], 1.00, 50.0),
            ([0, 0, 4, 0, 0, 0, 0, 0], 0.50, 175.0),
            ([50, 50, 0, 0, 0, 0, 0, 0], 0.50, 50.0),
            ([90, 0, 0, 0, 10, 0, 0, 0], 0.95, 750.0),
            ([90, 0, 0, 0, 10, 0, 0, 0], 0.99, 950.0),
            ([0, 0, 0, 0, 0, 0, 0, 8], 0.50, 7_500.0),
            ([0, 0, 0, 0, 0, 0, 0, 8], 1.00, 10_000.0),
            ([1, 0, 0, 0, 0, 0, 0, 99], 0.00, 0.0),
            // What is no share is taken for the largest.
            ([10, 0, 0, 0, 0, 0, 0, 0], f64::NAN, 50.0),
        ];
        for (buckets, share, expected) in vectors {
            assert_eq!(with_buckets(buckets).percentile_ms(share), Some(expected), "{buckets:?} at {share}");
        }
        assert_eq!(Aggregate::default().percentile_ms(0.95), None);
    }

    #[test]
    fn without_samples_there_is_no_value_and_without_failures_there_are_no_errors() {
        let calls = Aggregate { calls: 3, ..Aggregate::default() };
        let errors = Aggregate { errors: 2, ..Aggregate::default() };

        for metric in Metric::BUILT_IN.iter().chain(&["depth"]) {
            assert_eq!(Aggregate::default().value(&Metric::parse(metric).unwrap()), None, "{metric}");
        }
        assert_eq!(calls.value(&Metric::Errors), Some(0.0));
        assert_eq!(calls.value(&Metric::Latency), None);
        assert_eq!(errors.value(&Metric::Errors), Some(2.0));
    }

    #[test]
    fn custom_metrics_are_their_mean() {
        let depth = Metric::Custom("depth".to_owned());
        let mut sum = custom(1.0, 9.0, 30.0, 6);
        sum.merge(&custom(0.0, 3.0, 6.0, 3));

        assert_eq!(sum.value(&depth), Some(4.0));
        assert_eq!((sum.custom["depth"].min, sum.custom["depth"].max), (0.0, 9.0));

        // Nothing was measured, so nothing was least.
        sum.merge(&custom(-7.0, 7.0, 0.0, 0));
        assert_eq!(sum.custom["depth"].min, 0.0);
        assert_eq!(custom(0.0, 0.0, 0.0, 0).value(&depth), None);
    }

    #[test]
    fn values_from_hell_stay_numbers() {
        let depth = Metric::Custom("depth".to_owned());
        let mut sum = Aggregate { calls: u64::MAX, buckets: [u64::MAX; 8], ..Aggregate::default() };
        for values in [
            custom(f64::NAN, f64::INFINITY, f64::INFINITY, u64::MAX),
            custom(f64::NEG_INFINITY, f64::NAN, f64::NEG_INFINITY, 1),
            custom(f64::MAX, f64::MAX, f64::MAX, 1),
        ] {
            sum.merge(&values);
            sum.merge(&sum.clone());
        }

        assert_eq!(sum.calls, u64::MAX);
        assert!(sum.value(&depth).unwrap().is_finite());
        for metric in Metric::BUILT_IN {
            assert!(sum.value(&Metric::parse(metric).unwrap()).unwrap().is_finite(), "{metric}");
        }
    }

    #[test]
    fn what_a_pulse_names_without_a_tag_stands_apart() {
        let pulse: PulsePayload = serde_json::from_str(
            r#"{"instanceId":"i","usageDelta":20,"bouncedUnits":5,"metrics":{"latency":1,"errors":7},"ts":1,
                "tagMetrics":[{"tag":"a","latency":0,"count":9,"denied":2,"errors":3},
                              {"tag":"a","latency":0,"count":1},
                              {"tag":"","latency":0,"count":4,"errors":1}]}"#,
        )
        .unwrap();

        let window = pulse_window(&pulse);

        assert_eq!((window["a"].calls, window["a"].denied, window["a"].errors), (10, 2, 3));
        assert_eq!((window[""].calls, window[""].denied, window[""].errors), (10, 3, 4));
        let total = total(&window);
        assert_eq!((total.calls, total.denied, total.errors), (20, 5, 7));
    }

    #[test]
    fn a_pulse_may_claim_less_than_its_tags() {
        let pulse: PulsePayload = serde_json::from_str(
            r#"{"instanceId":"i","usageDelta":1,"bouncedUnits":0,"metrics":{"latency":null,"errors":-5},"ts":1,
                "tagMetrics":[{"tag":"a","latency":-3,"count":9,"latencyBuckets":[1,0,0,0,0,0,0,0]}]}"#,
        )
        .unwrap();

        let window = pulse_window(&pulse);

        assert_eq!(window.len(), 1);
        assert_eq!(window["a"].mean_ms(), Some(0.0));
    }

    proptest! {
        #[test]
        fn percentiles_rise_with_the_share_and_lie_in_the_bucket_of_their_rank(
            buckets in prop::array::uniform8(0_u64..50),
            shares in prop::array::uniform2(0.0_f64..=1.0),
        ) {
            let aggregate = with_buckets(buckets);
            let low = aggregate.percentile_ms(shares[0].min(shares[1]));
            let high = aggregate.percentile_ms(shares[0].max(shares[1]));
            prop_assert!(low <= high);
            // Each sample written out, at the upper end of its bucket: the naive percentile.
            let each: Vec<f64> = buckets
                .iter()
                .zip(HISTOGRAM_BOUNDS)
                .flat_map(|(count, bound)| vec![bound as f64; *count as usize])
                .collect();
            let Some(high) = high else {
                prop_assert!(each.is_empty());
                return Ok(());
            };
            let rank = shares[0].max(shares[1]) * each.len() as f64;
            let upper = each[(rank.ceil() as usize).clamp(1, each.len()) - 1];
            let below = HISTOGRAM_BOUNDS.iter().rev().map(|bound| *bound as f64).find(|bound| *bound < upper);
            prop_assert!(high <= upper && high >= below.unwrap_or(0.0), "{high} of {upper}");
        }
    }
}
