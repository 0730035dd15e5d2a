//! The four steps of resolution over a compiled program.
//!
//! Never fails, blocks or allocates: a missing attribute is false, a wrong type ends the evaluation with a value
//! that says so. One walk serves both plain evaluation and traces: an [`Observer`] that does nothing compiles away.

use std::sync::Arc;

use super::{
    bucket::bucket_seeded,
    context::{AttrValue, EvalContext},
    predicate::Test,
    program::{EnvId, FlagId, Node, NodeId, Plan, PlanId, Program},
    result::{EvalError, EvalOptions, RuleMatched},
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

/// The outcome of resolution as places in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    variant: u32,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    AttrType(Mismatch),
    FlagType { requested: FlagType, actual: FlagType, hit: Hit },
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

/// Sees each node that is evaluated, for traces.
pub(super) trait Observer {
    fn rule(&mut self, index: u32);
    fn enter(&mut self, node: NodeId) -> usize;
    fn leave(&mut self, token: usize, result: Result<bool, Mismatch>);
}

struct Unobserved;

impl Observer for Unobserved {
    #[inline(always)]
    fn rule(&mut self, _: u32) {}

    #[inline(always)]
    fn enter(&mut self, _: NodeId) -> usize {
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
            .map(|hit| self.evaluation(hit))
            .map_err(|failure| self.error(failure, flag, environment))
    }

    pub(crate) fn find(&self, flag: &str, environment: &str) -> Result<(FlagId, EnvId), Failure> {
        let flag = self.flag(hash_key(flag), flag).ok_or(Failure::UnknownFlag)?;
        let environment = self.environment_named(environment).ok_or(Failure::UnknownEnvironment)?;
        Ok((flag, environment))
    }

    #[inline]
    pub(crate) fn resolve<C: Attributes>(
        &self,
        flag: FlagId,
        environment: EnvId,
        context: &C,
        options: &EvalOptions,
    ) -> Result<Hit, Failure> {
        self.resolve_plan(self.plan_id(flag, environment), context, options)
    }

    #[inline]
    pub(crate) fn resolve_plan<C: Attributes>(
        &self,
        plan: PlanId,
        context: &C,
        options: &EvalOptions,
    ) -> Result<Hit, Failure> {
        let plan = &self.plans[plan.0 as usize];
        if plan.rules == 0 {
            return Ok(Hit { variant: plan.default, rule: 0 });
        }
        self.walk(plan, context, options, &mut Unobserved).map_err(Failure::AttrType)
    }

    pub(super) fn walk<C: Attributes, O: Observer>(
        &self,
        plan: &Plan,
        context: &C,
        options: &EvalOptions,
        observer: &mut O,
    ) -> Result<Hit, Mismatch> {
        if !plan.shape.gated || options.include_testing() {
            let first = plan.first_rule as usize;
            for (index, rule) in (0..).zip(&self.rules[first..first + plan.rules as usize]) {
                observer.rule(index);
                if self.holds(rule.audience, context, observer)? {
                    return Ok(Hit { variant: rule.variant, rule: index + 1 });
                }
            }
        }
        Ok(Hit { variant: plan.default, rule: 0 })
    }

    /// Recursion is bounded: lint refuses nesting beyond 32, references between segments included.
    fn holds<C: Attributes, O: Observer>(
        &self,
        node: NodeId,
        context: &C,
        observer: &mut O,
    ) -> Result<bool, Mismatch> {
        let token = observer.enter(node);
        let result = match &self.nodes[node as usize] {
            Node::Test { attribute, test } => self.test(*attribute, test, context),
            Node::Bucket { attribute, seed, start, end } => {
                Ok(match context.value(self, *attribute) {
                    Some(AttrValue::String(id)) if !id.is_empty() => {
                        (*start..=*end).contains(&bucket_seeded(id, *seed))
                    }
                    // M1: a missing, empty or non-text id is in no bucket, and no mismatch.
                    _ => false,
                })
            }
            Node::And { first, count } => self.all(*first, *count, true, context, observer),
            Node::Or { first, count } => self.all(*first, *count, false, context, observer),
            Node::Not(inner) => self.holds(*inner, context, observer).map(|holds| !holds),
            Node::Segment(segment) => self.holds(self.segments[*segment as usize].root, context, observer),
        };
        observer.leave(token, result);
        result
    }

    /// Goes on while the parts give `wanted`; short-circuits, so later parts may stay unread.
    #[inline]
    fn all<C: Attributes, O: Observer>(
        &self,
        first: u32,
        count: u32,
        wanted: bool,
        context: &C,
        observer: &mut O,
    ) -> Result<bool, Mismatch> {
        for child in &self.children[first as usize..(first + count) as usize] {
            if self.holds(*child, context, observer)? != wanted {
                return Ok(!wanted);
            }
        }
        Ok(wanted)
    }

    #[inline]
    fn test<C: Attributes>(&self, attribute: u32, test: &Test, context: &C) -> Result<bool, Mismatch> {
        match context.value(self, attribute) {
            Some(value) => test.apply(value).ok_or_else(|| Mismatch { attribute, actual: value.attr_type() }),
            // M2: of a missing attribute everything is false but that it is not set.
            None => Ok(matches!(test, Test::IsNotSet)),
        }
    }

    /// Looks every attribute of the program up in `context`, for evaluations of many flags.
    pub(crate) fn look_up<'c>(&self, context: &'c EvalContext) -> LookedUp<'c> {
        LookedUp(self.attributes.iter().map(|entry| context.find(entry.key.hash, &entry.key.text)).collect())
    }

    #[inline]
    pub(crate) fn value(&self, hit: Hit) -> &FlagValue {
        &self.variants[hit.variant as usize].value
    }

    pub(crate) fn variant_key(&self, hit: Hit) -> &super::VariantKey {
        &self.variants[hit.variant as usize].key
    }

    pub(crate) fn flag_type(&self, flag: FlagId) -> FlagType {
        self.flags[flag.0 as usize].flag_type
    }

    pub(crate) fn evaluation(&self, hit: Hit) -> Evaluation<'_> {
        let variant = &self.variants[hit.variant as usize];
        Evaluation { value: &variant.value, variant_key: &variant.key, rule_matched: hit.rule_matched() }
    }

    pub(crate) fn mismatch(&self, mismatch: Mismatch) -> RuleMatched {
        let entry = &self.attributes[mismatch.attribute as usize];
        RuleMatched::AttrTypeMismatch {
            attribute: Arc::from(&*entry.key.text),
            expected: entry.inferred,
            actual: mismatch.actual,
        }
    }

    pub(crate) fn error(&self, failure: Failure, flag: &str, environment: &str) -> EvalError {
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
            Failure::FlagType { requested, actual, hit } => EvalError::FlagTypeMismatch {
                flag: flag.to_owned(),
                requested,
                actual,
                variant_key: self.variant_key(hit).as_str().to_owned(),
            },
        }
    }
}

impl Hit {
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
