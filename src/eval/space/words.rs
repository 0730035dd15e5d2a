//! Conditions in words, as people read them in differences, reasons and fixtures.

use super::{
    ask::{Given, Held, bucket_of},
    case::{Expr, Space},
    solve::{Answer, Fact, Identity, answer, essential},
    walk::Cell,
};
use crate::{
    eval::context::AttrValue,
    manifest::model::{Atom, Audience, Operator, Predicate, Scalar},
};

/// Writes a test, or its negation.
pub(crate) fn atom(atom: &Atom, holds: bool) -> String {
    let name = &atom.attribute;
    let one = || atom.operands.first().map(ToString::to_string).unwrap_or_default();
    let list = || {
        let all: Vec<String> = atom.operands.iter().take(LISTED).map(ToString::to_string).collect();
        let more = atom.operands.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(", … {more} more") } else { String::new() };
        format!("[{}{more}]", all.join(", "))
    };
    let says = |yes: &str, no: &str| format!("{name} {} {}", if holds { yes } else { no }, one());
    match atom.op {
        Operator::Eq => says("=", "is not"),
        Operator::Neq => {
            if holds {
                format!("{name} is set and not {}", one())
            } else {
                format!("{name} is absent or {}", one())
            }
        }
        Operator::Gt => says(">", "is not >"),
        Operator::Gte => says(">=", "is not >="),
        Operator::Lt => says("<", "is not <"),
        Operator::Lte => says("<=", "is not <="),
        Operator::In => format!("{name} {} {}", if holds { "in" } else { "not in" }, list()),
        Operator::NotIn if holds => format!("{name} is set and not in {}", list()),
        Operator::NotIn => format!("{name} is absent or in {}", list()),
        Operator::Contains => says("contains", "does not contain"),
        Operator::NotContains if holds => format!("{name} is set and does not contain {}", one()),
        Operator::NotContains => format!("{name} is absent or contains {}", one()),
        Operator::StartsWith => says("starts with", "does not start with"),
        Operator::EndsWith => says("ends with", "does not end with"),
        Operator::SemverEq => says("= version", "is not version"),
        Operator::SemverGt => says("> version", "is not > version"),
        Operator::SemverGte => says(">= version", "is not >= version"),
        Operator::SemverLt => says("< version", "is not < version"),
        Operator::SemverLte => says("<= version", "is not <= version"),
        Operator::IsSet | Operator::IsNotSet => {
            let set = holds == (atom.op == Operator::IsSet);
            format!("{name} is {}", if set { "set" } else { "absent" })
        }
    }
}

/// Writes a predicate.
pub(crate) fn predicate(node: &Predicate) -> String {
    match node {
        Predicate::And(nodes) => joined(nodes, " and "),
        Predicate::Or(nodes) => joined(nodes, " or "),
        Predicate::Not(node) => match &**node {
            Predicate::Atom(inner) => atom(inner, false),
            other => format!("not ({})", predicate(other)),
        },
        Predicate::Segment(key) => format!("in segment `{key}`"),
        Predicate::Atom(inner) => atom(inner, true),
    }
}

fn joined(nodes: &[Predicate], word: &str) -> String {
    let part = |node: &Predicate| match node {
        Predicate::And(n) | Predicate::Or(n) if n.len() > 1 => format!("({})", predicate(node)),
        _ => predicate(node),
    };
    nodes.iter().map(part).collect::<Vec<_>>().join(word)
}

/// Writes who a rule is about.
pub(crate) fn audience(audience: &Audience) -> String {
    match audience {
        Audience::Segment(key) => format!("segment `{key}`"),
        Audience::Predicate(node) => predicate(node),
    }
}

/// Writes a value of the context; an absent one as `absent`.
pub(crate) fn value(value: Option<&AttrValue>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(AttrValue::String(v)) => Scalar::String(v.clone()).to_string(),
        Some(AttrValue::Float(v)) => Scalar::Float(*v).to_string(),
        Some(other) => other.to_json().to_string(),
    }
}

/// Writes what a cell says of attributes, leaving out what follows from the rest.
pub(crate) fn facts(space: &Space, cell: &Cell) -> Vec<String> {
    let mut words = Vec::new();
    for (at, attribute) in space.attributes.iter().enumerate() {
        for fact in essential(space, at, &cell.facts[at]) {
            words.push(match fact {
                Fact::Test(test, Answer::Mismatch) => {
                    format!(
                        "{} has the wrong type for `{}`",
                        attribute.name,
                        atom(&space.tests[test].atom, true)
                    )
                }
                Fact::Test(test, answer) => atom(&space.tests[test].atom, answer == Answer::True),
                Fact::Identity(Identity::None) => format!("{} is absent or empty", attribute.name),
                Fact::Identity(Identity::Pinned(pin)) => {
                    format!("{} = {:?}", attribute.name, attribute.pins[pin])
                }
                // Ids that are not special are the rule, not a condition.
                Fact::Identity(Identity::Free) => continue,
            });
        }
    }
    words
}

/// Writes the buckets of a cell.
pub(crate) fn buckets(space: &Space, cell: &Cell) -> Vec<String> {
    let limited = cell.buckets.iter().enumerate().filter(|(_, b)| !b.is_all());
    limited
        .map(|(at, buckets)| {
            let dim = &space.dims[at];
            format!("bucket({}, {:?}) in {buckets}", space.attributes[dim.attribute].name, dim.salt)
        })
        .collect()
}

/// Why an audience does or does not hold for a given context: the tests that decide it, one each.
///
/// `wanted` is what it ought to be: the tests named are those that keep it from being that, or, where it is that,
/// those that make it so.
pub(crate) fn reasons(expr: &Expr, given: &mut Given<'_>, wanted: bool) -> Vec<Reason> {
    let space = given.space;
    match expr {
        Expr::All(parts) | Expr::Any(parts) => {
            let all = matches!(expr, Expr::All(_));
            let holds =
                |part: &Expr, given: &mut Given<'_>| part.holds(space, given, wanted) == Ok(Held::True);
            let result = holds(expr, given);
            // An `and` holds by all its parts and fails by those that fail; an `or` the other way round.
            let mut found = Vec::new();
            for part in parts {
                if holds(part, given) == result {
                    found.extend(reasons(part, given, wanted));
                    if all != result && wanted == result {
                        break;
                    }
                }
            }
            found
        }
        Expr::Not(part) => reasons(part, given, !wanted),
        Expr::Segment(segment) => {
            let mut found = reasons(&segment.1, given, wanted);
            for reason in &mut found {
                reason.segment.get_or_insert_with(|| segment.0.clone());
            }
            found
        }
        Expr::Test(test) => {
            let entry = &space.tests[*test];
            let actual = given.value(entry.attribute);
            let answer = answer(&entry.test, actual);
            let text = atom(&entry.atom, answer == Answer::True);
            vec![Reason {
                attribute: entry.atom.attribute.clone(),
                asked: atom(&entry.atom, true),
                fact: text,
                actual: actual.cloned(),
                bucket: None,
                segment: None,
            }]
        }
        Expr::Bucket { dim, start, end } => {
            let dim = &space.dims[*dim];
            let actual = given.value(dim.attribute);
            let name = &space.attributes[dim.attribute].name;
            let bucket = bucket_of(actual, dim.seed);
            let fact = match bucket {
                Some(b) if (*start..=*end).contains(&b) => format!("bucket={b} ∈ [{start},{end}]"),
                Some(b) => format!("bucket={b} ∉ [{start},{end}]"),
                None => format!("{name} is no entity id"),
            };
            vec![Reason {
                attribute: name.clone(),
                asked: format!("bucket({name}, {:?}) in {start}..={end}", dim.salt),
                fact,
                actual: actual.cloned(),
                bucket,
                segment: None,
            }]
        }
    }
}

/// One test or bucket that decides an audience.
///
/// # Examples
/// See [`WhyNot::rules`](crate::eval::WhyNot::rules), which gives them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reason {
    /// The attribute that was read.
    pub attribute: String,
    /// What was asked of it: `user.country = "US"`.
    pub asked: String,
    /// How that came out: `user.country is not "US"`, `bucket=17 ∈ [0,999]`.
    pub fact: String,
    /// The value found; `None` where the attribute is absent.
    pub actual: Option<AttrValue>,
    /// The bucket of the entity, where buckets were asked for and the value is an entity id.
    pub bucket: Option<u16>,
    /// The innermost segment that asks, if it is one.
    pub segment: Option<String>,
}

impl Reason {
    /// Returns the value found in words; `absent` where there is none.
    #[must_use]
    pub fn actual_text(&self) -> String {
        value(self.actual.as_ref())
    }
}

/// Longer lists are cut, so that a line stays a line.
const LISTED: usize = 6;
