//! What differs between two manifests, in words.

use std::{collections::BTreeMap, fmt::Display};

use super::{Change, ChangeKind};
use crate::{
    eval::{Share, space::words},
    manifest::model::{Bucket, EnvBlock, Environment, Flag, Manifest, Rule, Segment},
};

/// Lists the differences: the namespace's own first, then flags, segments, attribute types and reflex rules by name.
pub(super) fn between(old: &Manifest, new: &Manifest) -> Vec<Change> {
    let mut found = Found(Vec::new());
    found.namespace(old, new);
    found.keyed("flag", &old.flags, &new.flags, Found::flag);
    found.keyed("segment", &old.segments, &new.segments, Found::segment);
    found.keyed("attribute", &old.attributes, &new.attributes, |found, subject, old, new| {
        found.value(subject, "type", old, new);
    });
    found.reflex_rules(old, new);
    found.0
}

struct Found(Vec<Change>);

impl Found {
    fn push(&mut self, kind: ChangeKind, subject: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Change { kind, subject: subject.into(), detail: detail.into() });
    }

    /// Compares two maps by key, and what is in both by `inside`.
    fn keyed<T: PartialEq>(
        &mut self,
        what: &str,
        old: &BTreeMap<String, T>,
        new: &BTreeMap<String, T>,
        inside: impl Fn(&mut Self, &str, &T, &T),
    ) {
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let subject = format!("{what} `{key}`");
            match (old.get(key), new.get(key)) {
                (Some(a), Some(b)) if a != b => inside(self, &subject, a, b),
                (Some(_), None) => self.push(ChangeKind::Removed, subject, ""),
                (None, Some(_)) => self.push(ChangeKind::Added, subject, ""),
                _ => {}
            }
        }
    }

    fn value<T: PartialEq + Display>(&mut self, subject: &str, what: &str, old: &T, new: &T) {
        if old != new {
            self.push(ChangeKind::Changed, subject, format!("{what} {old} → {new}"));
        }
    }

    /// Text is compared in full and shown in short.
    fn text(&mut self, subject: &str, what: &str, old: &str, new: &str) {
        if old != new {
            self.push(ChangeKind::Changed, subject, format!("{what} {} → {}", quoted(old), quoted(new)));
        }
    }

    fn list(&mut self, subject: &str, what: &str, old: &[String], new: &[String]) {
        for gone in old.iter().filter(|o| !new.contains(o)) {
            self.push(ChangeKind::Removed, subject, format!("{what} {}", quoted(gone)));
        }
        for come in new.iter().filter(|n| !old.contains(n)) {
            self.push(ChangeKind::Added, subject, format!("{what} {}", quoted(come)));
        }
    }

    fn namespace(&mut self, old: &Manifest, new: &Manifest) {
        let subject = "namespace";
        self.text(subject, "slug", &old.slug, &new.slug);
        self.text(subject, "display name", &old.display_name, &new.display_name);
        self.text(subject, "description", &old.description, &new.description);
        self.value(subject, "telemetry_enabled", &old.telemetry_enabled, &new.telemetry_enabled);
        self.value(subject, "raw_entity_ids", &old.raw_entity_ids, &new.raw_entity_ids);
        self.list(subject, "private attribute", &old.private_attributes, &new.private_attributes);
        match (&old.environments, &new.environments) {
            (Some(old), Some(new)) => self.roster(old, new),
            (Some(_), None) => {
                self.push(
                    ChangeKind::Removed,
                    subject,
                    "roster of environments: any environment evaluates now",
                );
            }
            (None, Some(roster)) => {
                let names: Vec<&str> = roster.iter().map(|e| e.name.as_str()).collect();
                let detail = format!("roster of environments: only {} evaluate now", names.join(", "));
                self.push(ChangeKind::Added, subject, detail);
            }
            (None, None) => {}
        }
    }

    fn roster(&mut self, old: &[Environment], new: &[Environment]) {
        for before in old {
            let subject = format!("environment `{}`", before.name);
            match new.iter().find(|e| e.name == before.name) {
                None => self.push(ChangeKind::Removed, subject, ""),
                Some(after) => {
                    self.text(&subject, "display name", &before.display_name, &after.display_name);
                    self.value(&subject, "public_evaluate", &before.public_evaluate, &after.public_evaluate);
                }
            }
        }
        for after in new.iter().filter(|e| !old.iter().any(|o| o.name == e.name)) {
            self.push(ChangeKind::Added, format!("environment `{}`", after.name), "");
        }
        let order = |these: &[Environment], others: &[Environment]| -> Vec<String> {
            let both = these.iter().filter(|e| others.iter().any(|o| o.name == e.name));
            both.map(|e| e.name.clone()).collect()
        };
        let (before, after) = (order(old, new), order(new, old));
        if before != after {
            let detail = format!("order of environments {} → {}", before.join(", "), after.join(", "));
            self.push(ChangeKind::Changed, "namespace", detail);
        }
    }

    fn reflex_rules(&mut self, old: &Manifest, new: &Manifest) {
        let rules = |manifest: &Manifest| -> BTreeMap<String, String> {
            manifest.reflex_rules.iter().map(|rule| (rule.name.clone(), rule.to_string())).collect()
        };
        let (old, new) = (rules(old), rules(new));
        let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
        for (name, before) in gone {
            self.push(ChangeKind::Removed, format!("reflex rule `{name}`"), before.as_str());
        }
        for (name, after) in &new {
            let subject = format!("reflex rule `{name}`");
            match old.get(name) {
                None => self.push(ChangeKind::Added, subject, after.as_str()),
                Some(before) if before != after => {
                    self.push(ChangeKind::Changed, subject, format!("{before} → {after}"));
                }
                Some(_) => {}
            }
        }
    }

    fn flag(&mut self, subject: &str, old: &Flag, new: &Flag) {
        self.value(subject, "type", &old.flag_type, &new.flag_type);
        self.text(subject, "description", &old.description, &new.description);
        self.text(subject, "owner", old.owner.as_deref().unwrap_or(""), new.owner.as_deref().unwrap_or(""));
        self.value(subject, "lifecycle", &old.lifecycle.as_str(), &new.lifecycle.as_str());
        self.list(subject, "tag", &old.tags, &new.tags);
        self.list(subject, "private attribute", &old.private_attributes, &new.private_attributes);
        self.variants(subject, old, new);
        self.block(&format!("{subject} / _"), &old.catch_all, &new.catch_all);
        for (name, before) in &old.environments {
            let subject = format!("{subject} / {name}");
            match new.block(name) {
                None => self.push(ChangeKind::Removed, subject, "block: resolves through `_` now"),
                Some(after) => self.block(&subject, before, after),
            }
        }
        for (name, after) in new.environments.iter().filter(|(name, _)| old.block(name).is_none()) {
            let subject = format!("{subject} / {name}");
            let mut parts = Vec::new();
            parts.extend(after.variant.as_ref().map(|v| format!("variant `{v}`")));
            parts.extend(
                after
                    .rules
                    .as_ref()
                    .map(|r| format!("{} rule{}", r.len(), if r.len() == 1 { "" } else { "s" })),
            );
            parts.extend(after.testing.then(|| "testing".to_owned()));
            self.push(ChangeKind::Added, subject, format!("block: {}", parts.join(", ")));
        }
    }

    fn variants(&mut self, subject: &str, old: &Flag, new: &Flag) {
        for before in &old.variants {
            let subject = format!("{subject} / variant `{}`", before.key);
            match new.variant(&before.key) {
                None => self.push(ChangeKind::Removed, subject, ""),
                Some(after) if after.value != before.value => {
                    let (a, b) = (before.value.to_json().to_string(), after.value.to_json().to_string());
                    self.push(ChangeKind::Changed, subject, format!("value {} → {}", short(&a), short(&b)));
                }
                Some(_) => {}
            }
        }
        for after in new.variants.iter().filter(|v| old.variant(&v.key).is_none()) {
            let detail = format!("value {}", short(&after.value.to_json().to_string()));
            self.push(ChangeKind::Added, format!("{subject} / variant `{}`", after.key), detail);
        }
    }

    fn block(&mut self, subject: &str, old: &EnvBlock, new: &EnvBlock) {
        let variant =
            |block: &EnvBlock| block.variant.as_ref().map_or_else(|| "none".to_owned(), |v| format!("`{v}`"));
        self.value(subject, "variant", &variant(old), &variant(new));
        self.value(subject, "testing", &old.testing, &new.testing);
        let is_catch_all = subject.ends_with("/ _");
        match (&old.rules, &new.rules) {
            (Some(old), None) if is_catch_all => self.rules(subject, old, &[]),
            (None, Some(new)) if is_catch_all => self.rules(subject, &[], new),
            (Some(_), None) => {
                let detail = "rules: without a variant of its own, the block gives those of `_` now";
                self.push(ChangeKind::Removed, subject, detail);
            }
            (None, Some(rules)) => {
                self.push(ChangeKind::Added, subject, "rules: those of `_` do not apply any more");
                self.rules(subject, &[], rules);
            }
            (Some(old), Some(new)) => self.rules(subject, old, new),
            (None, None) => {}
        }
    }

    /// Pairs equal rules first; between two such pairs, rules at the same place count as changed.
    fn rules(&mut self, subject: &str, old: &[Rule], new: &[Rule]) {
        let (mut from, mut to) = (0, 0);
        let end = (old.len(), new.len());
        for (a, b) in common(old, new).into_iter().chain([end]) {
            while from < a && to < b {
                self.rule(&format!("{subject} / rule[{to}]"), &old[from], &new[to]);
                (from, to) = (from + 1, to + 1);
            }
            for (at, gone) in old.iter().enumerate().take(a).skip(from) {
                self.push(ChangeKind::Removed, format!("{subject} / rule[{at}]"), rule_text(gone));
            }
            for (at, come) in new.iter().enumerate().take(b).skip(to) {
                self.push(ChangeKind::Added, format!("{subject} / rule[{at}]"), rule_text(come));
            }
            (from, to) = (a + 1, b + 1);
        }
    }

    fn rule(&mut self, subject: &str, old: &Rule, new: &Rule) {
        self.text(subject, "description", &old.description, &new.description);
        self.value(subject, "audience", &words::audience(&old.audience), &words::audience(&new.audience));
        if old.audience != new.audience && words::audience(&old.audience) == words::audience(&new.audience) {
            self.push(ChangeKind::Changed, subject, "audience, in the part that is too long to print");
        }
        self.value(subject, "variant", &format!("`{}`", old.variant), &format!("`{}`", new.variant));
    }

    fn segment(&mut self, subject: &str, old: &Segment, new: &Segment) {
        self.text(subject, "description", &old.description, &new.description);
        match (&old.predicate, &new.predicate) {
            (Some(a), Some(b)) if a != b => {
                let (before, after) = (words::predicate(a), words::predicate(b));
                self.push(ChangeKind::Changed, subject, format!("predicate {before} → {after}"));
            }
            (Some(a), None) => {
                self.push(ChangeKind::Removed, subject, format!("predicate {}", words::predicate(a)))
            }
            (None, Some(b)) => {
                self.push(ChangeKind::Added, subject, format!("predicate {}", words::predicate(b)))
            }
            _ => {}
        }
        match (&old.bucket, &new.bucket) {
            (Some(a), Some(b)) => self.bucket(subject, &new.key, a, b),
            (Some(a), None) => {
                self.push(ChangeKind::Removed, subject, format!("bucket {}..={}", a.start, a.end))
            }
            (None, Some(b)) => {
                self.push(ChangeKind::Added, subject, format!("bucket {}..={}", b.start, b.end))
            }
            (None, None) => {}
        }
    }

    fn bucket(&mut self, subject: &str, key: &str, old: &Bucket, new: &Bucket) {
        self.text(subject, "entity id attribute", &old.entity_id_attribute, &new.entity_id_attribute);
        let (before, after) = (old.effective_salt(key), new.effective_salt(key));
        if before != after {
            let detail =
                format!("salt {} → {}: every entity is assigned anew", quoted(before), quoted(after));
            self.push(ChangeKind::Changed, subject, detail);
        }
        if (old.start, old.end) != (new.start, new.end) {
            let percent = |b: &Bucket| {
                let text = Share::of_buckets(b.end.saturating_sub(b.start) + 1).to_string();
                text.split_once('(').map_or(String::new(), |(_, p)| p.trim_end_matches(')').to_owned())
            };
            let detail = format!(
                "bucket {}..={} → {}..={} ({} → {})",
                old.start,
                old.end,
                new.start,
                new.end,
                percent(old),
                percent(new)
            );
            self.push(ChangeKind::Changed, subject, detail);
        }
    }
}

fn rule_text(rule: &Rule) -> String {
    format!("{} → `{}`", words::audience(&rule.audience), rule.variant)
}

/// Longest common subsequence of equal rules, as pairs of places.
fn common(old: &[Rule], new: &[Rule]) -> Vec<(usize, usize)> {
    // Quadratic in the rules of one block; beyond this, only places are compared.
    const MOST: usize = 1_000_000;
    if old.len().saturating_mul(new.len()) > MOST {
        return old.iter().zip(new).enumerate().filter(|(_, (a, b))| a == b).map(|(i, _)| (i, i)).collect();
    }
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            longest[a * width + b] = if old[a] == new[b] {
                longest[(a + 1) * width + b + 1] + 1
            } else {
                longest[(a + 1) * width + b].max(longest[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < old.len() && b < new.len() {
        if old[a] == new[b] {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if longest[(a + 1) * width + b] >= longest[a * width + b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

fn quoted(text: &str) -> String {
    short(&format!("{text:?}"))
}

/// Cuts long text, so that a change stays a line.
fn short(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        text.to_owned()
    } else {
        text.chars().take(MOST).chain(['…']).collect()
    }
}
