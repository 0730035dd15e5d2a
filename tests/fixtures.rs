//! Fixtures: what they cover, that they are true, and that their renderings are usable.

#[path = "support/random.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod random;
#[path = "support/toml.rs"]
mod toml;

/// Generated from `tests/generated/site`, compared below, and run here as anybody would run it.
#[path = "generated/ranking_fixtures.rs"]
#[rustfmt::skip]
mod ranking_fixtures;

use leverframe::{
    AttrValue, EvalOptions,
    eval::{Coverage, FixtureOptions, Fixtures, Program, bucket},
    manifest::Manifest,
};
use proptest::prelude::*;

fn site() -> Manifest {
    let text = |file: &str| file.replacen("schema_version = \"0.1\"\n", "", 1);
    toml::manifest(&[
        ("flags/ranking.toml", &text(include_str!("generated/site/flags/ranking.toml"))),
        ("segments/us-third.toml", &text(include_str!("generated/site/segments/us-third.toml"))),
    ])
}

fn fixtures(manifest: &Manifest, environment: &str, options: &FixtureOptions) -> Fixtures {
    Fixtures::of(manifest, &Program::compile(manifest), "ranking", environment, options)
        .expect("the flag exists")
}

/// A flag whose rules give `on` for the first of two predicates and `off` for the second.
fn two_rules(first: &str, second: &str) -> Manifest {
    let flag = format!(
        r#"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = {first}
variant = "on"
[[flag.environments._.rules]]
predicate = {second}
variant = "off"
"#
    );
    toml::manifest(&[("flags/ranking.toml", &flag)])
}

#[test]
fn each_rule_and_the_fall_through_get_a_context() {
    let made = fixtures(&site(), "production", &FixtureOptions::new());

    let rules: Vec<String> = made.fixtures().iter().map(|f| f.rule_matched.to_string()).collect();
    assert_eq!(rules, ["rule:0", "rule:1", "rule:2", "default"]);
    assert!(made.unreached().is_empty());
}

#[test]
fn the_table_has_the_columns_of_the_contract() {
    let made = fixtures(&site(), "production", &FixtureOptions::new().with_coverage(Coverage::Rules));

    let table = made.to_human();

    let id = (1..).map(|n| format!("u-{n}")).find(|id| bucket(id, "ranking-2026") <= 3_299).unwrap();
    let place = bucket(&id, "ranking-2026");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("fixture ") && lines[0].ends_with("variant  why"), "{table}");
    assert!(lines[1].starts_with("user.plan=internal  "), "{table}");
    assert!(lines[1].ends_with(r#"debug    user.plan = "internal""#), "{table}");
    assert!(lines[2].starts_with(&format!("user.country=US user.id={id} user.plan=other")), "{table}");
    assert!(
        lines[2].ends_with(&format!(r#"user.country = "US", bucket={place} ∈ [0,3299] satisfies us-third"#)),
        "{table}"
    );
}

#[test]
fn exhaustive_coverage_has_both_ends_of_each_range_and_a_miss() {
    let made = fixtures(&site(), "production", &FixtureOptions::new().with_coverage(Coverage::Exhaustive));

    let places: Vec<(u16, &str)> = made
        .fixtures()
        .iter()
        .filter(|f| f.name.contains(" us-third"))
        .map(|f| match f.context.get("user.id") {
            Some(AttrValue::String(id)) => (bucket(id, "ranking-2026"), f.variant.as_str()),
            other => panic!("no id: {other:?}"),
        })
        .collect();
    assert_eq!(places, [(0, "hybrid"), (3_299, "hybrid"), (3_300, "stable")]);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_other_ids() {
    let all = |seed: &str| {
        let options = FixtureOptions::new().with_coverage(Coverage::Exhaustive).with_seed(seed);
        let made = fixtures(&site(), "production", &options);
        [made.to_human(), made.to_json().to_string(), made.to_rust("x"), made.to_typescript()]
    };

    assert_eq!(all("user"), all("user"));
    assert_ne!(all("user"), all("guest"));
    assert!(all("guest")[0].contains("user.id=guest-"));
}

#[test]
fn rules_that_no_context_reaches_are_reported() {
    let manifest = two_rules(
        r#"{ attribute = "user.age", op = "gte", value = 18 }"#,
        r#"{ attribute = "user.age", op = "gt", value = 20 }"#,
    );

    let made = fixtures(&manifest, "production", &FixtureOptions::new());

    assert_eq!(made.unreached().len(), 1);
    assert_eq!((made.unreached()[0].rule, made.unreached()[0].certain), (Some(1), true));
    assert!(made.to_human().contains("# rule 1: no context reaches it"), "{}", made.to_human());
}

#[test]
fn a_rule_that_only_a_list_reaches_is_shown_with_one() {
    let manifest = two_rules(
        r#"{ attribute = "user.id", op = "starts_with", value = "" }"#,
        r#"{ attribute = "user.id", op = "is_set" }"#,
    );

    let made = fixtures(&manifest, "production", &FixtureOptions::new());

    assert!(made.unreached().is_empty(), "{:?}", made.unreached());
    assert_eq!(made.fixtures()[1].context.get("user.id"), Some(&AttrValue::StrList(Vec::new())));
    assert_eq!(made.fixtures()[2].context.get("user.id"), None);
}

#[test]
fn a_version_that_an_earlier_rule_names_as_text_is_spelled_otherwise() {
    let manifest = two_rules(
        r#"{ attribute = "app.version", op = "in", values = ["1.2.0", "1.2", "v1.2.0", "1.2.0+other"] }"#,
        r#"{ attribute = "app.version", op = "semver_eq", value = "1.2.0" }"#,
    );

    let made = fixtures(&manifest, "production", &FixtureOptions::new());

    assert!(made.unreached().is_empty(), "{:?}", made.unreached());
    assert_eq!(made.fixtures()[1].context.get("app.version"), Some(&AttrValue::from("1.2.0+b1")));
}

#[test]
fn rules_behind_the_testing_gate_are_reported_and_shown_to_those_who_opt_in() {
    let plain = fixtures(&site(), "staging", &FixtureOptions::new());
    let opted_in = FixtureOptions::new().with_evaluation(EvalOptions::new().with_include_testing(true));
    let testing = fixtures(&site(), "staging", &opted_in);

    assert!(plain.unreached()[0].why.contains("testing"));
    assert_eq!(plain.fixtures().len(), 1);
    assert_eq!(testing.fixtures()[0].variant, "debug");
    assert!(testing.to_rust("x").contains("with_include_testing(true)"));
}

#[test]
fn json_and_typescript_hold_context_variant_and_reason() {
    let made = fixtures(&site(), "production", &FixtureOptions::new());

    let json = made.to_json();
    let typescript = made.to_typescript();

    assert_eq!(json["coverage"], "rules+fallthrough");
    assert_eq!(json["fixtures"][0]["context"]["user.plan"], "internal");
    assert_eq!(json["fixtures"][0]["rule_matched"], "rule:0");
    assert!(typescript.contains(r#"    context: {"user.plan":"internal"},"#), "{typescript}");
    assert!(typescript.contains("export const fixtures: Fixture[] = ["));
}

#[test]
fn the_checked_in_rust_tests_are_what_is_generated() {
    let options = FixtureOptions::new().with_coverage(Coverage::Exhaustive);

    let generated = fixtures(&site(), "production", &options).to_rust("tests/generated/site");

    assert_eq!(generated, include_str!("generated/ranking_fixtures.rs"), "write it to that file");
}

#[test]
fn a_program_of_another_manifest_is_noticed() {
    let manifest = site();
    let other = Program::compile(&Manifest::new("site"));

    let error = Fixtures::of(&manifest, &other, "ranking", "production", &FixtureOptions::new()).unwrap_err();

    assert_eq!(error.hint_text(), Some("the compiled program is not of this manifest"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn fixtures_of_any_flag_are_true_and_leave_out_only_what_is_out_of_reach(
        manifest in random::manifest(),
        contexts in prop::collection::vec(random::context(true), 30),
    ) {
        let program = Program::compile(&manifest);
        let options = FixtureOptions::new().with_coverage(Coverage::Exhaustive);

        let made = Fixtures::of(&manifest, &program, random::FLAG, "production", &options).unwrap();

        for fixture in made.fixtures() {
            let there = program.evaluate(random::FLAG, "production", &fixture.context, &EvalOptions::new());
            prop_assert_eq!(there.map(|e| e.variant_key.to_owned()), Ok(fixture.variant.clone()));
        }
        for context in &contexts {
            let there = program.evaluate(random::FLAG, "production", context, &EvalOptions::new());
            let there = there.expect("well-typed contexts evaluate").rule_matched.to_string();
            let unreached = made.unreached().iter().filter(|u| u.certain).map(|u| u.rule);
            let names: Vec<String> =
                unreached.map(|r| r.map_or_else(|| "default".to_owned(), |i| format!("rule:{i}"))).collect();
            prop_assert!(!names.contains(&there), "{} is said to be out of reach: {:?}", there, names);
        }
    }
}
