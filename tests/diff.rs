//! Differences between manifests: the words, and the exact shares against brute force.

#[path = "support/naive.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod naive;
#[path = "support/random.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod random;
#[path = "support/toml.rs"]
mod toml;

use std::sync::LazyLock;

use leverframe::{
    EvalContext, EvalOptions,
    eval::{Limits, Program, Share},
    manifest::{
        Diff, Manifest,
        model::{Audience, Predicate},
    },
};
use proptest::prelude::*;

const BANNER: &str = r#"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
segment = "first"
variant = "on"
"#;

/// The flag without a rule.
const BANNER_ALONE: &str = r#"
[flag]
type = "boolean"
[flag.variants]
off = false
[flag.environments._]
variant = "off"
"#;

fn segment(bucket: &str, predicate: &str) -> String {
    let predicate = if predicate.is_empty() { String::new() } else { format!("predicate = {predicate}\n") };
    format!("[segment]\n{predicate}[segment.bucket]\nentity_id_attribute = \"user.id\"\n{bucket}\n")
}

fn banner(bucket: &str, predicate: &str) -> Manifest {
    toml::manifest(&[("flags/banner.toml", BANNER), ("segments/first.toml", &segment(bucket, predicate))])
}

fn lines(diff: &Diff) -> Vec<String> {
    diff.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn equal_manifests_do_not_differ() {
    let manifest = banner("start = 0\nend = 99", "");

    let diff = Diff::between(&manifest, &manifest.clone());

    assert!(diff.is_empty());
    assert_eq!(diff.to_string(), "no differences\n");
    assert_eq!(diff.max_moved().unwrap(), Share::NONE);
}

#[test]
fn growing_a_rollout_moves_exactly_the_buckets_it_adds() {
    let us = r#"{ attribute = "user.country", op = "eq", value = "US" }"#;
    let old = banner("salt = \"s\"\nstart = 0\nend = 999", us);
    let new = banner("salt = \"s\"\nstart = 0\nend = 2499", us);

    let diff = Diff::between(&old, &new);

    assert_eq!(
        lines(&diff),
        [
            "~ segment `first`: bucket 0..=999 → 0..=2499 (10% → 25%)",
            "flag `banner` in `_`: moves 1500 of 10000 (15%), as `off` → `on`, when user.country = \"US\"; \
             with only an id known, 0 of 10000 (0%)",
            "at most 1500 of 10000 (15%) of the buckets move",
        ]
    );
}

#[test]
fn another_salt_moves_the_product_of_both_shares() {
    let old = banner("salt = \"s\"\nstart = 0\nend = 999", "");
    let new = banner("salt = \"t\"\nstart = 0\nend = 1999", "");

    let diff = Diff::between(&old, &new);

    // In one of the two and not in the other: 0.1 × 0.8 + 0.9 × 0.2.
    assert_eq!(diff.max_moved().unwrap(), Share::percent("26").unwrap());
    assert!(lines(&diff)[0].contains(r#"salt "s" → "t": every entity is assigned anew"#), "{diff}");
}

#[test]
fn shares_of_two_salts_are_told_over_the_whole_grid() {
    let old = banner("salt = \"s\"\nstart = 0\nend = 0", "");
    let new = banner("salt = \"t\"\nstart = 0\nend = 0", "");

    let share = Diff::between(&old, &new).max_moved().unwrap();

    assert_eq!((share.moved(), share.of()), (2 * 9_999, 100_000_000));
    assert_eq!(share.to_string(), "19998 of 100000000 (0.019998%)");
}

#[test]
fn named_ids_are_listed_and_count_in_no_share() {
    let rule = |ids: &str| {
        let rules = format!("{{ attribute = \"user.id\", op = \"in\", values = [{ids}] }}");
        let flag = BANNER.replace("segment = \"first\"", &format!("predicate = {rules}"));
        let segment = segment("salt = \"s\"\nstart = 0\nend = 9", "");
        toml::manifest(&[("flags/banner.toml", &flag), ("segments/first.toml", &segment)])
    };

    let diff = Diff::between(&rule(r#""u-1""#), &rule(r#""u-1", "u-2""#));

    assert_eq!(diff.max_moved().unwrap(), Share::NONE);
    let named = &diff.moves()[0].result.as_ref().unwrap().named;
    assert_eq!(named, &[r#"user.id in ["u-1", "u-2"]"#]);
}

#[test]
fn each_kind_of_change_has_its_line() {
    let old = toml::manifest(&[
        (
            "namespace.toml",
            r#"
[namespace]
slug = "site"
private_attributes = ["user.email"]
[namespace.environments]
staging = {}
production = {}
"#,
        ),
        (
            "flags/gone.toml",
            "[flag]\ntype = \"integer\"\n[flag.variants]\none = 1\n[flag.environments._]\nvariant = \"one\"\n",
        ),
        (
            "flags/ranking.toml",
            r#"
[flag]
type = "string"
owner = "search"
tags = ["a"]
[flag.variants]
stable = "v1"
hybrid = "v2"
old = "v0"
[flag.environments._]
variant = "stable"
[flag.environments.production]
[[flag.environments.production.rules]]
predicate = { attribute = "user.plan", op = "eq", value = "internal" }
variant = "hybrid"
[[flag.environments.production.rules]]
predicate = { attribute = "user.age", op = "gt", value = 18 }
variant = "stable"
[flag.environments.staging]
variant = "hybrid"
"#,
        ),
    ]);
    let new = toml::manifest(&[
        (
            "namespace.toml",
            r#"
[namespace]
slug = "site"
raw_entity_ids = true
[namespace.environments]
production = { public_evaluate = true }
canary = {}
"#,
        ),
        (
            "flags/ranking.toml",
            r#"
[flag]
type = "string"
owner = "discovery"
lifecycle = "retired"
tags = ["b"]
[flag.variants]
stable = "v1"
hybrid = "v3"
[flag.environments._]
variant = "hybrid"
[flag.environments.production]
testing = true
[[flag.environments.production.rules]]
predicate = { attribute = "user.age", op = "gt", value = 20.5 }
variant = "stable"
[flag.environments.canary]
variant = "stable"
"#,
        ),
    ]);

    let changes: Vec<String> = Diff::between(&old, &new).changes().iter().map(ToString::to_string).collect();

    assert_eq!(
        changes,
        [
            "~ namespace: raw_entity_ids false → true",
            "- namespace: private attribute \"user.email\"",
            "- environment `staging`",
            "~ environment `production`: public_evaluate false → true",
            "+ environment `canary`",
            "- flag `gone`",
            "~ flag `ranking`: owner \"search\" → \"discovery\"",
            "~ flag `ranking`: lifecycle active → retired",
            "- flag `ranking`: tag \"a\"",
            "+ flag `ranking`: tag \"b\"",
            "~ flag `ranking` / variant `hybrid`: value \"v2\" → \"v3\"",
            "- flag `ranking` / variant `old`",
            "~ flag `ranking` / _: variant `stable` → `hybrid`",
            "~ flag `ranking` / production: testing false → true",
            "~ flag `ranking` / production / rule[0]: audience user.plan = \"internal\" → user.age > 20.5",
            "~ flag `ranking` / production / rule[0]: variant `hybrid` → `stable`",
            "- flag `ranking` / production / rule[1]: user.age > 18 → `stable`",
            "- flag `ranking` / staging: block: resolves through `_` now",
            "+ flag `ranking` / canary: block: variant `stable`",
            "~ attribute `user.age`: type int → float",
            "- attribute `user.plan`",
        ]
    );
}

#[test]
fn reflex_rules_differ_by_name_and_move_nobody() {
    let rule = |name: &str, threshold: u32, action: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\ntag = \"free\"\nmetric = \"p95_latency\"\noperator = \">\"\n\
             threshold = {threshold}\naction = {action}\n"
        )
    };
    let with = |rules: &str| toml::manifest(&[("flags/banner.toml", BANNER_ALONE), ("gate.toml", rules)]);
    let old =
        with(&format!("{}{}", rule("shed", 500, "\"block\""), rule("gone", 900, "{ limit_weight = 5 }")));
    let new =
        with(&format!("{}{}", rule("shed", 400, "\"block\""), rule("new", 90, "{ throttle_percent = 50 }")));

    let diff = Diff::between(&old, &new);

    let words = |threshold: u32, action: &str| {
        format!(
            "p95_latency of `free` > {threshold} over 60 s: {action}, until not above {threshold} for 30 s"
        )
    };
    assert_eq!(
        diff.changes().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            format!("- reflex rule `gone`: {}", words(900, "limit_weight = 5")),
            format!("+ reflex rule `new`: {}", words(90, "throttle_percent = 50")),
            format!("~ reflex rule `shed`: {} → {}", words(500, "block"), words(400, "block")),
        ]
    );
    assert!(diff.moves().is_empty());
}

#[test]
fn an_inserted_rule_is_one_added_rule() {
    let with = |rules: &[&str]| {
        let rules: String = rules
            .iter()
            .map(|plan| {
                format!(
                    "[[flag.environments._.rules]]\nvariant = \"on\"\n\
                     predicate = {{ attribute = \"user.plan\", op = \"eq\", value = \"{plan}\" }}\n"
                )
            })
            .collect();
        let flag = BANNER.split("[[").next().unwrap().to_owned() + &rules;
        toml::manifest(&[("flags/banner.toml", &flag)])
    };

    let diff = Diff::between(&with(&["a", "b", "c"]), &with(&["a", "x", "b", "c"]));

    let changes: Vec<String> = diff.changes().iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["+ flag `banner` / _ / rule[1]: user.plan = \"x\" → `on`"]);
}

#[test]
fn testing_rules_move_only_those_who_opt_in() {
    let flag = |end: u16| {
        let flag = BANNER.replace(
            "[[flag.environments._.rules]]",
            "[flag.environments.production]\ntesting = true\n[[flag.environments.production.rules]]",
        );
        let segment = segment(&format!("salt = \"s\"\nstart = 0\nend = {end}"), "");
        toml::manifest(&[("flags/banner.toml", &flag), ("segments/first.toml", &segment)])
    };
    let opted_in = EvalOptions::new().with_include_testing(true);

    let plain = Diff::between(&flag(99), &flag(199));
    let testing = Diff::with_options(&flag(99), &flag(199), &opted_in, Limits::default());

    assert_eq!(plain.max_moved().unwrap(), Share::NONE);
    assert_eq!(testing.max_moved().unwrap(), Share::of_buckets(100));
}

#[test]
fn too_many_cases_are_an_error_and_not_a_guess() {
    let limits = Limits::new().with_cells(2);
    let us = r#"{ attribute = "user.country", op = "in", values = ["US", "DE"] }"#;
    let old = banner("salt = \"s\"\nstart = 0\nend = 999", us);
    let new = banner("salt = \"s\"\nstart = 0\nend = 2499", us);

    let diff = Diff::with_options(&old, &new, &EvalOptions::new(), limits);

    assert!(diff.max_moved().is_err());
    assert!(diff.to_string().contains("too many cases"), "{diff}");
    assert!(diff.to_json()["max_moved"].is_null());
}

#[test]
fn json_holds_what_the_lines_say() {
    let old = banner("salt = \"s\"\nstart = 0\nend = 999", "");
    let new = banner("salt = \"s\"\nstart = 0\nend = 1499", "");

    let json = Diff::between(&old, &new).to_json();

    assert_eq!(json["changes"][0]["kind"], "changed");
    assert_eq!(json["moves"][0]["flag"], "banner");
    assert_eq!(json["moves"][0]["environment"], "_");
    assert_eq!(json["moves"][0]["worst"]["share"]["moved"], 500);
    assert_eq!(json["moves"][0]["worst"]["example"]["to"], "on");
    assert_eq!(json["moves"][0]["plain"]["of"], 10_000);
    assert_eq!(json["moves"][0]["exact"], true);
    assert_eq!(json["max_moved"]["percent"], 5.0);
}

/// Brings every bucket under one salt of one attribute that nothing else reads, so that brute force is possible.
fn one_salt(mut manifest: Manifest) -> Manifest {
    fn rename(predicate: &mut Predicate) {
        match predicate {
            Predicate::And(nodes) | Predicate::Or(nodes) => nodes.iter_mut().for_each(rename),
            Predicate::Not(node) => rename(node),
            Predicate::Atom(atom) if atom.attribute == "user.id" => {
                atom.attribute = "user.country".to_owned()
            }
            Predicate::Atom(_) | Predicate::Segment(_) => {}
        }
    }
    for segment in manifest.segments.values_mut() {
        segment.predicate.iter_mut().for_each(rename);
        if let Some(bucket) = &mut segment.bucket {
            bucket.entity_id_attribute = "user.id".to_owned();
            bucket.salt = Some("one".to_owned());
        }
    }
    for flag in manifest.flags.values_mut() {
        let named = flag.environments.iter_mut().map(|(_, block)| block);
        for rule in named.chain([&mut flag.catch_all]).flat_map(|b| b.rules.iter_mut().flatten()) {
            if let Audience::Predicate(predicate) = &mut rule.audience {
                rename(predicate);
            }
        }
    }
    manifest.environments = None;
    manifest
}

/// One id for each bucket under the salt `one`.
static IDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut ids = vec![String::new(); 10_000];
    let mut missing = ids.len();
    for n in 0.. {
        let id = format!("id-{n}");
        let place = &mut ids[usize::from(naive::naive_bucket(&id, "one"))];
        if place.is_empty() {
            *place = id;
            missing -= 1;
        }
        if missing == 0 {
            return ids;
        }
    }
    unreachable!("the series does not end")
});

/// Counts the buckets in which the two programs give different values.
fn brute_force(old: &Program, new: &Program, context: &EvalContext) -> Share {
    let differs = |context: &EvalContext| {
        let value = |program: &Program| {
            let there = program.evaluate(random::FLAG, "production", context, &EvalOptions::new());
            there.expect("well-typed contexts evaluate").variant_key.to_owned()
        };
        value(old) != value(new)
    };
    if context.get("user.id").and_then(|v| v.to_json().as_str().map(|id| !id.is_empty())) != Some(true) {
        return if differs(context) { Share::ALL } else { Share::NONE };
    }
    let with = |id: &String| context.to_builder().str("user.id", id).build();
    Share::of_buckets(IDS.iter().filter(|id| differs(&with(id))).count() as u16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn shares_are_those_of_brute_force(
        old in random::manifest(),
        new in random::manifest(),
        contexts in prop::collection::vec(random::context(true), 1..4),
    ) {
        let (old, new) = (one_salt(old), one_salt(new));
        let (before, after) = (Program::compile(&old), Program::compile(&new));
        let diff = Diff::between(&old, &new);
        let has_block = |m: &Manifest| m.flags[random::FLAG].block("production").is_some();
        let environment = if has_block(&old) || has_block(&new) { "production" } else { "_" };
        let found = diff.moves().iter().find(|m| m.environment == environment);
        let found = match found {
            None => None,
            Some(found) => {
                let Ok(moved) = &found.result else { return Ok(()) };
                Some(moved)
            }
        };
        let worst = found.map_or(Share::NONE, |m| m.worst.share);

        if let Some(moved) = found {
            prop_assert_eq!(brute_force(&before, &after, &moved.worst.context), worst, "{}", &diff);
            if let Some(plain) = moved.plain {
                let only_an_id = EvalContext::builder().str("user.id", "any").build();
                prop_assert_eq!(brute_force(&before, &after, &only_an_id), plain, "{}", &diff);
            }
        }
        for context in &contexts {
            let share = brute_force(&before, &after, context);
            let values: Vec<_> = context.iter().collect();
            prop_assert!(share <= worst, "{} > {}: {:?}\n{}", share, worst, values, &diff);
        }
    }
}
