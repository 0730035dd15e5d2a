//! Deciding: which actions come into force, which end, and what policy follows.

use std::collections::BTreeMap;

use super::{ALL_TAGS, Action, Aggregate, ReflexRule, RuleState, Window, total};
use crate::gate::{
    Policy,
    policy::{MOST_TAGS, TagWeights},
};

/// A change that the evaluation of a rule brought.
///
/// # Examples
/// See [`evaluate`].
/// ```
/// # use leverframe::gate::reflex::Change;
/// assert_eq!(Change::Recovered.as_str(), "recovered");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decision {
    /// The rule's name.
    pub rule: String,
    /// What happened to its action.
    pub change: Change,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What the metric was; `None` without samples.
    pub value: Option<f64>,
    /// Why, in words.
    pub why: String,
}

/// What happened to a rule's action.
///
/// # Examples
/// ```
/// use leverframe::gate::reflex::Change;
/// assert_eq!(Change::Tripped.as_str(), "tripped");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "an action comes into force and ends, nothing else")]
pub enum Change {
    /// It came into force.
    Tripped,
    /// It ended.
    Recovered,
}

impl Change {
    /// Returns the lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tripped => "tripped",
            Self::Recovered => "recovered",
        }
    }
}

/// Looks at what was counted and decides, rule by rule.
///
/// `states` are by the names of the rules, which must differ. A rule without a state has never tripped; states of
/// rules that are gone are dropped. `windows` are by their length in seconds; one that is missing has no samples,
/// and no samples are calm. Rules of other sites are for the caller to leave out ([`ReflexRule::applies_to`]).
///
/// Pure and deterministic: the states and decisions follow from the arguments alone. A clock that goes back begins
/// the time anew for which a metric has been calm.
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
/// use leverframe::gate::reflex::{Action, Aggregate, Change, Comparison, Metric, ReflexRule, Window, evaluate};
/// let rule = ReflexRule::new("shed", "free", Metric::Errors, Comparison::Above, 50.0, 10, Action::Block);
/// let mut errors = Aggregate::default();
/// (errors.calls, errors.errors) = (100, 51);
/// let windows = BTreeMap::from([(10, Window::from([("free".to_owned(), errors)]))]);
///
/// let (states, decisions) = evaluate(&[rule.clone()], &BTreeMap::new(), &windows, 1_000);
/// assert_eq!(decisions[0].change, Change::Tripped);
/// assert_eq!(decisions[0].why, "errors was 51 over 10 s, above 50");
///
/// // Silence is calm, and thirty seconds of it end the action.
/// let (states, none) = evaluate(&[rule.clone()], &states, &BTreeMap::new(), 2_000);
/// assert!(none.is_empty());
/// let (_, decisions) = evaluate(&[rule], &states, &BTreeMap::new(), 32_000);
/// assert_eq!(decisions[0].change, Change::Recovered);
/// ```
#[must_use]
pub fn evaluate(
    rules: &[ReflexRule],
    states: &BTreeMap<String, RuleState>,
    windows: &BTreeMap<u32, Window>,
    now_ms: u64,
) -> (BTreeMap<String, RuleState>, Vec<Decision>) {
    let mut next = BTreeMap::new();
    let mut decisions = Vec::new();
    let mut totals: BTreeMap<u32, Aggregate> = BTreeMap::new();
    for rule in rules {
        let window = windows.get(&rule.window_secs);
        let aggregate = match window {
            Some(window) if rule.tag == ALL_TAGS => {
                Some(&*totals.entry(rule.window_secs).or_insert_with(|| total(window)))
            }
            Some(window) => window.get(&rule.tag),
            None => None,
        };
        let value = aggregate.and_then(|aggregate| aggregate.value(&rule.metric));
        let before = states.get(&rule.name).copied().unwrap_or_default();
        let (state, decision) = step(rule, before, value, now_ms);
        decisions.extend(decision);
        next.insert(rule.name.clone(), state);
    }
    (next, decisions)
}

fn step(
    rule: &ReflexRule,
    before: RuleState,
    value: Option<f64>,
    now_ms: u64,
) -> (RuleState, Option<Decision>) {
    let decision =
        |change, why| Some(Decision { rule: rule.name.clone(), change, at_ms: now_ms, value, why });
    if !before.is_in_force() {
        let state = RuleState { value, ..RuleState::default() };
        if !value.is_some_and(|value| rule.trips(value)) {
            return (state, None);
        }
        let state = RuleState { in_force_since_ms: Some(now_ms), tripped_by: value, ..state };
        return (state, decision(Change::Tripped, rule.why(&state).unwrap_or_default()));
    }
    if value.is_some_and(|value| !rule.is_calm(value)) {
        return (RuleState { calm_since_ms: None, value, ..before }, None);
    }
    // A beginning that lies ahead is of a clock that was set back; waiting for it could take for ever.
    let since = before.calm_since_ms.filter(|since| *since <= now_ms).unwrap_or(now_ms);
    let calm_ms = now_ms - since;
    if calm_ms < u64::from(rule.recover_after_secs) * 1_000 {
        return (RuleState { calm_since_ms: Some(since), value, ..before }, None);
    }
    let state = RuleState { value, ..RuleState::default() };
    (state, decision(Change::Recovered, rule.recovered(value, calm_ms)))
}

/// Tightens a policy by the rules in force; of several on one tag, the strictest counts.
///
/// Blocking sets a tag's limit to -1, and the limit of all traffic (`*`) to 0; limits and percentages are only ever
/// made stricter. Percentages are set in [`Policy::throttle`], where `*` stands for all traffic. Clients refuse a
/// policy with limits for more than 1,000 tags, so limits of further ones are left out.
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
/// use leverframe::gate::{Policy, reflex::{Action, Comparison, Metric, ReflexRule, RuleState, restrict}};
/// let rule = ReflexRule::new("shed", "free", Metric::Errors, Comparison::Above, 50.0, 10, Action::Block);
/// let in_force: RuleState = serde_json::from_str(r#"{"in_force_since_ms":1}"#)?;
///
/// let policy = Policy { tag_max_weights: [("free", 10.0)].into(), ..Policy::default() };
/// let policy = restrict(policy, &[rule], &BTreeMap::from([("shed".to_owned(), in_force)]));
/// assert_eq!(policy.tag_max_weights.get("free"), Some(-1.0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn restrict(mut policy: Policy, rules: &[ReflexRule], states: &BTreeMap<String, RuleState>) -> Policy {
    for rule in rules.iter().filter(|rule| states.get(&rule.name).is_some_and(RuleState::is_in_force)) {
        match rule.action {
            Action::Block if rule.tag == ALL_TAGS => limit_all(&mut policy, 0.0),
            Action::Block => limit(&mut policy.tag_max_weights, &rule.tag, -1.0),
            Action::LimitWeight(most) if rule.tag == ALL_TAGS => limit_all(&mut policy, most),
            Action::LimitWeight(most) => limit(&mut policy.tag_max_weights, &rule.tag, most),
            Action::ThrottlePercent(percent) => {
                let throttle = policy.throttle.entry(rule.tag.clone()).or_default();
                *throttle = percent.min(100).max(*throttle);
            }
        }
    }
    policy
}

// Of a number and what is none, `f64::min` returns the number.

fn limit_all(policy: &mut Policy, most: f64) {
    policy.global_max_weight = policy.global_max_weight.min(most);
}

fn limit(limits: &mut TagWeights, tag: &str, most: f64) {
    match limits.get(tag) {
        Some(before) => limits.insert(tag, before.min(most)),
        None if limits.len() < MOST_TAGS && !most.is_nan() => limits.insert(tag, most),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gate::reflex::{Comparison, Metric};

    type States = BTreeMap<String, RuleState>;

    fn rule(operator: Comparison, action: Action) -> ReflexRule {
        let metric = Metric::Custom("depth".to_owned());
        ReflexRule {
            recover_after_secs: 2,
            ..ReflexRule::new("r", "free", metric, operator, 100.0, 10, action)
        }
    }

    fn window(tag: &str, value: Option<f64>) -> BTreeMap<u32, Window> {
        let mut aggregate = Aggregate { calls: 1, ..Aggregate::default() };
        if let Some(value) = value {
            let mut values = crate::gate::types::CustomMetricAggregate::default();
            (values.min, values.max, values.sum, values.count) = (value, value, value, 1);
            aggregate.custom.insert("depth".to_owned(), values);
        }
        [(10, Window::from([(tag.to_owned(), aggregate)]))].into()
    }

    /// Runs a series of values, a second apart, and returns the changes with their seconds.
    fn run(rule: &ReflexRule, series: &[Option<f64>]) -> Vec<(usize, Change)> {
        let mut states = States::new();
        let mut changes = Vec::new();
        for (second, value) in series.iter().enumerate() {
            let (next, decisions) =
                evaluate(std::slice::from_ref(rule), &states, &window("free", *value), second as u64 * 1_000);
            states = next;
            changes.extend(decisions.into_iter().map(|decision| (second, decision.change)));
        }
        changes
    }

    #[test]
    fn an_action_ends_only_after_the_metric_was_calm_without_a_break() {
        let rule = ReflexRule { recover_below: 50.0, ..rule(Comparison::Above, Action::Block) };
        let series = [100.0, 101.0, 40.0, 40.0, 60.0, 40.0, 40.0, 40.0, 60.0, 100.0, 100.1].map(Some);

        let changes = run(&rule, &series);

        assert_eq!(changes, [(1, Change::Tripped), (7, Change::Recovered), (10, Change::Tripped)]);
    }

    #[test]
    fn each_comparison_recovers_on_its_own_side() {
        let vectors = [
            (Comparison::Above, 100.0, 101.0, 100.0),
            (Comparison::AtLeast, 100.0, 100.0, 99.9),
            (Comparison::Below, 100.0, 99.0, 100.0),
            (Comparison::AtMost, 100.0, 100.0, 100.1),
            (Comparison::Above, 80.0, 101.0, 79.9),
            (Comparison::Below, 120.0, 99.0, 120.1),
        ];
        for (operator, recover_below, trips, calm) in vectors {
            let rule = ReflexRule { recover_below, ..rule(operator, Action::Block) };
            let series = [Some(calm), Some(trips), Some(calm), Some(calm), Some(calm)];
            assert_eq!(run(&rule, &series), [(1, Change::Tripped), (4, Change::Recovered)], "{rule}");
            // Neither tripping nor calm: as it was.
            let between = f64::midpoint(recover_below, 100.0);
            if recover_below != 100.0 {
                assert!(
                    !rule.trips(between) && !rule.is_calm(between) && !rule.is_calm(recover_below),
                    "{rule}"
                );
            }
        }
    }

    #[test]
    fn silence_is_calm_and_never_trips() {
        for operator in Comparison::ALL {
            let trips = if operator.is_rising() { 1e9 } else { -1e9 };
            let series = [None, Some(trips), None, None, None, None];
            let changes = run(&rule(operator, Action::Block), &series);
            assert_eq!(changes, [(1, Change::Tripped), (4, Change::Recovered)], "{operator}");
        }
    }

    #[test]
    fn a_rule_for_all_traffic_looks_at_every_tag_together() {
        let mut some = Aggregate { calls: 9, errors: 3, ..Aggregate::default() };
        let mut window = Window::from([("a".to_owned(), some.clone()), ("b".to_owned(), some.clone())]);
        let rule = ReflexRule::new("r", "*", Metric::Errors, Comparison::Above, 7.0, 10, Action::Block);
        let evaluated = |window: &Window| {
            let windows = BTreeMap::from([(10, window.clone())]);
            evaluate(std::slice::from_ref(&rule), &States::new(), &windows, 0).1.len()
        };

        assert_eq!(evaluated(&window), 0);
        some.errors = 2;
        window.insert(String::new(), some);
        assert_eq!(evaluated(&window), 1);
    }

    #[test]
    fn words_say_what_was_seen() {
        let rule = ReflexRule { recover_below: 80.0, ..rule(Comparison::AtLeast, Action::Block) };
        let rules = [rule];
        let (states, decisions) = evaluate(&rules, &States::new(), &window("free", Some(100.0)), 0);
        assert_eq!(decisions[0].why, "depth was 100 over 10 s, at or above 100");
        let (states, _) = evaluate(&rules, &states, &window("free", None), 1_000);
        let (_, decisions) = evaluate(&rules, &states, &window("free", Some(12.5)), 3_500);
        assert_eq!(decisions[0].why, "depth has been calm for 2.5 s: now 12.5 over 10 s, below 80");
        let (_, decisions) = evaluate(&rules, &states, &BTreeMap::new(), 3_000);
        assert_eq!(decisions[0].why, "depth has been calm for 2 s: no samples within 10 s");
    }

    #[test]
    fn states_of_rules_that_are_gone_are_dropped() {
        let (states, _) = evaluate(
            &[rule(Comparison::Above, Action::Block)],
            &States::new(),
            &window("free", Some(1e9)),
            0,
        );
        assert!(states["r"].is_in_force());

        assert_eq!(evaluate(&[], &states, &BTreeMap::new(), 1).0, States::new());
    }

    #[test]
    fn a_clock_that_goes_back_begins_the_calm_anew() {
        let rules = [rule(Comparison::Above, Action::Block)];
        let late = 1_000_000_000;
        let (states, _) = evaluate(&rules, &States::new(), &window("free", Some(101.0)), late);
        let (states, _) = evaluate(&rules, &states, &BTreeMap::new(), late + 1_000);
        let (states, decisions) = evaluate(&rules, &states, &BTreeMap::new(), 5_000);
        assert!(decisions.is_empty());
        let (_, decisions) = evaluate(&rules, &states, &BTreeMap::new(), 7_000);
        assert_eq!(decisions[0].change, Change::Recovered);
    }

    #[test]
    fn the_strictest_rule_in_force_wins_and_none_loosens_what_is_set() {
        let rules: Vec<ReflexRule> = [
            ("free", Action::LimitWeight(5.0)),
            ("free", Action::LimitWeight(3.0)),
            ("free", Action::LimitWeight(4.0)),
            ("pro", Action::LimitWeight(100.0)),
            ("pro", Action::ThrottlePercent(20)),
            ("pro", Action::ThrottlePercent(50)),
            ("pro", Action::ThrottlePercent(30)),
            ("gone", Action::Block),
            ("*", Action::LimitWeight(40.0)),
            ("*", Action::ThrottlePercent(200)),
        ]
        .into_iter()
        .enumerate()
        .map(|(at, (tag, action))| {
            ReflexRule::new(at.to_string(), tag, Metric::Errors, Comparison::Above, 1.0, 10, action)
        })
        .collect();
        let in_force = RuleState { in_force_since_ms: Some(1), ..RuleState::default() };
        let mut states: States = rules.iter().map(|rule| (rule.name.clone(), in_force)).collect();
        states.insert("7".to_owned(), RuleState::default());
        let policy = Policy {
            global_max_weight: 60.0,
            tag_max_weights: [("pro", 50.0)].into(),
            throttle: [("free".to_owned(), 10)].into(),
            ..Policy::default()
        };

        let policy = restrict(policy, &rules, &states);

        assert_eq!(policy.global_max_weight, 40.0);
        assert_eq!(policy.tag_max_weights, [("pro", 50.0), ("free", 3.0)].into());
        let throttle =
            [("free", 10), ("pro", 50), ("*", 100)].map(|(tag, percent)| (tag.to_owned(), percent));
        assert_eq!(policy.throttle, throttle.into());

        states.insert("7".to_owned(), in_force);
        let all = ReflexRule { tag: "*".to_owned(), ..rules[7].clone() };
        let policy = restrict(policy, &[rules[7].clone(), all], &states);
        assert_eq!(policy.tag_max_weights.get("gone"), Some(-1.0));
        assert_eq!(policy.global_max_weight, 0.0);
    }

    #[test]
    fn a_policy_never_names_more_tags_than_clients_take() {
        let limits: TagWeights = (0..MOST_TAGS).map(|at| (format!("t{at}"), 5.0)).collect();
        let policy = Policy { tag_max_weights: limits, ..Policy::default() };
        let states = States::from([(
            "r".to_owned(),
            RuleState { in_force_since_ms: Some(1), ..RuleState::default() },
        )]);
        let known = ReflexRule { tag: "t7".to_owned(), ..rule(Comparison::Above, Action::Block) };
        let unknown = rule(Comparison::Above, Action::Block);

        let policy = restrict(policy, &[unknown, known], &states);

        assert_eq!(policy.tag_max_weights.len(), MOST_TAGS);
        assert_eq!(policy.tag_max_weights.get("t7"), Some(-1.0));
    }

    /// Decides from the whole history each time: the action is in force from a first tripping moment on, until a
    /// moment that ends a row of calm ones which spans long enough, and so on from behind it.
    fn in_force_by_history(rule: &ReflexRule, history: &[(u64, Option<f64>)]) -> bool {
        let calm = |at: usize| history[at].1.is_none_or(|value| rule.is_calm(value));
        let mut from = 0;
        loop {
            let Some(tripped) =
                (from..history.len()).find(|at| history[*at].1.is_some_and(|v| rule.trips(v)))
            else {
                return false;
            };
            let long = |first: usize, last: usize| {
                history[last].0 - history[first].0 >= u64::from(rule.recover_after_secs) * 1_000
            };
            let recovered = (tripped + 1..history.len()).find(|last| {
                (tripped + 1..=*last).any(|first| (first..=*last).all(calm) && long(first, *last))
            });
            match recovered {
                Some(at) => from = at + 1,
                None => return true,
            }
        }
    }

    proptest! {
        #[test]
        fn step_by_step_is_as_from_the_whole_history(
            operator in prop::sample::select(Comparison::ALL.to_vec()),
            recover in 0_i8..3,
            recover_after_secs in 0_u32..5,
            steps in prop::collection::vec((0_u64..2_500, prop::option::weighted(0.8, 95_i32..106)), 1..60),
        ) {
            let away = f64::from(recover) * if operator.is_rising() { -1.0 } else { 1.0 };
            let rule =
                ReflexRule { recover_below: 100.0 + away, recover_after_secs, ..rule(operator, Action::Block) };
            let (mut states, mut history, mut now) = (States::new(), Vec::new(), 0);
            for (millis, value) in steps {
                now += millis;
                let value = value.map(f64::from);
                history.push((now, value));
                let was = states.get("r").is_some_and(RuleState::is_in_force);
                let (next, decisions) =
                    evaluate(std::slice::from_ref(&rule), &states, &window("free", value), now);
                states = next;

                let is = in_force_by_history(&rule, &history);
                prop_assert_eq!(states["r"].is_in_force(), is);
                prop_assert_eq!(states["r"].value, value);
                let expected = match (was, is) {
                    (false, true) => vec![Change::Tripped],
                    (true, false) => vec![Change::Recovered],
                    _ => vec![],
                };
                prop_assert_eq!(decisions.iter().map(|d| d.change).collect::<Vec<_>>(), expected);
            }
        }

        #[test]
        fn nothing_from_outside_makes_it_fail(
            thresholds in prop::array::uniform3(any::<f64>()),
            operator in prop::sample::select(Comparison::ALL.to_vec()),
            values in prop::collection::vec((any::<u64>(), any::<f64>(), any::<u64>()), 0..8),
        ) {
            let [threshold, recover_below, limit] = thresholds;
            let rule = ReflexRule {
                threshold,
                recover_below,
                recover_after_secs: u32::MAX,
                ..rule(operator, Action::LimitWeight(limit))
            };
            let mut states = States::new();
            for (now, value, count) in values {
                let mut windows = window("free", Some(value));
                windows.get_mut(&10).unwrap().get_mut("free").unwrap().custom.get_mut("depth").unwrap().count = count;
                (states, _) = evaluate(std::slice::from_ref(&rule), &states, &windows, now);
                let policy = restrict(Policy::default(), std::slice::from_ref(&rule), &states);
                let json = serde_json::to_string(&policy).unwrap();
                prop_assert!(serde_json::from_str::<Policy>(&json).is_ok());
                // What the store keeps comes back, but for the last binary digit of a measured value.
                let kept = serde_json::to_string(&states).unwrap();
                let kept: States = serde_json::from_str(&kept).unwrap();
                prop_assert_eq!(kept["r"].in_force_since_ms, states["r"].in_force_since_ms);
                prop_assert_eq!(kept["r"].calm_since_ms, states["r"].calm_since_ms);
                prop_assert_eq!(kept["r"].value.is_some(), states["r"].value.is_some());
            }
        }
    }
}
