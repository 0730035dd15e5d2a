//! Flags as a product of the feed: a document becomes a checked, compiled namespace.

use crate::{
    document::{Content, Document},
    eval::Program,
    flags::LoadError,
    live::Product,
    manifest::{
        Fingerprint, LintOptions, Manifest,
        archive::{self, slug_of_file},
        lint_tree,
    },
};

/// A namespace that has passed lint, ready to be evaluated.
#[derive(Debug)]
#[non_exhaustive]
pub struct FlagSnapshot {
    /// What the files say.
    pub manifest: Manifest,
    /// The same, compiled.
    pub program: Program,
    /// The digest of the files (M11).
    pub fingerprint: Fingerprint,
}

/// How documents become namespaces.
#[derive(Debug, Default)]
pub(crate) struct FlagProduct {
    /// The slug where the files declare none and the caller knows better than the location.
    pub(crate) slug: Option<String>,
}

impl Product for FlagProduct {
    type Snapshot = FlagSnapshot;
    type Error = LoadError;
    const NAME: &'static str = "flags";

    fn build(&self, document: Document, previous: Option<&FlagSnapshot>) -> Result<FlagSnapshot, LoadError> {
        let name = document.name().map(str::to_owned);
        let mut options = LintOptions::new();
        let tree = match document.into_content() {
            Content::Tree(tree) => {
                options = name.into_iter().fold(options, LintOptions::with_directory);
                tree
            }
            Content::Bytes(bytes) => {
                options = name.into_iter().fold(options, |o, name| o.with_slug(slug_of_file(&name)));
                archive::unpack(&bytes)?.tree
            }
        };
        options = self.slug.iter().fold(options, LintOptions::with_slug);
        let linted = lint_tree(&tree, &options);
        let Some(manifest) = linted.manifest else { return Err(LoadError::Lint(linted.report)) };
        if let Some(previous) = previous
            && previous.manifest.slug != manifest.slug
        {
            return Err(LoadError::SlugMismatch {
                expected: previous.manifest.slug.clone(),
                found: manifest.slug,
            });
        }
        let program = Program::compile(&manifest);
        Ok(FlagSnapshot { program, fingerprint: Fingerprint::of(&tree), manifest })
    }
}
