//! Applying a change to flags and segments.
//!
//! Only changes that end without an error are taken here, and only those that leave everything else of the namespace
//! as it is. Whatever else may come of a change is left to the check of the whole, which so alone decides about
//! errors and words them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{FlagRecord, GateRecord, SegmentRecord, Workspace, flag_path, relations::Kind, segment_path};
use crate::{
    document::Delta,
    manifest::{
        GATE_FILE, LintReport, Severity,
        archive::limits,
        lint::{reach::Reach, reflex::Gate, rules},
        model::AttrType,
        names,
        parse::{Uses, open, parse_flag, parse_segment},
    },
};

/// What of a workspace a change made another.
#[derive(Debug)]
pub(crate) enum Touched {
    /// These flags, segments and attributes; the latter by their inferred types.
    Parts { flags: Vec<Arc<str>>, segments: Vec<Arc<str>>, attributes: Vec<Arc<str>> },
    /// Anything.
    Whole,
}

/// A change, sorted by what it is to a namespace: the new content by key, `None` for files that are gone.
#[derive(Default)]
struct Edits {
    flags: BTreeMap<Arc<str>, Option<Bytes>>,
    segments: BTreeMap<Arc<str>, Option<Bytes>>,
    /// `gate.toml`, if the change is about it.
    gate: Option<Option<Bytes>>,
}

impl Workspace {
    pub(crate) fn applied(&self, delta: &Delta) -> Result<(Self, Touched), LintReport> {
        if let Some(applied) = self.edits(delta).and_then(|edits| self.edit(&edits)) {
            return Ok(applied);
        }
        let workspace = Self::new(delta.apply_to(&self.tree()), &self.base.options)?;
        Ok((workspace, Touched::Whole))
    }

    /// Sorts a change; `None` where it is about more than flags, segments and reflex rules.
    fn edits(&self, delta: &Delta) -> Option<Edits> {
        // Patterns decide about every path, and this says which files they leave.
        if self.base.others.get(".exdignore").is_some() {
            return None;
        }
        let removed = delta.removed().map(|path| (path, None));
        let changed = delta.changed().iter().map(|(path, content)| (path.as_str(), Some(content)));
        let mut edits = Edits::default();
        for (path, content) in removed.chain(changed) {
            if path == GATE_FILE {
                // Something else stands there, such as a directory.
                if self.base.others.get(path).is_some() {
                    return None;
                }
                edits.gate = Some(content.cloned());
                continue;
            }
            let (folder, name) = path.split_once('/')?;
            let key = name.strip_suffix(".toml").filter(|key| names::is_key(key))?;
            // Something else stands there, such as a directory.
            if self.base.others.get(path).is_some() {
                return None;
            }
            let (edits, before) = match folder {
                "flags" => (&mut edits.flags, self.flags.get(key).map(|record| &record.content)),
                "segments" => (&mut edits.segments, self.segments.get(key).map(|record| &record.content)),
                _ => return None,
            };
            if before == content {
                edits.remove(key);
            } else {
                edits.insert(key.into(), content.cloned());
            }
        }
        Some(edits)
    }

    /// Applies a change that ends well; `None` where it may not.
    fn edit(&self, edits: &Edits) -> Option<(Self, Touched)> {
        let mut next = self.clone();
        next.take(edits)?;
        // A namespace without flags has another layout.
        if self.flags.len() == 0 || next.flags.len() == 0 {
            return None;
        }
        // Every flag has a plan for each environment that is known.
        if self.roster().is_none() && !next.relations.has_environments_of(&self.relations) {
            return None;
        }
        let attributes = next.attributes(self, edits)?;
        next.check_names(edits)?;
        next.check_segments(edits)?;
        let changed: Vec<Arc<str>> = edits.segments.keys().map(Arc::clone).collect();
        let dependents = next.relations.dependents(&changed);
        next.check_sizes(edits, &dependents)?;
        next.check_rules(edits, &dependents);
        next.settle_reached(self, edits);
        next.digests.apply(edits.paths().iter().map(|(path, content)| (path.as_str(), content.as_deref())));
        next.fingerprint = next.digests.fingerprint();
        let flags = edits.flags.keys().map(Arc::clone).collect();
        Some((next, Touched::Parts { flags, segments: changed, attributes }))
    }

    /// Puts the files in and the old ones out; `None` if one has errors.
    fn take(&mut self, edits: &Edits) -> Option<()> {
        for (key, content) in &edits.segments {
            let record = match content {
                Some(content) => Some(parse_segment_file(key, content, self.base.options.schema_major)?),
                None => None,
            };
            let record = record.map(Arc::new);
            let old = match &record {
                Some(record) => self.segments.insert(Arc::clone(key), Arc::clone(record)),
                None => self.segments.remove(&**key),
            };
            // What both name is one entry, so the old goes out before the new comes in.
            if let Some(old) = old {
                self.relations.remove_segment(key, &old.file);
            }
            if let Some(record) = record {
                self.relations.add_segment(key, &record.file);
            }
        }
        for (key, content) in &edits.flags {
            let record = match content {
                Some(content) => Some(parse_flag_file(key, content, self.base.options.schema_major)?),
                None => None,
            };
            let old = match &record {
                Some(record) => self.flags.insert(Arc::clone(key), Arc::clone(record)),
                None => self.flags.remove(&**key),
            };
            if let Some(old) = old {
                self.relations.remove_flag(key, &old.file);
            }
            if let Some(record) = record {
                self.relations.add_flag(key, &record.file);
            }
        }
        match &edits.gate {
            None => {}
            Some(None) => self.gate = None,
            Some(Some(content)) => {
                let gate = Gate::of(readable(content)?, self.base.options.schema_major);
                if gate.diagnostics.iter().any(|found| found.severity == Severity::Error) {
                    return None;
                }
                self.gate = Some(Arc::new(GateRecord { content: content.clone(), gate }));
            }
        }
        let fits = self.flags.len() <= limits::FILES && self.segments.len() <= limits::FILES;
        fits.then_some(())
    }

    /// Returns the attributes whose types have changed; `None` where types clash, or numbers everywhere are to be
    /// read another way.
    fn attributes(&self, before: &Self, edits: &Edits) -> Option<Vec<Arc<str>>> {
        let mut touched: BTreeSet<&str> = BTreeSet::new();
        for workspace in [before, self] {
            touched.extend(
                workspace.uses(edits).flat_map(|u| &u.attributes).map(|used| used.attribute.as_str()),
            );
        }
        let mut changed = Vec::new();
        for name in touched {
            if self.relations.clashes(name) {
                return None;
            }
            match (before.relations.attribute(name), self.relations.attribute(name)) {
                (old, new) if old == new => {}
                (Some(AttrType::Int), Some(AttrType::Float))
                | (Some(AttrType::Float), Some(AttrType::Int)) => {
                    return None;
                }
                _ => changed.push(name.into()),
            }
        }
        Some(changed)
    }

    /// Checks that segments and environments that are named are there, and nobody names what is gone.
    fn check_names(&self, edits: &Edits) -> Option<()> {
        let gone = edits.segments.iter().filter(|(_, content)| content.is_none());
        if gone.map(|(key, _)| key).any(|key| self.relations.is_used(key)) {
            return None;
        }
        if self.uses(edits).flat_map(|uses| &uses.segments).any(|used| !self.segments.contains(&*used.key)) {
            return None;
        }
        let Some(roster) = self.roster() else { return Some(()) };
        let mut blocks = edits
            .flags
            .keys()
            .filter_map(|key| self.flags.get(&**key))
            .flat_map(|r| &r.file.flag.environments);
        blocks.all(|(name, _)| roster.iter().any(|environment| environment.name == *name)).then_some(())
    }

    /// Checks that no circle of segments goes through one of those that changed; others had none before.
    fn check_segments(&self, edits: &Edits) -> Option<()> {
        for start in edits.segments.keys() {
            let mut seen: HashSet<&str> = HashSet::new();
            let mut pending: Vec<&str> = vec![start];
            while let Some(key) = pending.pop() {
                let Some(record) = self.segments.get(key) else { continue };
                for used in &record.file.uses.segments {
                    if *used.key == **start {
                        return None;
                    }
                    if seen.insert(&used.key) {
                        pending.push(&used.key);
                    }
                }
            }
        }
        Some(())
    }

    /// Checks how deep and large audiences are with the segments put in.
    fn check_sizes(&self, edits: &Edits, dependents: &HashSet<(Kind, Arc<str>)>) -> Option<()> {
        let acyclic = HashSet::new();
        let mut reach = Reach::new(self, &acyclic);
        let changed = edits.segments.keys().map(|key| (Kind::Segment, key));
        let flags = edits.flags.keys().map(|key| (Kind::Flag, key));
        for (kind, key) in changed.chain(flags).chain(dependents.iter().map(|(kind, key)| (*kind, key))) {
            let beyond = match kind {
                Kind::Segment => reach.segment(key).is_beyond_limits(),
                Kind::Flag => self.flags.get(&**key).is_some_and(|record| {
                    let mut rules = record.file.rules().flatten();
                    rules.any(|rule| reach.audience(&rule.audience).is_beyond_limits())
                }),
            };
            if beyond {
                return None;
            }
        }
        Some(())
    }

    /// Looks again at the rules of flags that changed, or that name segments that did.
    fn check_rules(&mut self, edits: &Edits, dependents: &HashSet<(Kind, Arc<str>)>) {
        let dependents = dependents.iter().filter(|(kind, _)| *kind == Kind::Flag).map(|(_, key)| key);
        let keys: BTreeSet<&Arc<str>> = edits.flags.keys().chain(dependents).collect();
        for key in keys {
            let Some(record) = self.flags.get(&**key) else { continue };
            let rules = rules::of_flag(&record.file, self);
            if rules != record.rules {
                let record = FlagRecord {
                    content: record.content.clone(),
                    file: Arc::clone(&record.file),
                    parsed: Arc::clone(&record.parsed),
                    rules,
                };
                self.flags.insert(Arc::clone(key), Arc::new(record));
            }
        }
    }

    /// Finds out anew which segments rules reach, among those that a file named before or names now.
    fn settle_reached(&mut self, before: &Self, edits: &Edits) {
        let mut touched: Vec<Arc<str>> = edits.segments.keys().map(Arc::clone).collect();
        for workspace in [before, self] {
            touched
                .extend(workspace.uses(edits).flat_map(|u| &u.segments).map(|used| used.key.as_str().into()));
        }
        self.relations.settle_reached(touched, &self.segments);
    }

    /// Returns what the files refer to that the change is about, as they are here.
    fn uses(&self, edits: &Edits) -> impl Iterator<Item = &Uses> {
        let flags: Vec<&Uses> = edits
            .flags
            .keys()
            .filter_map(|key| self.flags.get(&**key))
            .map(|record| &record.file.uses)
            .collect();
        let segments = edits.segments.keys().filter_map(|key| self.segments.get(&**key));
        let segments: Vec<&Uses> = segments.map(|record| &record.file.uses).collect();
        flags.into_iter().chain(segments)
    }
}

impl Edits {
    fn paths(&self) -> Vec<(String, Option<Bytes>)> {
        let flags = self.flags.iter().map(|(key, content)| (flag_path(key), content.clone()));
        let segments = self.segments.iter().map(|(key, content)| (segment_path(key), content.clone()));
        let gate = self.gate.iter().map(|content| (GATE_FILE.to_owned(), content.clone()));
        flags.chain(segments).chain(gate).collect()
    }
}

fn parse_flag_file(key: &str, content: &Bytes, major: Option<u64>) -> Option<Arc<FlagRecord>> {
    let path = flag_path(key);
    let (mut file, root) = open(&path, readable(content)?, major);
    let flag = parse_flag(&mut file, key, &root?).filter(|_| !file.findings.has_errors())?;
    let parsed = Arc::new(file.findings.kept().clone());
    Some(Arc::new(FlagRecord { content: content.clone(), file: Arc::new(flag), parsed, rules: Vec::new() }))
}

fn parse_segment_file(key: &str, content: &Bytes, major: Option<u64>) -> Option<SegmentRecord> {
    let path = segment_path(key);
    let (mut file, root) = open(&path, readable(content)?, major);
    let segment = parse_segment(&mut file, key, &root?).filter(|_| !file.findings.has_errors())?;
    let parsed = file.findings.kept().clone();
    Some(SegmentRecord { content: content.clone(), file: segment, parsed })
}

fn readable(content: &Bytes) -> Option<&str> {
    std::str::from_utf8(content).ok().filter(|_| content.len() <= limits::FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        document::{Revision, Tree},
        manifest::LintOptions,
    };

    const SEGMENT: &str =
        "schema_version = \"0.1\"\n[segment]\npredicate = { attribute = \"x\", op = \"is_set\" }\n";

    fn flag(rules: &str) -> String {
        format!(
            "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n\
             [flag.environments._]\nvariant = \"on\"\n{rules}"
        )
    }

    fn workspace() -> Workspace {
        let named = flag("rules = [{ segment = \"s\", variant = \"off\" }]\n");
        let files =
            [("flags/a.toml", flag("")), ("flags/b.toml", named), ("segments/s.toml", SEGMENT.to_owned())];
        let tree: Tree = files.into_iter().collect();
        Workspace::new(tree, &LintOptions::new()).unwrap()
    }

    fn delta() -> Delta {
        Delta::new(Revision::new("1"), Revision::new("2"))
    }

    fn parts(delta: &Delta) -> Option<(usize, usize)> {
        match workspace().applied(delta).unwrap().1 {
            Touched::Parts { flags, segments, .. } => Some((flags.len(), segments.len())),
            Touched::Whole => None,
        }
    }

    #[test]
    fn changes_of_flags_and_segments_are_taken_without_the_whole() {
        let rule = flag(
            "rules = [{ predicate = { attribute = \"y\", op = \"gt\", value = 3 }, variant = \"off\" }]\n",
        );
        let segment = SEGMENT.replace("is_set", "is_not_set");

        assert_eq!(parts(&delta().changing("flags/a.toml", rule.clone())), Some((1, 0)));
        assert_eq!(parts(&delta().changing("flags/new.toml", rule)), Some((1, 0)));
        assert_eq!(parts(&delta().removing("flags/a.toml")), Some((1, 0)));
        assert_eq!(parts(&delta().changing("segments/s.toml", segment.clone())), Some((0, 1)));
        assert_eq!(parts(&delta().changing("segments/new.toml", segment)), Some((0, 1)));
        assert_eq!(parts(&delta().changing("flags/a.toml", flag(""))), Some((0, 0)));
    }

    #[test]
    fn changes_of_reflex_rules_are_taken_without_the_whole_and_touch_no_flag() {
        let rules = |threshold: u32| {
            format!(
                "[[rule]]\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\nthreshold = {threshold}\n\
                 action = \"block\"\n[[rule]]\ntag = \"free\"\nmetric = \"errors\"\noperator = \">\"\n\
                 threshold = 7\naction = \"block\"\n"
            )
        };
        let before = workspace();

        let (added, touched) = before.applied(&delta().changing("gate.toml", rules(5))).unwrap();
        assert!(matches!(touched, Touched::Parts { flags, .. } if flags.is_empty()));
        assert_eq!(added.manifest().reflex_rules.len(), 2);
        assert!(before.manifest().reflex_rules.is_empty());
        let (changed, _) = added.applied(&delta().changing("gate.toml", rules(9))).unwrap();
        let (gone, _) = changed.applied(&delta().removing("gate.toml")).unwrap();

        for (workspace, warned) in [(&before, None), (&added, Some(7)), (&changed, Some(1)), (&gone, None)] {
            // As if the whole had been looked at.
            let whole = Workspace::new(workspace.tree(), &LintOptions::new()).unwrap();
            assert_eq!(whole.fingerprint(), workspace.fingerprint());
            assert_eq!(whole.report(), workspace.report());
            assert_eq!(whole.manifest(), workspace.manifest());
            let report = workspace.report();
            let found = report.warnings().find(|found| found.code == "W014").map(|found| found.line);
            assert_eq!(found, warned, "{report:?}");
        }
        assert_eq!(gone.fingerprint(), before.fingerprint());
        let report = added.applied(&delta().changing("gate.toml", "[[rule]]\ntag = \"x\"\n")).unwrap_err();
        assert!(report.errors().all(|found| found.file.as_path() == std::path::Path::new("gate.toml")));
        assert!(report.has_errors());
    }

    #[test]
    fn what_is_about_the_whole_is_left_to_the_whole() {
        let namespace = "schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n";
        let environment = flag("[flag.environments.production]\nvariant = \"off\"\n");

        assert_eq!(parts(&delta().changing("namespace.toml", namespace)), None);
        assert_eq!(parts(&delta().changing("flags/a.toml", environment)), None);
        assert!(workspace().applied(&delta().removing("segments/s.toml")).unwrap_err().has_errors());
    }
}
