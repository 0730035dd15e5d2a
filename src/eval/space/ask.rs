//! Resolution as a series of questions, whoever answers them.
//!
//! The same walk over rules and audiences serves a given context, an exploration of all contexts, and two
//! explorations in one another.

use super::{
    case::{Case, Expr, Space},
    solve::{Answer, answer},
};
use crate::eval::{EvalContext, bucket::bucket_seeded, context::AttrValue};

/// The exploration cannot go on along this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No answer is left; happens only where changes to a given context are limited.
    DeadEnd,
    /// The bound on questions is reached.
    Exhausted,
}

/// Answers questions.
pub(crate) trait Oracle {
    /// Answers a test; `wanted` is the answer to try first.
    fn test(&mut self, test: usize, wanted: bool) -> Result<Answer, Stop>;
    /// Answers whether the entity is in these buckets.
    fn bucket(&mut self, dim: usize, start: u16, end: u16, wanted: bool) -> Result<bool, Stop>;
}

/// How a flag resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Default,
    Rule(usize),
    /// The attribute has another type than the manifest infers.
    Mismatch(usize),
}

impl Verdict {
    pub(crate) fn rule(self) -> Option<usize> {
        if let Self::Rule(index) = self { Some(index) } else { None }
    }
}

impl Case<'_> {
    /// Resolves the flag; `target` is the rule that ought to match first, all others ought not.
    pub(crate) fn resolve<O: Oracle>(
        &self,
        space: &Space,
        oracle: &mut O,
        target: Option<usize>,
    ) -> Result<Verdict, Stop> {
        for (index, audience) in self.rules.iter().enumerate() {
            match audience.holds(space, oracle, target == Some(index))? {
                Held::True => return Ok(Verdict::Rule(index)),
                Held::False => {}
                Held::Mismatch(attribute) => return Ok(Verdict::Mismatch(attribute)),
            }
        }
        Ok(Verdict::Default)
    }
}

/// Whether an audience holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    False,
    True,
    Mismatch(usize),
}

impl Expr {
    /// Asks as evaluation does: in order, stopping as soon as the answer is certain.
    pub(crate) fn holds<O: Oracle>(&self, space: &Space, oracle: &mut O, wanted: bool) -> Result<Held, Stop> {
        match self {
            Self::All(parts) => {
                for part in parts {
                    match part.holds(space, oracle, wanted)? {
                        Held::True => {}
                        other => return Ok(other),
                    }
                }
                Ok(Held::True)
            }
            Self::Any(parts) => {
                for part in parts {
                    match part.holds(space, oracle, wanted)? {
                        Held::False => {}
                        other => return Ok(other),
                    }
                }
                Ok(Held::False)
            }
            Self::Not(part) => Ok(match part.holds(space, oracle, !wanted)? {
                Held::True => Held::False,
                Held::False => Held::True,
                mismatch => mismatch,
            }),
            Self::Segment(segment) => segment.1.holds(space, oracle, wanted),
            Self::Test(test) => Ok(match oracle.test(*test, wanted)? {
                Answer::True => Held::True,
                Answer::False => Held::False,
                Answer::Mismatch => Held::Mismatch(space.tests[*test].attribute),
            }),
            Self::Bucket { dim, start, end } => {
                Ok(if oracle.bucket(*dim, *start, *end, wanted)? { Held::True } else { Held::False })
            }
        }
    }
}

/// A given context as an oracle.
#[derive(Debug)]
pub(crate) struct Given<'s> {
    pub(crate) space: &'s Space,
    pub(crate) context: &'s EvalContext,
}

impl Given<'_> {
    pub(crate) fn value(&self, attribute: usize) -> Option<&AttrValue> {
        self.context.get(&self.space.attributes[attribute].name)
    }
}

impl Oracle for Given<'_> {
    fn test(&mut self, test: usize, _: bool) -> Result<Answer, Stop> {
        let entry = &self.space.tests[test];
        Ok(answer(&entry.test, self.value(entry.attribute)))
    }

    fn bucket(&mut self, dim: usize, start: u16, end: u16, _: bool) -> Result<bool, Stop> {
        let dim = &self.space.dims[dim];
        Ok(bucket_of(self.value(dim.attribute), dim.seed).is_some_and(|b| (start..=end).contains(&b)))
    }
}

/// Returns the bucket of an entity id, if the value is one.
pub(crate) fn bucket_of(value: Option<&AttrValue>, seed: u32) -> Option<u16> {
    match value {
        Some(AttrValue::String(id)) if !id.is_empty() => Some(bucket_seeded(id, seed)),
        _ => None,
    }
}
