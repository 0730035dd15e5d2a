//! Entries as files of one directory.
//!
//! Choose it for last known good that survives the process and the host's restart. Each entry is one file: written
//! beside, flushed to the disk, renamed into place, so that a reader, another process, or the next start after a
//! crash sees the old entry or the new one. Files are readable by their owner only. It does not lock: of two
//! processes that write one key, the later wins.

mod config;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;

pub use self::config::FileCacheConfig;
use crate::{
    Error, ErrorKind, Result,
    backends::cache_entry,
    register_cache,
    registry::{BuildContext, Plugin},
    traits::{CacheEntry, CacheKey, CacheStore},
};

/// The name under which the cache is registered.
pub const NAME: &str = "file";

/// A cache of files; see the [module](self).
///
/// # Examples
/// ```
/// use leverframe::{backends::cache_file::{FileCache, FileCacheConfig}, live::block_on, traits::{CacheKey, CacheStore}};
/// # let dir = tempfile::tempdir().unwrap();
/// let mut config = FileCacheConfig::default();
/// config.dir = dir.path().join("cache");
/// let cache = FileCache::open(config)?;
/// assert_eq!(block_on(cache.get(&CacheKey::new("flags.shop")?))?, None);
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Debug)]
pub struct FileCache {
    config: FileCacheConfig,
    closed: AtomicBool,
}

impl FileCache {
    /// Opens the directory, making it where it does not exist, and clears away what crashed writers left.
    ///
    /// # Errors
    /// `Config` without a directory; what the operating system reports when it cannot be made or listed.
    pub fn open(config: FileCacheConfig) -> Result<Self> {
        if config.dir.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Config, "open the file cache").hint("set `cache.file.dir`"));
        }
        make_private(&config.dir).map_err(|e| at(&config.dir, "make the cache directory", e))?;
        let cache = Self { config, closed: AtomicBool::new(false) };
        cache.clear_leftovers();
        Ok(cache)
    }

    fn path(&self, key: &CacheKey) -> Result<PathBuf> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "use a closed cache").with("cache", NAME));
        }
        Ok(self.config.dir.join(format!("{key}{ENTRY}")))
    }

    /// A writer of another process may be at work, so only files that no living process can be writing are removed:
    /// those whose process id is ours, left by a predecessor of the same id.
    fn clear_leftovers(&self) {
        let mine = format!(".{}{TEMPORARY}", std::process::id());
        let Ok(listing) = fs::read_dir(&self.config.dir) else { return };
        for item in listing.flatten() {
            let name = item.file_name();
            let name = name.to_string_lossy();
            let stale = name.ends_with(TEMPORARY) && (name.contains(&mine) || is_old(&item));
            if stale && let Err(error) = fs::remove_file(item.path()) {
                tracing::debug!(%error, file = %name, "a leftover of the cache stays");
            }
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{number}.{}{TEMPORARY}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let written = write_private(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // The error that counts is the first; the leftover is cleared at the next start in any case.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        // The rename is only safe from a power cut once the directory is on the disk.
        File::open(&self.config.dir)?.sync_all()
    }
}

#[async_trait]
impl CacheStore for FileCache {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>> {
        let path = self.path(key)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path, "read a cache entry", error)),
        };
        let mut bytes = Vec::new();
        let limit = self.config.max_entry_bytes.saturating_add(cache_entry::OVERHEAD);
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| at(&path, "read a cache entry", e))?;
        let entry = if bytes.len() as u64 > limit {
            Err(cache_entry::corrupt("it is too large"))
        } else {
            cache_entry::decode(&bytes)
        };
        entry.map(Some).map_err(|error| error.with("path", path.display()))
    }

    async fn put(&self, key: &CacheKey, entry: CacheEntry) -> Result<()> {
        let path = self.path(key)?;
        if entry.content().len() as u64 > self.config.max_entry_bytes {
            return Err(Error::new(ErrorKind::LimitExceeded, "put a cache entry")
                .with("limit", self.config.max_entry_bytes)
                .hint("raise `cache.file.max_entry_bytes`"));
        }
        let bytes = cache_entry::encode(&entry)?;
        self.write(&path, &bytes).map_err(|e| at(&path, "write a cache entry", e))
    }

    async fn remove(&self, key: &CacheKey) -> Result<()> {
        let path = self.path(key)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(at(&path, "remove a cache entry", error))
            }
            _ => Ok(()),
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn CacheStore>> {
    Ok(Arc::new(FileCache::open(context.settings()?)?))
}

/// How the cache is registered.
pub const PLUGIN: Plugin<dyn CacheStore> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("Entries as files of one directory: atomic, durable, private")
    .with_example(include_str!("example.toml"))
    .with_fields(FileCacheConfig::FIELDS);
register_cache!(PLUGIN);

/// Distinguishes the temporary files of one process.
static NUMBER: AtomicU64 = AtomicU64::new(0);
const ENTRY: &str = ".entry";
const TEMPORARY: &str = ".tmp";

fn is_old(item: &fs::DirEntry) -> bool {
    const AN_HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    // File times against file times: the directory was touched when the newest file was made.
    let newest = item.path().parent().and_then(|dir| fs::metadata(dir).ok()?.modified().ok());
    let age = newest
        .zip(item.metadata().ok().and_then(|m| m.modified().ok()))
        .and_then(|(n, m)| n.duration_since(m).ok());
    age.is_some_and(|age| age > AN_HOUR)
}

#[cfg(unix)]
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(dir)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn at(path: &Path, operation: &'static str, error: io::Error) -> Error {
    Error::from_io(operation, error)
        .with("path", path.display())
        .hint("check the directory's permissions and free space")
}
