//! The clauses of [`CacheStore`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use super::{check_name, skipped};
use crate::{
    ErrorKind, Result,
    document::Revision,
    live::block_on,
    traits::{CacheEntry, CacheKey, CacheStore},
};

/// A store, with a way to damage what it keeps where there is one.
pub struct Fixture<C> {
    store: Arc<C>,
    damage: Option<Damage>,
    keep: Box<dyn Send + Sync>,
}

type Damage = Box<dyn Fn(&CacheKey) + Send + Sync>;

impl<C: CacheStore> Fixture<C> {
    /// Takes a store.
    #[must_use]
    pub fn new(store: C) -> Self {
        Self { store: Arc::new(store), damage: None, keep: Box::new(()) }
    }

    /// Adds what damages the entry under a key.
    #[must_use]
    pub fn with_damage(mut self, damage: impl Fn(&CacheKey) + Send + Sync + 'static) -> Self {
        self.damage = Some(Box::new(damage));
        self
    }

    /// Keeps something alive for as long as the clause runs, such as a temporary directory.
    #[must_use]
    pub fn keeping(mut self, keep: impl Send + Sync + 'static) -> Self {
        self.keep = Box::new(keep);
        self
    }
}

/// What a clause works on.
pub struct Case {
    store: Arc<dyn CacheStore>,
    damage: Option<Damage>,
    _keep: Box<dyn Send + Sync>,
}

#[doc(hidden)]
pub fn on_the_type<C: CacheStore>(fixture: Fixture<C>) -> Case {
    Case { store: fixture.store, damage: fixture.damage, _keep: fixture.keep }
}

#[doc(hidden)]
pub fn through_arc_dyn<C: CacheStore>(fixture: Fixture<C>) -> Case {
    let erased: Arc<dyn CacheStore> = fixture.store;
    Case { store: Arc::new(erased), damage: fixture.damage, _keep: fixture.keep }
}

fn key(text: &str) -> CacheKey {
    CacheKey::new(text).expect("the kit uses well-formed keys")
}

fn entry(text: &str) -> CacheEntry {
    let stored_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    CacheEntry::new(text.to_owned(), stored_at).with_revision(Revision::new(format!("{} bytes", text.len())))
}

/// The value, or a panic that names what failed.
fn expect<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {}", error.chain()))
}

impl Case {
    async fn put(&self, at: &CacheKey, entry: CacheEntry) {
        expect("`put`", self.store.put(at, entry).await);
    }

    async fn get(&self, at: &CacheKey) -> Option<CacheEntry> {
        expect("`get`", self.store.get(at).await)
    }
}

/// C1: `get` of a key that was never put is `None`.
pub async fn c1_absent_is_none(case: Case) {
    assert_eq!(case.get(&key("never.put")).await, None);
}

/// C2: `get` after `put` gives the entry back.
pub async fn c2_entries_come_back(case: Case) {
    let bare = CacheEntry::new("", SystemTime::UNIX_EPOCH);
    let large = CacheEntry::new(vec![7; 300_000], SystemTime::UNIX_EPOCH + Duration::from_millis(1));
    for (name, entry) in [("a", entry("content")), ("b", bare), ("c", large)] {
        case.put(&key(name), entry.clone()).await;
        assert!(case.get(&key(name)).await == Some(entry), "entry `{name}` came back altered");
    }
}

/// C3: `put` replaces the entry whole.
pub async fn c3_put_replaces(case: Case) {
    case.put(&key("k"), entry("a long first content")).await;
    let second = CacheEntry::new("short", SystemTime::UNIX_EPOCH);
    case.put(&key("k"), second.clone()).await;
    assert_eq!(case.get(&key("k")).await, Some(second));
}

/// C4: a reader sees the old entry or the new one.
pub async fn c4_put_is_atomic(case: Case) {
    let entries = [entry(&"a".repeat(100_000)), entry(&"b".repeat(50_000))];
    case.put(&key("k"), entries[0].clone()).await;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let seen = expect("`get` while another writes", block_on(case.store.get(&key("k"))));
                assert!(
                    seen.is_some_and(|seen| entries.contains(&seen)),
                    "a reader saw neither the old nor the new entry"
                );
            }
        });
        for i in 0..60 {
            if let Err(error) = block_on(case.store.put(&key("k"), entries[i % 2].clone())) {
                done.store(true, Ordering::Release);
                panic!("`put` failed: {}", error.chain());
            }
        }
        done.store(true, Ordering::Release);
        if let Err(panic) = reader.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// C5: a damaged entry is `Corrupt`.
pub async fn c5_damage_is_corrupt(case: Case) {
    case.put(&key("k"), entry("content")).await;
    let Some(damage) = &case.damage else { return skipped("C5", "what this store keeps cannot be damaged") };
    damage(&key("k"));
    match case.store.get(&key("k")).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "damage is reported as {error}"),
        Ok(found) => panic!("a damaged entry was read as {found:?}"),
    }
    expect("`remove` of a damaged entry", case.store.remove(&key("k")).await);
    assert_eq!(case.get(&key("k")).await, None);
}

/// C6: `remove` makes the key absent; removing an absent key is no error.
pub async fn c6_remove_forgets(case: Case) {
    case.put(&key("k"), entry("content")).await;
    for _ in 0..2 {
        expect("`remove`", case.store.remove(&key("k")).await);
        assert_eq!(case.get(&key("k")).await, None, "a removed entry is still there");
    }
}

/// C7: keys do not disturb each other.
pub async fn c7_keys_keep_apart(case: Case) {
    let names = ["a", "a.b", "a-b", "a_b", "ab", "a.entry", "a.tmp", "0"];
    for name in names {
        case.put(&key(name), entry(name)).await;
    }
    expect("`remove`", case.store.remove(&key("a")).await);
    for name in &names[1..] {
        assert_eq!(case.get(&key(name)).await, Some(entry(name)), "`{name}` was disturbed");
    }
}

/// C8: `close` may be called more than once; any call after it is `Cancelled`.
pub async fn c8_close_ends_it(case: Case) {
    for _ in 0..2 {
        expect("`close`", case.store.close().await);
    }
    let kinds = [
        case.store.get(&key("k")).await.err().map(|e| e.kind()),
        case.store.put(&key("k"), entry("x")).await.err().map(|e| e.kind()),
        case.store.remove(&key("k")).await.err().map(|e| e.kind()),
    ];
    assert_eq!(kinds, [Some(ErrorKind::Cancelled); 3], "calls after `close`");
}

/// C9: `name` is well-formed and the same on every call.
pub async fn c9_name_is_fixed(case: Case) {
    check_name([case.store.name(), case.store.name()]);
}
