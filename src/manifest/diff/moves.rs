//! Whom a change moves, exactly.
//!
//! Two explorations, one in the other. The outer one goes through the cases of the attributes; within each, the
//! inner one goes through the buckets and adds up those in which the two versions of the flag give different
//! values. Both versions answer from the same choices, so they are asked about the same entity.

use std::{collections::BTreeSet, ops::ControlFlow};

use super::{Case, Move, Moved, TooMany};
use crate::{
    eval::{
        AttrValue, EvalContext, EvalOptions, Limits, Share,
        space::{
            ask::{Oracle, Stop, Verdict},
            case::{self, Space},
            plan::Plan,
            ranges::Ranges,
            solve::{Answer, Fact, Identity},
            walk::{Cell, Trail, Walk},
            witness, words,
        },
    },
    manifest::model::{Audience, Bucket, Flag, Manifest, Operator, Predicate, Rule, Scalar, Segment},
};

/// Compares flags of two manifests.
#[derive(Debug)]
pub(super) struct Mover<'m> {
    old: &'m Manifest,
    new: &'m Manifest,
    options: EvalOptions,
    limits: Limits,
    /// Segments that differ, or reach one that does.
    changed_segments: BTreeSet<&'m str>,
    /// Attributes whose inferred type differs.
    changed_types: BTreeSet<&'m str>,
}

impl<'m> Mover<'m> {
    pub(super) fn between(
        old: &'m Manifest,
        new: &'m Manifest,
        options: EvalOptions,
        limits: Limits,
    ) -> Self {
        let names = old.attributes.keys().chain(new.attributes.keys()).map(String::as_str);
        let changed_types = names.filter(|n| old.attributes.get(*n) != new.attributes.get(*n)).collect();
        let mut mover = Self { old, new, options, limits, changed_segments: BTreeSet::new(), changed_types };
        let keys: Vec<&str> = old.segments.keys().chain(new.segments.keys()).map(String::as_str).collect();
        // What one round adds, the next may spread along references; rounds are as many as segments nest.
        loop {
            let more: Vec<&str> = keys
                .iter()
                .copied()
                .filter(|k| !mover.changed_segments.contains(k) && mover.segment_differs(k))
                .collect();
            if more.is_empty() {
                return mover;
            }
            mover.changed_segments.extend(more);
        }
    }

    /// Returns whom the change of a flag moves in an environment; `None` where it cannot move anybody.
    pub(super) fn moves(&self, before: &'m Flag, after: &'m Flag, environment: &str) -> Option<Move> {
        let (old, new) = (Plan::of_flag(before, environment), Plan::of_flag(after, environment));
        if self.is_same(&old, &new) {
            return None;
        }
        let result = match self.explore(old, new) {
            Ok(moved) if moved.worst.share.is_none() && moved.named.is_empty() => return None,
            Ok(moved) => Ok(moved),
            Err(reason) => Err(TooMany { reason }),
        };
        Some(Move { flag: after.key.clone(), environment: environment.to_owned(), result })
    }

    /// Saves the exploration where nothing that the flag reads has changed.
    fn is_same(&self, old: &Plan<'_>, new: &Plan<'_>) -> bool {
        let same_value =
            |a: &str, b: &str| old.flag.variant(a).map(|v| &v.value) == new.flag.variant(b).map(|v| &v.value);
        let same_rule = |(a, b): (&Rule, &Rule)| {
            a.audience == b.audience
                && same_value(&a.variant, &b.variant)
                && !self.audience_differs(&b.audience)
        };
        old.gated == new.gated
            && old.rules.len() == new.rules.len()
            && same_value(old.default, new.default)
            && old.rules.iter().zip(new.rules).all(same_rule)
    }

    fn segment_differs(&self, key: &str) -> bool {
        let (Some(a), Some(b)) = (self.old.segments.get(key), self.new.segments.get(key)) else {
            return true;
        };
        let salted = |s: &Segment| {
            s.bucket
                .as_ref()
                .map(|b| (b.entity_id_attribute.clone(), b.effective_salt(key).to_owned(), b.start, b.end))
        };
        a.predicate != b.predicate
            || salted(a) != salted(b)
            || b.predicate.as_ref().is_some_and(|p| self.predicate_differs(p))
    }

    fn audience_differs(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Segment(key) => self.changed_segments.contains(key.as_str()),
            Audience::Predicate(predicate) => self.predicate_differs(predicate),
        }
    }

    fn predicate_differs(&self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::And(nodes) | Predicate::Or(nodes) => nodes.iter().any(|n| self.predicate_differs(n)),
            Predicate::Not(node) => self.predicate_differs(node),
            Predicate::Segment(key) => self.changed_segments.contains(key.as_str()),
            Predicate::Atom(atom) => self.changed_types.contains(atom.attribute.as_str()),
        }
    }

    /// Fails with words that say why there are too many cases.
    fn explore(&self, old: Plan<'m>, new: Plan<'m>) -> Result<Moved, String> {
        let mut space = Space::over([self.old, self.new]);
        let before = space.case(self.old, old, &self.options);
        let after = space.case(self.new, new, &self.options);
        if space.dims.len() > Share::MAX_SPACES {
            return Err(format!("too many cases: more than {} salts take part", Share::MAX_SPACES));
        }
        let plain_id = plain_id(&space);
        let mut moved = Moved {
            worst: Case { when: Vec::new(), share: Share::NONE, example: None, context: EvalContext::new() },
            plain: None,
            named: Vec::new(),
            inexact: space.inexact().into_iter().map(str::to_owned).collect(),
        };
        Walk::explore(&space, self.limits, |walk| {
            let (share, example) = moved_share(&space, walk, &before, &after)?;
            let cell = walk.cell();
            if let Some(named) = named_ids(&space, cell) {
                if !share.is_none() {
                    moved
                        .named
                        .extend(named.into_iter().filter(|n| !moved.named.contains(n)).collect::<Vec<_>>());
                }
            } else if share > moved.worst.share {
                // Buckets are not split here, so the first id fits and the search cannot fail.
                let context = witness::context(&space, cell, "u").unwrap_or_default();
                moved.worst = Case { when: words::facts(&space, cell), share, example, context };
            }
            if !space.dims.is_empty() && is_plain(&space, cell, &plain_id) {
                moved.plain = Some(share);
            }
            Ok(ControlFlow::Continue(()))
        })
        .map_err(|_| {
            let Limits { cells, questions } = self.limits;
            format!("too many cases: more than {cells} cells or {questions} questions")
        })?;
        Ok(moved)
    }
}

/// Adds up the buckets in which the two versions differ, with the attributes as the outer walk has them.
fn moved_share(
    space: &Space,
    walk: &mut Walk<'_>,
    before: &case::Case<'_>,
    after: &case::Case<'_>,
) -> Result<(Share, Option<(String, String)>), Stop> {
    let mut trail = Trail::default();
    let (mut sum, mut example) = (0_u128, None);
    loop {
        let mut both =
            Both { space, walk, trail: &mut trail, buckets: vec![Ranges::all(); space.dims.len()] };
        let old = before.resolve(space, &mut both, None)?;
        let new = after.resolve(space, &mut both, None)?;
        let of = |case: &case::Case<'_>, verdict: Verdict| match verdict {
            Verdict::Mismatch(_) => None,
            other => case.variant(other.rule()).map(|v| (v.key.clone(), v.value.clone())),
        };
        let (old, new) = (of(before, old), of(after, new));
        if old.as_ref().map(|v| &v.1) != new.as_ref().map(|v| &v.1) {
            sum += both.buckets.iter().map(|b| u128::from(b.len())).product::<u128>();
            let key = |v: Option<(String, _)>| v.map_or_else(|| "(wrong type)".to_owned(), |v| v.0);
            example.get_or_insert((key(old), key(new)));
        }
        if !trail.advance() {
            return Ok((Share::of_grid(sum, space.dims.len()), example));
        }
    }
}

/// Answers about attributes from the outer walk and about buckets from the inner one.
struct Both<'w, 's, 't> {
    space: &'w Space,
    walk: &'w mut Walk<'s>,
    trail: &'t mut Trail,
    buckets: Vec<Ranges>,
}

impl Oracle for Both<'_, '_, '_> {
    fn test(&mut self, test: usize, wanted: bool) -> Result<Answer, Stop> {
        self.walk.test(test, wanted)
    }

    fn bucket(&mut self, dim: usize, start: u16, end: u16, wanted: bool) -> Result<bool, Stop> {
        let attribute = self.space.dims[dim].attribute;
        match self.walk.identity(attribute)? {
            // Ids that a test names have one bucket, which the walk looks up.
            Identity::None | Identity::Pinned(_) => self.walk.bucket(dim, start, end, wanted),
            Identity::Free => {
                self.walk.count_question()?;
                let buckets = &self.buckets[dim];
                let (inside, outside) = (buckets.within(start, end), buckets.without(start, end));
                let options = || match (inside.is_empty(), outside.is_empty()) {
                    (false, false) => vec![1, 0],
                    (true, _) => vec![0],
                    (false, true) => vec![1],
                };
                let is_in = self.trail.choose(options) == Some(1);
                self.buckets[dim] = if is_in { inside } else { outside };
                Ok(is_in)
            }
        }
    }
}

/// Returns the ids that the cell names outright, if it does: single entities, of whom there is no share.
fn named_ids(space: &Space, cell: &Cell) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for (at, attribute) in space.attributes.iter().enumerate().filter(|(_, a)| a.is_id) {
        for fact in &cell.facts[at] {
            match fact {
                Fact::Identity(Identity::Pinned(pin)) => {
                    names.push(format!("{} = {:?}", attribute.name, attribute.pins[*pin]));
                }
                Fact::Test(test, answer) => {
                    let atom = &space.tests[*test].atom;
                    if matches!((atom.op, answer), (Operator::Eq | Operator::In, Answer::True)) {
                        names.push(words::atom(atom, true));
                    }
                }
                Fact::Identity(_) => {}
            }
        }
    }
    if names.is_empty() { None } else { Some(names) }
}

/// A text that no test is about: it stands for any id.
fn plain_id(space: &Space) -> AttrValue {
    let texts = || space.tests.iter().flat_map(|t| &t.atom.operands);
    let is_used = |c: char| texts().any(|s| matches!(s, Scalar::String(t) if t.contains(c)));
    let plain = ('\u{e000}'..='\u{f8ff}').find(|c| !is_used(*c)).unwrap_or('\u{f8ff}');
    AttrValue::String(plain.to_string())
}

/// Returns whether the cell is the one of contexts that hold ids and nothing else.
fn is_plain(space: &Space, cell: &Cell, id: &AttrValue) -> bool {
    debug_assert!(
        cell.buckets.iter().all(|b| b.len() == Bucket::COUNT),
        "the inner exploration splits buckets"
    );
    (0..space.attributes.len()).all(|at| {
        let value = space.attributes[at].is_id.then_some(id);
        cell.admits(space, at, value)
    })
}
