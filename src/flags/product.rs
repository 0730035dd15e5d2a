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
        model::Environment,
    },
};

/// A namespace that has passed lint, ready to be evaluated.
///
/// What evaluation does not need, such as descriptions and the files' own structure, is not kept: a service holds
/// this for as long as it runs. [`lint_tree`] gives the whole model to whoever wants to look at it.
#[derive(Debug)]
#[non_exhaustive]
pub struct FlagSnapshot {
    /// What `namespace.toml` says.
    pub meta: NamespaceMeta,
    /// The flags, compiled.
    pub program: Program,
    /// The digest of the files (M11).
    pub fingerprint: Fingerprint,
}

/// What a namespace says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceMeta {
    /// The namespace's identity.
    pub slug: String,
    /// Name for people.
    pub display_name: String,
    /// Whether evaluations are recorded at all.
    pub telemetry_enabled: bool,
    /// Context attributes that no telemetry record may carry.
    pub private_attributes: Vec<String>,
    /// Whether telemetry carries raw entity ids instead of their SHA-256.
    pub raw_entity_ids: bool,
    /// The declared environments in declaration order; `None` in untyped mode.
    pub environments: Option<Vec<Environment>>,
}

impl NamespaceMeta {
    /// Returns the declared environment of that name; `None` in untyped mode.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<&Environment> {
        self.environments.as_ref()?.iter().find(|e| e.name == name)
    }
}

impl From<Manifest> for NamespaceMeta {
    fn from(manifest: Manifest) -> Self {
        Self {
            slug: manifest.slug,
            display_name: manifest.display_name,
            telemetry_enabled: manifest.telemetry_enabled,
            private_attributes: manifest.private_attributes,
            raw_entity_ids: manifest.raw_entity_ids,
            environments: manifest.environments,
        }
    }
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
                options = name.iter().fold(options, |o, name| o.with_slug(slug_of_file(name)));
                let unpacked = archive::unpack(&bytes);
                unpacked
                    .map_err(|error| name.into_iter().fold(error, |e, name| e.with("archive", name)))?
                    .tree
            }
        };
        options = self.slug.iter().fold(options, LintOptions::with_slug);
        let linted = lint_tree(&tree, &options);
        let Some(manifest) = linted.manifest else { return Err(LoadError::Lint(linted.report)) };
        if let Some(previous) = previous
            && previous.meta.slug != manifest.slug
        {
            return Err(LoadError::SlugMismatch {
                expected: previous.meta.slug.clone(),
                found: manifest.slug,
            });
        }
        let program = Program::compile(&manifest);
        Ok(FlagSnapshot { program, fingerprint: Fingerprint::of(&tree), meta: manifest.into() })
    }
}
