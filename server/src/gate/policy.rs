//! What instances are told.

use std::cmp::Reverse;

use bytes::Bytes;
use leverframe::gate::Policy;
use sha2::{Digest, Sha256};

use super::model::Settings;

/// How long a policy holds where nobody has said so: what clients take by themselves.
pub(crate) const LEASE_SECONDS: u64 = 300;
/// How often to report where nobody has said so.
pub(crate) const PULSE_INTERVAL_MS: u64 = 5_000;
/// No lease is shorter: clients of other makes report every 20 seconds and ask every 30, whatever they are told.
pub(crate) const SHORTEST_LEASE_SECONDS: u64 = 90;
/// Clients take no policy that limits more tags, or throttles more.
const MOST_TAGS: usize = 1_000;
/// The key for all traffic in `throttle`.
const ALL: &str = "*";
/// No weight is above it, and every client can read it.
const NO_LIMIT: f64 = f64::MAX;
/// Refuses calls of every weight, 0 included.
const BLOCKED: f64 = -1.0;

/// How long a policy holds and how often to report, by the settings of an org and of its site, whose word goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rhythm {
    /// `None` where nobody has said so.
    pub(crate) lease_seconds: Option<u64>,
    pub(crate) pulse_interval_ms: u64,
}

impl Rhythm {
    pub(crate) fn of(org: &Settings, site: &Settings) -> Self {
        Self {
            lease_seconds: site.lease_duration_seconds.or(org.lease_duration_seconds),
            pulse_interval_ms: site.pulse_interval.or(org.pulse_interval).unwrap_or(PULSE_INTERVAL_MS),
        }
    }

    /// Returns the shortest lease that two late reports in a row do not end: without it a fleet is in safe mode now and
    /// then although nothing is broken.
    pub(crate) fn shortest_lease(self) -> u64 {
        self.pulse_interval_ms.saturating_mul(3).div_ceil(1_000).max(SHORTEST_LEASE_SECONDS)
    }

    /// Returns the lease to tell: longer than what was set, should that be too short by now.
    fn lease(self) -> u64 {
        self.lease_seconds.unwrap_or(LEASE_SECONDS).max(self.shortest_lease())
    }
}

/// Returns what an org's settings and its site's come to: of limits the lower, of kill signals either; for the rest the
/// site's word goes first.
pub(crate) fn of_settings(org: &Settings, site: &Settings) -> Policy {
    let rhythm = Rhythm::of(org, site);
    let mut policy = Policy {
        pulse_interval: rhythm.pulse_interval_ms,
        status: site.status.clone().or_else(|| org.status.clone()),
        lease_duration_seconds: Some(rhythm.lease()),
        ..Policy::default()
    };
    for settings in [org, site] {
        let limits = settings.tag_max_weights.iter().map(|(tag, limit)| (tag.as_str(), *limit));
        limit(&mut policy, settings.global_max_weight.unwrap_or(f64::INFINITY), limits);
        policy.kill_signal |= settings.kill_signal;
    }
    policy
}

/// Returns the strictest of what sites are told, for those who do not say which they are of; `None` of nothing.
pub(crate) fn strictest<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Option<Policy> {
    policies.into_iter().fold(None, |held: Option<Policy>, policy| {
        let Some(mut held) = held else { return Some(policy.clone()) };
        limit(&mut held, policy.global_max_weight, policy.tag_max_weights.iter());
        held.kill_signal |= policy.kill_signal;
        held.pulse_interval = held.pulse_interval.min(policy.pulse_interval);
        held.lease_duration_seconds = held.lease_duration_seconds.min(policy.lease_duration_seconds);
        // What one site is told for people to read need not be true of another.
        held.status = held.status.filter(|status| policy.status.as_ref() == Some(status));
        for (tag, percent) in &policy.throttle {
            let most = held.throttle.entry(tag.clone()).or_default();
            *most = (*most).max(*percent);
        }
        Some(held)
    })
}

fn limit<'t>(policy: &mut Policy, global: f64, tags: impl Iterator<Item = (&'t str, f64)>) {
    policy.global_max_weight = policy.global_max_weight.min(global);
    for (tag, limit) in tags {
        let least = policy.tag_max_weights.get(tag).map_or(limit, |held| held.min(limit));
        policy.tag_max_weights.insert(tag, least);
    }
}

/// Writes a policy, whole, in one way: keys in order, integers as integers, no `null` among the tags. Of more tags than
/// clients take, those with the highest limits are left out, and those throttled least.
pub(crate) fn written(policy: &Policy) -> Bytes {
    let over = policy.tag_max_weights.len() > MOST_TAGS || policy.throttle.len() > MOST_TAGS;
    let cut = over.then(|| {
        let mut limits: Vec<(&str, f64)> = policy.tag_max_weights.iter().collect();
        limits.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
        limits.truncate(MOST_TAGS);
        let mut throttle: Vec<(&String, u8)> = policy.throttle.iter().map(|(tag, p)| (tag, *p)).collect();
        // What holds for all traffic goes first.
        throttle.sort_by_key(|(tag, percent)| (*tag != ALL, Reverse(*percent), *tag));
        throttle.truncate(MOST_TAGS);
        Policy {
            tag_max_weights: limits.into_iter().collect(),
            throttle: throttle.into_iter().map(|(tag, percent)| (tag.clone(), percent)).collect(),
            ..policy.clone()
        }
    });
    // Through a value, whose keys have an order: two servers write the same policy alike.
    let json = serde_json::to_value(cut.as_ref().unwrap_or(policy)).unwrap_or_default();
    Bytes::from(json.to_string())
}

/// Returns the policy for a client that does not know `throttle`, in one of its intervals: a tag of which so many of
/// 100 calls are to be refused is refused whole in so many of 100 intervals.
///
/// Exact over any 100 intervals of an instance; instances begin at different places, so that at any moment about that
/// share of a fleet refuses. One that looks in only every few intervals meets about the same share.
pub(crate) fn without_throttle(policy: &Policy, instance: &str, interval: u64) -> Policy {
    let mut told = policy.clone();
    for (tag, percent) in std::mem::take(&mut told.throttle) {
        // 61 and 100 have no common divisor: a hundred intervals meet each number once, neighbours far apart.
        let place = ((interval % 100) * 61 + phase(instance, &tag)) % 100;
        let refuses = place < u64::from(percent);
        match (tag.as_str(), refuses) {
            (ALL, true) => told.global_max_weight = told.global_max_weight.min(0.0),
            (ALL, false) => {}
            (tag, true) => told.tag_max_weights.insert(tag, BLOCKED),
            (tag, false) => {
                let usual = told.tag_max_weights.get(tag).unwrap_or(NO_LIMIT);
                told.tag_max_weights.insert(tag, usual);
            }
        }
    }
    told
}

/// Returns where an instance begins, the same in every process.
fn phase(instance: &str, tag: &str) -> u64 {
    let digest = Sha256::new().chain_update(instance).chain_update([0]).chain_update(tag).finalize();
    u64::from(u16::from_be_bytes([digest[0], digest[1]])) % 100
}

#[cfg(test)]
mod tests {
    use leverframe::gate::{TagWeights, gate};

    use super::*;

    fn settings(global: Option<f64>, tags: &[(&str, f64)]) -> Settings {
        Settings {
            global_max_weight: global,
            tag_max_weights: tags.iter().map(|(tag, limit)| ((*tag).to_owned(), *limit)).collect(),
            ..Settings::default()
        }
    }

    #[test]
    fn of_an_orgs_limits_and_its_sites_the_lower_holds() {
        let mut org = settings(Some(10.0), &[("a", 1.0), ("b", 5.0)]);
        let mut site = settings(Some(20.0), &[("b", 2.0), ("c", 3.0)]);

        let policy = of_settings(&org, &site);
        assert_eq!(policy.global_max_weight, 10.0);
        assert_eq!(policy.tag_max_weights, TagWeights::from([("a", 1.0), ("b", 2.0), ("c", 3.0)]));
        assert_eq!((policy.pulse_interval, policy.lease_duration_seconds), (5_000, Some(300)));

        (org.status, site.lease_duration_seconds) = (Some("org".to_owned()), Some(90));
        (org.lease_duration_seconds, site.kill_signal) = (Some(120), true);
        let policy = of_settings(&org, &site);
        assert_eq!((policy.status.as_deref(), policy.lease_duration_seconds), (Some("org"), Some(90)));
        assert!(policy.kill_signal, "either kills");
        assert!(of_settings(&site, &org).kill_signal);
        assert!(!of_settings(&org, &Settings::default()).kill_signal);
    }

    #[test]
    fn a_lease_that_is_told_outlasts_late_reports() {
        let told = |lease: Option<u64>, interval: Option<u64>| {
            let site =
                Settings { lease_duration_seconds: lease, pulse_interval: interval, ..Settings::default() };
            of_settings(&Settings::default(), &site).lease_duration_seconds.unwrap()
        };

        assert_eq!((told(None, None), told(Some(3_600), None)), (300, 3_600));
        assert_eq!(told(Some(10), None), 90, "kept from before there was a least");
        assert_eq!(told(None, Some(100_000)), 300);
        assert_eq!(told(None, Some(100_001)), 301);
        assert_eq!((told(None, Some(300_000)), told(Some(60), Some(300_000))), (900, 900));
    }

    #[test]
    fn the_strictest_of_sites_is_no_looser_than_any() {
        let eu = Policy {
            kill_signal: true,
            tag_max_weights: [("a", 3.0)].into(),
            throttle: [("a".to_owned(), 10), ("b".to_owned(), 50)].into(),
            status: Some("of eu".to_owned()),
            ..of_settings(&settings(Some(9.0), &[]), &Settings::default())
        };
        let us = Policy {
            throttle: [("a".to_owned(), 20)].into(),
            tag_max_weights: [("a", 2.0), ("c", 1.0)].into(),
            ..Policy::default()
        };

        for order in [[&eu, &us], [&us, &eu]] {
            let both = strictest(order).unwrap();
            assert!(both.kill_signal);
            assert_eq!(both.global_max_weight, 9.0);
            assert_eq!(
                (both.tag_max_weights.get("a"), both.tag_max_weights.get("c")),
                (Some(2.0), Some(1.0))
            );
            assert_eq!((both.throttle["a"], both.throttle["b"]), (20, 50));
            assert_eq!(both.status, None);
        }
        assert_eq!(strictest([]), None);
    }

    #[test]
    fn a_policy_is_written_whole_and_always_alike() {
        let mut policy = of_settings(&settings(None, &[("b", 1.5), ("a", 60.0)]), &Settings::default());
        assert_eq!(
            written(&policy),
            r#"{"globalMaxWeight":null,"killSignal":false,"leaseDurationSeconds":300,"pulseInterval":5000,"status":null,"tagMaxWeights":{"a":60.0,"b":1.5}}"#
        );

        let names: Vec<String> = (0..1_200).map(|n| format!("t{n}")).collect();
        policy.tag_max_weights = names.iter().map(|name| (name, 5.0)).collect();
        policy.tag_max_weights.insert("strict", -1.0);
        let read: Policy = serde_json::from_slice(&written(&policy)).unwrap();
        assert_eq!(read.tag_max_weights.len(), 1_000, "what a client takes");
        assert_eq!(read.tag_max_weights.get("strict"), Some(-1.0), "the strictest stay");

        policy.throttle = names.iter().map(|name| (name.clone(), 5)).collect();
        policy.throttle.extend([("strict".to_owned(), 90), (ALL.to_owned(), 1)]);
        let read: Policy = serde_json::from_slice(&written(&policy)).unwrap();
        assert_eq!((read.tag_max_weights.len(), read.throttle.len()), (1_000, 1_000));
        assert_eq!((read.throttle["strict"], read.throttle[ALL]), (90, 1));
    }

    fn refused(policy: &Policy, instance: &str, intervals: impl Iterator<Item = u64>) -> usize {
        intervals
            .filter(|interval| !gate(&without_throttle(policy, instance, *interval), Some("a"), None).allowed)
            .count()
    }

    #[test]
    fn over_any_hundred_intervals_a_tag_is_refused_in_exactly_so_many() {
        for percent in [0, 1, 33, 50, 99, 100] {
            let policy = Policy { throttle: [("a".to_owned(), percent)].into(), ..Policy::default() };
            for (instance, from) in [("i-1", 0), ("i-2", 17), ("i-3", 350_000_001)] {
                let refused = refused(&policy, instance, from..from + 100);
                assert_eq!(refused, usize::from(percent), "{instance} from {from}");
            }
        }
    }

    #[test]
    fn who_looks_in_every_few_intervals_meets_about_the_same_share() {
        let policy = Policy { throttle: [("a".to_owned(), 50)].into(), ..Policy::default() };

        for step in [2, 4, 5, 6, 10] {
            let refused = refused(&policy, "i", (0..100).map(|n| n * step));
            assert!((40..=60).contains(&refused), "{refused} of 100 at every {step}th");
        }
    }

    #[test]
    fn at_any_moment_about_that_share_of_a_fleet_refuses() {
        let policy = Policy { throttle: [("a".to_owned(), 30)].into(), ..Policy::default() };

        for interval in [0, 1, 99] {
            let refuse =
                (0..1_000).filter(|n| refused(&policy, &format!("i-{n}"), interval..=interval) == 1).count();
            assert!((250..=350).contains(&refuse), "{refuse} of 1,000 instances");
        }
    }

    #[test]
    fn while_a_throttled_tag_is_let_through_its_usual_limit_holds() {
        let throttle = [("a".to_owned(), 50), ("b".to_owned(), 0), (ALL.to_owned(), 50)].into();
        let policy = Policy { throttle, tag_max_weights: [("a", 7.0)].into(), ..Policy::default() };

        let told: Vec<Policy> = (0..100).map(|interval| without_throttle(&policy, "i", interval)).collect();

        assert!(told.iter().all(|policy| policy.throttle.is_empty()));
        let limits: Vec<f64> = told.iter().filter_map(|policy| policy.tag_max_weights.get("a")).collect();
        assert_eq!(limits.iter().filter(|limit| **limit == 7.0).count(), 50);
        assert_eq!(limits.iter().filter(|limit| **limit == -1.0).count(), 50);
        assert!(told.iter().all(|policy| policy.tag_max_weights.get("b") == Some(f64::MAX)));
        assert_eq!(told.iter().filter(|policy| policy.global_max_weight == 0.0).count(), 50);
    }
}
