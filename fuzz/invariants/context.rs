//! Contexts as JSON.

use std::sync::LazyLock;

use leverframe::{
    AttrValue, EvalContext, EvalOptions,
    eval::Program,
    manifest::{LintOptions, lint_tree},
};
use serde_json::Value;

use super::tree::tree;

/// A flat object becomes a context that holds what was written, in whatever order, and evaluates with the same
/// outcome with and without a trace.
pub fn context(data: &[u8]) {
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(data) else { return };
    let mut attributes = Vec::new();
    for (key, json) in &members {
        let Some(value) = AttrValue::from_json(json) else {
            let scalar = json.is_string() || json.is_boolean() || json.is_number();
            let texts = json.as_array().is_some_and(|items| items.iter().all(Value::is_string));
            assert!(!scalar && !texts, "{json} is refused");
            continue;
        };
        // An integer beyond 64 bits becomes the nearest double.
        if !json.is_u64() || json.is_i64() {
            assert_eq!(value.to_json(), *json);
        }
        attributes.push((key, value));
    }

    let add = |builder: leverframe::EvalContextBuilder, (key, value): &(&String, AttrValue)| {
        builder.attr(key, value.clone())
    };
    let context = attributes.iter().fold(EvalContext::builder(), add).build();
    let reversed = attributes.iter().rev().fold(EvalContext::builder(), add).build();

    assert_eq!(context, reversed);
    assert_eq!(context, context.to_builder().build());
    assert_eq!((context.len(), context.is_empty()), (attributes.len(), attributes.is_empty()));
    for (key, value) in &attributes {
        assert_eq!(context.get(key), Some(value), "{key:?}");
        assert_eq!(context.to_builder().without(key).build().get(key), None, "{key:?}");
        let replaced = context.to_builder().bool(key, true).build();
        assert_eq!((replaced.get(key), replaced.len()), (Some(&AttrValue::Boolean(true)), context.len()));
    }
    let options = EvalOptions::new();
    let there = PROGRAM.evaluate("all", "production", &context, &options);
    let trace = PROGRAM.trace("all", "production", &context, &options).expect("both are known");
    assert_eq!(there.ok(), trace.outcome().ok());
}

/// One rule for each kind of test.
static PROGRAM: LazyLock<Program> = LazyLock::new(|| {
    let linted = lint_tree(&tree(FLAG.as_bytes()), &LintOptions::new());
    Program::compile(&linted.manifest.unwrap_or_else(|| panic!("{:?}", linted.report)))
});

const FLAG: &str = r#"=== flags/all.toml
schema_version = "0.1"
[flag]
type = "integer"
[flag.variants]
no = 0
yes = 1
[flag.environments._]
variant = "no"
[[flag.environments._.rules]]
variant = "yes"
predicate = { and = [
  { attribute = "s", op = "eq", value = "x" },
  { attribute = "s", op = "starts_with", value = "" },
  { attribute = "i", op = "gte", value = 10 },
] }
[[flag.environments._.rules]]
variant = "yes"
predicate = { or = [
  { attribute = "f", op = "lt", value = 0.5 },
  { attribute = "l", op = "in", values = ["a", "b"] },
  { attribute = "v", op = "semver_gt", value = "1.2.3" },
] }
[[flag.environments._.rules]]
variant = "yes"
predicate = { not = { attribute = "b", op = "is_not_set" } }
[[flag.environments._.rules]]
variant = "yes"
segment = "half"
=== segments/half.toml
schema_version = "0.1"
[segment]
[segment.bucket]
entity_id_attribute = "s"
start = 0
end = 4999
"#;
