//! Last known good: what a feed falls back on when its source cannot be had.

mod archive;
mod store;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use self::{archive::ArchiveFile, store::Generations};
use crate::{
    Result,
    document::{Content, Document, Revision},
    traits::CacheStore,
};

/// Where a feed keeps the documents that passed its checks.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use leverframe::{backends::cache_memory::{MemoryCache, MemoryConfig}, live::Keep};
/// let keep = Keep::in_store(Arc::new(MemoryCache::new(MemoryConfig::default())), "flags.payments")?.generations(5);
/// assert!(format!("{keep:?}").contains("flags.payments"));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it keeps nothing until it is handed to a feed"]
pub struct Keep {
    place: Place,
    fresh_for: Duration,
    confirm_every: Duration,
}

#[derive(Clone, Debug)]
enum Place {
    Archive(ArchiveFile),
    Store(Generations),
}

/// How many documents a store keeps where nobody says.
const GENERATIONS: usize = 3;
/// How long a file counts as current without asking the source.
const FRESH_FOR: Duration = Duration::from_secs(300);
/// Often enough for ages that are counted in days, seldom enough for a disk.
const CONFIRM_EVERY: Duration = Duration::from_secs(3_600);

impl Keep {
    /// Keeps generations in a cache, with their revisions and digests, under keys that begin with `name`.
    ///
    /// A start asks the source whether the newest is still current, and transfers nothing if it is.
    ///
    /// # Errors
    /// `Invalid` where `name` makes no cache key.
    pub fn in_store(store: Arc<dyn CacheStore>, name: &str) -> Result<Self> {
        let generations = Generations::new(store, name, GENERATIONS)?;
        Ok(Self { place: Place::Store(generations), fresh_for: Duration::ZERO, confirm_every: CONFIRM_EVERY })
    }

    /// Keeps the newest document in one file, whose content is the document's own.
    ///
    /// A start within five minutes of the last write takes the file and does not ask the source.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Archive(ArchiveFile::new(path.into())),
            fresh_for: FRESH_FOR,
            confirm_every: CONFIRM_EVERY,
        }
    }

    /// Sets the name of documents in a file, which the file does not hold: that of the place they come from.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        if let Place::Archive(file) = &mut self.place {
            file.set_name(name.into());
        }
        self
    }

    /// Sets how many documents a store keeps, at least one; a file always keeps one.
    pub fn generations(mut self, number: usize) -> Self {
        if let Place::Store(store) = &mut self.place {
            store.set_number(number.max(1));
        }
        self
    }

    /// Sets how long after it was kept a document is taken at start without asking the source.
    pub fn fresh_for(mut self, window: Duration) -> Self {
        self.fresh_for = window;
        self
    }

    /// Sets how often a store notes that its newest document is still current: no age it tells is further off.
    pub fn confirm_every(mut self, interval: Duration) -> Self {
        self.confirm_every = interval;
        self
    }

    pub(super) fn is_to_be_confirmed_after(&self) -> Duration {
        self.confirm_every
    }

    /// Returns what is kept, newest first; what cannot be read is left out and logged.
    pub(super) async fn all(&self) -> Vec<Kept> {
        match &self.place {
            Place::Archive(file) => file.read().into_iter().collect(),
            Place::Store(store) => store.read().await,
        }
    }

    /// Keeps a document; once this returns without an error it is the newest.
    pub(super) async fn put(&self, kept: &Kept) -> Result<()> {
        match &self.place {
            Place::Archive(file) => file.write(kept),
            Place::Store(store) => store.write(kept).await,
        }
    }

    /// Notes that the source confirmed the newest to be current at `now`, so that its age counts from there.
    pub(super) async fn confirm(&self, now: SystemTime) -> Result<()> {
        match &self.place {
            // Its time is that of its content: a start within the window relies on it.
            Place::Archive(_) => Ok(()),
            Place::Store(store) => store.confirm(now).await,
        }
    }

    /// Marks a kept document as one that does not pass the checks, so that no start tries it again.
    pub(super) async fn quarantine(&self, kept: &Kept, reason: &str) -> Result<()> {
        match &self.place {
            // The next good document replaces the file.
            Place::Archive(_) => Ok(()),
            Place::Store(store) => store.quarantine(kept, reason).await,
        }
    }

    pub(super) fn is_fresh(&self, kept: &Kept, now: SystemTime) -> bool {
        // A time in the future, after the clock was set back, counts as old.
        now.duration_since(kept.kept_at).is_ok_and(|age| age < self.fresh_for)
    }
}

/// A document with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) content: Bytes,
    pub(super) name: Option<String>,
    pub(super) signature: Option<Bytes>,
    pub(super) revision: Option<Revision>,
    /// The product's mark of succession.
    pub(super) mark: u64,
    pub(super) kept_at: SystemTime,
}

impl Kept {
    /// Makes the document that was kept.
    pub(super) fn document(&self) -> Document {
        let revision = self.revision.clone().unwrap_or_else(|| Revision::new("kept"));
        let document = Document::new(revision, Content::Bytes(self.content.clone()));
        let document = self.name.iter().fold(document, |document, name| document.named(name));
        self.signature.iter().fold(document, |document, signature| document.signed(signature.clone()))
    }

    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.kept_at).unwrap_or_default()
    }
}
