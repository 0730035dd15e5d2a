//! What a client has written and the service has not confirmed by a sync.

use std::sync::Arc;

use serde_json::Value;

use super::{
    model::{ConfigEntry, FlagEntry, SecretEntry},
    snapshot::Snapshot,
};
use crate::text_table::TextTable;

/// One write; `None` for what was deleted.
#[derive(Debug)]
pub(super) enum Patch {
    Config(String, Option<Value>),
    Flag(String, Option<bool>),
    Secret(String, Option<SecretEntry>),
}

/// Writes in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Patches {
    all: Vec<Patch>,
    news: bool,
}

impl Patches {
    pub(super) fn add(&mut self, patch: Patch) {
        self.all.push(patch);
        self.news = true;
    }

    /// Forgets them: what the service says now has them, or knows better.
    pub(super) fn clear(&mut self) {
        self.news |= !self.all.is_empty();
        self.all.clear();
    }

    /// Returns true once after each change.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    pub(super) fn apply(&self, snapshot: &mut Snapshot) {
        let source = || "written".to_owned();
        for patch in &self.all {
            match patch {
                Patch::Config(key, value) => {
                    let config = value.clone().map(|value| ConfigEntry { value, source: source(), layer: 0 });
                    put(&mut snapshot.configs, key, config);
                }
                Patch::Flag(key, is_active) => {
                    let flag = is_active.map(|is_active| FlagEntry { is_active, source: source() });
                    put(&mut snapshot.flags, key, flag);
                }
                Patch::Secret(key, secret) => put(&mut snapshot.secrets, key, secret.clone()),
            }
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
