//! The finite list of values among which every combination of answers has a witness, if it has one at all.
//!
//! Well-typed values only: of the inferred type, finite where they are numbers, a list of strings for a string
//! attribute, or absent. Why each list is complete stands at its maker.

use std::iter;

use super::{
    case::Space,
    solve::{Answer, Fact, Identity},
    versions,
};
use crate::{
    eval::{context::AttrValue, predicate::Test},
    manifest::model::{Atom, AttrType, Operator, Scalar},
};

/// Yields candidates for one attribute: plain ones first, then absence, and last what no test of it asks for.
pub(super) struct Candidates {
    values: std::vec::IntoIter<Option<AttrValue>>,
}

impl Iterator for Candidates {
    type Item = Option<AttrValue>;

    fn next(&mut self) -> Option<Self::Item> {
        self.values.next()
    }
}

impl Candidates {
    pub(super) fn of(space: &Space, attribute: usize, facts: &[Fact]) -> Self {
        let known = Known { space, attribute, facts };
        let (mut values, mut odd) = (Vec::new(), Vec::new());
        for of_type in &space.attributes[attribute].types {
            match of_type {
                AttrType::Boolean => values.extend([true, false].map(AttrValue::Boolean)),
                AttrType::Int => known.integers(&mut values),
                AttrType::Float => known.floats(&mut values),
                AttrType::String | AttrType::StrList => {
                    known.texts(&mut values);
                    // Evaluation takes lists everywhere; people write them where a test applies to them.
                    known.lists(if known.reads_lists() { &mut values } else { &mut odd });
                }
            }
        }
        let odd = odd.into_iter().map(Some);
        let values: Vec<_> = values.into_iter().map(Some).chain([None]).chain(odd).collect();
        Self { values: values.into_iter() }
    }
}

struct Known<'s> {
    space: &'s Space,
    attribute: usize,
    facts: &'s [Fact],
}

impl<'s> Known<'s> {
    fn tests(&self) -> impl Iterator<Item = (Operator, &'s [Scalar], Answer, &'s Test)> {
        let space = self.space;
        self.facts.iter().filter_map(move |fact| match fact {
            Fact::Test(test, answer) => {
                let entry = &space.tests[*test];
                Some((entry.atom.op, entry.atom.operands.as_slice(), *answer, &entry.test))
            }
            Fact::Identity(_) => None,
        })
    }

    fn numbers(&self) -> impl Iterator<Item = &'s Scalar> {
        self.tests().flat_map(|(_, operands, _, _)| operands)
    }

    /// Tests of integers compare with operands only, so between two neighbouring operands all integers answer
    /// alike: the operands, what lies next to them on either side, and one value in case there is no operand.
    fn integers(&self, values: &mut Vec<AttrValue>) {
        let mut push = |v: i64| values.push(AttrValue::Int(v));
        for operand in self.numbers() {
            match operand {
                Scalar::Int(v) => {
                    push(*v);
                    v.checked_add(1).into_iter().chain(v.checked_sub(1)).for_each(&mut push);
                }
                // Casts saturate, which is the nearest integer there is.
                Scalar::Float(v) => {
                    let (low, high) = (v.floor() as i64, v.ceil() as i64);
                    [low, high, low.saturating_sub(1), high.saturating_add(1)]
                        .into_iter()
                        .for_each(&mut push);
                }
                Scalar::String(_) | Scalar::Bool(_) => {}
            }
        }
        push(1);
    }

    /// As for integers, over integers and doubles together: next to an operand lie the integers beside it and the
    /// doubles beside the double that is nearest to it. One of those is within any gap that holds a value at all.
    fn floats(&self, values: &mut Vec<AttrValue>) {
        let mut fine = Vec::new();
        for operand in self.numbers() {
            let near = match operand {
                Scalar::Int(v) => {
                    let near = *v as f64;
                    // Without digits lost, the double reads better than the integer.
                    if near.abs() < EXACT {
                        values.extend([near, near + 1.0, near - 1.0].map(AttrValue::Float));
                    }
                    fine.extend(
                        [Some(*v), v.checked_add(1), v.checked_sub(1)]
                            .into_iter()
                            .flatten()
                            .map(AttrValue::Int),
                    );
                    near
                }
                Scalar::Float(v) => {
                    values.extend(
                        [*v, v + 1.0, v - 1.0].into_iter().filter(|v| v.is_finite()).map(AttrValue::Float),
                    );
                    // Casts saturate, which is the nearest integer there is.
                    let (low, high) = (v.floor() as i64, v.ceil() as i64);
                    fine.extend(
                        [low, high, low.saturating_sub(1), high.saturating_add(1)].map(AttrValue::Int),
                    );
                    *v
                }
                Scalar::String(_) | Scalar::Bool(_) => continue,
            };
            fine.extend(
                [near, near.next_up(), near.next_down()]
                    .into_iter()
                    .filter(|v| v.is_finite())
                    .map(AttrValue::Float),
            );
        }
        values.push(AttrValue::Float(1.0));
        values.append(&mut fine);
    }

    /// Where an equality is wanted, only its operands can do. Else only the wanted prefixes, suffixes and parts
    /// bind: the longest prefix, the parts and the longest suffix, joined by a character that no operand uses,
    /// hold no text that another witness could be without, and equal no operand. Versions are apart.
    fn texts(&self, values: &mut Vec<AttrValue>) {
        let mut named = None::<Vec<&str>>;
        let mut shape = Shape::default();
        let mut versions = Vec::new();
        for (op, operands, answer, test) in self.tests() {
            let holds = answer == Answer::True;
            let text = operands.iter().find_map(as_text);
            match (op, holds, text) {
                (Operator::Eq | Operator::In, true, _) | (Operator::Neq | Operator::NotIn, false, _) => {
                    let these = operands.iter().filter_map(as_text).collect::<Vec<_>>();
                    // The shortest list suffices: a value must be in every one.
                    if named.as_ref().is_none_or(|n| these.len() < n.len()) {
                        named = Some(these);
                    }
                }
                (Operator::StartsWith, true, Some(v)) => shape.prefix = longer(shape.prefix, v),
                (Operator::EndsWith, true, Some(v)) => shape.suffix = longer(shape.suffix, v),
                (Operator::Contains, true, Some(v)) | (Operator::NotContains, false, Some(v)) => {
                    shape.parts.push(v)
                }
                (_, _, Some(v)) if matches!(test, Test::Semver { .. }) => versions.push(v),
                _ => {}
            }
        }
        let mut push = |v: String| values.push(AttrValue::String(v));
        for fact in self.facts {
            if let Fact::Identity(Identity::Pinned(pin)) = fact {
                push(self.space.attributes[self.attribute].pins[*pin].clone());
            }
        }
        if let Some(named) = &named {
            named.iter().for_each(|v| push((*v).to_owned()));
        } else {
            if !versions.is_empty() {
                versions::around(versions.iter().copied(), &shape, &self.build(), &mut push);
            }
            shape.texts(self.separator(), &mut push);
        }
        push(String::new());
    }

    /// A list answers by its elements, one by one: the wanted ones, and for each wanted overlap its first operand
    /// that is not unwanted, are enough, since a further element can only break an answer.
    fn lists(&self, values: &mut Vec<AttrValue>) {
        let (mut wanted, mut overlaps, mut unwanted) = (Vec::<&str>::new(), Vec::new(), Vec::<&str>::new());
        for (op, operands, answer, _) in self.tests() {
            let holds = answer == Answer::True;
            let texts = operands.iter().filter_map(as_text);
            match (op, holds) {
                (Operator::Contains, true) | (Operator::NotContains, false) => wanted.extend(texts),
                (Operator::In, true) | (Operator::NotIn, false) => overlaps.push(operands),
                (Operator::Contains | Operator::In, false)
                | (Operator::NotContains | Operator::NotIn, true) => {
                    unwanted.extend(texts);
                }
                _ => {}
            }
        }
        for operands in overlaps {
            let mut texts = operands.iter().filter_map(as_text);
            wanted.extend(texts.find(|v| !unwanted.contains(v)));
        }
        wanted.sort_unstable();
        wanted.dedup();
        values.push(AttrValue::StrList(wanted.into_iter().map(str::to_owned).collect()));
    }

    fn reads_lists(&self) -> bool {
        self.all_tests().any(|atom| atom.op.takes_lists())
    }

    /// Every test of the attribute, asked or not.
    fn all_tests(&self) -> impl Iterator<Item = &'s Atom> {
        let space = self.space;
        space.attributes[self.attribute].tests.iter().map(|t| &space.tests[*t].atom)
    }

    fn operands(&self) -> impl Iterator<Item = &'s str> {
        self.all_tests().flat_map(|atom| &atom.operands).filter_map(as_text)
    }

    fn separator(&self) -> char {
        let free = |c: &char| !self.operands().any(|t| t.contains(*c));
        SEPARATORS.chars().chain('\u{e000}'..='\u{f8ff}').find(free).unwrap_or('\u{10ffff}')
    }

    /// Build metadata that no operand has: with it, a version is spelled as none of them is.
    fn build(&self) -> String {
        let free = |build: &String| !self.operands().any(|t| t.contains(build.as_str()));
        let numbered = (1_u32..).map(|n| format!("b{n}"));
        // Each operand can hold only so many of an endless series.
        iter::once("other".to_owned()).chain(numbered).find(free).unwrap_or_default()
    }
}

/// The text that the wanted answers ask for.
#[derive(Debug, Default)]
pub(super) struct Shape<'s> {
    pub(super) prefix: &'s str,
    pub(super) parts: Vec<&'s str>,
    pub(super) suffix: &'s str,
}

impl<'s> Shape<'s> {
    /// Reads the shape off the facts of an attribute.
    pub(super) fn of(space: &'s Space, facts: &[Fact]) -> Self {
        let mut shape = Self::default();
        for fact in facts {
            let Fact::Test(test, answer) = fact else { continue };
            let atom = &space.tests[*test].atom;
            let Some(text) = atom.operands.iter().find_map(as_text) else { continue };
            match (atom.op, *answer == Answer::True) {
                (Operator::StartsWith, true) => shape.prefix = longer(shape.prefix, text),
                (Operator::EndsWith, true) => shape.suffix = longer(shape.suffix, text),
                (Operator::Contains, true) | (Operator::NotContains, false) => shape.parts.push(text),
                _ => {}
            }
        }
        shape
    }

    fn is_free(&self) -> bool {
        self.prefix.is_empty() && self.parts.is_empty() && self.suffix.is_empty()
    }

    /// Makes texts of this shape; the last one, with `separator`, is the one that completeness rests on.
    fn texts(&self, separator: char, push: &mut impl FnMut(String)) {
        if self.is_free() {
            push("other".to_owned());
            push(format!("other{separator}"));
        }
        // `x@example.com` reads better than `@example.com`, and `beta` better than `xbetax`.
        let plain = if self.parts.is_empty() { ["x", ""] } else { ["", "x"] };
        for glue in plain.map(str::to_owned).into_iter().chain([separator.to_string()]) {
            let mut text = self.prefix.to_owned();
            for part in &self.parts {
                text.push_str(&glue);
                text.push_str(part);
            }
            text.push_str(&glue);
            text.push_str(self.suffix);
            push(text);
        }
    }
}

fn longer<'s>(a: &'s str, b: &'s str) -> &'s str {
    if b.len() > a.len() { b } else { a }
}

pub(super) fn as_text(scalar: &Scalar) -> Option<&str> {
    if let Scalar::String(text) = scalar { Some(text) } else { None }
}

/// Below this every integer is a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Tried in this order, so that made-up texts stay readable.
const SEPARATORS: &str = "_~|#%*!?$&;^";
