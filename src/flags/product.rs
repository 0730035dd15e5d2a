//! Flags as a product of the feed: a document becomes a checked, compiled namespace.

#[cfg(feature = "signed")]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Error, ErrorKind, Retry,
    document::{Content, Delta, Document, Revision},
    eval::{Edits, Program},
    flags::LoadError,
    live::Product,
    manifest::{
        Fingerprint, LintOptions, Manifest, Touched, Workspace,
        archive::{self, slug_of_file},
        lint_tree,
        model::Environment,
    },
    sources::file,
    traits::Source,
};
#[cfg(feature = "signed")]
use crate::{
    document::Tree,
    manifest::signature::{self, Trust, Verified},
    traits::Clock,
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
    /// What the next change is applied to, where changes are expected.
    workspace: Option<Box<Named>>,
    /// The signature's place in the succession of signed states; `None` where no signature is asked for.
    #[cfg(feature = "signed")]
    pub counter: Option<u64>,
}

/// The files of a snapshot, under the name that their place suggested.
#[derive(Debug)]
struct Named {
    name: Option<String>,
    workspace: Workspace,
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
#[derive(Debug)]
pub(crate) struct FlagProduct {
    /// The slug where the files declare none and the caller knows better than the location.
    slug: Option<String>,
    /// Whether snapshots keep what applying a change to them needs.
    takes_changes: bool,
    #[cfg(feature = "signed")]
    verifier: Option<Verifier>,
}

impl FlagProduct {
    pub(crate) fn new(slug: Option<String>) -> Self {
        Self {
            slug,
            takes_changes: false,
            #[cfg(feature = "signed")]
            verifier: None,
        }
    }

    /// Keeps with each snapshot what applying a change to it needs, for sources that bring changes.
    pub(crate) fn taking_changes(mut self) -> Self {
        self.takes_changes = true;
        self
    }

    /// Refuses documents that these keys do not vouch for.
    #[cfg(feature = "signed")]
    pub(crate) fn trusting(mut self, trust: Trust, clock: Arc<dyn Clock>) -> Self {
        self.verifier = Some(Verifier { trust, clock, highest: AtomicU64::new(0) });
        self
    }
}

/// Checks signatures against what was served before.
#[cfg(feature = "signed")]
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    clock: Arc<dyn Clock>,
    /// The highest counter that was served, by this process or one before it.
    highest: AtomicU64,
}

#[cfg(feature = "signed")]
impl Verifier {
    fn verify(&self, tree: &Tree, detached: Option<&Bytes>, digest: &Fingerprint) -> Result<Verified, Error> {
        let signature = detached.or_else(|| tree.file(signature::FILE_NAME)).ok_or_else(|| {
            Error::new(ErrorKind::PermissionDenied, "verify the signature")
                .with("reason", "there is none")
                .hint("sign the namespace with `leverframe sign`; only signed ones are served here")
        })?;
        self.trust.verify(signature, digest, self.clock.wall(), self.highest.load(Ordering::Acquire))
    }
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

    #[cfg(feature = "signed")]
    fn mark(&self, snapshot: &FlagSnapshot) -> u64 {
        snapshot.counter.unwrap_or_default()
    }

    #[cfg(feature = "signed")]
    fn mark_of(&self, document: &Document) -> u64 {
        let Some(verifier) = &self.verifier else { return 0 };
        let Content::Bytes(bytes) = document.content() else { return 0 };
        let Ok(unpacked) = archive::unpack(bytes) else { return 0 };
        let digest = Fingerprint::of(&unpacked.tree);
        verifier.verify(&unpacked.tree, document.signature(), &digest).map_or(0, |verified| verified.counter)
    }

    #[cfg(feature = "signed")]
    fn remember(&self, mark: u64) {
        if let Some(verifier) = &self.verifier {
            verifier.highest.fetch_max(mark, Ordering::AcqRel);
        }
    }

    fn is_same(&self, served: &FlagSnapshot, new: &FlagSnapshot) -> bool {
        served.fingerprint == new.fingerprint
            && served.meta.slug == new.meta.slug
            && self.mark(served) == self.mark(new)
    }

    fn apply(&self, delta: &Delta, served: &FlagSnapshot) -> Option<Result<FlagSnapshot, LoadError>> {
        // A signature vouches for a whole, and comes with one.
        #[cfg(feature = "signed")]
        if self.verifier.is_some() {
            return None;
        }
        let named = served.workspace.as_ref()?;
        Some(apply(delta, served, named))
    }

    fn document_of(&self, snapshot: &FlagSnapshot, revision: &Revision) -> Option<Document> {
        let named = snapshot.workspace.as_ref()?;
        let document = Document::new(revision.clone(), Content::Tree(named.workspace.tree()));
        Some(named.name.iter().fold(document, |document, name| document.named(name)))
    }

    fn build(&self, document: Document, previous: Option<&FlagSnapshot>) -> Result<FlagSnapshot, LoadError> {
        let name = document.name().map(str::to_owned);
        let kept_name = name.clone();
        #[cfg(feature = "signed")]
        let detached = document.signature().cloned();
        let mut options = LintOptions::new();
        let (tree, wrapped) = match document.into_content() {
            Content::Tree(tree) => {
                options = name.into_iter().fold(options, LintOptions::with_directory);
                (tree, false)
            }
            Content::Bytes(bytes) => {
                options = name.iter().fold(options, |o, name| o.with_slug(slug_of_file(name)));
                let unpacked = archive::unpack(&bytes)
                    .map_err(|error| name.into_iter().fold(error, |e, name| e.with("archive", name)))?;
                (unpacked.tree, unpacked.wrapped)
            }
        };
        let fingerprint = Fingerprint::of(&tree);
        // Before anything else is made of the files: what nobody vouches for is not even parsed.
        #[cfg(feature = "signed")]
        let verified = match &self.verifier {
            Some(verifier) => {
                Some(verifier.verify(&tree, detached.as_ref(), &fingerprint).map_err(LoadError::Fetch)?)
            }
            None => None,
        };
        options = self.slug.iter().fold(options, LintOptions::with_slug);
        let (manifest, workspace) = if self.takes_changes {
            let workspace = Workspace::new(tree, &options).map_err(LoadError::Lint)?;
            (workspace.manifest(), Some(Box::new(Named { name: kept_name, workspace })))
        } else {
            let linted = lint_tree(&tree, &options);
            let Some(manifest) = linted.manifest else { return Err(LoadError::Lint(linted.report)) };
            (manifest, None)
        };
        if let Some(previous) = previous
            && previous.meta.slug != manifest.slug
        {
            return Err(LoadError::SlugMismatch {
                expected: previous.meta.slug.clone(),
                found: manifest.slug,
            });
        }
        #[cfg(feature = "signed")]
        if let Some(verified) = &verified
            && verified.namespace != manifest.slug
        {
            return Err(LoadError::SlugMismatch {
                expected: verified.namespace.clone(),
                found: manifest.slug,
            });
        }
        #[cfg(feature = "signed")]
        self.remember(verified.as_ref().map_or(0, |verified| verified.counter));
        let program = Program::compile(&manifest);
        Ok(FlagSnapshot {
            program,
            fingerprint,
            meta: manifest.into(),
            wrapped,
            workspace,
            #[cfg(feature = "signed")]
            counter: verified.map(|verified| verified.counter),
        })
    }
}

fn apply(delta: &Delta, served: &FlagSnapshot, named: &Named) -> Result<FlagSnapshot, LoadError> {
    let (workspace, touched) = named.workspace.applied(delta).map_err(LoadError::Lint)?;
    if let Some(promised) = delta.digest()
        && promised != workspace.fingerprint().as_str()
    {
        let error = Error::new(ErrorKind::Corrupt, "apply a change")
            .with("promised", promised)
            .with("found", workspace.fingerprint())
            .hint("the whole is loaded instead; if this happens often, compare the versions of server and client");
        return Err(LoadError::Fetch(error));
    }
    let manifest = workspace.head();
    if manifest.slug != served.meta.slug {
        return Err(LoadError::SlugMismatch { expected: served.meta.slug.clone(), found: manifest.slug });
    }
    Ok(FlagSnapshot {
        program: program(&served.program, &workspace, &touched),
        fingerprint: workspace.fingerprint().clone(),
        meta: manifest.into(),
        wrapped: served.wrapped,
        workspace: Some(Box::new(Named { name: named.name.clone(), workspace })),
        #[cfg(feature = "signed")]
        counter: None,
    })
}

/// Compiles what a change touched, or the whole where that is not enough.
fn program(served: &Program, workspace: &Workspace, touched: &Touched) -> Program {
    let edited = match touched {
        Touched::Parts { flags, segments, attributes } => {
            let edits = Edits {
                flags: flags.iter().map(|key| (&**key, workspace.flag(key))).collect(),
                segments: segments.iter().map(|key| (&**key, workspace.segment(key))).collect(),
                attributes: attributes.iter().map(|name| &**name).collect(),
            };
            served.edited(workspace, &edits)
        }
        Touched::Whole => None,
    };
    edited.unwrap_or_else(|| Program::compile(&workspace.manifest()))
}
