//! What reflex rules make of metrics, and of each other.

use super::{
    codes::{W013, W014, W015},
    findings::Findings,
};
use crate::{
    gate::{
        HISTOGRAM_BOUNDS,
        reflex::{Action, Metric, ReflexRule},
    },
    manifest::{
        LintDiagnostic,
        layout::GATE_FILE,
        parse::{RuleAt, open_any_version, parse_gate},
    },
};

/// What `gate.toml` says, and what was found in it.
#[derive(Clone, Debug, Default)]
pub(in crate::manifest) struct Gate {
    /// Those without errors.
    pub(in crate::manifest) rules: Vec<ReflexRule>,
    pub(in crate::manifest) diagnostics: Vec<LintDiagnostic>,
}

impl Gate {
    pub(in crate::manifest) fn of(text: &str, schema_major: Option<u64>) -> Self {
        let (mut file, root) = open_any_version(GATE_FILE, text, schema_major);
        let rules = root.map(|root| parse_gate(&mut file, &root)).unwrap_or_default();
        check(&rules, &mut file.findings);
        let rules = rules.into_iter().map(|at| at.rule).collect();
        Self { rules, diagnostics: file.findings.finish() }
    }
}

/// Looks for rules that do nothing, or do it for ever.
fn check(rules: &[RuleAt], findings: &mut Findings<'_>) {
    for at in rules {
        let (rule, index) = (&at.rule, at.index);
        let (least, greatest) = range(&rule.metric);
        let (far, near) = if rule.operator.is_rising() { (greatest, least) } else { (least, greatest) };
        if !rule.trips(far) {
            let message = format!(
                "rule[{index}] never comes into force: {} is never {} {}",
                rule.metric, rule.operator, rule.threshold
            );
            findings.add_help(W013, at.span.clone(), message, range_words(&rule.metric));
        } else if near.is_finite() && !rule.is_calm(near) {
            let message =
                format!("rule[{index}] recovers only in silence: no value of {} lets it go", rule.metric);
            findings.add_help(W015, at.span.clone(), message, range_words(&rule.metric));
        }
        let other = rules.iter().find(|other| {
            // Of two that do the same, the first is the one to keep.
            other.index != index
                && includes(&other.rule, rule)
                && (other.index < index || !includes(rule, &other.rule))
        });
        if let Some(other) = other {
            let message =
                format!("rule[{index}] adds nothing: whenever it is in force, rule[{}] is", other.index);
            findings.add_help(
                W014,
                at.span.clone(),
                message,
                "remove it, or make it stricter than the other",
            );
        }
    }
}

/// The values that a metric can have.
fn range(metric: &Metric) -> (f64, f64) {
    match metric {
        Metric::Latency | Metric::Errors => (0.0, f64::INFINITY),
        Metric::P50Latency | Metric::P95Latency | Metric::P99Latency => {
            (0.0, HISTOGRAM_BOUNDS[HISTOGRAM_BOUNDS.len() - 1] as f64)
        }
        Metric::Custom(_) => (f64::NEG_INFINITY, f64::INFINITY),
    }
}

fn range_words(metric: &Metric) -> &'static str {
    match metric {
        Metric::P50Latency | Metric::P95Latency | Metric::P99Latency => {
            "percentiles lie between 0 and 10,000 ms: longer latencies are only known to be longer"
        }
        _ => "latencies and errors are never below 0",
    }
}

/// Returns true if `rule` is in force whenever `other` is, with an action that is at least as strict.
fn includes(rule: &ReflexRule, other: &ReflexRule) -> bool {
    let same_look = rule.tag == other.tag
        && rule.metric == other.metric
        && rule.window_secs == other.window_secs
        && rule.operator.is_rising() == other.operator.is_rising();
    let same_place = rule.site.is_none() || rule.site == other.site;
    let strict = match (rule.action, other.action) {
        (Action::Block, _) => true,
        (Action::LimitWeight(a), Action::LimitWeight(b)) => a <= b,
        (Action::ThrottlePercent(a), Action::ThrottlePercent(b)) => a >= b,
        _ => false,
    };
    let sign = if rule.operator.is_rising() { 1.0 } else { -1.0 };
    let (at, other_at) = (rule.threshold, other.threshold);
    let trips_first = at * sign < other_at * sign || at == other_at && (rule.trips(at) || !other.trips(at));
    let (calm, other_calm) = (rule.recover_below, other.recover_below);
    let recovers_last =
        calm * sign < other_calm * sign || calm == other_calm && (!rule.is_calm(calm) || other.is_calm(calm));
    same_look
        && same_place
        && strict
        && trips_first
        && recovers_last
        && rule.recover_after_secs >= other.recover_after_secs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::gate::{
        reflex::{Aggregate, Comparison, RuleState, Ruleset, Window, evaluate},
        types::CustomMetricAggregate,
    };

    fn rule(name: &str, operator: Comparison, threshold: i8, away: i8, after: u32) -> ReflexRule {
        let metric = Metric::Custom("depth".to_owned());
        let away = if operator.is_rising() { -away } else { away };
        ReflexRule {
            recover_below: f64::from(threshold + away),
            recover_after_secs: after,
            ..ReflexRule::new(name, "free", metric, operator, f64::from(threshold), 10, Action::Block)
        }
    }

    fn window(value: Option<i8>) -> BTreeMap<u32, Window> {
        let values = value.map(|value| {
            let value = f64::from(value);
            ("depth".to_owned(), CustomMetricAggregate { min: value, max: value, sum: value, count: 1 })
        });
        let aggregate = Aggregate { calls: 1, custom: values.into_iter().collect(), ..Aggregate::default() };
        [(10, Window::from([("free".to_owned(), aggregate)]))].into()
    }

    proptest! {
        #[test]
        fn a_rule_that_includes_another_is_in_force_whenever_that_is(
            rising in any::<bool>(),
            inclusive in prop::array::uniform2(any::<bool>()),
            thresholds in prop::array::uniform2(0_i8..4),
            aways in prop::array::uniform2(0_i8..3),
            afters in prop::array::uniform2(0_u32..3),
            series in prop::collection::vec(prop::option::weighted(0.9, -3_i8..8), 1..40),
        ) {
            let operator = |inclusive| match (rising, inclusive) {
                (true, true) => Comparison::AtLeast,
                (true, false) => Comparison::Above,
                (false, true) => Comparison::AtMost,
                (false, false) => Comparison::Below,
            };
            let [wide, narrow] = [0, 1].map(|at| {
                let name = if at == 0 { "wide" } else { "narrow" };
                rule(name, operator(inclusive[at]), thresholds[at], aways[at], afters[at])
            });
            let rules = [wide, narrow];
            let mut states = BTreeMap::<String, RuleState>::new();
            if includes(&rules[0], &rules[1]) {
                for (second, value) in series.into_iter().enumerate() {
                    (states, _) = evaluate(&rules, &states, &window(value), second as u64 * 1_000);
                    prop_assert!(!states["narrow"].is_in_force() || states["wide"].is_in_force());
                }
            }
        }

        #[test]
        fn any_text_gives_findings_and_no_panic(text in "(\\[\\[rule\\]\\]|(tag|metric|operator|threshold|window_secs|action|recover_below|site|name) = (\"[*><=a-z ]{0,4}\"|-?[0-9]{1,20}|nan|1e9|\\{[a-z_]{0,3}=1\\}|\\[\\])|[ -~]{0,6}|\n){0,40}") {
            let (ruleset, findings) = Ruleset::parse(&text);
            prop_assert_eq!(ruleset.is_some(), findings.iter().all(|d| d.severity != crate::Severity::Error));
        }
    }

    #[test]
    fn rules_that_look_at_different_things_do_not_include_each_other() {
        let free = rule("r", Comparison::Above, 5, 0, 1);
        let others = [
            ReflexRule { tag: "*".to_owned(), ..free.clone() },
            ReflexRule { metric: Metric::Errors, ..free.clone() },
            ReflexRule { window_secs: 11, ..free.clone() },
            ReflexRule { site: Some("eu".to_owned()), ..free.clone() },
            ReflexRule { action: Action::ThrottlePercent(100), ..free.clone() },
            ReflexRule { action: Action::LimitWeight(0.0), ..free.clone() },
        ];

        assert!(includes(&free, &free.clone()));
        for other in &others {
            assert!(!includes(other, &free), "{other}");
        }
        assert!(includes(&free, &others[3]) && includes(&free, &others[4]) && includes(&free, &others[5]));
        assert!(!includes(&others[4], &others[5]) && !includes(&others[5], &others[4]));
    }

    #[test]
    fn names_that_are_not_given_say_what_is_looked_at_and_are_numbered() {
        let rule = "[[rule]]\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = 5\naction = \"block\"\n";
        let text =
            format!("{rule}site = \"eu\"\n{rule}site = \"us\"\n{rule}name = \"own\"\nsite = \"asia\"\n");

        let (ruleset, findings) = Ruleset::parse(&text);

        assert!(findings.is_empty(), "{findings:#?}");
        let ruleset = ruleset.unwrap();
        let names: Vec<_> = ruleset.rules().iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["free:errors", "free:errors-2", "own"]);
        let first = &ruleset.rules()[0];
        assert_eq!((first.window_secs, first.recover_after_secs, first.recover_below), (60, 30, 5.0));
        assert!(first.applies_to("eu") && !first.applies_to("us"));
    }

    #[test]
    fn actions_are_a_word_or_a_table_of_one() {
        let action = |text: &str| {
            let text = format!(
                "[[rule]]\ntag = \"*\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = 5.5\naction = {text}\n"
            );
            Ruleset::parse(&text).0.map(|ruleset| ruleset.rules()[0].action)
        };

        assert_eq!(action("\"block\""), Some(Action::Block));
        assert_eq!(action("{ limit_weight = 2.5 }"), Some(Action::LimitWeight(2.5)));
        assert_eq!(action("{ limit_weight = 0 }"), Some(Action::LimitWeight(0.0)));
        assert_eq!(action("{ throttle_percent = 1 }"), Some(Action::ThrottlePercent(1)));
        assert_eq!(action("\"limit_weight = 5\""), Some(Action::LimitWeight(5.0)));
        assert_eq!(action("\"throttle_percent=50\""), Some(Action::ThrottlePercent(50)));
        for bad in [
            "\"\"",
            "1",
            "{}",
            "{ block = true }",
            "{ limit_weight = inf }",
            "{ limit_weight = \"5\" }",
            "{ throttle_percent = 0 }",
            "{ throttle_percent = 50.0 }",
            "{ throttle_percent = 50, limit_weight = 1 }",
            "\"throttle_percent = 0.5\"",
            "\"limit_weight = nan\"",
        ] {
            assert_eq!(action(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_may_leave_its_version_out_but_not_have_a_wrong_one_or_too_many_rules() {
        let rules = |count: usize| -> String {
            let rule = |at: usize| {
                format!(
                    "[[rule]]\ntag = \"t{at}\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = 5\naction = \"block\"\n"
                )
            };
            (0..count).map(rule).collect()
        };

        assert_eq!(Ruleset::parse("").0, Some(Ruleset::default()));
        assert_eq!(Ruleset::parse("schema_version = \"x\"").1[0].code, "E001");
        assert_eq!(Ruleset::parse(&rules(200)).0.unwrap().rules().len(), 200);
        let (none, findings) = Ruleset::parse(&rules(201));
        assert!(none.is_none());
        assert_eq!(findings.iter().map(|found| found.code).collect::<Vec<_>>(), ["E008"]);
        let (none, findings) = Ruleset::parse(&" ".repeat(crate::manifest::archive::limits::FILE + 1));
        assert_eq!((none, findings[0].code), (None, "E008"));
        assert_eq!(Ruleset::parse("[rule]\ntag = \"x\"").1[0].code, "E017");
    }
}
