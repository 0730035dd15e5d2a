//! A checked namespace that can be changed file by file.

mod change;
mod digests;
mod relations;
mod shelf;

use std::sync::Arc;

use bytes::Bytes;

pub(crate) use self::change::Touched;
use self::{digests::Digests, relations::Relations, shelf::Shelf};
use super::{
    Fingerprint, GATE_FILE, Layout, LintDiagnostic, LintOptions, LintReport, Manifest,
    lint::{
        Parsed, Segments, cross,
        findings::{Findings, Kept},
        in_order,
        reflex::Gate,
        rules, slug,
    },
    model::{AttrType, Environment, Flag, Segment},
    parse::{FlagFile, NamespaceFile, SegmentFile},
};
use crate::document::{Delta, Entry, Tree};

/// A namespace that has passed lint, with what checking its next change needs.
///
/// Applying a change gives a new workspace and leaves this one as it was; the two share every file that is in both.
/// A change to flags, segments and `gate.toml` costs what those files cost, and those that depend on them; any other
/// change costs what the whole costs, and so does a report of errors.
///
/// # Examples
/// ```
/// use leverframe::{document::{Delta, Revision, Tree}, manifest::{LintOptions, Workspace}};
/// let flag = |on: &str| format!(
///     "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = {on}\n[flag.environments._]\nvariant = \"on\"\n",
/// );
/// let tree: Tree = [("flags/a.toml", flag("true"))].into_iter().collect();
/// let workspace = Workspace::new(tree, &LintOptions::new().with_slug("shop")).unwrap();
///
/// let delta = Delta::new(Revision::new("1"), Revision::new("2")).changing("flags/b.toml", flag("false"));
/// let next = workspace.apply(&delta).unwrap();
/// assert_eq!(next.manifest().flags.len(), 2);
/// assert_ne!(next.fingerprint(), workspace.fingerprint());
///
/// let broken = Delta::new(Revision::new("2"), Revision::new("3")).changing("flags/b.toml", flag("yes"));
/// assert!(next.apply(&broken).unwrap_err().has_errors());
/// ```
#[derive(Clone, Debug)]
pub struct Workspace {
    base: Arc<Base>,
    flags: Shelf<Arc<str>, Arc<FlagRecord>>,
    segments: Shelf<Arc<str>, Arc<SegmentRecord>>,
    gate: Option<Arc<GateRecord>>,
    relations: Relations,
    digests: Digests,
    fingerprint: Fingerprint,
}

/// What changes to flags, segments and reflex rules leave as it is.
#[derive(Debug)]
struct Base {
    options: LintOptions,
    slug: String,
    namespace: NamespaceFile,
    /// The entries that are neither flag nor segment nor `gate.toml`.
    others: Tree,
    /// What was found about the layout and in `namespace.toml`.
    diagnostics: Vec<LintDiagnostic>,
}

/// A flag's file with what was found in it.
#[derive(Debug)]
struct FlagRecord {
    content: Bytes,
    file: Arc<FlagFile>,
    /// What was found in the file alone …
    parsed: Arc<Kept>,
    /// … and what its rules make of the segments.
    rules: Vec<rules::Finding>,
}

/// A segment's file with what was found in it.
#[derive(Debug)]
struct SegmentRecord {
    content: Bytes,
    file: SegmentFile,
    parsed: Kept,
}

/// `gate.toml` with what was found in it.
#[derive(Debug)]
struct GateRecord {
    content: Bytes,
    gate: Gate,
}

impl Workspace {
    /// Checks the files of a tree.
    ///
    /// # Errors
    /// The report, when it has errors.
    pub fn new(tree: Tree, options: &LintOptions) -> Result<Self, LintReport> {
        let layout = Layout::of(&tree);
        let Parsed { mut lint, namespace, gate, mut sources } = Parsed::of(&tree, &layout, options);
        let slug = slug(&namespace, options);
        let diagnostics = lint.diagnostics.clone();
        let flags: Vec<Kept> =
            sources.flags.values().map(|source| source.file.findings.kept().clone()).collect();
        let segments: Vec<Kept> =
            sources.segments.values().map(|source| source.file.findings.kept().clone()).collect();
        let whole = cross::check(&mut sources, namespace.environments.as_deref(), &layout);
        let found = lint.diagnostics.iter().chain(&whole.diagnostics).chain(&gate.diagnostics);
        let broken = found.map(|diagnostic| diagnostic.severity).any(|s| s == super::Severity::Error)
            || sources
                .flags
                .values()
                .any(|source| source.file.findings.has_errors() || source.model.is_none())
            || sources
                .segments
                .values()
                .any(|source| source.file.findings.has_errors() || source.model.is_none());
        if broken {
            lint.diagnostics.extend(whole.diagnostics);
            return Err(lint.finish(slug, namespace, gate, sources, whole.attributes, &layout).report);
        }
        let mut others = tree.clone();
        let content = |path: &str| tree.file(path).cloned().unwrap_or_default();
        let flag_rules: Vec<Vec<rules::Finding>> = sources
            .flags
            .values()
            .map(|source| {
                source.model.as_ref().map_or_else(Vec::new, |model| rules::of_flag(model, &sources))
            })
            .collect();
        let digests = {
            let packaged = layout.packaged();
            let files = packaged.iter().filter_map(|(path, entry)| match entry {
                Entry::File(content) => Some((path, &content[..])),
                _ => None,
            });
            Digests::of(files)
        };
        let flags: Shelf<_, _> = sources
            .flags
            .into_iter()
            .zip(flags.into_iter().zip(flag_rules))
            .filter_map(|((key, source), (parsed, rules))| {
                let path = flag_path(key);
                others.remove(&path);
                let file = Arc::new(source.model?);
                Some((
                    key.into(),
                    Arc::new(FlagRecord { content: content(&path), file, parsed: parsed.into(), rules }),
                ))
            })
            .collect();
        let segments: Shelf<_, _> = sources
            .segments
            .into_iter()
            .zip(segments)
            .filter_map(|((key, source), parsed)| {
                let path = segment_path(key);
                others.remove(&path);
                Some((
                    key.into(),
                    Arc::new(SegmentRecord { content: content(&path), file: source.model?, parsed }),
                ))
            })
            .collect();
        let gate = layout.gate.map(|_| {
            others.remove(GATE_FILE);
            Arc::new(GateRecord { content: content(GATE_FILE), gate })
        });
        let relations = Relations::of(&flags, &segments);
        let base = Base { options: options.clone(), slug, namespace, others, diagnostics };
        let fingerprint = digests.fingerprint();
        Ok(Self { base: Arc::new(base), flags, segments, gate, relations, digests, fingerprint })
    }

    /// Applies a change and checks what it touches.
    ///
    /// # Errors
    /// The report of the whole, when it has errors.
    pub fn apply(&self, delta: &Delta) -> Result<Self, LintReport> {
        self.applied(delta).map(|(workspace, _)| workspace)
    }

    /// Puts the typed model together.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let mut manifest = self.base.namespace.clone().into_manifest(self.base.slug.clone());
        manifest.flags =
            self.flags.iter().map(|(key, record)| (key.to_string(), record.file.flag.clone())).collect();
        manifest.segments = self
            .segments
            .iter()
            .map(|(key, record)| (key.to_string(), record.file.segment.clone()))
            .collect();
        manifest.attributes = self.relations.attributes().map(|(name, t)| (name.to_owned(), t)).collect();
        manifest.reflex_rules = self.gate.as_ref().map_or_else(Vec::new, |record| record.gate.rules.clone());
        manifest
    }

    /// Returns the flag of that key.
    pub(crate) fn flag(&self, key: &str) -> Option<&Flag> {
        self.flags.get(key).map(|record| &record.file.flag)
    }

    /// Returns the segment of that key.
    pub(crate) fn segment(&self, key: &str) -> Option<&Segment> {
        self.segments.get(key).map(|record| &record.file.segment)
    }

    /// Returns the inferred type of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<AttrType> {
        self.relations.attribute(name)
    }

    /// Returns the namespace without its flags and segments.
    pub(crate) fn head(&self) -> Manifest {
        self.base.namespace.clone().into_manifest(self.base.slug.clone())
    }

    /// Puts the findings together: warnings and infos, since a workspace has no errors.
    #[must_use]
    pub fn report(&self) -> LintReport {
        let mut diagnostics = self.base.diagnostics.clone();
        diagnostics.extend(self.gate.iter().flat_map(|record| &record.gate.diagnostics).cloned());
        diagnostics.extend(self.relations.unreached().map(cross::no_rule_reaches));
        for (key, record) in self.flags.iter() {
            let path = flag_path(key);
            let mut findings = Findings::resume(&path, text(&record.content), Kept::clone(&record.parsed));
            for finding in record.rules.clone() {
                finding.add_to(&mut findings);
            }
            diagnostics.extend(findings.finish());
        }
        for (key, record) in self.segments.iter() {
            let path = segment_path(key);
            let findings = Findings::resume(&path, text(&record.content), record.parsed.clone());
            diagnostics.extend(findings.finish());
        }
        in_order(&mut diagnostics);
        LintReport {
            namespace: self.base.slug.clone(),
            flags: self.flags.len(),
            segments: self.segments.len(),
            diagnostics,
        }
    }

    /// Returns the digest of the files (M11).
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Puts the files together.
    #[must_use]
    pub fn tree(&self) -> Tree {
        let mut tree = self.base.others.clone();
        for (key, record) in self.flags.iter() {
            tree.insert(flag_path(key), Entry::File(record.content.clone()));
        }
        if let Some(record) = &self.gate {
            tree.insert(GATE_FILE, Entry::File(record.content.clone()));
        }
        for (key, record) in self.segments.iter() {
            tree.insert(segment_path(key), Entry::File(record.content.clone()));
        }
        tree
    }

    fn roster(&self) -> Option<&[Environment]> {
        self.base.namespace.environments.as_deref()
    }
}

impl Segments for Workspace {
    fn segment_file(&self, key: &str) -> Option<&SegmentFile> {
        self.segments.get(key).map(|record| &record.file)
    }
}

fn flag_path(key: &str) -> String {
    format!("flags/{key}.toml")
}

fn segment_path(key: &str) -> String {
    format!("segments/{key}.toml")
}

/// What has passed lint is UTF-8.
fn text(content: &[u8]) -> &str {
    std::str::from_utf8(content).unwrap_or_default()
}
