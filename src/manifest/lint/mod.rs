//! Lint: everything that can be wrong with a namespace, each with a code, a place and a next step.
//!
//! Three steps: files are parsed one by one, their models are put together, and the cross-file passes look at the
//! whole. The same pipeline serves the command line, loading and refreshing.

pub(crate) mod codes;
pub(in crate::manifest) mod cross;
pub(crate) mod findings;
pub(in crate::manifest) mod reach;
pub(in crate::manifest) mod reflex;
pub(in crate::manifest) mod rules;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use self::{
    codes::{CODES, CodeInfo},
    findings::did_you_mean,
};
use self::{
    codes::{E007, E008, E018, E032, W005, W009, W011},
    findings::whole_file,
    reflex::Gate,
};
use super::{
    LintDiagnostic, LintReport, Manifest, Severity,
    archive::limits,
    layout::{Found, GATE_FILE, Layout, NAMESPACE_FILE},
    names,
    parse::{File, FlagFile, NamespaceFile, SegmentFile, open, parse_flag, parse_namespace, parse_segment},
};
use crate::{
    document::{Entry, Tree},
    gate::reflex::ReflexRule,
};

/// The major of the schema that this library implements: the `0` of `schema_version = "0.1"`.
///
/// Lint refuses others only where [`LintOptions::with_schema_major`] asks for it.
///
/// # Examples
/// ```
/// assert_eq!(leverframe::manifest::lint::SCHEMA_MAJOR, 0);
/// ```
pub const SCHEMA_MAJOR: u64 = 0;

/// What lint goes by, besides the files.
///
/// # Examples
/// ```
/// use leverframe::{document::Tree, manifest::{LintOptions, lint_tree}};
/// let tree: Tree = [("flags/a.toml", "schema_version = \"1.0\"")].into_iter().collect();
/// let linted = lint_tree(&tree, &LintOptions::new().with_slug("shop").with_schema_major(0));
/// assert!(linted.report.errors().any(|d| d.code == "E001"));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are handed over"]
pub struct LintOptions {
    slug: Option<String>,
    directory: Option<String>,
    pub(super) schema_major: Option<u64>,
}

impl LintOptions {
    /// Makes the options of the plain entry points.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the namespace where its files do not (M13).
    pub fn with_slug(mut self, slug: impl Into<String>) -> Self {
        self.slug = Some(slug.into());
        self
    }

    /// Names the directory the files stand in: the slug where nothing else gives one, and what W005 compares with.
    pub fn with_directory(mut self, name: impl Into<String>) -> Self {
        self.directory = Some(name.into());
        self
    }

    /// Refuses files of another major schema version.
    pub fn with_schema_major(mut self, major: u64) -> Self {
        self.schema_major = Some(major);
        self
    }
}

/// What lint gives back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Linted {
    /// The typed model; there exactly if the report has no error.
    pub manifest: Option<Manifest>,
    /// The findings.
    pub report: LintReport,
}

/// Lints the files of a tree and, if nothing is wrong, puts the typed model together.
///
/// Pure, and linear in the size of the files.
///
/// # Examples
/// ```
/// use leverframe::{document::Tree, manifest::{LintOptions, lint_tree}};
/// let tree: Tree = [("flags/a.toml", r#"
/// schema_version = "0.1"
/// [flag]
/// type = "boolean"
/// [flag.variants]
/// on = true
/// [flag.environments._]
/// variant = "onn"
/// "#)].into_iter().collect();
/// let linted = lint_tree(&tree, &LintOptions::new().with_slug("shop"));
/// let error = linted.report.errors().next().unwrap();
/// assert_eq!((error.code, error.line), ("E004", 8));
/// assert_eq!(error.help.as_deref(), Some("did you mean `on`?"));
/// assert!(linted.manifest.is_none());
/// ```
#[must_use]
pub fn lint_tree(tree: &Tree, options: &LintOptions) -> Linted {
    let layout = Layout::of(tree);
    let Parsed { mut lint, namespace, gate, mut sources } = Parsed::of(tree, &layout, options);
    let slug = slug(&namespace, options);
    let whole = cross::check(&mut sources, namespace.environments.as_deref(), &layout);
    lint.diagnostics.extend(whole.diagnostics);
    lint.finish(slug, namespace, gate, sources, whole.attributes, &layout)
}

/// Lints a `gate.toml` alone; the rules are there exactly if no finding is an error.
pub(crate) fn gate_file(text: &str) -> (Option<Vec<ReflexRule>>, Vec<LintDiagnostic>) {
    let mut lint = Lint::default();
    let gate = lint.gate(&Entry::File(Bytes::copy_from_slice(text.as_bytes())), &LintOptions::new());
    lint.diagnostics.extend(gate.diagnostics);
    in_order(&mut lint.diagnostics);
    let passed = lint.diagnostics.iter().all(|found| found.severity != Severity::Error);
    (passed.then_some(gate.rules), lint.diagnostics)
}

/// The files of a tree, each looked at alone.
pub(super) struct Parsed<'t> {
    pub(super) lint: Lint,
    pub(super) namespace: NamespaceFile,
    pub(super) gate: Gate,
    pub(super) sources: Sources<'t>,
}

impl<'t> Parsed<'t> {
    pub(super) fn of(tree: &Tree, layout: &Layout<'t>, options: &LintOptions) -> Self {
        let mut lint = Lint::default();
        lint.layout(tree, layout);
        let namespace = lint.namespace(layout, options);
        let gate = layout.gate.map(|entry| lint.gate(entry, options)).unwrap_or_default();
        let mut sources = Sources::default();
        for found in &layout.segments {
            lint.file(found, options, &mut sources.segments, parse_segment);
        }
        for found in &layout.flags {
            lint.file(found, options, &mut sources.flags, parse_flag);
        }
        Self { lint, namespace, gate, sources }
    }
}

/// Where passes over rules find the segments that these name.
pub(super) trait Segments {
    /// Returns what the segment's file says, if it has no errors.
    fn segment_file(&self, key: &str) -> Option<&SegmentFile>;
}

impl Segments for Sources<'_> {
    fn segment_file(&self, key: &str) -> Option<&SegmentFile> {
        self.segments.get(key)?.model.as_ref()
    }
}

/// The parsed files by key, each with its findings so far.
#[derive(Default)]
pub(super) struct Sources<'t> {
    pub(super) flags: BTreeMap<&'t str, Source<'t, FlagFile>>,
    pub(super) segments: BTreeMap<&'t str, Source<'t, SegmentFile>>,
}

pub(super) struct Source<'t, M> {
    pub(super) file: File<'t>,
    pub(super) model: Option<M>,
}

#[derive(Default)]
pub(super) struct Lint {
    pub(super) diagnostics: Vec<LintDiagnostic>,
}

impl Lint {
    fn layout(&mut self, tree: &Tree, layout: &Layout<'_>) {
        for path in &layout.links {
            self.whole(E018, path, "a symbolic link", "put the file itself there; links are not followed");
        }
        for path in &layout.subdirectories {
            self.whole(
                W009,
                path,
                "a directory that is ignored",
                "move its files up, or leave it out with `.exdignore`",
            );
        }
        for (path, reason) in &layout.unreadable {
            self.whole(
                E007,
                path,
                &format!("cannot be read: {reason}"),
                "check permissions, and that it still exists",
            );
        }
        if let Some(problem) = &layout.ignore_problem {
            self.whole(
                E007,
                ".exdignore",
                &format!("cannot be used: {problem}"),
                "mend the pattern; it is gitignore's dialect",
            );
        }
        if let Some(limit) = tree.overflow() {
            self.whole(
                E008,
                "",
                &format!("the namespace has {limit}"),
                "split it, or remove what does not belong to it",
            );
        }
        for (folder, found) in [("flags", &layout.flags), ("segments", &layout.segments)] {
            if found.len() > limits::FILES {
                let message = format!("`{folder}` has {} files, more than {}", found.len(), limits::FILES);
                self.whole(E008, folder, &message, "split the namespace");
            }
        }
        if !layout.flags_folder {
            self.whole(
                W011,
                "",
                "there is no `flags` directory",
                "a namespace has one file per flag: `flags/<key>.toml`; check the path",
            );
        }
    }

    fn namespace(&mut self, layout: &Layout<'_>, options: &LintOptions) -> NamespaceFile {
        let Some(entry) = layout.namespace else { return NamespaceFile::default() };
        let Some(text) = self.text(NAMESPACE_FILE, entry) else { return NamespaceFile::default() };
        let (mut file, root) = open(NAMESPACE_FILE, text, options.schema_major);
        let namespace = root.map(|root| parse_namespace(&mut file, &root)).unwrap_or_default();
        if let (Some((slug, span)), Some(directory)) = (&namespace.slug, &options.directory)
            && slug != directory
        {
            let message = format!("the slug `{slug}` differs from the directory's name `{directory}`");
            file.findings.add_help(W005, span.clone(), message, "rename one of them, so that people find it");
        }
        self.diagnostics.extend(file.findings.finish());
        namespace
    }

    fn gate(&mut self, entry: &Entry, options: &LintOptions) -> Gate {
        let text = self.text(GATE_FILE, entry);
        text.map(|text| Gate::of(text, options.schema_major)).unwrap_or_default()
    }

    fn file<'t, M>(
        &mut self,
        found: &Found<'t>,
        options: &LintOptions,
        sources: &mut BTreeMap<&'t str, Source<'t, M>>,
        parse: impl Fn(&mut File<'t>, &str, &super::parse::Root<'t>) -> Option<M>,
    ) {
        if !names::is_key(found.stem) {
            let help = "a key is `[a-z][a-z0-9_-]*`, at most 63 characters; rename the file";
            self.whole(E032, found.path, "the file's name is no well-formed key", help);
            return;
        }
        let Some(text) = self.text(found.path, found.entry) else { return };
        let (mut file, root) = open(found.path, text, options.schema_major);
        let model = root.and_then(|root| parse(&mut file, found.stem, &root));
        sources.insert(found.stem, Source { file, model });
    }

    /// Returns the text of a file, or reports why there is none.
    fn text<'t>(&mut self, path: &str, entry: &'t Entry) -> Option<&'t str> {
        match entry {
            Entry::File(content) if content.len() > limits::FILE => {
                self.too_large(path, content.len() as u64);
                None
            }
            Entry::File(content) => {
                let text = std::str::from_utf8(content);
                if let Err(error) = &text {
                    let message = format!("not UTF-8 (byte {})", error.valid_up_to());
                    self.whole(E007, path, &message, "save the file as UTF-8");
                }
                text.ok()
            }
            Entry::TooLarge { bytes } => {
                self.too_large(path, *bytes);
                None
            }
            Entry::Unreadable(reason) => {
                self.whole(
                    E007,
                    path,
                    &format!("cannot be read: {reason}"),
                    "check permissions, and that it still exists",
                );
                None
            }
            _ => {
                self.whole(
                    E007,
                    path,
                    "not a regular file",
                    "put a plain file there, or leave it out with `.exdignore`",
                );
                None
            }
        }
    }

    fn too_large(&mut self, path: &str, bytes: u64) {
        let message = format!("{bytes} bytes, more than {}", limits::FILE);
        self.whole(E008, path, &message, "a file of a namespace is at most 1 MiB; split it");
    }

    fn whole(&mut self, code: CodeInfo, path: &str, message: &str, help: &str) {
        self.diagnostics.push(whole_file(code, path, message, help));
    }

    pub(super) fn finish(
        mut self,
        slug: String,
        namespace: NamespaceFile,
        gate: Gate,
        sources: Sources<'_>,
        attributes: BTreeMap<String, super::model::AttrType>,
        layout: &Layout<'_>,
    ) -> Linted {
        let mut manifest = namespace.into_manifest(slug.clone());
        manifest.attributes = attributes;
        manifest.reflex_rules = gate.rules;
        self.diagnostics.extend(gate.diagnostics);
        for (key, source) in sources.flags {
            self.diagnostics.extend(source.file.findings.finish());
            manifest.flags.extend(source.model.map(|model| (key.to_owned(), model.flag)));
        }
        for (key, source) in sources.segments {
            self.diagnostics.extend(source.file.findings.finish());
            manifest.segments.extend(source.model.map(|model| (key.to_owned(), model.segment)));
        }
        in_order(&mut self.diagnostics);
        let report = LintReport {
            namespace: slug,
            flags: layout.flags.len(),
            segments: layout.segments.len(),
            diagnostics: self.diagnostics,
        };
        Linted { manifest: report.passed().then_some(manifest), report }
    }
}

/// Puts findings in the order of reports.
pub(super) fn in_order(diagnostics: &mut [LintDiagnostic]) {
    diagnostics.sort_by(|a, b| {
        (&a.file, a.line, a.code, a.column, &a.message).cmp(&(&b.file, b.line, b.code, b.column, &b.message))
    });
}

impl NamespaceFile {
    /// Makes the namespace without flags and segments.
    pub(super) fn into_manifest(self, slug: String) -> Manifest {
        let mut manifest = Manifest::new(slug);
        if let Some(name) = self.display_name {
            manifest.display_name = name;
        }
        manifest.description = self.description;
        manifest.telemetry_enabled = self.telemetry_enabled.unwrap_or(true);
        manifest.private_attributes = self.private_attributes;
        manifest.raw_entity_ids = self.raw_entity_ids;
        manifest.environments = self.environments;
        manifest
    }
}

pub(super) fn slug(namespace: &NamespaceFile, options: &LintOptions) -> String {
    let declared = namespace.slug.as_ref().map(|(slug, _)| slug);
    declared
        .or(options.slug.as_ref())
        .or(options.directory.as_ref())
        .cloned()
        .unwrap_or_else(|| "namespace".to_owned())
}
