//! Decides whether an attribute can have a value that answers every question as wanted.
//!
//! Soundness is free: a value counts only if the evaluator's own tests answer as wanted. Completeness rests on
//! [`candidates`](super::candidates): a finite list of values, made from the operands of the questions at hand,
//! that holds a witness whenever there is one.

use super::{
    candidates::Candidates,
    case::{Attribute, Space},
};
use crate::eval::{context::AttrValue, predicate::Test};

/// The answer to a question about an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    False,
    True,
    /// The value's type is not the one that the test's manifest infers.
    Mismatch,
}

impl From<bool> for Answer {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What is known of an attribute on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A test, by number, and its answer.
    Test(usize, Answer),
    /// As an entity id, it is this.
    Identity(Identity),
}

/// What an attribute is as an entity id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Absent, empty or no text: in no bucket.
    None,
    /// One of the texts that tests name, by number; its buckets follow.
    Pinned(usize),
    /// Any other text: there are ids of this kind in every bucket.
    Free,
}

/// Applies a test as evaluation does, absence included.
pub(crate) fn answer(test: &Test, value: Option<&AttrValue>) -> Answer {
    match value {
        Some(value) => test.apply(value).map_or(Answer::Mismatch, Answer::from),
        // M2: of a missing attribute everything is false but that it is not set.
        None => Answer::from(matches!(test, Test::IsNotSet)),
    }
}

/// Returns what `value` is as an entity id.
pub(crate) fn identity(attribute: &Attribute, value: Option<&AttrValue>) -> Identity {
    match value {
        Some(AttrValue::String(id)) if !id.is_empty() => {
            attribute.pins.iter().position(|p| p == id).map_or(Identity::Free, Identity::Pinned)
        }
        // M1: a missing, empty or non-text id is in no bucket.
        _ => Identity::None,
    }
}

/// Returns whether `value` agrees with one fact.
pub(crate) fn agrees(space: &Space, attribute: usize, fact: Fact, value: Option<&AttrValue>) -> bool {
    match fact {
        Fact::Test(test, wanted) => answer(&space.tests[test].test, value) == wanted,
        Fact::Identity(wanted) => identity(&space.attributes[attribute], value) == wanted,
    }
}

/// Returns a value that agrees with all facts: outer `None` where there is none, inner `None` for "absent".
///
/// Present values come first, those a person would write first among them.
pub(crate) fn solve(space: &Space, attribute: usize, facts: &[Fact]) -> Option<Option<AttrValue>> {
    Candidates::of(space, attribute, facts)
        .find(|candidate| facts.iter().all(|f| agrees(space, attribute, *f, candidate.as_ref())))
}

/// Returns the facts that the others do not already imply, in their order.
pub(crate) fn essential(space: &Space, attribute: usize, facts: &[Fact]) -> Vec<Fact> {
    let mut kept = facts.to_vec();
    // Positive facts say most, so negative ones are tried first, the latest of them before the earlier.
    let order = |f: &Fact| matches!(f, Fact::Test(_, Answer::True) | Fact::Identity(Identity::Pinned(_)));
    for positive in [false, true] {
        for at in (0..kept.len()).rev() {
            if order(&kept[at]) == positive && is_implied(space, attribute, &kept, at) {
                kept.remove(at);
            }
        }
    }
    kept
}

fn is_implied(space: &Space, attribute: usize, facts: &[Fact], at: usize) -> bool {
    let mut others = facts.to_vec();
    let opposites: Vec<Fact> = match others.remove(at) {
        Fact::Test(test, given) => [Answer::False, Answer::True, Answer::Mismatch]
            .into_iter()
            .filter(|a| *a != given)
            .map(|a| Fact::Test(test, a))
            .collect(),
        Fact::Identity(_) => return false,
    };
    opposites.into_iter().all(|opposite| {
        others.push(opposite);
        let possible = solve(space, attribute, &others).is_some();
        others.pop();
        !possible
    })
}
