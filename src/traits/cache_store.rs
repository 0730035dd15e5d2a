//! Where the last known good is kept.

use std::{fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, ErrorKind, Result, document::Revision};

/// The name of a cache entry.
///
/// # Examples
/// ```
/// use leverframe::traits::CacheKey;
/// assert!(CacheKey::new("flags.payments").is_ok());
/// assert!(CacheKey::new("../etc/passwd").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(String);

impl CacheKey {
    /// Checks and wraps a key: lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or digit, at
    /// most 128 characters. Such a key is a file name on every system.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = key.into();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let well_formed = key.len() <= 128
            && key.bytes().next().is_some_and(plain)
            && key.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if well_formed {
            return Ok(Self(key));
        }
        Err(Error::new(ErrorKind::Invalid, "name a cache entry")
            .with("key", key.escape_debug())
            .hint("use lower-case letters, digits, `.`, `_` and `-`, at most 128"))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is kept under a key.
///
/// # Examples
/// ```
/// use leverframe::{document::Revision, traits::CacheEntry};
/// let entry = CacheEntry::new("content", std::time::SystemTime::UNIX_EPOCH).with_revision(Revision::new("v8"));
/// assert_eq!(entry.revision().unwrap().as_str(), "v8");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CacheEntry {
    content: Bytes,
    revision: Option<Revision>,
    stored_at: SystemTime,
}

impl CacheEntry {
    /// Makes an entry of content that was current at `stored_at`.
    #[must_use]
    pub fn new(content: impl Into<Bytes>, stored_at: SystemTime) -> Self {
        Self { content: content.into(), revision: None, stored_at }
    }

    /// Adds the source's name for the state.
    #[must_use]
    pub fn with_revision(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Returns the content.
    #[must_use]
    pub fn content(&self) -> &Bytes {
        &self.content
    }

    /// Returns the source's name for the state.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }

    /// Returns when the content was current. Stores keep it to the millisecond.
    #[must_use]
    pub fn stored_at(&self) -> SystemTime {
        self.stored_at
    }
}

impl fmt::Debug for CacheEntry {
    /// Prints the size of the content, not the content: it may hold settings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEntry")
            .field("bytes", &self.content.len())
            .field("revision", &self.revision)
            .field("stored_at", &self.stored_at)
            .finish()
    }
}

/// Keeps entries beyond the life of what wrote them.
///
/// Clauses:
/// - **C1** `get` of a key that was never put is `None`.
/// - **C2** `get` after `put` gives the entry back: content, revision and time to the millisecond.
/// - **C3** `put` replaces the entry whole.
/// - **C4** `put` is atomic: a reader sees the old entry or the new one, also when the writer dies in between.
/// - **C5** a damaged entry is an error of kind `Corrupt`: never a panic, never silently absent, never other content.
/// - **C6** `remove` makes the key absent; removing an absent key is no error, removing a damaged one mends it.
/// - **C7** keys do not disturb each other.
/// - **C8** `close` may be called more than once; any call after it is an error of kind `Cancelled`.
/// - **C9** `name` is the word under which the store is registered and the same on every call.
#[cfg_attr(any(test, feature = "testing"), mockall::automock)]
#[async_trait]
pub trait CacheStore: fmt::Debug + Send + Sync + 'static {
    /// Returns the registered name of the kind of store.
    fn name(&self) -> &'static str;

    /// Returns the entry under `key`, or `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` when the entry exists and cannot be trusted; what the place reports when it cannot be read.
    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>>;

    /// Keeps `entry` under `key`; once this returns, it is safe from the end of the process.
    ///
    /// # Errors
    /// What the place reports when it cannot be written; the old entry stays.
    async fn put(&self, key: &CacheKey, entry: CacheEntry) -> Result<()>;

    /// Forgets what is under `key`.
    ///
    /// # Errors
    /// What the place reports when it cannot be written.
    async fn remove(&self, key: &CacheKey) -> Result<()>;

    /// Lets go of the place.
    ///
    /// # Errors
    /// When something could not be let go in an orderly way; the store is closed all the same.
    async fn close(&self) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CacheStore + ?Sized> CacheStore for Arc<T> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>> {
        (**self).get(key).await
    }

    async fn put(&self, key: &CacheKey, entry: CacheEntry) -> Result<()> {
        (**self).put(key, entry).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<()> {
        (**self).remove(key).await
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
