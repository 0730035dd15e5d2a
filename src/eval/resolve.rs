//! The four steps of resolution over a compiled program.
//!
//! Never fails, blocks or allocates: a missing attribute is false, a wrong type ends the evaluation with a value
//! that says so. One walk serves both plain evaluation and traces: an [`Observer`] that does nothing compiles away.

use std::sync::Arc;

use super::{
    bucket::bucket_seeded,
    context::{AttrValue, EvalContext},
    predicate::Test,
    program::{Arena, CompiledFlag, EnvId, Node, NodeId, Plan, Program, VariantEntry},
    result::{EvalError, EvalOptions, RuleMatched, VariantKey},
};
use crate::manifest::model::{AttrType, FlagType, FlagValue};
use crate::text_table::hash_key;

/// What a flag evaluates to; borrows from the program.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation<'p> {
    /// The resolved value.
    pub value: &'p FlagValue,
    /// The key of the resolved variant.
    pub variant_key: &'p str,
    /// How the value was determined: a rule, or the default.
    pub rule_matched: RuleMatched,
}

/// The outcome of resolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Hit<'p> {
    variant: &'p VariantEntry,
    /// The rule's index plus one; zero for the default.
    rule: u32,
}

/// An attribute whose run-time type is not the inferred one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(super) attribute: u32,
    pub(super) actual: AttrType,
}

/// Why an evaluation has no value, without owning text: the hot path turns it into a default and nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failure<'p> {
    AttrType(Mismatch),
    FlagType { requested: FlagType, actual: FlagType, variant: &'p VariantKey },
    UnknownEnvironment,
    UnknownFlag,
}

/// Gives the values of a program's attributes.
pub(crate) trait Attributes {
    fn value(&self, program: &Program, attribute: u32) -> Option<&AttrValue>;
}

impl Attributes for EvalContext {
    #[inline]
    fn value(&self, program: &Program, attribute: u32) -> Option<&AttrValue> {
        let key = &program.attributes[attribute as usize].key;
        self.find(key.hash, &key.text)
    }
}

/// A context looked up once for all flags of a program.
pub(crate) struct LookedUp<'c>(Box<[Option<&'c AttrValue>]>);

impl Attributes for LookedUp<'_> {
    #[inline]
    fn value(&self, _: &Program, attribute: u32) -> Option<&AttrValue> {
        self.0[attribute as usize]
    }
}

impl<'p, O: Observer<'p>> Observer<'p> for &mut O {
    fn rule(&mut self, index: u32) {
        (**self).rule(index);
    }

    fn enter(&mut self, arena: &'p Arena, node: NodeId) -> usize {
        (**self).enter(arena, node)
    }

    fn leave(&mut self, token: usize, result: Result<bool, Mismatch>) {
        (**self).leave(token, result);
    }
}

/// Sees each node that is evaluated, for traces.
pub(super) trait Observer<'p> {
    fn rule(&mut self, index: u32);
    fn enter(&mut self, arena: &'p Arena, node: NodeId) -> usize;
    fn leave(&mut self, token: usize, result: Result<bool, Mismatch>);
}

struct Unobserved;

impl Observer<'_> for Unobserved {
    #[inline(always)]
    fn rule(&mut self, _: u32) {}

    #[inline(always)]
    fn enter(&mut self, _: &Arena, _: NodeId) -> usize {
        0
    }

    #[inline(always)]
    fn leave(&mut self, _: usize, _: Result<bool, Mismatch>) {}
}

impl Program {
    /// Evaluates a flag.
    ///
    /// # Errors
    /// `UnknownFlag`, `UnknownEnvironment`, or `AttrTypeMismatch` for the first predicate reached that reads an
    /// attribute of another type than the manifest infers.
    pub fn evaluate(
        &self,
        flag: &str,
        environment: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> Result<Evaluation<'_>, EvalError> {
        self.find(flag, environment)
            .and_then(|(flag, environment)| self.resolve(flag, environment, context, options))
            .map(Hit::evaluation)
            .map_err(|failure| self.error(failure, flag, environment))
    }

    /// Evaluates all flags for one context, in byte order of their keys: cheaper than asking for each, because
    /// environment and attributes are looked up once.
    ///
    /// Each has what [`evaluate`](Self::evaluate) returns for it.
    ///
    /// # Examples
    /// ```
    /// use leverframe::{EvalContext, EvalOptions, eval::Program, manifest::{Manifest, model::{Flag, FlagType, Variant}}};
    ///
    /// let mut manifest = Manifest::new("site");
    /// let on = Variant { key: "on".into(), value: true.into() };
    /// manifest.flags.insert("banner".into(), Flag::new("banner", FlagType::Boolean, vec![on]).unwrap());
    /// let program = Program::compile(&manifest);
    /// let context = EvalContext::new();
    /// let options = EvalOptions::new();
    /// let all: Vec<_> = program.evaluate_all("production", &context, &options).collect();
    /// assert_eq!(all, [("banner", program.evaluate("banner", "production", &context, &options))]);
    /// ```
    pub fn evaluate_all<'p>(
        &'p self,
        environment: &'p str,
        context: &'p EvalContext,
        options: &'p EvalOptions,
    ) -> impl ExactSizeIterator<Item = (&'p str, Result<Evaluation<'p>, EvalError>)> {
        let place = self.environment_named(environment).ok_or(Failure::UnknownEnvironment);
        let context = self.look_up(context);
        self.in_order().map(move |flag| {
            let hit = place.and_then(|place| self.resolve(flag, place, &context, options));
            let evaluated = hit.map(Hit::evaluation);
            (&*flag.key, evaluated.map_err(|failure| self.error(failure, &flag.key, environment)))
        })
    }

    pub(crate) fn find(&self, flag: &str, environment: &str) -> Result<(&CompiledFlag, EnvId), Failure<'_>> {
        let flag = self.flag(hash_key(flag), flag).ok_or(Failure::UnknownFlag)?;
        let environment = self.environment_named(environment).ok_or(Failure::UnknownEnvironment)?;
        Ok((flag, environment))
    }

    #[inline]
    pub(crate) fn resolve<'p, C: Attributes>(
        &'p self,
        flag: &'p CompiledFlag,
        environment: EnvId,
        context: &C,
        options: &EvalOptions,
    ) -> Result<Hit<'p>, Failure<'p>> {
        let plan = flag.plan(environment);
        if plan.rules == 0 {
            return Ok(Hit { variant: &flag.variants[plan.default as usize], rule: 0 });
        }
        self.walk(flag, plan, context, options, Unobserved).map_err(Failure::AttrType)
    }

    /// Never inlined: what has no rules to walk must not pay for the room that walking takes.
    #[inline(never)]
    pub(super) fn walk<'p, C: Attributes, O: Observer<'p>>(
        &'p self,
        flag: &'p CompiledFlag,
        plan: &Plan,
        context: &C,
        options: &EvalOptions,
        observer: O,
    ) -> Result<Hit<'p>, Mismatch> {
        if !plan.shape.gated || options.include_testing() {
            let mut walk = Walk { program: self, context, observer };
            let first = plan.first_rule as usize;
            for (index, rule) in (0..).zip(&flag.rules[first..first + plan.rules as usize]) {
                walk.observer.rule(index);
                if walk.holds(&flag.arena, rule.audience)? {
                    return Ok(Hit { variant: &flag.variants[rule.variant as usize], rule: index + 1 });
                }
            }
        }
        Ok(Hit { variant: &flag.variants[plan.default as usize], rule: 0 })
    }

    /// Looks every attribute of the program up in `context`, for evaluations of many flags.
    pub(crate) fn look_up<'c>(&self, context: &'c EvalContext) -> LookedUp<'c> {
        LookedUp(self.attributes.iter().map(|entry| context.find(entry.key.hash, &entry.key.text)).collect())
    }

    pub(crate) fn mismatch(&self, mismatch: Mismatch) -> RuleMatched {
        let entry = &self.attributes[mismatch.attribute as usize];
        RuleMatched::AttrTypeMismatch {
            attribute: Arc::from(&*entry.key.text),
            expected: entry.inferred,
            actual: mismatch.actual,
        }
    }

    pub(crate) fn error(&self, failure: Failure<'_>, flag: &str, environment: &str) -> EvalError {
        match failure {
            Failure::UnknownFlag => EvalError::UnknownFlag { flag: flag.to_owned() },
            Failure::UnknownEnvironment => {
                EvalError::UnknownEnvironment { flag: flag.to_owned(), environment: environment.to_owned() }
            }
            Failure::AttrType(Mismatch { attribute, actual }) => {
                let entry = &self.attributes[attribute as usize];
                EvalError::AttrTypeMismatch {
                    attribute: Arc::from(&*entry.key.text),
                    expected: entry.inferred,
                    actual,
                }
            }
            Failure::FlagType { requested, actual, variant } => EvalError::FlagTypeMismatch {
                flag: flag.to_owned(),
                requested,
                actual,
                variant_key: variant.as_str().to_owned(),
            },
        }
    }
}

/// What a walk goes by at every node, in one place, so that a step down hands on little.
struct Walk<'p, 'c, C, O> {
    program: &'p Program,
    context: &'c C,
    observer: O,
}

impl<'p, C: Attributes, O: Observer<'p>> Walk<'p, '_, C, O> {
    #[inline(always)]
    fn holds(&mut self, arena: &'p Arena, node: NodeId) -> Result<bool, Mismatch> {
        let token = self.observer.enter(arena, node);
        let result = self.node(arena, &arena.nodes[node as usize]);
        self.observer.leave(token, result);
        result
    }

    /// Inlined wherever a node is looked at: most are tests, which so need no call.
    #[inline(always)]
    fn node(&mut self, arena: &'p Arena, node: &'p Node) -> Result<bool, Mismatch> {
        match node {
            Node::Test { attribute, test } => self.test(*attribute, test),
            Node::Bucket { attribute, seed, start, end } => {
                Ok(match self.context.value(self.program, *attribute) {
                    Some(AttrValue::String(id)) if !id.is_empty() => {
                        (*start..=*end).contains(&bucket_seeded(id, *seed))
                    }
                    // M1: a missing, empty or non-text id is in no bucket, and no mismatch.
                    _ => false,
                })
            }
            branch => self.branch(arena, branch),
        }
    }

    /// Recursion is bounded: lint refuses nesting beyond 32, references between segments included.
    fn branch(&mut self, arena: &'p Arena, node: &'p Node) -> Result<bool, Mismatch> {
        // A segment is most often a conjunction: one call for both.
        let (arena, node, token) = match node {
            Node::Segment(segment) => {
                let segment = self.program.segments.get(*segment);
                let token = self.observer.enter(&segment.arena, segment.root);
                (&segment.arena, &segment.arena.nodes[segment.root as usize], Some(token))
            }
            other => (arena, other, None),
        };
        let result = self.parts(arena, node);
        if let Some(token) = token {
            self.observer.leave(token, result);
        }
        result
    }

    /// Goes on while the parts of an `and` hold, or those of an `or` do not: later parts may stay unread.
    #[inline(always)]
    fn parts(&mut self, arena: &'p Arena, node: &'p Node) -> Result<bool, Mismatch> {
        let (first, count, wanted) = match node {
            Node::And { first, count } => (*first, *count, true),
            Node::Or { first, count } => (*first, *count, false),
            Node::Not(inner) => return self.holds(arena, *inner).map(|holds| !holds),
            other => return self.node(arena, other),
        };
        for child in &arena.children[first as usize..(first + count) as usize] {
            if self.holds(arena, *child)? != wanted {
                return Ok(!wanted);
            }
        }
        Ok(wanted)
    }

    #[inline]
    fn test(&self, attribute: u32, test: &Test) -> Result<bool, Mismatch> {
        match self.context.value(self.program, attribute) {
            Some(value) => test.apply(value).ok_or_else(|| Mismatch { attribute, actual: value.attr_type() }),
            // M2: of a missing attribute everything is false but that it is not set.
            None => Ok(matches!(test, Test::IsNotSet)),
        }
    }
}

impl CompiledFlag {
    pub(crate) fn flag_type(&self) -> FlagType {
        self.flag_type
    }
}

impl<'p> Hit<'p> {
    #[inline]
    pub(crate) fn value(self) -> &'p FlagValue {
        &self.variant.value
    }

    #[inline]
    pub(crate) fn variant_key(self) -> &'p VariantKey {
        &self.variant.key
    }

    pub(crate) fn evaluation(self) -> Evaluation<'p> {
        Evaluation { value: self.value(), variant_key: self.variant_key(), rule_matched: self.rule_matched() }
    }

    #[inline]
    pub(crate) fn rule_matched(self) -> RuleMatched {
        match self.rule {
            0 => RuleMatched::Default,
            n => RuleMatched::Rule(n as usize - 1),
        }
    }

    pub(super) fn rule(self) -> Option<u32> {
        self.rule.checked_sub(1)
    }
}
