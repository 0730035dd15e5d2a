//! One namespace and everybody who reads it, in groups that read the same flags.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leverframe::{Error, ErrorKind, Result, flags::events::FlagFilter, traits::Tick};
use tokio::sync::watch;

use super::{
    change::{Place, State, Step},
    reader::Reader,
};
use crate::heads::{Head, Heads};

/// One namespace.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) tenant: Arc<str>,
    pub(super) namespace: Arc<str>,
    /// Held while groups are brought to a version, so that all of them see versions in order.
    turn: tokio::sync::Mutex<()>,
    /// Whether somebody waits for the turn already to look for a new version.
    waiting: AtomicBool,
    groups: Mutex<HashMap<FlagFilter, Group>>,
    /// The newest version seen, for those who want to know no more than that.
    version: watch::Sender<u64>,
    retry: Mutex<Retry>,
}

/// Readers of the same flags. All of them were told the same, up to `state`.
#[derive(Debug)]
struct Group {
    place: Arc<Place>,
    /// `None` before the first upload.
    state: Option<State>,
    readers: HashMap<u64, (Arc<Reader>, u16)>,
}

/// When to look again after the store failed.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
    at: Option<Tick>,
}

impl Channel {
    pub(super) fn new(tenant: &str, namespace: &str) -> Self {
        Self {
            tenant: tenant.into(),
            namespace: namespace.into(),
            turn: tokio::sync::Mutex::new(()),
            waiting: AtomicBool::new(false),
            groups: Mutex::default(),
            version: watch::Sender::new(0),
            retry: Mutex::default(),
        }
    }

    /// Adds a reader to those of its flags, and tells it where the namespace stands.
    ///
    /// # Errors
    /// When the namespace cannot be read, unless others read the same already: then it starts where they are.
    pub(super) async fn join(
        &self,
        heads: &Heads,
        reader: &Arc<Reader>,
        slot: u16,
        filter: &FlagFilter,
    ) -> Result<()> {
        let _turn = self.turn.lock().await;
        let step = match heads.current(&self.tenant, &self.namespace).await {
            Ok(Some(head)) => self.step(&head, filter).await?,
            Ok(None) => None,
            Err(error) => {
                if self.groups().get(filter).is_none_or(|group| group.state.is_none()) {
                    return Err(error);
                }
                tracing::warn!(error = %error.chain(), "a reader starts with the last version seen");
                None
            }
        };
        let mut groups = self.groups();
        let group = groups.entry(filter.clone()).or_insert_with(|| self.group(filter));
        if let Some(step) = step {
            group.take(step);
        }
        group.readers.insert(reader.id, (Arc::clone(reader), slot));
        if let Some(state) = &group.state {
            reader.start(slot, &state.point);
        }
        Ok(())
    }

    /// Lets a reader go. What only it read is forgotten.
    pub(super) fn leave(&self, reader: u64) {
        self.groups().retain(|_, group| {
            group.readers.remove(&reader);
            !group.readers.is_empty()
        });
    }

    /// Looks for a new version and tells all readers; at once, or after whoever is at it. Of many calls while somebody
    /// is at it, one does it for all.
    ///
    /// # Errors
    /// When the namespace cannot be read. Everybody stays where they are.
    pub(super) async fn advance(&self, heads: &Heads) -> Result<()> {
        if self.waiting.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        // From here on a caller cannot rely on this run, which may have read the version before the caller's came.
        self.waiting.store(false, Ordering::Release);
        let Some(head) = heads.current(&self.tenant, &self.namespace).await? else { return Ok(()) };
        let filters: Vec<FlagFilter> = self.groups().keys().cloned().collect();
        for filter in filters {
            let Some(step) = self.step(&head, &filter).await? else { continue };
            // Gone if the last of its readers left meanwhile.
            if let Some(group) = self.groups().get_mut(&filter) {
                group.take(step);
            }
        }
        self.version.send_if_modified(|seen| {
            let newer = *seen < head.record.version;
            *seen = head.record.version.max(*seen);
            newer
        });
        Ok(())
    }

    /// Reckons what a version means for the readers of these flags; `None` if they know it, or a newer one. Whoever
    /// calls has the turn.
    async fn step(&self, head: &Arc<Head>, filter: &FlagFilter) -> Result<Option<Step>> {
        let (place, before) = match self.groups().get(filter) {
            Some(group) => (Arc::clone(&group.place), group.state.clone()),
            None => (self.place(filter), None),
        };
        // Never backwards, whatever a replica of the store answers.
        if before.as_ref().is_some_and(|before| before.point.version >= head.record.version) {
            return Ok(None);
        }
        let head = Arc::clone(head);
        let step = tokio::task::spawn_blocking(move || Step::to(&head, &place, before.as_ref())).await;
        step.map(Some).map_err(|error| Error::new(ErrorKind::Cancelled, "reckon a closure").source(error))
    }

    /// Returns a receiver of the newest version's number.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Returns the newest version seen.
    pub(super) fn version(&self) -> u64 {
        let of_groups =
            self.groups().values().filter_map(|group| Some(group.state.as_ref()?.point.version)).max();
        of_groups.unwrap_or(0).max(*self.version.borrow())
    }

    /// Returns the readers after that one, in the order they came, with what they read.
    pub(super) fn readers(&self, after: Option<u64>, limit: usize) -> Vec<(Arc<Reader>, u16, FlagFilter)> {
        let groups = self.groups();
        let mut found: Vec<_> = groups
            .iter()
            .flat_map(|(filter, group)| {
                group.readers.values().map(move |(reader, slot)| (reader, *slot, filter))
            })
            .filter(|(reader, _, _)| after.is_none_or(|after| reader.id > after))
            .collect();
        found.sort_unstable_by_key(|(reader, _, _)| reader.id);
        found.truncate(limit);
        found.into_iter().map(|(reader, slot, filter)| (Arc::clone(reader), slot, filter.clone())).collect()
    }

    /// Remembers that the store failed, to try again after a while that grows.
    pub(super) fn failed(&self, now: Tick) {
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        retry.at = Some(now + Duration::from_secs(1 << retry.failures.min(LONGEST_PAUSE_LOG2)));
        retry.failures += 1;
    }

    /// Remembers that the store answered.
    pub(super) fn succeeded(&self) {
        *self.retry.lock().unwrap_or_else(PoisonError::into_inner) = Retry::default();
    }

    /// Returns true, once, when it is time to try again.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        retry.at.take_if(|at| *at <= now).is_some()
    }

    fn group(&self, filter: &FlagFilter) -> Group {
        Group { place: self.place(filter), state: None, readers: HashMap::new() }
    }

    fn place(&self, filter: &FlagFilter) -> Arc<Place> {
        Arc::new(Place {
            tenant: Arc::clone(&self.tenant),
            namespace: Arc::clone(&self.namespace),
            filter: filter.clone(),
        })
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<FlagFilter, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    /// Takes over what a version means, and tells everybody.
    fn take(&mut self, step: Step) {
        self.state = Some(step.state);
        let Some(change) = step.change.map(Arc::new) else { return };
        for (reader, slot) in self.readers.values() {
            reader.tell(*slot, &change);
        }
    }
}

/// The pause between attempts grows to 16 seconds.
const LONGEST_PAUSE_LOG2: u32 = 4;
