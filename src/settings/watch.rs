//! Tells whoever asked what changed.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{bind::Rebind, snapshot::Snapshot};
use crate::text_table::TextTable;

/// What one update changed, by key: what is new, what is different, and what is gone.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")]
/// # fn main() -> Result<(), leverframe::NexusError> {
/// # use std::sync::Arc;
/// # use http::{HeaderMap, StatusCode};
/// # use leverframe::{NexusClient, testing::{Answer, ScriptedTransport}};
/// # let service = ScriptedTransport::new();
/// # let answer = |json: &'static str| service.answer("/v1/sync", Answer::Whole(StatusCode::OK, HeaderMap::new(), json.into()));
/// # answer(r#"{"synced_at":"t","flags":{"a":{"is_active":true,"source":"service"}}}"#);
/// let client = NexusClient::builder().endpoint("https://settings.example.com").api_key("wxs_1")
/// #   .transport(Arc::new(service.clone()))
///     .build()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// let _watching = client.on_change(move |change| tell.send(change.clone()).expect("somebody listens"));
/// # answer(r#"{"synced_at":"t","flags":{"a":{"is_active":false,"source":"service"},"b":{"is_active":true,"source":"service"}}}"#);
/// client.sync()?;
/// assert_eq!(told.recv().map(|change| change.flags), Ok(vec!["a".to_owned(), "b".to_owned()]));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The configs.
    pub configs: Vec<String>,
    /// The secrets.
    pub secrets: Vec<String>,
    /// The flags.
    pub flags: Vec<String>,
}

impl Change {
    fn between(old: &Snapshot, new: &Snapshot) -> Self {
        Self {
            configs: differing(&old.configs, &new.configs, |a, b| a.value == b.value),
            secrets: differing(&old.secrets, &new.secrets, |a, b| a.is_same(b)),
            flags: differing(&old.flags, &new.flags, |a, b| a.is_active == b.is_active),
        }
    }

    fn is_empty(&self) -> bool {
        self.configs.is_empty() && self.secrets.is_empty() && self.flags.is_empty()
    }
}

fn differing<V>(old: &TextTable<V>, new: &TextTable<V>, same: impl Fn(&V, &V) -> bool) -> Vec<String> {
    let changed = new.iter().filter(|(key, value)| old.get(key).is_none_or(|before| !same(before, value)));
    let gone = old.iter().filter(|(key, _)| new.get(key).is_none());
    let mut keys: Vec<String> = changed.chain(gone).map(|(key, _)| key.to_owned()).collect();
    keys.sort_unstable();
    keys
}

type Callback = Arc<dyn Fn(&Change) + Send + Sync>;

/// Those who want to know.
#[derive(Default)]
pub(super) struct Watchers {
    next: AtomicU64,
    callbacks: Mutex<Vec<(u64, Callback)>>,
    bound: Mutex<Vec<Weak<dyn Rebind>>>,
    news: Mutex<News>,
}

#[derive(Default)]
struct News {
    waiting: VecDeque<Change>,
    /// Whether somebody is telling; who comes meanwhile leaves what there is to that one.
    telling: bool,
}

impl Watchers {
    pub(super) fn add(self: &Arc<Self>, callback: Callback) -> Subscription {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.callbacks).push((number, callback));
        Subscription { watchers: Arc::downgrade(self), number }
    }

    pub(super) fn bind(&self, bound: &Arc<dyn Rebind>) {
        let mut all = lock(&self.bound);
        all.retain(|bound| bound.strong_count() > 0);
        all.push(Arc::downgrade(bound));
    }

    /// Makes bound values anew, and notes what is to be told once no lock is held.
    pub(super) fn note(&self, old: &Snapshot, new: &Snapshot) {
        let bound: Vec<_> = lock(&self.bound).iter().filter_map(Weak::upgrade).collect();
        for bound in bound {
            // As for callbacks: a type that panics is its own affair.
            if catch_unwind(AssertUnwindSafe(|| bound.rebind(&new.configs))).is_err() {
                tracing::error!("a type that settings are bound to panicked; the value before stays");
                bound.panicked();
            }
        }
        if lock(&self.callbacks).is_empty() {
            return;
        }
        let change = Change::between(old, new);
        if !change.is_empty() {
            lock(&self.news).waiting.push_back(change);
        }
    }

    /// Tells what was noted, in order. A callback may do anything with its client: what comes of it is told afterwards.
    pub(super) fn tell(&self) {
        loop {
            let change = {
                let mut news = lock(&self.news);
                if news.telling {
                    return;
                }
                let Some(change) = news.waiting.pop_front() else { return };
                news.telling = true;
                change
            };
            let callbacks: Vec<Callback> =
                lock(&self.callbacks).iter().map(|(_, callback)| Arc::clone(callback)).collect();
            for callback in callbacks {
                // One that panics must end neither the others nor the refresh; the panic hook has told of it.
                if catch_unwind(AssertUnwindSafe(|| callback(&change))).is_err() {
                    tracing::error!("a callback for changed settings panicked");
                }
            }
            lock(&self.news).telling = false;
        }
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing but whole changes of lists happens under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a callback in place; dropping it takes the callback out. See [`Change`].
///
/// # Examples
/// ```
/// use leverframe::{NexusClient, settings::Subscription};
/// struct Cache {
///     _watching: Subscription,
/// }
/// fn cache(client: &NexusClient) -> Cache {
///     Cache { _watching: client.on_change(|change| println!("{:?}", change.configs)) }
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping the subscription ends it"]
pub struct Subscription {
    watchers: Weak<Watchers>,
    number: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(watchers) = self.watchers.upgrade() {
            let mut callbacks = lock(&watchers.callbacks);
            let at = callbacks.iter().position(|(number, _)| *number == self.number);
            let callback = at.map(|at| callbacks.remove(at));
            drop(callbacks);
            // Outside the lock: what it holds may be another subscription.
            drop(callback);
        }
    }
}
