//! Why-not: reasons of rules, and the smallest change of context against brute force.

#[path = "support/random.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod random;
#[path = "support/toml.rs"]
mod toml;

use leverframe::{
    AttrValue, EvalContext, EvalOptions, RuleMatched,
    eval::{Change, Program, RuleStatus, WhyNot, bucket},
    manifest::Manifest,
};
use proptest::prelude::*;

const RANKING: &str = r#"
[flag]
type = "string"
[flag.variants]
stable = "v1"
hybrid = "v2"
debug = "v3"
[flag.environments._]
variant = "stable"
[[flag.environments._.rules]]
predicate = { attribute = "user.plan", op = "eq", value = "internal" }
variant = "debug"
[[flag.environments._.rules]]
description = "a tenth of adults in the US"
segment = "us-tenth"
variant = "hybrid"
[[flag.environments._.rules]]
predicate = { or = [
  { attribute = "app.version", op = "semver_gte", value = "2.1.0" },
  { attribute = "user.roles", op = "contains", value = "beta" },
] }
variant = "hybrid"
"#;

const US_TENTH: &str = r#"
[segment]
predicate = { and = [
  { attribute = "user.country", op = "in", values = ["US", "PR"] },
  { not = { attribute = "user.age", op = "lt", value = 18 } },
] }
[segment.bucket]
entity_id_attribute = "user.id"
salt = "ranking"
start = 0
end = 999
"#;

fn ranking() -> Manifest {
    toml::manifest(&[("flags/ranking.toml", RANKING), ("segments/us-tenth.toml", US_TENTH)])
}

fn nearest(manifest: &Manifest, context: &EvalContext, wanted: Option<&str>) -> Option<Change> {
    let program = Program::compile(manifest);
    let why = WhyNot::of(manifest, &program, "ranking", "production", context, &EvalOptions::new());
    why.and_then(|why| why.nearest(wanted)).expect("the flag and the variant exist")
}

#[test]
fn each_rule_says_what_kept_it_from_matching() {
    let manifest = ranking();
    let program = Program::compile(&manifest);
    let context =
        EvalContext::builder().str("user.country", "DE").int("user.age", 17).str("user.id", "u-1").build();

    let why =
        WhyNot::of(&manifest, &program, "ranking", "production", &context, &EvalOptions::new()).unwrap();
    let rules = why.rules();

    let facts: Vec<Vec<&str>> =
        rules.iter().map(|r| r.reasons.iter().map(|reason| reason.fact.as_str()).collect()).collect();
    let id = bucket("u-1", "ranking");
    assert_eq!(facts[0], [r#"user.plan is not "internal""#]);
    assert_eq!(
        facts[1],
        [r#"user.country not in ["US", "PR"]"#, "user.age < 18", &format!("bucket={id} ∉ [0,999]")]
    );
    assert_eq!(
        facts[2],
        [r#"app.version is not >= version "2.1.0""#, r#"user.roles does not contain "beta""#]
    );
    assert!(rules.iter().all(|r| r.status == RuleStatus::NotMatched));
    assert_eq!(rules[1].reasons[0].segment.as_deref(), Some("us-tenth"));
    assert_eq!(rules[1].reasons[0].actual_text(), r#""DE""#);
    assert_eq!(rules[0].reasons[0].actual_text(), "absent");
    assert_eq!(rules[1].description, "a tenth of adults in the US");
}

#[test]
fn rules_after_the_match_are_not_reached() {
    let manifest = ranking();
    let program = Program::compile(&manifest);
    let context = EvalContext::builder().str("user.plan", "internal").build();

    let why =
        WhyNot::of(&manifest, &program, "ranking", "production", &context, &EvalOptions::new()).unwrap();

    let status: Vec<RuleStatus> = why.rules().into_iter().map(|r| r.status).collect();
    assert_eq!(status, [RuleStatus::Matched, RuleStatus::NotReached, RuleStatus::NotReached]);
    assert_eq!(why.current().unwrap().rule_matched, RuleMatched::Rule(0));
}

#[test]
fn one_attribute_suffices_where_one_does() {
    let context = EvalContext::builder().str("user.country", "DE").build();

    let change = nearest(&ranking(), &context, None).unwrap();

    assert_eq!(change.to_string(), r#"user.plan: absent → "internal" gives `debug` (rule:0)"#);
    assert!(change.exact);
}

#[test]
fn the_wanted_variant_is_reached_by_the_cheapest_rule() {
    let context = EvalContext::builder().str("app.version", "2.0.9").build();

    let change = nearest(&ranking(), &context, Some("hybrid")).unwrap();

    assert_eq!(change.to_string(), r#"app.version: "2.0.9" → "2.1.0" gives `hybrid` (rule:2)"#);
}

#[test]
fn an_entity_id_is_changed_by_the_buckets_it_must_fall_into() {
    let manifest = toml::manifest(&[
        (
            "flags/ranking.toml",
            RANKING.split("[[flag.environments._.rules]]\npredicate = { or").next().unwrap(),
        ),
        ("segments/us-tenth.toml", US_TENTH),
    ]);
    let context =
        EvalContext::builder().str("user.country", "US").str("user.id", "u-1").int("user.age", 30).build();
    assert!(bucket("u-1", "ranking") > 999, "the example needs another id");

    let change = nearest(&manifest, &context, Some("hybrid")).unwrap();

    let text = change.to_string();
    assert!(
        text.starts_with(
            r#"user.id: "u-1" → any id with bucket(user.id, "ranking") in 0..=999, for example "u-"#
        ),
        "{text}"
    );
    let Some(AttrValue::String(id)) = &change.steps[0].to else { panic!("no id: {change:?}") };
    assert!(bucket(id, "ranking") <= 999);
    assert_eq!(change.steps.len(), 1);
}

#[test]
fn what_is_there_already_needs_no_change() {
    let change = nearest(&ranking(), &EvalContext::new(), Some("stable")).unwrap();

    assert!(change.steps.is_empty());
    assert_eq!(change.to_string(), "no change gives `stable` (default)");
}

#[test]
fn a_variant_that_no_context_gets_has_no_change() {
    let flag = RANKING.replace("debug = \"v3\"", "debug = \"v3\"\nspare = \"v4\"");
    let manifest = toml::manifest(&[("flags/ranking.toml", &flag), ("segments/us-tenth.toml", US_TENTH)]);

    assert_eq!(nearest(&manifest, &EvalContext::new(), Some("spare")), None);
}

#[test]
fn a_value_of_the_wrong_type_is_changed_first() {
    let context = EvalContext::builder().int("user.plan", 7).build();

    let change = nearest(&ranking(), &context, Some("stable")).unwrap();

    assert_eq!(change.steps.len(), 1);
    assert_eq!(change.steps[0].attribute, "user.plan");
    assert_eq!(change.variant, "stable");
}

#[test]
fn an_undeclared_variant_is_refused_with_the_declared_ones() {
    let manifest = ranking();
    let program = Program::compile(&manifest);
    let context = EvalContext::new();
    let why =
        WhyNot::of(&manifest, &program, "ranking", "production", &context, &EvalOptions::new()).unwrap();

    let error = why.nearest(Some("hybird")).unwrap_err();

    assert!(error.to_string().contains("declared: stable, hybrid, debug"), "{error}");
}

/// Every value that could make a difference to a random manifest, and many that could not.
fn values(attribute: &str) -> Vec<Option<AttrValue>> {
    let texts = ["", "u-1", "u-2", "US", "DE", "a@x.com", "b@x.com", "x", "other"];
    let pairs = texts.iter().flat_map(|a| texts.iter().map(move |b| format!("{a}{b}")));
    let mut all: Vec<Option<AttrValue>> = vec![None];
    match attribute {
        "user.age" => all.extend((-4..6).map(|v| Some(AttrValue::Int(v)))),
        "user.score" => all.extend((-8..12).map(|v| Some(AttrValue::Float(f64::from(v) / 2.0)))),
        "user.premium" => all.extend([true, false].map(|v| Some(AttrValue::Boolean(v)))),
        "app.version" => {
            let versions =
                ["0.0.0-0", "0.0.0", "1.0.0", "1.0.1", "1.2.0-rc.1", "1.2.0-rc.2", "1.2.0", "2", "9.0.0"];
            all.extend(versions.map(|v| Some(AttrValue::from(v))));
            all.extend(
                ["10.0.0", "11.0.0", "v1.2", "1.0.1+build", "1.2.0-rc.1.0"].map(|v| Some(AttrValue::from(v))),
            );
        }
        _ => {
            all.extend((0..300).map(|n| Some(AttrValue::from(format!("id-{n}")))));
            all.extend(pairs.map(|v| Some(AttrValue::from(v))));
        }
    }
    if !matches!(attribute, "user.age" | "user.score" | "user.premium") {
        let list = |items: &[&str]| Some(AttrValue::StrList(items.iter().map(|i| (*i).to_owned()).collect()));
        all.push(list(&[]));
        all.extend(texts.iter().map(|a| list(&[a])));
        all.push(list(&["u-1", "US", "a@x.com"]));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_change_selects_the_variant_and_no_smaller_one_does(
        manifest in random::manifest(),
        context in random::context(false),
        others in prop::collection::vec(random::context(true), 8),
        wanted in prop::option::of(prop::sample::select(&["a", "b", "c"][..])),
    ) {
        let program = Program::compile(&manifest);
        let options = EvalOptions::new();
        let variant = |context: &EvalContext| {
            let there = program.evaluate(random::FLAG, "production", context, &options);
            there.ok().map(|e| e.variant_key.to_owned())
        };
        let now = variant(&context);
        let is_goal = |there: Option<String>| match (there, wanted) {
            (None, _) => false,
            (Some(there), Some(wanted)) => there == wanted,
            (there, None) => there != now,
        };
        let why = WhyNot::of(&manifest, &program, random::FLAG, "production", &context, &options).unwrap();
        let change = why.nearest(wanted).expect("random manifests are small");
        let given: Vec<_> = context.iter().collect();

        if let Some(change) = &change {
            prop_assert!(is_goal(variant(&change.context)), "{} does not do it: {:?}", change, given);
            prop_assert_eq!(variant(&change.context), Some(change.variant.clone()));
            // Compared as text, since NaN differs from itself.
            let text = |context: &EvalContext, name: &str| format!("{:?}", context.get(name));
            let differs = |name: &str| text(&change.context, name) != text(&context, name);
            let differing = random::ATTRIBUTES.iter().filter(|(name, _)| differs(name)).count();
            prop_assert_eq!(differing, change.steps.len(), "{}", change);
        } else {
            for other in &others {
                prop_assert!(!is_goal(variant(other)), "{:?} does it", other.iter().collect::<Vec<_>>());
            }
        }
        let steps = change.as_ref().map_or(usize::MAX, |c| c.steps.len());
        if steps > 1 {
            for (attribute, _) in random::ATTRIBUTES {
                for value in values(attribute) {
                    let text = format!("{attribute} = {value:?}");
                    let changed = match value {
                        Some(value) => context.to_builder().attr(attribute, value).build(),
                        None => context.to_builder().without(attribute).build(),
                    };
                    prop_assert!(!is_goal(variant(&changed)), "{} alone does it: {:?}", text, given);
                }
            }
        }
    }
}
