//! The current manifest of each namespace, checked and compiled once for everyone who evaluates or streams it.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use leverframe::{
    Error, ErrorKind, Result,
    document::Tree,
    eval::Program,
    flags::NamespaceMeta,
    manifest::{LintOptions, Manifest, archive, lint_tree},
};
use tokio::sync::Mutex;

use crate::{model::VersionRecord, splits::Splits, store::Store};

/// One version of a namespace, ready to be evaluated.
#[derive(Debug)]
#[non_exhaustive]
pub struct Head {
    /// What the store knows of the version.
    pub record: VersionRecord,
    /// The archive as it is handed out.
    pub archive: Bytes,
    /// Its files.
    pub tree: Tree,
    /// Its model.
    pub manifest: Manifest,
    /// What the model says of the namespace.
    pub meta: NamespaceMeta,
    /// The flags, compiled.
    pub program: Program,
    /// Told when first asked for.
    splits: OnceLock<Splits>,
}

impl Head {
    /// Reads an archive that was accepted earlier.
    ///
    /// # Errors
    /// `Corrupt` if it does not read or does not pass lint any more.
    pub fn of(namespace: &str, record: VersionRecord, archive: Bytes) -> Result<Self> {
        let tree = archive::unpack(&archive)?.tree;
        let Some(manifest) = lint_tree(&tree, &LintOptions::new().with_slug(namespace)).manifest else {
            return Err(Error::new(ErrorKind::Corrupt, "read a stored manifest")
                .with("namespace", namespace)
                .with("version", record.version));
        };
        Ok(Self::assemble(record, archive, tree, manifest))
    }

    /// Puts together what was just checked.
    #[must_use]
    pub fn assemble(record: VersionRecord, archive: Bytes, tree: Tree, manifest: Manifest) -> Self {
        let program = Program::compile(&manifest);
        Self {
            record,
            archive,
            tree,
            meta: manifest.clone().into(),
            manifest,
            program,
            splits: OnceLock::new(),
        }
    }
}

impl Head {
    /// Returns what is split by an entity's id.
    pub(crate) fn splits(&self) -> &Splits {
        self.splits.get_or_init(|| Splits::of(&self.manifest))
    }
}

/// Keeps heads: read when first asked for, until a notice says that there is a newer one.
#[derive(Debug)]
pub struct Heads {
    store: Arc<dyn Store>,
    slots: RwLock<HashMap<(String, String), Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    head: ArcSwapOption<Head>,
    /// Whether the store has to be asked before the head is believed.
    stale: AtomicBool,
    loading: Mutex<()>,
}

impl Heads {
    /// Keeps heads of what is in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, slots: RwLock::default() }
    }

    /// Returns the current manifest of a namespace; `None` before the first upload. Without a store access when it
    /// is at hand, which is the case but for the first call after a change made elsewhere.
    ///
    /// # Errors
    /// When it has to be read and the store fails or what it holds is damaged.
    pub async fn current(&self, tenant: &str, namespace: &str) -> Result<Option<Arc<Head>>> {
        let slot = self.slot(tenant, namespace);
        if let Some(head) = slot.fresh() {
            return Ok(Some(head));
        }
        let _one_at_a_time = slot.loading.lock().await;
        if let Some(head) = slot.fresh() {
            return Ok(Some(head));
        }
        // Before the store is asked, so that a notice which arrives meanwhile counts.
        slot.stale.store(false, Ordering::Release);
        let read = self.read(tenant, namespace, slot.head.load_full()).await;
        if read.is_err() {
            slot.stale.store(true, Ordering::Release);
        }
        let Some(head) = read? else { return Ok(None) };
        slot.put(&head);
        Ok(Some(head))
    }

    /// Returns the current manifest if it is at hand, without a store access; `None` says nothing of whether there is
    /// one.
    #[must_use]
    pub fn at_hand(&self, tenant: &str, namespace: &str) -> Option<Arc<Head>> {
        self.slot(tenant, namespace).fresh()
    }

    async fn read(
        &self,
        tenant: &str,
        namespace: &str,
        held: Option<Arc<Head>>,
    ) -> Result<Option<Arc<Head>>> {
        let Some(record) = self.store.version(tenant, namespace, None).await? else { return Ok(None) };
        if let Some(held) = held.filter(|held| held.record.version == record.version) {
            return Ok(Some(held));
        }
        let archive = self.store.archive(&record.sha256).await?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read a stored archive").with("sha256", &record.sha256)
        })?;
        let slug = namespace.to_owned();
        let head = tokio::task::spawn_blocking(move || Head::of(&slug, record, archive)).await;
        let head =
            head.map_err(|error| Error::new(ErrorKind::Cancelled, "compile a manifest").source(error))??;
        Ok(Some(Arc::new(head)))
    }

    /// Takes over a version that this process has just accepted, unless a newer one is there.
    pub fn publish(&self, tenant: &str, namespace: &str, head: &Arc<Head>) {
        self.slot(tenant, namespace).put(head);
    }

    /// Learns from a notice that a version is current; reads nothing.
    pub fn expect(&self, tenant: &str, namespace: &str, version: u64) {
        let slot = self.slot(tenant, namespace);
        if slot.head.load().as_ref().is_none_or(|head| head.record.version < version) {
            slot.stale.store(true, Ordering::Release);
        }
    }

    /// Believes nothing until the store was asked.
    pub fn doubt_all(&self) {
        for slot in self.slots.read().unwrap_or_else(PoisonError::into_inner).values() {
            slot.stale.store(true, Ordering::Release);
        }
    }

    fn slot(&self, tenant: &str, namespace: &str) -> Arc<Slot> {
        let key = (tenant.to_owned(), namespace.to_owned());
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(slot);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key).or_default())
    }
}

impl Slot {
    fn fresh(&self) -> Option<Arc<Head>> {
        if self.stale.load(Ordering::Acquire) { None } else { self.head.load_full() }
    }

    fn put(&self, head: &Arc<Head>) {
        self.head.rcu(|held| match held {
            Some(held) if held.record.version > head.record.version => Some(Arc::clone(held)),
            _ => Some(Arc::clone(head)),
        });
    }
}
