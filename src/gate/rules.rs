//! A policy made ready for calls: every tag with its limit and its counters behind one look-up.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use super::{
    GateReason, GateResult, Policy,
    counters::{Counters, OTHER, Totals},
    decide::{DEFAULT_TAG, decide},
    policy::MOST_TAGS,
    reflex::ALL_TAGS,
    safe_mode::SafeMode,
    wire::LONGEST_TAG,
};
use crate::{text_table::TextTable, traits::Tick};

/// Where no place is left, a tag that had nothing to report this many times in a row gives its place up.
const IDLE_HARVESTS: u32 = 6;

/// What calls are decided by; swapped whole whenever something of it changes.
#[derive(Debug)]
pub(super) struct Rules {
    /// What of the policy concerns every call, beside what the call looks at anyway.
    kill: bool,
    global: f64,
    /// In force while the lease is over.
    safe_mode: Option<Arc<SafeMode>>,
    tags: TextTable<TagRule>,
    untagged: TagRule,
    /// For the tags that no place was left for. Tags of the policy always have a place.
    other: TagRule,
    policy: Arc<Policy>,
    retired: Retired,
}

#[derive(Clone, Debug)]
struct TagRule {
    /// NaN for none.
    limit: f64,
    /// Of 100 calls, refuse this many.
    throttle: u8,
    tag: Arc<Tag>,
}

/// What is counted of a tag, as long as it has its place.
#[derive(Debug)]
pub(super) struct Tag {
    counters: Counters,
    /// The calls that throttling has looked at.
    throttled: AtomicU64,
    /// The harvests in a row that found nothing.
    idle: AtomicU32,
}

impl Tag {
    fn new() -> Arc<Self> {
        Self::idle_for(0)
    }

    /// Makes a tag that nobody has called yet: a policy names it, and may be the only one who ever does.
    fn uncalled() -> Arc<Self> {
        Self::idle_for(IDLE_HARVESTS)
    }

    fn idle_for(harvests: u32) -> Arc<Self> {
        let (counters, throttled) = (Counters::new(), AtomicU64::new(0));
        Arc::new(Self { counters, throttled, idle: AtomicU32::new(harvests) })
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn harvest(&self) -> Totals {
        let totals = self.counters.harvest();
        if totals.is_zero() {
            self.idle.fetch_add(1, Ordering::Relaxed);
        } else {
            self.idle.store(0, Ordering::Relaxed);
        }
        totals
    }
}

/// Tags that gave their place up, until nobody can count under them any more. Copies are one list.
#[derive(Clone, Debug, Default)]
struct Retired(Arc<Mutex<Vec<Named>>>);

type Named = (String, Arc<Tag>);

impl Retired {
    fn push(&self, name: &str, tag: &Arc<Tag>) {
        let retired = (name.to_owned(), Arc::clone(tag));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(retired);
    }

    /// Lets go of those under which nobody has counted, or can: while no report gets through there is no harvest that
    /// would.
    fn forget_uncounted(&self) {
        let mut retired = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|(_, tag)| !(is_last(tag) && tag.counters.is_zero()));
    }

    fn harvest(&self) -> Vec<(String, Totals)> {
        let mut retired = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut harvest = Vec::new();
        retired.retain(|(name, tag)| {
            let last = is_last(tag);
            harvest.push((name.clone(), tag.harvest()));
            !last
        });
        harvest
    }
}

/// Returns true if nobody else can count under a tag any more; then all that was counted is seen.
fn is_last(tag: &Arc<Tag>) -> bool {
    // A call that is under way still holds the rules that it began with, and with them the tag. Who let go of it did so
    // after the last count.
    let last = Arc::strong_count(tag) == 1;
    fence(Ordering::Acquire);
    last
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
            kill: policy.kill_signal,
            global: policy.global_max_weight,
            untagged: rule(DEFAULT_TAG),
            other: rule(OTHER),
            safe_mode: None,
            tags: TextTable::default(),
            policy: Arc::clone(&policy),
            retired: Retired::default(),
        };
        rules.include_tags_of_policy();
        rules
    }

    /// Makes rules of another policy; the counts go on. Where no place is left, tags of an earlier policy that nobody
    /// has called give theirs up.
    pub(super) fn with_policy(&self, policy: Arc<Policy>) -> Self {
        let again = |key: &str, rule: &TagRule| TagRule::of(&policy, key, Arc::clone(&rule.tag));
        let mut rules = Self {
            kill: policy.kill_signal,
            global: policy.global_max_weight,
            untagged: again(DEFAULT_TAG, &self.untagged),
            other: again(OTHER, &self.other),
            safe_mode: self.safe_mode.clone(),
            tags: TextTable::default(),
            policy: Arc::clone(&policy),
            retired: self.retired.clone(),
        };
        for (key, rule) in self.tags.iter() {
            rules.tags.insert(key, again(key, rule));
        }
        rules.include_tags_of_policy();
        rules.without_idle_tags().unwrap_or(rules)
    }

    /// Makes the same rules with safe mode on or off.
    pub(super) fn with_safe_mode(&self, safe_mode: Option<Arc<SafeMode>>) -> Self {
        Self { safe_mode, ..self.copy() }
    }

    /// Makes the same rules with a place for one more tag; `None` if it has one or cannot have one.
    pub(super) fn with_tag(&self, tag: &str) -> Option<Self> {
        if !self.has_place(tag) || self.tags.get(tag).is_some() {
            return None;
        }
        let mut rules = self.copy();
        rules.tags.insert(tag, TagRule::of(&self.policy, tag, Tag::new()));
        Some(rules)
    }

    /// Makes the same rules without the tags that have had nothing to report for long; `None` while there are places
    /// left, or if no tag can go.
    pub(super) fn without_idle_tags(&self) -> Option<Self> {
        if self.tags.len() < MOST_TAGS {
            return None;
        }
        let stays = |key: &str, rule: &TagRule| {
            self.is_named(key) || rule.tag.idle.load(Ordering::Relaxed) < IDLE_HARVESTS
        };
        if self.tags.iter().all(|(key, rule)| stays(key, rule)) {
            return None;
        }
        self.retired.forget_uncounted();
        let mut tags = TextTable::default();
        for (key, rule) in self.tags.iter() {
            if stays(key, rule) {
                tags.insert(key, rule.clone());
            } else {
                self.retired.push(key, &rule.tag);
            }
        }
        Some(Self { tags, ..self.copy() })
    }

    fn copy(&self) -> Self {
        Self {
            kill: self.kill,
            global: self.global,
            policy: Arc::clone(&self.policy),
            safe_mode: self.safe_mode.clone(),
            tags: self.tags.clone(),
            untagged: self.untagged.clone(),
            other: self.other.clone(),
            retired: self.retired.clone(),
        }
    }

    fn is_named(&self, tag: &str) -> bool {
        self.policy.tag_max_weights.get(tag).is_some() || self.policy.throttle.contains_key(tag)
    }

    fn include_tags_of_policy(&mut self) {
        let policy = Arc::clone(&self.policy);
        let named = policy.tag_max_weights.iter().map(|(tag, _)| tag);
        for tag in named.chain(policy.throttle.keys().map(String::as_str)) {
            // Beyond `MOST_TAGS`, if need be: a limit has to hold whatever was called before.
            if ![DEFAULT_TAG, OTHER, ALL_TAGS].contains(&tag) && self.tags.get(tag).is_none() {
                self.tags.insert(tag, TagRule::of(&policy, tag, Tag::uncalled()));
            }
        }
    }

    /// Returns true if a tag that comes for the first time can have a place of its own.
    pub(super) fn has_place(&self, tag: &str) -> bool {
        self.tags.len() < MOST_TAGS && tag.len() <= LONGEST_TAG && tag != DEFAULT_TAG && tag != OTHER
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
            .map(|(tag, rule)| (tag.to_owned(), rule.tag.harvest()))
            .chain(self.retired.harvest())
            .filter(|(_, totals)| !totals.is_zero())
            .collect()
    }
}

impl TagRule {
    fn of(policy: &Policy, key: &str, tag: Arc<Tag>) -> Self {
        let percent = |key| policy.throttle.get(key).copied().unwrap_or(0).min(100);
        Self {
            limit: policy.tag_max_weights.get(key).unwrap_or(f64::NAN),
            throttle: percent(key).max(percent(ALL_TAGS)),
            tag,
        }
    }
}

impl Found<'_> {
    /// Decides about a call and counts it.
    #[inline]
    pub(super) fn gate(self, weight: Option<f64>, now: impl FnOnce() -> Tick) -> GateResult {
        let result = self.decide(weight, now);
        self.rule.tag.counters.call(result.allowed);
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
        self.rule.tag.counters.call(admitted.is_ok());
        admitted
    }

    #[inline]
    fn decide(self, weight: Option<f64>, now: impl FnOnce() -> Tick) -> GateResult {
        let rules = self.rules;
        let (result, by_policy) = match &rules.safe_mode {
            None => (decide(rules.kill, rules.global, self.rule.limit, weight), true),
            Some(safe_mode) => {
                let result = safe_mode.decide(&rules.policy, self.rule.limit, weight, now);
                (result, safe_mode.goes_by_policy())
            }
        };
        let throttled = self.rule.throttle > 0 && result.allowed && by_policy;
        if throttled { self.throttle(result) } else { result }
    }

    /// Refuses exactly so many of any hundred calls in a row, evenly spread.
    #[cold]
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

    /// Returns the tag itself, to count under it later, whatever becomes of its place.
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
    fn idle_tags_give_their_places_to_others_and_no_count_is_lost() {
        let mut rules = Rules::new(policy(&[("limited", 0.5)]));
        for i in 0..MOST_TAGS {
            rules = rules.with_tag(&format!("t{i}")).unwrap_or(rules);
        }
        call(&rules, "t0");
        assert_eq!(rules.harvest().len(), 1);
        assert!(rules.without_idle_tags().is_none(), "not at once");
        for _ in 0..IDLE_HARVESTS {
            call(&rules, "t1");
            assert_eq!(rules.harvest().len(), 1);
        }

        // Somebody is in the middle of a call while the places are given up.
        let fewer = rules.without_idle_tags().unwrap();
        let under_way = rules.find_or_other(Some("t7"));
        assert!(under_way.gate(None, || Tick::ORIGIN).allowed);

        assert!(fewer.find(Some("t7")).is_none() && fewer.find(Some("t1")).is_some());
        assert!(fewer.find(Some("limited")).is_some());
        assert_eq!(
            fewer.harvest().iter().map(|(tag, t)| (tag.as_str(), t.allowed)).collect::<Vec<_>>(),
            [("t7", 1)]
        );
        assert!(under_way.gate(None, || Tick::ORIGIN).allowed);
        drop(rules);
        assert_eq!(fewer.harvest().len(), 1);
        assert!(fewer.retired.0.lock().unwrap().is_empty());
        assert!(fewer.with_tag("new").is_some());
    }

    #[test]
    fn policies_of_ever_new_names_leave_no_more_tags_than_one_and_no_count_is_lost() {
        let mut rules = Rules::new(policy(&[]));
        for round in 0..10 {
            let names: Vec<String> = (0..MOST_TAGS).map(|n| format!("{round}-{n}")).collect();
            let limits = names.iter().map(|name| (format!("l{name}"), 5.0)).collect();
            let throttle = names.iter().map(|name| (name.clone(), 5)).collect();
            // Nothing is harvested meanwhile, as while no report gets through.
            rules = rules.with_policy(Arc::new(Policy {
                tag_max_weights: limits,
                throttle,
                ..Policy::default()
            }));
            call(&rules, &names[0]);
            assert!(rules.tags.len() <= 2 * MOST_TAGS, "{}", rules.tags.len());
            assert!(rules.retired.0.lock().unwrap().len() <= 3 * MOST_TAGS);
        }

        let harvest = rules.harvest();
        assert_eq!(harvest.iter().map(|(_, totals)| totals.allowed).sum::<u64>(), 10);
        assert!(rules.retired.0.lock().unwrap().is_empty());
    }

    #[test]
    fn names_that_stand_for_several_tags_share_their_counts() {
        let rules = Rules::new(policy(&[(OTHER, 5.0), (DEFAULT_TAG, 0.5)]));
        assert!(rules.with_tag(OTHER).is_none() && rules.with_tag(DEFAULT_TAG).is_none());
        assert!(rules.with_tag(&"x".repeat(LONGEST_TAG + 1)).is_none());

        assert!(call(&rules, OTHER).allowed && call(&rules, "a tag without a place").allowed);
        assert!(!call(&rules, DEFAULT_TAG).allowed);

        let counts: Vec<_> = rules.harvest().into_iter().map(|(tag, t)| (tag, t.allowed, t.denied)).collect();
        assert_eq!(counts, [(DEFAULT_TAG.to_owned(), 0, 1), (OTHER.to_owned(), 2, 0)]);
    }

    #[test]
    fn throttling_of_every_tag_is_exact_for_each_and_the_stricter_of_two_wins() {
        let throttle = [(ALL_TAGS.to_owned(), 50), ("free".to_owned(), 80), ("pro".to_owned(), 10)].into();
        let rules = Rules::new(Arc::new(Policy { throttle, ..Policy::default() }));
        let rules = rules.with_tag("new").unwrap();

        let denied =
            |tag| (0..100).filter(|_| !rules.find_or_other(tag).gate(None, || Tick::ORIGIN).allowed).count();

        let tags = [None, Some("free"), Some("pro"), Some("new"), Some("without a place")];
        assert_eq!(tags.map(denied), [50, 80, 50, 50, 50]);
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
