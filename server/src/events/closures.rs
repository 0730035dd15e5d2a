//! Closures as archives: packed once for all who fetch the same one.

use std::sync::Arc;

use bytes::Bytes;
use leverframe::{Error, ErrorKind, Result, flags::events::FlagFilter, manifest::archive};
use tokio::sync::Semaphore;

use crate::{
    heads::{Head, Heads},
    shelf::Shelf,
    store::Store,
};

/// A closure, ready to be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackedClosure {
    /// The version it is of.
    pub version: u64,
    /// The digest over its files (M11).
    pub hash: String,
    /// The files, as a gzip tar.
    pub archive: Bytes,
}

/// Makes closures and keeps those that were used last.
#[derive(Debug)]
pub(super) struct Closures {
    packed: Shelf<(String, String, u64, FlagFilter), PackedClosure>,
    /// Past versions, for when readers of many selections fetch one that has just been replaced.
    past: Shelf<(String, String, u64), Head>,
    /// Packing takes a processor for a while; that many at once leave room for the rest of the server.
    turns: Semaphore,
}

impl Default for Closures {
    fn default() -> Self {
        const PACKED_BYTES: usize = 64 * 1024 * 1024;
        const PAST_BYTES: usize = 64 * 1024 * 1024;
        const AT_ONCE: usize = 2;
        Self {
            packed: Shelf::new(PACKED_BYTES, |closure| closure.archive.len() + 1024),
            past: Shelf::new(PAST_BYTES, Head::weight),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

impl Closures {
    /// Returns the closure of these flags in a version; `None` if there is no such version.
    pub(super) async fn get(
        &self,
        (store, heads): (&dyn Store, &Heads),
        (tenant, namespace): (&str, &str),
        version: Option<u64>,
        filter: &FlagFilter,
    ) -> Result<Option<Arc<PackedClosure>>> {
        let version = match version {
            Some(version) => version,
            None => match heads.current(tenant, namespace).await? {
                Some(head) => head.record.version,
                None => return Ok(None),
            },
        };
        let key = (tenant.to_owned(), namespace.to_owned(), version, filter.clone());
        let make = || async {
            let Some(head) = self.head((store, heads), (tenant, namespace), version).await? else {
                return Ok(None);
            };
            let _turn = self.turns.acquire().await;
            let filter = filter.clone();
            let packed = tokio::task::spawn_blocking(move || {
                let (files, hash) = filter.closure(&head.tree, &head.manifest);
                let archive = archive::pack(&files)?.into();
                Ok(PackedClosure { version, hash: hash.as_str().to_owned(), archive })
            });
            let failed = |error| Error::new(ErrorKind::Cancelled, "pack a closure").source(error);
            packed.await.map_err(failed)?.map(Some)
        };
        self.packed.get_or_make(key, make).await
    }

    async fn head(
        &self,
        (store, heads): (&dyn Store, &Heads),
        (tenant, namespace): (&str, &str),
        version: u64,
    ) -> Result<Option<Arc<Head>>> {
        if let Some(head) = heads.current(tenant, namespace).await?
            && head.record.version == version
        {
            return Ok(Some(head));
        }
        let key = (tenant.to_owned(), namespace.to_owned(), version);
        self.past.get_or_make(key, || Head::read(store, tenant, namespace, Some(version))).await
    }
}
