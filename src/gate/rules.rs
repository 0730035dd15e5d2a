//! A policy made ready for calls: every tag with its limit and its counters behind one look-up.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    GateReason, GateResult, Policy,
    counters::{Counters, OTHER, Totals},
    decide::{DEFAULT_TAG, decide},
    policy::MOST_TAGS,
    safe_mode::SafeMode,
};
use crate::{text_table::TextTable, traits::Tick};

/// What calls are decided by; swapped whole whenever something of it changes.
#[derive(Debug)]
pub(super) struct Rules {
    policy: Arc<Policy>,
    /// In force while the lease is over.
    safe_mode: Option<Arc<SafeMode>>,
    tags: TextTable<TagRule>,
    untagged: TagRule,
    /// For the tags that no place was left for. None of them has a limit: tags of the policy always have a place.
    other: TagRule,
}

#[derive(Clone, Debug)]
struct TagRule {
    /// NaN for none.
    limit: f64,
    /// Of 100 calls, refuse this many.
    throttle: u8,
    tag: Arc<Tag>,
}

/// What is counted of a tag, as long as the client lives.
#[derive(Debug)]
pub(super) struct Tag {
    counters: Counters,
    /// The calls that throttling has looked at.
    throttled: AtomicU64,
}

impl Tag {
    fn new() -> Arc<Self> {
        Arc::new(Self { counters: Counters::new(), throttled: AtomicU64::new(0) })
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// What a call is counted under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'r> {
    rules: &'r Rules,
    rule: &'r TagRule,
}

impl Rules {
    /// Makes rules without any count.
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        let rule = |key: &str| TagRule::of(&policy, key, Tag::new());
        let mut rules = Self {
            untagged: rule(DEFAULT_TAG),
            other: rule(OTHER),
            safe_mode: None,
            tags: TextTable::default(),
            policy: Arc::clone(&policy),
        };
        rules.include_tags_of_policy();
        rules
    }

    /// Makes rules of another policy; the counts go on.
    pub(super) fn with_policy(&self, policy: Arc<Policy>) -> Self {
        let again = |key: &str, rule: &TagRule| TagRule::of(&policy, key, Arc::clone(&rule.tag));
        let mut tags = TextTable::default();
        for (key, rule) in self.tags.iter() {
            tags.insert(key, again(key, rule));
        }
        let mut rules = Self {
            untagged: again(DEFAULT_TAG, &self.untagged),
            other: again(OTHER, &self.other),
            safe_mode: self.safe_mode.clone(),
            tags,
            policy: Arc::clone(&policy),
        };
        rules.include_tags_of_policy();
        rules
    }

    /// Makes the same rules with safe mode on or off.
    pub(super) fn with_safe_mode(&self, safe_mode: Option<Arc<SafeMode>>) -> Self {
        Self { safe_mode, ..self.copy() }
    }

    /// Makes the same rules with a place for one more tag; `None` if it has one or cannot have one.
    pub(super) fn with_tag(&self, tag: &str) -> Option<Self> {
        if self.tags.get(tag).is_some() || !self.has_place(tag) {
            return None;
        }
        let mut rules = self.copy();
        rules.tags.insert(tag, TagRule::of(&self.policy, tag, Tag::new()));
        Some(rules)
    }

    fn copy(&self) -> Self {
        Self {
            policy: Arc::clone(&self.policy),
            safe_mode: self.safe_mode.clone(),
            tags: self.tags.clone(),
            untagged: self.untagged.clone(),
            other: self.other.clone(),
        }
    }

    fn include_tags_of_policy(&mut self) {
        let policy = Arc::clone(&self.policy);
        let named = policy.tag_max_weights.iter().map(|(tag, _)| tag);
        for tag in named.chain(policy.throttle.keys().map(String::as_str)) {
            // Beyond `MOST_TAGS`, if need be: a limit has to hold whatever was called before.
            if tag != DEFAULT_TAG && self.tags.get(tag).is_none() {
                self.tags.insert(tag, TagRule::of(&policy, tag, Tag::new()));
            }
        }
    }

    /// Returns true if a tag that comes for the first time can have a place of its own.
    pub(super) fn has_place(&self, tag: &str) -> bool {
        self.tags.len() < MOST_TAGS && tag.len() <= LONGEST_TAG && ![DEFAULT_TAG, OTHER].contains(&tag)
    }

    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub(super) fn safe_mode(&self) -> Option<&Arc<SafeMode>> {
        self.safe_mode.as_ref()
    }

    /// Finds what a tag is counted under; `None` for a tag that came for the first time.
    #[inline]
    pub(super) fn find(&self, tag: Option<&str>) -> Option<Found<'_>> {
        let rule = match tag {
            None => &self.untagged,
            Some(tag) => self.tags.get(tag)?,
        };
        Some(Found { rules: self, rule })
    }

    /// Finds what a tag is counted under, if need be together with others.
    pub(super) fn find_or_other(&self, tag: Option<&str>) -> Found<'_> {
        let untagged = tag == Some(DEFAULT_TAG);
        let other = if untagged { &self.untagged } else { &self.other };
        self.find(tag).unwrap_or(Found { rules: self, rule: other })
    }

    /// Takes out what was counted since the last harvest, by tag; tags without counts are left out.
    pub(super) fn harvest(&self) -> Vec<(String, Totals)> {
        let named = [(DEFAULT_TAG, &self.untagged), (OTHER, &self.other)];
        named
            .into_iter()
            .chain(self.tags.iter())
            .map(|(tag, rule)| (tag.to_owned(), rule.tag.counters.harvest()))
            .filter(|(_, totals)| !totals.is_zero())
            .collect()
    }
}

/// A tag that is longer than this is counted with the others that have no place.
const LONGEST_TAG: usize = 256;

impl TagRule {
    fn of(policy: &Policy, key: &str, tag: Arc<Tag>) -> Self {
        Self {
            limit: policy.tag_max_weights.get(key).unwrap_or(f64::NAN),
            throttle: policy.throttle.get(key).copied().unwrap_or(0).min(100),
            tag,
        }
    }
}

impl Found<'_> {
    /// Decides about a call and counts it.
    #[inline]
    pub(super) fn gate(self, weight: Option<f64>, now: impl FnOnce() -> Tick) -> GateResult {
        let result = self.decide(weight, now);
        self.counters().call(result.allowed);
        result
    }

    /// Decides about a call, asks `admit` about what would pass, and counts what comes of it.
    #[inline]
    pub(super) fn enter<T>(
        self,
        weight: Option<f64>,
        now: impl FnOnce() -> Tick,
        admit: impl FnOnce() -> Result<T, GateResult>,
    ) -> Result<T, GateResult> {
        let result = self.decide(weight, now);
        let admitted = if result.allowed { admit() } else { Err(result) };
        self.counters().call(admitted.is_ok());
        admitted
    }

    #[inline]
    fn decide(self, weight: Option<f64>, now: impl FnOnce() -> Tick) -> GateResult {
        let policy = &self.rules.policy;
        let result = match &self.rules.safe_mode {
            None => decide(policy.kill_signal, policy.global_max_weight, self.rule.limit, weight),
            Some(safe_mode) => safe_mode.decide(policy, self.rule.limit, weight, now),
        };
        if result.allowed && self.rule.throttle > 0 { self.throttle(result) } else { result }
    }

    /// Refuses exactly so many of any hundred calls in a row, evenly spread.
    fn throttle(self, allowed: GateResult) -> GateResult {
        let percent = u64::from(self.rule.throttle);
        let n = self.rule.tag.throttled.fetch_add(1, Ordering::Relaxed) % 100;
        if (n + 1) * percent / 100 > n * percent / 100 {
            GateResult::denied(GateReason::Throttled)
        } else {
            allowed
        }
    }

    #[inline]
    pub(super) fn counters(&self) -> &Counters {
        &self.rule.tag.counters
    }

    pub(super) fn tag(&self) -> Arc<Tag> {
        Arc::clone(&self.rule.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(rules: &Rules, tag: &str) -> GateResult {
        rules.find_or_other(Some(tag)).gate(None, || Tick::ORIGIN)
    }

    fn policy(tags: &[(&str, f64)]) -> Arc<Policy> {
        Arc::new(Policy { tag_max_weights: tags.iter().copied().collect(), ..Policy::default() })
    }

    #[test]
    fn counts_go_on_over_a_change_of_policy() {
        let rules = Rules::new(policy(&[("free", 2.0)]));
        assert!(call(&rules, "free").allowed);

        let rules = rules.with_policy(policy(&[("free", 0.5), ("new", 1.0)]));
        assert_eq!(call(&rules, "free").reason, GateReason::TagBlocked);

        let harvest = rules.harvest();
        assert_eq!(harvest.len(), 1);
        assert_eq!((harvest[0].1.allowed, harvest[0].1.denied), (1, 1));
    }

    #[test]
    fn a_million_tags_are_counted_within_bounds_and_none_is_lost() {
        let mut rules = Rules::new(policy(&[("limited", 0.5)]));
        for i in 0..1_000_000_u32 {
            let tag = format!("t{i}");
            if i < 2_000
                && let Some(more) = rules.with_tag(&tag)
            {
                rules = more;
            }
            call(&rules, &tag);
        }

        assert_eq!(call(&rules, "limited").reason, GateReason::TagBlocked);
        let harvest = rules.harvest();
        assert!(harvest.len() <= MOST_TAGS + 2);
        assert_eq!(harvest.iter().map(|(_, totals)| totals.allowed).sum::<u64>(), 1_000_000);
        assert_eq!(harvest.iter().find(|(tag, _)| tag == OTHER).map(|(_, t)| t.allowed), Some(999_001));
    }

    #[test]
    fn throttling_is_exact_over_any_hundred_calls() {
        for percent in [0, 1, 33, 50, 99, 100] {
            let throttle = [("free".to_owned(), percent)].into();
            let rules = Rules::new(Arc::new(Policy { throttle, ..Policy::default() }));
            let denied: Vec<u8> = (0..350).map(|_| u8::from(!call(&rules, "free").allowed)).collect();
            for window in denied.windows(100) {
                assert_eq!(window.iter().sum::<u8>(), percent);
            }
        }
    }
}
