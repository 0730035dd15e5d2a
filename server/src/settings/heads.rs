//! The services that somebody has asked about, with what each is handed out at hand.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{listeners::Listeners, model::ServiceId, view::View};
use crate::{limit::Bucket, slot::Slot};

/// Bytes that all views together take, by and large, before those that nobody asks for go.
const WEIGHT_LIMIT: usize = 512 * 1024 * 1024;

/// A service.
pub(super) struct Seat {
    pub(super) id: ServiceId,
    pub(super) view: Slot<View>,
    pub(super) listeners: Listeners,
    /// Held while an entry is checked and written: writes of this server follow each other.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// What is left for its sessions, of which a workload has many in its life.
    pub(super) sessions: Bucket,
    used: AtomicU64,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(&self.id).finish()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Seats {
    held: RwLock<HashMap<ServiceId, Arc<Seat>>>,
    /// Counts uses, to tell which was used last.
    uses: AtomicU64,
}

impl Seats {
    pub(super) fn get(&self, id: &ServiceId) -> Arc<Seat> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).get(id).map(Arc::clone);
        let seat = held.unwrap_or_else(|| {
            let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
            let seat = held.entry(id.clone()).or_insert_with(|| {
                Arc::new(Seat {
                    id: id.clone(),
                    view: Slot::default(),
                    listeners: Listeners::default(),
                    writing: tokio::sync::Mutex::new(()),
                    sessions: Bucket::default(),
                    used: AtomicU64::new(0),
                })
            });
            Arc::clone(seat)
        });
        seat.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        seat
    }

    pub(super) fn all(&self) -> Vec<Arc<Seat>> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    /// Lets go of the views used longest ago while all together are too heavy, and of services that there are not.
    pub(super) fn make_room(&self) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else holds a seat only to use it.
        held.retain(|_, seat| Arc::strong_count(seat) > 1 || seat.view.last().is_some());
        let weight_of = |seat: &Seat| seat.view.last().map_or(0, |view| view.weight());
        let mut weight: usize = held.values().map(|seat| weight_of(seat)).sum();
        while weight > WEIGHT_LIMIT && held.len() > 1 {
            let idle = held.values().filter(|seat| Arc::strong_count(seat) == 1);
            let Some(seat) = idle.min_by_key(|seat| seat.used.load(Ordering::Relaxed)) else { return };
            weight -= weight_of(seat);
            let id = seat.id.clone();
            held.remove(&id);
        }
    }
}
