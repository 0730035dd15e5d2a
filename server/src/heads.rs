//! The current manifest of each namespace, checked and compiled once for everyone who evaluates or streams it.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use leverframe::{
    Error, ErrorKind, Result,
    document::{Entry, Tree},
    eval::Program,
    flags::NamespaceMeta,
    manifest::{LintOptions, Manifest, archive, lint_tree},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

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
    weight: usize,
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

    /// Reads a version from the store; `None` stands for the current one.
    ///
    /// # Errors
    /// When the store fails, and as [`of`](Self::of) does.
    pub async fn read(
        store: &dyn Store,
        tenant: &str,
        namespace: &str,
        version: Option<u64>,
    ) -> Result<Option<Self>> {
        match store.version(tenant, namespace, version).await? {
            Some(record) => Self::fetch(store, namespace, record).await.map(Some),
            None => Ok(None),
        }
    }

    async fn fetch(store: &dyn Store, namespace: &str, record: VersionRecord) -> Result<Self> {
        let archive = store.archive(&record.sha256).await?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read a stored archive").with("sha256", &record.sha256)
        })?;
        let slug = namespace.to_owned();
        let head = tokio::task::spawn_blocking(move || Self::of(&slug, record, archive)).await;
        head.map_err(|error| Error::new(ErrorKind::Cancelled, "compile a manifest").source(error))?
    }

    /// Returns about how many bytes the version takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Puts together what was just checked.
    #[must_use]
    pub fn assemble(record: VersionRecord, archive: Bytes, tree: Tree, manifest: Manifest) -> Self {
        // The text, and its model twice and compiled once, each of which takes about as much.
        let files = tree.iter().map(|(path, entry)| match entry {
            Entry::File(content) => 4 * content.len() + 4 * path.len() + 512,
            _ => path.len(),
        });
        let weight = archive.len() + files.sum::<usize>();
        let program = Program::compile(&manifest);
        Self {
            record,
            archive,
            tree,
            meta: manifest.clone().into(),
            manifest,
            program,
            splits: OnceLock::new(),
            weight,
        }
    }
}

impl Head {
    /// Returns what is split by an entity's id.
    pub(crate) fn splits(&self) -> &Splits {
        self.splits.get_or_init(|| Splits::of(&self.manifest))
    }
}

/// Keeps heads: read when first asked for, until a notice says that there is a newer one, or until others that were
/// asked for since need the room.
#[derive(Debug)]
pub struct Heads {
    store: Arc<dyn Store>,
    slots: RwLock<HashMap<Owned, Arc<Slot>>>,
    /// Counts uses, to tell which head was used last.
    uses: AtomicU64,
    limit: usize,
}

/// A tenant and a namespace of it.
type Owned = (String, String);

/// The same in either form, so that what is held is found by borrowed names: it is looked for with each evaluation.
trait Named {
    fn names(&self) -> (&str, &str);
}

impl Named for Owned {
    fn names(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
}

impl Named for (&str, &str) {
    fn names(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Named + 'a> for Owned {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // As the derived hash of the owned form, which the map was filled with.
        self.names().hash(hasher);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for dyn Named + '_ {}

#[derive(Debug, Default)]
struct Slot {
    head: ArcSwapOption<Head>,
    /// The newest version that was told of.
    expected: AtomicU64,
    /// Whether the store has to be asked before the head is believed.
    doubted: AtomicBool,
    used: AtomicU64,
    loading: Arc<Mutex<()>>,
}

/// The turn to make a new version of a namespace, held by one upload at a time. Whoever asks for the version while it
/// is being made gets what the upload has checked already instead of reading it again.
#[derive(Debug)]
pub struct Turn<'h> {
    heads: &'h Heads,
    slot: Arc<Slot>,
    guard: OwnedMutexGuard<()>,
}

impl Turn<'_> {
    /// Takes over the version that was accepted in this turn.
    pub fn publish(self, head: &Arc<Head>) {
        let Self { heads, slot, guard } = self;
        slot.put(head);
        drop((guard, slot));
        heads.make_room();
    }
}

impl Heads {
    /// Keeps heads of what is in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, slots: RwLock::default(), uses: AtomicU64::new(0), limit: WEIGHT_LIMIT }
    }

    /// Keeps heads up to about this many bytes, instead of 512 MiB.
    #[must_use]
    pub fn with_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
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
        let read = {
            let _one_at_a_time = slot.loading.lock().await;
            if let Some(head) = slot.fresh() {
                return Ok(Some(head));
            }
            // Before the store is asked, so that a notice which arrives meanwhile counts.
            let doubt = Doubt::settle(&slot);
            let read = self.read(tenant, namespace, slot.head.load_full()).await;
            if read.is_ok() {
                doubt.answered();
            }
            if let Ok(Some(head)) = &read {
                slot.put(head);
            }
            read
        };
        drop(slot);
        self.make_room();
        read
    }

    /// Returns the current manifest if it is at hand, without a store access; `None` says nothing of whether there is
    /// one.
    #[must_use]
    pub fn at_hand(&self, tenant: &str, namespace: &str) -> Option<Arc<Head>> {
        self.held(tenant, namespace)?.fresh()
    }

    async fn read(
        &self,
        tenant: &str,
        namespace: &str,
        held: Option<Arc<Head>>,
    ) -> Result<Option<Arc<Head>>> {
        let Some(record) = self.store.version(tenant, namespace, None).await? else { return Ok(None) };
        if let Some(held) = held.filter(|held| held.record.version >= record.version) {
            return Ok(Some(held));
        }
        Head::fetch(&*self.store, namespace, record).await.map(|head| Some(Arc::new(head)))
    }

    /// Waits for the turn to make a new version; to be taken before the store is written.
    pub async fn turn(&self, tenant: &str, namespace: &str) -> Turn<'_> {
        let slot = self.slot(tenant, namespace);
        let guard = Arc::clone(&slot.loading).lock_owned().await;
        Turn { heads: self, slot, guard }
    }

    /// Takes over a version that this process has just accepted, unless a newer one is there.
    pub fn publish(&self, tenant: &str, namespace: &str, head: &Arc<Head>) {
        self.slot(tenant, namespace).put(head);
        self.make_room();
    }

    /// Learns from a notice that a version is current; reads nothing.
    pub fn expect(&self, tenant: &str, namespace: &str, version: u64) {
        // What is not held is read in any case when it is asked for, unless it is being read at this moment: then its
        // slot is there.
        let Some(slot) = self.held(tenant, namespace) else { return };
        slot.expected.fetch_max(version, Ordering::AcqRel);
    }

    /// Does not believe what is held of a namespace until the store was asked, once: somebody says, who need not be
    /// right, that there is a newer version.
    pub fn doubt(&self, tenant: &str, namespace: &str) {
        if let Some(slot) = self.held(tenant, namespace) {
            slot.doubted.store(true, Ordering::Release);
        }
    }

    /// Believes nothing until the store was asked.
    pub fn doubt_all(&self) {
        for slot in self.slots.read().unwrap_or_else(PoisonError::into_inner).values() {
            slot.doubted.store(true, Ordering::Release);
        }
    }

    /// Lets go of the heads used longest ago while all together are too heavy, and of slots that nothing stands in.
    fn make_room(&self) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else holds a slot only to read or write it, which for now says that it is in use.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.head.load().is_some());
        let weight_of = |slot: &Arc<Slot>| slot.head.load().as_ref().map_or(0, |head| head.weight());
        let mut weight: usize = slots.values().map(weight_of).sum();
        while weight > self.limit && slots.len() > 1 {
            let idle = slots.iter().filter(|(_, slot)| Arc::strong_count(slot) == 1);
            let Some((key, slot)) = idle.min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed)) else {
                return;
            };
            weight -= weight_of(slot);
            let key = key.clone();
            slots.remove(&key);
        }
    }

    fn slot(&self, tenant: &str, namespace: &str) -> Arc<Slot> {
        let slot = self.held(tenant, namespace).unwrap_or_else(|| {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((tenant.to_owned(), namespace.to_owned())).or_default())
        });
        slot.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        slot
    }

    fn held(&self, tenant: &str, namespace: &str) -> Option<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(&(tenant, namespace) as &dyn Named).map(Arc::clone)
    }
}

impl Slot {
    fn fresh(&self) -> Option<Arc<Head>> {
        if self.doubted.load(Ordering::Acquire) {
            return None;
        }
        let expected = self.expected.load(Ordering::Acquire);
        self.head.load_full().filter(|head| head.record.version >= expected)
    }

    fn put(&self, head: &Arc<Head>) {
        self.head.rcu(|held| match held {
            Some(held) if held.record.version > head.record.version => Some(Arc::clone(held)),
            _ => Some(Arc::clone(head)),
        });
    }
}

/// Holds that a head is not in doubt while the store is asked; takes it back unless the store answered, also where whoever
/// asked went away in between.
struct Doubt<'s> {
    slot: Option<&'s Slot>,
}

impl<'s> Doubt<'s> {
    fn settle(slot: &'s Slot) -> Self {
        slot.doubted.store(false, Ordering::Release);
        Self { slot: Some(slot) }
    }

    fn answered(mut self) {
        self.slot = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.doubted.store(true, Ordering::Release);
        }
    }
}

/// Bytes of memory that heads take together, by and large, before those that nobody asks for go.
const WEIGHT_LIMIT: usize = 512 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::SystemTime};

    use leverframe::backends::clock_system::SystemClock;
    use tokio::runtime;

    use super::*;
    use crate::{
        model::{LoginMode, NamespaceRecord, NewVersion, Stored, Tenant},
        store::{SqliteStore, Store},
    };

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    async fn store(dir: &tempfile::TempDir, namespaces: &[&str]) -> Arc<dyn Store> {
        let store = SqliteStore::open(dir.path(), Arc::new(SystemClock::new())).await.unwrap();
        store.create_tenant(&Tenant::new("acme", LoginMode::Sso, NOW)).await.unwrap();
        for slug in namespaces {
            store.create_namespace(&NamespaceRecord::new("acme", *slug, NOW)).await.unwrap();
        }
        Arc::new(store)
    }

    /// Accepts a version behind the back of the heads.
    async fn accept(store: &dyn Store, slug: &str, text: &str) -> Head {
        let toml = format!("# {text}\nschema_version = \"0.1\"\n[namespace]\nslug = \"{slug}\"\n");
        let tree: Tree = [("namespace.toml", toml)].into_iter().collect();
        let archive = Bytes::from(archive::pack(&tree).unwrap());
        let new = NewVersion::new(archive.clone(), text);
        let Stored::Accepted(record) = store.put_version("acme", slug, &new, NOW).await.unwrap() else {
            panic!("not accepted")
        };
        Head::of(slug, record, archive).unwrap()
    }

    async fn version(heads: &Heads, slug: &str) -> u64 {
        heads.current("acme", slug).await.unwrap().map_or(0, |head| head.record.version)
    }

    #[tokio::test]
    async fn a_head_is_believed_until_a_newer_version_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, &["shop"]).await;
        let heads = Heads::new(Arc::clone(&store));
        assert_eq!(version(&heads, "shop").await, 0);
        accept(&*store, "shop", "one").await;
        assert_eq!(version(&heads, "shop").await, 1, "that there is none is not remembered");

        accept(&*store, "shop", "two").await;
        heads.expect("acme", "shop", 1);
        assert_eq!(version(&heads, "shop").await, 1, "what is known is no news");
        heads.expect("acme", "shop", 2);
        assert_eq!(version(&heads, "shop").await, 2);

        accept(&*store, "shop", "three").await;
        heads.doubt_all();
        assert_eq!(version(&heads, "shop").await, 3);
    }

    #[tokio::test]
    async fn a_version_made_in_a_turn_is_taken_over_by_those_who_wait_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, &["shop"]).await;
        let heads = Heads::new(Arc::clone(&store));
        let turn = heads.turn("acme", "shop").await;
        let made = Arc::new(accept(&*store, "shop", "one").await);
        heads.expect("acme", "shop", 1);
        let mut waiting = Box::pin(heads.current("acme", "shop"));
        assert!(futures_util::poll!(&mut waiting).is_pending());

        turn.publish(&made);

        let got = waiting.await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&got, &made), "not read again");
    }

    #[tokio::test]
    async fn an_older_version_never_replaces_a_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, &["shop"]).await;
        let heads = Heads::new(Arc::clone(&store));
        let old = Arc::new(accept(&*store, "shop", "one").await);
        accept(&*store, "shop", "two").await;
        assert_eq!(version(&heads, "shop").await, 2);

        heads.turn("acme", "shop").await.publish(&old);

        assert_eq!(version(&heads, "shop").await, 2);
    }

    #[test]
    fn whoever_goes_away_while_reading_leaves_the_head_in_doubt() {
        // One thread for what blocks, so that whoever keeps it busy holds up the store.
        let runtime = runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let store = store(&dir, &["shop"]).await;
            let heads = Heads::new(Arc::clone(&store));
            accept(&*store, "shop", "one").await;
            assert_eq!(version(&heads, "shop").await, 1);
            accept(&*store, "shop", "two").await;
            heads.doubt_all();
            let (release, released) = mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || released.recv());

            let mut reading = Box::pin(heads.current("acme", "shop"));
            assert!(futures_util::poll!(&mut reading).is_pending());
            drop(reading);

            drop(release);
            assert!(busy.await.unwrap().is_err(), "held up until now");
            assert_eq!(version(&heads, "shop").await, 2);
        });
    }

    #[tokio::test]
    async fn heads_that_nobody_asks_for_go_when_there_is_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, &["a", "b", "c"]).await;
        let weight = accept(&*store, "a", "one").await.weight();
        accept(&*store, "b", "one").await;
        accept(&*store, "c", "one").await;
        let heads = Heads::new(Arc::clone(&store)).with_limit(2 * weight + weight / 2);

        for slug in ["a", "b", "a", "c"] {
            assert_eq!(version(&heads, slug).await, 1);
        }

        let held = |slug| heads.at_hand("acme", slug).is_some();
        assert_eq!([held("a"), held("b"), held("c")], [true, false, true]);
        assert_eq!(version(&heads, "b").await, 1, "read again when it is asked for");
    }

    #[tokio::test]
    async fn names_that_stand_for_nothing_are_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, &[]).await;
        let heads = Heads::new(store);

        for number in 0..100 {
            assert_eq!(version(&heads, &format!("none-{number}")).await, 0);
            heads.expect("acme", &format!("other-{number}"), 1);
        }

        assert!(heads.slots.read().unwrap().is_empty());
    }
}
