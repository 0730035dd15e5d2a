//! What a client has written and the service has not confirmed by a sync.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use serde_json::Value;

use super::{
    model::{ConfigEntry, FlagEntry, SecretEntry},
    snapshot::Snapshot,
};
use crate::text_table::TextTable;

/// One write.
#[derive(Debug)]
pub(super) enum Patch {
    Config(String, Now<Value>),
    Flag(String, Now<bool>),
    Secret(String, Now<SecretEntry>),
}

/// What is known of an entry after a write.
#[derive(Debug)]
pub(super) enum Now<V> {
    Is(V),
    Gone,
    /// Only the service can say: what it served before is read until then.
    Unknown,
}

/// The latest write of each entry. Writes are numbered in the order in which the service has answered them.
#[derive(Debug, Default)]
pub(super) struct Patches {
    configs: Latest<Value>,
    flags: Latest<bool>,
    secrets: Latest<SecretEntry>,
    /// The number of the last write.
    last: u64,
    /// Up to here the service has confirmed them, or knows better.
    confirmed: u64,
    news: bool,
}

type Latest<V> = BTreeMap<String, (u64, Now<V>)>;

impl Patches {
    /// Numbers a write that was answered just now.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Returns the number of the last write: whatever is asked for from here on has it, and all before.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Returns how many entries have a write that is not confirmed.
    pub(super) fn len(&self) -> usize {
        self.configs.len() + self.flags.len() + self.secrets.len()
    }

    /// Notes a write, unless one of the same entry that came later is noted, or it is confirmed already.
    pub(super) fn add(&mut self, number: u64, patch: Patch) {
        if number <= self.confirmed {
            return;
        }
        self.news |= match patch {
            Patch::Config(key, now) => note(&mut self.configs, key, number, now),
            Patch::Flag(key, now) => note(&mut self.flags, key, number, now),
            Patch::Secret(key, now) => note(&mut self.secrets, key, number, now),
        };
    }

    /// Forgets what was written up to that number: what the service says now has it, or knows better.
    pub(super) fn confirm(&mut self, number: u64) {
        self.confirmed = self.confirmed.max(number);
        let forgotten = [
            forget(&mut self.configs, number),
            forget(&mut self.flags, number),
            forget(&mut self.secrets, number),
        ];
        self.news |= forgotten.contains(&true);
    }

    /// Returns true once after each change.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    pub(super) fn apply(&self, snapshot: &mut Snapshot) {
        let source = || "written".to_owned();
        lay(&self.configs, &mut snapshot.configs, |value| ConfigEntry {
            value: value.clone(),
            source: source(),
            layer: 0,
        });
        lay(&self.flags, &mut snapshot.flags, |is_active| FlagEntry {
            is_active: *is_active,
            source: source(),
        });
        lay(&self.secrets, &mut snapshot.secrets, SecretEntry::clone);
    }
}

fn note<V>(latest: &mut Latest<V>, key: String, number: u64, now: Now<V>) -> bool {
    match latest.entry(key) {
        Entry::Occupied(noted) if noted.get().0 > number => return false,
        Entry::Occupied(mut noted) => drop(noted.insert((number, now))),
        Entry::Vacant(free) => drop(free.insert((number, now))),
    }
    true
}

fn forget<V>(latest: &mut Latest<V>, number: u64) -> bool {
    let before = latest.len();
    latest.retain(|_, (noted, _)| *noted > number);
    latest.len() < before
}

fn lay<V, E: Clone>(latest: &Latest<V>, table: &mut Arc<TextTable<E>>, entry: impl Fn(&V) -> E) {
    for (key, (_, now)) in latest {
        match now {
            Now::Is(value) => put(table, key, Some(entry(value))),
            Now::Gone => put(table, key, None),
            Now::Unknown => {}
        }
    }
}

pub(super) fn put<V: Clone>(table: &mut Arc<TextTable<V>>, key: &str, value: Option<V>) {
    let table = Arc::make_mut(table);
    match value {
        Some(value) => drop(table.insert(key, value)),
        None => drop(table.remove(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(patches: &Patches) -> Option<bool> {
        let mut snapshot = Snapshot::default();
        put(&mut snapshot.flags, "f", Some(FlagEntry { is_active: false, source: "service".to_owned() }));
        patches.apply(&mut snapshot);
        snapshot.flags.get("f").map(|flag| flag.is_active)
    }

    fn to(now: Now<bool>) -> Patch {
        Patch::Flag("f".to_owned(), now)
    }

    #[test]
    fn an_answer_confirms_what_was_written_before_it_was_asked_for_and_nothing_else() {
        let mut patches = Patches::default();
        let asked_for_before = patches.last();
        let number = patches.number();
        let asked_for_after = patches.last();
        patches.add(number, to(Now::Is(true)));

        patches.confirm(asked_for_before);
        assert_eq!(flag(&patches), Some(true));
        patches.confirm(asked_for_after);
        assert_eq!(flag(&patches), Some(false));

        // Its own question failed later than that of somebody else was answered.
        patches.add(number, to(Now::Is(true)));
        assert_eq!(flag(&patches), Some(false));
    }

    #[test]
    fn the_later_of_two_writes_counts_whichever_is_noted_first() {
        for now in [Now::Gone, Now::Unknown, Now::Is(false)] {
            let expected = if matches!(now, Now::Gone) { None } else { Some(false) };
            let mut patches = Patches::default();
            let (first, second) = (patches.number(), patches.number());

            patches.add(second, to(now));
            patches.add(first, to(Now::Is(true)));

            assert_eq!(flag(&patches), expected);
        }
    }
}
