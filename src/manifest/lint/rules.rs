//! Rules that cannot do what they seem to: unreachable, overlapping, or without effect.
//!
//! Warnings only, and sound: a rule is called unreachable only if that follows from the forms of the audiences.
//! The search is bounded by fuel, so hostile files cost no more than large ones.

use super::{
    Segments, Sources,
    codes::{CodeInfo, W006, W007, W008},
    findings::Findings,
};
use crate::manifest::{
    model::{Audience, Bucket, EnvBlock, Flag, Operator, Predicate, Rule},
    parse::{FlagFile, Span},
};

/// Comparisons of predicate nodes that one list of rules may cost.
const FUEL: u32 = 20_000;

impl FlagFile {
    /// Returns the blocks in the order of `places`.
    fn blocks(&self) -> impl Iterator<Item = &EnvBlock> {
        self.flag.environments.iter().map(|(_, block)| block).chain([&self.flag.catch_all])
    }

    /// Returns the rules of the blocks in the order of `places`.
    pub(in crate::manifest) fn rules(&self) -> impl Iterator<Item = &[Rule]> {
        self.blocks().map(|block| block.rules.as_deref().unwrap_or_default())
    }
}

pub(super) fn check(sources: &mut Sources<'_>) {
    let mut found = Vec::new();
    for (key, source) in &sources.flags {
        let Some(model) = &source.model else { continue };
        if source.file.findings.has_errors() {
            continue;
        }
        found.extend(of_flag(model, sources).into_iter().map(|finding| (*key, finding)));
    }
    for (key, finding) in found {
        if let Some(source) = sources.flags.get_mut(key) {
            finding.add_to(&mut source.file.findings);
        }
    }
}

/// What the rules of a flag without errors make of the segments they name.
pub(in crate::manifest) fn of_flag(model: &FlagFile, segments: &dyn Segments) -> Vec<Finding> {
    let mut found = Vec::new();
    for (places, block) in model.places.iter().zip(model.blocks()) {
        let rules = block.rules.as_deref().unwrap_or_default();
        let places = &places.rules;
        let mut list = List { segments, flag: &model.flag, rules, places, fuel: FUEL, found };
        list.unreachable();
        list.overlapping();
        list.without_effect(block);
        found = list.found;
    }
    found
}

/// A finding in a list of rules.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::manifest) struct Finding {
    code: CodeInfo,
    span: Span,
    message: String,
    help: &'static str,
}

impl Finding {
    pub(in crate::manifest) fn add_to(self, findings: &mut Findings<'_>) {
        findings.add_help(self.code, self.span, self.message, self.help);
    }
}

struct List<'s> {
    segments: &'s dyn Segments,
    flag: &'s Flag,
    rules: &'s [Rule],
    places: &'s [Span],
    fuel: u32,
    found: Vec<Finding>,
}

/// An audience or a part of one; a segment is the `and` of its predicate and its bucket.
#[derive(Clone, Copy)]
enum Part<'s> {
    Predicate(&'s Predicate),
    Segment(&'s str),
    Bucket(&'s str, &'s Bucket),
}

impl<'s> Part<'s> {
    fn of(audience: &'s Audience) -> Self {
        match audience {
            Audience::Segment(key) => Self::Segment(key),
            Audience::Predicate(predicate) => Self::Predicate(predicate),
        }
    }
}

impl<'s> List<'s> {
    fn unreachable(&mut self) {
        for later in 1..self.rules.len() {
            for earlier in 0..later {
                let (a, b) = (Part::of(&self.rules[earlier].audience), Part::of(&self.rules[later].audience));
                if self.implies(b, a, 0) {
                    let subject = format!("flag '{}' rule[{later}]", self.flag.key);
                    let message =
                        format!("{subject} can never match: rule[{earlier}] matches whenever it would");
                    self.add(W006, later, message, "put the narrower rule first, or remove one of the two");
                    break;
                }
                if self.fuel == 0 {
                    return;
                }
            }
        }
    }

    /// Returns true only if `a` holds for every context for which `b` does.
    fn implies(&mut self, b: Part<'s>, a: Part<'s>, depth: usize) -> bool {
        // Members of a cycle would be put in for ever.
        const DEEPEST: usize = 64;
        if self.fuel == 0 || depth > DEEPEST {
            return false;
        }
        self.fuel -= 1;
        let depth = depth + 1;
        if same(a, b) || self.always(a) {
            return true;
        }
        match (b, a) {
            (Part::Predicate(Predicate::Segment(key)), a) => {
                return self.implies(Part::Segment(key), a, depth);
            }
            (b, Part::Predicate(Predicate::Segment(key))) => {
                return self.implies(b, Part::Segment(key), depth);
            }
            (Part::Predicate(Predicate::Or(nodes)), a) => {
                return nodes.iter().all(|node| self.implies(Part::Predicate(node), a, depth));
            }
            (b, Part::Predicate(Predicate::And(nodes))) => {
                return nodes.iter().all(|node| self.implies(b, Part::Predicate(node), depth));
            }
            (b, Part::Segment(key)) if !matches!(b, Part::Segment(other) if other == key) => {
                let parts = self.parts(key);
                if !parts.is_empty() && parts.into_iter().all(|part| self.implies(b, part, depth)) {
                    return true;
                }
            }
            _ => {}
        }
        match (b, a) {
            (Part::Segment(key), a) => self.parts(key).into_iter().any(|part| self.implies(part, a, depth)),
            (Part::Predicate(Predicate::And(nodes)), a) => {
                nodes.iter().any(|node| self.implies(Part::Predicate(node), a, depth))
            }
            (b, Part::Predicate(Predicate::Or(nodes))) => {
                nodes.iter().any(|node| self.implies(b, Part::Predicate(node), depth))
            }
            (Part::Bucket(b_key, b), Part::Bucket(a_key, a)) => {
                let one_space = a.entity_id_attribute == b.entity_id_attribute
                    && a.effective_salt(a_key) == b.effective_salt(b_key);
                one_space && a.start <= b.start && b.end <= a.end
            }
            (Part::Predicate(Predicate::Atom(b)), Part::Predicate(Predicate::Atom(a))) => {
                let listed = |op| matches!(op, Operator::Eq | Operator::In);
                a.attribute == b.attribute
                    && (listed(a.op) && listed(b.op) && b.operands.iter().all(|operand| a.operands.contains(operand))
                        // Of a missing attribute everything else is false (M2).
                        || a.op == Operator::IsSet && b.op != Operator::IsNotSet)
            }
            _ => false,
        }
    }

    /// Returns true only for audiences that hold for every context.
    fn always(&self, part: Part<'_>) -> bool {
        let Part::Predicate(Predicate::Or(nodes)) = part else { return false };
        let set = |op: Operator| {
            nodes.iter().filter_map(move |node| match node {
                Predicate::Atom(atom) if atom.op == op => Some(atom.attribute.as_str()),
                _ => None,
            })
        };
        // Bounded by the length of what people write; a hostile list ends the search by its fuel before.
        let opposites = nodes.len() <= 64
            && set(Operator::IsSet).any(|attribute| set(Operator::IsNotSet).any(|other| other == attribute));
        // Whole subtrees are compared here, so shorter lists only.
        let excluded_middle = || {
            nodes.iter().any(|node| matches!(node, Predicate::Not(inner) if nodes.contains(inner.as_ref())))
        };
        opposites || nodes.len() <= 8 && excluded_middle()
    }

    fn parts(&self, key: &'s str) -> Vec<Part<'s>> {
        let model = self.segments.segment_file(key);
        let Some((segment, key)) = model.map(|m| (&m.segment, m.segment.key.as_str())) else {
            return Vec::new();
        };
        let predicate = segment.predicate.as_ref().map(Part::Predicate);
        predicate.into_iter().chain(segment.bucket.as_ref().map(|bucket| Part::Bucket(key, bucket))).collect()
    }

    fn overlapping(&mut self) {
        let mut ranges = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if let Audience::Segment(key) = &rule.audience
                && let Some(model) = self.segments.segment_file(key)
                && let Some(bucket) = &model.segment.bucket
            {
                let space = (bucket.effective_salt(key), bucket.entity_id_attribute.as_str());
                ranges.push((space, bucket.start, bucket.end, index, key.as_str()));
            }
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            let ((space, _, end, first, first_key), (next_space, start, _, second, second_key)) =
                (pair[0], pair[1]);
            if space == next_space && start <= end && first_key != second_key {
                let (at, other) = (first.max(second), first.min(second));
                let message = format!(
                    "flag '{}' rule[{at}] and rule[{other}]: the bucket ranges of `{first_key}` and `{second_key}` overlap under one salt",
                    self.flag.key
                );
                self.add(
                    W007,
                    at,
                    message,
                    "the earlier rule takes the common part; make the ranges disjoint",
                );
            }
        }
    }

    fn without_effect(&mut self, block: &EnvBlock) {
        let default = block.variant.as_ref().or(self.flag.catch_all.variant.as_ref());
        if let Some(last) = self.rules.last()
            && Some(&last.variant) == default
        {
            let index = self.rules.len() - 1;
            let message = format!(
                "flag '{}' rule[{index}] gives `{}`, which its environment gives anyway",
                self.flag.key, last.variant
            );
            self.add(W008, index, message, "remove the rule, or put the rule it shields from behind it");
        }
    }

    fn add(&mut self, code: CodeInfo, rule: usize, message: String, help: &'static str) {
        if let Some(span) = self.places.get(rule) {
            self.found.push(Finding { code, span: span.clone(), message, help });
        }
    }
}

fn same(a: Part<'_>, b: Part<'_>) -> bool {
    match (a, b) {
        (Part::Predicate(a), Part::Predicate(b)) => a == b,
        (Part::Segment(a), Part::Segment(b)) => a == b,
        _ => false,
    }
}
