//! Flags in environments, compiled for exploration: questions instead of tests.
//!
//! A [`Space`] numbers the attributes, tests and salts of whatever was compiled into it, so that two versions of a
//! flag compiled into one space are asked the same questions.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use super::plan::Plan;
use crate::{
    eval::{EvalOptions, bucket::bucket_seed, compile::compile_test, predicate::Test},
    manifest::{
        Manifest,
        model::{Atom, AttrType, Audience, Bucket, Operator, Predicate, Scalar, Variant},
    },
};

/// Everything that can be asked of a context.
#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) tests: Vec<TestEntry>,
    pub(crate) dims: Vec<Dim>,
    /// The attributes that hold entity ids anywhere in the manifests at hand.
    ids: BTreeSet<String>,
}

/// An attribute that some question reads.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    /// The types that the manifests infer: one, or two where versions of a manifest disagree.
    pub(crate) types: Vec<AttrType>,
    pub(crate) tests: Vec<usize>,
    /// The texts that tests name outright: entities with one of these ids have a bucket of their own.
    pub(crate) pins: Vec<String>,
    pub(crate) dims: Vec<usize>,
    /// Whether it holds an entity id anywhere in the manifests.
    pub(crate) is_id: bool,
}

/// A test of one attribute, as one manifest understands it.
#[derive(Debug)]
pub(crate) struct TestEntry {
    pub(crate) attribute: usize,
    pub(crate) atom: Atom,
    pub(crate) test: Test,
}

/// One assignment of entities to buckets: an id attribute under a salt.
#[derive(Debug)]
pub(crate) struct Dim {
    pub(crate) attribute: usize,
    pub(crate) salt: String,
    pub(crate) seed: u32,
}

/// An audience, with tests and buckets by number.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Segment(Rc<(String, Self)>),
    Test(usize),
    Bucket { dim: usize, start: u16, end: u16 },
}

/// A flag in an environment.
#[derive(Debug)]
pub(crate) struct Case<'m> {
    pub(crate) plan: Plan<'m>,
    /// The audiences of the rules that run; empty where the rules wait for callers that opt in.
    pub(crate) rules: Vec<Expr>,
}

impl<'m> Case<'m> {
    /// Returns the variant that `rule` gives, or the default; the flag's first where a hand-built model names none.
    pub(crate) fn variant(&self, rule: Option<usize>) -> Option<&'m Variant> {
        let key = match rule {
            Some(index) => self.plan.rules.get(index).map(|r| r.variant.as_str()),
            None => Some(self.plan.default),
        };
        let flag = self.plan.flag;
        key.and_then(|k| flag.variant(k)).or(flag.variants.first())
    }
}

impl Space {
    /// Starts a space over the manifests whose flags will be compiled into it.
    pub(crate) fn over<'m>(manifests: impl IntoIterator<Item = &'m Manifest>) -> Self {
        let ids = manifests.into_iter().flat_map(id_attributes).map(str::to_owned).collect();
        Self { ids, ..Self::default() }
    }

    /// Compiles a flag in an environment.
    pub(crate) fn case<'m>(
        &mut self,
        manifest: &'m Manifest,
        plan: Plan<'m>,
        options: &EvalOptions,
    ) -> Case<'m> {
        let mut compiler = Compiler { space: self, manifest, segments: HashMap::new() };
        let runs = !plan.gated || options.include_testing();
        let rules = if runs { plan.rules } else { &[] };
        Case { plan, rules: rules.iter().map(|r| compiler.audience(&r.audience)).collect() }
    }

    /// Returns the attributes whose cases cannot be told exactly: compared as versions and matched as text.
    pub(crate) fn inexact(&self) -> Vec<&str> {
        let is_version = |t: &usize| matches!(self.tests[*t].test, Test::Semver { .. });
        let is_pattern = |t: &usize| {
            matches!(
                self.tests[*t].atom.op,
                Operator::Contains | Operator::NotContains | Operator::StartsWith | Operator::EndsWith
            )
        };
        let mixed = |a: &&Attribute| a.tests.iter().any(is_version) && a.tests.iter().any(is_pattern);
        self.attributes.iter().filter(mixed).map(|a| a.name.as_str()).collect()
    }

    fn attribute(&mut self, manifest: &Manifest, name: &str, implied: Option<AttrType>) -> usize {
        let inferred = manifest.attributes.get(name).copied().or(implied).unwrap_or(AttrType::String);
        let at = self.attributes.iter().position(|a| a.name == name).unwrap_or_else(|| {
            self.attributes.push(Attribute {
                name: name.to_owned(),
                types: Vec::new(),
                tests: Vec::new(),
                pins: Vec::new(),
                dims: Vec::new(),
                is_id: self.ids.contains(name),
            });
            self.attributes.len() - 1
        });
        let types = &mut self.attributes[at].types;
        if !types.contains(&inferred) {
            types.push(inferred);
        }
        at
    }

    fn test(&mut self, manifest: &Manifest, atom: &Atom) -> usize {
        let attribute =
            self.attribute(manifest, &atom.attribute, atom.operands.first().map(Scalar::attr_type));
        let inferred = manifest.attributes.get(&atom.attribute).copied();
        let inferred = inferred.unwrap_or(self.attributes[attribute].types[0]);
        let test = compile_test(atom, inferred);
        let known = self.attributes[attribute].tests.iter();
        if let Some(at) =
            known.copied().find(|t| self.tests[*t].atom == *atom && same_reading(&self.tests[*t].test, &test))
        {
            return at;
        }
        let at = self.tests.len();
        let entry = &mut self.attributes[attribute];
        entry.tests.push(at);
        if matches!(atom.op, Operator::Eq | Operator::Neq | Operator::In | Operator::NotIn) {
            for operand in &atom.operands {
                if let Scalar::String(text) = operand
                    && !text.is_empty()
                    && !entry.pins.contains(text)
                {
                    entry.pins.push(text.clone());
                }
            }
        }
        self.tests.push(TestEntry { attribute, atom: atom.clone(), test });
        at
    }

    fn dim(&mut self, manifest: &Manifest, bucket: &Bucket, segment: &str) -> usize {
        let attribute = self.attribute(manifest, &bucket.entity_id_attribute, Some(AttrType::String));
        let salt = bucket.effective_salt(segment);
        let known = self.attributes[attribute].dims.iter().copied();
        known.into_iter().find(|d| self.dims[*d].salt == salt).unwrap_or_else(|| {
            let at = self.dims.len();
            self.dims.push(Dim { attribute, salt: salt.to_owned(), seed: bucket_seed(salt) });
            self.attributes[attribute].dims.push(at);
            at
        })
    }
}

/// Two manifests read the same operands differently where only one of them infers float.
fn same_reading(a: &Test, b: &Test) -> bool {
    match (a, b) {
        (
            Test::Number { float_allowed: x, .. } | Test::NumberIn { float_allowed: x, .. },
            Test::Number { float_allowed: y, .. } | Test::NumberIn { float_allowed: y, .. },
        ) => x == y,
        _ => true,
    }
}

/// Returns the attributes that hold entity ids.
pub(crate) fn id_attributes(manifest: &Manifest) -> impl Iterator<Item = &str> {
    manifest.segments.values().filter_map(|s| s.bucket.as_ref()).map(|b| b.entity_id_attribute.as_str())
}

struct Compiler<'s, 'm> {
    space: &'s mut Space,
    manifest: &'m Manifest,
    /// `None` while a segment is being compiled: meeting it again is a cycle.
    segments: HashMap<&'m str, Option<Rc<(String, Expr)>>>,
}

impl<'m> Compiler<'_, 'm> {
    fn audience(&mut self, audience: &'m Audience) -> Expr {
        match audience {
            Audience::Segment(key) => self.segment(key),
            Audience::Predicate(predicate) => self.predicate(predicate),
        }
    }

    fn predicate(&mut self, predicate: &'m Predicate) -> Expr {
        match predicate {
            Predicate::And(nodes) => Expr::All(nodes.iter().map(|n| self.predicate(n)).collect()),
            Predicate::Or(nodes) => Expr::Any(nodes.iter().map(|n| self.predicate(n)).collect()),
            Predicate::Not(node) => Expr::Not(Box::new(self.predicate(node))),
            Predicate::Segment(key) => self.segment(key),
            Predicate::Atom(atom) => Expr::Test(self.space.test(self.manifest, atom)),
        }
    }

    /// Unknown segments and cycles have no members, as in evaluation; lint refuses both.
    fn segment(&mut self, key: &'m str) -> Expr {
        match self.segments.get(key) {
            Some(Some(done)) => return Expr::Segment(Rc::clone(done)),
            Some(None) => return Expr::Any(Vec::new()),
            None => {}
        }
        let Some(segment) = self.manifest.segments.get(key) else { return Expr::Any(Vec::new()) };
        self.segments.insert(key, None);
        let mut parts = Vec::with_capacity(2);
        if let Some(predicate) = &segment.predicate {
            parts.push(self.predicate(predicate));
        }
        if let Some(bucket) = &segment.bucket {
            let dim = self.space.dim(self.manifest, bucket, key);
            parts.push(Expr::Bucket { dim, start: bucket.start, end: bucket.end });
        }
        let root = if parts.is_empty() { Expr::Any(parts) } else { Expr::All(parts) };
        let done = Rc::new((key.to_owned(), root));
        self.segments.insert(key, Some(Rc::clone(&done)));
        Expr::Segment(done)
    }
}
