//! The client of a server's manifests.

use std::{fmt, path::Path, sync::Arc};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    IfVersion, ManifestError, ManifestMetadata, ManifestVersion, PushedManifest, ServerLint, VersionRef,
    answer::{self, LintAnswer, VersionsPage, malformed},
    api::{CURSOR_LIMIT, JSON_LIMIT, PAGE, ServerApi},
    local,
    request::{with_archive, with_json},
};
use crate::{
    Error, ErrorKind, HttpBackend,
    document::Tree,
    encoding::{hex, percent_encoded},
    manifest::{Diff, LintOptions, Manifest, archive, lint_tree},
    sources::server::{OWN_TENANT, ServerPlace},
    traits::{Request, Transport},
};

/// Reads and writes the manifests of a server: what `leverframe manifest push|pull|versions|diff|rollback` are made of.
///
/// Needs a token that may write (`exd_write_…`) to push and roll back, one that may read for the rest. Reading is
/// tried again when the server is away for a moment; writing is not, since nobody knows how far it came: push again
/// with [`IfVersion`], and equal content makes no new version.
///
/// # Examples
/// ```no_run
/// use leverframe::{IfVersion, ManifestClient, VersionRef};
///
/// # async fn release(token: String) -> Result<(), Box<dyn std::error::Error>> {
/// let mgr = ManifestClient::new("https://flags.example.com", token);
/// let meta = mgr.pull("payments", VersionRef::Latest, "./payments").await?;
/// // … edit, `lint_dir("./payments")`, review …
/// let pushed = mgr.push("payments", "./payments", Some(IfVersion(meta.version))).await?;
/// let diff = mgr.diff("payments", VersionRef::Version(meta.version), VersionRef::Latest).await?;
/// println!("version {}:\n{diff}", pushed.version);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ManifestClient {
    api: ServerApi,
    tenant: String,
}

impl ManifestClient {
    /// Makes a client of the server at `base`, such as `https://flags.example.com`, that shows `token`.
    #[must_use]
    pub fn new(base: impl Into<String>, token: impl Into<String>) -> Self {
        Self { api: ServerApi::new(base, token), tenant: OWN_TENANT.to_owned() }
    }

    /// Chooses the transport [default: [`HttpBackend::from_env_or_default`]].
    #[must_use]
    pub fn with_http_backend(self, backend: HttpBackend) -> Self {
        Self { api: self.api.with_http_backend(backend), ..self }
    }

    /// Uses this transport instead of one of the built-in kinds.
    #[must_use]
    pub fn with_transport(self, transport: Arc<dyn Transport>) -> Self {
        Self { api: self.api.with_transport(transport), ..self }
    }

    /// Names the tenant [default: the token's own; tokens of no tenant need it].
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Makes the directory at `dir` hold a version: its namespace files are replaced, others are left alone.
    ///
    /// A directory that does not exist yet appears whole. In one that exists each file is replaced in one step, after
    /// all of them have been written beside: a killed process leaves whole files, and pulling again finishes. Flags
    /// and segments that the version does not have are removed. Pushing what was pulled changes nothing.
    ///
    /// # Errors
    /// `Io` before anything is changed where the version would replace what is no file of a namespace, a link or what
    /// `.exdignore` leaves out; `Server`, with status 404, for a version that does not exist.
    pub async fn pull(
        &self,
        namespace: &str,
        version: VersionRef,
        dir: impl AsRef<Path> + Send,
    ) -> Result<ManifestMetadata, ManifestError> {
        let dir = dir.as_ref().to_owned();
        let (version, archive) = self.archive(namespace, version).await?;
        offload(move || {
            let tree = unpack(&archive)?;
            let done = local::replace(&dir, &tree).map_err(ManifestError::Io)?;
            Ok(ManifestMetadata {
                version,
                flag_count: done.flags,
                segment_count: done.segments,
                size: archive.len() as u64,
                sha256: hex(&Sha256::digest(&archive)),
                written: done.written,
                removed: done.removed,
            })
        })
        .await
    }

    /// Uploads the namespace in the directory at `dir`; with [`IfVersion`] only while that version is the current one.
    ///
    /// # Errors
    /// `LintFailed` where this library's lint, or the server's, finds an error; `VersionConflict` where somebody else
    /// was faster; `Io` where a file of the namespace cannot be read. Nothing is changed then.
    pub async fn push(
        &self,
        namespace: &str,
        dir: impl AsRef<Path> + Send,
        if_version: Option<IfVersion>,
    ) -> Result<PushedManifest, ManifestError> {
        let mut request = self.request(Method::PUT, namespace, "")?;
        if let Some(IfVersion(version)) = if_version {
            request = request.header(IF_VERSION, version.into());
        }
        let (dir, slug) = (dir.as_ref().to_owned(), namespace.to_owned());
        let archive = offload(move || local::linted_archive(&dir, &slug)).await?;
        let (_, body) = self.api.exchange(with_archive(request, namespace, &archive), JSON_LIMIT).await?;
        answer::json(&body)
    }

    /// Lets the server lint the namespace in the directory at `dir`; nothing is kept.
    ///
    /// # Errors
    /// When a file of the namespace cannot be read, or the server refuses. Findings are no error.
    pub async fn lint(
        &self,
        namespace: &str,
        dir: impl AsRef<Path> + Send,
    ) -> Result<ServerLint, ManifestError> {
        let request = self.request(Method::POST, namespace, "/lint")?;
        let dir = dir.as_ref().to_owned();
        let archive = offload(move || local::archive(&dir)).await?;
        let (_, body) = self.api.exchange(with_archive(request, namespace, &archive), JSON_LIMIT).await?;
        answer::json::<LintAnswer>(&body)?.findings()
    }

    /// Returns all versions, the newest first.
    ///
    /// # Errors
    /// `Malformed` for a list that does not end, besides what every request reports.
    pub async fn versions(&self, namespace: &str) -> Result<Vec<ManifestVersion>, ManifestError> {
        let versions = self.latest_versions(namespace, VERSIONS_LIMIT + 1).await?;
        if versions.len() > VERSIONS_LIMIT {
            return Err(malformed(format!("more than {VERSIONS_LIMIT} versions")));
        }
        Ok(versions)
    }

    /// Returns at most `count` versions, the newest first.
    ///
    /// # Errors
    /// `Malformed` where they do not come in order, besides what every request reports.
    pub async fn latest_versions(
        &self,
        namespace: &str,
        count: usize,
    ) -> Result<Vec<ManifestVersion>, ManifestError> {
        let mut versions: Vec<ManifestVersion> = Vec::new();
        let mut cursor = String::new();
        while versions.len() < count {
            let asked = (count - versions.len()).min(PAGE);
            let rest = format!("/versions?limit={asked}{cursor}");
            let request = self.request(Method::GET, namespace, &rest)?;
            let (_, body) = self.api.exchange(request, JSON_LIMIT).await?;
            let page: VersionsPage = answer::json(&body)?;
            for version in page.versions {
                // Each is smaller than the one before, so the list ends, whatever cursors a server gives.
                if versions.last().is_some_and(|last| last.version <= version.version) {
                    return Err(malformed("versions out of order"));
                }
                versions.push(version);
            }
            let Some(next) = page.next_cursor else { break };
            let next = format!("&cursor={}", percent_encoded(&next));
            if next == cursor || next.len() > CURSOR_LIMIT {
                return Err(malformed("a cursor that leads nowhere"));
            }
            cursor = next;
        }
        versions.truncate(count);
        Ok(versions)
    }

    /// Compares two versions: `to_string` gives what changed, and exactly whom it moves.
    ///
    /// # Errors
    /// `Malformed` where a version does not pass this library's lint, besides what every request reports.
    pub async fn diff(
        &self,
        namespace: &str,
        old: VersionRef,
        new: VersionRef,
    ) -> Result<Diff, ManifestError> {
        let (_, old) = self.archive(namespace, old).await?;
        let (_, new) = self.archive(namespace, new).await?;
        let slug = namespace.to_owned();
        offload(move || Ok(Diff::between(&manifest(&old, &slug)?, &manifest(&new, &slug)?))).await
    }

    /// Makes a new version with the content of an old one.
    ///
    /// # Errors
    /// `Server`, with status 404, for a version that does not exist, besides what every request reports.
    pub async fn rollback(&self, namespace: &str, version: u64) -> Result<PushedManifest, ManifestError> {
        let request = self.request(Method::POST, namespace, "/rollback")?;
        let (_, body) =
            self.api.exchange(with_json(request, &json!({ "version": version })), JSON_LIMIT).await?;
        answer::json(&body)
    }

    /// Fetches the archive of a version, and says which version it is.
    async fn archive(&self, namespace: &str, version: VersionRef) -> Result<(u64, Bytes), ManifestError> {
        let rest = match version {
            VersionRef::Latest => String::new(),
            VersionRef::Version(number) => format!("/versions/{number}"),
        };
        let request = self.request(Method::GET, namespace, &rest)?;
        let (headers, body) = self.api.exchange(request, archive::limits::COMPRESSED as u64).await?;
        let found = answer::version(&headers)?;
        match version {
            VersionRef::Version(asked) if asked != found => {
                Err(malformed(format!("version {found} instead of version {asked}")))
            }
            _ => Ok((found, body)),
        }
    }

    /// Makes a request about the manifest of a namespace; `rest` follows `manifest` in the path.
    fn request(&self, method: Method, namespace: &str, rest: &str) -> Result<Request, ManifestError> {
        let place = ServerPlace::new(self.api.base(), namespace).and_then(|p| p.with_tenant(&self.tenant));
        self.api.request(method, place.and_then(|place| place.of_namespace(&format!("manifest{rest}"))))
    }
}

impl fmt::Debug for ManifestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManifestClient").field("api", &self.api).field("tenant", &self.tenant).finish()
    }
}

const IF_VERSION: http::HeaderName = http::HeaderName::from_static("if-version");
/// One a minute for two months.
const VERSIONS_LIMIT: usize = 100_000;

fn unpack(archive: &[u8]) -> Result<Tree, ManifestError> {
    let unreadable = |error: Error| {
        ManifestError::Malformed(
            Error::new(ErrorKind::Invalid, "read the server's answer")
                .with("reason", "it is no archive of a namespace")
                .hint("is it the address of a Leverframe or exd server, without `/api/v1`?")
                .source(error),
        )
    };
    Ok(archive::unpack(archive).map_err(unreadable)?.tree)
}

fn manifest(archive: &[u8], slug: &str) -> Result<Manifest, ManifestError> {
    let linted = lint_tree(&unpack(archive)?, &LintOptions::new().with_slug(slug));
    linted.manifest.ok_or_else(|| {
        let first = linted.report.errors().next().map(ToString::to_string).unwrap_or_default();
        malformed(format!("a version that does not pass lint here: {first}"))
    })
}

/// Runs work on files where it holds up nobody: off the runtime's own threads, if there is a runtime.
async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ManifestError> + Send + 'static,
) -> Result<T, ManifestError> {
    match tokio::runtime::Handle::try_current() {
        Err(_) => work(),
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or_else(|error| {
            Err(ManifestError::Io(Error::new(ErrorKind::Cancelled, "work on the files").source(error)))
        }),
    }
}
