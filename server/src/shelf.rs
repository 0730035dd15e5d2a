//! Things that are expensive to make: made once for all who ask at the same time, kept while there is room.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::OnceCell;

/// Keeps things by key, the ones used last, up to a weight.
pub(crate) struct Shelf<K, V> {
    places: Mutex<Places<K, V>>,
    weigh: fn(&V) -> usize,
    limit: usize,
}

struct Places<K, V> {
    by_key: HashMap<K, Place<V>>,
    /// Counts uses, to tell which was last.
    uses: u64,
}

struct Place<V> {
    cell: Arc<OnceCell<Option<Arc<V>>>>,
    used: u64,
}

impl<K: Clone + Eq + Hash + Send, V: Send + Sync> Shelf<K, V> {
    /// Keeps up to this weight.
    pub(crate) fn new(limit: usize, weigh: fn(&V) -> usize) -> Self {
        Self { places: Mutex::new(Places { by_key: HashMap::new(), uses: 0 }), weigh, limit }
    }

    /// Returns what stands under the key, or makes it: once, however many ask. What there is none of, and what failed,
    /// is not kept.
    ///
    /// # Errors
    /// What making it fails with.
    pub(crate) async fn get_or_make<E, F>(
        &self,
        key: K,
        make: impl FnOnce() -> F + Send,
    ) -> Result<Option<Arc<V>>, E>
    where
        F: Future<Output = Result<Option<V>, E>> + Send,
        E: Send,
    {
        let cell = {
            let mut places = self.lock();
            places.uses += 1;
            let used = places.uses;
            let place =
                places.by_key.entry(key.clone()).or_insert_with(|| Place { cell: Arc::default(), used });
            place.used = used;
            Arc::clone(&place.cell)
        };
        let tried = AtomicBool::new(false);
        let make = || async {
            tried.store(true, Ordering::Relaxed);
            Ok(make().await?.map(Arc::new))
        };
        let made = cell.get_or_try_init(make).await.cloned();
        drop(cell);
        if tried.into_inner() {
            self.lock().make_room(self.weigh, self.limit);
        }
        made
    }

    fn lock(&self) -> MutexGuard<'_, Places<K, V>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V> Places<K, V> {
    fn make_room(&mut self, weigh: fn(&V) -> usize, limit: usize) {
        // Places that nothing stands in and nobody is making something for: it failed, or whoever asked went away.
        self.by_key.retain(|_, place| {
            place.cell.get().is_some_and(Option::is_some) || Arc::strong_count(&place.cell) > 1
        });
        let weight_of = |place: &Place<V>| Some(weigh(place.cell.get()?.as_ref()?));
        let mut weight: usize = self.by_key.values().filter_map(weight_of).sum();
        while weight > limit && self.by_key.len() > 1 {
            // What is being made has no weight and is not thrown away.
            let made =
                self.by_key.iter().filter_map(|(key, place)| Some((place.used, key, weight_of(place)?)));
            let Some((_, key, lost)) = made.min_by_key(|(used, _, _)| *used) else { return };
            let key = key.clone();
            self.by_key.remove(&key);
            weight -= lost;
        }
    }
}

impl<K, V> fmt::Debug for Shelf<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.places.lock().unwrap_or_else(PoisonError::into_inner).by_key.len();
        f.debug_struct("Shelf").field("kept", &kept).field("limit", &self.limit).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::atomic::AtomicUsize};

    use super::*;

    async fn get(shelf: &Shelf<u32, String>, key: u32, made: &AtomicUsize) -> Arc<String> {
        let make = async || {
            made.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(Some("x".repeat(10)))
        };
        shelf.get_or_make(key, make).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one() {
        let (shelf, made) = (Shelf::new(100, String::len), AtomicUsize::new(0));

        let all = (0..50).map(|_| get(&shelf, 1, &made));
        let all = futures_util::future::join_all(all).await;

        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert!(all.iter().all(|one| Arc::ptr_eq(one, &all[0])));
    }

    #[tokio::test]
    async fn what_was_used_longest_ago_goes_first() {
        let (shelf, made) = (Shelf::new(30, String::len), AtomicUsize::new(0));
        for key in [1, 2, 3, 1, 4] {
            get(&shelf, key, &made).await;
        }
        assert_eq!(made.load(Ordering::Relaxed), 4);

        get(&shelf, 1, &made).await;
        get(&shelf, 3, &made).await;
        assert_eq!(made.load(Ordering::Relaxed), 4, "these stayed");
        get(&shelf, 2, &made).await;

        assert_eq!(made.load(Ordering::Relaxed), 5);
        assert_eq!(shelf.lock().by_key.len(), 3);
    }

    #[tokio::test]
    async fn failures_and_nothing_are_not_kept() {
        let shelf: Shelf<u32, String> = Shelf::new(30, String::len);

        assert_eq!(shelf.get_or_make(1, async || Err("broken")).await, Err("broken"));
        assert_eq!(shelf.get_or_make(1, async || Ok::<_, &str>(None)).await, Ok(None));

        assert!(shelf.lock().by_key.is_empty());
        let made = shelf.get_or_make(1, async || Ok::<_, &str>(Some("y".to_owned()))).await;
        assert_eq!(made.unwrap().unwrap().as_str(), "y");
    }

    #[tokio::test]
    async fn the_newest_stays_although_it_is_too_heavy() {
        let shelf: Shelf<u32, String> = Shelf::new(1, String::len);

        let made = AtomicUsize::new(0);
        get(&shelf, 1, &made).await;
        get(&shelf, 1, &made).await;

        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
