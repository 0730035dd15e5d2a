//! Reports on their way: what was harvested and is not acknowledged yet.

use std::{
    collections::{BTreeMap, VecDeque, btree_map},
    hash::{BuildHasher, RandomState},
    mem,
};

use super::{
    counters::{OTHER, Totals},
    policy::MOST_TAGS,
    wire::{CustomMetricAggregate, PulseMetrics, PulsePayload, TagMetric},
};

/// A report's body stays below this many bytes, so far as that can be told before it is written.
const LARGEST_REPORT: usize = 128 * 1024;

/// Counts by tag.
type Tags = BTreeMap<String, Totals>;

/// What is on its way, in the order in which it is sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What was sent, or is to be: counted already, for all that is known.
    waiting: VecDeque<Batch>,
    /// What the control plane refused for what it says: not counted, and tried again tag by tag.
    refused: Tags,
    /// The time of what was sent last; 0 if it was refused for it.
    last_ts: u64,
    /// The latest time of what was sent before that and may have been counted, never to be forgotten: a control plane
    /// may remember nothing of what is not later.
    highest_ts: u64,
}

impl Outbox {
    /// Takes a harvest in, as one report or, if it is large, several; at least one.
    pub(super) fn add(&mut self, harvest: Vec<(String, Totals)>, wall_ms: u64) {
        self.waiting.extend(Batch::of(harvest, wall_ms));
    }

    /// Gives some of what was refused another chance; false if there is nothing of the kind.
    pub(super) fn reconsider(&mut self, most: usize, wall_ms: u64) -> bool {
        let tags: Tags = (0..most).map_while(|_| self.refused.pop_first()).collect();
        let any = !tags.is_empty();
        self.waiting.extend(any.then(|| Batch::new(tags, wall_ms)));
        any
    }

    /// Returns what is to be sent next, and the time to write into it: later than any before, but for those forgotten.
    ///
    /// Nothing overtakes a report that may have been counted: a control plane remembers the last few ids only.
    pub(super) fn next(&mut self, wall_ms: u64) -> Option<(&Batch, u64)> {
        let batch = self.waiting.front()?;
        self.highest_ts = self.highest_ts.max(self.last_ts);
        self.last_ts = wall_ms.max(self.last_ts.saturating_add(1));
        Some((batch, self.last_ts))
    }

    /// Goes by the clock again after what was sent last was refused for its time.
    pub(super) fn forget_times(&mut self) {
        self.last_ts = 0;
    }

    /// Returns true if what was sent last is later than all that may have been counted: whoever has seen that time has
    /// seen that very report.
    pub(super) fn has_sent_the_latest(&self) -> bool {
        self.last_ts > self.highest_ts
    }

    /// Takes what was sent last out: the control plane has it.
    pub(super) fn acknowledge(&mut self) {
        self.waiting.pop_front();
    }

    /// Divides what the control plane has refused for what it says, so that one tag does not hold the others up.
    pub(super) fn divide(&mut self, wall_ms: u64) {
        let Some(mut batch) = self.waiting.pop_front() else { return };
        let middle = batch.tags.keys().nth(batch.tags.len() / 2).cloned();
        match middle {
            Some(middle) if batch.tags.len() > 1 => {
                let second = batch.tags.split_off(&middle);
                // Nothing of it was counted, now or when it was sent before, so both halves may have new ids.
                self.waiting.push_front(Batch::new(second, wall_ms));
                self.waiting.push_front(Batch::new(batch.tags, wall_ms));
            }
            _ => batch.tags.into_iter().for_each(|(tag, totals)| fold(&mut self.refused, tag, totals)),
        }
    }
}

/// What one report says. Once it was sent it does not change until it is acknowledged: sent again under the same
/// id, it is counted once by whoever looks at ids.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    id: String,
    tags: Tags,
}

impl Batch {
    fn new(tags: Tags, wall_ms: u64) -> Self {
        Self { id: ulid(wall_ms), tags }
    }

    /// Makes reports of a harvest, at least one.
    fn of(harvest: Vec<(String, Totals)>, wall_ms: u64) -> Vec<Self> {
        let mut all = Tags::new();
        for (tag, totals) in harvest {
            fold(&mut all, tag, totals);
        }
        let (mut batches, mut tags, mut bytes) = (Vec::new(), Tags::new(), 0);
        for (tag, totals) in all {
            let size = size(&tag, &totals);
            if bytes + size > LARGEST_REPORT && !tags.is_empty() {
                batches.push(Self::new(mem::take(&mut tags), wall_ms));
                bytes = 0;
            }
            bytes += size;
            tags.insert(tag, totals);
        }
        batches.push(Self::new(tags, wall_ms));
        batches
    }

    /// Writes the report as of `ts`.
    pub(super) fn payload(&self, instance_id: &str, site_id: Option<&str>, ts: u64) -> PulsePayload {
        let mut all = Totals::default();
        for totals in self.tags.values() {
            all.merge_counts(totals);
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

/// Adds to the counts of a tag, or where there are too many tags to those of the others.
fn fold(tags: &mut Tags, tag: String, totals: Totals) {
    let full = tags.len() > MOST_TAGS;
    let tag = if full && !tags.contains_key(&tag) { OTHER.to_owned() } else { tag };
    match tags.entry(tag) {
        btree_map::Entry::Vacant(entry) => {
            entry.insert(totals);
        }
        btree_map::Entry::Occupied(mut entry) => entry.get_mut().merge(&totals),
    }
}

/// How many bytes a tag takes in a report, at most but for unlikely numbers.
fn size(tag: &str, totals: &Totals) -> usize {
    // Some characters are written as six.
    let name = |name: &str| 6 * name.len();
    name(tag) + 320 + totals.custom.keys().map(|metric| name(metric) + 120).sum::<usize>()
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
    format!("{:016x}{:016x}", random(), random())
}

fn random() -> u64 {
    RandomState::new().hash_one("id")
}

/// Returns a ULID: the time and 80 other bits, in the letters of Crockford's base 32.
fn ulid(wall_ms: u64) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let random = u128::from(random()) << 64 | u128::from(random());
    let bits = u128::from(wall_ms) << 80 | random >> 48;
    (0..26).rev().map(|place| char::from(LETTERS[(bits >> (5 * place)) as usize % 32])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::counters::{Aggregate, Counters};

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
        let harvest = vec![("a".to_owned(), totals(3, 1, 10.0)), ("b".to_owned(), totals(0, 2, 40.0))];
        let [batch] = &Batch::of(harvest, 1)[..] else { panic!("it is small") };

        let payload = batch.payload("i", Some("s"), 7);

        assert_eq!((payload.usage_delta, payload.bounced_units), (6, 3));
        assert_eq!((payload.metrics.latency, payload.metrics.errors), (25.0, 2.0));
        let counts: Vec<_> =
            payload.tag_metrics.iter().map(|m| (m.tag.as_str(), m.count, m.denied)).collect();
        assert_eq!(counts, [("a", 4, 1), ("b", 2, 2)]);
        assert_eq!(payload, batch.payload("i", Some("s"), 7), "sent again, it is the same report");
    }

    fn calls(allowed: u64) -> Totals {
        Totals { allowed, ..Totals::default() }
    }

    #[test]
    fn a_large_harvest_travels_in_several_reports_that_are_small_enough() {
        let mut large = calls(1);
        for metric in 0..33 {
            let aggregate = Aggregate { min: -1e-300, max: f64::MAX, sum: f64::MAX / 3.0, count: u64::MAX };
            large.custom.insert(format!("{metric:\x01>63}").into(), aggregate);
        }
        let harvest = (0..MOST_TAGS).map(|i| (format!("{i:\x01>256}"), large.clone())).collect();

        let batches = Batch::of(harvest, 1);

        let payloads: Vec<_> = batches.iter().map(|batch| batch.payload("i", Some("s"), u64::MAX)).collect();
        assert_eq!(payloads.iter().map(|p| p.usage_delta).sum::<u64>(), MOST_TAGS as u64);
        for payload in payloads {
            assert!(serde_json::to_vec(&payload).unwrap().len() < 2 * LARGEST_REPORT);
        }
        assert_eq!(Batch::of(Vec::new(), 1).len(), 1, "nothing to say is a report too");
    }

    #[test]
    fn what_is_refused_is_divided_until_one_tag_is_left_and_nothing_is_lost() {
        let mut outbox = Outbox::default();
        outbox.add((0..9).map(|i| (format!("t{i}"), calls(1 << i))).collect(), 1);

        let mut counted = 0;
        for _ in 0..100 {
            let Some((batch, _)) = outbox.next(1) else { break };
            if batch.tags.contains_key("t5") {
                outbox.divide(1);
            } else {
                counted += batch.payload("i", None, 1).usage_delta;
                outbox.acknowledge();
            }
        }
        assert_eq!(counted, 0b1_1101_1111);

        assert!(outbox.reconsider(9, 1));
        let (batch, _) = outbox.next(1).unwrap();
        assert_eq!(batch.payload("i", None, 1).usage_delta, 0b10_0000);
    }

    #[test]
    fn times_grow_whatever_the_clock_does() {
        let mut outbox = Outbox::default();
        outbox.add(Vec::new(), 1);
        let times: Vec<u64> = [1_000, 1_000, 5, 2_000].map(|wall| outbox.next(wall).unwrap().1).into();

        assert_eq!(times, [1_000, 1_001, 1_002, 2_000]);
    }

    #[test]
    fn after_the_clock_went_back_a_report_is_not_the_latest_until_it_has_caught_up() {
        let mut outbox = Outbox::default();
        outbox.add(Vec::new(), 1);
        let mut sent = |wall: u64, refused: bool| {
            let ts = outbox.next(wall).unwrap().1;
            let latest = outbox.has_sent_the_latest();
            if refused {
                outbox.forget_times();
            }
            (ts, latest)
        };

        assert_eq!([1_000, 1_000].map(|wall| sent(wall, false)), [(1_000, true), (1_001, true)]);
        assert_eq!(sent(9_000, true), (9_000, true), "nobody has counted it");
        assert_eq!(
            [900, 900, 1_001].map(|wall| sent(wall, false)),
            [(900, false), (901, false), (1_001, false)]
        );
        assert_eq!(sent(1_001, false), (1_002, true));
    }

    #[test]
    fn ids_differ_and_those_of_reports_begin_with_the_time() {
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| unique_id()).collect();
        assert_eq!(ids.len(), 1_000);
        let ids: std::collections::BTreeSet<_> = (0..1_000).map(|_| ulid(1_469_918_176_385)).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == 26 && id.starts_with("01ARYZ6S41")), "{ids:?}");
    }
}
