//! Reports on their way: what was harvested and is not acknowledged yet.

use std::{
    collections::{BTreeMap, btree_map},
    hash::{BuildHasher, RandomState},
};

use super::{
    counters::{OTHER, Totals},
    policy::MOST_TAGS,
    wire::{CustomMetricAggregate, PulseMetrics, PulsePayload, TagMetric},
};

/// What one report says. Once it was sent it does not change until it is acknowledged: sent again under the same
/// id, it is counted once by whoever looks at ids.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    id: String,
    tags: BTreeMap<String, Totals>,
}

impl Batch {
    /// Makes a report of a harvest.
    pub(super) fn new(harvest: Vec<(String, Totals)>) -> Self {
        let mut tags: BTreeMap<String, Totals> = BTreeMap::new();
        for (tag, totals) in harvest {
            let full = tags.len() >= MOST_TAGS + 2;
            let tag = if full && !tags.contains_key(&tag) { OTHER.to_owned() } else { tag };
            match tags.entry(tag) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(totals);
                }
                btree_map::Entry::Occupied(mut entry) => entry.get_mut().merge(&totals),
            }
        }
        Self { id: unique_id(), tags }
    }

    /// Writes the report as of `ts`.
    pub(super) fn payload(&self, instance_id: &str, site_id: Option<&str>, ts: u64) -> PulsePayload {
        let mut all = Totals::default();
        for totals in self.tags.values() {
            all.merge(&Totals { custom: BTreeMap::new(), ..totals.clone() });
        }
        PulsePayload {
            instance_id: instance_id.to_owned(),
            site_id: site_id.map(str::to_owned),
            usage_delta: all.allowed + all.denied,
            bounced_units: all.denied,
            metrics: PulseMetrics { latency: mean(&all), errors: all.errors as f64 },
            tag_metrics: self.tags.iter().map(|(tag, totals)| metric(tag, totals)).collect(),
            ts,
            pulse_id: Some(self.id.clone()),
        }
    }
}

fn metric(tag: &str, totals: &Totals) -> TagMetric {
    let custom = totals.custom.iter().map(|(name, a)| {
        let aggregate = CustomMetricAggregate { min: a.min, max: a.max, sum: a.sum, count: a.count };
        (name.to_string(), aggregate)
    });
    TagMetric {
        tag: tag.to_owned(),
        latency: mean(totals),
        count: totals.allowed + totals.denied,
        latency_buckets: (totals.samples() > 0).then_some(totals.buckets),
        custom_metrics: Some(custom.collect::<BTreeMap<_, _>>()).filter(|custom| !custom.is_empty()),
        denied: totals.denied,
        errors: totals.errors,
        latency_sum: totals.latency_micros,
    }
}

/// In milliseconds.
fn mean(totals: &Totals) -> f64 {
    match totals.samples() {
        0 => 0.0,
        samples => totals.latency_micros as f64 / samples as f64 / 1_000.0,
    }
}

/// Returns 128 bits as 32 hex digits, other ones each time.
///
/// From the seeds that the standard library takes from the operating system: enough to tell reports and instances
/// apart, and never used as a secret.
pub(super) fn unique_id() -> String {
    let half = || RandomState::new().hash_one("id");
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::counters::Counters;

    #[test]
    fn a_report_adds_up() {
        let totals = |allowed: u32, denied: u32, latency: f64| {
            let counters = Counters::new();
            (0..allowed).for_each(|_| counters.call(true));
            (0..denied).for_each(|_| counters.call(false));
            counters.latency(latency);
            counters.error();
            counters.custom("depth", 3.0);
            counters.harvest()
        };
        let batch =
            Batch::new(vec![("a".to_owned(), totals(3, 1, 10.0)), ("b".to_owned(), totals(0, 2, 40.0))]);

        let payload = batch.payload("i", Some("s"), 7);

        assert_eq!((payload.usage_delta, payload.bounced_units), (6, 3));
        assert_eq!((payload.metrics.latency, payload.metrics.errors), (25.0, 2.0));
        let counts: Vec<_> =
            payload.tag_metrics.iter().map(|m| (m.tag.as_str(), m.count, m.denied)).collect();
        assert_eq!(counts, [("a", 4, 1), ("b", 2, 2)]);
        assert_eq!(payload, batch.payload("i", Some("s"), 7), "sent again, it is the same report");
    }

    #[test]
    fn ids_differ() {
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| unique_id()).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
