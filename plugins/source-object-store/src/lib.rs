//! One object of S3, Google Cloud Storage, Azure Blob Storage, or of a store that speaks the protocol of one of them.
//!
//! Choose it where a pipeline uploads archives to a bucket and processes are to read them there, with the provider's
//! own identities: `s3://bucket/path/manifest.tar.gz`, `gs://bucket/…`, `az://container/…`. The object comes as it is,
//! one run of bytes; the revision is its ETag, and a poll asks for the object only if that has changed. Where a store
//! gives no ETag, the revision is the content's digest, and each poll reads the object.
//!
//! Credentials are those of the URI's caller, else of `[source.object_store]`, else those that the platform hands
//! over: the variables that the providers' tools read, a web identity's file, the container's or instance's metadata
//! service. No variable but these is read: neither endpoints nor options come from the environment.
//!
//! The clients need Tokio, so a source has a thread with a runtime of its own, started by the first load; it works
//! from any thread, inside and outside of any runtime. A load is tried once, within `timeout_ms` in all: the feed
//! retries. It cannot tell of changes, list, write, or put a folder of objects together.

mod background;
mod config;
mod failure;
mod location;
mod observed;
mod store;

use std::{
    fmt,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use leverframe::{
    Error, ErrorKind, Result, UriAuth, async_trait,
    backends::clock_system::SystemClock,
    document::{Content, Document, Revision},
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Clock, Load, Source},
};
use object_store::{GetOptions, ObjectStore, path::Path};
use sha2::{Digest, Sha256};

pub use self::config::ObjectStoreConfig;
use self::{
    background::{Background, Lost},
    failure::Failure,
    location::Location,
};

/// The name under which the source is registered.
pub const NAME: &str = "object_store";

/// The schemes of the URIs that it serves.
pub const SCHEMES: &[&str] = &["s3", "gs", "az"];

/// A source over one object; see the [crate](self).
///
/// # Examples
/// ```
/// use leverframe::ErrorKind;
/// use source_object_store::{ObjectStoreConfig, ObjectStoreSource};
/// let mut config = ObjectStoreConfig::default();
/// config.anonymous = true;
/// let source = ObjectStoreSource::open("s3://acme-flags/payments/manifest.tar.gz", config.clone(), None)?;
/// let error = ObjectStoreSource::open("s3://acme-flags", config, None).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct ObjectStoreSource {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// What errors call the object.
    uri: String,
    max_object_bytes: u64,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    background: Background,
    closed: AtomicBool,
}

impl ObjectStoreSource {
    /// Opens the object that a URI names; nothing is sent yet.
    ///
    /// # Errors
    /// `Config` for a URI, settings or credentials that cannot be used.
    pub fn open(uri: &str, config: ObjectStoreConfig, auth: Option<&UriAuth>) -> Result<Self> {
        let location = Location::of(uri)?;
        let store = store::open(&location, &config, auth)?;
        Ok(Self::assemble(store, location.path.clone(), location.uri(), &config))
    }

    /// Opens an object of a store that the caller made: one of other settings, or of another kind.
    ///
    /// # Errors
    /// `Invalid` for a path that no object can have.
    ///
    /// # Examples
    /// ```
    /// use std::sync::Arc;
    /// use leverframe::{live::block_on, traits::{Load, Source}};
    /// use object_store::{ObjectStoreExt, memory::InMemory};
    /// let store = Arc::new(InMemory::new());
    /// block_on(store.put(&"manifest.tar.gz".into(), "content".into()))?;
    /// let source = source_object_store::ObjectStoreSource::over(store, "manifest.tar.gz", Default::default())?;
    /// let Load::Snapshot(document) = block_on(source.load(None))? else { panic!("nothing came") };
    /// assert_eq!(document.name(), Some("manifest.tar.gz"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn over(store: Arc<dyn ObjectStore>, path: &str, config: ObjectStoreConfig) -> Result<Self> {
        let path = Path::parse(path).map_err(|error| {
            Error::new(ErrorKind::Invalid, "open an object").with("path", path.escape_debug()).source(error)
        })?;
        let uri = path.to_string();
        Ok(Self::assemble(store, path, uri, &config))
    }

    fn assemble(store: Arc<dyn ObjectStore>, path: Path, uri: String, config: &ObjectStoreConfig) -> Self {
        Self {
            store,
            path,
            uri,
            max_object_bytes: config.max_object_bytes,
            timeout: Duration::from_millis(config.timeout_ms),
            clock: Arc::new(SystemClock::new()),
            background: Background::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Goes by another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn closed(&self) -> Error {
        Error::new(ErrorKind::Cancelled, "load from a closed source").with("uri", &self.uri)
    }
}

#[async_trait]
impl Source for ObjectStoreSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.load(Ordering::Acquire) {
            return Err(self.closed());
        }
        let fetch = fetch(Arc::clone(&self.store), self.path.clone(), since.cloned(), self.max_object_bytes);
        let limit = self.clock.sleep_until(self.clock.now() + self.timeout);
        match self.background.run(observed::observe(fetch), limit).await? {
            Ok((Ok(load), _)) => Ok(match (load, self.path.filename()) {
                (Load::Snapshot(document), Some(name)) => Load::Snapshot(document.named(name)),
                (load, _) => load,
            }),
            Ok((Err(failure), refusal)) => Err(failure.into_error(refusal).with("uri", &self.uri)),
            Err(Lost::Late) => Err(failure::timeout().with("uri", &self.uri)),
            Err(Lost::Stopped) => Err(self.closed()),
        }
    }

    async fn changed(&self) -> Result<()> {
        pending().await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.background.stop();
        Ok(())
    }
}

impl fmt::Debug for ObjectStoreSource {
    /// Leaves the client out: it holds credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStoreSource").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// What stands before a revision that is a digest; an ETag begins with a quotation mark or with `W/`.
const DIGEST: &str = "sha256:";

async fn fetch(
    store: Arc<dyn ObjectStore>,
    path: Path,
    since: Option<Revision>,
    limit: u64,
) -> Result<Load, Failure> {
    let tag = since.as_ref().map(Revision::as_str).filter(|r| !r.starts_with(DIGEST)).map(str::to_owned);
    let conditional = tag.is_some();
    let options = GetOptions { if_none_match: tag, ..GetOptions::default() };
    let found = match store.get_opts(&path, options).await {
        Err(object_store::Error::NotModified { .. }) if conditional => return Ok(Load::Unchanged),
        found => found?,
    };
    let named = found.meta.e_tag.clone().filter(|tag| !tag.is_empty()).map(Revision::new);
    // A store may not know the condition.
    if named.is_some() && named == since {
        return Ok(Load::Unchanged);
    }
    let size = found.meta.size;
    let content = read(found, limit).await?;
    if content.len() as u64 != size {
        return Err(Failure::Truncated);
    }
    let revision = named.unwrap_or_else(|| digest(&content));
    if since.as_ref() == Some(&revision) {
        return Ok(Load::Unchanged);
    }
    Ok(Load::Snapshot(Document::new(revision, Content::Bytes(content))))
}

/// Reads the object, and no more than the limit whatever its head said.
async fn read(found: object_store::GetResult, limit: u64) -> Result<Bytes, Failure> {
    if found.meta.size > limit {
        return Err(Failure::Oversize { limit });
    }
    let mut content = BytesMut::new();
    let mut chunks = found.into_stream();
    while let Some(chunk) = chunks.try_next().await? {
        if (content.len() + chunk.len()) as u64 > limit {
            return Err(Failure::Oversize { limit });
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content.freeze())
}

fn digest(content: &[u8]) -> Revision {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    Revision::new(format!("{DIGEST}{hex}"))
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    let uri = context.uri().ok_or_else(|| {
        Error::new(ErrorKind::Config, "open the object_store source")
            .hint("set `uri` to where the object is, such as `s3://bucket/path/manifest.tar.gz`")
    })?;
    let source = ObjectStoreSource::open(uri, context.settings()?, context.auth())?;
    Ok(Arc::new(source.with_clock(Arc::clone(context.clock()))))
}

/// How the source is registered.
pub const PLUGIN: Plugin<dyn Source> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("One object of S3, Google Cloud Storage or Azure Blob Storage, polled by its ETag")
    .with_example(include_str!("example.toml"))
    .with_fields(ObjectStoreConfig::FIELDS)
    .with_schemes(SCHEMES);
register_source!(PLUGIN);

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use object_store::{GetResult, GetResultPayload, ObjectMeta};

    use super::*;

    /// An object whose head says `size`, in chunks of ten bytes without end.
    fn endless(size: u64) -> GetResult {
        let chunks = stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 10])));
        GetResult {
            payload: GetResultPayload::Stream(chunks.boxed()),
            meta: ObjectMeta {
                location: Path::from("a"),
                last_modified: Default::default(),
                size,
                e_tag: None,
                version: None,
            },
            range: 0..size,
            attributes: Default::default(),
            extensions: Default::default(),
        }
    }

    #[test]
    fn an_object_larger_than_its_head_says_is_read_no_further_than_the_limit() {
        let outcome = leverframe::live::block_on(read(endless(5), 1_000));

        assert!(matches!(outcome, Err(Failure::Oversize { limit: 1_000 })), "{outcome:?}");
    }

    #[test]
    fn an_object_whose_head_says_too_much_is_not_begun() {
        let mut found = endless(1_001);
        let unread = stream::poll_fn(|_| panic!("the object was begun"));
        found.payload = GetResultPayload::Stream(unread.boxed());

        let outcome = leverframe::live::block_on(read(found, 1_000));

        assert!(matches!(outcome, Err(Failure::Oversize { .. })), "{outcome:?}");
    }
}
