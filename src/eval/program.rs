//! A manifest compiled for evaluation: flat arrays a flag and a segment, interned attributes, one hash per look-up.
//!
//! Compiled once per accepted document and shared by every evaluation. What the four steps of resolution decide
//! from the shape of the manifest alone is decided when it is compiled: a plan per flag and environment holds the
//! rules that can run and the variant that is left when none matches.
//!
//! A flag and a segment each own what they were compiled to, so that a program made by a change shares the rest.

use std::sync::Arc;

use super::{
    compile::{Compiler, Edits, Models},
    pages::Pages,
    predicate::Test,
    result::VariantKey,
};
use crate::manifest::{
    Manifest,
    model::{AttrType, FlagType, FlagValue},
    names,
};
use crate::text_table::{hash_key, same_text};

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
    pub(super) environments: Arc<[Key]>,
    pub(super) flags: Pages<Arc<CompiledFlag>>,
    /// The flags' places in byte order of the keys.
    pub(super) order: Arc<[u32]>,
    pub(super) index: Arc<[Slot]>,
    pub(super) attributes: Arc<[AttributeEntry]>,
    /// How many attributes there were when the whole was compiled; changes add to them and never take away.
    pub(super) whole_attributes: usize,
    pub(super) segments: Pages<Arc<CompiledSegment>>,
    /// The segments' places by the hashes of their keys, in order of the hashes.
    pub(super) segment_index: Arc<[(u64, u32)]>,
    /// Places that removed flags and segments have left.
    pub(super) free_flags: Vec<u32>,
    pub(super) free_segments: Vec<u32>,
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

pub(super) type NodeId = u32;

/// A flag with everything that its evaluation walks, segments aside.
#[derive(Debug)]
pub(crate) struct CompiledFlag {
    pub(super) key: Box<str>,
    pub(super) flag_type: FlagType,
    /// One plan per environment, then one for any other.
    pub(super) plans: Box<[Plan]>,
    pub(super) rules: Box<[RuleEntry]>,
    pub(super) variants: Box<[VariantEntry]>,
    pub(super) arena: Arena,
}

/// A segment with the nodes of its own.
#[derive(Debug)]
pub(super) struct CompiledSegment {
    pub(super) key: Box<str>,
    pub(super) root: NodeId,
    pub(super) arena: Arena,
}

/// The nodes of one flag or segment.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) nodes: Box<[Node]>,
    pub(super) children: Box<[NodeId]>,
}

/// A cell of the open-addressed flag index: the upper half of the hash, and the flag's place plus one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) tag: u32,
    pub(super) flag: u32,
}

/// What is left to do for one flag in one environment: places in the flag.
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

#[derive(Debug, PartialEq)]
pub(crate) struct VariantEntry {
    pub(super) key: VariantKey,
    pub(super) value: FlagValue,
}

#[derive(Clone, Debug)]
pub(super) struct AttributeEntry {
    pub(super) key: Key,
    pub(super) inferred: AttrType,
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
        Compiler::compile(manifest)
    }

    /// Compiles a change to what this was compiled from, sharing the rest; `None` where it is time to compile the
    /// whole. Environments must be the same as before, and no attribute may have gone from integer to float or back.
    pub(crate) fn edited(&self, models: &dyn Models, edits: &Edits<'_>) -> Option<Self> {
        /// Names of attributes that nobody reads any more must not pile up.
        const SPARE: usize = 256;
        let edited = Compiler::edit(self, models, edits);
        (edited.attributes.len() <= 2 * self.whole_attributes + SPARE).then_some(edited)
    }

    /// Returns how many flags there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns true if there is no flag.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Returns the flags' keys and types in byte order of the keys.
    pub fn flags(&self) -> impl Iterator<Item = (&str, FlagType)> {
        self.in_order().map(|flag| (&*flag.key, flag.flag_type))
    }

    /// Returns the flags in byte order of their keys.
    pub(crate) fn in_order(&self) -> impl ExactSizeIterator<Item = &CompiledFlag> {
        self.order.iter().map(|at| &**self.flags.get(*at))
    }

    /// Returns true if flags can be evaluated in the environment: it is declared, or there is no roster and the name
    /// is well-formed.
    #[must_use]
    pub fn has_environment(&self, name: &str) -> bool {
        self.environment_named(name).is_some()
    }

    #[inline]
    pub(crate) fn flag(&self, hash: u64, key: &str) -> Option<&CompiledFlag> {
        self.place(hash, key).map(|at| self.flag_at(at))
    }

    #[inline]
    pub(crate) fn place(&self, hash: u64, key: &str) -> Option<FlagId> {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.index[at];
            if slot.flag == 0 {
                return None;
            }
            if slot.tag == (hash >> 32) as u32 && same_text(&self.flags.get(slot.flag - 1).key, key) {
                return Some(FlagId(slot.flag - 1));
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    pub(super) fn flag_at(&self, flag: FlagId) -> &CompiledFlag {
        self.flags.get(flag.0)
    }

    /// Finds the environment, or the place for any other where the manifest has no roster and the name is
    /// well-formed.
    pub(crate) fn environment_named(&self, name: &str) -> Option<EnvId> {
        match self.environments.iter().position(|e| *e.text == *name) {
            Some(at) => Some(EnvId(at as u32)),
            None => self.any_other(name),
        }
    }

    #[cold]
    pub(super) fn any_other(&self, name: &str) -> Option<EnvId> {
        (!self.typed && names::is_environment(name)).then_some(EnvId(self.environments.len() as u32))
    }

    pub(super) fn catch_all(&self) -> EnvId {
        EnvId(self.environments.len() as u32)
    }

    /// Returns the place of a compiled segment.
    pub(super) fn segment(&self, key: &str) -> Option<u32> {
        let hash = hash_key(key);
        let from = self.segment_index.partition_point(|(other, _)| *other < hash);
        let same = self.segment_index[from..].iter().take_while(|(other, _)| *other == hash);
        same.map(|(_, at)| *at).find(|at| *self.segments.get(*at).key == *key)
    }
}

impl CompiledFlag {
    /// Returns the flag's key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    #[inline]
    pub(super) fn plan(&self, environment: EnvId) -> &Plan {
        &self.plans[environment.0 as usize]
    }
}
