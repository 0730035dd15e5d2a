//! Which flags are split by an entity's id, by which attribute, and where rules run at all: what OFREP's reasons and
//! its targeting key need to know, told from the manifest once a version.

use std::collections::HashMap;

use leverframe::{
    RuleMatched,
    manifest::{
        Manifest,
        model::{Audience, EnvBlock, Flag, Predicate, Rule},
    },
};

/// The splits of a manifest.
#[derive(Debug)]
pub(crate) struct Splits {
    /// Every attribute that is an entity id somewhere.
    ids: Vec<String>,
    flags: HashMap<String, FlagSplits>,
}

#[derive(Debug)]
struct FlagSplits {
    environments: Vec<(String, Block)>,
    catch_all: Block,
}

/// The rules in force in an environment: for each the entity ids that it may look at.
#[derive(Clone, Debug, Default)]
struct Block {
    rules: Vec<Vec<u32>>,
    /// The rules wait for callers that opt in.
    gated: bool,
}

impl Splits {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let mut found = Finder { manifest, ids: Vec::new(), segments: HashMap::new() };
        let flags = manifest.flags.iter().map(|(key, flag)| (key.clone(), found.flag(flag))).collect();
        Self { ids: found.ids, flags }
    }

    /// Returns every attribute that is an entity id somewhere.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.iter().map(String::as_str)
    }

    /// Returns the attribute of an entity id that rules of the flag look at and the caller does not have.
    pub(crate) fn lacking<'s>(
        &'s self,
        flag: &str,
        environment: &str,
        has: impl Fn(&str) -> bool,
    ) -> Option<&'s str> {
        let block = self.block(flag, environment).filter(|block| !block.gated)?;
        let mut ids = block.rules.iter().flatten().map(|id| self.ids[*id as usize].as_str());
        ids.find(|id| !has(id))
    }

    /// Returns OFREP's word for how a value came about.
    ///
    /// Its list has no word for "rules were looked at and none matched": that is a split where an id was looked at,
    /// since the value then depends on the bucket, and unknown otherwise. Calling it static would invite clients to
    /// keep it for every context.
    pub(crate) fn reason(&self, flag: &str, environment: &str, matched: &RuleMatched) -> &'static str {
        let Some(block) = self.block(flag, environment) else { return "UNKNOWN" };
        if block.rules.is_empty() {
            return "STATIC";
        }
        if block.gated {
            return "DISABLED";
        }
        match matched {
            RuleMatched::Rule(index) if block.rules.get(*index).is_some_and(Vec::is_empty) => {
                "TARGETING_MATCH"
            }
            RuleMatched::Rule(_) => "SPLIT",
            _ if block.rules.iter().any(|ids| !ids.is_empty()) => "SPLIT",
            _ => "UNKNOWN",
        }
    }

    fn block(&self, flag: &str, environment: &str) -> Option<&Block> {
        let flag = self.flags.get(flag)?;
        let own = flag.environments.iter().find(|(name, _)| name == environment);
        Some(own.map_or(&flag.catch_all, |(_, block)| block))
    }
}

struct Finder<'m> {
    manifest: &'m Manifest,
    ids: Vec<String>,
    /// What was found for segments met before; lint has refused cycles and deep nesting.
    segments: HashMap<&'m str, Vec<u32>>,
}

impl<'m> Finder<'m> {
    fn flag(&mut self, flag: &'m Flag) -> FlagSplits {
        let catch_all = self.block(&flag.catch_all);
        let environments = flag.environments.iter().map(|(name, block)| {
            // A block that declares neither leaves everything to the catch-all.
            let inherits = block.rules.is_none() && block.variant.is_none();
            (name.clone(), if inherits { catch_all.clone() } else { self.block(block) })
        });
        FlagSplits { environments: environments.collect(), catch_all }
    }

    fn block(&mut self, block: &'m EnvBlock) -> Block {
        let rules = block.rules.iter().flatten().map(|rule| self.rule(rule)).collect();
        Block { rules, gated: block.testing }
    }

    fn rule(&mut self, rule: &'m Rule) -> Vec<u32> {
        let mut ids = Vec::new();
        match &rule.audience {
            Audience::Segment(key) => self.segment(key, &mut ids),
            Audience::Predicate(predicate) => self.predicate(predicate, &mut ids),
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn predicate(&mut self, predicate: &'m Predicate, ids: &mut Vec<u32>) {
        match predicate {
            Predicate::And(parts) | Predicate::Or(parts) => {
                parts.iter().for_each(|part| self.predicate(part, ids));
            }
            Predicate::Not(part) => self.predicate(part, ids),
            Predicate::Segment(key) => self.segment(key, ids),
            Predicate::Atom(_) => {}
        }
    }

    fn segment(&mut self, key: &'m str, ids: &mut Vec<u32>) {
        if let Some(found) = self.segments.get(key) {
            ids.extend(found);
            return;
        }
        let Some(segment) = self.manifest.segments.get(key) else { return };
        let mut found = Vec::new();
        if let Some(predicate) = &segment.predicate {
            self.predicate(predicate, &mut found);
        }
        if let Some(bucket) = &segment.bucket {
            found.push(self.id(&bucket.entity_id_attribute));
        }
        found.sort_unstable();
        found.dedup();
        ids.extend(&found);
        self.segments.insert(key, found);
    }

    fn id(&mut self, attribute: &str) -> u32 {
        let at = self.ids.iter().position(|id| id == attribute).unwrap_or_else(|| {
            self.ids.push(attribute.to_owned());
            self.ids.len() - 1
        });
        // Far fewer than files, which are counted.
        at as u32
    }
}

#[cfg(test)]
mod tests {
    use leverframe::{
        document::Tree,
        manifest::{LintOptions, lint_tree},
    };

    use super::*;

    const FLAG: &str = r#"
schema_version = "0.1"
[flag]
type = "boolean"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "off"
[[flag.environments._.rules]]
predicate = { attribute = "user.plan", op = "eq", value = "pro" }
variant = "on"
[[flag.environments._.rules]]
segment = "tenth"
variant = "on"
[flag.environments.fixed]
variant = "on"
[flag.environments.tried]
testing = true
[[flag.environments.tried.rules]]
segment = "tenth"
variant = "on"
[flag.environments.targeted]
variant = "off"
[[flag.environments.targeted.rules]]
predicate = { attribute = "user.plan", op = "eq", value = "pro" }
variant = "on"
"#;
    const TENTH: &str = "schema_version = \"0.1\"\n[segment]\n[segment.bucket]\nentity_id_attribute = \"user.id\"\n\
                         start = 0\nend = 999\n";

    fn splits() -> Splits {
        let tree: Tree = [("flags/a.toml", FLAG), ("segments/tenth.toml", TENTH)].into_iter().collect();
        let linted = lint_tree(&tree, &LintOptions::new().with_slug("shop"));
        Splits::of(&linted.manifest.unwrap_or_else(|| panic!("{:?}", linted.report)))
    }

    #[test]
    fn reasons_follow_the_rules_in_force() {
        let splits = splits();
        let reason = |environment, matched| splits.reason("a", environment, &matched);

        assert_eq!(reason("any", RuleMatched::Rule(0)), "TARGETING_MATCH");
        assert_eq!(reason("any", RuleMatched::Rule(1)), "SPLIT");
        assert_eq!(reason("any", RuleMatched::Default), "SPLIT");
        assert_eq!(reason("fixed", RuleMatched::Default), "STATIC");
        assert_eq!(reason("tried", RuleMatched::Default), "DISABLED");
        assert_eq!(reason("targeted", RuleMatched::Default), "UNKNOWN");
    }

    #[test]
    fn an_id_is_lacking_where_rules_in_force_look_at_it() {
        let splits = splits();
        let lacking = |environment| splits.lacking("a", environment, |_| false);

        assert_eq!(splits.ids().collect::<Vec<_>>(), ["user.id"]);
        assert_eq!(lacking("any"), Some("user.id"));
        assert_eq!(splits.lacking("a", "any", |id| id == "user.id"), None);
        assert_eq!(lacking("fixed"), None);
        assert_eq!(lacking("tried"), None);
        assert_eq!(lacking("targeted"), None);
    }
}
