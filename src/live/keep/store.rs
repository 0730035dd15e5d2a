//! Generations of a document in a cache: one entry each, and an index that names them newest first.
//!
//! An entry is written before the index that names it, into the place of the oldest, so that a writer that dies in
//! between leaves an index whose oldest entry has another digest than it says: that one is passed over.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Kept;
use crate::{
    Error, ErrorKind, Result,
    document::Revision,
    encoding::hex,
    traits::{CacheEntry, CacheKey, CacheStore},
};

#[derive(Clone, Debug)]
pub(super) struct Generations {
    store: Arc<dyn CacheStore>,
    name: String,
    number: usize,
}

/// What the index says, newest first.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Index {
    generations: Vec<Generation>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Generation {
    slot: usize,
    digest: String,
    kept_at_ms: u64,
    revision: Option<String>,
    name: Option<String>,
    signature: Option<String>,
    #[serde(default)]
    mark: u64,
    /// Why the document does not pass the checks.
    quarantined: Option<String>,
}

impl Generations {
    pub(super) fn new(store: Arc<dyn CacheStore>, name: &str, number: usize) -> Result<Self> {
        let generations = Self { store, name: name.to_owned(), number };
        generations.key("index")?;
        Ok(generations)
    }

    pub(super) fn set_number(&mut self, number: usize) {
        self.number = number;
    }

    pub(super) async fn read(&self) -> Vec<Kept> {
        let index = match self.index().await {
            Ok(index) => index,
            Err(error) => {
                self.log("the index of what was kept cannot be read", &error);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for generation in index.generations {
            if generation.quarantined.is_some() {
                continue;
            }
            match self.entry(&generation).await {
                Ok(kept) => all.push(kept),
                Err(error) => self.log("a kept document cannot be used", &error),
            }
        }
        all
    }

    pub(super) async fn write(&self, kept: &Kept) -> Result<()> {
        // An index that cannot be read names nothing that could be lost.
        let mut index = self.index().await.unwrap_or_default();
        let digest = digest(&kept.content);
        let same = index.generations.iter().position(|g| g.digest == digest);
        let slot = match same {
            // The content is there already: it becomes the newest again.
            Some(place) => index.generations.remove(place).slot,
            None => self.slot_for(&mut index),
        };
        let entry = CacheEntry::new(kept.content.clone(), kept.kept_at);
        self.store.put(&self.key(&slot.to_string())?, entry).await?;
        index.generations.insert(
            0,
            Generation {
                slot,
                digest,
                kept_at_ms: millis(kept.kept_at),
                revision: kept.revision.as_ref().map(|r| r.as_str().to_owned()),
                name: kept.name.clone(),
                signature: kept.signature.as_ref().map(|s| String::from_utf8_lossy(s).into_owned()),
                mark: kept.mark,
                quarantined: None,
            },
        );
        self.put_index(&index, kept.kept_at).await
    }

    pub(super) async fn confirm(&self, now: SystemTime) -> Result<()> {
        let mut index = self.index().await?;
        if let Some(newest) = index.generations.first_mut() {
            newest.kept_at_ms = millis(now);
            self.put_index(&index, now).await?;
        }
        Ok(())
    }

    pub(super) async fn quarantine(&self, kept: &Kept, reason: &str) -> Result<()> {
        let mut index = self.index().await?;
        let digest = digest(&kept.content);
        for generation in index.generations.iter_mut().filter(|g| g.digest == digest) {
            generation.quarantined = Some(reason.to_owned());
        }
        self.put_index(&index, kept.kept_at).await
    }

    /// Finds a place for a new document: a free one, or that of a quarantined one, or that of the oldest.
    fn slot_for(&self, index: &mut Index) -> usize {
        index.generations.truncate(self.number);
        let free = (0..self.number).find(|slot| index.generations.iter().all(|g| g.slot != *slot));
        if let Some(slot) = free {
            return slot;
        }
        let quarantined = index.generations.iter().rposition(|g| g.quarantined.is_some());
        let given_up = quarantined.unwrap_or(index.generations.len() - 1);
        index.generations.remove(given_up).slot
    }

    async fn index(&self) -> Result<Index> {
        let Some(entry) = self.store.get(&self.key("index")?).await? else { return Ok(Index::default()) };
        serde_json::from_slice(entry.content())
            .map_err(|error| Error::new(ErrorKind::Corrupt, "read the index of what was kept").source(error))
    }

    async fn put_index(&self, index: &Index, at: SystemTime) -> Result<()> {
        let text = serde_json::to_vec(index).map_err(|error| {
            Error::new(ErrorKind::Invalid, "write the index of what is kept").source(error)
        })?;
        self.store.put(&self.key("index")?, CacheEntry::new(text, at)).await
    }

    async fn entry(&self, generation: &Generation) -> Result<Kept> {
        let refuse = |reason| {
            Error::new(ErrorKind::Corrupt, "read a kept document")
                .with("slot", generation.slot)
                .with("reason", reason)
        };
        let entry = self.store.get(&self.key(&generation.slot.to_string())?).await?;
        let entry = entry.ok_or_else(|| refuse("it is gone"))?;
        if digest(entry.content()) != generation.digest {
            return Err(refuse("its digest is another than the index says"));
        }
        let kept_at = UNIX_EPOCH
            .checked_add(Duration::from_millis(generation.kept_at_ms))
            .ok_or_else(|| refuse("its time is out of range"))?;
        Ok(Kept {
            content: entry.content().clone(),
            name: generation.name.clone(),
            signature: generation.signature.clone().map(|s| Bytes::from(s.into_bytes())),
            revision: generation.revision.clone().map(Revision::new),
            mark: generation.mark,
            kept_at,
        })
    }

    fn key(&self, part: &str) -> Result<CacheKey> {
        CacheKey::new(format!("{}.{part}", self.name))
    }

    fn log(&self, what: &str, error: &Error) {
        tracing::warn!(cache = self.store.name(), name = self.name, error = %error.chain(), "{what}");
    }
}

fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
