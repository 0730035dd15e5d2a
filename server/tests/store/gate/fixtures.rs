//! Pulses and what they add up to.

use std::collections::BTreeMap;

use leverframe::gate::{
    reflex::{Aggregate, Window},
    types::CustomMetricAggregate,
};
use leverframe_server::gate::model::{Pulse, SiteId};

pub(super) fn site() -> SiteId {
    SiteId::new("acme", "eu")
}

/// So many calls, and other numbers that differ from each other.
pub(super) fn counted(calls: u64) -> Aggregate {
    let mut counted = Aggregate::default();
    counted.calls = calls;
    counted.denied = calls / 2;
    counted.errors = calls / 3;
    counted.latency_micros = calls * 1_001;
    counted.buckets = std::array::from_fn(|bucket| calls * bucket as u64);
    counted
}

pub(super) fn values(min: f64, max: f64, sum: f64, count: u64) -> CustomMetricAggregate {
    let mut values = CustomMetricAggregate::default();
    (values.min, values.max, values.sum, values.count) = (min, max, sum, count);
    values
}

pub(super) fn window<const N: usize>(tags: [(&str, u64); N]) -> Window {
    tags.into_iter().map(|(tag, calls)| (tag.to_owned(), counted(calls))).collect()
}

/// A pulse of `acme/eu` that adds so many calls of the tag `free`.
pub(super) fn pulse(instance: &str, ts: u64, calls: u64) -> Pulse {
    Pulse::new(site(), instance, ts, window([("free", calls)]))
}

/// One that keeps its id when it is sent again.
pub(super) fn kept_pulse(instance: &str, ts: u64, id: &str, calls: u64) -> Pulse {
    let mut pulse = pulse(instance, ts, calls);
    pulse.pulse_id = Some(id.to_owned());
    pulse
}

pub(super) fn merged<'w>(windows: impl IntoIterator<Item = &'w Window>) -> Window {
    let mut sum = BTreeMap::<String, Aggregate>::new();
    for (tag, counted) in windows.into_iter().flatten() {
        sum.entry(tag.clone()).or_default().merge(counted);
    }
    sum
}
