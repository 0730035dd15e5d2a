//! Schemas: what contexts need, and renderings that compile.

#[path = "support/toml.rs"]
mod toml;

/// Generated from `tests/generated/site`, compared below, and used here as anybody would use it.
#[path = "generated/ranking_context.rs"]
#[rustfmt::skip]
#[expect(unreachable_pub, reason = "generated for use in a library")]
mod ranking_context;

use leverframe::{
    AttrValue, EvalContext,
    manifest::{Manifest, Schema},
};

fn text(file: &str) -> String {
    file.replacen("schema_version = \"0.1\"\n", "", 1)
}

fn site() -> Manifest {
    toml::manifest(&[
        ("flags/ranking.toml", &text(include_str!("generated/site/flags/ranking.toml"))),
        ("segments/us-third.toml", &text(include_str!("generated/site/segments/us-third.toml"))),
        (
            "flags/alert.toml",
            r#"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = { attribute = "host.region", op = "starts_with", value = "eu-" }
variant = "on"
"#,
        ),
    ])
}

fn names(schema: &Schema) -> Vec<String> {
    let mark = |required: bool| if required { "" } else { "?" };
    schema.attributes().iter().map(|a| format!("{}{}: {}", a.name, mark(a.required), a.type_name())).collect()
}

#[test]
fn only_what_every_path_reads_is_required() {
    let schema = Schema::of(&site(), Some("ranking"), Some("production")).unwrap();

    assert_eq!(
        names(&schema),
        [
            "app.version?: string",
            "device.type?: any",
            "user.country?: string",
            "user.id?: string",
            "user.logins?: int",
            "user.plan: string",
            "user.premium?: bool",
            "user.roles?: string",
            "user.score?: float",
        ]
    );
}

#[test]
fn an_environment_narrows_the_schema_and_testing_rules_require_nothing() {
    let schema = Schema::of(&site(), Some("ranking"), Some("staging")).unwrap();

    assert_eq!(names(&schema), ["user.country?: string", "user.id?: string"]);
}

#[test]
fn without_a_flag_the_schema_is_the_union_over_the_namespace() {
    let schema = Schema::of(&site(), None, None).unwrap();

    let names = names(&schema);
    assert!(names.contains(&"host.region: string".to_owned()), "{names:?}");
    assert!(names.contains(&"user.plan: string".to_owned()), "{names:?}");
    assert_eq!(names.len(), 10);
}

#[test]
fn an_attribute_read_by_both_branches_is_required() {
    let flag = r#"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = { and = [
  { or = [
    { attribute = "user.plan", op = "eq", value = "a" },
    { not = { attribute = "user.plan", op = "eq", value = "a" } },
  ] },
  { attribute = "user.age", op = "gt", value = 3 },
] }
variant = "on"
"#;
    let manifest = toml::manifest(&[("flags/both.toml", flag)]);

    let schema = Schema::of(&manifest, Some("both"), Some("production")).unwrap();

    assert_eq!(names(&schema), ["user.age: int", "user.plan: string"]);
}

#[test]
fn the_human_form_is_that_of_the_tutorial() {
    let schema = Schema::of(&site(), Some("ranking"), Some("staging")).unwrap();

    assert_eq!(
        schema.to_human("site@a1b2c3"),
        "# Manifest fingerprint: site@a1b2c3\n\
         schema for flag 'ranking' in env 'staging'\n\
         user.country  string  optional  sources:\n\
         \x20 segments/us-third.toml [segment.predicate]: user.country = \"US\"\n\
         user.id       string  optional  sources:\n\
         \x20 segments/us-third.toml [segment.bucket]: bucket under salt \"ranking-2026\" in 0..=3299\n"
    );
}

#[test]
fn json_schema_names_types_needs_and_sources() {
    let schema = Schema::of(&site(), Some("ranking"), Some("production")).unwrap().to_json_schema();

    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["user.plan"]));
    assert_eq!(schema["properties"]["user.score"]["type"], "number");
    assert_eq!(schema["properties"]["user.logins"]["type"], "integer");
    assert_eq!(schema["properties"]["user.roles"]["anyOf"][1]["type"], "array");
    let description = schema["properties"]["user.id"]["description"].as_str().unwrap();
    assert!(description.starts_with("segments/us-third.toml [segment.bucket]"), "{description}");
}

#[test]
fn json_lists_sources_apart() {
    let json = Schema::of(&site(), Some("ranking"), None).unwrap().to_json();

    assert_eq!(json["flag"], "ranking");
    assert!(json["environment"].is_null());
    let plan = json["attributes"].as_array().unwrap().iter().find(|a| a["name"] == "user.plan").unwrap();
    assert_eq!(plan["sources"][0]["file"], "flags/ranking.toml");
    assert_eq!(plan["sources"][0]["place"], "[flag.environments._].rules[0]");
}

#[test]
fn the_typescript_form_marks_optional_attributes() {
    let typescript = Schema::of(&site(), Some("ranking"), Some("production")).unwrap().to_typescript();

    assert!(typescript.contains("export interface RankingContext {\n"), "{typescript}");
    assert!(typescript.contains("  \"user.plan\": string;\n"), "{typescript}");
    assert!(typescript.contains("  \"user.roles\"?: string | string[];\n"), "{typescript}");
    assert!(typescript.contains("  \"user.score\"?: number;\n"), "{typescript}");
}

#[test]
fn the_checked_in_rust_struct_is_what_is_generated() {
    let generated = Schema::of(&site(), Some("ranking"), Some("production")).unwrap().to_rust();

    assert_eq!(generated, include_str!("generated/ranking_context.rs"), "write it to that file");
}

#[test]
fn the_generated_struct_makes_the_context_it_describes() {
    let attributes = ranking_context::RankingContext {
        user_plan: "free".to_owned(),
        user_country: Some("US".to_owned()),
        user_logins: Some(3),
        device_type: Some(AttrValue::from("phone")),
        ..ranking_context::RankingContext::default()
    };

    let expected = EvalContext::builder()
        .str("user.plan", "free")
        .str("user.country", "US")
        .int("user.logins", 3)
        .str("device.type", "phone")
        .build();
    assert_eq!(attributes.to_context(), expected);
}

#[test]
fn unknown_flags_and_environments_are_refused() {
    let manifest = site();

    assert!(Schema::of(&manifest, Some("rankign"), None).is_err());
    assert!(Schema::of(&manifest, Some("ranking"), Some("Not-A-Name")).is_err());
    assert!(Schema::of(&manifest, None, Some("Not-A-Name")).is_err());
}
