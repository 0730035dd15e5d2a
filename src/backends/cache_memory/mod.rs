//! Entries in the memory of the process.
//!
//! Choose it for tests, and where nothing may touch a disk. It cannot do what a cache is mostly for: survive the
//! process.

mod config;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;

pub use self::config::MemoryConfig;
use crate::{
    Error, ErrorKind, Result, register_cache,
    registry::{BuildContext, Plugin},
    traits::{CacheEntry, CacheKey, CacheStore},
};

/// The name under which the cache is registered.
pub const NAME: &str = "memory";

/// A cache in the memory of the process; see the [module](self).
///
/// # Examples
/// ```
/// use leverframe::{backends::cache_memory::MemoryCache, live::block_on, traits::{CacheEntry, CacheKey, CacheStore}};
/// let cache = MemoryCache::new(Default::default());
/// let key = CacheKey::new("flags.shop")?;
/// let entry = CacheEntry::new("content", std::time::SystemTime::UNIX_EPOCH);
/// block_on(cache.put(&key, entry.clone()))?;
/// assert_eq!(block_on(cache.get(&key))?, Some(entry));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryCache {
    config: MemoryConfig,
    entries: Mutex<BTreeMap<CacheKey, CacheEntry>>,
    closed: AtomicBool,
}

impl MemoryCache {
    /// Makes an empty cache.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        Self { config, ..Self::default() }
    }

    fn entries(&self) -> Result<MutexGuard<'_, BTreeMap<CacheKey, CacheEntry>>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "use a closed cache").with("cache", NAME));
        }
        // Only whole insertions and removals happen under the lock.
        Ok(self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl CacheStore for MemoryCache {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>> {
        Ok(self.entries()?.get(key).cloned())
    }

    async fn put(&self, key: &CacheKey, entry: CacheEntry) -> Result<()> {
        let mut entries = self.entries()?;
        if entries.len() >= self.config.max_entries && !entries.contains_key(key) {
            return Err(Error::new(ErrorKind::LimitExceeded, "put a cache entry")
                .with("limit", self.config.max_entries)
                .hint("raise `cache.memory.max_entries`"));
        }
        entries.insert(key.clone(), entry);
        Ok(())
    }

    async fn remove(&self, key: &CacheKey) -> Result<()> {
        self.entries()?.remove(key);
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn CacheStore>> {
    Ok(Arc::new(MemoryCache::new(context.settings()?)))
}

/// How the cache is registered.
pub const PLUGIN: Plugin<dyn CacheStore> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("Entries in the memory of the process")
    .with_example(include_str!("example.toml"))
    .with_fields(MemoryConfig::FIELDS);
register_cache!(PLUGIN);
