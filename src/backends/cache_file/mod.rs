//! Entries as files of one directory.
//!
//! Choose it for last known good that survives the process and the host's restart. Each entry is one file: written
//! beside, flushed to the disk, renamed into place, so that a reader, another process, or the next start after a
//! crash sees the old entry or the new one. Files are readable by their owner only. It does not lock: of two
//! processes that write one key, the later wins.

mod config;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;

pub use self::config::FileCacheConfig;
use crate::{
    Error, ErrorKind, Result,
    backends::cache_entry,
    durable, register_cache,
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
        durable::make_private(&config.dir).map_err(|e| at(&config.dir, "make the cache directory", e))?;
        durable::clear_leftovers(&config.dir);
        Ok(Self { config, closed: AtomicBool::new(false) })
    }

    fn path(&self, key: &CacheKey) -> Result<PathBuf> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "use a closed cache").with("cache", NAME));
        }
        Ok(self.config.dir.join(format!("{key}{ENTRY}")))
    }
}

#[async_trait]
impl CacheStore for FileCache {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>> {
        let path = self.path(key)?;
        let limit = self.config.max_entry_bytes.saturating_add(cache_entry::OVERHEAD);
        let entry = match read_bounded(&path, limit) {
            Ok(Some(bytes)) => cache_entry::decode(&bytes),
            Ok(None) => Err(cache_entry::corrupt("it is too large, or no regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path, "read a cache entry", error)),
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
        durable::replace(&path, &bytes).map_err(|e| at(&path, "write a cache entry", e))
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

const ENTRY: &str = ".entry";
/// Reads a regular file of at most `limit` bytes; `None` for anything else.
fn read_bounded(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > limit {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // It may grow while it is read.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
}

fn at(path: &Path, operation: &'static str, error: io::Error) -> Error {
    Error::from_io(operation, error)
        .with("path", path.display())
        .hint("check the directory's permissions and free space")
}
