//! What a simulation says.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use leverframe::{
    gate::{
        Policy,
        reflex::{ALL_TAGS, Change, Decision, ReflexRule, restrict},
    },
    rfc3339,
};
use serde_json::{Value, json};

use super::replay::Site;
use crate::{
    args::Format,
    failure::Failure,
    output::{BOLD, DIM, GREEN, Out, RED, plural, styled},
};

/// Bytes of decisions that one JSON object holds: it is written when all are made.
const KEPT_BYTES: usize = 64 * 1024 * 1024;

/// Prints decisions as they are made, or keeps them for the end.
pub(super) struct Told {
    policy: Policy,
    format: Format,
    count: usize,
    kept: Vec<Value>,
    kept_bytes: usize,
}

impl Told {
    pub(super) fn new(policy: Policy, format: Format) -> Self {
        Self { policy, format, count: 0, kept: Vec::new(), kept_bytes: 0 }
    }

    /// Says what was decided at a site at one time, and what policy follows.
    pub(super) fn tell(
        &mut self,
        site: &str,
        state: &Site,
        decisions: &[Decision],
        out: &mut Out,
    ) -> Result<(), Failure> {
        self.count += decisions.len();
        match self.format {
            Format::Human => {
                for decision in decisions {
                    let change = match decision.change {
                        Change::Tripped => styled(RED, "tripped  "),
                        Change::Recovered => styled(GREEN, "recovered"),
                    };
                    let (at, site) = (styled(DIM, time(decision.at_ms)), site.escape_debug());
                    let rule = styled(BOLD, decision.rule.escape_debug());
                    out.line(format!("{at} {site} {change} {rule}: {}", decision.why))?;
                }
                out.line(format!("  {}", self.policy_words(state)))
            }
            Format::Json => {
                let policy = json!(restrict(self.policy.clone(), &state.rules, &state.states));
                for decision in decisions {
                    let decision = json!({
                        "at": time(decision.at_ms),
                        "at_ms": decision.at_ms,
                        "site": site,
                        "rule": decision.rule,
                        "change": decision.change.as_str(),
                        "value": decision.value,
                        "why": decision.why,
                        "policy": policy,
                    });
                    let bytes = decision.to_string().len();
                    if self.kept_bytes + bytes <= KEPT_BYTES {
                        self.kept_bytes += bytes;
                        self.kept.push(decision);
                    }
                }
                Ok(())
            }
        }
    }

    /// Says what the policy of a site is, as far as rules have made it stricter.
    fn policy_words(&self, site: &Site) -> String {
        let policy = restrict(self.policy.clone(), &site.rules, &site.states);
        let mut words = Vec::new();
        if policy.global_max_weight < self.policy.global_max_weight {
            words.push(format!("all traffic {}", limit_words(policy.global_max_weight, 0.0)));
        }
        // By the name that rules give, so that the same policy has the same words.
        let tags: BTreeMap<&str, ()> = site.rules.iter().map(|rule| (rule.tag.as_str(), ())).collect();
        for tag in tags.into_keys() {
            let limit = policy.tag_max_weights.get(tag);
            if let Some(limit) = limit.filter(|_| limit != self.policy.tag_max_weights.get(tag)) {
                words.push(format!("`{}` {}", tag.escape_debug(), limit_words(limit, -1.0)));
            }
            let percent = policy.throttle.get(tag);
            if let Some(percent) = percent.filter(|_| percent != self.policy.throttle.get(tag)) {
                let tag = if tag == ALL_TAGS {
                    "all traffic".to_owned()
                } else {
                    format!("`{}`", tag.escape_debug())
                };
                words.push(format!("{tag} loses {percent} of 100 calls"));
            }
        }
        if words.is_empty() { "policy: as set".to_owned() } else { format!("policy: {}", words.join(", ")) }
    }

    /// Says in a line how it ended.
    pub(super) fn summary(&self, sites: &BTreeMap<String, Site>) -> String {
        let decisions = plural(self.count, "decision");
        let in_force: Vec<String> = in_force(sites)
            .map(|(site, rule, _)| format!("{} at {}", rule.name.escape_debug(), site.escape_debug()))
            .collect();
        let in_force = if in_force.is_empty() { "no rule".to_owned() } else { in_force.join(", ") };
        format!("{decisions}; in force at the end: {in_force}")
    }

    /// Puts together what was kept.
    pub(super) fn result(self, sites: &BTreeMap<String, Site>, pulses: u64) -> Value {
        let in_force = in_force(sites).map(|(site, rule, since)| {
            let why = sites[site].states.get(&rule.name).and_then(|state| rule.why(state));
            json!({ "site": site, "rule": rule.name, "since": time(since), "why": why })
        });
        json!({
            "pulses": pulses,
            "sites": sites.keys().collect::<Vec<_>>(),
            "in_force": in_force.collect::<Vec<_>>(),
            "decision_count": self.count,
            "decisions_left_out": self.count - self.kept.len(),
            "decisions": self.kept,
        })
    }
}

fn in_force(sites: &BTreeMap<String, Site>) -> impl Iterator<Item = (&String, &ReflexRule, u64)> {
    sites.iter().flat_map(|(name, site)| {
        site.rules
            .iter()
            .filter_map(move |rule| Some((name, rule, site.states.get(&rule.name)?.in_force_since_ms?)))
    })
}

fn limit_words(limit: f64, blocked_to: f64) -> String {
    if limit <= blocked_to { "refused".to_owned() } else { format!("refused above a weight of {limit}") }
}

fn time(ms: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_millis(ms))
}
