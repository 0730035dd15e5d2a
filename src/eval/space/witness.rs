//! Makes a concrete context from a cell: values from the solver, entity ids by search.

use std::fmt::Write as _;

use super::{
    candidates::Shape,
    case::Space,
    ranges::Ranges,
    solve::{Fact, Identity, agrees, solve},
    walk::Cell,
};
use crate::eval::{EvalContext, bucket::bucket_seeded, context::AttrValue};

/// How many ids are tried before a search gives up: enough for one bucket under one salt and a tenth under each of
/// two more, and a fraction of a second.
const TRIES: u32 = 2_000_000;

/// Makes the context of a cell that has the fewest attributes: only those that some question asked about.
///
/// Ids are the first of `{prefix}-1`, `{prefix}-2`, … that fall into the cell's buckets; `None` where none of the
/// first two million does.
pub(crate) fn context(space: &Space, cell: &Cell, prefix: &str) -> Option<EvalContext> {
    let mut builder = EvalContext::builder();
    for (at, attribute) in space.attributes.iter().enumerate() {
        if cell.facts[at].is_empty() {
            continue;
        }
        if let Some(value) = value(space, cell, at, prefix)? {
            builder = builder.attr(&attribute.name, value);
        }
    }
    Some(builder.build())
}

/// Makes a value of one attribute: outer `None` where the search for an id fails, inner `None` for "absent".
pub(crate) fn value(space: &Space, cell: &Cell, attribute: usize, prefix: &str) -> Option<Option<AttrValue>> {
    let facts = &cell.facts[attribute];
    let free = facts.contains(&Fact::Identity(Identity::Free));
    if free || (space.attributes[attribute].is_id && solve(space, attribute, facts).is_some()) {
        let ranges = |d: &usize| (space.dims[*d].seed, &cell.buckets[*d]);
        let wanted: Vec<_> = space.attributes[attribute].dims.iter().map(ranges).collect();
        let id = find_id(space, attribute, facts, &wanted, prefix).map(AttrValue::String);
        if free || id.is_some() {
            return id.map(Some);
        }
    }
    solve(space, attribute, facts)
}

/// Finds the first id of the series that agrees with the facts and falls into the wanted buckets.
pub(crate) fn find_id(
    space: &Space,
    attribute: usize,
    facts: &[Fact],
    wanted: &[(u32, &Ranges)],
    prefix: &str,
) -> Option<String> {
    frames(space, attribute, facts).into_iter().find_map(|(head, tail)| {
        // Frames hold or break the facts whatever the number is, but for chance; then the next number will do.
        let sample = AttrValue::String(format!("{head}{prefix}-0{tail}"));
        let fits = |v: &AttrValue| facts.iter().all(|f| agrees(space, attribute, *f, Some(v)));
        if !fits(&sample) {
            return None;
        }
        let mut id = String::new();
        (1..=TRIES).find_map(|n| {
            id.clear();
            // Writing to a string does not fail.
            let _ = write!(id, "{head}{prefix}-{n}{tail}");
            let in_buckets = wanted.iter().all(|(seed, buckets)| buckets.contains(bucket_seeded(&id, *seed)));
            (in_buckets && fits(&AttrValue::String(id.clone()))).then(|| id.clone())
        })
    })
}

/// Gives the texts to put around an id so that it has the wanted prefix, parts and suffix, plain ones first.
fn frames(space: &Space, attribute: usize, facts: &[Fact]) -> Vec<(String, String)> {
    let shape = Shape::of(space, facts);
    let mut frames = vec![(String::new(), String::new())];
    for glue in ["", "_", "~", "|"] {
        let mut head = shape.prefix.to_owned();
        for part in &shape.parts {
            head.push_str(glue);
            head.push_str(part);
        }
        head.push_str(glue);
        frames.push((head, format!("{glue}{}", shape.suffix)));
    }
    if let Some(Some(AttrValue::String(text))) = solve(space, attribute, facts) {
        // Keeps what the solver found and lets the number stand after it; a `+` keeps versions versions.
        frames.extend(["-", "+", "~"].map(|glue| (format!("{text}{glue}"), String::new())));
    }
    frames
}
