//! Flags as a product of the feed: a document becomes a checked, compiled namespace.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    Error, ErrorKind, Retry,
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
    sources::file,
    traits::Source,
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
    /// Whether the files came in an archive with one top-level directory around them: such archives are made anew
    /// for each request by what serves them, so their validators say little.
    pub(crate) wrapped: bool,
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

    fn kind(error: &LoadError) -> ErrorKind {
        error.kind()
    }

    fn retry_after(error: &LoadError) -> Option<Duration> {
        match error {
            LoadError::Fetch(error) => match error.retry_state() {
                Retry::After(pause) => Some(pause),
                _ => None,
            },
            _ => None,
        }
    }

    fn not_loaded(&self, source: &dyn Source, error: Error) -> LoadError {
        if source.name() == file::NAME { LoadError::from(error) } else { LoadError::Fetch(error) }
    }

    fn to_bytes(&self, document: &Document) -> Result<Bytes, Error> {
        match document.content() {
            Content::Bytes(bytes) => Ok(bytes.clone()),
            Content::Tree(tree) => archive::pack(tree).map(Bytes::from),
        }
    }

    fn may_ask_since(&self, snapshot: &FlagSnapshot) -> bool {
        !snapshot.wrapped
    }

    fn is_same(&self, served: &FlagSnapshot, new: &FlagSnapshot) -> bool {
        served.fingerprint == new.fingerprint && served.meta.slug == new.meta.slug
    }

    fn build(&self, document: Document, previous: Option<&FlagSnapshot>) -> Result<FlagSnapshot, LoadError> {
        let name = document.name().map(str::to_owned);
        let mut options = LintOptions::new();
        let (tree, wrapped) = match document.into_content() {
            Content::Tree(tree) => {
                options = name.into_iter().fold(options, LintOptions::with_directory);
                (tree, false)
            }
            Content::Bytes(bytes) => {
                options = name.into_iter().fold(options, |o, name| o.with_slug(slug_of_file(&name)));
                let unpacked = archive::unpack(&bytes)?;
                (unpacked.tree, unpacked.wrapped)
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
        Ok(FlagSnapshot { program, fingerprint: Fingerprint::of(&tree), meta: manifest.into(), wrapped })
    }
}
