//! What the stream told one namespace, and what is still to be done about it.

use std::{collections::VecDeque, time::Duration};

use crate::{
    flags::events::{Delivery, ResyncEvent, VersionEvent},
    traits::Tick,
};

/// More changes than this at once are fetched as a whole.
const LONGEST_QUEUE: usize = 64;

/// Something that the stream told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// The closure of a version is to be fetched: at a signed URL, or else with the token.
    Fetch { version: u64, hash: String, url: Option<String> },
    /// A change came with the event.
    Inline(Box<VersionEvent>),
}

impl Told {
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::Fetch { version, .. } => *version,
            Self::Inline(event) => event.version,
        }
    }

    pub(super) fn hash(&self) -> &str {
        match self {
            Self::Fetch { hash, .. } => hash,
            Self::Inline(event) => &event.closure_hash,
        }
    }

    /// Returns the same version as something to be fetched with the token.
    pub(super) fn whole(&self) -> Self {
        Self::Fetch { version: self.version(), hash: self.hash().to_owned(), url: None }
    }
}

impl From<VersionEvent> for Told {
    fn from(event: VersionEvent) -> Self {
        match event.delivery {
            Delivery::Inline => Self::Inline(Box::new(event)),
            Delivery::Snapshot => {
                Self::Fetch { version: event.version, hash: event.closure_hash, url: event.snapshot_url }
            }
        }
    }
}

impl From<ResyncEvent> for Told {
    fn from(event: ResyncEvent) -> Self {
        Self::Fetch { version: event.version, hash: event.closure_hash, url: Some(event.snapshot_url) }
    }
}

/// What one namespace was told, oldest first.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: VecDeque<Told>,
    /// Counts what replaced everything before it, so that a failure is not put back in front of something newer.
    generation: u64,
    /// The server should be asked although the stream told nothing: it cannot.
    asks_for_poll: bool,
    failures: usize,
    /// What was told is not to be fetched again before this.
    not_before: Tick,
}

/// The pauses after failed snapshots; the last goes on.
const PAUSES: [u64; 6] = [1, 2, 4, 8, 16, 60];

impl Inbox {
    pub(super) fn push(&mut self, told: Told) {
        match told {
            // Whatever came before it is in it.
            Told::Fetch { .. } => self.replace(told),
            Told::Inline(_) if self.queue.len() >= LONGEST_QUEUE => self.replace(told.whole()),
            Told::Inline(_) => self.queue.push_back(told),
        }
    }

    fn replace(&mut self, told: Told) {
        self.generation += 1;
        self.queue.clear();
        self.queue.push_back(told);
    }

    pub(super) fn ask_for_poll(&mut self) {
        self.asks_for_poll = true;
    }

    /// Takes the oldest out, with what `put_back` needs.
    pub(super) fn take(&mut self) -> Option<(Told, u64)> {
        self.asks_for_poll = false;
        // What could not be fetched is not tried again where something newer was told since, which has it all.
        if self.failures > 0
            && self.queue.len() > 1
            && self.has_to_fetch()
            && let Some(newest) = self.take_newest()
        {
            return Some((newest.whole(), self.generation));
        }
        self.queue.pop_front().map(|told| (told, self.generation))
    }

    /// Takes the newest out and drops the others, because all of them are in it.
    pub(super) fn take_newest(&mut self) -> Option<Told> {
        let newest = self.queue.pop_back();
        self.queue.clear();
        newest
    }

    /// Returns what [`put_back`](Self::put_back) and [`keep`](Self::keep) need of now.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Puts back what nobody got round to.
    pub(super) fn keep(&mut self, told: Told, generation: u64) {
        if generation == self.generation {
            self.queue.push_front(told);
        }
    }

    /// Puts back what could not be fetched, and returns the pause before it is tried again.
    pub(super) fn put_back(&mut self, told: Told, generation: u64, now: Tick) -> Duration {
        let pause = Duration::from_secs(PAUSES[self.failures.min(PAUSES.len() - 1)]);
        self.failures += 1;
        self.not_before = now + pause;
        self.keep(told, generation);
        pause
    }

    /// Forgets the failures.
    pub(super) fn fetched(&mut self) {
        self.failures = 0;
        self.not_before = Tick::ORIGIN;
    }

    /// Returns true if something is to be done now.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.asks_for_poll || !self.queue.is_empty() && now >= self.not_before
    }

    pub(super) fn has_any(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns true if something waits to be fetched.
    pub(super) fn has_to_fetch(&self) -> bool {
        matches!(self.queue.front(), Some(Told::Fetch { .. }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn inline(version: u64) -> Told {
        VersionEvent::inline("shop", version, "p", "h", BTreeMap::new(), Vec::new()).into()
    }

    fn fetch(version: u64) -> Told {
        VersionEvent::snapshot("shop", version, "h", "/s").into()
    }

    fn versions(inbox: &mut Inbox) -> Vec<u64> {
        std::iter::from_fn(|| inbox.take()).map(|(told, _)| told.version()).collect()
    }

    #[test]
    fn a_snapshot_replaces_what_came_before_it_and_too_many_changes_become_one() {
        let mut inbox = Inbox::default();
        [inline(1), inline(2), fetch(3), inline(4)].into_iter().for_each(|told| inbox.push(told));
        assert_eq!(versions(&mut inbox), [3, 4]);

        (0..=LONGEST_QUEUE as u64).for_each(|version| inbox.push(inline(version)));
        assert!(inbox.has_to_fetch());
        assert_eq!(versions(&mut inbox), [LONGEST_QUEUE as u64]);
    }

    #[test]
    fn pauses_are_those_of_the_contract_and_what_is_newer_stays_in_front() {
        let mut inbox = Inbox::default();
        inbox.push(fetch(1));
        let mut now = Tick::ORIGIN;

        for seconds in [1, 2, 4, 8, 16, 60, 60] {
            let (told, generation) = inbox.take().unwrap();
            let pause = inbox.put_back(told, generation, now);
            assert_eq!(pause, Duration::from_secs(seconds));
            assert!(!inbox.is_due(now));
            now = now + pause;
            assert!(inbox.is_due(now));
        }

        let (told, generation) = inbox.take().unwrap();
        inbox.push(fetch(2));
        inbox.put_back(told, generation, now);
        assert_eq!(versions(&mut inbox), [2]);
    }

    #[test]
    fn what_could_not_be_fetched_gives_way_to_what_was_told_since() {
        let mut inbox = Inbox::default();
        inbox.push(fetch(1));
        let (told, generation) = inbox.take().unwrap();
        inbox.push(inline(2));
        inbox.push(inline(3));
        inbox.put_back(told, generation, Tick::ORIGIN);

        let (told, _) = inbox.take().unwrap();

        assert!(matches!(told, Told::Fetch { version: 3, url: None, .. }));
        assert!(!inbox.has_any());
    }
}
