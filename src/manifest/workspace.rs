//! A checked namespace that can be changed file by file.

use super::{Fingerprint, LintOptions, LintReport, Linted, Manifest, lint_tree};
use crate::document::{Delta, Tree};

/// A namespace that has passed lint, with what checking its next change needs.
///
/// Applying a change gives a new workspace and leaves this one as it was, so that a change that is refused costs
/// nothing but the check.
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
#[derive(Debug)]
pub struct Workspace {
    tree: Tree,
    options: LintOptions,
    manifest: Manifest,
    report: LintReport,
    fingerprint: Fingerprint,
}

impl Workspace {
    /// Checks the files of a tree.
    ///
    /// # Errors
    /// The report, when it has errors.
    pub fn new(tree: Tree, options: &LintOptions) -> Result<Self, LintReport> {
        let Linted { manifest, report } = lint_tree(&tree, options);
        let Some(manifest) = manifest else { return Err(report) };
        let fingerprint = Fingerprint::of(&tree);
        Ok(Self { tree, options: options.clone(), manifest, report, fingerprint })
    }

    /// Applies a change and checks what it touches.
    ///
    /// # Errors
    /// The report of the whole, when it has errors.
    pub fn apply(&self, delta: &Delta) -> Result<Self, LintReport> {
        Self::new(delta.apply_to(&self.tree), &self.options)
    }

    /// Puts the typed model together.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        self.manifest.clone()
    }

    /// Puts the findings together: warnings and infos, since a workspace has no errors.
    #[must_use]
    pub fn report(&self) -> LintReport {
        self.report.clone()
    }

    /// Returns the digest of the files (M11).
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Puts the files together.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }
}
