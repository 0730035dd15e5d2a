//! Documents from the local file system: a directory, or a single file such as an archive.
//!
//! Choose it for files that a deployment puts there: a checkout, a mounted ConfigMap, a package. A directory becomes
//! a tree, a file becomes bytes; the revision is the digest of the content. Changes are noticed at once where the
//! operating system tells of them (feature `watch`), and by a look at the files' metadata everywhere else. An
//! editor's rename-replace, a replaced directory, a link that is turned to another release and the `..data` link of
//! a Kubernetes ConfigMap are changes like any other.
//!
//! It does not write, and it follows no link inside the tree.

mod config;
mod read;
mod signature;
#[cfg(feature = "watch")]
mod watch;
#[cfg(not(feature = "watch"))]
#[path = "unwatched.rs"]
mod watch;

use std::{
    fmt,
    future::poll_fn,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

pub(crate) use self::read::open_without_waiting;
pub use self::{
    config::FileConfig,
    read::{ReadLimits, read_tree},
};
use self::{
    read::{read_file, resolve_root},
    signature::Signature,
};
use crate::{
    Error, ErrorKind, Result, Retry,
    backends::clock_system::SystemClock,
    document::{Content, Document, Entry, Revision, SIGNATURE_EXTENSION, Tree},
    encoding::hex,
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Clock, Load, Source},
};

/// The name under which the source is registered.
pub const NAME: &str = "file";

/// A source over a directory or a file; see the [module](self).
pub struct FileSource {
    config: FileConfig,
    clock: Arc<dyn Clock>,
    /// What the files' metadata was just before the content of the last load was read: a change since then, also
    /// one while it was read, counts as not yet seen.
    seen: Mutex<Option<Seen>>,
    closed: AtomicBool,
}

impl FileSource {
    /// Opens the source; nothing is read yet.
    #[must_use]
    pub fn open(config: FileConfig) -> Self {
        Self::open_with_clock(config, Arc::new(SystemClock::new()))
    }

    /// Opens the source with another clock than the system's; nothing is read yet.
    #[must_use]
    pub fn open_with_clock(config: FileConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, seen: Mutex::new(None), closed: AtomicBool::new(false) }
    }

    /// Reads until nothing changed meanwhile: files of two versions must never come together in one document.
    fn read_settled(&self) -> Result<Document> {
        let mut before = Seen::now(&self.config, &*self.clock);
        for _ in 0..ATTEMPTS {
            let read = self.read();
            let after = Seen::now(&self.config, &*self.clock);
            if before.signature == after.signature {
                self.remember(before);
                return read;
            }
            before = after;
        }
        self.remember(before);
        Err(Error::new(ErrorKind::Io, "read the namespace's files")
            .with("path", self.config.path.display())
            .with("reason", "they change again and again while they are read")
            .retry(Retry::Now)
            .hint(
                "replace the directory in one step, and keep files that come and go all the time out of it",
            ))
    }

    fn remember(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    fn read(&self) -> Result<Document> {
        let path = &self.config.path;
        let resolved = resolve_root(path)?;
        // The name is the caller's own, not that of a release directory or of `..data`.
        let name = path.file_name().filter(|_| !path.ends_with("..")).or_else(|| resolved.file_name());
        let name = name.map(|n| n.to_string_lossy().into_owned());
        let content = if resolved.is_dir() {
            Content::Tree(read_tree(path, &self.config.limits())?)
        } else {
            Content::Bytes(read_file(&resolved, self.config.max_file_bytes)?)
        };
        let document = match detached_signature(&resolved, &content) {
            // A new signature over the same bytes is a change.
            Some(signature) => Document::new(digest(&content, Some(&signature)), content).signed(signature),
            None => Document::new(digest(&content, None), content),
        };
        Ok(match name {
            Some(name) => document.named(name),
            None => document,
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "load from a closed source")
                .with("path", self.config.path.display()));
        }
        Ok(())
    }

    fn has_changed(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().is_some_and(|seen| seen.fresh || seen.signature != Signature::of(&self.config))
    }
}

#[async_trait]
impl Source for FileSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        self.check_open()?;
        let document = self.read_settled()?;
        Ok(if since == Some(document.revision()) { Load::Unchanged } else { Load::Snapshot(document) })
    }

    async fn changed(&self) -> Result<()> {
        let interval = Duration::from_millis(self.config.check_interval_ms.max(1));
        loop {
            // Watching starts before the comparison, so that nothing falls between the two.
            let told = watch::events(&self.config);
            if self.has_changed() {
                // Files of one change arrive one after the other; loading in the middle of it would serve half.
                self.clock.sleep_until(self.clock.now() + SETTLE).await;
                return Ok(());
            }
            let mut told = pin!(told);
            let mut due = self.clock.sleep_until(self.clock.now() + interval);
            poll_fn(
                |cx| if told.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { due.as_mut().poll(cx) },
            )
            .await;
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource").field("config", &self.config).finish_non_exhaustive()
    }
}

const SIGNATURE_LIMIT: u64 = 64 * 1024;

/// Reads what stands beside a single file as its detached signature; a directory has its own inside.
fn detached_signature(file: &Path, content: &Content) -> Option<Bytes> {
    match content {
        Content::Bytes(_) => read_file(&signature_beside(file), SIGNATURE_LIMIT).ok(),
        Content::Tree(_) => None,
    }
}

fn signature_beside(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(SIGNATURE_EXTENSION);
    path.into()
}

/// What the files' metadata was when they were read.
#[derive(Debug)]
struct Seen {
    signature: Signature,
    /// A change right after it might not show in it, so that it has to be read once more.
    fresh: bool,
}

impl Seen {
    fn now(config: &FileConfig, clock: &dyn Clock) -> Self {
        // Before the look: what changes after this moment then counts as fresh, too.
        let wall = clock.wall();
        let signature = Signature::of(config);
        Self { fresh: signature.is_fresh(wall), signature }
    }
}

/// How often files are read that change while they are read.
const ATTEMPTS: usize = 4;

/// How long a change is given to become whole.
const SETTLE: Duration = Duration::from_millis(20);

fn digest(content: &Content, signature: Option<&Bytes>) -> Revision {
    let mut hash = Sha256::new();
    match content {
        Content::Bytes(bytes) => {
            hash.update(bytes);
            if let Some(signature) = signature {
                hash.update(Sha256::digest(signature));
            }
        }
        Content::Tree(tree) => digest_tree(tree, &mut hash),
    }
    Revision::new(format!("sha256:{}", hex(&hash.finalize())))
}

/// Lengths stand before texts, so that no two trees run together to the same bytes.
fn digest_tree(tree: &Tree, hash: &mut Sha256) {
    let mut text = |tag: u8, text: &[u8]| {
        hash.update([tag]);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    for (path, entry) in tree.iter() {
        text(0, path.as_bytes());
        match entry {
            Entry::File(content) => text(1, content),
            Entry::Directory => text(2, b""),
            Entry::Skipped => text(3, b""),
            Entry::Special => text(4, b""),
            Entry::Symlink => text(5, b""),
            Entry::TooLarge { bytes } => text(6, &bytes.to_le_bytes()),
            Entry::Unreadable(reason) => text(7, reason.as_bytes()),
        }
    }
    if let Some(reason) = tree.overflow() {
        text(8, reason.as_bytes());
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    let mut config: FileConfig = context.settings()?;
    if let Some(uri) = context.uri() {
        config.path = FileConfig::of_uri(uri)?.path;
    }
    if config.path.as_os_str().is_empty() {
        return Err(Error::new(ErrorKind::Config, "open the file source")
            .hint("give a `file://` URI, or set `source.file.path`"));
    }
    Ok(Arc::new(FileSource::open_with_clock(config, Arc::clone(context.clock()))))
}

/// How the source is registered.
pub const PLUGIN: Plugin<dyn Source> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("A directory or an archive of the local file system, with notice of changes")
    .with_example(include_str!("example.toml"))
    .with_fields(FileConfig::FIELDS);
register_source!(PLUGIN);
