//! A manifest compiled for evaluation: flat arrays, interned attributes, one hash per look-up.
//!
//! Compiled once per accepted document and shared by every evaluation. What the four steps of resolution decide
//! from the shape of the manifest alone is decided here: a plan per flag and environment holds the rules that can
//! run and the variant that is left when none matches.

use std::collections::HashMap;

use super::{
    bucket::bucket_seed,
    context::{hash_key, same_text},
    predicate::{Number, NumberTest, Test, TextTest},
    result::VariantKey,
    semver::Semver,
};
use crate::manifest::{
    Manifest,
    model::{
        Atom, AttrType, Audience, EnvBlock, Flag, FlagType, FlagValue, Operator, Predicate, Rule, Scalar,
    },
    names,
};

/// A compiled manifest.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, EvalOptions, eval::Program, manifest::{Manifest, model::{Flag, FlagType, Variant}}};
///
/// let mut manifest = Manifest::new("site");
/// let on = Variant { key: "on".into(), value: true.into() };
/// manifest.flags.insert("banner".into(), Flag::new("banner", FlagType::Boolean, vec![on]).unwrap());
/// let program = Program::compile(&manifest);
/// let hit = program.evaluate("banner", "production", &EvalContext::new(), &EvalOptions::new()).unwrap();
/// assert_eq!(hit.variant_key, "on");
/// assert!(program.has_environment("production") && !program.has_environment("Not a name"));
/// ```
#[derive(Debug)]
pub struct Program {
    pub(super) typed: bool,
    pub(super) environments: Box<[Key]>,
    pub(super) flags: Box<[FlagEntry]>,
    index: Box<[Slot]>,
    /// One plan per flag and environment, then one per flag for any other environment.
    pub(super) plans: Box<[Plan]>,
    pub(super) rules: Box<[RuleEntry]>,
    pub(super) variants: Box<[VariantEntry]>,
    pub(super) nodes: Box<[Node]>,
    pub(super) children: Box<[NodeId]>,
    pub(super) attributes: Box<[AttributeEntry]>,
    pub(super) segments: Box<[SegmentEntry]>,
}

/// Text with its hash.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(super) hash: u64,
    pub(super) text: Box<str>,
}

impl Key {
    pub(crate) fn new(text: &str) -> Self {
        Self { hash: hash_key(text), text: text.into() }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The place of a flag in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlagId(pub(crate) u32);

/// The place of an environment in a program; one past the last is "any other".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EnvId(pub(crate) u32);

/// The place of a plan in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlanId(pub(crate) u32);

pub(super) type NodeId = u32;

#[derive(Debug)]
pub(super) struct FlagEntry {
    pub(super) key: Box<str>,
    pub(super) flag_type: FlagType,
}

/// A cell of the open-addressed flag index: the upper half of the hash, and the flag's place plus one.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    tag: u32,
    flag: u32,
}

/// What is left to do for one flag in one environment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) first_rule: u32,
    pub(super) rules: u32,
    pub(super) default: u32,
    pub(super) shape: Shape,
}

/// What the environment's block says, as far as a trace shows it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    pub(super) block: bool,
    pub(super) declares_rules: bool,
    pub(super) declares_variant: bool,
    /// The rules run only for callers that opt in.
    pub(super) gated: bool,
}

#[derive(Debug)]
pub(super) struct RuleEntry {
    pub(super) audience: NodeId,
    pub(super) variant: u32,
}

#[derive(Debug)]
pub(super) struct VariantEntry {
    pub(super) key: VariantKey,
    pub(super) value: FlagValue,
}

#[derive(Debug)]
pub(super) struct AttributeEntry {
    pub(super) key: Key,
    pub(super) inferred: AttrType,
}

#[derive(Debug)]
pub(super) struct SegmentEntry {
    pub(super) key: Box<str>,
    pub(super) root: NodeId,
}

#[derive(Debug)]
pub(super) enum Node {
    And { first: u32, count: u32 },
    Or { first: u32, count: u32 },
    Not(NodeId),
    Segment(u32),
    Bucket { attribute: u32, seed: u32, start: u16, end: u16 },
    Test { attribute: u32, test: Test },
}

impl Program {
    /// Compiles a manifest that has passed lint.
    ///
    /// A manifest built by hand that names an unknown variant or segment, or whose segments form a cycle, compiles
    /// to one in which the variant is the flag's first and the segment has no members: evaluation never fails.
    #[must_use]
    pub fn compile(manifest: &Manifest) -> Self {
        Compiler::new(manifest).run()
    }

    /// Returns how many flags there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flags.len()
    }

    /// Returns true if there is no flag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// Returns the flags' keys and types in byte order of the keys.
    pub fn flags(&self) -> impl Iterator<Item = (&str, FlagType)> {
        self.flags.iter().map(|f| (&*f.key, f.flag_type))
    }

    /// Returns true if flags can be evaluated in the environment: it is declared, or there is no roster and the name
    /// is well-formed.
    #[must_use]
    pub fn has_environment(&self, name: &str) -> bool {
        self.environment_named(name).is_some()
    }

    #[inline]
    pub(crate) fn flag(&self, hash: u64, key: &str) -> Option<FlagId> {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.index[at];
            if slot.flag == 0 {
                return None;
            }
            if slot.tag == (hash >> 32) as u32 && same_text(&self.flags[slot.flag as usize - 1].key, key) {
                return Some(FlagId(slot.flag - 1));
            }
            at = (at + 1) & mask;
        }
    }

    /// Returns the flags' places and keys in byte order of the keys.
    pub(crate) fn flag_ids(&self) -> impl ExactSizeIterator<Item = (FlagId, &str)> {
        self.flags.iter().enumerate().map(|(at, flag)| (FlagId(at as u32), &*flag.key))
    }

    /// Finds the environment, or the place for any other where the manifest has no roster and the name is
    /// well-formed.
    pub(crate) fn environment_named(&self, name: &str) -> Option<EnvId> {
        match self.environments.iter().position(|e| *e.text == *name) {
            Some(at) => Some(EnvId(at as u32)),
            None => self.any_other(name),
        }
    }

    #[inline]
    pub(crate) fn plan_id(&self, flag: FlagId, environment: EnvId) -> PlanId {
        PlanId(flag.0 * (self.environments.len() as u32 + 1) + environment.0)
    }

    #[cold]
    pub(super) fn any_other(&self, name: &str) -> Option<EnvId> {
        (!self.typed && names::is_environment(name)).then_some(EnvId(self.environments.len() as u32))
    }

    pub(super) fn catch_all(&self) -> EnvId {
        EnvId(self.environments.len() as u32)
    }

    #[inline]
    pub(super) fn plan(&self, flag: FlagId, environment: EnvId) -> &Plan {
        &self.plans[self.plan_id(flag, environment).0 as usize]
    }
}

/// Above this many strings, membership is a binary search instead of a scan.
const SCAN: usize = 8;

struct Compiler<'m> {
    manifest: &'m Manifest,
    attributes: Vec<AttributeEntry>,
    attribute_ids: HashMap<&'m str, u32>,
    segments: Vec<SegmentEntry>,
    segment_ids: HashMap<&'m str, SegmentState>,
    nodes: Vec<Node>,
    children: Vec<NodeId>,
    rules: Vec<RuleEntry>,
    variants: Vec<VariantEntry>,
}

#[derive(Clone, Copy)]
enum SegmentState {
    /// Being compiled: meeting it again is a cycle.
    Open,
    Done(u32),
}

impl<'m> Compiler<'m> {
    fn new(manifest: &'m Manifest) -> Self {
        Self {
            manifest,
            attributes: Vec::new(),
            attribute_ids: HashMap::new(),
            segments: Vec::new(),
            segment_ids: HashMap::new(),
            nodes: Vec::new(),
            children: Vec::new(),
            rules: Vec::new(),
            variants: Vec::new(),
        }
    }

    fn run(mut self) -> Program {
        let manifest = self.manifest;
        let environments = environment_keys(manifest);
        let mut flags = Vec::with_capacity(manifest.flags.len());
        let mut plans = Vec::with_capacity(manifest.flags.len() * (environments.len() + 1));
        for (key, flag) in &manifest.flags {
            self.flag(flag, &environments, &mut plans);
            flags.push(FlagEntry { key: key.as_str().into(), flag_type: flag.flag_type });
        }
        Program {
            typed: manifest.environments.is_some(),
            environments,
            index: index(&flags),
            flags: flags.into(),
            plans: plans.into(),
            rules: self.rules.into(),
            variants: self.variants.into(),
            nodes: self.nodes.into(),
            children: self.children.into(),
            attributes: self.attributes.into(),
            segments: self.segments.into(),
        }
    }

    fn flag(&mut self, flag: &'m Flag, environments: &[Key], plans: &mut Vec<Plan>) {
        let first = self.variants.len() as u32;
        self.variants.extend(
            flag.variants
                .iter()
                .map(|v| VariantEntry { key: VariantKey::new(&v.key), value: v.value.clone() }),
        );
        let places: HashMap<&str, u32> = flag.variants.iter().map(|v| v.key.as_str()).zip(first..).collect();
        // Lint has refused undeclared keys; the first variant stands in for hand-built models.
        let variant = |key: &str| places.get(key).copied().unwrap_or(first);
        let fallback = flag.catch_all.variant.as_deref().map_or(first, variant);
        let catch_all = self.plan(Some(&flag.catch_all), None, fallback, variant);
        for environment in environments {
            let plan = self.plan(flag.block(&environment.text), Some(catch_all), fallback, variant);
            plans.push(plan);
        }
        plans.push(Plan { shape: Shape { block: false, ..catch_all.shape }, ..catch_all });
    }

    /// Decides the steps of resolution that depend on the declared shape alone.
    fn plan(
        &mut self,
        block: Option<&'m EnvBlock>,
        catch_all: Option<Plan>,
        fallback: u32,
        variant: impl Fn(&str) -> u32 + Copy,
    ) -> Plan {
        let Some(block) = block else {
            let inherited = catch_all.unwrap_or_default();
            return Plan { shape: Shape::default(), ..inherited };
        };
        let own_default = block.variant.as_deref().map(variant);
        let shape = Shape {
            block: true,
            declares_rules: block.rules.is_some(),
            declares_variant: block.variant.is_some(),
            gated: block.testing && block.rules.is_some(),
        };
        match (&block.rules, own_default, catch_all) {
            (Some(rules), default, _) => {
                let first_rule = self.rules.len() as u32;
                for rule in rules {
                    self.rule(rule, variant);
                }
                Plan { first_rule, rules: rules.len() as u32, default: default.unwrap_or(fallback), shape }
            }
            // Step 2 comes before step 3: a block with only a variant never looks at the catch-all's rules.
            (None, Some(default), _) => Plan { first_rule: 0, rules: 0, default, shape },
            (None, None, Some(inherited)) => Plan { shape, ..inherited },
            (None, None, None) => Plan { first_rule: 0, rules: 0, default: fallback, shape },
        }
    }

    fn rule(&mut self, rule: &'m Rule, variant: impl Fn(&str) -> u32) {
        let audience = match &rule.audience {
            Audience::Segment(key) => self.segment(key),
            Audience::Predicate(predicate) => self.predicate(predicate),
        };
        self.rules.push(RuleEntry { audience, variant: variant(&rule.variant) });
    }

    fn segment(&mut self, key: &'m str) -> NodeId {
        match self.segment_ids.get(key) {
            Some(SegmentState::Done(id)) => {
                let id = *id;
                self.push(Node::Segment(id))
            }
            Some(SegmentState::Open) => self.never(),
            None => {
                let Some(segment) = self.manifest.segments.get(key) else { return self.never() };
                self.segment_ids.insert(key, SegmentState::Open);
                let mut parts = Vec::with_capacity(2);
                if let Some(predicate) = &segment.predicate {
                    match predicate {
                        // Both must hold anyway, so the bucket joins the conjunction instead of nesting it.
                        Predicate::And(nodes) => parts.extend(nodes.iter().map(|n| self.predicate(n))),
                        other => parts.push(self.predicate(other)),
                    }
                }
                if let Some(bucket) = &segment.bucket {
                    let attribute = self.attribute(&bucket.entity_id_attribute);
                    let seed = bucket_seed(bucket.effective_salt(key));
                    parts.push(self.push(Node::Bucket {
                        attribute,
                        seed,
                        start: bucket.start,
                        end: bucket.end,
                    }));
                }
                let root = match *parts {
                    [only] => only,
                    [] => self.never(),
                    _ => self.group(parts, |first, count| Node::And { first, count }),
                };
                let id = self.segments.len() as u32;
                self.segments.push(SegmentEntry { key: key.into(), root });
                self.segment_ids.insert(key, SegmentState::Done(id));
                self.push(Node::Segment(id))
            }
        }
    }

    /// Depth is bounded by lint to 32, references included.
    fn predicate(&mut self, predicate: &'m Predicate) -> NodeId {
        match predicate {
            Predicate::And(nodes) => {
                let parts = nodes.iter().map(|n| self.predicate(n)).collect();
                self.group(parts, |first, count| Node::And { first, count })
            }
            Predicate::Or(nodes) => {
                let parts = nodes.iter().map(|n| self.predicate(n)).collect();
                self.group(parts, |first, count| Node::Or { first, count })
            }
            Predicate::Not(node) => {
                let inner = self.predicate(node);
                self.push(Node::Not(inner))
            }
            Predicate::Segment(key) => self.segment(key),
            Predicate::Atom(atom) => {
                let attribute = self.attribute(&atom.attribute);
                let test = compile_test(atom, self.attributes[attribute as usize].inferred);
                self.push(Node::Test { attribute, test })
            }
        }
    }

    fn group(&mut self, parts: Vec<NodeId>, node: impl Fn(u32, u32) -> Node) -> NodeId {
        let first = self.children.len() as u32;
        let count = parts.len() as u32;
        self.children.extend(parts);
        self.push(node(first, count))
    }

    /// An audience without members: an empty `or`.
    fn never(&mut self) -> NodeId {
        self.push(Node::Or { first: 0, count: 0 })
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn attribute(&mut self, key: &'m str) -> u32 {
        if let Some(id) = self.attribute_ids.get(key) {
            return *id;
        }
        let id = self.attributes.len() as u32;
        let inferred = self.manifest.attributes.get(key).copied().unwrap_or(AttrType::String);
        self.attributes.push(AttributeEntry { key: Key::new(key), inferred });
        self.attribute_ids.insert(key, id);
        id
    }
}

/// The environments that evaluation knows by name: the roster, or every name that a flag's block uses.
fn environment_keys(manifest: &Manifest) -> Box<[Key]> {
    match &manifest.environments {
        Some(roster) => roster.iter().map(|e| Key::new(&e.name)).collect(),
        None => {
            let mut names: Vec<&str> = manifest
                .flags
                .values()
                .flat_map(|f| f.environments.iter().map(|(name, _)| name.as_str()))
                .collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().map(Key::new).collect()
        }
    }
}

/// Fills at most half of a power of two, so that probing ends soon and always ends.
fn index(flags: &[FlagEntry]) -> Box<[Slot]> {
    let mut slots = vec![Slot::default(); (flags.len() * 2).max(1).next_power_of_two().max(2)];
    let mask = slots.len() - 1;
    for (flag, entry) in flags.iter().enumerate() {
        let hash = hash_key(&entry.key);
        let mut at = hash as usize & mask;
        while slots[at].flag != 0 {
            at = (at + 1) & mask;
        }
        slots[at] = Slot { tag: (hash >> 32) as u32, flag: flag as u32 + 1 };
    }
    slots.into()
}

pub(super) fn compile_test(atom: &Atom, inferred: AttrType) -> Test {
    let first = || atom.operands.first();
    match atom.op {
        Operator::IsSet => Test::IsSet,
        Operator::IsNotSet => Test::IsNotSet,
        Operator::In => compile_membership(&atom.operands, inferred, false),
        Operator::NotIn => compile_membership(&atom.operands, inferred, true),
        Operator::Eq | Operator::Neq => match first() {
            Some(Scalar::String(v)) if atom.op == Operator::Eq => text(TextTest::Equals, v),
            Some(Scalar::String(v)) => text(TextTest::NotEquals, v),
            Some(Scalar::Bool(v)) => Test::Bool {
                when_true: *v == (atom.op == Operator::Eq),
                when_false: *v != (atom.op == Operator::Eq),
                when_list: false,
            },
            Some(Scalar::Int(_) | Scalar::Float(_)) | None => {
                let test = if atom.op == Operator::Eq { NumberTest::Eq } else { NumberTest::Neq };
                compile_number(test, first(), inferred)
            }
        },
        Operator::Gt => compile_number(NumberTest::Gt, first(), inferred),
        Operator::Gte => compile_number(NumberTest::Gte, first(), inferred),
        Operator::Lt => compile_number(NumberTest::Lt, first(), inferred),
        Operator::Lte => compile_number(NumberTest::Lte, first(), inferred),
        Operator::Contains => compile_text(TextTest::Contains, first()),
        Operator::NotContains => compile_text(TextTest::NotContains, first()),
        Operator::StartsWith => compile_text(TextTest::StartsWith, first()),
        Operator::EndsWith => compile_text(TextTest::EndsWith, first()),
        Operator::SemverEq => compile_semver(NumberTest::Eq, first()),
        Operator::SemverGt => compile_semver(NumberTest::Gt, first()),
        Operator::SemverGte => compile_semver(NumberTest::Gte, first()),
        Operator::SemverLt => compile_semver(NumberTest::Lt, first()),
        Operator::SemverLte => compile_semver(NumberTest::Lte, first()),
    }
}

fn text(kind: TextTest, operand: &str) -> Test {
    Test::Text { kind, operand: operand.into() }
}

fn compile_text(kind: TextTest, operand: Option<&Scalar>) -> Test {
    match operand {
        Some(Scalar::String(v)) => text(kind, v),
        _ => Test::Never,
    }
}

fn compile_semver(kind: NumberTest, operand: Option<&Scalar>) -> Test {
    match operand {
        Some(Scalar::String(v)) => {
            Semver::parse(v).map_or(Test::Never, |v| Test::Semver { kind, operand: Box::new(v) })
        }
        _ => Test::Never,
    }
}

fn compile_number(kind: NumberTest, operand: Option<&Scalar>, inferred: AttrType) -> Test {
    match operand.and_then(number) {
        Some(operand) => Test::Number { kind, operand, float_allowed: inferred == AttrType::Float },
        None => Test::Never,
    }
}

fn compile_membership(operands: &[Scalar], inferred: AttrType, negated: bool) -> Test {
    match operands.first() {
        Some(Scalar::String(_)) => {
            let mut values: Vec<Box<str>> = operands
                .iter()
                .filter_map(|o| if let Scalar::String(v) = o { Some(v.as_str().into()) } else { None })
                .collect();
            if values.len() > SCAN {
                values.sort_unstable();
            }
            Test::TextIn { values: values.into(), sorted: operands.len() > SCAN, negated }
        }
        Some(Scalar::Bool(_)) => {
            let holds = |wanted| operands.contains(&Scalar::Bool(wanted)) != negated;
            Test::Bool { when_true: holds(true), when_false: holds(false), when_list: negated }
        }
        Some(Scalar::Int(_) | Scalar::Float(_)) => Test::NumberIn {
            values: operands.iter().filter_map(number).collect(),
            float_allowed: inferred == AttrType::Float,
            negated,
        },
        None => Test::Never,
    }
}

fn number(scalar: &Scalar) -> Option<Number> {
    match scalar {
        Scalar::Int(v) => Some(Number::Int(*v)),
        Scalar::Float(v) => Some(Number::Float(*v)),
        Scalar::String(_) | Scalar::Bool(_) => None,
    }
}
