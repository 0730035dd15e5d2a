//! How deep and how large an audience is once the segments it names are put in.

use std::collections::{HashMap, HashSet};

use super::Segments;
use crate::manifest::{
    model::{Audience, Predicate, Segment},
    parse::DEEPEST,
};

/// Depth and number of nodes, saturating.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::manifest) struct Size {
    pub(super) depth: u64,
    pub(super) nodes: u64,
}

/// Nodes that one audience may expand to, references followed: what bounds the time of an evaluation.
pub(super) const LARGEST: u64 = 10_000;

impl Size {
    const LEAF: Self = Self { depth: 1, nodes: 1 };

    /// Returns true for what would take too deep or too long to evaluate.
    pub(in crate::manifest) fn is_beyond_limits(self) -> bool {
        self.depth > DEEPEST as u64 || self.nodes > LARGEST
    }

    fn beside(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), nodes: self.nodes.saturating_add(other.nodes) }
    }

    fn below(self) -> Self {
        Self { depth: self.depth.saturating_add(1), nodes: self.nodes.saturating_add(1) }
    }
}

/// Computes sizes, each segment's once.
pub(in crate::manifest) struct Reach<'s> {
    segments: &'s dyn Segments,
    cyclic: &'s HashSet<String>,
    sizes: HashMap<&'s str, Size>,
}

impl<'s> Reach<'s> {
    pub(in crate::manifest) fn new(segments: &'s dyn Segments, cyclic: &'s HashSet<String>) -> Self {
        Self { segments, cyclic, sizes: HashMap::new() }
    }

    /// Returns the size of a segment. Chains are followed with a stack of our own, because they may be as long as
    /// there are segments.
    pub(in crate::manifest) fn segment(&mut self, key: &str) -> Size {
        let Some(model) = self.segments.segment_file(key) else { return Size::LEAF };
        let key = model.segment.key.as_str();
        let mut pending: Vec<&'s str> = vec![key];
        while let Some(next) = pending.last().copied() {
            if self.sizes.contains_key(next) {
                pending.pop();
                continue;
            }
            let model = self.segments.segment_file(next);
            // Members of a cycle have their own finding; here they count as leaves, so that this ends.
            let Some(model) = model.filter(|_| !self.cyclic.contains(next)) else {
                self.sizes.insert(next, Size::LEAF);
                continue;
            };
            let before = pending.len();
            for used in &model.uses.segments {
                if let Some(used) = self.segments.segment_file(&used.key)
                    && !self.sizes.contains_key(used.segment.key.as_str())
                {
                    pending.push(&used.segment.key);
                }
            }
            if pending.len() == before {
                let size = self.own(&model.segment);
                self.sizes.insert(next, size);
            }
        }
        self.sizes.get(key).copied().unwrap_or(Size::LEAF)
    }

    pub(in crate::manifest) fn audience(&mut self, audience: &Audience) -> Size {
        match audience {
            Audience::Segment(key) => self.segment(key),
            Audience::Predicate(predicate) => {
                let mut named = Vec::new();
                segments_of(predicate, &mut named);
                for key in named {
                    self.segment(key);
                }
                self.predicate(predicate)
            }
        }
    }

    fn own(&self, segment: &Segment) -> Size {
        let predicate = segment.predicate.as_ref().map(|p| self.predicate(p)).unwrap_or_default();
        let bucket = segment.bucket.as_ref().map(|_| Size::LEAF).unwrap_or_default();
        let both = segment.predicate.is_some() && segment.bucket.is_some();
        if both { predicate.beside(bucket).below() } else { predicate.beside(bucket) }
    }

    /// Recursion is bounded: the parser has refused predicates deeper than 32.
    fn predicate(&self, predicate: &Predicate) -> Size {
        match predicate {
            Predicate::Atom(_) => Size::LEAF,
            Predicate::Segment(key) => self.sizes.get(key.as_str()).copied().unwrap_or(Size::LEAF).below(),
            Predicate::Not(inner) => self.predicate(inner).below(),
            Predicate::And(nodes) | Predicate::Or(nodes) => {
                nodes.iter().map(|node| self.predicate(node)).fold(Size::default(), Size::beside).below()
            }
        }
    }
}

fn segments_of<'p>(predicate: &'p Predicate, named: &mut Vec<&'p str>) {
    match predicate {
        Predicate::Atom(_) => {}
        Predicate::Segment(key) => named.push(key),
        Predicate::Not(inner) => segments_of(inner, named),
        Predicate::And(nodes) | Predicate::Or(nodes) => {
            nodes.iter().for_each(|node| segments_of(node, named))
        }
    }
}
