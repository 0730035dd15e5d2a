//! Flags for single users, decided by the engine that decides the flags of manifests.
//!
//! A flag that is on is on for a user whom one of its rules holds for, if it has any, and whose bucket is within its
//! share. Buckets are those of manifests, with the flag's key for the salt and the user's id for the entity.

use std::fmt::Write;

use leverframe::{
    AttrValue, EvalContext, EvalOptions,
    document::Tree,
    eval::Program,
    manifest::{
        LintOptions, Manifest, lint_tree,
        model::{
            AttrType, Audience, Bucket, EnvBlock, Flag as ManifestFlag, FlagType, FlagValue, Predicate, Rule,
            Segment, Variant,
        },
    },
};
use serde_json::Value;

use super::flags::{BUCKETS, Flag};
use crate::checked::Bad;

/// The attribute that the user's id is, also for rules.
const USER_ID: &str = "user_id";
/// There are no environments: a service is one.
const ENVIRONMENT: &str = "settings";

/// Flags, ready to be evaluated.
#[derive(Debug)]
pub(super) struct Evaluator(Program);

impl Evaluator {
    /// Compiles flags.
    pub(super) fn of<'f>(flags: impl Iterator<Item = (&'f str, &'f Flag)>) -> Self {
        let mut manifest = Manifest::new(ENVIRONMENT);
        manifest.attributes.insert(USER_ID.to_owned(), AttrType::String);
        for (key, flag) in flags {
            let Ok((rules, attributes)) = predicates(&flag.rules) else {
                // They were checked when they were written.
                tracing::warn!(
                    flag = key,
                    "the rules of a flag do not read any more, it is off for every user"
                );
                continue;
            };
            manifest.attributes.extend(attributes.into_iter().map(|name| (name, AttrType::String)));
            let Ok(mut compiled) = ManifestFlag::new(key, FlagType::Boolean, variants()) else { continue };
            match audience(key, flag, rules) {
                Some(segment) => {
                    compiled.catch_all.rules = Some(vec![Rule {
                        description: String::new(),
                        audience: Audience::Segment(key.to_owned()),
                        variant: ON.to_owned(),
                    }]);
                    manifest.segments.insert(key.to_owned(), segment);
                }
                None if flag.share == Some(0) => {}
                None => {
                    compiled.catch_all = EnvBlock { variant: Some(ON.to_owned()), ..EnvBlock::default() };
                }
            }
            manifest.flags.insert(key.to_owned(), compiled);
        }
        Self(Program::compile(&manifest))
    }

    /// Returns true if a flag that is on is on for this user.
    pub(super) fn holds(&self, key: &str, context: &EvalContext) -> bool {
        let evaluated = self.0.evaluate(key, ENVIRONMENT, context, &EvalOptions::new());
        evaluated.is_ok_and(|evaluation| evaluation.value.as_bool() == Some(true))
    }
}

/// Puts together what is known of a user.
pub(super) fn context<'a>(
    user_id: &str,
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
) -> EvalContext {
    let builder = attributes.fold(EvalContext::builder(), |builder, (name, value)| {
        builder.attr(name, AttrValue::String(value.to_owned()))
    });
    // Last, so that nobody is somebody else by an attribute.
    builder.attr(USER_ID, AttrValue::String(user_id.to_owned())).build()
}

const ON: &str = "on";

fn variants() -> Vec<Variant> {
    let variant = |key: &str, value| Variant { key: key.to_owned(), value: FlagValue::Bool(value) };
    vec![variant("off", false), variant(ON, true)]
}

/// Returns whom a flag is for; `None` for everybody or nobody.
fn audience(key: &str, flag: &Flag, mut rules: Vec<Predicate>) -> Option<Segment> {
    let share = flag.share.unwrap_or(BUCKETS);
    let bucket = (1..BUCKETS).contains(&share).then(|| Bucket {
        entity_id_attribute: USER_ID.to_owned(),
        salt: Some(key.to_owned()),
        start: 0,
        end: share - 1,
    });
    let predicate = if rules.len() > 1 { Some(Predicate::Or(rules)) } else { rules.pop() };
    let is_for_some = share > 0 && (bucket.is_some() || predicate.is_some());
    is_for_some.then(|| Segment { key: key.to_owned(), description: String::new(), predicate, bucket })
}

/// Reads rules; returns with them the attributes that they read.
///
/// They are written as a manifest has them, and read as one: there is one reader of predicates.
pub(super) fn predicates(rules: &[Value]) -> Result<(Vec<Predicate>, Vec<String>), Bad> {
    if rules.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut text = HEAD.to_owned();
    for rule in rules {
        text.push_str("[[flag.environments._.rules]]\nvariant = \"on\"\npredicate = ");
        toml(rule, &mut text)?;
        text.push('\n');
    }
    let tree: Tree = [("flags/flag.toml", text)].into_iter().collect();
    let linted = lint_tree(&tree, &LintOptions::new().with_slug(ENVIRONMENT));
    if let Some(error) = linted.report.errors().next() {
        let what = error.message.strip_prefix("flag 'flag' ").unwrap_or(&error.message);
        return Err(Bad(format!("`rules` cannot be read: {}", shortened(what))));
    }
    let mut manifest = linted.manifest.ok_or_else(|| Bad("`rules` cannot be read".into()))?;
    if let Some((name, _)) = manifest.attributes.iter().find(|(_, of)| **of != AttrType::String) {
        let name = shortened(name);
        return Err(Bad(format!(
            "`rules` compares `{name}` with what is no text, and users have texts only"
        )));
    }
    let attributes = std::mem::take(&mut manifest.attributes).into_keys().collect();
    let flag = manifest.flags.into_values().next();
    let rules = flag.and_then(|flag| flag.catch_all.rules).unwrap_or_default();
    let predicates = rules.into_iter().filter_map(|rule| match rule.audience {
        Audience::Predicate(predicate) => Some(predicate),
        Audience::Segment(_) => None,
    });
    Ok((predicates.collect(), attributes))
}

const HEAD: &str = "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n\
                    [flag.environments._]\nvariant = \"off\"\n";

/// Writes JSON as TOML in one line.
fn toml(value: &Value, out: &mut String) -> Result<(), Bad> {
    match value {
        Value::Null => return Err(Bad("`rules` holds a null".into())),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => {
            // What no signed integer holds is none in TOML.
            let fits = number.is_i64() || number.is_f64();
            let number = fits
                .then(|| number.to_string())
                .ok_or_else(|| Bad("`rules` holds a number that is too large".into()))?;
            out.push_str(&number);
        }
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                toml(item, out)?;
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (at, (key, value)) in fields.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                string(key, out);
                out.push('=');
                toml(value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use leverframe::eval::bucket;
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::flags::FlagWrite, *};

    fn evaluator(flags: &[(&str, Value)]) -> Evaluator {
        let flags: Vec<(&str, Flag)> = flags
            .iter()
            .map(|(key, json)| {
                let write: FlagWrite = serde_json::from_value(json.clone()).unwrap();
                (*key, Flag::parse(&write.checked().unwrap()).unwrap())
            })
            .collect();
        Evaluator::of(flags.iter().map(|(key, flag)| (*key, flag)))
    }

    fn user(id: &str, attributes: &[(&str, &str)]) -> EvalContext {
        context(id, attributes.iter().copied())
    }

    #[test]
    fn rules_narrow_first_and_then_the_share() {
        let pro = json!({"attribute": "plan", "op": "eq", "value": "pro"});
        let staff = json!({"attribute": "email", "op": "ends_with", "value": "@example.com"});
        let flags = evaluator(&[
            ("all", json!({"is_active": true})),
            ("none", json!({"is_active": true, "rollout_percent": 0})),
            ("ruled", json!({"is_active": true, "rules": [pro, staff]})),
            ("Some.Share:x", json!({"is_active": true, "rollout_percent": 25.5})),
            ("both", json!({"is_active": true, "rollout_percent": 25.5, "rules": [pro]})),
        ]);

        for n in 0..500 {
            let id = format!("user-{n}");
            let plain = user(&id, &[]);
            let paying = user(&id, &[("plan", "pro")]);
            assert!(flags.holds("all", &plain) && !flags.holds("none", &paying));
            assert_eq!(flags.holds("Some.Share:x", &plain), bucket(&id, "Some.Share:x") < 2_550);
            assert_eq!(flags.holds("both", &paying), bucket(&id, "both") < 2_550);
            assert!(!flags.holds("both", &plain) && !flags.holds("ruled", &plain));
            assert!(
                flags.holds("ruled", &paying)
                    && flags.holds("ruled", &user(&id, &[("email", "a@example.com")]))
            );
            assert!(!flags.holds("unknown", &paying));
        }
    }

    #[test]
    fn rules_may_ask_for_the_user_and_attributes_do_not_change_who_it_is() {
        let me = json!({"attribute": "user_id", "op": "in", "values": ["me"]});
        let flags = evaluator(&[("mine", json!({"is_active": true, "rules": [me]}))]);

        assert!(flags.holds("mine", &user("me", &[("user_id", "you")])));
        assert!(!flags.holds("mine", &user("you", &[("user_id", "me")])));
    }

    #[test]
    fn many_flags_with_rules_are_ready_in_time_for_a_request() {
        let rule = json!({"attribute": "plan", "op": "eq", "value": "pro"});
        let json = json!({"is_active": true, "rules": [rule]});
        let keys: Vec<String> = (0..300).map(|n| format!("flag-{n}")).collect();
        let flags: Vec<(&str, Value)> = keys.iter().map(|key| (key.as_str(), json.clone())).collect();

        let flags = evaluator(&flags);

        assert!(keys.iter().all(|key| flags.holds(key, &user("u", &[("plan", "pro")]))));
    }

    proptest! {
        #[test]
        fn any_text_means_the_same_in_a_rule(text in "\\PC{0,12}|[\u{0}-\u{9f}\"\\\\]{0,12}") {
            let rule = json!({"attribute": "a", "op": "eq", "value": text});
            let flags = evaluator(&[("f", json!({"is_active": true, "rules": [rule]}))]);

            prop_assert!(flags.holds("f", &user("u", &[("a", &text)])));
            let longer = format!("{text}x");
            prop_assert!(!flags.holds("f", &user("u", &[("a", &longer)])));
        }

        #[test]
        fn no_rule_makes_the_reader_fail(text in "[\\[\\]{}\",:a-z0-9.eE-]{0,40}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = predicates(&[value]);
            }
        }
    }
}
