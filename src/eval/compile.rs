//! From the typed model to a program, or from a program and a change to the next.

use std::{collections::HashMap, sync::Arc};

use super::{
    bucket::bucket_seed,
    index,
    pages::Pages,
    predicate::{Number, NumberTest, Test, TextTest},
    program::{
        Arena, AttributeEntry, CompiledFlag, CompiledSegment, Key, Node, NodeId, Plan, Program, RuleEntry,
        Shape, VariantEntry,
    },
    result::VariantKey,
    semver::Semver,
};
use crate::manifest::{
    Manifest, Workspace,
    model::{
        Atom, AttrType, Audience, EnvBlock, Environment, Flag, FlagType, Operator, Predicate, Rule, Scalar,
        Segment,
    },
};
use crate::text_table::hash_key;

/// What compiling one flag or segment asks about the others.
pub(crate) trait Models {
    /// Returns the segment of that key.
    fn segment(&self, key: &str) -> Option<&Segment>;

    /// Returns the inferred type of an attribute.
    fn attribute(&self, key: &str) -> Option<AttrType>;
}

impl Models for Manifest {
    fn segment(&self, key: &str) -> Option<&Segment> {
        self.segments.get(key)
    }

    fn attribute(&self, key: &str) -> Option<AttrType> {
        self.attributes.get(key).copied()
    }
}

impl Models for Workspace {
    fn segment(&self, key: &str) -> Option<&Segment> {
        self.segment(key)
    }

    fn attribute(&self, key: &str) -> Option<AttrType> {
        self.attribute(key)
    }
}

/// Flags and segments that a change has replaced, by key; `None` for those that are gone.
#[derive(Debug, Default)]
pub(crate) struct Edits<'m> {
    pub(crate) flags: Vec<(&'m str, Option<&'m Flag>)>,
    pub(crate) segments: Vec<(&'m str, Option<&'m Segment>)>,
    /// Attributes whose inferred type is another than before.
    pub(crate) attributes: Vec<&'m str>,
}

/// Above this many strings, membership is a binary search instead of a scan.
const SCAN: usize = 8;

pub(super) struct Compiler<'m> {
    models: &'m dyn Models,
    environments: Arc<[Key]>,
    /// What was compiled before this change.
    before: Option<&'m Program>,
    known_attributes: Arc<[AttributeEntry]>,
    attributes: Vec<AttributeEntry>,
    attribute_ids: HashMap<&'m str, u32>,
    segments: Pages<Arc<CompiledSegment>>,
    free_segments: Vec<u32>,
    segment_ids: HashMap<&'m str, SegmentState>,
}

#[derive(Clone, Copy)]
enum SegmentState {
    /// Being compiled: meeting it again is a cycle.
    Open,
    Done(u32),
}

/// The nodes of the flag or segment being compiled.
#[derive(Default)]
struct Nodes {
    nodes: Vec<Node>,
    children: Vec<NodeId>,
}

impl<'m> Compiler<'m> {
    pub(super) fn compile(manifest: &'m Manifest) -> Program {
        let environments = environment_keys(manifest.environments.as_deref(), manifest.flags.values());
        let vacant = CompiledSegment { key: "".into(), root: 0, arena: Arena::default() };
        let mut compiler = Self {
            models: manifest,
            environments: Arc::clone(&environments),
            before: None,
            known_attributes: Arc::default(),
            attributes: Vec::new(),
            attribute_ids: HashMap::new(),
            segments: Pages::new(Arc::new(vacant)),
            free_segments: Vec::new(),
            segment_ids: HashMap::new(),
        };
        let flags: Vec<_> = manifest.flags.iter().map(|(key, flag)| compiler.flag(key, flag)).collect();
        let vacant = CompiledFlag {
            key: "".into(),
            flag_type: FlagType::Boolean,
            plans: Box::default(),
            rules: Box::default(),
            variants: Box::default(),
            arena: Arena::default(),
        };
        Program {
            typed: manifest.environments.is_some(),
            environments,
            index: index::of(&flags),
            order: (0..flags.len() as u32).collect(),
            flags: Pages::of(flags, Arc::new(vacant)),
            segment_index: compiler.segment_index(),
            whole_attributes: compiler.attributes.len(),
            attributes: compiler.attributes.into(),
            segments: compiler.segments,
            free_flags: Vec::new(),
            free_segments: Vec::new(),
        }
    }

    /// Compiles what a change has replaced. Environments are the same as before, and no attribute has gone from
    /// integer to float or back: tests of other flags are compiled by that.
    pub(super) fn edit(before: &'m Program, models: &'m dyn Models, edits: &Edits<'m>) -> Program {
        let mut compiler = Self {
            models,
            environments: Arc::clone(&before.environments),
            before: Some(before),
            known_attributes: Arc::clone(&before.attributes),
            attributes: Vec::new(),
            attribute_ids: HashMap::new(),
            segments: before.segments.clone(),
            free_segments: before.free_segments.clone(),
            segment_ids: HashMap::new(),
        };
        let mut resegmented = false;
        for (key, segment) in &edits.segments {
            // A segment that no flag reaches is not compiled.
            let Some(at) = before.segment(key) else { continue };
            match segment {
                Some(segment) => {
                    compiler.segment_ids.insert(key, SegmentState::Done(at));
                    let compiled = compiler.compile_segment(key, segment);
                    compiler.segments.set(at, compiled);
                }
                None => {
                    compiler.segments.vacate(at);
                    compiler.free_segments.push(at);
                    resegmented = true;
                }
            }
        }
        let compiled: Vec<_> =
            edits.flags.iter().map(|(key, flag)| (*key, flag.map(|flag| compiler.flag(key, flag)))).collect();
        let mut table = index::Table::of(before);
        for (key, flag) in compiled {
            table.replace(key, flag);
        }
        resegmented |= compiler.segment_ids.keys().any(|key| before.segment(key).is_none());
        let segment_index =
            if resegmented { compiler.segment_index() } else { Arc::clone(&before.segment_index) };
        let attributes = compiler.attributes(&edits.attributes);
        Program {
            typed: before.typed,
            whole_attributes: before.whole_attributes,
            environments: compiler.environments,
            flags: table.flags,
            order: table.order,
            index: table.index,
            free_flags: table.free,
            attributes,
            segments: compiler.segments,
            segment_index,
            free_segments: compiler.free_segments,
        }
    }

    fn segment_index(&self) -> Arc<[(u64, u32)]> {
        let done = self.segment_ids.iter().filter_map(|(key, state)| match state {
            SegmentState::Done(at) => Some((hash_key(key), *at)),
            SegmentState::Open => None,
        });
        // A place that was left may be another segment's by now.
        let stands = |(hash, at): &(u64, u32)| hash_key(&self.segments.get(*at).key) == *hash;
        let before =
            self.before.iter().flat_map(|before| before.segment_index.iter().copied()).filter(stands);
        let mut index: Vec<_> = before.chain(done).collect();
        index.sort_unstable();
        index.dedup();
        index.into()
    }

    /// Returns the attributes with those that are new, and with the types that have changed.
    fn attributes(&mut self, changed: &[&str]) -> Arc<[AttributeEntry]> {
        if self.attributes.is_empty() && changed.is_empty() {
            return Arc::clone(&self.known_attributes);
        }
        let mut all = self.known_attributes.to_vec();
        for key in changed {
            if let Some(entry) = all.iter_mut().find(|entry| *entry.key.text == **key) {
                entry.inferred = self.models.attribute(key).unwrap_or(AttrType::String);
            }
        }
        all.append(&mut self.attributes);
        all.into()
    }

    fn flag(&mut self, key: &str, flag: &'m Flag) -> Arc<CompiledFlag> {
        let mut nodes = Nodes::default();
        let mut rules = Vec::new();
        let variants = flag
            .variants
            .iter()
            .map(|v| VariantEntry { key: VariantKey::new(&v.key), value: v.value.clone() })
            .collect();
        let places: HashMap<&str, u32> = flag.variants.iter().map(|v| v.key.as_str()).zip(0..).collect();
        // Lint has refused undeclared keys; the first variant stands in for hand-built models.
        let variant = |key: &str| places.get(key).copied().unwrap_or(0);
        let fallback = flag.catch_all.variant.as_deref().map_or(0, variant);
        let catch_all = self.plan(&mut nodes, &mut rules, Some(&flag.catch_all), None, fallback, variant);
        let environments = Arc::clone(&self.environments);
        let mut plans = Vec::with_capacity(environments.len() + 1);
        for environment in &*environments {
            let block = flag.block(&environment.text);
            plans.push(self.plan(&mut nodes, &mut rules, block, Some(catch_all), fallback, variant));
        }
        plans.push(Plan { shape: Shape { block: false, ..catch_all.shape }, ..catch_all });
        Arc::new(CompiledFlag {
            key: key.into(),
            flag_type: flag.flag_type,
            plans: plans.into(),
            rules: rules.into(),
            variants,
            arena: nodes.into(),
        })
    }

    /// Decides the steps of resolution that depend on the declared shape alone.
    fn plan(
        &mut self,
        nodes: &mut Nodes,
        compiled: &mut Vec<RuleEntry>,
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
                let first_rule = compiled.len() as u32;
                for rule in rules {
                    let audience = self.audience(nodes, rule);
                    compiled.push(RuleEntry { audience, variant: variant(&rule.variant) });
                }
                Plan { first_rule, rules: rules.len() as u32, default: default.unwrap_or(fallback), shape }
            }
            // Step 2 comes before step 3: a block with only a variant never looks at the catch-all's rules.
            (None, Some(default), _) => Plan { first_rule: 0, rules: 0, default, shape },
            (None, None, Some(inherited)) => Plan { shape, ..inherited },
            (None, None, None) => Plan { first_rule: 0, rules: 0, default: fallback, shape },
        }
    }

    fn audience(&mut self, nodes: &mut Nodes, rule: &'m Rule) -> NodeId {
        match &rule.audience {
            Audience::Segment(key) => self.segment(nodes, key),
            Audience::Predicate(predicate) => self.predicate(nodes, predicate),
        }
    }

    fn segment(&mut self, nodes: &mut Nodes, key: &'m str) -> NodeId {
        let state = self.segment_ids.get(key).copied();
        let state =
            state.or_else(|| self.before.and_then(|before| before.segment(key)).map(SegmentState::Done));
        let at = match state {
            Some(SegmentState::Done(at)) => at,
            Some(SegmentState::Open) => return nodes.never(),
            None => {
                let Some(segment) = self.models.segment(key) else { return nodes.never() };
                self.segment_ids.insert(key, SegmentState::Open);
                let compiled = self.compile_segment(key, segment);
                let at = match self.free_segments.pop() {
                    Some(at) => {
                        self.segments.set(at, compiled);
                        at
                    }
                    None => self.segments.push(compiled),
                };
                self.segment_ids.insert(key, SegmentState::Done(at));
                at
            }
        };
        nodes.push(Node::Segment(at))
    }

    fn compile_segment(&mut self, key: &str, segment: &'m Segment) -> Arc<CompiledSegment> {
        let mut nodes = Nodes::default();
        let mut parts = Vec::with_capacity(2);
        if let Some(predicate) = &segment.predicate {
            match predicate {
                // Both must hold anyway, so the bucket joins the conjunction instead of nesting it.
                Predicate::And(inner) => parts.extend(inner.iter().map(|n| self.predicate(&mut nodes, n))),
                other => parts.push(self.predicate(&mut nodes, other)),
            }
        }
        if let Some(bucket) = &segment.bucket {
            let (attribute, _) = self.attribute(&bucket.entity_id_attribute);
            let seed = bucket_seed(bucket.effective_salt(key));
            parts.push(nodes.push(Node::Bucket { attribute, seed, start: bucket.start, end: bucket.end }));
        }
        let root = match *parts {
            [only] => only,
            [] => nodes.never(),
            _ => nodes.group(parts, |first, count| Node::And { first, count }),
        };
        Arc::new(CompiledSegment { key: key.into(), root, arena: nodes.into() })
    }

    /// Depth is bounded by lint to 32, references included.
    fn predicate(&mut self, nodes: &mut Nodes, predicate: &'m Predicate) -> NodeId {
        match predicate {
            Predicate::And(inner) => {
                let parts = inner.iter().map(|n| self.predicate(nodes, n)).collect();
                nodes.group(parts, |first, count| Node::And { first, count })
            }
            Predicate::Or(inner) => {
                let parts = inner.iter().map(|n| self.predicate(nodes, n)).collect();
                nodes.group(parts, |first, count| Node::Or { first, count })
            }
            Predicate::Not(node) => {
                let inner = self.predicate(nodes, node);
                nodes.push(Node::Not(inner))
            }
            Predicate::Segment(key) => self.segment(nodes, key),
            Predicate::Atom(atom) => {
                let (attribute, inferred) = self.attribute(&atom.attribute);
                nodes.push(Node::Test { attribute, test: compile_test(atom, inferred) })
            }
        }
    }

    /// Returns the attribute's place and its inferred type.
    fn attribute(&mut self, key: &'m str) -> (u32, AttrType) {
        let known = self.attribute_ids.get(key).copied();
        let known = known.or_else(|| {
            let hash = hash_key(key);
            let same = |entry: &AttributeEntry| entry.key.hash == hash && *entry.key.text == *key;
            self.known_attributes.iter().position(same).map(|at| at as u32)
        });
        let inferred = self.models.attribute(key).unwrap_or(AttrType::String);
        let id = known.unwrap_or_else(|| {
            self.attributes.push(AttributeEntry { key: Key::new(key), inferred });
            (self.known_attributes.len() + self.attributes.len() - 1) as u32
        });
        self.attribute_ids.insert(key, id);
        (id, inferred)
    }
}

impl Nodes {
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
}

impl From<Nodes> for Arena {
    fn from(nodes: Nodes) -> Self {
        Self { nodes: nodes.nodes.into(), children: nodes.children.into() }
    }
}

/// The environments that evaluation knows by name: the roster, or every name that a flag's block uses.
fn environment_keys<'m>(
    roster: Option<&'m [Environment]>,
    flags: impl Iterator<Item = &'m Flag>,
) -> Arc<[Key]> {
    match roster {
        Some(roster) => roster.iter().map(|e| Key::new(&e.name)).collect(),
        None => {
            let mut names: Vec<&str> =
                flags.flat_map(|f| f.environments.iter().map(|(name, _)| name.as_str())).collect();
            names.sort_unstable();
            names.dedup();
            names.into_iter().map(Key::new).collect()
        }
    }
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
