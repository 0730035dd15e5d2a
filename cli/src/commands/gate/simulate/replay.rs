//! Rules at work on pulses, second by second of the pulses' own time.

use std::collections::BTreeMap;

use leverframe::gate::{
    reflex::{Decision, ReflexRule, RuleState, evaluate, pulse_window},
    types::PulsePayload,
};

use super::sliding::Sliding;
use crate::failure::Failure;

/// The site of pulses that name none.
const DEFAULT_SITE: &str = "default";

/// As many as an organisation has.
const MOST_SITES: usize = 100;

/// Where a trace has got to.
#[derive(Debug)]
pub(super) struct Replay {
    rules: Vec<ReflexRule>,
    sites: BTreeMap<String, Site>,
    /// The last second that was looked at.
    looked_at: Option<u64>,
    /// The second of the latest pulse.
    latest: u64,
}

/// A part of the fleet with rules of its own.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) rules: Vec<ReflexRule>,
    pub(super) states: BTreeMap<String, RuleState>,
    windows: BTreeMap<u32, Sliding>,
    /// Whether something was counted since it was last looked at.
    is_fresh: bool,
}

/// Told what was decided at a site.
pub(super) type Tell<'t> = dyn FnMut(&str, &Site, &[Decision]) -> Result<(), Failure> + 't;

/// Why a pulse is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its time was looked at already.
    Late,
    /// There are as many sites as there may be.
    TooManySites,
}

impl Replay {
    pub(super) fn new(rules: Vec<ReflexRule>) -> Self {
        Self { rules, sites: BTreeMap::new(), looked_at: None, latest: 0 }
    }

    pub(super) fn sites(&self) -> &BTreeMap<String, Site> {
        &self.sites
    }

    /// Looks at all that comes before a pulse, then counts it.
    pub(super) fn add(
        &mut self,
        pulse: &PulsePayload,
        tell: &mut Tell<'_>,
    ) -> Result<Result<(), Refused>, Failure> {
        // What came within a second is looked at when it ends.
        let second = pulse.ts.div_ceil(1_000);
        if self.looked_at.is_some_and(|looked_at| second <= looked_at) {
            return Ok(Err(Refused::Late));
        }
        if let Some(before) = second.checked_sub(1) {
            self.look_until(before, tell)?;
        }
        let name = pulse.site_id.as_deref().unwrap_or(DEFAULT_SITE);
        if !self.sites.contains_key(name) {
            if self.sites.len() == MOST_SITES {
                return Ok(Err(Refused::TooManySites));
            }
            self.sites.insert(name.to_owned(), Site::of(name, &self.rules));
        }
        let Some(site) = self.sites.get_mut(name) else { return Ok(Ok(())) };
        let counted = pulse_window(pulse);
        for window in site.windows.values_mut() {
            window.add(second, &counted);
        }
        site.is_fresh = true;
        self.latest = second;
        Ok(Ok(()))
    }

    /// Looks at what is left, and at so many seconds of silence behind the last pulse.
    pub(super) fn finish(&mut self, silence: u64, tell: &mut Tell<'_>) -> Result<(), Failure> {
        self.look_until(self.latest.saturating_add(silence), tell)
    }

    /// Looks at every second up to `last` in which something can change, which has the same result as every second.
    fn look_until(&mut self, last: u64, tell: &mut Tell<'_>) -> Result<(), Failure> {
        loop {
            let next = self.sites.values().filter_map(|site| site.changes_next(self.latest)).min();
            let Some(second) = next.filter(|second| *second <= last) else { break };
            for (name, site) in &mut self.sites {
                if site.changes_next(self.latest) == Some(second) {
                    let decisions = site.look(second);
                    if !decisions.is_empty() {
                        tell(name, site, &decisions)?;
                    }
                }
            }
        }
        self.looked_at = self.looked_at.max(Some(last));
        Ok(())
    }
}

impl Site {
    fn of(name: &str, rules: &[ReflexRule]) -> Self {
        let rules: Vec<_> = rules.iter().filter(|rule| rule.applies_to(name)).cloned().collect();
        let windows = rules.iter().map(|rule| rule.window_secs);
        Self {
            windows: windows.map(|seconds| (seconds, Sliding::of(seconds, &rules))).collect(),
            states: BTreeMap::new(),
            rules,
            is_fresh: false,
        }
    }

    /// Returns the second in which what is measured, or how long it is calm, makes a difference next; `latest` is
    /// that of what was counted last.
    fn changes_next(&self, latest: u64) -> Option<u64> {
        let counted = self.is_fresh.then_some(latest);
        let leaves = self.windows.values().filter_map(Sliding::leaves_next).min();
        let recovers = self.rules.iter().filter_map(|rule| {
            let since = self.states.get(&rule.name)?.calm_since_ms?;
            Some(since / 1_000 + u64::from(rule.recover_after_secs))
        });
        counted.into_iter().chain(leaves).chain(recovers).min()
    }

    fn look(&mut self, second: u64) -> Vec<Decision> {
        self.is_fresh = false;
        let windows = self.windows.iter_mut().map(|(seconds, window)| {
            window.forget(second);
            (*seconds, window.sum())
        });
        let windows = windows.collect();
        let (states, decisions) = evaluate(&self.rules, &self.states, &windows, second.saturating_mul(1_000));
        self.states = states;
        decisions
    }
}

#[cfg(test)]
mod tests {
    use leverframe::gate::reflex::{Ruleset, Window};
    use proptest::prelude::*;

    use super::*;

    const RULES: &str = r#"
[[rule]]
name = "errors"
tag = "a"
metric = "errors"
operator = ">"
threshold = 4
window_secs = 3
action = "block"
recover_below = 2
recover_after_secs = 2
[[rule]]
name = "all"
tag = "*"
metric = "depth"
operator = ">="
threshold = 5
window_secs = 7
action = { limit_weight = 1 }
recover_after_secs = 0
[[rule]]
name = "eu"
tag = "b"
metric = "p95_latency"
operator = ">"
threshold = 100
window_secs = 2
action = { throttle_percent = 10 }
recover_after_secs = 5
site = "eu"
"#;

    /// What is seen of a decision.
    type Seen = (u64, String, String, &'static str, String);

    fn seen(site: &str, decisions: &[Decision]) -> Vec<Seen> {
        let seen =
            |d: &Decision| (d.at_ms, site.to_owned(), d.rule.clone(), d.change.as_str(), d.why.clone());
        decisions.iter().map(seen).collect()
    }

    fn pulse(ts: u64, site: bool, tag: &str, errors: u64, slow: u64, depth: i32) -> PulsePayload {
        let site = if site { r#""siteId":"eu","# } else { "" };
        let text = format!(
            r#"{{"instanceId":"i",{site}"usageDelta":9,"bouncedUnits":0,"metrics":{{"latency":0,"errors":{errors}}},
                "ts":{ts},"tagMetrics":[{{"tag":"{tag}","latency":1,"count":9,"errors":{errors},
                "latencyBuckets":[9,0,0,{slow},0,0,0,0],
                "customMetrics":{{"depth":{{"min":0,"max":9,"sum":{depth},"count":1}},
                                  "other":{{"min":0,"max":9,"sum":1,"count":1}}}}}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Looks at every second, and at every pulse each time.
    fn naive(pulses: &[PulsePayload], until: u64) -> Vec<Seen> {
        let rules = Ruleset::parse(RULES).0.unwrap();
        let mut told = Vec::new();
        let mut states: BTreeMap<&str, BTreeMap<String, RuleState>> = BTreeMap::new();
        let mut sites: Vec<&str> =
            pulses.iter().map(|pulse| pulse.site_id.as_deref().unwrap_or(DEFAULT_SITE)).collect();
        sites.sort_unstable();
        sites.dedup();
        let counted: Vec<Window> = pulses.iter().map(pulse_window).collect();
        for second in 0..=until {
            for site in &sites {
                let rules: Vec<_> =
                    rules.rules().iter().filter(|rule| rule.applies_to(site)).cloned().collect();
                let window = |seconds: u32| {
                    let mut window = Window::new();
                    for (pulse, counted) in pulses.iter().zip(&counted) {
                        let age = (second * 1_000).checked_sub(pulse.ts);
                        if pulse.site_id.as_deref().unwrap_or(DEFAULT_SITE) == *site
                            && age.is_some_and(|age| age < u64::from(seconds) * 1_000)
                        {
                            for (tag, counted) in counted {
                                window.entry(tag.clone()).or_default().merge(counted);
                            }
                        }
                    }
                    (seconds, window)
                };
                let windows = [2, 3, 7].map(window).into();
                let before = states.entry(site).or_default();
                let (next, decisions) = evaluate(&rules, before, &windows, second * 1_000);
                *before = next;
                told.extend(seen(site, &decisions));
            }
        }
        told
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_replay_decides_as_a_look_at_every_second_would(
            steps in prop::collection::vec(
                (prop::sample::select(vec![0_u64, 1, 300, 1_000, 1_700, 4_000, 9_000]), any::<bool>(), 0..3_usize, 0..4_u64, 0..3_u64, 0..9_i32),
                1..30,
            ),
            silence in 0_u64..30,
        ) {
            let mut ts = 0;
            let pulses: Vec<PulsePayload> = steps
                .into_iter()
                .map(|(after, site, tag, errors, slow, depth)| {
                    ts += after;
                    pulse(ts, site, ["a", "b", "c"][tag], errors, slow, depth)
                })
                .collect();
            let mut replay = Replay::new(Ruleset::parse(RULES).0.unwrap().rules().to_vec());
            let mut told = Vec::new();
            let mut tell = |site: &str, _: &Site, decisions: &[Decision]| {
                told.extend(seen(site, decisions));
                Ok(())
            };
            for pulse in &pulses {
                replay.add(pulse, &mut tell).unwrap().unwrap();
            }
            replay.finish(silence, &mut tell).unwrap();

            prop_assert_eq!(told, naive(&pulses, ts.div_ceil(1_000) + silence));
        }
    }

    #[test]
    fn long_silences_are_passed_over() {
        let mut replay = Replay::new(Ruleset::parse(RULES).0.unwrap().rules().to_vec());
        let mut told = Vec::new();
        let mut tell = |site: &str, _: &Site, decisions: &[Decision]| {
            told.extend(seen(site, decisions));
            Ok(())
        };
        // Ten thousand years, were each second looked at.
        for year in 0..10_000 {
            let pulse = pulse(year * 31_536_000_000, false, "a", if year == 7 { 5 } else { 0 }, 0, 0);
            replay.add(&pulse, &mut tell).unwrap().unwrap();
        }

        assert_eq!(told.iter().map(|told| told.3).collect::<Vec<_>>(), ["tripped", "recovered"]);
    }

    #[test]
    fn what_is_late_or_of_too_many_sites_is_refused() {
        let mut replay = Replay::new(Vec::new());
        let mut tell = |_: &str, _: &Site, _: &[Decision]| Ok(());
        let mut add = |ts: u64, site: &str| {
            let pulse: PulsePayload = serde_json::from_str(&format!(
                r#"{{"instanceId":"i","siteId":"{site}","usageDelta":0,"bouncedUnits":0,"metrics":{{"latency":0,"errors":0}},"ts":{ts}}}"#
            ))
            .unwrap();
            replay.add(&pulse, &mut tell).unwrap()
        };

        assert_eq!(add(5_000, "a"), Ok(()));
        // The second has not ended yet.
        assert_eq!(add(4_001, "a"), Ok(()));
        assert_eq!(add(4_000, "a"), Err(Refused::Late));
        for site in 1..MOST_SITES {
            assert_eq!(add(6_000, &site.to_string()), Ok(()));
        }
        assert_eq!(add(6_000, "one more"), Err(Refused::TooManySites));
        assert_eq!(add(5_001, "a"), Ok(()));
    }
}
