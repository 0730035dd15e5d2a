//! What the files of a namespace have to do with each other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{FlagRecord, SegmentRecord, shelf::Shelf};
use crate::manifest::{
    model::AttrType,
    parse::{FlagFile, SegmentFile, Uses, unify},
};

/// The indexes over all files, each able to take one file's part out and another's in.
#[derive(Clone, Debug, Default)]
pub(super) struct Relations {
    /// Who names which segment.
    users: Shelf<Use, ()>,
    /// How many places imply which type of an attribute.
    types: Shelf<Arc<str>, Implied>,
    /// How many flags have a block for an environment.
    environments: Shelf<Arc<str>, u32>,
    /// Segments that no rule reaches.
    unreached: Shelf<Arc<str>, ()>,
}

/// Whose file it is. Flags come first, so that looking for one that uses a segment is a look at the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Flag,
    Segment,
}

/// That a file names a segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    segment: Arc<str>,
    kind: Kind,
    user: Arc<str>,
}

/// Numbers of uses, by the type that they imply.
type Implied = [u32; 5];

/// Every type that an attribute can be implied to have, in the order of [`Implied`].
const TYPES: [AttrType; 5] =
    [AttrType::String, AttrType::Boolean, AttrType::Int, AttrType::Float, AttrType::StrList];

impl Relations {
    pub(super) fn of(
        flags: &Shelf<Arc<str>, Arc<FlagRecord>>,
        segments: &Shelf<Arc<str>, Arc<SegmentRecord>>,
    ) -> Self {
        let mut relations = Self::default();
        for (key, record) in flags.iter() {
            relations.add_flag(key, &record.file);
        }
        for (key, record) in segments.iter() {
            relations.add_segment(key, &record.file);
        }
        relations.settle_reached(segments.iter().map(|(key, _)| Arc::clone(key)).collect(), segments);
        relations
    }

    pub(super) fn add_flag(&mut self, key: &Arc<str>, file: &FlagFile) {
        self.add(Kind::Flag, key, &file.uses);
        for (name, _) in &file.flag.environments {
            let count = self.environments.get(name.as_str()).copied().unwrap_or_default();
            self.environments.insert(name.as_str().into(), count + 1);
        }
    }

    pub(super) fn add_segment(&mut self, key: &Arc<str>, file: &SegmentFile) {
        self.add(Kind::Segment, key, &file.uses);
    }

    pub(super) fn remove_flag(&mut self, key: &Arc<str>, file: &FlagFile) {
        self.remove(Kind::Flag, key, &file.uses);
        for (name, _) in &file.flag.environments {
            match self.environments.get(name.as_str()).copied() {
                Some(count @ 2..) => drop(self.environments.insert(name.as_str().into(), count - 1)),
                _ => drop(self.environments.remove(name.as_str())),
            }
        }
    }

    pub(super) fn remove_segment(&mut self, key: &Arc<str>, file: &SegmentFile) {
        self.remove(Kind::Segment, key, &file.uses);
    }

    /// Returns true if both know the same environments.
    pub(super) fn has_environments_of(&self, other: &Self) -> bool {
        self.environments.len() == other.environments.len()
            && self.environments.iter().zip(other.environments.iter()).all(|((a, _), (b, _))| a == b)
    }

    /// Returns the inferred type of an attribute, if one is implied.
    pub(super) fn attribute(&self, name: &str) -> Option<AttrType> {
        self.types.get(name).and_then(|implied| inferred(implied).ok().flatten())
    }

    /// Returns true if an attribute is used with types that do not go together.
    pub(super) fn clashes(&self, name: &str) -> bool {
        self.types.get(name).is_some_and(|implied| inferred(implied).is_err())
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, AttrType)> {
        self.types.iter().filter_map(|(name, implied)| Some((&**name, inferred(implied).ok().flatten()?)))
    }

    pub(super) fn unreached(&self) -> impl Iterator<Item = &str> {
        self.unreached.iter().map(|(key, ())| &**key)
    }

    pub(super) fn is_used(&self, segment: &str) -> bool {
        self.users_of(segment).next().is_some()
    }

    /// Returns who names the segment, flags first.
    pub(super) fn users_of<'r>(&'r self, segment: &'r str) -> impl Iterator<Item = (Kind, &'r Arc<str>)> {
        let first = Use { segment: segment.into(), kind: Kind::Flag, user: "".into() };
        self.users
            .from(&first)
            .map(|(used, ())| used)
            .take_while(move |used| *used.segment == *segment)
            .map(|u| (u.kind, &u.user))
    }

    /// Returns whoever names one of these segments, directly or through others.
    pub(super) fn dependents(&self, segments: &[Arc<str>]) -> HashSet<(Kind, Arc<str>)> {
        let mut found = HashSet::new();
        let mut pending: Vec<Arc<str>> = segments.to_vec();
        while let Some(segment) = pending.pop() {
            for (kind, user) in self.users_of(&segment) {
                if found.insert((kind, Arc::clone(user))) && kind == Kind::Segment {
                    pending.push(Arc::clone(user));
                }
            }
        }
        found
    }

    /// Finds out anew whether rules reach these segments, and those that they name.
    pub(super) fn settle_reached(
        &mut self,
        from: Vec<Arc<str>>,
        segments: &Shelf<Arc<str>, Arc<SegmentRecord>>,
    ) {
        let mut touched: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        let mut pending = from;
        while let Some(key) = pending.pop() {
            if touched.contains_key(&*key) {
                continue;
            }
            if let Some(record) = segments.get(&*key) {
                pending.extend(record.file.uses.segments.iter().map(|used| Arc::from(used.key.as_str())));
            }
            let exists = segments.contains(&*key);
            touched.insert(key, exists);
        }
        let mut known = HashMap::new();
        for (key, exists) in touched {
            if exists && !self.reached(&key, &mut known) {
                self.unreached.insert(key, ());
            } else {
                self.unreached.remove(&*key);
            }
        }
    }

    /// Recursion is bounded: lint refuses segments that nest deeper than 32 levels.
    fn reached(&self, key: &str, known: &mut HashMap<Arc<str>, bool>) -> bool {
        if let Some(reached) = known.get(key) {
            return *reached;
        }
        let reached = self.users_of(key).any(|(kind, user)| kind == Kind::Flag || self.reached(user, known));
        known.insert(key.into(), reached);
        reached
    }

    fn add(&mut self, kind: Kind, key: &Arc<str>, uses: &Uses) {
        for used in &uses.segments {
            let used = Use { segment: used.key.as_str().into(), kind, user: Arc::clone(key) };
            self.users.insert(used, ());
        }
        for used in &uses.attributes {
            let mut implied = self.types.get(used.attribute.as_str()).copied().unwrap_or_default();
            implied[index(used.implied)] += 1;
            self.types.insert(used.attribute.as_str().into(), implied);
        }
    }

    fn remove(&mut self, kind: Kind, key: &Arc<str>, uses: &Uses) {
        for used in &uses.segments {
            let used = Use { segment: used.key.as_str().into(), kind, user: Arc::clone(key) };
            self.users.remove(&used);
        }
        for used in &uses.attributes {
            let Some(mut implied) = self.types.get(used.attribute.as_str()).copied() else { continue };
            implied[index(used.implied)] -= 1;
            if implied == Implied::default() {
                self.types.remove(used.attribute.as_str());
            } else {
                self.types.insert(used.attribute.as_str().into(), implied);
            }
        }
    }
}

fn index(implied: AttrType) -> usize {
    TYPES.iter().position(|t| *t == implied).unwrap_or_default()
}

/// Unifies the implied types. Where they go together the order does not matter, so numbers of uses are enough.
fn inferred(implied: &Implied) -> Result<Option<AttrType>, ()> {
    let used = TYPES.into_iter().zip(implied).filter(|(_, uses)| **uses > 0).map(|(t, _)| t);
    used.map(Some).try_fold(None, |known: Option<AttrType>, next| match (known, next) {
        (Some(known), Some(next)) => unify(known, next).map(Some).ok_or(()),
        (known, next) => Ok(known.or(next)),
    })
}
